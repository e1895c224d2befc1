//! The nouns every input ends in and every report starts from.
//!
//! Values only: nothing here reads a file, computes a statistic or is serializable.

pub mod allocator;
pub mod frame;
pub mod heap;
pub mod ingest;
pub mod lives;
pub mod mapping;
pub mod memory;
pub mod name;
pub mod role;
pub mod snapshot;
pub mod stack;
pub mod timeline;
