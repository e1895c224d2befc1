//! What grew and shrank between two heap profiles, with the error of the difference.
//!
//! Two dumps of one process share their samples: an object that lives through both cancels, so the change of each
//! stack has its own, smaller error. Dumps of different processes are independent samples: their variances add.

use crate::analysis::estimate::{Delta, Estimated, Interval, Side, delta_independent, delta_same_process, unsample};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::{Hidden, PlaceId, Places, Shown, Walk};
use crate::analysis::top::{Sums, counts, heavier, row_by_name, value};
use crate::model::heap::{HeapProfile, Sampled, Sampling};
use crate::model::stack::StackId;
use statrs::distribution::{ContinuousCDF, Normal};

/// How the stacks of the two sides were matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// One process: by address.
    Address,
    /// The same binaries in another process: by module and address in it.
    Module,
    /// Another build: by normalized names.
    Name,
}

impl Match {
    /// As JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Match::Address => "address",
            Match::Module => "module",
            Match::Name => "name",
        }
    }

    /// As a sentence has it.
    pub fn sentence(self) -> &'static str {
        match self {
            Match::Address => "same process, matched by address",
            Match::Module => "another process of the same binary, matched by module and offset",
            Match::Name => "another build, matched by normalized names",
        }
    }
}

/// Both sides of a sum and the change between them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// In the first profile.
    pub base: Estimated,
    /// In the second.
    pub current: Estimated,
    /// The second less the first, with its own error.
    pub delta: Delta,
}

impl Change {
    fn plus(self, other: Change) -> Change {
        Change { base: self.base.plus(other.base), current: self.current.plus(other.current), delta: self.delta.plus(other.delta) }
    }

    /// The 95 % interval of the change in bytes. Nothing shrinks by more than it was.
    pub fn interval(&self) -> Interval {
        let interval = self.delta.interval();
        Interval { low: interval.low.max(-self.base.interval().high.max(self.base.bytes)).min(interval.estimate), ..interval }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffRow {
    /// The heaviest of its places, for name, file and line.
    pub place: PlaceId,
    /// For rows by stack the places, innermost first; else empty.
    pub stack: Vec<PlaceId>,
    /// Of stacks that it owns.
    pub flat: Change,
    /// Of stacks that it occurs in.
    pub cum: Change,
    /// The container operation behind most of the change.
    pub container: Option<&'static str>,
    /// The flat change is beyond what sampling alone makes of that many rows (5 % for all of them together).
    pub significant: bool,
}

/// A difference of two profiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// Most growth first, most shrinkage last.
    pub rows: Vec<DiffRow>,
    /// All stacks that the filter keeps.
    pub total: Change,
    /// How many these are, of either side.
    pub stacks: usize,
    /// How many stacks the filter leaves out.
    pub left_out_stacks: usize,
    /// What the filter leaves out.
    pub left_out: Change,
    /// Functions that are not shown.
    pub hidden: Hidden,
    /// How stacks were matched.
    pub matched: Match,
}

/// What is looked at, and how rows are ordered.
#[derive(Clone, Copy, Debug)]
pub struct DiffOptions<'a> {
    /// Which stacks and frames.
    pub filter: &'a Filter,
    /// Which number.
    pub measure: Measure,
    /// Order by cumulative change.
    pub sort_cum: bool,
}

/// The change between two dumps of one process, whose stacks are all in `shown`.
pub fn same_process(
    table: &Places,
    shown: &mut Shown<'_>,
    base: &HeapProfile,
    current: &HeapProfile,
    stacks: usize,
    options: DiffOptions<'_>,
) -> Diff {
    let before = by_stack(base, stacks, options);
    let after = by_stack(current, stacks, options);
    let mut adding = Adding::new(table, options, shown.hidden(), Match::Address);
    for (stack, counts, change) in changes(base, current, &before, &after, options) {
        adding.stack(table, shown, stack, counts, change);
    }
    adding.finish(table)
}

/// The change of all stacks that `kept` keeps, between two dumps of one process.
pub fn total_of(
    base: &HeapProfile,
    current: &HeapProfile,
    stacks: usize,
    options: DiffOptions<'_>,
    kept: impl Fn(StackId) -> bool,
) -> Change {
    let before = by_stack(base, stacks, options);
    let after = by_stack(current, stacks, options);
    let changes = changes(base, current, &before, &after, options);
    changes.filter(|(stack, ..)| kept(*stack)).fold(Change::default(), |sum, (_, _, change)| sum.plus(change))
}

/// The change of each stack that either dump has, with its counts.
fn changes<'c>(
    base: &HeapProfile,
    current: &HeapProfile,
    before: &'c [Counted],
    after: &'c [Counted],
    options: DiffOptions<'c>,
) -> impl Iterator<Item = (StackId, Sampled, Change)> + 'c {
    // The sampling interval changed: all earlier samples were dropped, and nothing cancels.
    let shared = options.filter.sampling(base) == options.filter.sampling(current);
    let sampling = options.filter.sampling(current);
    (0u32..).zip(before.iter().zip(after)).filter(|(_, (b, a))| b.records + a.records > 0).map(move |(index, (b, a))| {
        let change = if shared { shared_change(b, a, sampling, options.measure) } else { independent_change(b.estimate, a.estimate) };
        (StackId(index), if a.records > 0 { a.counts } else { b.counts }, change)
    })
}

/// The change between dumps of two processes, or of two builds where `table` compares normalized names.
pub fn independent(
    table: &Places,
    (base_shown, base): (&mut Shown<'_>, &HeapProfile),
    (current_shown, current): (&mut Shown<'_>, &HeapProfile),
    matched: Match,
    options: DiffOptions<'_>,
) -> Diff {
    let mut adding = Adding::new(table, options, max(base_shown.hidden(), current_shown.hidden()), matched);
    let sampling = options.filter.sampling(base);
    for (stack, counts) in counts(base, options.filter, options.measure) {
        adding.stack(table, base_shown, stack, counts, independent_change(unsample(counts, sampling), Estimated::default()));
    }
    let sampling = options.filter.sampling(current);
    for (stack, counts) in counts(current, options.filter, options.measure) {
        adding.stack(table, current_shown, stack, counts, independent_change(Estimated::default(), unsample(counts, sampling)));
    }
    adding.finish(table)
}

fn max(a: Hidden, b: Hidden) -> Hidden {
    Hidden {
        allocator: a.allocator.max(b.allocator),
        library: a.library.max(b.library),
        runtime: a.runtime.max(b.runtime),
        by_options: a.by_options.max(b.by_options),
    }
}

/// One stack of one dump; the same stack may stand in several records.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    records: u32,
    counts: Sampled,
    accumulated: Option<Sampled>,
    estimate: Estimated,
}

fn by_stack(profile: &HeapProfile, stacks: usize, options: DiffOptions<'_>) -> Vec<Counted> {
    let sampling = options.filter.sampling(profile);
    let mut by_stack = vec![Counted::default(); stacks];
    for (stack, counts) in counts(profile, options.filter, options.measure) {
        let Some(sum) = by_stack.get_mut(stack.index()) else { continue };
        sum.records += 1;
        sum.counts = sum.counts.plus(counts);
        sum.estimate = sum.estimate.plus(unsample(counts, sampling));
    }
    // Births and deaths tell the error of live counts; those of a thread are not told apart.
    if profile.accumulated && !options.measure.is_accumulated() && options.filter.thread.is_none() {
        for sample in &profile.samples {
            let Some(sum) = by_stack.get_mut(sample.stack.index()) else { continue };
            sum.accumulated = Some(sum.accumulated.unwrap_or_default().plus(sample.accumulated));
        }
    }
    by_stack
}

fn shared_change(before: &Counted, after: &Counted, sampling: Sampling, measure: Measure) -> Change {
    // A stack that is in one dump only had nothing accumulated before it came, and keeps what it had.
    let none = Some(Sampled::default()).filter(|_| after.accumulated.or(before.accumulated).is_some());
    let side = |counted: &Counted| Side { live: counted.counts, accumulated: counted.accumulated.or(none) };
    let mut delta = delta_same_process(side(before), side(after), sampling);
    // Records are unsampled one by one, so the change is that of their sums.
    delta.bytes = after.estimate.bytes - before.estimate.bytes;
    delta.objects = after.estimate.objects - before.estimate.objects;
    if measure.is_accumulated() {
        // What was counted once stays counted: only the new samples add error.
        delta.variance = delta.variance_low;
    }
    Change { base: before.estimate, current: after.estimate, delta }
}

/// Of independent samples.
pub fn independent_change(base: Estimated, current: Estimated) -> Change {
    Change { base, current, delta: delta_independent(base, current) }
}

struct Adding<'o> {
    options: DiffOptions<'o>,
    sums: Sums<Change>,
    walk: Walk,
    diff: Diff,
}

impl<'o> Adding<'o> {
    fn new(table: &Places, options: DiffOptions<'o>, hidden: Hidden, matched: Match) -> Self {
        let diff = Diff {
            rows: Vec::new(),
            total: Change::default(),
            stacks: 0,
            left_out_stacks: 0,
            left_out: Change::default(),
            hidden,
            matched,
        };
        Adding { options, sums: Sums::new(table), walk: Walk::default(), diff }
    }

    fn stack(&mut self, table: &Places, shown: &mut Shown<'_>, stack: StackId, counts: Sampled, change: Change) {
        if !self.options.filter.size_fits(counts) || !shown.walk(stack, table, &mut self.walk) {
            self.diff.left_out = self.diff.left_out.plus(change);
            self.diff.left_out_stacks += 1;
            return;
        }
        self.diff.total = self.diff.total.plus(change);
        self.diff.stacks += 1;
        let weight = delta_value(&change, self.options.measure);
        self.sums.add(&self.walk, weight, |sum: &mut Change| *sum = sum.plus(change));
    }

    fn finish(mut self, table: &Places) -> Diff {
        let options = self.options;
        let mut rows = self.sums.map(table, |shell, flat, cum| DiffRow {
            place: shell.place,
            stack: shell.stack,
            flat,
            cum,
            container: shell.container,
            significant: false,
        });
        let z = quantile(rows.iter().filter(|row| row.flat.delta.bytes != 0.0).count());
        for row in &mut rows {
            let delta = &row.flat.delta;
            row.significant = delta.bytes != 0.0 && delta.bytes.abs() > z * delta.variance.max(0.0).sqrt();
        }
        let key = |row: &DiffRow| delta_value(if options.sort_cum { &row.cum } else { &row.flat }, options.measure);
        let second = |row: &DiffRow| delta_value(if options.sort_cum { &row.flat } else { &row.cum }, options.measure);
        rows.sort_by(|a, b| {
            heavier(key(a), key(b))
                .then(heavier(second(a), second(b)))
                .then_with(|| row_by_name(table, (a.place, &a.stack), (b.place, &b.stack)))
        });
        self.diff.rows = rows;
        self.diff
    }
}

/// The change of the number that `measure` looks at.
pub fn delta_value(change: &Change, measure: Measure) -> f64 {
    value(&change.current, measure) - value(&change.base, measure)
}

/// Standard errors beyond which one of `tests` changes is significant, 5 % for all together (Bonferroni).
fn quantile(tests: usize) -> f64 {
    Normal::standard().inverse_cdf(1.0 - 0.025 / tests.max(1) as f64)
}
