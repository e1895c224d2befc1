//! Files to a timeline: parts with one stem are one snapshot, snapshots of one process are ordered by time.
//!
//! Files are read in batches, in the order of their names' times, and dumps are interned as they come: at
//! most a batch of raw dumps is in memory.

use crate::address::{AddrRange, Avma};
use crate::capture::counters;
use crate::capture::identity::{self, Identity, Likeness};
use crate::capture::load::{self, Content, Loaded};
use crate::capture::metrics;
use crate::capture::name::Sequence;
use crate::capture::source::{self, Found, Source};
use crate::capture::{OpenOptions, Opened, READING};
use crate::input::capture_json::About;
use crate::input::counters::Counters;
use crate::input::heap::RawDump;
use crate::input::pprof::RawPprof;
use crate::input::prof_log::RawLives;
use crate::input::prometheus::Scrape;
use crate::input::series::SeriesTime;
use crate::model::allocator::AllocatorStats;
use crate::model::frame::Symbols;
use crate::model::ingest;
use crate::model::memory::MemoryMap;
use crate::model::snapshot::{Part, Snapshot, TimeSource};
use crate::model::stack::StackTable;
use crate::model::timeline::{Process, Timeline};
use crate::origin::{Notice, printable, quote};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;

/// A snapshot whose time is not settled.
struct Draft {
    snapshot: Snapshot,
    /// Unix milliseconds, from the name or a time line.
    absolute: Option<(i64, TimeSource)>,
    /// Milliseconds since an unknown start, from a time line.
    relative_ms: Option<i64>,
    sequence: Option<Sequence>,
    modified_ms: Option<i64>,
    /// How old the allocator said it is; tells the order when the clock was set.
    uptime_ns: Option<u64>,
    /// Position among several texts of one file.
    nth: Option<usize>,
    label: String,
}

/// Snapshots of one process, over its own table of stacks.
#[derive(Default)]
struct Run {
    identity: Identity,
    drafts: Vec<Draft>,
    stacks: StackTable,
    /// Names that came with pprof profiles; they cover every address of `stacks`, or there are none.
    symbols: Symbols,
}

/// A profile before it is interned.
enum Profile {
    Dump(RawDump),
    Pprof(RawPprof),
}

/// Everything that files gave so far.
#[derive(Default)]
struct Gathered {
    runs: Vec<Run>,
    tables: Vec<(String, Counters)>,
    about: Option<(String, About)>,
    /// Metrics with times of their own, by file.
    metrics: Vec<(String, Vec<Scrape>)>,
    lives: Vec<(String, RawLives)>,
    notices: Vec<Notice>,
    /// As in [`OpenOptions`].
    ordered: bool,
    /// Files with nothing known in them, found in a directory.
    passed_over: Vec<String>,
}

/// Files with one stem.
struct Group {
    sources: Vec<Source>,
}

/// Groups read at once, for each worker thread.
const BATCH_PER_THREAD: usize = 4;

/// Reads everything that was found and puts it in order: the process with most snapshots.
pub fn assemble(found: Found, options: &OpenOptions) -> Opened {
    let Found { sources, directories, bin_dirs, notices, .. } = found;
    let mut gathered = gather(sources, notices, options);
    let runs = std::mem::take(&mut gathered.runs);
    let mut notices = std::mem::take(&mut gathered.notices);
    let run = choose(runs, &mut notices);
    settle(run, &mut gathered, directories, bin_dirs, notices)
}

/// The same, every process and every run of one apart, in order of their first file.
pub fn runs(found: Found, options: &OpenOptions) -> Vec<Opened> {
    let Found { sources, directories, bin_dirs, notices, .. } = found;
    let mut gathered = gather(sources, notices, options);
    let runs = std::mem::take(&mut gathered.runs);
    let mut notices = std::mem::take(&mut gathered.notices);
    let settle = |run| settle(Some(run), &mut gathered, directories.clone(), bin_dirs.clone(), std::mem::take(&mut notices));
    let opened: Vec<Opened> = runs.into_iter().map(settle).collect();
    if opened.is_empty() { vec![Opened { notices, directories, bin_dirs, ..Opened::default() }] } else { opened }
}

fn gather(sources: Vec<Source>, notices: Vec<Notice>, options: &OpenOptions) -> Gathered {
    let mut gathered = Gathered { notices, ordered: options.ordered, ..Gathered::default() };
    READING.more(sources.len());
    let groups = group(sources);
    let batch = BATCH_PER_THREAD * rayon::current_num_threads().max(1);
    for groups in groups.chunks(batch) {
        let loaded: Vec<Vec<Loaded>> = groups
            .par_iter()
            .map(|group| group.sources.iter().map(|source| READING.one(load::load(source, options.threads))).collect())
            .collect();
        for (group, loaded) in groups.iter().zip(loaded) {
            gathered.group(group, loaded);
        }
    }
    gathered.metrics();
    gathered.say_passed_over();
    gathered
}

/// One run as a timeline.
fn settle(
    run: Option<Run>,
    gathered: &mut Gathered,
    directories: Vec<PathBuf>,
    mut bin_dirs: Vec<PathBuf>,
    mut notices: Vec<Notice>,
) -> Opened {
    let mut timeline = Timeline::default();
    if let Some(run) = run {
        timeline.process.pid = run.identity.pid;
        timeline.snapshots = in_order(run.drafts, gathered.ordered, &mut notices);
        timeline.stacks = run.stacks;
        timeline.symbols = (!run.symbols.is_empty()).then_some(run.symbols);
        let about = gathered.about.take().unwrap_or_default();
        describe(&mut timeline, &about, &directories, &mut bin_dirs, &mut notices);
        gaps(&timeline.snapshots, &mut notices);
        counters::attach(&mut timeline, std::mem::take(&mut gathered.tables), &about.1.counters, &mut notices);
        gathered.about = Some(about);
        gathered.lives_of(&mut timeline, &mut notices);
    } else {
        for (label, lives) in &gathered.lives {
            let message = format!(
                "has the lives of {} sampled objects, but there is no snapshot they could go with: give it with heap dumps of the same process",
                lives.objects.len()
            );
            notices.push(Notice::new(label, message));
        }
    }
    Opened { timeline, notices, bin_dirs, directories, programs: Vec::new() }
}

/// Says where a kind of file is missing that the other snapshots have. Kinds that a recording writes more rarely are not.
fn gaps(snapshots: &[Snapshot], notices: &mut Vec<Notice>) {
    /// Missing in at most a third of the snapshots, it is a gap and no rhythm.
    const RARE: usize = 3;
    const NAMED: usize = 3;
    type Has = fn(&Snapshot) -> bool;
    // Of a process that ends there is a dump and no more; between dumps a recording may read RSS alone.
    let kinds: [(&str, &str, Has); 3] = [
        ("heap dump", "growth by stack is told from the others", |s| s.heap.is_some()),
        ("smaps", "the ledger leaves it out", |s| s.memory.is_some() || s.at_exit || s.heap.is_none() && s.stats.is_none()),
        ("allocator statistics", "the ledger leaves it out", |s| s.stats.is_some() || s.at_exit || s.heap.is_none()),
    ];
    for (kind, consequence, has) in kinds {
        let without: Vec<&str> = snapshots.iter().filter(|snapshot| !has(snapshot)).map(|snapshot| snapshot.name.as_str()).collect();
        if without.is_empty() || RARE * without.len() > snapshots.len() {
            continue;
        }
        let named = without.iter().take(NAMED).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
        let more = if without.len() > NAMED { ", ..." } else { "" };
        notices.push(Notice::new(
            "",
            format!(
                "{} of {} snapshots ({named}{more}) {} no {kind}: {consequence}; write every kind at the same moment",
                without.len(),
                snapshots.len(),
                if without.len() == 1 { "has" } else { "have" }
            ),
        ));
    }
}

/// By stem within a directory; a stem that is a time is the same instant anywhere. In the order of time.
fn group(sources: Vec<Source>) -> Vec<Group> {
    let mut places: HashMap<(PathBuf, String), usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for source in sources {
        let plain_time = source.name.unix_ms.is_some_and(|ms| ms.to_string() == source.name.stem);
        let home = if plain_time { PathBuf::new() } else { source.home.clone() };
        // Standard input is one file; files without anything in common but `-` cannot be told apart by stem.
        let next = groups.len();
        let place = *places.entry((home, source.name.stem.clone())).or_insert(next);
        match groups.get_mut(place) {
            Some(group) => group.sources.push(source),
            None => groups.push(Group { sources: vec![source] }),
        }
    }
    let key = |group: &Group| {
        let first = &group.sources[0];
        (first.name.unix_ms.unwrap_or(i64::MIN), first.name.sequence.map_or((0, 0), |s| (s.pid, s.number)))
    };
    groups.sort_by_key(key);
    groups
}

impl Gathered {
    fn say_passed_over(&mut self) {
        const NAMED: usize = 5;
        if self.passed_over.is_empty() {
            return;
        }
        let named = self.passed_over.iter().take(NAMED).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
        let more = if self.passed_over.len() > NAMED { ", ..." } else { "" };
        let (count, are) = (self.passed_over.len(), if self.passed_over.len() == 1 { "file is" } else { "files are" });
        self.notices.push(Notice::new("", format!("{count} {are} of no known kind and passed over: {named}{more}")));
    }

    /// Metrics over time: each reading its own snapshot, of the process that was read last.
    fn metrics(&mut self) {
        let files = std::mem::take(&mut self.metrics);
        let readings = metrics::readings(files, &mut self.notices);
        if readings.is_empty() {
            return;
        }
        let drafts: Vec<Draft> = readings.into_iter().enumerate().map(|(nth, reading)| reading_of(reading, nth)).collect();
        self.run_of(&Identity::default()).drafts.extend(drafts);
    }

    /// Lives of objects of this process; those of another are said.
    fn lives_of(&self, timeline: &mut Timeline, notices: &mut Vec<Notice>) {
        for (label, raw) in &self.lives {
            match (raw.pid, timeline.process.pid) {
                (Some(logged), Some(dumped)) if logged != dumped => {
                    notices.push(Notice::new(label, format!("is of pid {logged}, the snapshots are of pid {dumped}: left out")));
                }
                _ => {
                    let lives = ingest::lives(label, raw, &timeline.stacks);
                    if !lives.objects.is_empty() && lives.objects.iter().all(|life| life.stack.is_none()) {
                        let message =
                            "names no stack that the dumps have: it is of another process or run, or nothing in it was live at a dump";
                        notices.push(Notice::new(label, message));
                    }
                    timeline.lives.push(lives);
                }
            }
        }
    }

    /// The parts of one stem: usually one snapshot, several for a series.
    fn group(&mut self, group: &Group, loaded: Vec<Loaded>) {
        let first = &group.sources[0];
        let unix_ms = first.name.unix_ms.unwrap_or(0);
        let mut snapshot = Snapshot::empty(&first.name.stem, unix_ms, TimeSource::Name);
        snapshot.at_exit = first.name.at_exit;
        let mut heap: Option<(Profile, Identity)> = None;
        let mut memory_identity: Option<Identity> = None;
        let mut pids = Identity::of_pid(first.name.sequence.map(|s| s.pid));
        let mut series: Vec<Draft> = Vec::new();
        let mut metered = None;
        let mut line_time = None;
        let mut stamp = None;
        let mut asked_for = None;
        for (source, loaded) in group.sources.iter().zip(loaded) {
            self.notices.extend(loaded.notices);
            if loaded.unknown {
                if source.asked_for {
                    self.notices.push(Notice::new(
                        &source.label,
                        "is nothing that is known (a heap dump, smaps, jemalloc statistics, ...): left out",
                    ));
                } else {
                    self.passed_over.push(source.label.clone());
                }
            }
            let Some(content) = loaded.content else { continue };
            let part = match content {
                Content::Counters(table) => {
                    self.tables.push((source.label.clone(), table));
                    continue;
                }
                Content::About(about) => {
                    match &self.about {
                        None => self.about = Some((source.label.clone(), *about)),
                        Some((first, _)) => {
                            let message = format!("describes a second capture: {first} is used; give one capture at a time");
                            self.notices.push(Notice::new(&source.label, message));
                        }
                    }
                    continue;
                }
                Content::Lives(lives) => {
                    self.lives.push((source.label.clone(), lives));
                    continue;
                }
                Content::Metrics(scrapes) if scrapes.len() > 1 || scrapes.iter().any(|scrape| scrape.unix_ms.is_some()) => {
                    self.metrics.push((source.label.clone(), scrapes));
                    continue;
                }
                Content::Memory(maps) if maps.len() > 1 => {
                    series.extend(series_of(source, maps));
                    continue;
                }
                Content::Stats(prints) if prints.len() > 1 => {
                    series.extend(log_of(source, prints));
                    continue;
                }
                Content::Heap(_) | Content::Pprof(_) => Part::Heap,
                Content::Memory(_) | Content::Pmap(..) => Part::Memory,
                Content::Stats(_) => Part::Stats,
                Content::Status(_) => Part::Status,
                Content::Cgroup(_) => Part::Cgroup,
                Content::Glibc(_) => Part::Glibc,
                Content::Metrics(_) => Part::Metrics,
            };
            if let Some(known) = snapshot.file(part) {
                let message = format!("is a second file of its kind for this snapshot: {} is used", quote(known.as_bytes()));
                self.notices.push(Notice::new(&source.label, message));
                continue;
            }
            snapshot.files.push((part, source.label.clone()));
            asked_for = asked_for.or(Some(source));
            match content {
                Content::Heap(raw) => {
                    let mut identity = Identity::default();
                    raw.mappings.iter().for_each(|mapping| identity.see(mapping.range, mapping.perms, &mapping.name));
                    heap = Some((Profile::Dump(*raw), identity));
                }
                Content::Pprof(raw) => {
                    let mut identity = Identity::default();
                    let range = |start, end| AddrRange::new(Avma::new(start), Avma::new(end));
                    raw.mappings.iter().for_each(|file| identity.see(range(file.start, file.end), *b"r-xp", file.path.as_bytes()));
                    stamp = raw.unix_ms;
                    heap = Some((Profile::Pprof(*raw), identity));
                }
                Content::Memory(maps) => {
                    if let Some((time, map)) = maps.into_iter().next() {
                        line_time = time;
                        memory_identity = Some(identity_of(&map));
                        snapshot.memory = Some(map);
                    }
                }
                Content::Pmap(pid, map) => {
                    pids.pid = pid.or(pids.pid);
                    snapshot.memory = Some(map);
                }
                Content::Stats(prints) => snapshot.stats = prints.into_iter().next(),
                Content::Status(status) => {
                    pids.pid = status.pid.or(pids.pid);
                    snapshot.status = Some(status);
                }
                Content::Cgroup(cgroup) => snapshot.cgroup = Some(cgroup),
                Content::Glibc(glibc) => snapshot.glibc = Some(glibc),
                Content::Metrics(scrapes) => {
                    let (stats, process) = scrapes.first().map(ingest::metrics).unwrap_or_default();
                    snapshot.metrics = process;
                    metered = stats.map(|stats| (stats, source.label.clone()));
                }
                Content::Counters(_) | Content::About(_) | Content::Lives(_) => {}
            }
        }
        // The allocator's own print says more.
        if let (None, Some((stats, file))) = (&snapshot.stats, metered) {
            snapshot.stats = Some(stats);
            snapshot.files.push((Part::Stats, file));
        }
        for draft in series {
            let mut identity = draft.snapshot.memory.as_ref().map(identity_of).unwrap_or_default();
            identity.pid = identity.pid.or(pids.pid);
            self.run_of(&identity).drafts.push(draft);
        }
        if snapshot.files.is_empty() {
            return;
        }
        let (raw, mut identity) = match heap {
            Some((raw, identity)) => (Some(raw), identity),
            None => (None, Identity::default()),
        };
        // A foreign smaps under the same stem would be taken for this process's memory.
        if let Some(memory) = memory_identity {
            if raw.is_some() && identity.compare(&memory) == Likeness::Different {
                let label = snapshot.file(Part::Memory).unwrap_or_default().to_owned();
                let message = format!(
                    "is of another process ({}) than the dump of the same name ({}): left out; copy /proc/PID/smaps of the process that dumps",
                    memory.describe(),
                    identity.describe()
                );
                self.notices.push(Notice::new(label, message));
                snapshot.memory = None;
                snapshot.files.retain(|(part, _)| *part != Part::Memory);
            } else {
                identity.learn(&memory);
            }
        }
        identity.learn(&pids);
        let source = asked_for.unwrap_or(first);
        let (absolute, relative_ms) = match (source.name.unix_ms, line_time) {
            (Some(ms), _) => (Some((ms, TimeSource::Name)), None),
            (None, Some(SeriesTime::Unix { ms, .. })) => (Some((ms, TimeSource::SeriesLine)), None),
            (None, Some(SeriesTime::Relative { ms })) => (None, Some(ms)),
            (None, None) => (stamp.map(|ms| (ms, TimeSource::Content)), None),
        };
        let uptime_ns = snapshot.stats.as_ref().and_then(uptime);
        let mut mixed = false;
        let run = self.run_of(&identity);
        match raw {
            // Names by address and addresses alone cannot share a table.
            Some(Profile::Pprof(_)) if run.symbols.is_empty() && !run.stacks.addresses().is_empty() => mixed = true,
            Some(Profile::Dump(_)) if !run.symbols.is_empty() => mixed = true,
            Some(Profile::Pprof(raw)) => snapshot.heap = Some(ingest::pprof(&raw, &mut run.stacks, &mut run.symbols)),
            Some(Profile::Dump(raw)) => snapshot.heap = Some(ingest::heap(raw, &mut run.stacks)),
            None => {}
        }
        if mixed {
            snapshot.files.retain(|(part, _)| *part != Part::Heap);
        }
        run.drafts.push(Draft {
            label: source.label.clone(),
            absolute,
            relative_ms,
            sequence: source.name.sequence,
            modified_ms: source.modified_ms,
            uptime_ns,
            nth: None,
            snapshot,
        });
        if mixed {
            let message = "is a profile of another format than those before it (pprof with names, dumps with addresses): left out; give one format at a time";
            self.notices.push(Notice::new(&source.label, message));
        }
    }

    /// The run a snapshot belongs to, made when it is new. What cannot be told goes with the last one.
    fn run_of(&mut self, identity: &Identity) -> &mut Run {
        let likeness: Vec<Likeness> = self.runs.iter().map(|run| run.identity.compare(identity)).collect();
        let at = likeness
            .iter()
            .rposition(|like| *like == Likeness::Same)
            .or_else(|| likeness.iter().rposition(|like| *like == Likeness::Unknown))
            .unwrap_or(self.runs.len());
        if at == self.runs.len() {
            self.runs.push(Run::default());
        }
        let run = &mut self.runs[at];
        run.identity.learn(identity);
        run
    }
}

fn identity_of(map: &MemoryMap) -> Identity {
    let mut identity = Identity::default();
    map.vmas.iter().for_each(|vma| identity.see(vma.mapping.range, vma.mapping.perms, &vma.mapping.name));
    identity
}

fn uptime(stats: &AllocatorStats) -> Option<u64> {
    stats.merged.uptime_ns
}

/// The texts of a series file: each its own snapshot.
fn series_of(source: &Source, maps: Vec<(Option<SeriesTime>, MemoryMap)>) -> Vec<Draft> {
    let drafts = maps.into_iter().enumerate().map(|(nth, (time, map))| {
        let (absolute, relative_ms) = match time {
            Some(SeriesTime::Unix { ms, .. }) => (Some((ms, TimeSource::SeriesLine)), None),
            Some(SeriesTime::Relative { ms }) => (None, Some(ms)),
            None => (None, None),
        };
        let mut draft = draft_of(source, nth, absolute, relative_ms);
        draft.snapshot.memory = Some(map);
        draft.snapshot.files.push((Part::Memory, draft.snapshot.name.clone()));
        draft
    });
    drafts.collect()
}

/// The statistics of a log: each its own snapshot, as far apart as the allocator grew older.
fn log_of(source: &Source, prints: Vec<AllocatorStats>) -> Vec<Draft> {
    let drafts = prints.into_iter().enumerate().map(|(nth, stats)| {
        let relative_ms = uptime(&stats).and_then(|ns| i64::try_from(ns / 1_000_000).ok());
        let mut draft = draft_of(source, nth, None, relative_ms);
        draft.uptime_ns = uptime(&stats);
        draft.snapshot.stats = Some(stats);
        draft.snapshot.files.push((Part::Stats, draft.snapshot.name.clone()));
        draft
    });
    drafts.collect()
}

/// A reading of metrics: a snapshot of its own.
fn reading_of(reading: metrics::Reading, nth: usize) -> Draft {
    let metrics::Reading { scrape, files } = reading;
    let label = files.iter().flatten().next_back().cloned().unwrap_or_default();
    // Several files make one reading: a short name, the files stand with the parts.
    let name = label.rsplit('/').next().unwrap_or(&label);
    let mut snapshot = Snapshot::empty(format!("{name}#{}", nth + 1), 0, TimeSource::Content);
    (snapshot.stats, snapshot.metrics) = ingest::metrics(&scrape);
    let [stats, process] = files;
    snapshot.files.extend(stats.map(|file| (Part::Stats, file)).into_iter().chain(process.map(|file| (Part::Metrics, file))));
    Draft {
        snapshot,
        absolute: scrape.unix_ms.map(|ms| (ms, TimeSource::Content)),
        relative_ms: None,
        sequence: None,
        modified_ms: None,
        uptime_ns: None,
        nth: None,
        label,
    }
}

fn draft_of(source: &Source, nth: usize, absolute: Option<(i64, TimeSource)>, relative_ms: Option<i64>) -> Draft {
    let name = format!("{}#{}", source.label, nth + 1);
    Draft {
        snapshot: Snapshot::empty(name, 0, TimeSource::SeriesLine),
        absolute,
        relative_ms,
        sequence: None,
        modified_ms: source.modified_ms,
        uptime_ns: None,
        nth: Some(nth),
        label: source.label.clone(),
    }
}

/// The run with most snapshots, the later of equals; the others are said.
fn choose(runs: Vec<Run>, notices: &mut Vec<Notice>) -> Option<Run> {
    let best = (0..runs.len()).max_by_key(|&i| (runs[i].drafts.len(), i))?;
    let mut chosen = None;
    for (i, run) in runs.into_iter().enumerate() {
        if i == best {
            chosen = Some(run);
            continue;
        }
        let count = run.drafts.len();
        let (first, last) = (run.drafts.first().map(|d| d.label.as_str()), run.drafts.last().map(|d| d.label.as_str()));
        let which = match (first, last) {
            (Some(first), Some(last)) if first != last => format!("{count} snapshots, {first} to {last}, are"),
            (Some(first), _) => {
                format!("{count} snapshot{} ({first}) {}", if count == 1 { "" } else { "s" }, if count == 1 { "is" } else { "are" })
            }
            _ => continue,
        };
        let message = format!(
            "{which} of another process or an earlier or later run of it ({}): left out, because addresses moved; give these files alone to look at them",
            run.identity.describe()
        );
        notices.push(Notice::new("", message));
    }
    chosen
}

/// Settles the time of every snapshot and sorts them; says where times come from when it is not the names.
fn in_order(mut drafts: Vec<Draft>, ordered: bool, notices: &mut Vec<Notice>) -> Vec<Snapshot> {
    unset_clock(&mut drafts, notices);
    let all = |get: fn(&Draft) -> bool| drafts.iter().all(get);
    let any_time = drafts.iter().any(|draft| draft.absolute.is_some());
    if all(|draft| draft.absolute.is_some()) {
        for draft in &mut drafts {
            (draft.snapshot.unix_ms, draft.snapshot.time_source) = draft.absolute.unwrap_or((0, TimeSource::Name));
        }
    } else if all(|draft| draft.relative_ms.is_some()) {
        for draft in &mut drafts {
            (draft.snapshot.unix_ms, draft.snapshot.time_source) = (draft.relative_ms.unwrap_or(0), TimeSource::SeriesLine);
        }
        notices.push(Notice::new("", "times are relative to an unknown start: spans are known, stamps are not"));
    } else if all(|draft| draft.sequence.is_some()) {
        drafts.sort_by_key(|draft| draft.sequence);
        ordinals(&mut drafts, TimeSource::Sequence);
        if drafts.len() > 1 && !ordered {
            notices.push(Notice::new(
                "",
                "the order is jemalloc's dump sequence number; the names carry no time, so nothing can be said per second",
            ));
        }
    } else {
        modified(&mut drafts, any_time, ordered, notices);
    }
    // Stable: texts of one file and equal stamps stay in their order.
    drafts.sort_by_key(|draft| draft.snapshot.unix_ms);
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut snapshots: Vec<Snapshot> = drafts.into_iter().map(|draft| draft.snapshot).collect();
    for snapshot in &mut snapshots {
        let count = seen.entry(snapshot.name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            snapshot.name = format!("{} ({count})", snapshot.name);
        }
    }
    snapshots
}

fn ordinals(drafts: &mut [Draft], source: TimeSource) {
    for (i, draft) in drafts.iter_mut().enumerate() {
        (draft.snapshot.unix_ms, draft.snapshot.time_source) = (i as i64, source);
    }
}

/// Where names have no time, the file's modification time serves, if there is one for each snapshot.
fn modified(drafts: &mut Vec<Draft>, any_time: bool, ordered: bool, notices: &mut Vec<Notice>) {
    let lacks = |draft: &Draft| draft.absolute.is_none() && (draft.modified_ms.is_none() || draft.nth.is_some());
    if any_time {
        // Beside snapshots with a time, those without any cannot be placed.
        let lost: Vec<String> = drafts.iter().filter(|draft| lacks(draft)).map(|draft| draft.label.clone()).collect();
        if let Some(first) = lost.first() {
            let message = format!(
                "{} snapshots without a time cannot be placed among those with one: left out; put a time line before each text",
                lost.len()
            );
            notices.push(Notice::new(first, message));
            drafts.retain(|draft| !lacks(draft));
        }
    }
    let times: Vec<i64> = drafts.iter().filter_map(|draft| draft.modified_ms).collect();
    let all_equal = times.len() > 1 && times.iter().all(|time| *time == times[0]);
    if drafts.iter().any(lacks) || (all_equal && !any_time) {
        ordinals(drafts, TimeSource::ArgumentOrder);
        if drafts.len() > 1 && !ordered {
            notices.push(Notice::new(
                "",
                "the inputs carry no times: snapshots are in the order they were given, and nothing can be said per second",
            ));
        }
        return;
    }
    let mut from_files = 0;
    for draft in drafts.iter_mut() {
        (draft.snapshot.unix_ms, draft.snapshot.time_source) = match (draft.absolute, draft.modified_ms) {
            (Some(time), _) => time,
            (None, Some(ms)) => {
                from_files += 1;
                (ms, TimeSource::ModificationTime)
            }
            (None, None) => (0, TimeSource::ArgumentOrder),
        };
    }
    if drafts.len() > 1 && from_files > 0 && !ordered {
        let message = format!(
            "{from_files} of {} snapshots have no time in their names: the files' modification times are used (copying without `cp -p` changes them)",
            drafts.len()
        );
        notices.push(Notice::new("", message));
    }
}

/// Times that go back within a series, or against the allocator's own age, mean that the clock was set:
/// the order of writing is kept and later times are moved up.
fn unset_clock(drafts: &mut [Draft], notices: &mut Vec<Notice>) {
    let stamp = |draft: &Draft| draft.absolute.map(|(ms, _)| ms);
    // Series: the order in the file is the order of writing.
    let mut moved = 0;
    for i in 1..drafts.len() {
        let (before, now) = (&drafts[i - 1], &drafts[i]);
        if now.label != before.label || now.nth.is_none() {
            moved = 0;
            continue;
        }
        let (Some(last), Some(time)) = (stamp(before), stamp(now)) else { continue };
        let time = time + moved;
        let shifted = if time < last {
            let step = if i >= 2 && drafts[i - 2].label == before.label { stamp(&drafts[i - 2]).map_or(0, |t| last - t) } else { 0 };
            notices.push(Notice::new(
                &now.label,
                format!(
                    "the clock goes back by {:.1} s before text {}: the order of the file is kept, later times are moved up",
                    (last - time) as f64 / 1000.0,
                    i + 1
                ),
            ));
            moved += last + step.max(1) - time;
            last + step.max(1)
        } else {
            time
        };
        let source = drafts[i].absolute.map_or(TimeSource::SeriesLine, |(_, source)| source);
        drafts[i].absolute = Some((shifted, source));
    }
    // Separate files: an allocator that grows younger while the stamps rise.
    let mut aged: Vec<(i64, u64, usize)> = (0..drafts.len()).filter_map(|i| Some((stamp(&drafts[i])?, drafts[i].uptime_ns?, i))).collect();
    aged.sort_unstable();
    if aged.len() == drafts.len() && !aged.is_sorted_by_key(|(_, age, _)| *age) {
        let first = drafts[aged[0].2].label.clone();
        notices.push(Notice::new(
            first,
            "the clock was set while the capture was made: the statistics' uptime falls while the names' times rise; snapshots are in the order of uptime",
        ));
        let mut by_age = aged.clone();
        by_age.sort_unstable_by_key(|(_, age, _)| *age);
        let (start, oldest, _) = by_age[0];
        for (_, age, i) in by_age {
            let since = i64::try_from((age - oldest) / 1_000_000).unwrap_or(i64::MAX);
            drafts[i].absolute = Some((start.saturating_add(since), TimeSource::Name));
        }
    }
}

/// What is known of the process: capture.json first, then what the snapshots themselves say.
fn describe(
    timeline: &mut Timeline,
    about: &(String, About),
    directories: &[PathBuf],
    bin_dirs: &mut Vec<PathBuf>,
    notices: &mut Vec<Notice>,
) {
    let (label, about) = about;
    if let (Some(stated), Some(seen)) = (about.pid, timeline.process.pid)
        && stated != seen
    {
        notices.push(Notice::new(label, format!("says pid {stated}, the snapshots are of pid {seen}")));
    }
    if let (Some(named), Some(dir)) = (&about.bin, directories.first()) {
        match source::confined(dir, named) {
            Ok(path) => {
                let dir = if path.is_dir() { path } else { path.parent().map(PathBuf::from).unwrap_or(path) };
                if !bin_dirs.contains(&dir) {
                    bin_dirs.push(dir);
                }
            }
            Err(message) => notices.push(Notice::new(label, message)),
        }
    }
    for snapshot in timeline.snapshots.iter_mut().filter(|snapshot| about.exit_dumps.contains(&snapshot.name)) {
        snapshot.at_exit = true;
    }
    let last = |get: fn(&Snapshot) -> Option<String>| timeline.snapshots.iter().rev().find_map(get);
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(" (deleted)").to_owned();
    let name = about
        .exe
        .as_deref()
        .map(base)
        .filter(|name| !name.is_empty())
        .or_else(|| last(program))
        .or_else(|| last(|s| s.status.as_ref()?.name.clone()));
    let page_size = about.page_size.or_else(|| timeline.snapshots.iter().find_map(|s| s.stats.as_ref()?.page_size));
    timeline.process = Process {
        name,
        pid: about.pid.or(timeline.process.pid),
        cmdline: about.cmdline.clone(),
        start_unix_ms: about.start_unix_ms,
        page_size,
        kernel: about.kernel.clone(),
        jemalloc_version: last(|s| s.stats.as_ref()?.version.clone()).or_else(|| about.jemalloc_version.clone()),
        malloc_conf: about.malloc_conf.clone(),
        malloc_conf_variable: about.malloc_conf_variable.clone(),
        modules: about.modules.clone(),
    };
}

/// The base name of the first executable mapping that is no library.
fn program(snapshot: &Snapshot) -> Option<String> {
    let of_heap = snapshot.heap.iter().flat_map(|heap| heap.mappings.mappings());
    let of_memory = snapshot.memory.iter().flat_map(|memory| memory.vmas.iter().map(|vma| &vma.mapping));
    let mapping = of_heap
        .chain(of_memory)
        .find(|mapping| mapping.is_executable() && mapping.path().is_some_and(|path| !identity::is_library(path)))?;
    let path = String::from_utf8_lossy(mapping.path()?).into_owned();
    Some(path.rsplit('/').next().unwrap_or(&path).to_owned())
}
