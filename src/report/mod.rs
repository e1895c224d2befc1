//! Analysis results to bytes: one renderer a format. Reports never compute.

pub mod advice;
pub mod callgrind;
pub mod chart;
pub mod check;
pub mod detectors;
pub mod document;
pub mod dot;
pub mod firefox;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod ownership;
pub mod pprof;
pub mod rss;
pub mod sarif;
pub mod schemas;
pub mod sites;
pub mod slabs;
pub mod speedscope;
pub mod stacks_json;
pub mod text;
pub mod trend;
pub mod triage_document;
pub mod triage_json;
pub mod views;
