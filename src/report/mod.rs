//! Analysis results to bytes: one renderer a format. Reports never compute.

pub mod document;
pub mod markdown;
pub mod text;
