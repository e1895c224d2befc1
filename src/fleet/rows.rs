//! The rows of the dataset: what one process adds to it. Values only; files are `dataset`'s affair.
//!
//! Three tables, and nothing in them but signed 64-bit integers and texts, because that is what every engine reads the
//! same way: times are microseconds since 1970 (no engine agrees with another on time types), sizes are bytes, ids are
//! hex texts. The partition columns `service` and `date` stand in the paths, not in the files.

use crate::analysis::export::Amount;
use crate::analysis::ledger::RowKind;

/// Whose rows they are: one run of one program on one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    /// The service: a word that is also a folder's name.
    pub service: String,
    /// The instance: a pod, a host, whatever the team calls one process of many.
    pub instance: String,
    /// Build-id of the executable in hex, or the team's own word for the build.
    pub build_id: String,
    /// Start of the process, microseconds since 1970: another start is another incarnation.
    pub start_us: i64,
    /// Name of the program.
    pub process: String,
}

/// What is known of one instant, in the order of [`FIGURES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Microseconds since 1970.
    pub ts_us: i64,
    /// Workload counters, `;requests=1200;documents=50;`: which there are differs between services, so they are no columns.
    /// Empty where none is known.
    pub counters: String,
    /// Figures; `None` where the snapshot does not tell.
    pub figures: [Option<i64>; FIGURES.len()],
}

/// A stack by its normalised names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StackRow {
    /// 32 hex digits over `folded`; [`OTHER`] for what is not told apart.
    pub stack_id: String,
    /// Innermost frame.
    pub leaf: String,
    /// Innermost frame of the program's own code.
    pub owner: String,
    /// Its crate or namespace; empty where the name does not tell.
    pub krate: String,
    /// Number of frames.
    pub frames: i64,
    /// Frames, root first, `;` between them.
    pub folded: String,
}

/// What one stack holds at one instant; estimates in whole bytes and objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRow {
    /// Position in [`Batch::snapshots`].
    pub snapshot: u32,
    /// Position in [`Batch::stacks`].
    pub stack: u32,
    /// Allocated and not freed.
    pub live: Amount,
    /// Allocated since the start; `None` where that was not recorded.
    pub allocated: Option<Amount>,
}

/// Everything one incarnation adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whose.
    pub of: Incarnation,
    /// By time.
    pub snapshots: Vec<SnapshotRow>,
    /// By id.
    pub stacks: Vec<StackRow>,
    /// By stack, then by time: a stack's course lies together.
    pub samples: Vec<SampleRow>,
}

/// Stack id of the rest: stacks that are small and do not grow, as one row a snapshot, so that totals add up.
pub const OTHER: &str = "other";

/// Columns of `snapshots` that may be null.
///
/// `heap_*` is the profile's estimate, the sum of the snapshot's sample rows. `je_*` is jemalloc's own count.
/// `ledger_*` are the rows of `heaptriage rss`, and add up to `rss`.
pub const FIGURES: [&str; 36] = [
    "pid",
    "sampling_interval",
    "heap_bytes",
    "heap_objects",
    "heap_stacks",
    "rss",
    "pss",
    "swap",
    "virtual_size",
    "lazyfree",
    "anon_huge",
    "threads",
    "limit_bytes",
    "cgroup_bytes",
    "je_allocated",
    "je_active",
    "je_metadata",
    "je_resident",
    "je_mapped",
    "je_retained",
    "je_dirty",
    LEDGER[0].1,
    LEDGER[1].1,
    LEDGER[2].1,
    LEDGER[3].1,
    LEDGER[4].1,
    LEDGER[5].1,
    LEDGER[6].1,
    LEDGER[7].1,
    LEDGER[8].1,
    LEDGER[9].1,
    LEDGER[10].1,
    LEDGER[11].1,
    LEDGER[12].1,
    LEDGER[13].1,
    LEDGER[14].1,
];

/// The ledger's rows as columns.
pub const LEDGER: [(RowKind, &str); 15] = [
    (RowKind::Live, "ledger_live"),
    (RowKind::SamplingOverhead, "ledger_sampling_overhead"),
    (RowKind::Tcache, "ledger_tcache"),
    (RowKind::Fragmentation, "ledger_fragmentation"),
    (RowKind::Metadata, "ledger_metadata"),
    (RowKind::Dirty, "ledger_dirty"),
    (RowKind::LazyFree, "ledger_lazy_free"),
    (RowKind::Untouched, "ledger_untouched"),
    (RowKind::HugePages, "ledger_huge_pages"),
    (RowKind::ForeignHeap, "ledger_foreign_heap"),
    (RowKind::ThreadStacks, "ledger_thread_stacks"),
    (RowKind::FileMapped, "ledger_file_mapped"),
    (RowKind::SharedMemory, "ledger_shared_memory"),
    (RowKind::OtherAnonymous, "ledger_other_anonymous"),
    (RowKind::Unattributed, "ledger_unattributed"),
];

impl SnapshotRow {
    /// A row without figures.
    pub fn new(ts_us: i64) -> Self {
        SnapshotRow { ts_us, counters: String::new(), figures: [None; FIGURES.len()] }
    }

    /// Sets a figure; the name is one of [`FIGURES`].
    pub fn set(&mut self, name: &str, value: Option<i64>) {
        if let Some(at) = FIGURES.iter().position(|figure| *figure == name) {
            self.figures[at] = value;
        }
    }

    /// Adds the value of a counter. What is no letter, digit, `_`, `-` or `.` of its name becomes `_`.
    pub fn count(&mut self, name: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
        let name: String = name.chars().map(plain).take(100).collect();
        if self.counters.is_empty() {
            self.counters.push(';');
        }
        self.counters.push_str(&format!("{name}={value};"));
    }

    /// A figure; `None` also for a name that is none of [`FIGURES`].
    pub fn get(&self, name: &str) -> Option<i64> {
        FIGURES.iter().position(|figure| *figure == name).and_then(|at| self.figures[at])
    }

    /// Whether the snapshot had a dump.
    pub fn has_heap(&self) -> bool {
        self.get("heap_bytes").is_some()
    }
}

impl Batch {
    /// The part with the snapshots that `wanted` takes; stacks that it does not mention are left out.
    pub fn only(&self, wanted: impl Fn(&SnapshotRow) -> bool) -> Batch {
        let mut part = Batch { of: self.of.clone(), ..Batch::default() };
        let mut snapshots = vec![None; self.snapshots.len()];
        for (index, snapshot) in self.snapshots.iter().enumerate().filter(|(_, snapshot)| wanted(snapshot)) {
            snapshots[index] = Some(part.snapshots.len() as u32);
            part.snapshots.push(snapshot.clone());
        }
        let mut stacks = vec![None; self.stacks.len()];
        for sample in &self.samples {
            let Some(snapshot) = snapshots.get(sample.snapshot as usize).copied().flatten() else { continue };
            let stack = *stacks[sample.stack as usize].get_or_insert_with(|| {
                part.stacks.push(self.stacks[sample.stack as usize].clone());
                part.stacks.len() as u32 - 1
            });
            part.samples.push(SampleRow { snapshot, stack, ..*sample });
        }
        part
    }

    /// Puts stacks, snapshots and samples into the one order that equal content has.
    pub fn sort(&mut self) {
        let by_id = order(&self.stacks, |stack| stack.stack_id.clone());
        let by_time = order(&self.snapshots, |snapshot| snapshot.ts_us);
        self.stacks.sort_by(|a, b| a.stack_id.cmp(&b.stack_id));
        self.snapshots.sort_by_key(|snapshot| snapshot.ts_us);
        for sample in &mut self.samples {
            sample.stack = by_id[sample.stack as usize];
            sample.snapshot = by_time[sample.snapshot as usize];
        }
        self.samples.sort_by_key(|sample| (sample.stack, sample.snapshot));
    }
}

/// Where each item goes when sorted by `key`.
fn order<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> Vec<u32> {
    let mut indexes: Vec<usize> = (0..items.len()).collect();
    indexes.sort_by_key(|&index| key(&items[index]));
    let mut places = vec![0; items.len()];
    for (place, index) in indexes.into_iter().enumerate() {
        places[index] = place as u32;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_one_column() {
        let mut names = FIGURES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
        for (kind, name) in LEDGER {
            assert_eq!(name.strip_prefix("ledger_"), Some(kind.word()));
        }
    }

    #[test]
    fn counters_are_one_text() {
        let mut row = SnapshotRow::new(0);
        assert_eq!(row.counters, "");
        row.count("requests", 1200.0);
        row.count("a;b=c\n", 0.5);
        row.count("none", f64::NAN);
        row.count("many", 1e18);
        assert_eq!(row.counters, ";requests=1200;a_b_c_=0.5;many=1000000000000000000;");
    }

    #[test]
    fn a_part_keeps_what_it_mentions() {
        let stack = |id: &str| StackRow { stack_id: id.into(), ..StackRow::default() };
        let sample = |snapshot, stack, bytes| SampleRow { snapshot, stack, live: Amount { objects: 1, bytes }, allocated: None };
        let mut batch = Batch {
            snapshots: vec![SnapshotRow::new(20), SnapshotRow::new(10)],
            stacks: vec![stack("b"), stack("a")],
            samples: vec![sample(0, 0, 1), sample(1, 0, 2), sample(0, 1, 3)],
            ..Batch::default()
        };
        batch.sort();
        let seen: Vec<(i64, &str, i64)> = batch
            .samples
            .iter()
            .map(|s| (batch.snapshots[s.snapshot as usize].ts_us, batch.stacks[s.stack as usize].stack_id.as_str(), s.live.bytes))
            .collect();
        assert_eq!(seen, [(20, "a", 3), (10, "b", 2), (20, "b", 1)]);
        let part = batch.only(|snapshot| snapshot.ts_us == 10);
        assert_eq!((part.snapshots.len(), part.stacks.len(), part.samples.len()), (1, 1, 1));
        assert_eq!(part.stacks[0].stack_id, "b");
    }
}
