//! Captures on disk: open and group files, record a live process. Touches the outside.
//!
//! ```text
//! INPUT... --source--> files --load--> values --assemble--> Timeline of one process
//!          directories,        content decides     by stem and time; other runs of the
//!          globs, `-`          what a file is      program and other programs are set aside
//! ```
//!
//! [`open`] never fails on a single bad file: what it is and what to do about it becomes a notice, the
//! rest is used.

pub mod cgroup;
pub mod debugger;
pub mod describe;
pub mod doctor;
pub mod dumps;
#[cfg(feature = "in-process")]
pub mod in_process;
#[cfg(feature = "in-process")]
mod in_process_ffi;
pub mod launch;
pub mod process;
pub mod program;
pub mod record;
pub mod sampler;
pub mod store;
pub mod textfile;

mod assemble;
mod counters;
mod identity;
mod load;
mod metrics;
mod name;
mod source;

use crate::model::snapshot::Part;
use crate::model::timeline::Timeline;
use crate::origin::Notice;
use crate::symbolize::BinaryArg;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What to read of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Counters of each stack by thread; skipping them is faster.
    pub threads: bool,
    /// The order is given and no time is asked for: nothing is said of where times come from.
    pub ordered: bool,
}

/// How far the reading of files is, for whoever shows it to a person who waits. Nothing else depends on it.
pub static READING: Reading = Reading { read: AtomicUsize::new(0), of: AtomicUsize::new(0) };

/// Files read of those that were found.
#[derive(Debug)]
pub struct Reading {
    read: AtomicUsize,
    of: AtomicUsize,
}

impl Reading {
    /// Files read.
    pub fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Files found.
    pub fn of(&self) -> usize {
        self.of.load(Ordering::Relaxed)
    }

    fn more(&self, files: usize) {
        self.of.fetch_add(files, Ordering::Relaxed);
    }

    /// Counts a file whose content is `read`.
    fn one<T>(&self, read: T) -> T {
        self.read.fetch_add(1, Ordering::Relaxed);
        read
    }
}

/// An open capture.
#[derive(Debug, Default)]
pub struct Opened {
    /// Snapshots of one process, by time; never empty.
    pub timeline: Timeline,
    /// What was left out or is odd, with the file and what to do about it.
    pub notices: Vec<Notice>,
    /// Directories with executables and debug files that came with the capture.
    pub bin_dirs: Vec<PathBuf>,
    /// Programs among the inputs: as good as named for their modules.
    pub programs: Vec<PathBuf>,
    /// Capture directories among the inputs, as given.
    pub directories: Vec<PathBuf>,
}

impl Opened {
    /// Programs among the inputs, as if each were named for its module.
    pub fn binaries(&self) -> impl Iterator<Item = BinaryArg> {
        self.programs.iter().map(|path| BinaryArg { module: None, path: path.clone() })
    }

    /// Takes the dump that was written as the process ended out of a series: what the program frees on its way out would
    /// look like memory that comes and goes. Where too few dumps remain it stays. Either is said.
    pub fn without_exit_dump(&mut self) {
        let snapshots = &mut self.timeline.snapshots;
        let dumps = snapshots.iter().filter(|snapshot| snapshot.heap.is_some()).count();
        let Some(at) = snapshots.iter().rposition(|snapshot| snapshot.heap.is_some()).filter(|&at| snapshots[at].at_exit) else { return };
        let file = snapshots[at].file(Part::Heap).unwrap_or(&snapshots[at].name).to_owned();
        if dumps <= FEWEST_DUMPS {
            let message = "was written as the process ended: what the program frees on its way out is missing in it";
            self.notices.push(Notice::new(file, message));
            return;
        }
        let message = "was written as the process ended and is left out, because what the program frees on its way out is missing in it; \
                       `heaptriage top` shows what it never freed";
        self.notices.push(Notice::new(file, message));
        let snapshot = &mut snapshots[at];
        snapshot.heap = None;
        snapshot.files.retain(|(part, _)| *part != Part::Heap);
        if snapshot.files.is_empty() {
            snapshots.remove(at);
        }
    }
}

/// Dumps that a comparison needs.
const FEWEST_DUMPS: usize = 2;

/// Nothing usable in the inputs.
#[derive(Debug)]
pub struct CaptureError {
    /// The inputs as given.
    pub inputs: Vec<PathBuf>,
    /// Why each of them is no use.
    pub notices: Vec<Notice>,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One reason is the message; several follow it, the first few.
        const SHOWN: usize = 10;
        match self.notices.as_slice() {
            [one] => write!(f, "{one}"),
            notices => {
                let inputs: Vec<String> = self.inputs.iter().take(3).map(|path| path.display().to_string()).collect();
                let more = if self.inputs.len() > 3 { ", ..." } else { "" };
                write!(f, "nothing usable in {}{more}", crate::origin::printable(&inputs.join(", ")))?;
                for notice in notices.iter().take(SHOWN) {
                    write!(f, "\n  {notice}")?;
                }
                if notices.len() > SHOWN {
                    write!(f, "\n  and {} more", notices.len() - SHOWN)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for CaptureError {}

/// Opens capture directories, loose files in any order, series files, patterns and `-`: everything is one
/// process over time. Fails only when not one snapshot is usable.
pub fn open(inputs: &[PathBuf], options: &OpenOptions) -> Result<Opened, CaptureError> {
    let mut found = source::find(inputs);
    let programs = std::mem::take(&mut found.programs);
    let mut opened = assemble::assemble(found, options);
    if opened.timeline.snapshots.is_empty() {
        opened.notices.extend(programs.iter().map(|program| no_profile(program)));
    }
    opened.programs = programs;
    if opened.timeline.snapshots.is_empty() {
        if opened.notices.is_empty() {
            let help = "give a capture directory, heap dumps, smaps or jemalloc statistics; `heaptriage record --pid N` makes a capture";
            let inputs: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
            opened.notices.push(Notice::new(inputs.join(", "), format!("holds no snapshot: {help}")));
        }
        return Err(CaptureError { inputs: inputs.to_vec(), notices: opened.notices });
    }
    Ok(opened)
}

/// Opens inputs as [`open`] does, every process apart: two runs of a program are two captures. For comparisons.
pub fn open_runs(inputs: &[PathBuf], options: &OpenOptions) -> Result<Vec<Opened>, CaptureError> {
    let mut found = source::find(inputs);
    let programs = std::mem::take(&mut found.programs);
    let mut runs = assemble::runs(found, options);
    let mut notices: Vec<Notice> =
        runs.iter_mut().filter(|run| run.timeline.snapshots.is_empty()).flat_map(|run| std::mem::take(&mut run.notices)).collect();
    runs.retain(|run| !run.timeline.snapshots.is_empty());
    if runs.is_empty() {
        notices.extend(programs.iter().map(|program| no_profile(program)));
        return Err(CaptureError { inputs: inputs.to_vec(), notices });
    }
    runs.iter_mut().for_each(|run| run.programs.clone_from(&programs));
    Ok(runs)
}

/// What there is to say of a program that came alone.
fn no_profile(program: &Path) -> Notice {
    let message =
        "is a program (ELF) and no profile: give the heap dumps or the capture of it too; `heaptriage doctor PROGRAM` examines it";
    Notice::new(program.display().to_string(), message)
}

#[cfg(test)]
mod tests;
