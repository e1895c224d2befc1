//! From one process to thousands: a dataset of many captures, and the queries for it.
//!
//! ```text
//! capture --reduce--> rows --columns--> ROOT/samples/service=S/date=D/INSTANCE-START-xxxxxxxx.parquet
//!                                       ROOT/snapshots/service=S/date=D/...
//!                                       ROOT/stacks/service=S/date=D/...
//! ```
//!
//! One file per table, incarnation and day (UTC) of the snapshots. There is no server, no queue and no query engine
//! here: the files are read by DuckDB on a laptop and by Spark on a cluster with the same SQL ([`queries`]).

#[cfg(feature = "parquet")]
pub mod columns;
#[cfg(feature = "parquet")]
pub mod dataset;
pub mod engine;
pub mod queries;
pub mod reduce;
pub mod rows;
#[cfg(feature = "parquet")]
pub mod single;
pub mod stack;
pub mod triage;
