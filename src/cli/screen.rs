//! Standard error while recording: notices, and a live line where it is a terminal.
//!
//! ```text
//! RSS 523.4 MiB, +3.1 MiB a minute | jemalloc 471.0 MiB +312.2 MiB, live 465.1 MiB at the last dump | files 41.2 MiB | 11 snapshots, 5 dumps
//! ```
//!
//! The rows are the ledger of the snapshot just written, read from its files, and add up to RSS. Statistics that split jemalloc's
//! part further are not to be had from outside. Reading costs processor time: it is done so seldom that it stays a fiftieth of one core.

use super::Context;
use crate::analysis::account;
use crate::analysis::ledger::{Ledger, RowKind};
use crate::capture::describe::Description;
use crate::capture::record::Snapped;
use crate::capture::sampler::Depth;
use crate::capture::{self, OpenOptions};
use crate::origin::{Notice, printable};
use crate::report::rss::short_version;
use crate::units::{iec, signed_iec};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// After a ledger the next one waits this many times as long as it took.
const REST: u32 = 50;
/// Files of a snapshot that tell of its memory.
const PARTS: [&str; 5] = ["smaps", "smaps_rollup", "status", "cgroup", "heap"];
/// The rate of growth is that of about this time.
const SPAN_MS: u64 = 60_000;

/// The ledger of one snapshot of a capture that is being recorded, from its files.
pub(super) fn ledger(capture: &Path, stem: u64) -> Option<Ledger> {
    let files = PARTS.iter().map(|part| capture.join(format!("{stem}.{part}"))).chain([capture.join("capture.json")]);
    let files: Vec<PathBuf> = files.filter(|path| path.exists()).collect();
    let opened = capture::open(&files, &OpenOptions::default()).ok()?;
    Some(account::ledger(&opened.timeline))
}

/// Notices, and the live line.
pub(super) struct Screen {
    quiet: bool,
    live: bool,
    /// (time, RSS) of the last minute or so.
    history: VecDeque<(u64, u64)>,
    rows: Rows,
    not_before: Instant,
    count: u64,
    dumps: u64,
    told: Mutex<Vec<String>>,
}

impl Screen {
    pub(super) fn new(context: &Context) -> Screen {
        Screen {
            quiet: context.global.quiet,
            live: context.shows_progress(),
            history: VecDeque::new(),
            rows: Rows::default(),
            not_before: Instant::now(),
            count: 0,
            dumps: 0,
            told: Mutex::new(Vec::new()),
        }
    }

    /// Nothing can be said about a standard error that cannot be written.
    fn write(&self, text: &str) {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    pub(super) fn clear(&self) {
        if self.live {
            self.write("\r\x1b[K");
        }
    }

    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            self.clear();
            self.write(text);
        }
    }

    pub(super) fn notice(&self, notice: &Notice) {
        self.say(&format!("heaptriage: warning: {notice}\n"));
    }

    pub(super) fn notice_once(&self, notice: &Notice) {
        let text = notice.to_string();
        let Ok(mut told) = self.told.lock() else { return };
        if !told.contains(&text) {
            self.notice(notice);
            told.push(text);
        }
    }

    pub(super) fn started(&self, description: &Description, path: &Path) {
        let jemalloc = match description.jemalloc() {
            Some(jemalloc) => format!("jemalloc {}", jemalloc.version.as_deref().map_or("of an unknown version", short_version)),
            None => "no jemalloc found in it".to_owned(),
        };
        let name = printable(&description.name);
        self.say(&format!("heaptriage: recording {name} (pid {}, {jemalloc}) into {}; end with Ctrl-C\n", description.pid, path.display()));
    }

    /// Shows a snapshot that was written into `capture`.
    pub(super) fn snapshot(&mut self, capture: &Path, snapped: &Snapped<'_>) {
        self.count += 1;
        self.dumps += u64::from(snapped.dump);
        if !self.live || self.quiet {
            return;
        }
        let mut rss = snapped.rss.get();
        // Sums alone, or less, do not say whose the memory is: the last rows stand, with their age.
        if snapped.depth == Depth::Full && Instant::now() >= self.not_before {
            let begun = Instant::now();
            if let Some(ledger) = ledger(capture, snapped.unix_ms) {
                rss = ledger.rss.last().copied().unwrap_or(rss);
                self.rows.take(&ledger, snapped.unix_ms);
            }
            self.not_before = Instant::now() + begun.elapsed().max(Duration::from_micros(100)) * REST;
        }
        let now = (snapped.unix_ms, rss);
        self.history.push_back(now);
        while self.history.len() > 2 && self.history.front().is_some_and(|(at, _)| at + SPAN_MS < now.0) {
            self.history.pop_front();
        }
        let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { 80 } else { columns.max(20) };
        self.write(&format!("\r\x1b[K{}", self.line(now, columns - 1)));
    }

    /// The line, in at most so many columns: rows that do not fit are counted.
    fn line(&self, (at, rss): (u64, u64), columns: usize) -> String {
        let rate = match self.history.front() {
            Some((earlier, before)) if at > *earlier => {
                format!(", {} a minute", signed_iec((rss as f64 - *before as f64) * 60_000.0 / (at - earlier) as f64))
            }
            _ => String::new(),
        };
        let head = format!("RSS {}{rate}", iec(rss as f64));
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let tail = format!(" | {} snapshot{}, {} dump{}", self.count, plural(self.count), self.dumps, plural(self.dumps));
        let (rows, age) = (self.rows.texts(), self.rows.age(at));
        let fitting = |shown: usize| {
            let listed: String = rows[..shown].iter().map(|row| format!(" | {row}")).collect();
            let left = match rows.len() - shown {
                0 => String::new(),
                left => format!(" | {left} smaller row{}", plural(left as u64)),
            };
            Some(format!("{head}{listed}{left}{age}{tail}")).filter(|line| line.chars().count() <= columns)
        };
        let full = (1..=rows.len()).rev().find_map(fitting);
        // Rows are worth more than counts, and half a figure is worse than none.
        let largest = rows.first().map_or("", String::as_str);
        let plain = largest.split(['+', ',']).next().unwrap_or_default().trim_end();
        let short = [format!("{head} | {largest}{age}"), format!("{head} | {plain}{age}"), head.clone()];
        let short = || short.into_iter().find(|line| line.chars().count() <= columns && !line.ends_with("| "));
        full.or_else(short).unwrap_or_else(|| head.chars().take(columns).collect())
    }
}

/// Whose the memory is, in the few words that fit into a line.
#[derive(Default)]
struct Rows {
    /// Name, bytes at first and now.
    rows: Vec<(String, i64, i64)>,
    /// Live heap at the last dump.
    live: Option<i64>,
    /// Time of the snapshot.
    at: u64,
}

impl Rows {
    fn take(&mut self, ledger: &Ledger, at: u64) {
        let first_time = self.at == 0;
        self.rows.iter_mut().for_each(|row| row.2 = 0);
        for row in &ledger.rows {
            if row.kind == RowKind::Live {
                self.live = Some(row.last());
            }
            let name = match row.kind {
                RowKind::ForeignHeap => printable(&row.label).to_string(),
                RowKind::ThreadStacks => "thread stacks".to_owned(),
                RowKind::FileMapped => "files".to_owned(),
                RowKind::SharedMemory => "shared memory".to_owned(),
                RowKind::OtherAnonymous => "other".to_owned(),
                RowKind::Unattributed if row.label != account::NOT_SPLIT => "unattributed".to_owned(),
                _ => "jemalloc".to_owned(),
            };
            let at = self.rows.iter().position(|(known, ..)| *known == name).unwrap_or_else(|| {
                self.rows.push((name, 0, 0));
                self.rows.len() - 1
            });
            let entry = &mut self.rows[at];
            entry.2 = entry.2.saturating_add(row.last());
            if first_time {
                entry.1 = entry.2;
            }
        }
        self.rows.sort_by_key(|&(_, _, bytes)| std::cmp::Reverse(bytes));
        self.at = at;
    }

    /// `jemalloc 471.0 MiB +312.2 MiB, live 465.1 MiB at the last dump`, largest first.
    fn texts(&self) -> Vec<String> {
        let shown = self.rows.iter().filter(|(_, _, bytes)| *bytes != 0);
        let text = |(name, first, now): &(String, i64, i64)| {
            let growth = match now.saturating_sub(*first) {
                0 => String::new(),
                growth => format!(" {}", signed_iec(growth as f64)),
            };
            let live = match self.live {
                Some(live) if name == "jemalloc" => format!(", live {} at the last dump", iec(live as f64)),
                _ => String::new(),
            };
            format!("{name} {}{growth}{live}", iec(*now as f64))
        };
        shown.map(text).collect()
    }

    /// How old the rows are, where they are not of this snapshot.
    fn age(&self, now: u64) -> String {
        match now.saturating_sub(self.at) / 1000 {
            0 => String::new(),
            _ if self.rows.is_empty() => String::new(),
            seconds => format!(" ({seconds} s ago)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ledger::{Basis, Row};

    fn screen() -> Screen {
        Screen {
            quiet: false,
            live: true,
            history: VecDeque::new(),
            rows: Rows::default(),
            not_before: Instant::now(),
            count: 11,
            dumps: 5,
            told: Mutex::new(Vec::new()),
        }
    }

    fn ledger_of(rows: &[(RowKind, &str, i64)]) -> Ledger {
        let row = |&(kind, label, bytes): &(RowKind, &str, i64)| Row {
            kind,
            label: label.to_owned(),
            basis: Basis::Measured,
            source: String::new(),
            bytes: vec![bytes],
        };
        Ledger { rows: rows.iter().map(row).collect(), ..Ledger::default() }
    }

    #[test]
    fn the_live_line_has_rss_rate_and_rows_that_add_up() {
        const MIB: i64 = 1 << 20;
        let mut screen = screen();
        let without_dump = ledger_of(&[
            (RowKind::ForeignHeap, "glibc malloc", 20 * MIB),
            (RowKind::FileMapped, "a", 3 * MIB),
            (RowKind::FileMapped, "b", MIB),
            (RowKind::Unattributed, account::NOT_SPLIT, 100 * MIB),
            (RowKind::Unattributed, "unattributed", 0),
        ]);
        screen.rows.take(&without_dump, 1000);
        screen.history.push_back((1000, 124 << 20));
        let with_dump = ledger_of(&[
            (RowKind::Live, "live heap", 130 * MIB),
            (RowKind::Untouched, "estimated, not resident", -10 * MIB),
            (RowKind::ForeignHeap, "glibc malloc", 20 * MIB),
            (RowKind::FileMapped, "a", 4 * MIB),
        ]);
        screen.rows.take(&with_dump, 11_000);
        let now = (11_000, 144 << 20);
        insta::assert_snapshot!(screen.line(now, 200), @"RSS 144.0 MiB, +120.0 MiB a minute | jemalloc 120.0 MiB +20.0 MiB, live 130.0 MiB at the last dump | glibc malloc 20.0 MiB | files 4.0 MiB | 11 snapshots, 5 dumps");
        insta::assert_snapshot!(screen.line(now, 145), @"RSS 144.0 MiB, +120.0 MiB a minute | jemalloc 120.0 MiB +20.0 MiB, live 130.0 MiB at the last dump | 2 smaller rows | 11 snapshots, 5 dumps");
        insta::assert_snapshot!(screen.line(now, 60), @"RSS 144.0 MiB, +120.0 MiB a minute | jemalloc 120.0 MiB");
        insta::assert_snapshot!(screen.line((16_500, 200 << 20), 250), @"RSS 200.0 MiB, +294.2 MiB a minute | jemalloc 120.0 MiB +20.0 MiB, live 130.0 MiB at the last dump | glibc malloc 20.0 MiB | files 4.0 MiB (5 s ago) | 11 snapshots, 5 dumps");
    }
}
