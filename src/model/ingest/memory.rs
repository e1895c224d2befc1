//! Kernel records of memory to the model: kibibytes become bytes, names become values.

use crate::input::cgroup::CgroupFiles;
use crate::input::malloc_info::MallocInfo;
use crate::input::pmap::Totals;
use crate::input::smaps::{Field, NAMES, Record, Section};
use crate::input::status::Status;
use crate::model::ingest::mapping;
use crate::model::memory::{Cgroup, Detail, GlibcHeap, MemoryMap, ProcessStatus, Residency, Vma};
use crate::units::Bytes;

/// One smaps text. Mappings come out by address; one that is listed twice (the kernel drops its lock
/// between reads) is taken once, as it was last.
pub fn smaps(section: &Section<'_>) -> MemoryMap {
    if section.is_rollup() {
        let mut total = Residency::default();
        section.records.iter().for_each(|record| add(&mut total, &residency(record)));
        return MemoryMap { vmas: Vec::new(), total, detail: Detail::Rollup };
    }
    let mut vmas: Vec<Vma> = section.records.iter().map(vma).collect();
    let start = |vma: &Vma| vma.mapping.range.start;
    if !vmas.is_sorted_by_key(start) {
        vmas.sort_by_key(start);
    }
    if vmas.windows(2).any(|pair| start(&pair[0]) == start(&pair[1])) {
        vmas.reverse();
        vmas.dedup_by_key(|vma| vma.mapping.range.start);
        vmas.reverse();
    }
    let mut total = Residency::default();
    vmas.iter().for_each(|vma| add(&mut total, &vma.residency));
    MemoryMap { vmas, total, detail: Detail::Mappings }
}

fn vma(record: &Record<'_>) -> Vma {
    // Keys that are no size of memory, or that a later kernel added, are kept by name.
    let sizes = [Field::KernelPageSize, Field::MmuPageSize, Field::ThpEligible, Field::ProtectionKey];
    let odd = sizes.iter().filter(|&&field| !matches!(record.get(field), None | Some(0 | 4)));
    let mut other: Vec<(Box<str>, u64)> = odd.map(|&field| (NAMES[field as usize].into(), record.values[field as usize])).collect();
    other.extend(record.other.iter().map(|(key, value)| (String::from_utf8_lossy(key).into(), *value)));
    Vma { mapping: mapping(&record.line), residency: residency(record), flags: String::from_utf8_lossy(record.flags).into(), other }
}

fn residency(record: &Record<'_>) -> Residency {
    let bytes = |field: Field| Bytes::from_kib(record.values[field as usize]);
    // A rollup has no Size, and an edited record may lack it: the range says it.
    let size = record
        .get(Field::Size)
        .map_or_else(|| if record.is_rollup() { Bytes::ZERO } else { Bytes::new(record.line.range.len()) }, Bytes::from_kib);
    Residency {
        size,
        rss: bytes(Field::Rss),
        pss: bytes(Field::Pss),
        shared_clean: bytes(Field::SharedClean),
        shared_dirty: bytes(Field::SharedDirty),
        private_clean: bytes(Field::PrivateClean),
        private_dirty: bytes(Field::PrivateDirty),
        referenced: bytes(Field::Referenced),
        anonymous: bytes(Field::Anonymous),
        ksm: bytes(Field::Ksm),
        lazy_free: bytes(Field::LazyFree),
        anon_huge_pages: bytes(Field::AnonHugePages),
        shmem_pmd_mapped: bytes(Field::ShmemPmdMapped),
        file_pmd_mapped: bytes(Field::FilePmdMapped),
        shared_hugetlb: bytes(Field::SharedHugetlb),
        private_hugetlb: bytes(Field::PrivateHugetlb),
        swap: bytes(Field::Swap),
        swap_pss: bytes(Field::SwapPss),
        locked: bytes(Field::Locked),
    }
}

fn add(sum: &mut Residency, one: &Residency) {
    sum.size += one.size;
    sum.rss += one.rss;
    sum.pss += one.pss;
    sum.shared_clean += one.shared_clean;
    sum.shared_dirty += one.shared_dirty;
    sum.private_clean += one.private_clean;
    sum.private_dirty += one.private_dirty;
    sum.referenced += one.referenced;
    sum.anonymous += one.anonymous;
    sum.ksm += one.ksm;
    sum.lazy_free += one.lazy_free;
    sum.anon_huge_pages += one.anon_huge_pages;
    sum.shmem_pmd_mapped += one.shmem_pmd_mapped;
    sum.file_pmd_mapped += one.file_pmd_mapped;
    sum.shared_hugetlb += one.shared_hugetlb;
    sum.private_hugetlb += one.private_hugetlb;
    sum.swap += one.swap;
    sum.swap_pss += one.swap_pss;
    sum.locked += one.locked;
}

/// Totals of `pmap`, as far as they go: a rollup.
pub fn pmap(totals: &Totals) -> Option<MemoryMap> {
    let total = Residency {
        size: Bytes::from_kib(totals.size_kib),
        rss: Bytes::from_kib(totals.rss_kib?),
        anonymous: Bytes::from_kib(totals.anonymous_kib.unwrap_or(0)),
        ..Residency::default()
    };
    Some(MemoryMap { vmas: Vec::new(), total, detail: Detail::Pmap })
}

/// `/proc/PID/status`.
pub fn status(raw: &Status<'_>) -> ProcessStatus {
    let bytes = |key: &str| raw.get(key).map(Bytes::from_kib);
    ProcessStatus {
        name: raw.name.map(|name| String::from_utf8_lossy(name).into_owned()),
        // The process, not the thread that read it.
        pid: raw.get("Tgid").or_else(|| raw.get("Pid")),
        threads: raw.get("Threads"),
        vm_size: bytes("VmSize"),
        vm_rss: bytes("VmRSS"),
        vm_hwm: bytes("VmHWM"),
        vm_swap: bytes("VmSwap"),
        vm_pte: bytes("VmPTE"),
        rss_anon: bytes("RssAnon"),
        rss_file: bytes("RssFile"),
        rss_shmem: bytes("RssShmem"),
    }
}

/// The kernel's way to say "no limit" in version 1: the largest multiple of a page below 2^63.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;

/// cgroup files of either version.
pub fn cgroup(raw: &CgroupFiles) -> Cgroup {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| raw.get(name));
    Cgroup {
        current: first(["memory.current", "memory.usage_in_bytes"]).map(Bytes::new),
        max: first(["memory.max", "memory.limit_in_bytes"]).filter(|&max| max < V1_UNLIMITED).map(Bytes::new),
        stat: raw.values.iter().map(|(key, value)| (key.strip_prefix("memory.stat/").unwrap_or(key).to_owned(), *value)).collect(),
    }
}

/// glibc's malloc_info.
pub fn malloc_info(raw: &MallocInfo) -> GlibcHeap {
    GlibcHeap { system: Bytes::new(raw.system), free: Bytes::new(raw.free), mmapped: Bytes::new(raw.mmapped), arenas: raw.arenas }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::smaps::parse;

    #[test]
    fn a_mapping_listed_twice_counts_once() {
        let record =
            |start: &str, rss: u64| format!("{start}-7f0000500000 rw-p 00000000 00:00 0 \nSize: 4096 kB\nRss: {rss} kB\nVmFlags: rd nr\n");
        let text = record("7f0000000000", 1) + &record("7f0000100000", 2) + &record("7f0000100000", 3);
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.value.len(), 1);
        let map = smaps(&parsed.value[0]);
        assert_eq!(map.vmas.len(), 2);
        assert_eq!(map.total.rss, Bytes::from_kib(4));
        assert!(map.vmas[0].has_flag("nr"));
    }

    #[test]
    fn a_size_that_is_missing_is_the_range() {
        let parsed = parse(b"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nRss: 4 kB\nNew_Key: 9 kB\n").unwrap();
        let map = smaps(&parsed.value[0]);
        assert_eq!(map.total.size, Bytes::from_kib(4));
        assert_eq!(map.vmas[0].other, [("New_Key".into(), 9)]);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let files = crate::input::cgroup::parse(b"memory.usage_in_bytes 5\nmemory.limit_in_bytes 9223372036854771712\n").unwrap().value;
        assert_eq!(
            cgroup(&files),
            Cgroup {
                current: Some(Bytes::new(5)),
                max: None,
                stat: vec![("memory.usage_in_bytes".into(), 5), ("memory.limit_in_bytes".into(), 9_223_372_036_854_771_712)]
            }
        );
    }
}
