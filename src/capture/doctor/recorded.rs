//! Examines a capture: what it can prove, what is missing in it, and what to capture next.

use super::{Check, Examination, State, settings};
use crate::address::BuildId;
use crate::analysis::{account, triage};
use crate::capture::{self, OpenOptions, Opened};
use crate::model::frame::{DebugInfo, ModuleStatus, Symbols};
use crate::model::heap::{Family, HeapProfile, Sampling, Unbias};
use crate::model::mapping::{AddressSpace, Mapping};
use crate::model::memory::MemoryMap;
use crate::model::timeline::Timeline;
use crate::origin::{Notice, printable};
use crate::symbolize::{RecordedModule, SymbolOptions, symbolize};
use crate::units::{grouped, iec, percent};
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;
use std::path::PathBuf;

/// Stacks this short have no caller: jemalloc's own frames (up to four) and nothing else.
const ALLOCATOR_FRAMES: usize = 4;
/// jemalloc's limit (`PROF_BT_MAX`): what is this long was cut.
const DEEPEST: usize = 128;
/// A share of such stacks that is no longer an oddity.
const MANY: f64 = 0.1;
/// Notices and modules shown.
const SHOWN: usize = 8;

/// Examines a capture directory or loose files.
pub fn recorded(inputs: &[PathBuf], options: &SymbolOptions) -> Examination {
    let named: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
    let mut report = Examination::new("capture", named.join(" "));
    let opened = match capture::open(inputs, &OpenOptions::default()) {
        Ok(opened) => opened,
        Err(error) => {
            for notice in error.notices.iter().take(SHOWN) {
                let remedy = "give an ELF program of 64 bits, a capture or its files, or --pid N; for a script the program it starts";
                report.add(Check::new("input", State::Bad, notice.to_string()).remedy(remedy));
            }
            return report;
        }
    };
    let timeline = &opened.timeline;
    report.pid = timeline.process.pid;
    extent(&mut report, timeline);
    heap(&mut report, timeline);
    let (symbols, refused) = names(&opened, options);
    modules(&mut report, timeline, &symbols);
    let triage = triage::triage(timeline, &symbols, account::ledger(timeline), &triage::Options::default());
    for missing in triage.missing.iter().filter(|missing| !missing.fact.starts_with("symbols of")) {
        report
            .add(Check::new("missing", State::Doubt, format!("without {}: {}", missing.fact, missing.consequence)).remedy(&missing.remedy));
    }
    if let Some(blind_spot) = &triage.blind_spot {
        report.add(Check::new("blind_spot", State::Note, blind_spot));
    }
    let notices: Vec<&Notice> = opened.notices.iter().chain(&refused).collect();
    for notice in notices.iter().take(SHOWN) {
        report.add(Check::new("notice", State::Doubt, notice.to_string()));
    }
    if notices.len() > SHOWN {
        report.add(Check::new(
            "notice",
            State::Note,
            format!("and {} more such remarks: `heaptriage report` prints them all", notices.len() - SHOWN),
        ));
    }
    report
}

/// `1 heap dump`, `3 smaps`.
fn counted(count: usize, plural: &str) -> String {
    let singular = match plural {
        "heap dumps" | "rollups" | "snapshots" => plural.trim_end_matches('s'),
        other => other,
    };
    format!("{count} {}", if count == 1 { singular } else { plural })
}

/// How many snapshots of what, over which time.
fn extent(report: &mut Examination, timeline: &Timeline) {
    let snapshots = &timeline.snapshots;
    let count = |has: &dyn Fn(&crate::model::snapshot::Snapshot) -> bool| snapshots.iter().filter(|s| has(s)).count();
    let parts = [
        ("heap dumps", count(&|s| s.heap.is_some())),
        ("smaps", count(&|s| s.memory.as_ref().is_some_and(MemoryMap::has_mappings))),
        ("rollups", count(&|s| s.memory.as_ref().is_some_and(|memory| !memory.has_mappings()))),
        ("allocator statistics", count(&|s| s.stats.is_some())),
    ];
    let list: Vec<String> = parts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| counted(*count, name)).collect();
    let span = match (snapshots.first(), snapshots.last()) {
        (Some(first), Some(last)) if first.time_source.is_time() && last.unix_ms > first.unix_ms => {
            format!(" over {} s", grouped((last.unix_ms - first.unix_ms).unsigned_abs() / 1000))
        }
        _ => String::new(),
    };
    let finding = format!(
        "{}{span}: {}",
        counted(snapshots.len(), "snapshots"),
        if list.is_empty() { "no dumps and no smaps".to_owned() } else { list.join(", ") }
    );
    let state = if parts[0].1 + parts[1].1 + parts[2].1 == 0 { State::Bad } else { State::Good };
    report.add(Check::new("snapshots", state, finding));
    let dumps = parts[0].1;
    let paired = count(&|s| s.heap.is_some() && s.memory.is_some());
    if dumps > 0 && paired > 0 && paired < dumps {
        report.add(Check::new("same_moment", State::Note, {
            let verb = if dumps - paired == 1 { "has" } else { "have" };
            format!("{} of {dumps} dumps {verb} no smaps of the same moment", dumps - paired)
        }));
    }
    if snapshots.first().is_some_and(|s| !s.time_source.is_time()) {
        report.add(
            Check::new("times", State::Doubt, "the times of the snapshots are unknown, only their order: no growth per time")
                .remedy("keep files with their Unix time in milliseconds as names, as `heaptriage record` does"),
        );
    }
}

/// What the dumps themselves tell of the profiler.
fn heap(report: &mut Examination, timeline: &Timeline) {
    let Some(profile) = timeline.snapshots.iter().rev().find_map(|s| s.heap.as_ref()) else { return };
    match profile.sampling {
        Sampling::Exact => report.add(Check::new("sampling", State::Good, "every allocation was recorded")),
        Sampling::Interval(bytes) => {
            let live: u64 = profile
                .samples
                .iter()
                .map(|s| crate::analysis::estimate::unsample(s.live, profile.sampling).bytes as u64)
                .fold(0, u64::saturating_add);
            let variable = "the allocator's settings";
            report.add(settings::sampling(u64::from(bytes.get().max(1).ilog2()), Some(live), variable));
        }
    }
    if profile.unbias == Unbias::Off && profile.family == Family::JemallocThreaded {
        let finding = "written without prof_unbias (before 5.3.0, or switched off): stacks with objects of mixed sizes are underestimated";
        report.add(Check::new("unbias", State::Doubt, finding).remedy("jemalloc 5.3.0 or later with prof_unbias:true, its default"));
    }
    stacks(report, timeline, profile);
    if profile.truncated {
        report.add(
            Check::new("dump_cut", State::Doubt, "the last dump is cut: what followed is lost")
                .remedy("is the disk full? copy dumps only when the process has closed them"),
        );
    }
    if profile.mappings.is_empty() && timeline.symbols.is_none() {
        let remedy = "append /proc/PID/maps of the same process to the dump, after an empty line and `MAPPED_LIBRARIES:`";
        report.add(Check::new("mappings", State::Bad, "the dump has no mapped libraries: its addresses cannot be named").remedy(remedy));
    }
}

/// Whether the unwinder saw the callers.
fn stacks(report: &mut Examination, timeline: &Timeline, profile: &HeapProfile) {
    let distinct: HashSet<_, FxBuildHasher> = profile.samples.iter().map(|s| s.stack).collect();
    let lengths: Vec<usize> = distinct.iter().map(|&stack| timeline.stacks.stack(stack).len()).collect();
    let total = lengths.len();
    if total == 0 {
        report.add(
            Check::new("stacks", State::Bad, "the last dump has no stack in it: nothing was sampled")
                .remedy("was prof_active true while the program allocated? is lg_prof_sample too coarse for it?"),
        );
        return;
    }
    let short = lengths.iter().filter(|&&length| length <= ALLOCATOR_FRAMES).count();
    let cut = lengths.iter().filter(|&&length| length >= DEEPEST).count();
    let share = |part: usize| part as f64 / total as f64;
    if share(short) > 0.5 {
        report.add(
            Check::new("stacks", State::Bad, format!("{} of the {} stacks end inside the allocator: its unwinder does not get through this program", percent(short as f64, total as f64), grouped(total as u64)))
                .remedy("build with unwind tables (-C force-unwind-tables=yes, -fasynchronous-unwind-tables); with musl, or frame pointers only, build jemalloc with --enable-prof-libunwind or --enable-prof-frameptr"),
        );
    } else {
        report.add(Check::new(
            "stacks",
            State::Good,
            format!("{} distinct stacks, unwound through to their callers", grouped(total as u64)),
        ));
    }
    if share(cut) > MANY {
        report.add(
            Check::new(
                "deep_stacks",
                State::Doubt,
                format!("{} of them are cut at {DEEPEST} frames: their outer callers are lost", percent(cut as f64, total as f64)),
            )
            .remedy("jemalloc 5.3.1 or later has prof_bt_max; else look at the inner frames only"),
        );
    }
}

/// Names of the addresses: what is needed to see how many have one.
fn names(opened: &Opened, options: &SymbolOptions) -> (Symbols, Vec<Notice>) {
    let timeline = &opened.timeline;
    if let Some(symbols) = &timeline.symbols {
        return (symbols.clone(), Vec::new());
    }
    let spaces = timeline.snapshots.iter().rev().filter_map(|s| s.heap.as_ref()).map(|heap| &heap.mappings);
    let empty = AddressSpace::default();
    let space = spaces.max_by_key(|space| space.mappings().len()).unwrap_or(&empty);
    let mut options = options.clone();
    options.search_dirs.extend(opened.bin_dirs.iter().cloned());
    options.binaries.extend(opened.binaries());
    let recorded =
        |(path, id): &(String, Option<String>)| Some(RecordedModule { path: path.clone(), build_id: BuildId::from_hex(id.as_deref()?)? });
    options.recorded.extend(timeline.process.modules.iter().filter_map(recorded));
    symbolize(&timeline.stacks, &AddressSpace::new(space.mappings().iter().map(Mapping::clone).collect()), &options)
}

/// Whether the binaries are at hand, and how much they tell.
fn modules(report: &mut Examination, timeline: &Timeline, symbols: &Symbols) {
    let mut modules: Vec<_> =
        symbols.modules.iter().filter(|module| module.addresses > 0 && module.status != ModuleStatus::NotAFile).collect();
    modules.sort_by(|a, b| b.addresses.cmp(&a.addresses).then_with(|| a.path.cmp(&b.path)));
    // The program itself counts: a shared library only where there is nothing else.
    let is_library = |name: &str| name.ends_with(".so") || name.contains(".so.");
    let program = modules.iter().position(|module| !is_library(&module.name)).unwrap_or(0);
    for (place, module) in modules.iter().enumerate().take(SHOWN.max(program + 1)) {
        let name = printable(&module.name);
        let named = format!("{} of {} addresses in it have names", grouped(module.symbolized), grouped(module.addresses));
        let (state, what) = match (module.status, module.debug_info) {
            (ModuleStatus::Missing, _) => (State::Bad, "its file was not found".to_owned()),
            (ModuleStatus::Mismatched, _) => (State::Bad, "the file found is another build".to_owned()),
            (_, DebugInfo::Full) => (State::Good, "full debug information".to_owned()),
            (_, DebugInfo::Lines) => (State::Good, "lines and inlined calls, no types (`sites` needs them)".to_owned()),
            (_, DebugInfo::Names) => (State::Doubt, "function names only".to_owned()),
            (_, DebugInfo::None) => (State::Bad, "no names at all".to_owned()),
        };
        // The C library, a shared jemalloc and the like are known by their files.
        let state = if place != program && state > State::Note { State::Note } else { state };
        let check = Check::new("symbols", state, format!("{name}: {what}; {named}"));
        report.add(match &module.remedy {
            Some(remedy) if state != State::Good => check.remedy(remedy),
            _ => check,
        });
    }
    let recorded = timeline.process.modules.iter().any(|(_, id)| id.is_some());
    if !recorded && timeline.symbols.is_none() && timeline.snapshots.iter().any(|s| s.heap.is_some()) {
        report.add(
            Check::new(
                "build_ids",
                State::Note,
                "no build-ids were recorded: whether a binary is the one that ran is told by its layout only",
            )
            .remedy("`heaptriage record` writes them into capture.json"),
        );
    }
    if let Some(size) = timeline.process.page_size.filter(|&size| size != 4096) {
        report.add(Check::new("page_size", State::Note, format!("pages of {}", iec(size as f64))));
    }
}
