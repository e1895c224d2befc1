//! Raw records to the model: the only place here that imports `input`.

mod lives;
mod memory;
mod metrics;
mod pprof;
mod stats;

pub use lives::lives;
pub use memory::{cgroup, malloc_info, pmap, smaps, status};
pub use metrics::metrics;
pub use pprof::pprof;
pub use stats::stats;

use crate::address::ReturnAddress;
use crate::input::heap::{HeaderCheck, HeapFormat, Kind, RawCounts, RawDump, RawMapping, RawThread};
use crate::input::maps::MapsLine;
use crate::model::heap::{Family, HeapProfile, Sample, Sampled, Sampling, Thread, ThreadSample, Unbias};
use crate::model::mapping::{AddressSpace, Mapping};
use crate::model::stack::StackTable;
use crate::units::Bytes;

/// A maps line as a mapping of its own.
pub fn mapping(line: &MapsLine<'_>) -> Mapping {
    Mapping { range: line.range, perms: line.perms, offset: line.offset, device: line.device, inode: line.inode, name: line.name.into() }
}

/// A heap dump as a profile over `stacks`, which gets the stacks that are new.
pub fn heap(mut raw: RawDump, stacks: &mut StackTable) -> HeapProfile {
    let ids: Vec<u32> = raw.addresses.iter().map(|&address| stacks.intern_address(ReturnAddress::new(address)).0).collect();
    // The first dump of a process numbers its addresses as the table does.
    if !ids.iter().zip(0..).all(|(&id, own)| id == own) {
        raw.frames.iter_mut().for_each(|frame| *frame = ids.get(*frame as usize).copied().unwrap_or(*frame));
    }
    let samples: Vec<Sample> = (0..raw.len())
        .map(|record| Sample {
            stack: stacks.intern_ids(raw.stack(record)),
            live: raw.live.get(record).copied().map(sampled).unwrap_or_default(),
            accumulated: raw.accumulated.get(record).copied().map(sampled).unwrap_or_default(),
        })
        .collect();
    let thread_samples = raw.thread_counts.iter().filter_map(|counts| {
        let stack = samples.get(counts.record as usize)?.stack;
        Some(ThreadSample { thread: counts.thread, stack, live: sampled(counts.live), accumulated: sampled(counts.accumulated) })
    });
    HeapProfile {
        family: family(&raw),
        sampling: match raw.kind {
            Kind::Sampled if raw.rate > 1 => Sampling::Interval(Bytes::new(raw.rate)),
            _ => Sampling::Exact,
        },
        accumulated: !raw.accumulated.is_empty(),
        unbias: match raw.header_check {
            HeaderCheck::Equal if raw.kind == Kind::Sampled => Unbias::Off,
            HeaderCheck::EqualUnsampled => Unbias::On,
            _ => Unbias::Unknown,
        },
        header: raw.header.map(sampled),
        threads: raw.threads.iter().map(thread).collect(),
        thread_samples: thread_samples.collect(),
        samples,
        mappings: AddressSpace::new(raw.mappings.into_iter().map(raw_mapping).collect()),
        truncated: raw.truncated,
    }
}

fn family(raw: &RawDump) -> Family {
    match (raw.format, raw.kind) {
        (HeapFormat::Threaded, _) => Family::JemallocThreaded,
        (HeapFormat::Legacy, Kind::Growth) => Family::Growth,
        (HeapFormat::Legacy, Kind::Fragmentation) => Family::Fragmentation,
        (HeapFormat::Legacy, _) if raw.null_terminated => Family::JemallocLegacy,
        (HeapFormat::Legacy, _) => Family::Gperftools,
    }
}

fn sampled(counts: RawCounts) -> Sampled {
    Sampled { objects: counts.objects, bytes: counts.bytes }
}

fn thread(raw: &RawThread) -> Thread {
    let name = raw.name.as_deref().map(|name| String::from_utf8_lossy(name).into_owned());
    Thread { uid: raw.uid, name, live: sampled(raw.live) }
}

fn raw_mapping(raw: RawMapping) -> Mapping {
    Mapping { range: raw.range, perms: raw.perms, offset: raw.offset, device: raw.device, inode: raw.inode, name: raw.name }
}
