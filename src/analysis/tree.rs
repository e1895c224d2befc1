//! The call tree of one profile, or of two beside each other, without branches too small to show.
//!
//! No trie of all frames is built: stacks are partitioned by frame from the root, and a branch below the
//! threshold is dropped before it is looked into. Depth is bounded by memory only, not by recursion.

use crate::analysis::estimate::{Estimated, unsample};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::{By, PlaceId, Places, Rows, Shown, Walk};
use crate::analysis::top::{by_name, counts, heavier, value};
use crate::model::heap::HeapProfile;
use crate::model::stack::StackId;
use std::ops::Range;

/// Which profile of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The first.
    Base,
    /// The second, or the only one.
    Current,
}

/// A number in both profiles; with one profile alone the base is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weight {
    /// In the first profile of a difference.
    pub base: f64,
    /// In the second profile, or the only one.
    pub current: f64,
}

impl Weight {
    fn plus(self, other: Weight) -> Weight {
        Weight { base: self.base + other.base, current: self.current + other.current }
    }

    fn less(self, other: Weight) -> Weight {
        Weight { base: self.base - other.base, current: self.current - other.current }
    }

    /// The larger of both.
    pub fn larger(&self) -> f64 {
        self.base.max(self.current)
    }

    /// The current number less that of the base.
    pub fn delta(&self) -> f64 {
        self.current - self.base
    }
}

/// One stack as rows, with its weight.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: u32,
    end: u32,
    weight: Weight,
}

/// Stacks as rows from the root to the leaf.
#[derive(Debug)]
pub struct Paths {
    rows: Rows,
    /// Rows of every item, root first.
    steps: Vec<u32>,
    items: Vec<Item>,
    /// For each stack of the process in work its item, if it has one.
    item_of: Vec<u32>,
    /// Adjacent frames of one row are one step: a file that calls itself.
    merge: bool,
    /// What the filter keeps of the first and of the second profile.
    pub total: (Estimated, Estimated),
    /// Distinct stacks that the filter keeps.
    pub stacks: usize,
    /// Records that the filter leaves out.
    pub left_out: usize,
}

const NEW: u32 = u32::MAX;
const LEFT_OUT: u32 = u32::MAX - 1;

impl Paths {
    /// No stacks yet, over the rows of `table`.
    pub fn new(table: &Places) -> Self {
        Paths {
            rows: table.rows(),
            steps: Vec::new(),
            items: Vec::new(),
            item_of: Vec::new(),
            merge: !matches!(table.by(), By::Function | By::Stack),
            total: Default::default(),
            stacks: 0,
            left_out: 0,
        }
    }

    /// What is added from now on is of another process: its stacks are others.
    pub fn next_process(&mut self) {
        self.item_of.clear();
    }

    /// Adds the stacks of one profile, whose stacks are shown by `shown`.
    pub fn add(&mut self, table: &Places, shown: &mut Shown<'_>, profile: &HeapProfile, which: Which, filter: &Filter, measure: Measure) {
        let sampling = filter.sampling(profile);
        let mut walk = Walk::default();
        for (stack, counts) in counts(profile, filter, measure) {
            if !filter.size_fits(counts) {
                self.left_out += 1;
                continue;
            }
            if stack.index() >= self.item_of.len() {
                self.item_of.resize(stack.index() + 1, NEW);
            }
            if self.item_of[stack.index()] == NEW {
                let kept = shown.walk(stack, table, &mut walk);
                self.item_of[stack.index()] = if kept { self.new_item(&walk) } else { LEFT_OUT };
            }
            let Some(item) = self.items.get_mut(self.item_of[stack.index()] as usize) else {
                self.left_out += 1;
                continue;
            };
            let estimate = unsample(counts, sampling);
            let number = value(&estimate, measure);
            match which {
                Which::Base => {
                    self.total.0 = self.total.0.plus(estimate);
                    item.weight.base += number;
                }
                Which::Current => {
                    self.total.1 = self.total.1.plus(estimate);
                    item.weight.current += number;
                }
            }
        }
    }

    /// Turns every path round: the innermost frame becomes the root.
    pub fn reverse(&mut self) {
        for item in &self.items {
            if let Some(path) = self.steps.get_mut(item.start as usize..item.end as usize) {
                path.reverse();
            }
        }
    }

    /// The item of a new stack; left out beyond what 32 bits count.
    fn new_item(&mut self, walk: &Walk) -> u32 {
        if self.steps.len() + walk.places.len() >= u32::MAX as usize {
            return LEFT_OUT;
        }
        let start = self.steps.len() as u32;
        for &place in walk.places.iter().rev() {
            let row = self.rows.of(place) as u32;
            let repeats = self.merge && self.steps.len() > start as usize && self.steps.last() == Some(&row);
            if !repeats {
                self.steps.push(row);
            }
        }
        self.items.push(Item { start, end: self.steps.len() as u32, weight: Weight::default() });
        self.stacks += 1;
        self.items.len() as u32 - 1
    }

    /// Whether a stack of the process added last is among those that the filter keeps.
    pub fn keeps(&self, stack: StackId) -> bool {
        self.item_of.get(stack.index()).is_some_and(|&item| item != NEW && item != LEFT_OUT)
    }

    /// Both profiles' numbers of everything.
    pub fn weight(&self) -> Weight {
        self.items.iter().fold(Weight::default(), |sum, item| sum.plus(item.weight))
    }

    /// Each distinct path, root first, with its weight, in order of the names along it.
    pub fn folded(&self, table: &Places) -> Vec<(Vec<PlaceId>, Weight)> {
        let path = |item: &Item| self.steps.get(item.start as usize..item.end as usize).unwrap_or_default();
        let mut order: Vec<&Item> = self.items.iter().collect();
        order.sort_by(|a, b| path(a).cmp(path(b)));
        let mut folded: Vec<(&[u32], Weight)> = Vec::new();
        for item in order {
            match folded.last_mut() {
                Some((last, weight)) if *last == path(item) => *weight = weight.plus(item.weight),
                _ => folded.push((path(item), item.weight)),
            }
        }
        let mut named: Vec<(Vec<PlaceId>, Weight)> =
            folded.into_iter().map(|(path, weight)| (path.iter().map(|&row| self.rows.first(row as usize)).collect(), weight)).collect();
        named.sort_by(|(a, _), (b, _)| a.iter().map(|&p| table.label(p)).cmp(b.iter().map(|&p| table.label(p))));
        named
    }
}

/// One node of a call tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// What it stands for; `None` for the root.
    pub place: Option<PlaceId>,
    /// Distance from the root, which has 0.
    pub depth: u32,
    /// Index of the caller; the root is its own.
    pub parent: u32,
    /// Index of the next node that is not below this one.
    pub next: u32,
    /// With everything called from here.
    pub weight: Weight,
    /// Without the callees that are shown.
    pub own: Weight,
    /// The larger number of both profiles for `own`, plus that of the callees: what it is drawn as.
    pub width: f64,
}

/// A call tree: callers before callees, of callees the heaviest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The root first.
    pub nodes: Vec<Node>,
    /// Branches that were too small to show.
    pub pruned: usize,
}

impl Tree {
    /// The callees of a node, heaviest first.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let mut at = index + 1;
        let end = self.nodes.get(index).map_or(0, |node| node.next as usize);
        std::iter::from_fn(move || {
            let child = (at < end).then_some(at)?;
            at = self.nodes[child].next as usize;
            Some(child)
        })
    }
}

/// Items that share their first steps, and the last of these.
struct Group {
    items: Range<usize>,
    row: Option<u32>,
    parent: u32,
    depth: u32,
    weight: Weight,
}

/// Builds the tree of `paths` without branches below `least` in both profiles.
pub fn build(paths: &Paths, table: &Places, least: f64) -> Tree {
    let mut order: Vec<u32> = (0..paths.items.len() as u32).collect();
    let mut split = Split {
        paths,
        table,
        least,
        sums: vec![(Weight::default(), 0); paths.rows.len()],
        steps: Vec::new(),
        moved: Vec::new(),
        pruned: 0,
    };
    let mut nodes: Vec<Node> = Vec::new();
    // The heaviest callee is pushed last and taken up next, so nodes come out callers first.
    let mut work = vec![Group { items: 0..order.len(), row: None, parent: 0, depth: 0, weight: paths.weight() }];
    while let Some(group) = work.pop() {
        let index = nodes.len() as u32;
        nodes.push(Node {
            place: group.row.map(|row| paths.rows.first(row as usize)),
            depth: group.depth,
            parent: group.parent,
            next: index + 1,
            weight: group.weight,
            own: group.weight,
            width: 0.0,
        });
        work.extend(split.callees(&mut order, &group, index).into_iter().rev());
    }
    // Callees come after their caller: from the end, each is complete when its caller needs it.
    for index in (0..nodes.len()).rev() {
        let node = nodes[index];
        nodes[index].width += node.own.larger().max(0.0);
        let width = nodes[index].width;
        if node.depth > 0 {
            let caller = &mut nodes[node.parent as usize];
            caller.own = caller.own.less(node.weight);
            caller.width += width;
            caller.next = caller.next.max(node.next);
        }
    }
    Tree { nodes, pruned: split.pruned }
}

struct Split<'a> {
    paths: &'a Paths,
    table: &'a Places,
    least: f64,
    /// Weight and number of the items by next row; zeros between calls.
    sums: Vec<(Weight, u32)>,
    /// Next row of each item of the group in work.
    steps: Vec<u32>,
    moved: Vec<u32>,
    pruned: usize,
}

/// An item that ends here, and a row that is not kept.
const NONE: u32 = u32::MAX;

impl Split<'_> {
    /// The callees of a group that are large enough, heaviest first; their items become neighbors in `order`.
    fn callees(&mut self, order: &mut [u32], group: &Group, index: u32) -> Vec<Group> {
        let paths = self.paths;
        let mut rows = Vec::new();
        self.steps.clear();
        for &item in &order[group.items.clone()] {
            let item = &paths.items[item as usize];
            let at = item.start + group.depth;
            if at >= item.end {
                self.steps.push(NONE);
                continue;
            }
            let row = paths.steps[at as usize];
            self.steps.push(row);
            let sum = &mut self.sums[row as usize];
            if sum.1 == 0 {
                rows.push(row);
            }
            *sum = (sum.0.plus(item.weight), sum.1 + 1);
        }
        let (mut kept, small): (Vec<u32>, Vec<u32>) = rows.iter().partition(|&&row| self.sums[row as usize].0.larger() >= self.least);
        self.pruned += small.len();
        kept.sort_by(|&a, &b| {
            let (wa, wb) = (self.sums[a as usize].0, self.sums[b as usize].0);
            let names = || by_name(self.table, paths.rows.first(a as usize), paths.rows.first(b as usize));
            heavier(wa.larger(), wb.larger()).then(heavier(wa.current, wb.current)).then_with(names)
        });
        let mut groups = Vec::with_capacity(kept.len());
        let mut at = 0;
        for &row in &kept {
            let (weight, count) = &mut self.sums[row as usize];
            let start = group.items.start + at as usize;
            let items = start..start + *count as usize;
            groups.push(Group { items, row: Some(row), parent: index, depth: group.depth + 1, weight: *weight });
            // From here the count says where the next item of the row goes.
            at += std::mem::replace(count, at);
        }
        for row in small {
            self.sums[row as usize].1 = NONE;
        }
        self.moved.clear();
        self.moved.resize(at as usize, 0);
        for (&item, &row) in order[group.items.clone()].iter().zip(&self.steps) {
            if row == NONE {
                continue;
            }
            let place = &mut self.sums[row as usize].1;
            if *place != NONE {
                self.moved[*place as usize] = item;
                *place += 1;
            }
        }
        order[group.items.start..group.items.start + at as usize].copy_from_slice(&self.moved);
        for row in rows {
            self.sums[row as usize] = (Weight::default(), 0);
        }
        groups
    }
}
