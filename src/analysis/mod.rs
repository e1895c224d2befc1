//! Values to values: pure and infallible. Every judgment of the tool is made here.

pub mod estimate;
pub mod trend;
