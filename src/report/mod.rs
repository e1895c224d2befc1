//! Analysis results to bytes: one renderer a format. Reports never compute.

pub mod document;
pub mod markdown;
pub mod text;
pub mod triage_document;
pub mod triage_json;
