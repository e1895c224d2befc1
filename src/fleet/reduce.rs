//! One process over time as rows, reduced where it was recorded.
//!
//! A dump has thousands of stacks, and nearly all bytes are in a few hundred. Kept are the stacks that together hold
//! the wanted share of the bytes of any dump, and all that grow; the rest is one row a snapshot, so that a snapshot's
//! rows still add up to its heap. A kept stack has a row at every dump, zeros included: a course has no holes.

use crate::analysis::account::{self, Accounting};
use crate::analysis::estimate::unsample;
use crate::analysis::export::Amount;
use crate::analysis::series::HeapSeries;
use crate::fleet::rows::{Batch, Incarnation, LEDGER, SampleRow, SnapshotRow};
use crate::fleet::stack::{NamedStacks, other};
use crate::model::frame::{ModuleStatus, Symbols};
use crate::model::timeline::{Process, Timeline};
use crate::units::Bytes;

/// Share of a dump's bytes that the kept stacks hold at least.
pub const KEEP: f64 = 0.99;
/// A stack grows when it gained more than so many standard errors of its own sampling. Generous: what one instance
/// cannot tell from noise, many can.
const GROWS: f64 = 1.0;

/// What a process adds to the dataset; `timeline` must have times. With `keep` of 1 no stack is left out.
pub fn reduce(timeline: &Timeline, symbols: &Symbols, of: Incarnation, keep: f64) -> Batch {
    let named = NamedStacks::of(&timeline.stacks, symbols);
    let series = HeapSeries::of(timeline);
    let courses = Courses::of(&series, &named);
    let kept = courses.kept(&series, &named, keep);
    let mut snapshots = snapshots(timeline, &account::accounting(timeline));
    for (dump, &at) in series.snapshots.iter().enumerate() {
        let total = courses.total(dump);
        snapshots[at].set("heap_bytes", Some(total.bytes));
        snapshots[at].set("heap_objects", Some(total.objects));
        snapshots[at].set("heap_stacks", i64::try_from(timeline.snapshots[at].heap.as_ref().map_or(0, |heap| heap.samples.len())).ok());
    }
    let mut batch = Batch { of, snapshots, ..Batch::default() };
    let mut rest = Row::zeros(series.dumps(), series.accumulated);
    let mut left_out = false;
    for (index, (row, course)) in named.rows.iter().zip(&courses.rows).enumerate() {
        if kept[index] {
            batch.stacks.push(row.clone());
            course.push(&mut batch, &series);
        } else {
            left_out |= course.live.iter().chain(&course.allocated).any(|amount| !amount.is_zero());
            rest.add(course);
        }
    }
    if left_out {
        batch.stacks.push(other());
        rest.push(&mut batch, &series);
    }
    batch.sort();
    batch
}

/// The build-id of the program: as recorded, else as found. `None` when nothing tells.
pub fn build_id(process: &Process, symbols: &Symbols) -> Option<String> {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(" (deleted)").to_owned();
    let program = |path: &str| !base(path).contains(".so") && !path.starts_with('[');
    let recorded = || process.modules.iter().filter_map(|(path, id)| Some((path.as_str(), id.clone()?)));
    let found = || {
        let proven = |status| matches!(status, ModuleStatus::Ok | ModuleStatus::FromInput);
        symbols.modules.iter().filter(move |m| proven(m.status)).filter_map(|m| Some((m.path.as_str(), m.build_id.as_ref()?.to_string())))
    };
    let is_named = |path: &str| process.name.as_deref() == Some(base(path).as_str());
    recorded()
        .find(|(path, _)| is_named(path))
        .or_else(|| found().find(|(path, _)| is_named(path)))
        .or_else(|| recorded().find(|(path, _)| program(path)))
        .or_else(|| found().find(|(path, _)| program(path)))
        .map(|(_, id)| id)
}

/// The course of one row: amounts at every dump.
struct Row {
    live: Vec<Amount>,
    /// Empty when not recorded.
    allocated: Vec<Amount>,
}

impl Row {
    fn zeros(dumps: usize, accumulated: bool) -> Row {
        let zeros = vec![Amount::default(); dumps];
        Row { allocated: if accumulated { zeros.clone() } else { Vec::new() }, live: zeros }
    }

    fn add(&mut self, other: &Row) {
        let sum = |mine: &mut Vec<Amount>, more: &[Amount]| mine.iter_mut().zip(more).for_each(|(a, b)| *a = *a + *b);
        sum(&mut self.live, &other.live);
        sum(&mut self.allocated, &other.allocated);
    }

    /// Adds a sample at every dump, of the batch's last stack.
    fn push(&self, batch: &mut Batch, series: &HeapSeries) {
        let stack = batch.stacks.len() as u32 - 1;
        for (dump, &at) in series.snapshots.iter().enumerate() {
            let allocated = self.allocated.get(dump).copied();
            batch.samples.push(SampleRow { snapshot: at as u32, stack, live: self.live[dump], allocated });
        }
    }
}

/// The courses of all named stacks.
struct Courses {
    rows: Vec<Row>,
}

impl Courses {
    fn of(series: &HeapSeries, named: &NamedStacks) -> Courses {
        let mut rows: Vec<Row> = named.rows.iter().map(|_| Row::zeros(series.dumps(), series.accumulated)).collect();
        for stack in &series.stacks {
            let Some(row) = named.row_of.get(stack.stack.index()).and_then(|&row| rows.get_mut(row as usize)) else { continue };
            for (dump, sampling) in series.sampling.iter().enumerate() {
                row.live[dump] = row.live[dump] + Amount::of(&series.estimate(stack, dump));
                if let Some(allocated) = row.allocated.get_mut(dump) {
                    *allocated = *allocated + Amount::of(&unsample(stack.accumulated[dump], *sampling));
                }
            }
        }
        Courses { rows }
    }

    fn total(&self, dump: usize) -> Amount {
        self.rows.iter().map(|row| row.live[dump]).fold(Amount::default(), |sum, amount| sum + amount)
    }

    /// Which rows are kept.
    fn kept(&self, series: &HeapSeries, named: &NamedStacks, keep: f64) -> Vec<bool> {
        let mut kept = vec![keep >= 1.0; self.rows.len()];
        if keep >= 1.0 {
            return kept;
        }
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        for dump in 0..series.dumps() {
            let bytes = |index: &usize| self.rows[*index].live[dump].bytes;
            // Equal sizes in the order of ids: which one falls under the share must not depend on the input's order.
            order.sort_by(|a, b| bytes(b).cmp(&bytes(a)).then_with(|| named.rows[*a].stack_id.cmp(&named.rows[*b].stack_id)));
            let wanted = keep * self.total(dump).bytes as f64;
            let mut sum = 0.0;
            for index in order.iter().take_while(|index| bytes(index) > 0) {
                if sum >= wanted {
                    break;
                }
                kept[*index] = true;
                sum += bytes(index) as f64;
            }
        }
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.rows.len()];
        for (stack, &row) in named.row_of.iter().enumerate() {
            members[row as usize].push(stack);
        }
        for (row, members) in members.iter().enumerate().filter(|(row, _)| !kept[*row]).collect::<Vec<_>>() {
            let growth = series.growth(members.iter().filter_map(|&stack| series.stacks.get(stack)));
            kept[row] = growth.bytes > GROWS * growth.variance.max(0.0).sqrt();
        }
        kept
    }
}

/// What kernel and allocator say at every snapshot, and the ledger.
fn snapshots(timeline: &Timeline, accounting: &Accounting) -> Vec<SnapshotRow> {
    let signed = |bytes: Bytes| i64::try_from(bytes.get()).ok();
    let mut rows: Vec<SnapshotRow> = Vec::with_capacity(timeline.snapshots.len());
    for (at, snapshot) in timeline.snapshots.iter().enumerate() {
        // Two snapshots of one millisecond (copied files have one time) stay two.
        let ts_us = snapshot.unix_ms.saturating_mul(1000);
        let mut row = SnapshotRow::new(rows.last().map_or(ts_us, |last| ts_us.max(last.ts_us.saturating_add(1))));
        row.set("pid", timeline.process.pid.and_then(|pid| i64::try_from(pid).ok()));
        row.set("sampling_interval", snapshot.heap.as_ref().map(|heap| heap.sampling.interval() as i64));
        row.set("rss", accounting.resident.get(at).copied().flatten().and_then(|(rss, _)| signed(rss)));
        if let Some(beside) = accounting.beside.get(at) {
            let figures = [
                ("pss", beside.pss),
                ("swap", beside.swap),
                ("virtual_size", beside.virtual_size),
                ("lazyfree", beside.lazy_free),
                ("anon_huge", beside.anon_huge_pages),
                ("limit_bytes", beside.cgroup_max),
                ("cgroup_bytes", beside.cgroup_current),
            ];
            figures.into_iter().for_each(|(name, bytes)| row.set(name, bytes.and_then(signed)));
            row.set("threads", beside.threads.and_then(|threads| i64::try_from(threads).ok()));
        }
        for (counter, value) in timeline.counters.iter().zip(&snapshot.counters) {
            if let Some(value) = value {
                row.count(&counter.name, *value);
            }
        }
        if let Some(stats) = &snapshot.stats {
            let figures = [
                ("je_allocated", stats.allocated),
                ("je_active", stats.active),
                ("je_metadata", stats.metadata),
                ("je_resident", stats.resident),
                ("je_mapped", stats.mapped),
                ("je_retained", stats.retained),
                ("je_dirty", stats.merged.dirty),
            ];
            figures.into_iter().for_each(|(name, bytes)| row.set(name, bytes.and_then(signed)));
        }
        rows.push(row);
    }
    for (nth, &at) in accounting.ledger.snapshots.iter().enumerate() {
        for (kind, name) in LEDGER {
            let of_kind = accounting.ledger.rows.iter().filter(|row| row.kind == kind).filter_map(|row| row.bytes.get(nth));
            rows[at].set(name, Some(of_kind.fold(0, |sum: i64, bytes| sum.saturating_add(*bytes))));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ReturnAddress;
    use crate::fleet::rows::OTHER;
    use crate::model::frame::{Frame, Role};
    use crate::model::heap::{HeapProfile, Sample, Sampled};
    use crate::model::snapshot::{Snapshot, TimeSource};

    /// Exact counts of stacks `f0`, `f1`, ... at each snapshot.
    fn timeline(levels: &[&[u64]]) -> (Timeline, Symbols) {
        let mut timeline = Timeline::default();
        let mut symbols = Symbols::default();
        for stack in 0..levels[0].len() {
            let id = timeline.stacks.intern(&[ReturnAddress::new(16 * (stack as u64 + 1))]);
            let function = symbols.names.intern(&format!("app::f{}", id.0));
            symbols.push([Frame::named(function, Role::User)]);
        }
        let ids: Vec<_> = timeline.stacks.ids().collect();
        for (n, bytes) in levels.iter().enumerate() {
            let samples = ids.iter().zip(*bytes).map(|(&stack, &bytes)| Sample {
                stack,
                live: Sampled { objects: u64::from(bytes > 0), bytes },
                accumulated: Sampled::default(),
            });
            let mut snapshot = Snapshot::empty(format!("s{n}"), 1000 * n as i64, TimeSource::Name);
            snapshot.heap = Some(HeapProfile::exact(samples.collect()));
            timeline.snapshots.push(snapshot);
        }
        (timeline, symbols)
    }

    #[test]
    fn small_stacks_become_one_row_and_totals_stay() {
        // f2 is small and grows, f3 and f4 are small and do not, f5 comes and goes.
        let (timeline, symbols) = timeline(&[&[9000, 5000, 10, 7, 8, 0], &[9000, 5000, 20, 7, 8, 4000], &[9000, 5000, 30, 6, 8, 0]]);
        let batch = reduce(&timeline, &symbols, Incarnation::default(), KEEP);
        let mut leaves: Vec<&str> = batch.stacks.iter().map(|stack| stack.leaf.as_str()).collect();
        leaves.sort_unstable();
        assert_eq!(leaves, ["app::f0", "app::f1", "app::f2", "app::f5", OTHER]);
        for (at, snapshot) in batch.snapshots.iter().enumerate() {
            let sum: i64 = batch.samples.iter().filter(|s| s.snapshot as usize == at).map(|s| s.live.bytes).sum();
            assert_eq!(Some(sum), snapshot.get("heap_bytes"));
            assert_eq!(batch.samples.iter().filter(|s| s.snapshot as usize == at).count(), 5, "no holes");
        }
        let all = reduce(&timeline, &symbols, Incarnation::default(), 1.0);
        assert_eq!((all.stacks.len(), all.samples.len()), (6, 18));
    }

    #[test]
    fn a_drained_timeline_gives_the_same_series() {
        let (mut timeline, _) = timeline(&[&[9, 5], &[0, 6], &[8, 0], &[8, 7]]);
        let whole = HeapSeries::of(&timeline);
        let drained = HeapSeries::drain(&mut timeline);
        assert_eq!((drained.stacks, drained.snapshots), (whole.stacks, whole.snapshots));
        let left: Vec<usize> = timeline.snapshots.iter().map(|s| s.heap.as_ref().unwrap().samples.len()).collect();
        assert_eq!(left, [2, 0, 0, 2], "the ends stay: `diff` and the slabs look at them");
    }

    #[test]
    fn stacks_of_one_name_are_one_row() {
        let (mut timeline, mut symbols) = timeline(&[&[10, 20]]);
        let twice = timeline.stacks.intern(&[ReturnAddress::new(999)]);
        let same = symbols.frames(timeline.stacks.stack(crate::model::stack::StackId(0)).next().unwrap())[0].clone();
        symbols.push([same]);
        let samples = &mut timeline.snapshots[0].heap.as_mut().unwrap().samples;
        samples.push(Sample { stack: twice, live: Sampled { objects: 2, bytes: 5 }, accumulated: Sampled::default() });
        let batch = reduce(&timeline, &symbols, Incarnation::default(), KEEP);
        let bytes = |leaf: &str| {
            let stack = batch.stacks.iter().position(|s| s.leaf == leaf).unwrap();
            batch.samples.iter().find(|s| s.stack as usize == stack).unwrap().live
        };
        assert_eq!((bytes("app::f0"), bytes("app::f1")), (Amount { objects: 3, bytes: 15 }, Amount { objects: 1, bytes: 20 }));
    }

    #[test]
    fn the_build_is_the_program_s() {
        let mut process = Process { name: Some("indexer".into()), ..Process::default() };
        let symbols = Symbols::default();
        assert_eq!(build_id(&process, &symbols), None);
        let module = |path: &str, id: Option<&str>| (path.to_owned(), id.map(str::to_owned));
        process.modules =
            vec![module("/lib/libc.so.6", Some("aa")), module("/opt/helper", Some("bb")), module("/srv/indexer (deleted)", Some("cc"))];
        assert_eq!(build_id(&process, &symbols).as_deref(), Some("cc"));
        process.name = None;
        assert_eq!(build_id(&process, &symbols).as_deref(), Some("bb"));
    }
}
