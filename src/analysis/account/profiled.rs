//! What the profile says of the heap at each snapshot, dumps being rarer than smaps.

use super::is_jemalloc_dump;
use crate::analysis::estimate::{Interval, unsample};
use crate::model::heap::HeapProfile;
use crate::model::snapshot::Snapshot;

/// Largest small size class with 4 KiB pages (SC_SMALL_MAXCLASS): larger objects have an extent of their own anyway.
const SMALL_MAX: u64 = 14_336;

/// What the profile says of the heap at one snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profiled {
    /// Live bytes.
    pub(super) estimate: Interval,
    /// Sampled small objects and their bytes; `None` where sampling costs no memory.
    pub(super) small: Option<(u64, u64)>,
}

/// Dumps that span this share of the time speak for the snapshots between them, too.
const SPANNED: f64 = 0.5;

/// What the profile says at each snapshot. Dumps are often rarer than smaps: between two of them it is what they say,
/// weighted by time, and before the first and after the last what that one says; a row that is there at every dump only
/// would seem to come and go. Where the dumps span too little of the time for that, and no statistics count what is
/// live, nothing is said of it.
pub(super) fn profiled(snapshots: &[Snapshot]) -> Vec<Option<Profiled>> {
    // A cut dump says less than its neighbours.
    let whole = |snapshot: &Snapshot| snapshot.heap.as_ref().is_some_and(|heap| !heap.is_partial());
    let some_whole = snapshots.iter().any(whole);
    let own: Vec<Option<Profiled>> =
        snapshots.iter().map(|snapshot| snapshot.heap.as_ref().filter(|_| whole(snapshot) || !some_whole).map(Profiled::of)).collect();
    let known: Vec<(usize, Profiled)> = own.iter().enumerate().filter_map(|(at, own)| Some((at, (*own)?))).collect();
    let time = |at: usize| snapshots[at].unix_ms as f64;
    let (Some(&(first, _)), Some(&(last, _))) = (known.first(), known.last()) else { return own };
    let whole = time(snapshots.len() - 1) - time(0);
    if known.len() < 2 || time(last) - time(first) < SPANNED * whole {
        let resident = snapshots.iter().filter(|snapshot| snapshot.memory.is_some() || snapshot.status.is_some());
        let elsewhere =
            resident.clone().any(|snapshot| snapshot.heap.is_none()) && snapshots.iter().all(|snapshot| snapshot.stats.is_none());
        return if elsewhere { vec![None; snapshots.len()] } else { own };
    }
    (0..snapshots.len())
        .map(|at| {
            let after = known.partition_point(|(dump, _)| *dump < at);
            let (from, to) = (known[after.saturating_sub(1)], known[after.min(known.len() - 1)]);
            let span = time(to.0) - time(from.0);
            let share = if span > 0.0 { ((time(at) - time(from.0)) / span).clamp(0.0, 1.0) } else { 1.0 };
            Some(own[at].unwrap_or_else(|| Profiled::between(&from.1, &to.1, share)))
        })
        .collect()
}

impl Profiled {
    fn of(heap: &HeapProfile) -> Profiled {
        let estimated = heap.samples.iter().map(|sample| unsample(sample.live, heap.sampling));
        let small = (is_jemalloc_dump(heap) && heap.sampling.interval() > 1.0).then(|| {
            let of_slabs =
                |sample: &&crate::model::heap::Sample| sample.live.objects > 0 && sample.live.bytes / sample.live.objects <= SMALL_MAX;
            heap.samples
                .iter()
                .filter(of_slabs)
                .fold((0u64, 0u64), |sum, sample| (sum.0.saturating_add(sample.live.objects), sum.1.saturating_add(sample.live.bytes)))
        });
        Profiled { estimate: estimated.sum::<crate::analysis::estimate::Estimated>().interval(), small }
    }

    /// `share` of the way from one to the other.
    fn between(from: &Profiled, to: &Profiled, share: f64) -> Profiled {
        let mix = |a: f64, b: f64| a + (b - a) * share;
        let (a, b) = (from.estimate, to.estimate);
        let whole = |a: u64, b: u64| mix(a as f64, b as f64).round() as u64;
        Profiled {
            estimate: Interval { estimate: mix(a.estimate, b.estimate), low: mix(a.low, b.low), high: mix(a.high, b.high) },
            small: from.small.zip(to.small).map(|(a, b)| (whole(a.0, b.0), whole(a.1, b.1))),
        }
    }
}
#[cfg(test)]
mod tests {
    use super::super::ledger;
    use super::*;
    use crate::analysis::ledger::RowKind;
    use crate::model::timeline::Timeline;
    use crate::units::Bytes;

    #[test]
    fn dumps_that_are_rarer_than_smaps_speak_for_what_lies_between() {
        use crate::model::heap::{Sample, Sampled};
        use crate::model::snapshot::TimeSource;
        use crate::model::stack::StackId;
        let at = |ms: i64, live: Option<u64>| {
            let mut snapshot = Snapshot::empty(ms.to_string(), ms, TimeSource::Name);
            snapshot.status = Some(crate::model::memory::ProcessStatus { vm_rss: Some(Bytes::new(1000)), ..Default::default() });
            snapshot.heap = live.map(|bytes| {
                HeapProfile::exact(vec![Sample { stack: StackId(0), live: Sampled { objects: 1, bytes }, accumulated: Sampled::default() }])
            });
            snapshot
        };
        let live = |snapshots: Vec<Snapshot>| {
            let ledger = ledger(&Timeline { snapshots, ..Timeline::default() });
            assert!(ledger.closes());
            ledger.rows.into_iter().find(|row| row.kind == RowKind::Live).map(|row| row.bytes)
        };
        assert_eq!(
            live(vec![at(0, None), at(100, Some(100)), at(150, None), at(300, Some(500)), at(310, None)]),
            Some(vec![100, 100, 200, 500, 500])
        );
        // One dump does not show a course; alone it is what it is.
        assert_eq!(live(vec![at(0, None), at(100, Some(100)), at(200, None)]), None);
        assert_eq!(live(vec![at(0, Some(100))]), Some(vec![100]));
    }
}
