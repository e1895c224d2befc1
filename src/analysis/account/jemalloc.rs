//! jemalloc's share of the ledger: what its statistics count, what the profile estimates, and how both split what is resident.

use super::profiled::Profiled;
use super::{Account, Cause, MOST_MEMORY, NOT_SPLIT, signed, stats_source, status_source};
use crate::analysis::estimate::Interval;
use crate::analysis::finding::Confidence;
use crate::analysis::ledger::{Basis, RowKind, RssSource};
use crate::analysis::memory_owners::foreign;
use crate::model::allocator::{AllocatorStats, parse_version};
use crate::model::memory::{Detail, Residency};
use crate::model::snapshot::{Part, Snapshot};
use crate::units::Bytes;

/// Pages are this large where the statistics do not say.
const USUAL_PAGE: u64 = 4096;
/// A sampled small object is promoted to the smallest large class (arena_prof_promote, up to 5.3.0).
const PROMOTED: u64 = 16_384;
/// Since this version a sampled object takes whole pages and `allocated` counts its own size.
const PAGE_PROMOTION_SINCE: (u32, u32, u32) = (5, 3, 1);
/// Up to this version `resident` counts muzzy pages.
const MUZZY_IN_RESIDENT: std::ops::RangeInclusive<(u32, u32, u32)> = (5, 0, 0)..=(5, 2, u32::MAX);

/// What the statistics and the profile say of jemalloc's memory, before it is compared with what is resident.
#[derive(Debug, Default)]
pub(super) struct Jemalloc {
    /// Counted by the statistics.
    counted: Option<Counted>,
    /// The profile's estimate of live bytes.
    estimate: Option<Interval>,
    /// Where the estimate is from.
    source: String,
    /// The snapshot has no dump: the estimate is that of its neighbours.
    of_other_dumps: bool,
    /// What sampling added to `allocated`.
    overhead: u64,
    /// Estimate over live.
    pub(super) coverage: Option<Interval>,
}

/// Sums of the statistics, in bytes.
#[derive(Debug)]
struct Counted {
    live: i64,
    overhead: i64,
    tcache: i64,
    fragmentation: i64,
    dirty: i64,
    muzzy: i64,
    metadata: Option<i64>,
    /// Dirty pages are not counted but follow from the other figures.
    dirty_inferred: bool,
    /// Bytes in slabs' free regions and in pages around large objects that nothing needs touched: named in causes.
    promoted: u64,
}

impl Jemalloc {
    pub(super) fn of(snapshot: &Snapshot, profiled: Option<&Profiled>, version: Option<&str>) -> Jemalloc {
        let estimate = profiled.map(|profiled| profiled.estimate);
        let source = match snapshot.file(Part::Heap) {
            Some(file) => format!("{file}: estimate"),
            None => "estimates of the dumps before and after".to_owned(),
        };
        let Some(stats) = snapshot.stats.as_ref() else {
            let of_other_dumps = snapshot.heap.is_none();
            return Jemalloc { estimate, source, of_other_dumps, ..Jemalloc::default() };
        };
        let numbers = stats.version_numbers().or_else(|| parse_version(version?));
        let promotion = profiled.and_then(|profiled| profiled.small).map(|small| promoted(small, stats, numbers)).unwrap_or_default();
        let counted = Counted::of(stats, numbers, &promotion);
        let coverage = counted
            .as_ref()
            .zip(estimate.filter(|_| snapshot.heap.as_ref().is_some_and(|heap| !heap.is_partial())))
            .filter(|(counted, _)| counted.live > 0)
            .map(|(counted, estimate)| estimate.per(counted.live as f64));
        Jemalloc { overhead: promotion.overhead, counted, estimate, source, of_other_dumps: false, coverage }
    }

    /// Splits what smaps measured.
    pub(super) fn split(&self, held: &Residency, confidence: Confidence, smaps: &str, snapshot: &Snapshot, account: &mut Account) {
        let measured = signed(held.rss);
        let lazy = signed(held.lazy_free);
        let add = |account: &mut Account, kind, label: &str, bytes: i64, basis, source: &str| {
            account.add(kind, label, bytes, basis, confidence, source)
        };
        add(account, RowKind::LazyFree, "freed, kernel lag (LazyFree)", lazy, Basis::Measured, &format!("{smaps}: LazyFree"));
        let Some(counted) = &self.counted else {
            return self.without_statistics(measured - lazy, confidence, account);
        };
        let mut sum = counted.rows(snapshot, confidence, account) + lazy;
        if let Some(metadata) = counted.metadata {
            // An upper bound (blocks count as touched): no more than is resident at all.
            let room = (measured - lazy).max(0);
            let basis = if metadata > room { Basis::Inferred } else { Basis::Measured };
            add(
                account,
                RowKind::Metadata,
                "allocator metadata",
                metadata.min(room),
                basis,
                &stats_source(snapshot, "resident - active - dirty"),
            );
            sum += metadata.min(room);
        }
        let rest = measured - sum;
        if rest < 0 {
            add(account, RowKind::Untouched, "counted, not resident", rest, Basis::Measured, &format!("{smaps} against the statistics"));
            account.causes = self.causes(counted, lazy, rest.unsigned_abs());
        } else {
            let huge = rest.min(signed(held.anon_huge_pages));
            add(account, RowKind::HugePages, "huge pages beyond what is in use", huge, Basis::Inferred, &format!("{smaps}: AnonHugePages"));
            self.beyond(rest - huge, counted, held, snapshot, confidence, account);
        }
    }

    /// Resident in jemalloc's mappings, counted by nothing.
    fn beyond(&self, rest: i64, counted: &Counted, held: &Residency, snapshot: &Snapshot, confidence: Confidence, account: &mut Account) {
        if rest <= 0 {
            return;
        }
        let smaps = snapshot.file(Part::Memory).unwrap_or("smaps");
        let space = snapshot.stats.as_ref().and_then(|stats| Some(stats.mapped? + stats.retained.unwrap_or_default()));
        // Twice the address space that the statistics account for: they are not of all of these mappings.
        if space.is_some_and(|space| held.size.get() / 2 > space.get()) {
            account.add(
                RowKind::ForeignHeap,
                foreign::SECOND_JEMALLOC,
                rest,
                Basis::Inferred,
                Confidence::Low,
                &format!("{smaps}: mappings beyond `mapped + retained`"),
            );
            account.limits.push("mappings that look like jemalloc's are twice what its statistics account for: a second copy of jemalloc may be in the process".into());
            return;
        }
        // Old versions count no metadata; pages on their way from dirty to unmapped are counted nowhere.
        if counted.metadata.is_none() {
            account.add(
                RowKind::Metadata,
                "allocator metadata",
                rest,
                Basis::Inferred,
                confidence,
                "resident beyond the statistics, which do not count metadata",
            );
            return;
        }
        account.add(
            RowKind::Unattributed,
            "in jemalloc's mappings, beyond its statistics",
            rest,
            Basis::Inferred,
            confidence,
            &format!("{smaps} against the statistics"),
        );
    }

    /// Only the profile says what is in use.
    fn without_statistics(&self, measured: i64, confidence: Confidence, account: &mut Account) {
        let live = self.estimate.map_or(0, |estimate| estimate.estimate.round() as i64);
        // Of another instant, it is bounded by what is resident at this one: a program that starts has not yet what its first dump has.
        let (live, source) = match self.of_other_dumps && live > measured {
            true => (measured.max(0), format!("{}, at most what is resident", self.source)),
            false => (live, self.source.clone()),
        };
        if self.estimate.is_some() {
            account.add(RowKind::Live, "live heap", live, Basis::Estimated, confidence, &source);
        }
        let rest = measured.saturating_sub(live);
        if rest < 0 {
            account.add(
                RowKind::Untouched,
                "estimated, not resident",
                rest,
                Basis::Estimated,
                confidence,
                "smaps against the profile's estimate",
            );
        } else {
            account.add(RowKind::Unattributed, NOT_SPLIT, rest, Basis::Inferred, confidence, "smaps, without statistics");
        }
        let also = if self.estimate.is_some() {
            "fragmentation, dirty pages and metadata"
        } else {
            "live memory, fragmentation, dirty pages and metadata"
        };
        account
            .limits
            .push(format!("without jemalloc's statistics {also} cannot be told apart: capture malloc_stats_print (option J) beside smaps"));
    }

    /// Splits a total that says nothing of who holds it: as far as the statistics go.
    pub(super) fn split_of_total(&self, rss: Bytes, source: RssSource, snapshot: &Snapshot, account: &mut Account) {
        let status = snapshot.status.as_ref().filter(|_| source != RssSource::None);
        if let Some(bytes) = status.and_then(|status| status.rss_file) {
            account.add(
                RowKind::FileMapped,
                "all files",
                signed(bytes),
                Basis::Measured,
                Confidence::High,
                &status_source(snapshot, "RssFile"),
            );
        }
        if let Some(bytes) = status.and_then(|status| status.rss_shmem) {
            account.add(
                RowKind::SharedMemory,
                "all shared memory",
                signed(bytes),
                Basis::Measured,
                Confidence::High,
                &status_source(snapshot, "RssShmem"),
            );
        }
        let sums = snapshot.memory.as_ref().filter(|memory| !memory.has_mappings());
        let rollup = sums.map(|memory| memory.total);
        if let Some(rollup) = rollup.filter(|rollup| status.is_none() && rollup.anonymous > Bytes::ZERO) {
            account.add(
                RowKind::FileMapped,
                "all files and shared memory",
                signed(rss.saturating_sub(rollup.anonymous)),
                Basis::Measured,
                Confidence::High,
                &format!("{source}: Rss - Anonymous"),
            );
        }
        let Some(counted) = &self.counted else {
            if self.estimate.is_some() || rollup.is_some() || status.is_some() {
                account.limits.push("without smaps and statistics the owners of anonymous memory cannot be told: capture both".into());
            }
            if let Some(estimate) = self.estimate {
                account.add(
                    RowKind::Live,
                    "live heap",
                    estimate.estimate.round() as i64,
                    Basis::Estimated,
                    Confidence::Medium,
                    &self.source,
                );
            }
            return;
        };
        let confidence = if source == RssSource::None { Confidence::High } else { Confidence::Medium };
        let mut sum = counted.rows(snapshot, confidence, account);
        let metadata = counted.metadata.unwrap_or(0);
        account.add(
            RowKind::Metadata,
            "allocator metadata",
            metadata,
            Basis::Measured,
            confidence,
            &stats_source(snapshot, "resident - active - dirty"),
        );
        sum += metadata;
        if source == RssSource::None {
            return;
        }
        // The kernel's sum of lazily freed pages may include another allocator's.
        let kernels = sums.filter(|memory| memory.detail == Detail::Rollup).map(|memory| signed(memory.total.lazy_free));
        let lazy = kernels.unwrap_or(counted.muzzy);
        account.add(
            RowKind::LazyFree,
            "freed, kernel lag (LazyFree)",
            lazy,
            if kernels.is_some() { Basis::Measured } else { Basis::Inferred },
            confidence,
            "smaps_rollup: LazyFree, else muzzy pages",
        );
        sum += lazy;
        // jemalloc holds at most all anonymous memory; whether the rest is its own or another's cannot be told.
        let anonymous = rollup
            .map(|rollup| rollup.anonymous)
            .filter(|bytes| *bytes > Bytes::ZERO)
            .or_else(|| status.and_then(|status| status.rss_anon));
        let room = signed(anonymous.unwrap_or(rss));
        if sum > room {
            account.add(
                RowKind::Untouched,
                "counted, not resident",
                room - sum,
                Basis::Inferred,
                confidence,
                "statistics beyond anonymous RSS",
            );
        }
        if source == RssSource::Metrics {
            account.limits.push(
                "metrics do not count thread caches, sampled objects and size classes: what these hold is inside live heap and fragmentation"
                    .into(),
            );
        }
        account.limits.push(
            "without smaps it cannot be told how much of the anonymous memory is jemalloc's: `unattributed` is what its statistics leave"
                .into(),
        );
    }

    /// What is counted and need not be touched.
    fn causes(&self, counted: &Counted, lazy: i64, untouched: u64) -> Vec<Cause> {
        let mut causes: Vec<Cause> = Vec::new();
        let mut name = |what: &str, at_most: u64| {
            if at_most > 0 {
                causes.push(Cause { what: what.to_owned(), at_least: Bytes::ZERO, at_most: Bytes::new(at_most.min(untouched)) });
            }
        };
        name("extents of sampled objects, of which only the first pages are used", self.overhead.saturating_add(counted.promoted));
        name("free regions and page tails (fragmentation) that were never written", counted.fragmentation.max(0).unsigned_abs());
        name(
            "dirty and muzzy pages that the kernel has taken back or that were never written",
            counted.dirty.saturating_add((counted.muzzy - lazy).max(0)).max(0).unsigned_abs(),
        );
        name("metadata blocks, counted whole", counted.metadata.unwrap_or(0).max(0).unsigned_abs());
        name("live memory that was never written (buffers, zeroed tables)", counted.live.max(0).unsigned_abs());
        let all = causes.iter().fold(0u64, |sum, cause| sum.saturating_add(cause.at_most.get()));
        for cause in &mut causes {
            let others = all - cause.at_most.get();
            cause.at_least = Bytes::new(untouched.saturating_sub(others)).min(cause.at_most);
        }
        causes
    }
}

impl Counted {
    fn of(stats: &AllocatorStats, version: Option<(u32, u32, u32)>, promotion: &Promotion) -> Option<Counted> {
        let allocated = signed(stats.allocated?);
        let merged = &stats.merged;
        let active = stats.active.or(merged.active).map_or(allocated, signed);
        let resident = stats.resident.or(merged.resident).map(signed);
        // Metrics have no pages by arena: what is resident beyond pages in use and metadata is dirty.
        let dirty_inferred = merged.dirty.is_none() && stats.metadata.is_some() && resident.is_some();
        let dirty = match (merged.dirty, stats.metadata, resident) {
            (Some(dirty), ..) => signed(dirty),
            (None, Some(metadata), Some(resident)) => (resident - active - signed(metadata)).max(0),
            _ => 0,
        };
        let muzzy = merged.muzzy.map_or(0, signed);
        // Cached objects are freed ones: no more than there are.
        let tcache = (signed(merged.tcache.unwrap_or_default()).saturating_add(signed(merged.tcache_stashed.unwrap_or_default())))
            .clamp(0, allocated);
        let fragmentation = (active - allocated).max(0);
        let (overhead, uncounted) = (signed(Bytes::new(promotion.overhead)), signed(Bytes::new(promotion.uncounted)));
        // The overhead comes out of the row that it inflates; objects that `allocated` leaves out are live.
        let (live, overhead, fragmentation) = if promotion.in_active_only {
            let uncounted = uncounted.min(fragmentation);
            let overhead = overhead.min(fragmentation - uncounted);
            (allocated - tcache + uncounted, overhead, fragmentation - uncounted - overhead)
        } else {
            let overhead = overhead.min(allocated - tcache);
            (allocated - tcache - overhead, overhead, fragmentation)
        };
        let in_resident = version.is_some_and(|version| MUZZY_IN_RESIDENT.contains(&version));
        let metadata = resident.map(|resident| (resident - active - dirty - if in_resident { muzzy } else { 0 }).max(0));
        Some(Counted { live, overhead, tcache, fragmentation, dirty, muzzy, metadata, dirty_inferred, promoted: promotion.padding })
    }

    /// Enters the rows that the statistics count; returns their sum (without metadata).
    fn rows(&self, snapshot: &Snapshot, confidence: Confidence, account: &mut Account) -> i64 {
        let mut add = |kind, label: &str, bytes: i64, basis, figure: &str| {
            account.add(kind, label, bytes, basis, confidence, &stats_source(snapshot, figure))
        };
        add(RowKind::Live, "live heap", self.live, Basis::Measured, "allocated, less thread caches and sampling overhead");
        add(
            RowKind::SamplingOverhead,
            "sampling overhead",
            self.overhead,
            Basis::Inferred,
            "sampled small objects of the dump, each in an extent of its own",
        );
        add(RowKind::Tcache, "thread caches", self.tcache, Basis::Measured, "tcache_bytes");
        add(RowKind::Fragmentation, "fragmentation", self.fragmentation, Basis::Measured, "active - allocated");
        let (basis, figure) = match self.dirty_inferred {
            true => (Basis::Inferred, "resident - active - metadata"),
            false => (Basis::Measured, "pdirty"),
        };
        add(RowKind::Dirty, "freed, awaiting decay (dirty)", self.dirty, basis, figure);
        self.live + self.overhead + self.tcache + self.fragmentation + self.dirty
    }
}

/// What sampling adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Promotion {
    /// Bytes of rows beyond what the objects themselves hold.
    overhead: u64,
    /// Bytes of the sampled objects themselves that `allocated` does not count (5.3.1 and later).
    uncounted: u64,
    /// Both of these are in `active` only.
    in_active_only: bool,
    /// Pages in `active` that no object uses because of sampling.
    padding: u64,
}

/// Sampled small objects live in extents of their own.
///
/// Up to 5.3.0 each counts as 16 KiB in `allocated`, and cache_oblivious adds a page to `active`. Their number
/// is the dump's, which with `prof_unbias` may be printed too high for stacks of mixed sizes: no more than the
/// class has extents. From 5.3.1 on they take whole pages in `active` and are in no class and not in `allocated`
/// (seen: 1265 sampled objects, 10,362,880 bytes of `active` in neither slabs nor large extents: two pages each).
fn promoted((objects, bytes): (u64, u64), stats: &AllocatorStats, version: Option<(u32, u32, u32)>) -> Promotion {
    let Some(version) = version.filter(|version| *version >= (4, 0, 0)) else { return Promotion::default() };
    let page = stats.page_size.unwrap_or(USUAL_PAGE);
    let padded = stats.options.config_cache_oblivious != Some(false);
    if version >= PAGE_PROMOTION_SINCE {
        let Some(extents) = extents_without_class(stats, if padded { page } else { 0 }) else { return Promotion::default() };
        let own = bytes.min(extents);
        return Promotion { overhead: extents - own, uncounted: own, in_active_only: true, padding: extents - own };
    }
    let extents = stats.large.iter().find(|class| class.size == PROMOTED).map_or(objects, |class| class.live);
    let within = objects.min(extents);
    let own = (u128::from(bytes) * u128::from(within) / u128::from(objects.max(1))) as u64;
    let padding = if padded { within.saturating_mul(page) } else { 0 };
    Promotion { overhead: within.saturating_mul(PROMOTED).saturating_sub(own), padding, ..Promotion::default() }
}

/// Bytes in active pages that are neither slabs nor large extents; `pad` is what each large extent has more than
/// its size. `None` without figures by class.
fn extents_without_class(stats: &AllocatorStats, pad: u64) -> Option<u64> {
    let slabs = stats.bins.iter().map(|bin| bin.slabs.saturating_mul(bin.slab_size)).fold(0, u64::saturating_add);
    let count = stats.large.iter().map(|class| class.live).fold(0, u64::saturating_add);
    if stats.bins.is_empty() || slabs == 0 {
        return None;
    }
    let large = stats.merged.large_allocated?.get().saturating_add(count.saturating_mul(pad));
    Some(stats.active?.get().saturating_sub(slabs).saturating_sub(large).min(MOST_MEMORY))
}
