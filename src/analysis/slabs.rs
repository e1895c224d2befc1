//! Slabs that are half empty, and the live stacks that hold them.
//!
//! ```text
//!   statistics, bins[i]:  slabs x slab_size - live x size   bytes of a size class that no object uses (exact)
//!   dump:                 stacks whose objects have the size of that class: who holds its slabs
//! ```
//!
//! A slab goes back to the allocator's pages when its last object is freed: the few that stay keep all of it. The
//! allocator knows how many objects a class has, the profile knows whose they are; only together they say whose objects
//! keep the slabs. A stack whose objects have several sizes (text, vectors that grow) belongs to no one class: such stacks
//! are listed by their mean size, which lies among the classes that they are in.

use crate::analysis::estimate::unsample;
use crate::analysis::owner::Owners;
use crate::analysis::triage::{STEADY_BYTES, STEADY_SHARE};
use crate::analysis::view;
use crate::model::allocator::{AllocatorStats, BinStats};
use crate::model::frame::Symbols;
use crate::model::snapshot::Part;
use crate::model::timeline::Timeline;
use std::collections::BTreeMap;

/// Free space in slabs at the end of a timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slabs {
    /// The file of the statistics.
    pub file: String,
    /// The file of the dump that was joined with them; `None` without one.
    pub dump: Option<String>,
    /// Bytes of all slabs that no object uses.
    pub free_bytes: u64,
    /// Their growth since the first statistics with size classes; `None` with one snapshot.
    pub growth: Option<i64>,
    /// Classes that hold most of it, largest first.
    pub classes: Vec<Class>,
    /// Free bytes in the other classes.
    pub other_bytes: u64,
    /// Stacks with small objects of several sizes, largest first.
    pub mixed: Vec<Holder>,
}

/// One size class.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Object size, bytes.
    pub size: u64,
    /// Slabs in use, and bytes of one.
    pub slabs: u64,
    /// Bytes of its slabs.
    pub slab_bytes: u64,
    /// Bytes in them that no object uses.
    pub free_bytes: u64,
    /// Live objects, exact.
    pub live: u64,
    /// Objects that would fit.
    pub regions: u64,
    /// Who holds it, largest first.
    pub holders: Vec<Holder>,
    /// Share of its live objects that the profile finds at stacks of this size alone.
    pub found: f64,
}

/// Stacks with one owner and objects of one size class.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
    /// The owner's function, or the address where it has no name.
    pub function: String,
    /// Its file and line.
    pub file: Option<String>,
    /// 1-based.
    pub line: Option<u32>,
    /// Estimated live objects.
    pub objects: f64,
    /// Estimated live bytes.
    pub bytes: f64,
    /// Number of stacks.
    pub stacks: usize,
}

/// Classes that are shown hold this share of the free space together, ...
const COVERED: f64 = 0.8;
/// ... and are no more than these.
const MOST_CLASSES: usize = 8;
/// Owners shown of one class, and of stacks of several sizes.
const MOST_HOLDERS: usize = 3;
/// Stacks of several sizes are worth a line from this share of the live objects of all classes on.
const MIXED_SHARE: f64 = 0.05;
/// Printed averages are off by rounding: 96.006 is 96.
const SAME_SIZE: f64 = 0.005;
/// The same for stacks of few samples, whose count was rounded (formats: up to half an object).
const SAME_SIZE_FEW: f64 = 0.04;

/// Free space in the slabs of the last statistics with size classes; `None` where it is too little to matter.
pub fn slabs(timeline: &Timeline, rss: Option<u64>) -> Option<Slabs> {
    let with_bins = || timeline.snapshots.iter().filter(|snapshot| snapshot.stats.as_ref().is_some_and(|stats| !stats.bins.is_empty()));
    let last = with_bins().next_back()?;
    let stats = last.stats.as_ref()?;
    let mut classes: Vec<Class> = stats.bins.iter().filter_map(class).collect();
    let free_bytes = classes.iter().map(|class| class.free_bytes).fold(0, u64::saturating_add);
    let whole = rss.or_else(|| stats.active.map(|active| active.get())).unwrap_or(0) as f64;
    if (free_bytes as f64) < STEADY_BYTES.max(STEADY_SHARE * whole) {
        return None;
    }
    classes.sort_by_key(|class| (std::cmp::Reverse(class.free_bytes), class.size));
    let mut shown = 0u64;
    classes.truncate(MOST_CLASSES);
    classes.retain(|class| {
        let wanted = (shown as f64) < COVERED * free_bytes as f64;
        shown = shown.saturating_add(if wanted { class.free_bytes } else { 0 });
        wanted
    });
    let first = with_bins().next().filter(|first| !std::ptr::eq(*first, last)).and_then(|first| first.stats.as_ref());
    Some(Slabs {
        file: last.file(Part::Stats).unwrap_or("statistics").to_owned(),
        dump: None,
        free_bytes,
        growth: first.map(|first| signed(free_bytes).saturating_sub(signed(free_of(first)))),
        classes,
        other_bytes: free_bytes.saturating_sub(shown),
        mixed: Vec::new(),
    })
}

/// Joins the classes with the dump of the same snapshot, else with the last one. `symbols` belongs to the timeline's stacks.
pub fn join(slabs: &mut Slabs, timeline: &Timeline, symbols: &Symbols) {
    let of_stats = timeline.snapshots.iter().rposition(|snapshot| snapshot.file(Part::Stats) == Some(slabs.file.as_str()));
    let with_heap = |at: usize| timeline.snapshots.get(at).filter(|snapshot| snapshot.heap.is_some());
    let same = of_stats.and_then(with_heap);
    let Some(snapshot) = same.or_else(|| timeline.snapshots.iter().rev().find(|snapshot| snapshot.heap.is_some())) else { return };
    let Some(heap) = &snapshot.heap else { return };
    slabs.dump = Some(snapshot.file(Part::Heap).unwrap_or(&snapshot.name).to_owned());
    let Some(stats) = of_stats.and_then(|at| timeline.snapshots.get(at)?.stats.as_ref()) else { return };
    // By all classes, those that are shown and those that are not; the last place is that of several sizes.
    let sizes: Vec<u64> = stats.bins.iter().map(|bin| bin.size).collect();
    let largest = sizes.iter().copied().max().unwrap_or(0) as f64 * (1.0 + SAME_SIZE_FEW);
    let mut owners = Owners::new(symbols);
    let mut holders: Vec<BTreeMap<String, Holder>> = vec![BTreeMap::new(); sizes.len() + 1];
    for sample in heap.samples.iter().filter(|sample| sample.live.objects > 0) {
        let mean = sample.live.bytes as f64 / sample.live.objects as f64;
        if mean > largest {
            continue;
        }
        let at = class_of(&sizes, mean, sample.live.objects).unwrap_or(sizes.len());
        let estimate = unsample(sample.live, heap.sampling);
        let owner = owners.of(timeline.stacks.stack(sample.stack));
        let frame = owner.map(|owner| view::frame(&timeline.stacks, symbols, owner.address, owner.frame)).unwrap_or_default();
        let function = match frame.function.is_empty() {
            true => frame.address.map_or_else(|| "an empty stack".to_owned(), |address| format!("0x{address:x}")),
            false => frame.function,
        };
        let holder = holders[at].entry(function.clone()).or_insert_with(|| Holder {
            function,
            file: frame.file,
            line: frame.line,
            objects: 0.0,
            bytes: 0.0,
            stacks: 0,
        });
        holder.objects += estimate.objects;
        holder.bytes += estimate.bytes;
        holder.stacks += 1;
    }
    let mut ranked: Vec<Vec<Holder>> = holders.into_iter().map(|holders| holders.into_values().collect()).collect();
    for holders in &mut ranked {
        holders.sort_by(|a, b| b.bytes.total_cmp(&a.bytes).then_with(|| a.function.cmp(&b.function)));
    }
    let live: f64 = stats.bins.iter().map(|bin| bin.live as f64).sum();
    slabs.mixed = ranked.pop().unwrap_or_default();
    slabs.mixed.retain(|holder| holder.objects >= MIXED_SHARE * live);
    slabs.mixed.truncate(MOST_HOLDERS);
    for (size, mut holders) in sizes.into_iter().zip(ranked) {
        let Some(class) = slabs.classes.iter_mut().find(|class| class.size == size) else { continue };
        // The sum of nothing is -0, and prints so.
        let objects = holders.iter().fold(0.0, |sum, holder| sum + holder.objects);
        class.found = if class.live > 0 { (objects / class.live as f64).min(1.0) } else { 0.0 };
        holders.truncate(MOST_HOLDERS);
        class.holders = holders;
    }
}

fn class(bin: &BinStats) -> Option<Class> {
    let slab_bytes = bin.slabs.checked_mul(bin.slab_size)?;
    let free_bytes = slab_bytes.checked_sub(bin.live.checked_mul(bin.size)?)?;
    let regions = bin.slabs.saturating_mul(bin.regions_per_slab);
    (bin.slabs > 0 && bin.size > 0).then(|| Class {
        size: bin.size,
        slabs: bin.slabs,
        slab_bytes,
        free_bytes,
        live: bin.live,
        regions,
        holders: Vec::new(),
        found: 0.0,
    })
}

fn free_of(stats: &AllocatorStats) -> u64 {
    stats.bins.iter().filter_map(class).map(|class| class.free_bytes).fold(0, u64::saturating_add)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The class whose size the mean object of a stack has, up to rounding.
fn class_of(sizes: &[u64], mean: f64, samples: u64) -> Option<usize> {
    let tolerance = (0.5 / samples as f64).clamp(SAME_SIZE, SAME_SIZE_FEW);
    let off = |size: u64| (mean - size as f64).abs();
    let nearest = (0..sizes.len()).min_by(|&a, &b| off(sizes[a]).total_cmp(&off(sizes[b])))?;
    (off(sizes[nearest]) <= tolerance * sizes[nearest] as f64).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ReturnAddress;
    use crate::model::heap::{HeapProfile, Sample, Sampled};
    use crate::model::snapshot::{Snapshot, TimeSource};
    use crate::units::Bytes;

    fn bin(size: u64, slabs: u64, slab_size: u64, live: u64) -> BinStats {
        BinStats { size, slabs, slab_size, live, regions_per_slab: slab_size / size, ..BinStats::default() }
    }

    fn snapshot(name: &str, bins: Vec<BinStats>) -> Snapshot {
        let mut snapshot = Snapshot::empty(name, 0, TimeSource::Name);
        snapshot.stats = Some(AllocatorStats { bins, active: Some(Bytes::new(64 << 20)), ..AllocatorStats::default() });
        snapshot.files.push((Part::Stats, format!("{name}.stats.json")));
        snapshot
    }

    fn sketch() -> Timeline {
        let mut timeline = Timeline::default();
        let first = snapshot("1", vec![bin(512, 1000, 4096, 8000)]);
        let mut last = snapshot("2", vec![bin(512, 10_000, 4096, 20_000), bin(64, 2000, 4096, 127_000), bin(96, 1000, 12_288, 100_000)]);
        let stacks: Vec<_> = (1..4).map(|at| timeline.stacks.intern(&[ReturnAddress::new(at * 16)])).collect();
        let sample = |at: usize, objects: u64, bytes: u64| Sample {
            stack: stacks[at],
            live: Sampled { objects, bytes },
            accumulated: Sampled::default(),
        };
        last.heap =
            Some(HeapProfile::exact(vec![sample(0, 15_000, 15_000 * 512), sample(1, 4000, 4000 * 513), sample(2, 50_000, 50_000 * 70)]));
        last.files.push((Part::Heap, "2.heap".into()));
        timeline.snapshots = vec![first, last];
        timeline
    }

    #[test]
    fn classes_and_their_holders() {
        let timeline = sketch();
        let mut found = slabs(&timeline, Some(100 << 20)).unwrap();
        join(&mut found, &timeline, &Symbols::default());
        let free_512 = 10_000 * 4096 - 20_000 * 512;
        assert_eq!(found.free_bytes, free_512 + (2000 * 4096 - 127_000 * 64) + (1000 * 12_288 - 100_000 * 96));
        assert_eq!((found.classes.len(), found.classes[0].size, found.classes[0].free_bytes), (1, 512, free_512));
        assert_eq!(found.growth, Some(found.free_bytes as i64), "the first had none");
        // 70 on average is of no class; 513 is 512 up to rounding.
        let objects: Vec<f64> = found.classes[0].holders.iter().map(|holder| holder.objects).collect();
        assert_eq!((objects, found.classes[0].found, found.dump.as_deref()), (vec![19_000.0], 0.95, Some("2.heap")));
        assert_eq!(found.mixed.iter().map(|holder| holder.objects).collect::<Vec<_>>(), [50_000.0]);
    }

    #[test]
    fn full_slabs_are_nothing_to_show() {
        let mut timeline = sketch();
        timeline.snapshots[1] = snapshot("2", vec![bin(512, 1000, 4096, 7990)]);
        assert_eq!(slabs(&timeline, Some(100 << 20)), None);
        assert_eq!(slabs(&Timeline::default(), None), None);
        // Figures that contradict each other are of no class.
        timeline.snapshots[1] = snapshot("2", vec![bin(512, 10, 4096, 7990), bin(u64::MAX, 2, u64::MAX, 1)]);
        assert_eq!(slabs(&timeline, None), None);
    }

    #[test]
    fn few_samples_are_rounded_more() {
        assert_eq!(class_of(&[96, 112], 98.0, 12), Some(0));
        assert_eq!(class_of(&[96, 112], 98.0, 1000), None);
        assert_eq!(class_of(&[], 98.0, 1), None);
    }
}
