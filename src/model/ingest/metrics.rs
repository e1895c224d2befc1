//! Metrics of a monitoring system to the model.

use crate::input::prometheus::{Figure, Scrape};
use crate::model::allocator::AllocatorStats;
use crate::model::memory::ProcessMetrics;
use crate::units::Bytes;

/// The allocator's part, where there is any, and the process's.
pub fn metrics(scrape: &Scrape) -> (Option<AllocatorStats>, Option<ProcessMetrics>) {
    let bytes = |figure| scrape.get(figure).map(Bytes::new);
    let stats = AllocatorStats {
        allocated: bytes(Figure::Allocated),
        active: bytes(Figure::Active),
        metadata: bytes(Figure::Metadata),
        resident: bytes(Figure::Resident),
        mapped: bytes(Figure::Mapped),
        retained: bytes(Figure::Retained),
        ..AllocatorStats::default()
    };
    let process =
        ProcessMetrics { rss: bytes(Figure::Rss), virtual_size: bytes(Figure::VirtualSize), threads: scrape.get(Figure::Threads) };
    ((stats != AllocatorStats::default()).then_some(stats), (process != ProcessMetrics::default()).then_some(process))
}
