//! Flat and cumulative sums of one heap profile, by function, line, file, crate, stack or instruction.
//!
//! *Flat* bytes of a row are those of the stacks that it owns; *cumulative* ones those of every stack that
//! it occurs in, each counted once. The sampling is undone stack by stack, before anything is added.

use crate::analysis::estimate::{Estimated, unsample};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::{By, Hidden, PlaceId, Places, Rows, Shown, Walk};
use crate::model::heap::{HeapProfile, Sampled};
use crate::model::stack::StackId;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::cmp::Ordering;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The heaviest of its places, for name, file and line.
    pub place: PlaceId,
    /// For [`By::Stack`] the places of the stack, innermost first; else empty.
    pub stack: Vec<PlaceId>,
    /// Of stacks that it owns.
    pub flat: Estimated,
    /// Of stacks that it occurs in.
    pub cum: Estimated,
    /// The container operation behind most of its flat bytes.
    pub container: Option<&'static str>,
}

/// Flat and cumulative sums.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    /// Heaviest first.
    pub rows: Vec<Row>,
    /// All stacks that the filter keeps.
    pub total: Estimated,
    /// How many these are.
    pub stacks: usize,
    /// Stacks that the filter leaves out.
    pub left_out: Estimated,
    /// How many these are.
    pub left_out_stacks: usize,
    /// Functions that are not shown.
    pub hidden: Hidden,
}

/// Counts of a profile that a view looks at: one entry per record, those of one thread where asked for.
pub fn counts<'p>(profile: &'p HeapProfile, filter: &'p Filter, measure: Measure) -> Box<dyn Iterator<Item = (StackId, Sampled)> + 'p> {
    if filter.thread.is_none() {
        return Box::new(profile.samples.iter().map(move |sample| (sample.stack, measure.of(sample))));
    }
    let wanted: Vec<bool> = profile.threads.iter().map(|thread| filter.thread_fits(thread.uid, thread.name.as_deref())).collect();
    let of_thread = profile.thread_samples.iter().filter(move |sample| wanted.get(sample.thread as usize).copied().unwrap_or(false));
    Box::new(of_thread.map(move |sample| (sample.stack, measure.of_thread(sample))))
}

/// Sums `profile`, whose stacks are shown by `shown`, over the rows of `table`.
pub fn top(table: &Places, shown: &mut Shown<'_>, profile: &HeapProfile, filter: &Filter, measure: Measure, sort_cum: bool) -> Top {
    let sampling = filter.sampling(profile);
    let mut sums = Sums::new(table);
    let mut result = Top { hidden: shown.hidden(), ..Top::default() };
    let mut walk = Walk::default();
    for (stack, counts) in counts(profile, filter, measure) {
        let estimate = unsample(counts, sampling);
        if !filter.size_fits(counts) || !shown.walk(stack, table, &mut walk) {
            result.left_out = result.left_out.plus(estimate);
            result.left_out_stacks += 1;
            continue;
        }
        result.total = result.total.plus(estimate);
        result.stacks += 1;
        sums.add(&walk, value(&estimate, measure), |sum: &mut Estimated| *sum = sum.plus(estimate));
    }
    result.rows = sums.map(table, |shell, flat, cum| Row { place: shell.place, stack: shell.stack, flat, cum, container: shell.container });
    let key = |row: &Row| value(if sort_cum { &row.cum } else { &row.flat }, measure);
    let second = |row: &Row| value(if sort_cum { &row.flat } else { &row.cum }, measure);
    result.rows.sort_by(|a, b| {
        heavier(key(a), key(b))
            .then(heavier(second(a), second(b)))
            .then_with(|| row_by_name(table, (a.place, &a.stack), (b.place, &b.stack)))
    });
    result
}

/// The number that `measure` looks at.
pub fn value(estimate: &Estimated, measure: Measure) -> f64 {
    if measure.is_objects() { estimate.objects } else { estimate.bytes }
}

pub(super) fn heavier(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// The order of rows of equal weight.
pub(super) fn row_by_name(table: &Places, a: (PlaceId, &[PlaceId]), b: (PlaceId, &[PlaceId])) -> Ordering {
    let stacks = a.1.iter().zip(b.1).map(|(&a, &b)| by_name(table, a, b)).find(|order| order.is_ne());
    by_name(table, a.0, b.0).then(stacks.unwrap_or(a.1.len().cmp(&b.1.len())))
}

/// By what is printed of a place: an order that does not depend on when it was seen.
pub(super) fn by_name(table: &Places, a: PlaceId, b: PlaceId) -> Ordering {
    let key = |id: PlaceId| {
        let place = table.get(id);
        (table.function(id), place.file.map(|f| table.text(f)), place.line, place.module.map(|m| table.text(m)), place.address)
    };
    key(a).cmp(&key(b))
}

/// A row without its sums.
pub(super) struct Shell {
    pub place: PlaceId,
    pub stack: Vec<PlaceId>,
    pub container: Option<&'static str>,
}

/// Rows in the making: which stack adds to which.
pub(super) struct Sums<E> {
    by: By,
    rows: Rows,
    /// For [`By::Stack`], the rows: places of the stack to number and owner.
    stacks: HashMap<Vec<PlaceId>, (u32, PlaceId), FxBuildHasher>,
    pub flats: Vec<E>,
    pub cums: Vec<E>,
    /// Weight of each place as owner, and as any frame: the heaviest place names its row.
    weights: Vec<(f64, f64)>,
    /// Weight of each container operation by row.
    containers: HashMap<(u32, &'static str), f64, FxBuildHasher>,
    /// The stack that touched a row last, so that recursion counts once; 0 for none.
    seen: Vec<u32>,
    stamp: u32,
}

impl<E: Copy + Default> Sums<E> {
    pub fn new(table: &Places) -> Self {
        let rows = table.rows();
        let count = if table.by() == By::Stack { 0 } else { rows.len() };
        Sums {
            by: table.by(),
            stacks: HashMap::default(),
            flats: vec![E::default(); count],
            cums: vec![E::default(); count],
            weights: vec![(0.0, 0.0); table.len()],
            containers: HashMap::default(),
            seen: vec![0; count],
            stamp: 0,
            rows,
        }
    }

    /// Adds a stack: `flat` to the row that owns it, `cum` to each row that it occurs in; `weight` decides
    /// which place names a row.
    pub fn add(&mut self, walk: &Walk, weight: f64, mut add: impl FnMut(&mut E)) {
        let owner = walk.places[walk.owner];
        let weight = weight.abs();
        let flat = if self.by == By::Stack {
            let row = self.stack_row(walk);
            add(&mut self.cums[row]);
            row
        } else {
            self.stamp += 1;
            for &place in &walk.places {
                self.weights[place.index()].1 += weight;
                let row = self.rows.of(place);
                if self.seen[row] != self.stamp {
                    self.seen[row] = self.stamp;
                    add(&mut self.cums[row]);
                }
            }
            self.weights[owner.index()].0 += weight;
            self.rows.of(owner)
        };
        add(&mut self.flats[flat]);
        if let Some(container) = walk.container {
            *self.containers.entry((flat as u32, container)).or_insert(0.0) += weight;
        }
    }

    fn stack_row(&mut self, walk: &Walk) -> usize {
        if let Some(&(row, _)) = self.stacks.get(&walk.places) {
            return row as usize;
        }
        let row = self.stacks.len();
        self.stacks.insert(walk.places.clone(), (row as u32, walk.places[walk.owner]));
        self.flats.push(E::default());
        self.cums.push(E::default());
        row
    }

    /// Every row that a stack touched, made of its shell, its flat and its cumulative sum.
    pub fn map<R>(&self, table: &Places, mut make: impl FnMut(Shell, E, E) -> R) -> Vec<R> {
        let mut containers = self.heaviest_containers();
        let mut shells: Vec<(usize, PlaceId, Vec<PlaceId>)> = if self.by == By::Stack {
            self.stacks.iter().map(|(stack, &(row, owner))| (row as usize, owner, stack.clone())).collect()
        } else {
            let places = self.heaviest_places(table).into_iter().enumerate();
            places.filter_map(|(row, place)| Some((row, place?, Vec::new()))).collect()
        };
        shells.sort_unstable_by_key(|(row, ..)| *row);
        let make = |(row, place, stack): (usize, PlaceId, Vec<PlaceId>)| {
            let container = containers[row].take().map(|(name, _)| name);
            make(Shell { place, stack, container }, self.flats[row], self.cums[row])
        };
        shells.into_iter().map(make).collect()
    }

    fn heaviest_containers(&self) -> Vec<Option<(&'static str, f64)>> {
        let mut heaviest: Vec<Option<(&'static str, f64)>> = vec![None; self.flats.len()];
        for (&(row, container), &weight) in &self.containers {
            let best = &mut heaviest[row as usize];
            // Equal weights: the first by name, whatever the order of the map.
            if best.is_none_or(|(name, most)| weight > most || (weight == most && container < name)) {
                *best = Some((container, weight));
            }
        }
        heaviest
    }

    fn heaviest_places(&self, table: &Places) -> Vec<Option<PlaceId>> {
        let mut heaviest: Vec<Option<PlaceId>> = vec![None; self.rows.len()];
        for place in (0..table.len() as u32).map(PlaceId) {
            let row = self.rows.of(place);
            if self.seen[row] == 0 {
                continue;
            }
            let weight = self.weights[place.index()];
            let better = |other: PlaceId| {
                let theirs = self.weights[other.index()];
                weight.0.total_cmp(&theirs.0).then(weight.1.total_cmp(&theirs.1)).then_with(|| by_name(table, other, place)).is_gt()
            };
            if heaviest[row].is_none_or(better) {
                heaviest[row] = Some(place);
            }
        }
        heaviest
    }
}
