//! A service records itself: complete snapshots on a signal, every so often, or when it says so.
//!
//! ```no_run
//! use heaptriage::capture::in_process::{Jemalloc, Recorder};
//! use std::time::Duration;
//!
//! #[global_allocator]
//! static ALLOCATOR: Jemalloc = Jemalloc;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let recording = Recorder::new("/var/tmp/indexer.capture").every(Duration::from_secs(60)).on_signal(12).start()?;
//!     // ... the service ...
//!     drop(recording);
//!     Ok(())
//! }
//! ```
//!
//! Needs the feature `in-process`, and tikv-jemallocator 0.7 as the global allocator ([`Jemalloc`] is its). A snapshot is what an
//! observer outside cannot get: the heap dump, smaps, the allocator's statistics and the workload's counters of
//! one moment, taken by a thread of its own. Files appear whole or not at all.

use crate::capture::cgroup::MemoryCgroup;
use crate::capture::describe::{self, Description, Scan};
use crate::capture::in_process_ffi as ffi;
use crate::capture::process::{LiveProcess, ProcessError};
use crate::capture::record::{self, RecordError};
use crate::capture::store::Store;
use serde_json::{Map, Value};
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tikv_jemalloc_ctl::{epoch, profiling, stats_print, thread as jemalloc_thread};

pub use tikv_jemallocator::Jemalloc;

/// Workload counters, and where their values stand.
const COUNTERS: &str = "counters.csv";

/// More snapshots than this are thinned out, unless [`Recorder::keep`] says otherwise.
const KEEP: usize = 1000;

type Reader = Box<dyn Fn() -> u64 + Send>;

struct Counter {
    name: String,
    kind: &'static str,
    read: Reader,
}

/// What to record of this process, and when.
#[must_use = "nothing is recorded before `start`"]
pub struct Recorder {
    path: PathBuf,
    every: Option<Duration>,
    signals: Vec<i32>,
    counters: Vec<Counter>,
    keep: usize,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters: Vec<&str> = self.counters.iter().map(|counter| counter.name.as_str()).collect();
        f.debug_struct("Recorder")
            .field("path", &self.path)
            .field("every", &self.every)
            .field("signals", &self.signals)
            .field("counters", &counters)
            .field("keep", &self.keep)
            .finish()
    }
}

/// Why a recording could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InProcessError {
    /// The capture cannot be written.
    #[error(transparent)]
    Capture(#[from] RecordError),
    /// `/proc/self` cannot be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Allocations do not reach the jemalloc that would be asked.
    #[error("the global allocator of this program is not the jemalloc of tikv-jemallocator 0.7: declare it with #[global_allocator]")]
    NotTheAllocator,
    /// A counter's name would break the file.
    #[error("a counter cannot be called {0:?}: a name has no comma, quote or line break, and `unix_ms` is taken")]
    CounterName(String),
    /// A signal that cannot be caught.
    #[error("signal {signal} cannot be handled: {error}")]
    Signal {
        /// Its number.
        signal: i32,
        /// What the kernel said.
        error: io::Error,
    },
    /// No thread could be started, or a file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Recorder {
    /// Records into a directory. If it already holds the capture of an earlier run of the service, this one goes
    /// beside it: `NAME-2.capture`, `NAME-3.capture` ([`Recording::path`] tells).
    pub fn new(path: impl Into<PathBuf>) -> Recorder {
        Recorder { path: path.into(), every: None, signals: Vec::new(), counters: Vec::new(), keep: KEEP }
    }

    /// Takes a snapshot this often, the first one at once.
    pub fn every(mut self, every: Duration) -> Recorder {
        self.every = Some(every);
        self
    }

    /// Takes a snapshot when the process gets this signal (12 is SIGUSR2 on most platforms). The handler only
    /// notes it; the work is done by a thread.
    pub fn on_signal(mut self, signal: i32) -> Recorder {
        self.signals.push(signal);
        self
    }

    /// Work done so far, never falling: requests, documents, bytes read. Growth is then told per unit of work.
    pub fn counter(mut self, name: impl Into<String>, read: impl Fn() -> u64 + Send + 'static) -> Recorder {
        self.counters.push(Counter { name: name.into(), kind: "cumulative", read: Box::new(read) });
        self
    }

    /// A level that goes up and down: open connections, entries of a cache.
    pub fn gauge(mut self, name: impl Into<String>, read: impl Fn() -> u64 + Send + 'static) -> Recorder {
        self.counters.push(Counter { name: name.into(), kind: "gauge", read: Box::new(read) });
        self
    }

    /// Keeps about this many snapshots (1000 unless said): with more, every second one of the older half is
    /// removed, so that the capture still reaches back to the start. At least 4.
    pub fn keep(mut self, snapshots: usize) -> Recorder {
        self.keep = snapshots.max(4);
        self
    }

    /// Starts the recording thread. It ends when the [`Recording`] is dropped.
    pub fn start(self) -> Result<Recording, InProcessError> {
        let legal = |name: &str| !name.is_empty() && name != "unix_ms" && !name.contains([',', '"', '\n', '\r']);
        if let Some(counter) = self.counters.iter().find(|counter| !legal(&counter.name)) {
            return Err(InProcessError::CounterName(counter.name.clone()));
        }
        if !is_the_allocator() {
            return Err(InProcessError::NotTheAllocator);
        }
        let process = LiveProcess::open(std::process::id())?;
        let mut description = Description::of(&process, Scan::Identity)?;
        description.jemalloc_version = tikv_jemalloc_ctl::version::read().ok().map(|version| version.trim_end_matches('\0').to_owned());
        let (store, path) = open(&self.path, &description)?;
        let doubts = doubts();
        for doubt in &doubts {
            log::warn!("heaptriage: {doubt}");
        }
        let (sender, orders) = channel();
        let mut writer = Writer {
            process,
            description,
            store,
            counters: self.counters,
            buffer: Vec::new(),
            last: 0,
            keep: self.keep,
            stems: Vec::new(),
        };
        writer.prepare()?;
        let signals = forward(&self.signals, &sender)?;
        let every = self.every;
        let thread = std::thread::Builder::new().name("heaptriage".into()).spawn(move || run(&mut writer, every, &orders))?;
        Ok(Recording { path, doubts, sender: Some(sender), thread: Some(thread), signals })
    }
}

/// A recording of this process; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the recording ends when this is dropped: keep it in a variable"]
pub struct Recording {
    path: PathBuf,
    doubts: Vec<String>,
    /// `None` only while it is being dropped.
    sender: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    signals: Option<(signal_hook::iterator::Handle, JoinHandle<()>)>,
}

impl Recording {
    /// The capture directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What will be missing in the snapshots and how to get it, such as profiling that is not on.
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// Takes a snapshot now and waits until it is on disk. Returns its stem, the time in Unix milliseconds.
    pub fn snapshot(&self) -> io::Result<u64> {
        let gone = || io::Error::other("the recording thread has ended");
        let (answer, answered) = channel();
        self.sender.as_ref().ok_or_else(gone)?.send(Order::Snapshot(Some(answer))).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some((handle, thread)) = self.signals.take() {
            handle.close();
            // A panic there has nothing to say that matters here.
            let _ = thread.join();
        }
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(Order::End);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Order {
    /// Take one, and say how it went to whoever waits.
    Snapshot(Option<Sender<io::Result<u64>>>),
    End,
}

/// Whether what this program allocates comes from the jemalloc that will be asked.
fn is_the_allocator() -> bool {
    let Ok(counter) = jemalloc_thread::allocatedp::read() else { return false };
    let before = counter.get();
    drop(std::hint::black_box(vec![0u8; 64 * 1024]));
    counter.get() != before
}

/// What is missing for complete snapshots.
fn doubts() -> Vec<String> {
    let mut doubts = Vec::new();
    match (profiling::prof::read(), ffi::is_active()) {
        (Ok(true), Some(true)) => {}
        (Ok(true), _) => doubts.push("prof.active is false: allocations made while it is are invisible for ever; start with prof_active:true".into()),
        _ => doubts.push(
            "heap profiling is off, so there will be no dumps: start the process with _RJEM_MALLOC_CONF=prof:true (MALLOC_CONF for an unprefixed build)".into(),
        ),
    }
    doubts
}

/// The capture at this path, or beside it when that one is of another run.
fn open(path: &Path, description: &Description) -> Result<(Store, PathBuf), RecordError> {
    let mut number = 1;
    loop {
        let candidate = if number == 1 { path.to_owned() } else { numbered(path, number) };
        match record::open(&candidate, description) {
            Err(RecordError::OtherProcess { .. }) => number += 1,
            Ok(store) => return Ok((store, candidate)),
            Err(error) => return Err(error),
        }
    }
}

/// `indexer.capture` to `indexer-2.capture`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(String::new, |extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

/// Turns signals into orders, on a thread: a handler may neither lock nor allocate, and a dump does both.
fn forward(signals: &[i32], sender: &Sender<Order>) -> Result<Option<(signal_hook::iterator::Handle, JoinHandle<()>)>, InProcessError> {
    let Some(&first) = signals.first() else { return Ok(None) };
    let mut receiver = signal_hook::iterator::Signals::new(signals).map_err(|error| InProcessError::Signal { signal: first, error })?;
    let handle = receiver.handle();
    let sender = sender.clone();
    let thread = std::thread::Builder::new().name("heaptriage-sig".into()).spawn(move || {
        for _ in receiver.forever() {
            if sender.send(Order::Snapshot(None)).is_err() {
                break;
            }
        }
    })?;
    Ok(Some((handle, thread)))
}

fn run(writer: &mut Writer, every: Option<Duration>, orders: &Receiver<Order>) {
    let mut next = every.map(|_| Instant::now());
    let mut failing = false;
    loop {
        let order = match next {
            Some(next) => orders.recv_timeout(next.saturating_duration_since(Instant::now())),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let answer = match order {
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Order::Snapshot(answer)) => answer,
            Err(RecvTimeoutError::Timeout) => {
                // Snapshots that take longer than the period do not pile up.
                next = every.map(|every| Instant::now() + every);
                None
            }
        };
        let taken = writer.snapshot();
        match &taken {
            Ok(_) => failing = false,
            // Once for a row of failures: a full disk is one line in the service's log.
            Err(error) if !failing => {
                failing = true;
                log::warn!("heaptriage: no snapshot in {}: {error}", writer.store.path().display());
            }
            Err(_) => {}
        }
        if let Some(answer) = answer {
            // Nobody may be waiting any more.
            let _ = answer.send(taken);
        }
    }
}

/// Takes snapshots; lives on the recording thread.
struct Writer {
    process: LiveProcess,
    description: Description,
    store: Store,
    counters: Vec<Counter>,
    /// Reused: what the recorder itself allocates stays small and constant.
    buffer: Vec<u8>,
    last: u64,
    keep: usize,
    stems: Vec<u64>,
}

impl Writer {
    /// Writes what is the same for all snapshots.
    fn prepare(&mut self) -> io::Result<()> {
        self.stems = record::stems(self.store.path());
        self.last = self.stems.last().copied().unwrap_or(0);
        let mut about = record::earlier_description(self.store.path()).unwrap_or_default();
        let kinds: Map<String, Value> = self.counters.iter().map(|counter| (counter.name.clone(), counter.kind.into())).collect();
        if !kinds.is_empty() {
            about.insert("counters".into(), kinds.into());
        }
        self.store.put(describe::FILE, &self.description.to_json(Some(&about)))?;
        self.start_counters()?;
        self.store.sync()
    }

    /// The head of counters.csv; columns of an earlier recording that differ are kept in a file of their own.
    fn start_counters(&self) -> io::Result<()> {
        if self.counters.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.counters.iter().map(|counter| counter.name.as_str()).collect();
        let head = format!("unix_ms,{}\n", names.join(","));
        let path = self.store.path().join(COUNTERS);
        match fs::read(&path) {
            Ok(earlier) if earlier.starts_with(head.as_bytes()) => return Ok(()),
            Ok(_) => {
                let free = (1..).map(|n| self.store.path().join(format!("counters-{n}.csv"))).find(|path| !path.exists());
                fs::rename(&path, free.ok_or(io::ErrorKind::AlreadyExists)?)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.store.put(COUNTERS, head.as_bytes())
    }

    fn snapshot(&mut self) -> io::Result<u64> {
        let stem = record::unix_ms(SystemTime::now()).max(self.last + 1);
        self.last = stem;
        // The counters first and at once: they move fastest.
        let counted: Vec<u64> = self.counters.iter().map(|counter| (counter.read)()).collect();
        let dumped = self.dump(&format!("{stem}.heap"));
        self.put_proc("smaps", &format!("{stem}.smaps"))?;
        self.buffer.clear();
        // Statistics are those of the last epoch otherwise.
        let _ = epoch::advance();
        let mut options = stats_print::Options::default();
        options.json_format = true;
        stats_print::stats_print(&mut self.buffer, options)?;
        self.store.put(&format!("{stem}.stats.json"), &self.buffer)?;
        self.put_proc("status", &format!("{stem}.status"))?;
        if let Some(text) = self.process.read("cgroup").ok().and_then(|cgroup| MemoryCgroup::of(&cgroup)).and_then(|found| found.text()) {
            self.store.put(&format!("{stem}.cgroup"), &text)?;
        }
        self.count(stem, &counted)?;
        self.store.sync()?;
        self.stems.push(stem);
        self.thin();
        // Said after the rest is on disk: a snapshot without dump still tells where RSS is.
        dumped.map(|()| stem)
    }

    /// The heap dump, if the allocator profiles.
    fn dump(&self, name: &str) -> io::Result<()> {
        if !profiling::prof::read().unwrap_or(false) {
            return Ok(());
        }
        let partial = self.store.partial(name);
        let path = CString::new(partial.into_os_string().into_vec()).map_err(|_| io::ErrorKind::InvalidInput)?;
        ffi::dump(&path).map_err(|error| io::Error::other(format!("the heap could not be dumped: {error}")))?;
        self.store.publish(name)
    }

    fn put_proc(&mut self, file: &str, name: &str) -> io::Result<()> {
        self.buffer.clear();
        self.process.open_file(file)?.read_to_end(&mut self.buffer)?;
        self.store.put(name, &self.buffer)
    }

    /// Appends a row. One write of less than a page: a kill leaves all of it or nothing, and what a full
    /// disk cuts is taken back.
    fn count(&self, stem: u64, values: &[u64]) -> io::Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let mut row = stem.to_string();
        for value in values {
            row += &format!(",{value}");
        }
        row.push('\n');
        let mut file = fs::OpenOptions::new().append(true).open(self.store.path().join(COUNTERS))?;
        let length = file.metadata()?.len();
        file.write_all(row.as_bytes()).and_then(|()| file.sync_data()).inspect_err(|_| drop(file.set_len(length)))
    }

    /// Removes every second snapshot of the older half when there are too many; the first one stays.
    fn thin(&mut self) {
        if self.stems.len() <= self.keep {
            return;
        }
        let half = self.stems.len() / 2;
        let (old, new) = self.stems.split_at(half);
        for stem in old.iter().skip(1).step_by(2) {
            for extension in ["heap", "smaps", "stats.json", "status", "cgroup"] {
                // Not every snapshot has every part.
                let _ = fs::remove_file(self.store.path().join(format!("{stem}.{extension}")));
            }
        }
        self.stems = old.iter().step_by(2).chain(new).copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_of_other_runs_get_a_number() {
        assert_eq!(numbered(Path::new("/a/indexer.capture"), 2), Path::new("/a/indexer-2.capture"));
        assert_eq!(numbered(Path::new("indexer"), 3), Path::new("indexer-3"));
    }

    #[test]
    fn a_program_with_another_allocator_is_refused() {
        // The test program allocates with the system's.
        let folder = tempfile::tempdir().unwrap();
        let error = Recorder::new(folder.path().join("c")).start().unwrap_err();
        assert!(matches!(error, InProcessError::NotTheAllocator), "{error}");
        let error = Recorder::new(folder.path().join("c")).counter("a,b", || 0).start().unwrap_err();
        assert!(matches!(error, InProcessError::CounterName(_)), "{error}");
        assert!(!folder.path().join("c").exists());
    }
}
