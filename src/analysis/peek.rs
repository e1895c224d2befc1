//! Functions looked at closely: who calls them and what they call, and the bytes of each of their lines.

use crate::analysis::estimate::{Estimated, unsample};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::{PlaceId, Places, Rows, Shown, Walk};
use crate::analysis::top::{by_name, counts, heavier, value};
use crate::model::heap::HeapProfile;
use hashbrown::HashMap;
use regex::Regex;
use rustc_hash::FxBuildHasher;

/// A function with its neighbors in stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Peeked {
    /// A place of it.
    pub place: PlaceId,
    /// Of stacks that it owns.
    pub flat: Estimated,
    /// Of stacks that it occurs in.
    pub cum: Estimated,
    /// Who calls it, heaviest first; `None` where a stack begins with it.
    pub callers: Vec<(Option<PlaceId>, Estimated)>,
    /// What it calls, heaviest first; `None` where no visible frame is inside of it.
    pub callees: Vec<(Option<PlaceId>, Estimated)>,
}

/// Functions that match, with the total of all stacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peek {
    /// Heaviest first.
    pub functions: Vec<Peeked>,
    /// All stacks that the filter keeps.
    pub total: Estimated,
    /// How many these are.
    pub stacks: usize,
    /// Records that the filter leaves out.
    pub left_out: usize,
}

/// A sum to which each stack adds once, however often it recurs in it.
#[derive(Clone, Copy, Debug, Default)]
struct Once {
    sum: Estimated,
    /// Number of the stack that was added last, from 1.
    last: usize,
}

impl Once {
    fn add(&mut self, stack: usize, estimate: Estimated) {
        if self.last != stack {
            self.last = stack;
            self.sum = self.sum.plus(estimate);
        }
    }
}

type Edges = HashMap<(u32, Option<u32>), Once, FxBuildHasher>;

/// Looks at the functions whose name matches `re`.
pub fn peek(table: &Places, shown: &mut Shown<'_>, profile: &HeapProfile, filter: &Filter, measure: Measure, re: &Regex) -> Peek {
    let rows = table.rows();
    let wanted: Vec<bool> = (0..rows.len()).map(|row| re.is_match(table.label(rows.first(row)))).collect();
    let mut sums: HashMap<u32, (Estimated, Once), FxBuildHasher> = HashMap::default();
    let (mut callers, mut callees) = (Edges::default(), Edges::default());
    let all = each(table, shown, profile, (filter, measure), |stack, walk, estimate| {
        let at = |index: usize| walk.places.get(index).map(|&place| rows.of(place) as u32);
        for index in 0..walk.places.len() {
            let Some(row) = at(index).filter(|&row| wanted[row as usize]) else { continue };
            let (flat, cum) = sums.entry(row).or_default();
            cum.add(stack, estimate);
            if index == walk.owner {
                *flat = flat.plus(estimate);
            }
            callers.entry((row, at(index + 1))).or_default().add(stack, estimate);
            callees.entry((row, index.checked_sub(1).and_then(at))).or_default().add(stack, estimate);
        }
    });
    let functions = sums.into_iter().map(|(row, (flat, cum))| Peeked {
        place: rows.first(row as usize),
        flat,
        cum: cum.sum,
        callers: neighbors(table, &rows, &callers, row, measure),
        callees: neighbors(table, &rows, &callees, row, measure),
    });
    let mut functions: Vec<Peeked> = functions.collect();
    functions.sort_by(|a, b| heavier(value(&a.cum, measure), value(&b.cum, measure)).then_with(|| by_name(table, a.place, b.place)));
    Peek { functions, total: all.total, stacks: all.stacks, left_out: all.left_out }
}

fn neighbors(table: &Places, rows: &Rows, edges: &Edges, of: u32, measure: Measure) -> Vec<(Option<PlaceId>, Estimated)> {
    let place = |row: Option<u32>| row.map(|row| rows.first(row as usize));
    let mut list: Vec<(Option<PlaceId>, Estimated)> =
        edges.iter().filter(|((row, _), _)| *row == of).map(|((_, other), once)| (place(*other), once.sum)).collect();
    let name = |place: Option<PlaceId>| place.map(|place| (table.label(place), table.get(place).line));
    list.sort_by(|a, b| heavier(value(&a.1, measure), value(&b.1, measure)).then_with(|| name(a.0).cmp(&name(b.0))));
    list
}

/// A line with its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineSum {
    /// Line of the source; `None` where no line is known.
    pub line: Option<u32>,
    /// Of stacks that it owns.
    pub flat: Estimated,
    /// Of stacks that it occurs in.
    pub cum: Estimated,
}

/// A function in one file, line by line.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// A place of it.
    pub place: PlaceId,
    /// Of stacks that it owns.
    pub flat: Estimated,
    /// Of stacks that it occurs in.
    pub cum: Estimated,
    /// Lines with bytes, ascending.
    pub lines: Vec<LineSum>,
}

/// Functions that match, line by line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Heaviest first.
    pub functions: Vec<Listed>,
    /// All stacks that the filter keeps.
    pub total: Estimated,
    /// How many these are.
    pub stacks: usize,
    /// Records that the filter leaves out.
    pub left_out: usize,
}

/// Sums the lines of the functions whose name matches `re`.
pub fn list(table: &Places, shown: &mut Shown<'_>, profile: &HeapProfile, filter: &Filter, measure: Measure, re: &Regex) -> List {
    // A function may stand in several files: where it is inlined from headers, or generated.
    let key = |place: PlaceId| (table.get(place).function, table.get(place).file);
    let wanted: Vec<bool> = (0..table.len() as u32).map(|i| re.is_match(table.function(PlaceId(i)))).collect();
    let mut functions: HashMap<_, Sum, FxBuildHasher> = HashMap::default();
    let all = each(table, shown, profile, (filter, measure), |stack, walk, estimate| {
        for (index, &place) in walk.places.iter().enumerate() {
            if !wanted[place.index()] {
                continue;
            }
            let line = table.get(place).line;
            let new = || Sum { place, flat: Estimated::default(), cum: Once::default(), lines: HashMap::default() };
            let function = functions.entry(key(place)).or_insert_with(new);
            let (flat, cum) = function.lines.entry(line).or_default();
            function.cum.add(stack, estimate);
            cum.add(stack, estimate);
            if index == walk.owner {
                function.flat = function.flat.plus(estimate);
                *flat = flat.plus(estimate);
            }
        }
    });
    let listed = functions.into_values().map(|sum| {
        let mut lines: Vec<LineSum> = sum.lines.into_iter().map(|(line, (flat, cum))| LineSum { line, flat, cum: cum.sum }).collect();
        lines.sort_by_key(|sum| sum.line);
        Listed { place: sum.place, flat: sum.flat, cum: sum.cum.sum, lines }
    });
    let mut functions: Vec<Listed> = listed.collect();
    functions.sort_by(|a, b| heavier(value(&a.cum, measure), value(&b.cum, measure)).then_with(|| by_name(table, a.place, b.place)));
    List { functions, total: all.total, stacks: all.stacks, left_out: all.left_out }
}

/// A function in the making.
struct Sum {
    place: PlaceId,
    flat: Estimated,
    cum: Once,
    lines: HashMap<Option<u32>, (Estimated, Once), FxBuildHasher>,
}

/// What a look is made over.
struct Seen {
    total: Estimated,
    stacks: usize,
    left_out: usize,
}

/// Calls `with` for every stack that the filter keeps, with its number from 1.
fn each(
    table: &Places,
    shown: &mut Shown<'_>,
    profile: &HeapProfile,
    (filter, measure): (&Filter, Measure),
    mut with: impl FnMut(usize, &Walk, Estimated),
) -> Seen {
    let sampling = filter.sampling(profile);
    let mut seen = Seen { total: Estimated::default(), stacks: 0, left_out: 0 };
    let mut walk = Walk::default();
    for (stack, counts) in counts(profile, filter, measure) {
        if !filter.size_fits(counts) || !shown.walk(stack, table, &mut walk) {
            seen.left_out += 1;
            continue;
        }
        let estimate = unsample(counts, sampling);
        seen.total = seen.total.plus(estimate);
        seen.stacks += 1;
        with(seen.stacks, &walk, estimate);
    }
    seen
}
