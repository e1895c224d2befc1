//! Whole-binary tests and tests over the committed fixtures: one crate, so that it links once.

mod browser;
mod captures;
mod check;
mod doctor;
mod formats;
mod hostile;
mod inputs;
mod layouts;
mod lives;
mod metrics;
mod owners_by_profile;
mod programs;
mod record;
mod rss;
mod totals;
mod views;
