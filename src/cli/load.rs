//! What every view does first: open the inputs, pick the dumps, name the addresses.

use super::args::TimeArgs;
use super::symbols::SymbolArgs;
use crate::address::BuildId;
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::redact::Recorded;
use crate::capture::{self, OpenOptions, Opened};
use crate::model::frame::Symbols;
use crate::model::heap::HeapProfile;
use crate::model::mapping::{AddressSpace, Mapping};
use crate::model::snapshot::{Part, Snapshot, TimeSource};
use crate::origin::printable;
use crate::report::views::Profiled;
use crate::symbolize::{RecordedModule, SymbolOptions, symbolize};
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Dumps of one process with the names of their addresses.
#[derive(Debug)]
pub struct Named {
    /// The process; only snapshots with a dump.
    pub opened: Opened,
    /// Names of every address.
    pub symbols: Symbols,
}

impl Named {
    /// What [`crate::analysis::redact`] takes out what tells of the machine from.
    pub fn recorded(&mut self) -> Recorded<'_> {
        let Opened { timeline, notices, .. } = &mut self.opened;
        Recorded { timeline, symbols: &mut self.symbols, notices }
    }

    /// The dump at `index`.
    pub fn profile(&self, index: usize) -> anyhow::Result<&HeapProfile> {
        match self.opened.timeline.snapshots.get(index).and_then(|snapshot| snapshot.heap.as_ref()) {
            Some(profile) => Ok(profile),
            None => bail!("no heap dump among the inputs"),
        }
    }

    /// The index of the last dump.
    pub fn last(&self) -> usize {
        self.opened.timeline.snapshots.len().saturating_sub(1)
    }

    /// What a view says of the dump at `index`.
    pub fn profiled(&self, index: usize, of_dumps: usize) -> anyhow::Result<Profiled> {
        let snapshot = &self.opened.timeline.snapshots[index];
        let process = &self.opened.timeline.process;
        let pid = process.pid.map(|pid| format!("pid {pid}"));
        let process = match (process.name.clone(), pid) {
            (Some(name), Some(pid)) => Some(format!("{name} ({pid})")),
            (Some(one), None) | (None, Some(one)) => Some(one),
            (None, None) => None,
        };
        Ok(Profiled {
            file: snapshot.file(Part::Heap).map(str::to_owned),
            process,
            unix_ms: snapshot.time_source.is_time().then_some(snapshot.unix_ms),
            of_file: snapshot.time_source == TimeSource::ModificationTime,
            of_dumps,
            nth: if index == 0 && of_dumps > 1 { "first" } else { "last" },
            ..Profiled::new(&snapshot.name, self.profile(index)?)
        })
    }
}

/// Opens the inputs as one process over time and keeps the snapshots with a dump in the span asked for.
pub fn dumps(inputs: &[PathBuf], threads: bool, time: &TimeArgs) -> anyhow::Result<Opened> {
    with_dumps(capture::open(inputs, &OpenOptions { threads, ..OpenOptions::default() })?, time)
}

/// The same for inputs that were opened already.
pub fn with_dumps(mut opened: Opened, time: &TimeArgs) -> anyhow::Result<Opened> {
    let timeline = &mut opened.timeline;
    let other = timeline.snapshots.iter().any(|snapshot| snapshot.heap.is_none());
    let files = timeline.snapshots.iter().flat_map(|snapshot| snapshot.files.iter().map(|(_, file)| printable(file).into_owned()));
    let files: Vec<String> = files.take(3).collect();
    timeline.snapshots.retain(|snapshot| snapshot.heap.is_some());
    if timeline.snapshots.is_empty() {
        let reasons: Vec<String> = opened.notices.iter().map(|notice| format!("\n  {notice}")).collect();
        let help = if other { "\n  help: `heaptriage rss` shows smaps and allocator statistics" } else { "" };
        let among = if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) };
        bail!("no heap dump among the inputs{among}{}{help}", reasons.concat());
    }
    time.apply(timeline)?;
    Ok(opened)
}

/// Names the addresses of opened dumps; the mappings are those of the snapshots at `indexes`, the later first.
pub fn name(mut opened: Opened, indexes: &[usize], args: &SymbolArgs) -> anyhow::Result<Named> {
    let symbols = names(&mut opened, indexes, args)?;
    Ok(Named { opened, symbols })
}

/// Names that came with the input (pprof), else from the binaries; what was refused becomes a notice.
///
/// # Errors
/// With `--strict`, a binary that is missing or is another build.
pub fn names(opened: &mut Opened, indexes: &[usize], args: &SymbolArgs) -> anyhow::Result<Symbols> {
    let symbols = match opened.timeline.symbols.take() {
        Some(symbols) => symbols,
        None => {
            let spaces = indexes.iter().rev().filter_map(|&i| opened.timeline.snapshots.get(i)?.heap.as_ref()).map(|heap| &heap.mappings);
            let (symbols, notices) = symbolize(&opened.timeline.stacks, &merged(spaces), &options(opened, args));
            opened.notices.extend(notices);
            symbols
        }
    };
    args.check(&symbols)?;
    Ok(symbols)
}

fn options(opened: &Opened, args: &SymbolArgs) -> SymbolOptions {
    let mut options = args.options();
    options.search_dirs.extend(opened.bin_dirs.iter().cloned());
    options.binaries.extend(opened.binaries());
    let recorded =
        |(path, id): &(String, Option<String>)| Some(RecordedModule { path: path.clone(), build_id: BuildId::from_hex(id.as_deref()?)? });
    options.recorded = opened.timeline.process.modules.iter().filter_map(recorded).collect();
    let last = opened.timeline.snapshots.iter().filter(|s| s.time_source.is_time()).map(|s| s.unix_ms).max();
    options.not_after = last.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(ms).ok()?)));
    options
}

/// The mappings of the first space, and of the others the files that lie where none of the former does: a
/// library may have been unmapped in between.
fn merged<'a>(mut spaces: impl Iterator<Item = &'a AddressSpace>) -> AddressSpace {
    let Some(mut known) = spaces.next().cloned() else { return AddressSpace::default() };
    for space in spaces {
        let free = |mapping: &&Mapping| {
            let before_end = known.mappings().partition_point(|m| m.range.start < mapping.range.end);
            let overlaps = known.mappings()[..before_end].last().is_some_and(|m| m.range.end > mapping.range.start);
            mapping.path().is_some() && !overlaps
        };
        let more: Vec<Mapping> = space.mappings().iter().filter(free).cloned().collect();
        if !more.is_empty() {
            known = AddressSpace::new(known.mappings().iter().cloned().chain(more).collect());
        }
    }
    known
}

/// Refuses what a profile cannot show: counts that were not recorded, a thread that is not there.
pub fn check_recorded(profile: &HeapProfile, snapshot: &Snapshot, filter: &Filter, measure: Measure) -> anyhow::Result<()> {
    let name = printable(snapshot.file(Part::Heap).unwrap_or(&snapshot.name)).into_owned();
    if measure.is_accumulated() && !profile.accumulated {
        bail!(
            "{name}: accumulated counts were not recorded, so there is no {}\n  help: run the program with prof_accum:true, or look at --sample inuse_space",
            measure.word()
        );
    }
    if let Some(thread) = &filter.thread
        && !profile.threads.iter().any(|t| filter.thread_fits(t.uid, t.name.as_deref()))
    {
        const SHOWN: usize = 12;
        let known: Vec<String> = (profile.threads.iter().take(SHOWN))
            .map(|t| t.name.as_deref().map_or(t.uid.to_string(), |name| format!("{} ({})", t.uid, printable(name))))
            .collect();
        let more = if profile.threads.len() > SHOWN { ", ..." } else { "" };
        let has = if known.is_empty() {
            "counts by thread are not recorded in it".to_owned()
        } else {
            format!("it has {}{more}", known.join(", "))
        };
        bail!("{name}: no thread `{}`\n  help: {has}", printable(thread));
    }
    Ok(())
}

/// Whether a path is one plain file, or standard input.
pub fn is_file(path: &Path) -> bool {
    path == Path::new("-") || std::fs::metadata(path).is_ok_and(|meta| !meta.is_dir())
}
