//! Whole-binary tests and tests over the committed fixtures: one crate, so that it links once.

mod captures;
mod hostile;
mod inputs;
mod record;
mod totals;
