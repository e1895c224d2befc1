//! Values to values: pure and infallible. Every judgment of the tool is made here.

pub mod account;
pub mod detect;
pub mod diff;
pub mod estimate;
pub mod explain;
pub mod export;
pub mod filter;
pub mod finding;
pub mod gate;
pub mod group;
pub mod judge;
pub mod ledger;
pub mod memory_owners;
pub mod owner;
pub mod ownership;
pub mod peek;
pub mod places;
pub mod recording;
pub mod series;
pub mod size_class;
pub mod suppress;
pub mod top;
pub mod tree;
pub mod trend;
pub mod triage;
pub mod view;
