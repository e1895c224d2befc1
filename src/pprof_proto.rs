//! The messages of pprof's `profile.proto`, declared by hand: reading and writing share them.
//!
//! Field numbers and meanings are those of github.com/google/pprof `proto/profile.proto`. Texts are
//! indexes into `string_table`, whose first entry is empty; ids begin at 1 and 0 means none.

use prost::Message;

/// A whole profile.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What each value of a sample is.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Mapped files; the first is the program.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// Locations in samples.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions in locations.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// Every text.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// Frames to leave out by name.
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    /// Frames to keep of those.
    #[prost(int64, tag = "8")]
    pub keep_frames: i64,
    /// When it was taken, Unix nanoseconds.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// How long it took.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What is counted between samples.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// How much of it.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Free text.
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    /// Type of value shown unless another is asked for.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// A kind of value and its unit.
#[derive(Clone, PartialEq, Message)]
pub struct ValueType {
    /// `inuse_space`.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// `bytes`.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// Values of one stack.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Ids of locations, innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// As many as there are sample types.
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// Context.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A piece of context of a sample.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Its name.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// Its text, where it is one.
    #[prost(int64, tag = "2")]
    pub str: i64,
    /// Its number, where it is one.
    #[prost(int64, tag = "3")]
    pub num: i64,
    /// Unit of the number.
    #[prost(int64, tag = "4")]
    pub num_unit: i64,
}

/// A mapped file.
#[derive(Clone, PartialEq, Message)]
pub struct Mapping {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// First address.
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    /// First address after.
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    /// Offset of the first address in the file.
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    /// Path.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// In hex.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Whether functions are named.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// Whether files are named.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// Whether lines are given.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// Whether inlined frames are given.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// An address, or a place without one.
#[derive(Clone, PartialEq, Message)]
pub struct Location {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Mapping it lies in.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// Address inside the call instruction.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// Frames, innermost (inlined) first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
    /// Folded with others.
    #[prost(bool, tag = "5")]
    pub is_folded: bool,
}

/// One frame of a location.
#[derive(Clone, PartialEq, Message)]
pub struct Line {
    /// Its function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// Its line, from 1.
    #[prost(int64, tag = "2")]
    pub line: i64,
    /// Its column, from 1.
    #[prost(int64, tag = "3")]
    pub column: i64,
}

/// A function.
#[derive(Clone, PartialEq, Message)]
pub struct Function {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Name for people.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Linkage name.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// Source file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
    /// Line of its start.
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}
