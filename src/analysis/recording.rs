//! A capture over time as a viewer with a time axis takes it: stacks once, their live estimates at every snapshot, and
//! counters of the process.

use crate::analysis::estimate::unsample;
use crate::analysis::export::{Amount, Builder, Profile};
use crate::analysis::export_filter::kept;
use crate::analysis::filter::{Filter, Measure};
use crate::model::frame::Symbols;
use crate::model::mapping::AddressSpace;
use crate::model::snapshot::{Snapshot, TimeSource};
use crate::model::stack::StackId;
use crate::model::timeline::Timeline;
use crate::units::Bytes;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Milliseconds that stand for one step where only the order of snapshots is known.
const ORDINAL_STEP_MS: f64 = 1000.0;

/// A capture over time.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Stacks with their names; the values of its samples are not used.
    pub profile: Profile,
    /// Process id.
    pub pid: Option<u64>,
    /// Unix milliseconds of the first snapshot; `None` where only the order is known.
    pub start_unix_ms: Option<i64>,
    /// Milliseconds of each snapshot since the first.
    pub times: Vec<f64>,
    /// For each snapshot with a dump its position in `times`, and the live amount of each sample of `profile` that has any.
    pub dumps: Vec<(usize, Vec<(u32, Amount)>)>,
    /// Levels of the process as a whole.
    pub counters: Vec<Counter>,
}

/// A level over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// `RSS`.
    pub name: &'static str,
    /// What it counts; a sentence.
    pub description: &'static str,
    /// One value a snapshot, bytes; `None` where the snapshot does not tell.
    pub levels: Vec<Option<f64>>,
}

/// Collects the dumps of a timeline. `symbols` belongs to its stacks.
pub fn recording(timeline: &Timeline, symbols: &Symbols, filter: &Filter, title: &str, redact: bool) -> Recording {
    let snapshots = &timeline.snapshots;
    let timed = snapshots.iter().all(|s| !matches!(s.time_source, TimeSource::Sequence | TimeSource::ArgumentOrder));
    let first = snapshots.first().map_or(0, |s| s.unix_ms);
    let times = snapshots.iter().enumerate().map(|(i, s)| match timed {
        true => s.unix_ms.saturating_sub(first) as f64,
        false => i as f64 * ORDINAL_STEP_MS,
    });
    let mut builder = Builder::new(title, redact);
    let empty = AddressSpace::default();
    let space = snapshots.iter().rev().find_map(|s| s.heap.as_ref()).map_or(&empty, |heap| &heap.mappings);
    let mut source = builder.source(&timeline.stacks, symbols, space);
    let mut known: HashMap<StackId, u32, FxBuildHasher> = HashMap::default();
    let mut dumps = Vec::new();
    for (at, snapshot) in snapshots.iter().enumerate() {
        let Some(heap) = &snapshot.heap else { continue };
        let sampling = filter.sampling(heap);
        let keep = filter.chooses_stacks().then(|| kept(&timeline.stacks, symbols, heap, filter, Measure::InuseSpace));
        let mut amounts: HashMap<u32, Amount, FxBuildHasher> = HashMap::default();
        for sample in &heap.samples {
            let amount = Amount::of(&unsample(sample.live, sampling));
            let wanted = keep.as_ref().is_none_or(|keep| keep.get(sample.stack.index()).copied().unwrap_or(false));
            if wanted && !amount.is_zero() {
                let id = *known.entry(sample.stack).or_insert_with(|| builder.stack(&mut source, sample.stack));
                let sum = amounts.entry(id).or_default();
                *sum = *sum + amount;
            }
        }
        let mut amounts: Vec<(u32, Amount)> = amounts.into_iter().collect();
        amounts.sort_unstable_by_key(|(id, _)| *id);
        dumps.push((at, amounts));
    }
    let mut counters = counters(snapshots);
    if !dumps.is_empty() {
        let mut levels = vec![None; snapshots.len()];
        for (at, amounts) in &dumps {
            levels[*at] = Some(amounts.iter().map(|(_, amount)| amount.bytes as f64).sum());
        }
        counters.push(Counter { name: "live heap", description: "Live bytes, estimated from the profile.", levels });
    }
    let mut profile = builder.finish();
    profile.restrict(filter);
    Recording { profile, pid: timeline.process.pid, start_unix_ms: timed.then_some(first), times: times.collect(), dumps, counters }
}

/// What the kernel and the allocator say of the process as a whole.
fn counters(snapshots: &[Snapshot]) -> Vec<Counter> {
    type Level = fn(&Snapshot) -> Option<Bytes>;
    let known: [(&str, &str, Level); 4] = [
        ("RSS", "Resident bytes: sum of smaps, else VmRSS.", |s| {
            s.memory.as_ref().map(|m| m.total.rss).or_else(|| s.status.as_ref().and_then(|status| status.vm_rss))
        }),
        ("allocated", "Live bytes as the allocator counts them, thread caches included.", |s| {
            s.stats.as_ref().and_then(|stats| stats.allocated)
        }),
        ("resident", "Bytes that the allocator takes for resident.", |s| s.stats.as_ref().and_then(|stats| stats.resident)),
        ("LazyFree", "Given back with MADV_FREE, still counted by the kernel.", |s| {
            s.memory.as_ref().map(|m| m.total.lazy_free).filter(|bytes| bytes.get() > 0)
        }),
    ];
    let of = |(name, description, level): (&'static str, &'static str, Level)| {
        let levels: Vec<Option<f64>> = snapshots.iter().map(|s| level(s).map(|bytes| bytes.get() as f64)).collect();
        levels.iter().any(Option::is_some).then_some(Counter { name, description, levels })
    };
    known.into_iter().filter_map(of).collect()
}
