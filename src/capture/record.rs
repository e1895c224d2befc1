//! Recording a live process from outside into a capture directory.
//!
//! Owns the loop: when to look, what a snapshot consists of, how dumps that the process writes get
//! their place beside the smaps of the same moment, and when to end. Reading is `sampler`'s,
//! finding dumps is `dumps`', writing whole files is `store`'s. Prints nothing: what happens
//! is told to an observer.

use crate::capture::cgroup::MemoryCgroup;
use crate::capture::describe::{self, Description, Scan};
use crate::capture::dumps::{Dump, DumpPattern, DumpWatch};
use crate::capture::process::LiveProcess;
use crate::capture::sampler::{Cost, Depth, Pace, ReadingError, Sampler};
use crate::capture::store::{Store, StoreError};
use crate::origin::Notice;
use crate::units::Bytes;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often dumps are looked for, and whether the process still lives: one `stat` and one `readdir` at most.
const LOOK: Duration = Duration::from_millis(200);
/// A dump this old gets no smaps of its own: they would show another moment.
const SAME_MOMENT: Duration = Duration::from_secs(2);
/// Without a failed write for this long, the next one is news: a full disk is one sentence, not one a snapshot.
const QUIET: Duration = Duration::from_secs(60);
/// How long a dump that was asked for may take before the snapshot is taken without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to record, and how.
pub struct RecordOptions {
    /// Time between snapshots.
    pub every: Duration,
    /// Time after which to end; `None` for as long as the process lives.
    pub length: Option<Duration>,
    /// Where the process writes dumps; `None` when it writes none.
    pub dumps: Option<DumpPattern>,
    /// The dumps are in a folder of ours: they are moved, and those that come too fast are dropped.
    pub spool: bool,
    /// How to ask the process for a dump at each snapshot.
    pub ask: Option<Ask>,
    /// Copy the program and its libraries into `bin/`.
    pub with_binary: bool,
}

impl std::fmt::Debug for RecordOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordOptions")
            .field("every", &self.every)
            .field("length", &self.length)
            .field("dumps", &self.dumps)
            .finish_non_exhaustive()
    }
}

/// A way to make a process write a dump.
pub type Ask = Box<dyn FnMut(&LiveProcess) -> Result<(), String>>;

/// What an observer is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something the user should know.
    Notice(Notice),
    /// A snapshot is on disk.
    Snapshot(Snapped<'a>),
}

/// A snapshot that was just written.
pub struct Snapped<'a> {
    /// Its stem.
    pub unix_ms: u64,
    /// Resident bytes as `stat` has them.
    pub rss: Bytes,
    /// How deep memory was read, and the text.
    pub depth: Depth,
    /// The text of that depth.
    pub text: &'a [u8],
    /// The cgroup file's text, if any.
    pub cgroup: Option<&'a [u8]>,
    /// It has a heap dump.
    pub dump: bool,
}

impl std::fmt::Debug for Snapped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapped").field("unix_ms", &self.unix_ms).field("rss", &self.rss).finish_non_exhaustive()
    }
}

/// How a recording went.
#[derive(Debug)]
pub struct Summary {
    /// Snapshots written, dumps alone included.
    pub snapshots: u64,
    /// Heap dumps among them.
    pub dumps: u64,
    /// Dumps dropped because they followed the last one faster than asked.
    pub dropped: u64,
    /// Snapshots that could not be written.
    pub lost: u64,
    /// Why it ended.
    pub end: End,
    /// What it cost.
    pub cost: Cost,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The time asked for is over.
    Length,
    /// It was told to stop.
    Stopped,
    /// The process is gone.
    Ended,
    /// The process is gone, and its number already belongs to another one.
    Replaced,
}

/// Why a recording could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The directory cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory holds the capture of another process.
    #[error(
        "{} is the capture of {was}, and pid {pid} is another process (it was started at another time): name another directory with -o", path.display()
    )]
    OtherProcess {
        /// The directory.
        path: PathBuf,
        /// The process it is of.
        was: String,
        /// The process asked for.
        pid: u32,
    },
    /// The process was gone before anything could be read.
    #[error("the process ended before it could be described: {0}")]
    Gone(io::Error),
    /// The first file could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Opens the capture for a process: a new one, or that of an earlier recording of the same process.
/// The description goes into it.
pub fn open(path: &Path, description: &Description) -> Result<Store, RecordError> {
    let store = Store::open(path)?;
    let earlier = earlier_description(path);
    if let Some(earlier) = &earlier
        && !description.continues(earlier)
    {
        let was = earlier.get("pid").and_then(Value::as_u64).map_or_else(|| "another process".to_owned(), |pid| format!("pid {pid}"));
        let was = match earlier.get("cmdline").and_then(Value::as_str) {
            Some(cmdline) => format!("{was} ({})", crate::origin::quote(cmdline.as_bytes())),
            None => was,
        };
        return Err(RecordError::OtherProcess { path: path.to_owned(), was, pid: description.pid });
    }
    let write = |error| RecordError::Write { path: path.join(describe::FILE), error };
    store.put(describe::FILE, &description.to_json(earlier.as_ref())).map_err(write)?;
    store.sync().map_err(write)?;
    Ok(store)
}

/// What an earlier recording said of its process; `None` without one, or when it is unreadable.
pub fn earlier_description(path: &Path) -> Option<Map<String, Value>> {
    serde_json::from_slice(&fs::read(path.join(describe::FILE)).ok()?).ok()
}

/// Records until the process ends, the time is over or `stop` gets a message (or loses its sender).
pub fn record(
    process: &LiveProcess,
    description: Description,
    store: &Store,
    options: RecordOptions,
    stop: &Receiver<()>,
    observe: &mut dyn FnMut(Event<'_>),
) -> Summary {
    let mut recording = Recording::new(process, description, store, options, observe);
    let end = recording.run(stop);
    recording.finish(end)
}

struct Recording<'a> {
    process: &'a LiveProcess,
    description: Description,
    store: &'a Store,
    every: Duration,
    length: Option<Duration>,
    spool: bool,
    ask: Option<Ask>,
    with_binary: bool,
    watch: Option<DumpWatch>,
    observe: &'a mut dyn FnMut(Event<'_>),
    sampler: Sampler,
    pace: Pace,
    started: Instant,
    last_stem: u64,
    last_reading: Option<Instant>,
    last_dump: Option<SystemTime>,
    /// The stem of the dump that the process wrote as it ended.
    exit_dump: Option<u64>,
    last_failure: Option<Instant>,
    /// Trouble already told.
    told: BTreeSet<String>,
    snapshots: u64,
    dumps: u64,
    dropped: u64,
    lost: u64,
    ticks: u64,
    /// Tells one program from another executed in the same process.
    image: (u64, u64),
}

impl<'a> Recording<'a> {
    fn new(
        process: &'a LiveProcess,
        description: Description,
        store: &'a Store,
        options: RecordOptions,
        observe: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        let pids = [process.pid(), process.own_pid()];
        let last_mapping = process.read("maps").ok().and_then(|maps| {
            let body = maps.strip_suffix(b"\n")?;
            Some(body[memchr::memrchr(b'\n', body).map_or(0, |at| at + 1)..].to_vec())
        });
        let RecordOptions { every, length, dumps, spool, ask, with_binary } = options;
        Recording {
            process,
            store,
            every,
            length,
            spool,
            ask,
            with_binary,
            // A second of grace: the start is known to a clock tick, times of files to their own.
            watch: dumps.map(|pattern| DumpWatch::new(pattern, pids, description.start - Duration::from_secs(1), last_mapping)),
            observe,
            sampler: Sampler::default(),
            pace: Pace::default(),
            started: Instant::now(),
            last_stem: stems(store.path()).last().copied().unwrap_or(0),
            last_reading: None,
            last_dump: None,
            exit_dump: None,
            last_failure: None,
            told: BTreeSet::new(),
            snapshots: 0,
            dumps: 0,
            dropped: 0,
            lost: 0,
            ticks: 0,
            image: process.stat().map_or((0, 0), |stat| stat.image),
            description,
        }
    }

    fn run(&mut self, stop: &Receiver<()>) -> End {
        if self.with_binary {
            self.copy_programs();
        }
        // Dumps of this process from before this recording, or from a gap between two of them.
        self.take_dumps();
        let mut tick = Instant::now();
        loop {
            if !self.process.is_alive() {
                return if self.process.was_replaced() { End::Replaced } else { End::Ended };
            }
            if self.length.is_some_and(|length| self.started.elapsed() >= length) {
                // The last word: a recording ends with a snapshot, unless one was just taken.
                if self.last_reading.is_none_or(|last| last.elapsed() > self.every / 2) {
                    self.snapshot(None, true);
                }
                return End::Length;
            }
            if Instant::now() >= tick {
                if let Some(end) = self.scheduled(stop) {
                    return end;
                }
                self.ticks += 1;
                self.describe_again(self.ticks.is_power_of_two());
                // A reading that took longer than the period does not pile up the next ones.
                tick += self.every;
                tick = tick.max(Instant::now());
            }
            self.take_dumps();
            let left = self.length.map_or(Duration::MAX, |length| length.saturating_sub(self.started.elapsed()));
            let wait = tick.saturating_duration_since(Instant::now()).min(LOOK).min(left);
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    self.take_dumps();
                    self.snapshot(None, true);
                    return End::Stopped;
                }
            }
        }
    }

    /// The snapshot of a period: with a dump where one can be asked for.
    fn scheduled(&mut self, stop: &Receiver<()>) -> Option<End> {
        let Some(ask) = &mut self.ask else {
            // One was just taken with a dump: another would show the same.
            if self.last_reading.is_none_or(|last| last.elapsed() >= self.every / 2) {
                self.snapshot(None, false);
            }
            return None;
        };
        let asked = ask(self.process);
        if let Err(error) = asked {
            self.tell(self.pid_name(), error);
            self.snapshot(None, false);
            return None;
        }
        let since = Instant::now();
        let patience = PATIENCE.min(self.every.max(Duration::from_secs(1)));
        while since.elapsed() < patience && self.process.is_alive() {
            if self.take_dumps() > 0 {
                return None;
            }
            // Dumps are asked for: looking more often keeps smaps close to them.
            if !matches!(stop.recv_timeout(LOOK / 10), Err(RecvTimeoutError::Timeout)) {
                self.snapshot(None, true);
                return Some(End::Stopped);
            }
        }
        let place = self.watch.as_ref().map_or_else(|| "no --dumps".to_owned(), |w| w.pattern().to_string());
        self.tell(
            self.pid_name(),
            format!("no dump appeared within {} s of asking for one (looked for: {place}); is prof:true set, and prof_prefix where --dumps says?", patience.as_secs()),
        );
        self.snapshot(None, false);
        None
    }

    /// Takes the dumps that are finished by now into the capture; returns how many.
    fn take_dumps(&mut self) -> usize {
        let Some(watch) = &mut self.watch else { return 0 };
        let found = match watch.finished() {
            Ok(found) => found,
            Err(error) => {
                let folder = watch.pattern().folder().display().to_string();
                self.tell(folder, format!("dumps cannot be looked for: {error}"));
                return 0;
            }
        };
        found.iter().filter(|dump| self.take_dump(dump)).count()
    }

    /// Takes one dump into the capture under the time it was finished; whether it is there now.
    fn take_dump(&mut self, dump: &Dump) -> bool {
        let is_final = dump.path.to_string_lossy().ends_with(".f.heap");
        if self.spool && !is_final && self.last_dump.is_some_and(|last| dump.modified < last + self.every.mul_f64(0.9)) {
            self.dropped += 1;
            // Our own folder: what is not kept only fills the disk.
            let _ = fs::remove_file(&dump.path);
            return false;
        }
        let mut stem = unix_ms(dump.modified);
        loop {
            let name = format!("{stem}.heap");
            if !self.store.has(&name) {
                break;
            }
            // From an earlier recording; two dumps within a millisecond get neighboring names.
            if same_content(&dump.path, &self.store.path().join(&name)) {
                return false;
            }
            stem += 1;
        }
        let name = format!("{stem}.heap");
        let taken = if self.spool { self.store.adopt(&dump.path, &name) } else { self.copy_dump(&dump.path, &name) };
        match taken {
            Ok(()) => {
                self.dumps += 1;
                self.last_dump = Some(dump.modified);
                self.exit_dump = self.exit_dump.or(is_final.then_some(stem));
            }
            Err(error) => {
                self.lost += 1;
                self.tell(dump.path.display().to_string(), format!("this dump is not in the capture: {error}"));
                return false;
            }
        }
        let age = SystemTime::now().duration_since(dump.modified).unwrap_or_default();
        if age > SAME_MOMENT || !self.snapshot(Some(stem), true) {
            self.snapshots += 1;
            self.keep(self.store.sync());
        }
        true
    }

    /// Copies a dump, and makes sure that what was copied is whole.
    fn copy_dump(&self, path: &Path, name: &str) -> io::Result<()> {
        let partial = self.store.partial(name);
        let copied = File::open(path).and_then(|mut from| io::copy(&mut from, &mut File::create(&partial)?));
        let whole = copied.and_then(|length| {
            let watch = self.watch.as_ref();
            if watch.is_some_and(|watch| watch.is_finished(&partial, length)) {
                Ok(())
            } else {
                Err(io::Error::other("it changed while it was copied"))
            }
        });
        whole.inspect_err(|_| drop(fs::remove_file(&partial)))?;
        self.store.publish(name)
    }

    /// Takes a snapshot; whether one was written. `stem` is that of a dump it belongs to.
    fn snapshot(&mut self, stem: Option<u64>, full: bool) -> bool {
        let elapsed = self.last_reading.map_or(Duration::ZERO, |last| last.elapsed());
        let depth = if full { Depth::Full } else { self.pace.choose(elapsed) };
        let unix_ms = stem.unwrap_or_else(|| self.next_stem());
        let (status, cgroup) = match self.small_files() {
            Ok(files) => files,
            Err(error) => return self.not_read(error),
        };
        let rss = self.process.stat().map_or(Bytes::ZERO, |stat| Bytes::from_pages(stat.resident_pages, procfs::page_size()));
        let text = match self.sampler.read(self.process, depth) {
            Ok((text, taken)) => {
                self.pace.spent(depth, taken);
                text
            }
            Err(error) => return self.not_read(error),
        };
        self.last_reading = Some(Instant::now());
        let mut files: Vec<(String, &[u8])> = vec![(format!("{unix_ms}.status"), &status)];
        if depth > Depth::Status {
            files.push((format!("{unix_ms}.{}", depth.file()), text));
        }
        if let Some(cgroup) = &cgroup {
            files.push((format!("{unix_ms}.cgroup"), cgroup));
        }
        let mut written = 0;
        // The largest first: when the disk is nearly full, no snapshot of mere trifles.
        files.sort_by_key(|(_, content)| std::cmp::Reverse(content.len()));
        let result = files.iter().try_for_each(|(name, content)| {
            self.store.put(name, content)?;
            written += content.len();
            Ok(())
        });
        let result = result.and_then(|()| self.store.sync());
        if result.is_ok() {
            self.snapshots += 1;
            (self.observe)(Event::Snapshot(Snapped { unix_ms, rss, depth, text, cgroup: cgroup.as_deref(), dump: stem.is_some() }));
        }
        self.sampler.wrote(written);
        self.keep(result)
    }

    /// The files that cost nothing.
    fn small_files(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), ReadingError> {
        let read = |name: &str| {
            self.process.read(name).map_err(|error| match error.raw_os_error() {
                Some(2 | 3) => ReadingError::Gone,
                _ => ReadingError::Io(error),
            })
        };
        let status = read("status")?;
        if status.is_empty() {
            return Err(ReadingError::Gone);
        }
        // Looked up each time: a process can be moved.
        let cgroup = self.process.read("cgroup").ok().and_then(|cgroup| MemoryCgroup::of(&cgroup)).and_then(|found| found.text());
        Ok((status, cgroup))
    }

    fn not_read(&mut self, error: ReadingError) -> bool {
        match error {
            // Whether it ended is looked at by the loop; a program executed in it shows next time.
            ReadingError::Gone => {}
            ReadingError::Io(error) => {
                self.lost += 1;
                self.tell(self.pid_name(), format!("its memory could not be read: {error}"));
            }
        }
        false
    }

    /// Counts and tells what could not be written.
    fn keep(&mut self, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => true,
            Err(error) => {
                self.lost += 1;
                if self.last_failure.replace(Instant::now()).is_none_or(|last| last.elapsed() > QUIET) {
                    let path = self.store.path().display().to_string();
                    let message =
                        format!("a snapshot could not be written: {error}; trying again at each snapshot, nothing half-written is left");
                    (self.observe)(Event::Notice(Notice::new(path, message)));
                }
                false
            }
        }
    }

    /// Tells something once.
    fn tell(&mut self, input: String, message: String) {
        if self.told.insert(message.clone()) {
            (self.observe)(Event::Notice(Notice::new(input, message)));
        }
    }

    fn pid_name(&self) -> String {
        format!("pid {}", self.process.pid())
    }

    /// The time now, in milliseconds; after the last snapshot even when the clock was set back.
    fn next_stem(&mut self) -> u64 {
        let now = unix_ms(SystemTime::now());
        if now < self.last_stem.saturating_sub(1000) {
            let behind = Duration::from_millis(self.last_stem - now);
            self.tell(
                self.store.path().display().to_string(),
                format!("the clock is {} s behind the last snapshot of this capture: snapshots are numbered on from there, their times are too late", behind.as_secs()),
            );
            // As much later than the last snapshot as really passed.
            let passed = self.last_reading.map_or(1, |last| last.elapsed().as_millis() as u64).max(1);
            self.last_stem += passed;
        } else {
            self.last_stem = now.max(self.last_stem + 1);
        }
        self.last_stem
    }

    /// Writes the description anew when libraries were loaded, looked at ever more seldom, or when
    /// another program was executed.
    fn describe_again(&mut self, due: bool) {
        let image = self.process.stat().map_or(self.image, |stat| stat.image);
        if image != self.image {
            self.image = image;
            let name = self.process.stat().map_or_else(|_| String::new(), |stat| stat.name);
            let message = format!(
                "it executed another program ({}): snapshots before and after show different programs",
                crate::origin::printable(&name)
            );
            self.tell(self.pid_name(), message);
        } else if !due {
            return;
        }
        let Ok(now) = Description::of(self.process, Scan::Allocator) else { return };
        let paths = |description: &Description| description.modules.iter().map(|module| module.path.clone()).collect::<Vec<_>>();
        if paths(&now) == paths(&self.description) {
            return;
        }
        let earlier = earlier_description(self.store.path());
        self.description = now;
        let written = self.store.put(describe::FILE, &self.description.to_json(earlier.as_ref()));
        self.keep(written);
        if self.with_binary {
            self.copy_programs();
        }
    }

    /// Copies the program and its libraries into `bin/`, those that are not there yet.
    fn copy_programs(&mut self) {
        for module in self.description.modules.clone() {
            let Some(base) = module.path.file_name() else { continue };
            let name = format!("bin/{}", base.to_string_lossy());
            if self.store.has(&name) {
                continue;
            }
            let copied = File::open(&module.readable_at).and_then(|file| self.store.copy(file, &name));
            match copied {
                Ok(bytes) => self.sampler.wrote(usize::try_from(bytes).unwrap_or(usize::MAX)),
                Err(error) => self.tell(module.path.display().to_string(), format!("not copied into the capture: {error}")),
            }
        }
    }

    fn finish(mut self, end: End) -> Summary {
        // What the process wrote on its way out (prof_final).
        if self.watch.is_some() && matches!(end, End::Ended | End::Replaced) {
            self.take_dumps();
        }
        if let Some(stem) = self.exit_dump {
            let mut about = earlier_description(self.store.path()).unwrap_or_default();
            about.insert("exit_dumps".to_owned(), vec![stem.to_string()].into());
            let written = self.store.put(describe::FILE, &describe::pretty(about));
            self.keep(written);
        }
        if let Some(watch) = &self.watch {
            let unfinished: Vec<(String, u64)> = watch.unfinished().map(|(path, length)| (path.display().to_string(), length)).collect();
            for (path, length) in unfinished {
                self.tell(path, format!("not taken into the capture: at {length} bytes it has no end (the mapped libraries); the process was stopped or the disk was full while it was written"));
            }
        }
        Summary {
            snapshots: self.snapshots,
            dumps: self.dumps,
            dropped: self.dropped,
            lost: self.lost,
            end,
            cost: self.sampler.cost(),
            elapsed: self.started.elapsed(),
        }
    }
}

/// The stems of the snapshots in a capture, ascending.
pub(super) fn stems(path: &Path) -> Vec<u64> {
    let names = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let stems: BTreeSet<u64> = names.filter_map(|name| name.to_str()?.split_once('.')?.0.parse().ok()).collect();
    stems.into_iter().collect()
}

pub(super) fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn same_content(one: &Path, other: &Path) -> bool {
    let length = |path: &Path| fs::metadata(path).map(|meta| meta.len()).ok();
    length(one).is_some() && length(one) == length(other) && fs::read(one).ok() == fs::read(other).ok()
}
