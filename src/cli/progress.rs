//! A bar on standard error while work takes longer than a second, where that is a terminal.
//!
//! ```text
//! [########------------] reading 812 of 2,000 files, 3 s
//! ```
//!
//! It is gone before anything else is written: whoever writes calls [`end`] first.

use super::Context;
use crate::capture::READING;
use crate::units::grouped;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two drawings.
const PACE: Duration = Duration::from_millis(200);
/// Letters of the bar.
const WIDTH: usize = 20;

static BAR: Mutex<Option<Bar>> = Mutex::new(None);

struct Bar {
    stop: Sender<()>,
    drawing: JoinHandle<()>,
}

/// Draws from a second on, if standard error is a terminal.
pub(super) fn start(context: &Context) {
    if !context.shows_progress() {
        return;
    }
    let (stop, stopped) = channel();
    let Ok(drawing) = std::thread::Builder::new().name("progress".to_owned()).spawn(move || draw(&stopped)) else { return };
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(Bar { stop, drawing });
}

/// Takes the bar away, for good.
pub(super) fn end() {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Bar { stop, drawing }) = bar {
        drop(stop);
        // A bar that failed is no reason to fail.
        let _ = drawing.join();
    }
}

fn draw(stopped: &Receiver<()>) {
    let started = Instant::now();
    let mut wait = PATIENCE;
    while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        wait = PACE;
        let line = line(READING.read(), READING.of(), started.elapsed().as_secs());
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
    }
    if wait == PACE {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}

fn line(read: usize, of: usize, seconds: u64) -> String {
    let (full, what) = match of {
        0 => (0, "reading".to_owned()),
        of if read < of => (WIDTH * read / of, format!("reading {} of {} files", grouped(read as u64), grouped(of as u64))),
        _ => (WIDTH, "naming and weighing what was read".to_owned()),
    };
    format!("[{}{}] {what}, {seconds} s", "#".repeat(full), "-".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(line(0, 0, 1), "[--------------------] reading, 1 s");
        assert_eq!(line(812, 2000, 3), "[########------------] reading 812 of 2,000 files, 3 s");
        assert_eq!(line(2, 2, 70), "[####################] naming and weighing what was read, 70 s");
    }
}
