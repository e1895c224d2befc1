//! The figures of a recording for Prometheus: RSS and its ledger at every snapshot, and the suspects as far as the dumps
//! show them.
//!
//! The ledger costs one reading of the files just written. The suspects need all dumps with their names: they are looked
//! for in a thread of its own, one at a time, and so seldom that it stays a fiftieth of one core.

use super::args::TimeArgs;
use super::report::triaged;
use super::screen;
use super::suppress::SuppressArgs;
use super::symbols::SymbolArgs;
use crate::analysis::finding::Suspect;
use crate::capture::record::Snapped;
use crate::capture::textfile::Gauges;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// After a search the next one waits this many times as long as it took.
const REST: u32 = 50;
/// Suspects shown; a page of metrics is no report.
const MOST_SUSPECTS: usize = 10;

/// Keeps the file up to date.
#[derive(Debug)]
pub struct Textfile {
    file: PathBuf,
    capture: PathBuf,
    process: String,
    pid: u32,
    suspects: Vec<Suspect>,
    search: Option<Receiver<Vec<Suspect>>>,
    begun: Instant,
    not_before: Instant,
    dumps: u64,
    /// Stem and RSS of the last snapshot.
    last: Option<(u64, f64)>,
}

impl Textfile {
    /// Of a process that is recorded into `capture`.
    pub fn new(file: &Path, capture: &Path, process: &str, pid: u32) -> Textfile {
        Textfile {
            file: file.to_owned(),
            capture: capture.to_owned(),
            process: process.to_owned(),
            pid,
            suspects: Vec::new(),
            search: None,
            begun: Instant::now(),
            not_before: Instant::now(),
            dumps: 0,
            last: None,
        }
    }

    /// Writes the figures of a snapshot that is on disk.
    pub fn snapshot(&mut self, snapped: &Snapped<'_>) -> io::Result<()> {
        self.dumps += u64::from(snapped.dump);
        self.collect();
        if snapped.dump && self.dumps >= 2 && self.search.is_none() && Instant::now() >= self.not_before {
            self.look();
        }
        self.last = Some((snapped.unix_ms, snapped.rss.get() as f64));
        self.write()
    }

    /// At the end of the recording, with the suspects of all dumps.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.dumps >= 2 {
            // A search that began before the last dump does not know it.
            drop(self.search.take());
            if let Ok(done) = search(&self.capture) {
                self.suspects = done;
            }
            self.write()?;
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let Some((stem, rss)) = self.last else { return Ok(()) };
        let mut gauges = Gauges::new(&self.process, self.pid);
        gauges.add("heaptriage_snapshot_timestamp_seconds", "Unix time of the snapshot.", &[], stem as f64 / 1000.0);
        gauges.add("heaptriage_rss_bytes", "Resident memory of the process.", &[], rss);
        if let Some(ledger) = screen::ledger(&self.capture, stem) {
            for row in &ledger.rows {
                let labels = [("kind", row.kind.word()), ("label", row.label.as_str())];
                gauges.add(
                    "heaptriage_ledger_bytes",
                    "Resident memory by owner; the rows of a process add up to RSS in its smaps.",
                    &labels,
                    row.last() as f64,
                );
            }
        }
        self.suspects(&mut gauges);
        gauges.write(&self.file)
    }

    fn suspects(&self, gauges: &mut Gauges) {
        let labels = |suspect: &Suspect| {
            [
                ("fingerprint", suspect.fingerprint.clone()),
                ("kind", suspect.kind.word().to_owned()),
                ("pattern", suspect.pattern.unwrap_or_default().to_owned()),
                ("confidence", suspect.confidence.word().to_owned()),
                ("owner", suspect.owner.function.clone()),
            ]
        };
        let shown = || self.suspects.iter().filter(|suspect| suspect.suppressed.is_none()).take(MOST_SUSPECTS);
        if self.dumps >= 2 {
            gauges.add("heaptriage_suspects", "Suspects in the dumps so far.", &[], shown().count() as f64);
        }
        let mut add = |name: &str, help: &str, figure: fn(&Suspect) -> f64| {
            for suspect in shown() {
                let labels = labels(suspect);
                let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
                gauges.add(name, help, &labels, figure(suspect));
            }
        };
        add("heaptriage_suspect_growth_bytes", "Growth of a suspect since the first dump, estimated.", |suspect| {
            suspect.growth.estimate.round()
        });
        add("heaptriage_suspect_growth_low_bytes", "Lower end of its 95 % interval.", |suspect| suspect.growth.low.round());
    }

    /// Begins a search over the capture as it is now.
    fn look(&mut self) {
        let (sender, receiver) = channel();
        let capture = self.capture.clone();
        let search = move || {
            // Without a result the last one stands.
            let _ = search(&capture).map(|suspects| sender.send(suspects));
        };
        if std::thread::Builder::new().name("suspects".into()).spawn(search).is_ok() {
            (self.search, self.begun) = (Some(receiver), Instant::now());
        }
    }

    /// Takes the result of a search that ended.
    fn collect(&mut self) {
        let Some(search) = &self.search else { return };
        match search.try_recv() {
            Ok(suspects) => self.suspects = suspects,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {}
        }
        let taken = self.begun.elapsed().max(Duration::from_millis(1));
        (self.search, self.not_before) = (None, Instant::now() + taken * REST);
    }
}

/// The suspects in all dumps of a capture.
fn search(capture: &Path) -> anyhow::Result<Vec<Suspect>> {
    let done = triaged(&[capture.to_owned()], &SymbolArgs::default(), &TimeArgs::default(), None, &SuppressArgs::default(), None)?;
    Ok(done.triage.suspects)
}
