//! Bytes to raw records, one file per format. No I/O, no analysis.
//!
//! What an input is, is decided by its content ([`sniff`]), never by its name. A parser returns
//! [`Parsed`]: what is sound, and warnings about the rest; or a [`ParseError`] when nothing is.
//!
//! Adding a format = one file here, one line in [`FORMATS`], one conversion in `model::ingest`.

pub mod capture_json;
pub mod cgroup;
pub mod compress;
pub mod counters;
pub mod heap;
pub mod malloc_info;
pub mod maps;
pub mod pmap;
pub mod pprof;
pub mod series;
pub mod smaps;
pub mod stats_json;
pub mod stats_text;
pub mod status;

use crate::origin::{Position, Warning};
use std::fmt;

/// What a parser made of an input: the sound part, and what it had to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The sound part.
    pub value: T,
    /// What was bad, where, and what was done about it.
    pub warnings: Vec<Warning>,
}

impl<T> Parsed<T> {
    /// A value without warnings.
    pub fn clean(value: T) -> Self {
        Parsed { value, warnings: Vec::new() }
    }
}

/// Nothing in the input could be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte offset in the (decompressed) input.
    pub offset: usize,
    /// What is wrong: what was expected and what was found, quoted.
    pub message: String,
    /// What to do about it, where there is something to do.
    pub help: Option<String>,
}

impl ParseError {
    /// An error at `offset`.
    pub fn new(offset: usize, message: impl Into<String>) -> Self {
        ParseError { offset, message: message.into(), help: None }
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The position in `text`, the input it came from.
    pub fn position(&self, text: &[u8]) -> Position {
        Position::of(text, self.offset)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}
