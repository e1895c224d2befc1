//! `heap profile: ...`: jemalloc 3.x, gperftools, tcmalloc and old Go, one line a stack.
//!
//! ```text
//! heap profile:  20032:  7011496 [ 20084:  7259613] @ heapprofile
//!     20:  6000000 [    20:  6000000] @ 0x5606fce661fe 0x5606fce66240
//!      0:        0 [     1:    10627] @ 0x7f0b6eb3fcde 0x7f0b6eb40988
//! heap profile: 26: 1213472 [125: 2024480] @ heap_v2/16384
//! 1: 303104 [1: 303104] @ 0x7fb267c3c6c5 0x55e84f3cc1b1 0x0
//! ```
//!
//! The word after `@` in the first line says how to read the numbers (gperftools
//! `src/heap-profile-table.cc`, jeprof's `ReadHeapProfile`, Go's `runtime/pprof`).

use super::scan;
use super::{HeapFormat, Kind, Parser, Record, Section};
use crate::input::ParseError;
use crate::origin::{Warning, quote};

impl Parser {
    /// The first line, without blanks around it.
    pub(super) fn legacy_header(&mut self, line: &[u8], offset: usize) -> Result<(), ParseError> {
        let bad = |at: usize, expected: &str| {
            let found = quote(line.get(at..).unwrap_or_default());
            ParseError::new(offset + at, format!("expected {expected} in the first line, found {found}"))
        };
        let counters = scan::counters(line, b"heap profile:".len()).map_err(|b| bad(b.at, b.expected))?;
        self.dump.header = Some(counters.live);
        self.dump.format = HeapFormat::Legacy;
        self.section = Section::Legacy;
        let label_at = scan::skip_blanks(line, counters.end);
        let label = line.get(label_at..).unwrap_or_default().strip_prefix(b"@").map(<[u8]>::trim_ascii);
        let Some(label) = label.filter(|label| !label.is_empty()) else {
            self.warnings.push(Warning::at(offset + label_at, "the first line names no sampling rate: numbers are taken as exact"));
            self.dump.kind = Kind::Exact;
            return Ok(());
        };
        let slash = memchr::memchr(b'/', label);
        let word = label.get(..slash.unwrap_or(label.len())).unwrap_or_default();
        let rate = match slash.and_then(|slash| label.get(slash + 1..)) {
            None => 0,
            Some(digits) => match scan::decimal(digits, 0) {
                Some((rate, end)) if end == digits.len() => rate,
                _ => return Err(bad(line.len() - digits.len(), "the bytes between samples")),
            },
        };
        self.label = word.to_vec();
        (self.dump.kind, self.dump.rate) = match word {
            b"heapprofile" => (Kind::Exact, 0),
            b"growth" | b"growthz" => (Kind::Growth, 0),
            b"fragmentation" | b"fragmentationz" => (Kind::Fragmentation, 0),
            // tcmalloc's first format and Go print twice the mean interval.
            b"heap" | b"heapz" => (Kind::Sampled, rate / 2),
            word if word.ends_with(b"_v2") => (Kind::Sampled, rate),
            word => {
                let message = format!("unknown kind of heap profile {}: numbers are taken as exact", quote(word));
                self.warnings.push(Warning::at(offset + label_at, message));
                (Kind::Exact, 0)
            }
        };
        if self.dump.kind == Kind::Sampled && self.dump.rate <= 1 {
            self.dump.kind = Kind::Exact;
        }
        Ok(())
    }

    /// Reads the line at `at`; returns the start of the next.
    pub(super) fn legacy_line(&mut self, text: &[u8], at: usize) -> usize {
        let start = scan::skip_blanks(text, at);
        match text.get(start) {
            Some(b'0'..=b'9') => self.legacy_record(text, start),
            Some(b'-') if text.get(start + 1).is_some_and(u8::is_ascii_digit) => self.legacy_record(text, start),
            // Go's comments: symbols and memory statistics.
            Some(b'#') => scan::line_end(text, start) + 1,
            _ => {
                let end = scan::line_end(text, start);
                let line = text.get(start..end).unwrap_or_default();
                if !line.trim_ascii().is_empty() && !self.maps_head(line) {
                    if super::sniff(line).is_some() {
                        self.second_dump(at);
                    } else {
                        self.bad_line(text, start, format_args!("the counters of a stack"), "this line");
                    }
                }
                end + 1
            }
        }
    }

    fn legacy_record(&mut self, text: &[u8], at: usize) -> usize {
        self.record = Record::Open;
        let counters = match scan::counters(text, at) {
            Ok(counters) => counters,
            Err(bad) => {
                self.bad_line(text, bad.at, format_args!("{} of a stack", bad.expected), "this stack");
                return scan::line_end(text, at) + 1;
            }
        };
        let sign = scan::skip_blanks(text, counters.end);
        let read = if text.get(sign) == Some(&b'@') { self.addresses(text, sign + 1) } else { Err(sign) };
        match read {
            Ok(end) => {
                self.drop_null();
                self.negative += usize::from(counters.negative);
                self.push_record(counters.live, counters.accumulated);
                end + 1
            }
            Err(place) => {
                let expected = if place == sign { "`@`" } else { "an address" };
                self.bad_line(text, place, format_args!("{expected}"), "this stack");
                scan::line_end(text, place) + 1
            }
        }
    }

    /// jemalloc 3.x ends each stack with a null address.
    fn drop_null(&mut self) {
        let start = self.dump.ends.last().map_or(0, |&end| end as usize);
        let last = self.dump.frames.last().filter(|_| self.dump.frames.len() > start);
        if last.and_then(|&id| self.table.addresses.get(id as usize)) == Some(&0) {
            self.dump.frames.pop();
            self.dump.null_terminated = true;
        }
    }

    /// Settles what only the whole dump tells.
    pub(super) fn settle_legacy(&mut self) {
        let dump = &mut self.dump;
        // Samples of live memory print the same pair twice, and so does growth: nothing is accumulated.
        let in_use_only = dump.kind == Kind::Growth || (self.label.ends_with(b"_v2") && !dump.null_terminated);
        if in_use_only && dump.accumulated == dump.live {
            dump.accumulated = Vec::new();
        }
    }
}
