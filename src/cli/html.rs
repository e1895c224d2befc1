//! Pages: what `report`, `diff` and `flamegraph` put into one.

use crate::analysis::explorer::{Collect, Explorer};
use crate::analysis::filter::Filter;
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
pub fn triage(triage: &Triage, timeline: &Timeline, symbols: &Symbols, blocks: &[Block], redact: bool, all_frames: bool) -> anyhow::Result<String> {
    let (explorer, marks) = explore(timeline, symbols, &Filter::default(), redact);
    let suspects: Vec<&Suspect> = triage.suspects.iter().filter(|s| s.suppressed.is_none()).collect();
    let courses: Vec<Course> = suspects.iter().map(|suspect| course(suspect, triage)).collect();
    let start = Start { icicle: true, all_frames, ..Start::default() };
    let data = Data { explorer: &explorer, marks: &marks, ledger: Some(&triage.ledger), courses: &courses, start: &start };
    Ok(render(&Page { blocks, tone: tone(triage.verdict.kind), data })?)
}

/// All dumps of a timeline, and its snapshots as marks.
pub fn explore(timeline: &Timeline, symbols: &Symbols, filter: &Filter, redact: bool) -> (Explorer, Vec<Mark>) {
    let mut collect = Collect::new(redact);
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
pub fn mark(snapshot: &Snapshot, dump: Option<usize>) -> Mark {
    let timed = !matches!(snapshot.time_source, TimeSource::Sequence | TimeSource::ArgumentOrder);
    Mark { name: snapshot.name.clone(), unix_ms: timed.then_some(snapshot.unix_ms), dump }
}

/// The levels of a suspect with their intervals: those of the growth it was made from.
fn course(suspect: &Suspect, triage: &Triage) -> Course {
    let same = triage.judged.iter().find(|judged| judged.levels.iter().map(|l| l.bytes).eq(suspect.levels.iter().copied()));
    let exact = || suspect.levels.iter().map(|&level| crate::analysis::estimate::Interval::exact(level)).collect();
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
