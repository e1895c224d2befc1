//! `heap_v2/RATE` with counters by thread: jemalloc 4.0 and later.
//!
//! ```text
//! heap_v2/524288
//!   t*: 106: 25768 [0: 0]
//!   t0: 35: 6396 [0: 0]
//!   t1: 71: 19372 [0: 0] io: 1 [2]
//! @ 0x7f4b754a2630 0x55d0b2ff2197 0x7f4b752a71f5
//!   t*: 12: 576 [0: 0]
//! ```
//!
//! A name is everything after the bracket and one blank, verbatim: `io: 1 [2]` is one. Up to 5.2.1 a
//! line is formatted in 128 bytes, so a long name also loses its newline and the next thread
//! continues on the same line.

use super::scan::{self, BadCounts, Counters};
use super::{Kind, Parser, RawThread, RawThreadCounts, Record, Section};
use crate::input::ParseError;
use crate::origin::quote;

impl Parser {
    /// `heap_v2/524288`, without blanks around it.
    pub(super) fn threaded_header(&mut self, line: &[u8], offset: usize) -> Result<(), ParseError> {
        let digits = b"heap_v2/".len();
        let rate = scan::decimal(line, digits).filter(|&(_, end)| end == line.len()).map(|(rate, _)| rate);
        let Some(rate) = rate else {
            let found = quote(line.get(digits..).unwrap_or_default());
            return Err(ParseError::new(offset + digits, format!("expected the bytes between samples after `heap_v2/`, found {found}")));
        };
        self.dump.rate = rate;
        self.dump.kind = if rate <= 1 { Kind::Exact } else { Kind::Sampled };
        self.section = Section::Threaded;
        Ok(())
    }

    /// Reads the line at `at`; returns the start of the next.
    #[inline]
    pub(super) fn threaded_line(&mut self, text: &[u8], at: usize) -> usize {
        match text.get(at) {
            Some(b'@') => self.stack_line(text, at),
            Some(b' ') if matches!(text.get(at..at + 4), Some(b"  t*")) => self.total_line(text, at),
            Some(b' ') if matches!(text.get(at..at + 3), Some(b"  t")) => self.thread_line(text, at),
            _ => self.other_line(text, at),
        }
    }

    fn stack_line(&mut self, text: &[u8], at: usize) -> usize {
        if self.record == Record::Open {
            self.bad_line(text, at, format_args!("the counters of the stack before"), "that stack");
        }
        match self.addresses(text, at + 1) {
            Ok(end) => {
                self.record = Record::Open;
                end + 1
            }
            Err(place) => {
                self.record = Record::Bad;
                self.bad_line(text, place, format_args!("an address"), "this stack");
                scan::line_end(text, place) + 1
            }
        }
    }

    /// Reads addresses up to the end of the line into the open stack; `Err` is the place of something else.
    #[inline]
    pub(super) fn addresses(&mut self, text: &[u8], mut at: usize) -> Result<usize, usize> {
        loop {
            while let Some(address) = scan::usual_address(text, at) {
                let id = self.table.id(address);
                self.dump.frames.push(id);
                at += 15;
            }
            match text.get(at) {
                None | Some(b'\n') => return Ok(at),
                Some(b' ' | b'\t' | b'\r') => at += 1,
                Some(_) => {
                    let (address, end) = scan::any_address(text, at).ok_or(at)?;
                    if !matches!(text.get(end), None | Some(b' ' | b'\t' | b'\r' | b'\n')) {
                        return Err(at);
                    }
                    let id = self.table.id(address);
                    self.dump.frames.push(id);
                    at = end;
                }
            }
        }
    }

    fn total_line(&mut self, text: &[u8], at: usize) -> usize {
        let read = labelled_counters(text, at + 4);
        let end = scan::line_end(text, read.as_ref().map_or_else(|bad| bad.at, |counters| counters.end));
        match (read, self.record) {
            (Ok(counters), Record::Header) if self.dump.header.is_none() => self.dump.header = Some(counters.live),
            (Ok(counters), Record::Open) => {
                self.negative += usize::from(counters.negative);
                self.push_record(counters.live, counters.accumulated);
            }
            (Ok(_), Record::Bad) => {}
            (Ok(_), _) => self.bad_line(text, at, format_args!("a stack before its counters"), "this line"),
            (Err(bad), _) => {
                let what = if self.record == Record::Header { "the total that stacks are compared with" } else { "this stack" };
                self.bad_line(text, bad.at, format_args!("{} after `t*:`", bad.expected), what);
            }
        }
        end + 1
    }

    fn thread_line(&mut self, text: &[u8], at: usize) -> usize {
        match self.record {
            Record::Header => self.header_thread_line(text, at),
            Record::Done if self.options.threads => self.stack_thread_line(text, at),
            _ => scan::line_end(text, at) + 1,
        }
    }

    fn stack_thread_line(&mut self, text: &[u8], at: usize) -> usize {
        match thread_counters(text, at) {
            Ok((uid, counters)) => {
                let thread = self.thread(uid);
                let record = self.dump.ends.len() as u32 - 1;
                self.dump.thread_counts.push(RawThreadCounts { thread, record, live: counters.live, accumulated: counters.accumulated });
                scan::line_end(text, counters.end) + 1
            }
            Err(bad) => {
                self.bad_line(text, bad.at, format_args!("{} of a thread", bad.expected), "this thread's share");
                self.record = Record::Done;
                scan::line_end(text, bad.at) + 1
            }
        }
    }

    fn header_thread_line(&mut self, text: &[u8], at: usize) -> usize {
        let end = scan::line_end(text, at);
        let mut line = text.get(..end).unwrap_or_default();
        line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut next = Some(at);
        while let Some(start) = next.take() {
            let (uid, counters) = match thread_counters(line, start) {
                Ok(read) => read,
                Err(bad) => {
                    self.bad_line(text, bad.at, format_args!("{} of a thread", bad.expected), "this thread");
                    break;
                }
            };
            let name = line.get(counters.end..).unwrap_or_default();
            let name = name.strip_prefix(b" ").unwrap_or(name);
            let lost = lost_newline(name);
            next = lost.map(|in_name| line.len() - name.len() + in_name);
            let name = name.get(..lost.unwrap_or(name.len())).unwrap_or_default();
            let index = self.thread(uid);
            if let Some(thread) = self.dump.threads.get_mut(index as usize) {
                thread.live = counters.live;
                thread.name = (!name.is_empty()).then(|| name.to_vec());
            }
        }
        end + 1
    }

    /// The index of a thread, added where it is new.
    fn thread(&mut self, uid: u64) -> u32 {
        let threads = &mut self.dump.threads;
        *self.thread_ids.entry(uid).or_insert_with(|| {
            threads.push(RawThread { uid, name: None, live: Default::default() });
            threads.len() as u32 - 1
        })
    }

    /// Blank lines, the head of the mappings section, and what does not belong here.
    fn other_line(&mut self, text: &[u8], at: usize) -> usize {
        let end = scan::line_end(text, at);
        let line = text.get(at..end).unwrap_or_default();
        if !line.trim_ascii().is_empty() && !self.maps_head(line) {
            if super::sniff(line).is_some() {
                self.second_dump(at);
            } else {
                self.bad_line(text, at, format_args!("a stack or its counters"), "this line");
            }
        }
        end + 1
    }

    /// Another dump begins: only the first is read.
    pub(super) fn second_dump(&mut self, at: usize) {
        let message = "another dump begins here and is left out: pass the dumps as files of their own";
        self.warnings.push(crate::origin::Warning::at(self.base + at, message));
        self.saw_maps = true;
        self.section = Section::Over;
    }
}

/// `: 12: 576 [0: 0]` after a label that ends at `at`.
fn labelled_counters(text: &[u8], at: usize) -> Result<Counters, BadCounts> {
    if text.get(at) != Some(&b':') {
        return Err(BadCounts { at, expected: "`:`" });
    }
    scan::counters(text, at + 1)
}

/// `  t12: 5: 160 [0: 0]` at `at`.
fn thread_counters(text: &[u8], at: usize) -> Result<(u64, Counters), BadCounts> {
    let (uid, end) = scan::decimal(text, at + 3).ok_or(BadCounts { at: at + 3, expected: "the number" })?;
    Ok((uid, labelled_counters(text, end)?))
}

/// Where the next thread begins inside what looks like a name.
fn lost_newline(name: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(name, b"  t").find(|&at| thread_counters(name, at).is_ok())
}
