//! Pages: what `report`, `diff` and `flamegraph` put into one.

use crate::analysis::estimate::Interval;
use crate::analysis::explorer::{Collect, Explorer};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::finding::{Suspect, VerdictKind};
use crate::analysis::triage::Triage;
use crate::model::frame::Symbols;
use crate::model::mapping::AddressSpace;
use crate::model::snapshot::{Snapshot, TimeSource};
use crate::model::timeline::Timeline;
use crate::report::document::Block;
use crate::report::html::{Course, Data, Mark, Page, Start, Tone, render};

/// The page of a triage. `blocks` is the text report, whose suspects are the first of the triage that are not suppressed.
///
/// # Errors
/// Those of the template: none is expected.
pub fn triage(triage: &Triage, timeline: &Timeline, symbols: &Symbols, blocks: &[Block], all_frames: bool) -> anyhow::Result<String> {
    let (explorer, marks) = explore(timeline, symbols, &Filter::default());
    let suspects: Vec<&Suspect> = triage.suspects.iter().filter(|s| s.suppressed.is_none()).collect();
    let courses: Vec<Course> = suspects.iter().map(|suspect| course(suspect, triage)).collect();
    let start = Start { icicle: true, all_frames, ..Start::default() };
    let data = Data { explorer: &explorer, marks: &marks, ledger: Some(&triage.ledger), courses: &courses, start: &start };
    Ok(render(&Page { blocks, tone: tone(triage.verdict.kind), data })?)
}

/// One dump of a timeline with its names.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The process.
    pub timeline: &'a Timeline,
    /// Its names.
    pub symbols: &'a Symbols,
    /// Which snapshot.
    pub at: usize,
}

/// How a page begins, beside what the filter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Stacks turned round.
    pub reverse: bool,
    /// Differences in orange and purple.
    pub safe_colors: bool,
}

/// The page of one dump, or of two that are compared: of one process (`base.timeline` is that of `current`) or of two.
/// `text` is what the command prints as text.
///
/// # Errors
/// Those of the template: none is expected.
pub fn dumps(
    title: &str,
    text: &str,
    base: Option<Side<'_>>,
    current: Side<'_>,
    filter: &Filter,
    measure: Measure,
    look: Look,
) -> anyhow::Result<String> {
    let mut collect = Collect::default();
    let empty = AddressSpace::default();
    let mut marks = Vec::new();
    let mut add = |sides: &[Side<'_>], collect: &mut Collect| {
        let Some(first) = sides.first() else { return };
        let space = sides.iter().rev().find_map(|s| s.timeline.snapshots.get(s.at)?.heap.as_ref()).map_or(&empty, |heap| &heap.mappings);
        let mut process = collect.process(&first.timeline.stacks, first.symbols, space);
        for side in sides {
            let Some(snapshot) = side.timeline.snapshots.get(side.at) else { continue };
            if let Some(heap) = &snapshot.heap {
                collect.dump(&mut process, heap, filter);
                marks.push(mark(snapshot, Some(marks.len())));
            }
        }
    };
    match base {
        Some(base) if std::ptr::eq(base.timeline, current.timeline) => add(&[base, current], &mut collect),
        Some(base) => {
            add(&[base], &mut collect);
            add(&[current], &mut collect);
            // Times of two processes are not on one axis.
            for mark in &mut marks {
                mark.unix_ms = None;
            }
        }
        None => add(&[current], &mut collect),
    }
    let explorer = collect.finish();
    let pattern = |re: &Option<regex::Regex>| re.as_ref().map_or(String::new(), |re| re.as_str().to_owned());
    let start = Start {
        mode: match (base.is_some(), measure.is_accumulated()) {
            (_, true) => "allocated",
            (true, false) => "difference",
            (false, false) => "live",
        },
        unit: if measure.is_objects() { "objects" } else { "bytes" },
        by: "function",
        focus: pattern(&filter.focus),
        ignore: pattern(&filter.ignore),
        hide: pattern(&filter.hide),
        krate: filter.crate_name.clone().unwrap_or_default(),
        all_frames: filter.all_frames,
        icicle: true,
        reverse: look.reverse,
        safe_colors: look.safe_colors,
    };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut blocks = vec![Block::Title(title.to_owned())];
    if !lines.is_empty() {
        blocks.extend([Block::Heading("As text".to_owned()), Block::Code("", lines)]);
    }
    let data = Data { explorer: &explorer, marks: &marks, ledger: None, courses: &[], start: &start };
    Ok(render(&Page { blocks: &blocks, tone: Tone::Plain, data })?)
}

/// All dumps of a timeline, and its snapshots as marks.
fn explore(timeline: &Timeline, symbols: &Symbols, filter: &Filter) -> (Explorer, Vec<Mark>) {
    let mut collect = Collect::default();
    let empty = AddressSpace::default();
    let heaps = || timeline.snapshots.iter().filter_map(|s| s.heap.as_ref());
    let space = heaps().next_back().map_or(&empty, |heap| &heap.mappings);
    let mut process = collect.process(&timeline.stacks, symbols, space);
    for heap in heaps() {
        collect.dump(&mut process, heap, filter);
    }
    drop(process);
    let mut dumps = 0..;
    let marks = timeline.snapshots.iter().map(|snapshot| mark(snapshot, snapshot.heap.as_ref().and_then(|_| dumps.next())));
    (collect.finish(), marks.collect())
}

/// A snapshot as a mark.
fn mark(snapshot: &Snapshot, dump: Option<usize>) -> Mark {
    let timed = !matches!(snapshot.time_source, TimeSource::Sequence | TimeSource::ArgumentOrder);
    Mark { name: snapshot.name.clone(), unix_ms: timed.then_some(snapshot.unix_ms), dump }
}

/// The levels of a suspect with their intervals: those of the growth it was made from.
fn course(suspect: &Suspect, triage: &Triage) -> Course {
    let same = triage.judged.iter().find(|judged| judged.levels.iter().map(|l| l.bytes).eq(suspect.levels.iter().copied()));
    let exact = || suspect.levels.iter().map(|&level| Interval::exact(level)).collect();
    Course {
        fingerprint: suspect.fingerprint.clone(),
        owner: suspect.owner.function.clone(),
        levels: same.map_or_else(exact, |judged| judged.levels.iter().map(|level| level.interval()).collect()),
    }
}

fn tone(kind: VerdictKind) -> Tone {
    match kind {
        kind if kind.is_leak() => Tone::Bad,
        VerdictKind::Growth | VerdictKind::Inconclusive => Tone::Open,
        VerdictKind::Steady => Tone::Good,
        _ => Tone::Benign,
    }
}
