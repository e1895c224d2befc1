//! Facts read from one ELF file and its DWARF, independent of any dump.
//!
//! Nothing here knows of processes, stacks or profiles: a file goes in, segments, symbols, sections
//! and debug information come out. Every offset and size in the file is untrusted.

pub mod bodies;
pub mod catalogue;
pub mod code;
pub mod dwarf;
pub mod elf;
pub mod facts;
pub mod file;
pub mod glue;
pub mod lookup;
pub mod loops;
pub mod progress;
mod roots;
mod split;
pub mod texts;
pub mod type_name;
pub mod types;
pub mod units;
pub mod unwind;

use std::path::PathBuf;
use thiserror::Error;

/// Why a file cannot serve as a binary.
#[derive(Debug, Error)]
pub enum BinaryError {
    /// Opening or mapping failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Not an ELF file at all.
    #[error("{}: not an ELF file", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// ELF, of a kind that is not read.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// ELF, damaged.
    #[error("{}: damaged ELF file: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The debug information is damaged.
    #[error("{}: damaged debug information: {what}", path.display())]
    Dwarf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}
