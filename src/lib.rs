//! Heap-profile analysis and leak triage: is it a leak, and whose?
//!
//! Data goes one way:
//!
//! ```text
//! bytes --input--> raw records --model--> Snapshot/Timeline --symbolize--> frames
//!                                             |                              |
//!                         binary facts -------+------------ analysis --------+--> findings, ledger, tree --report--> bytes
//! ```
//!
//! Nothing calls back up (`tests/layering.rs` proves it). `input`, `model`, `analysis` and `report`
//! do no I/O; `capture`, `binary::file`, `symbolize::locate` and `cli` touch the world.

pub mod address;
pub mod analysis;
pub mod binary;
pub mod capture;
pub mod fleet;
pub mod input;
pub mod model;
pub mod names;
pub mod origin;
pub mod pprof_proto;
pub mod report;
pub mod symbolize;
pub mod units;

#[cfg(feature = "cli")]
pub mod cli;
