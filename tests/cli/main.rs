//! Whole-binary tests and tests over the committed fixtures: one crate, so that it links once.

mod bad_input;
mod browser;
mod captures;
mod check;
mod degraded;
mod doctor;
mod families;
#[cfg(feature = "parquet")]
mod fleet;
mod foreign;
mod formats;
mod goldens;
mod hostile;
mod inputs;
mod layouts;
mod leaky;
mod lives;
mod metrics;
mod owners_by_profile;
mod ownership;
mod programs;
mod push;
mod record;
mod rss;
mod schemas;
mod skipped_drops;
mod terminal;
mod totals;
mod views;
