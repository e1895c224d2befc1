//! Every file of statistics and memory among the fixtures reads to figures that were computed independently.

use heaptriage::input::compress::decompress;
use heaptriage::input::{self, Format, smaps, stats_json, stats_text};
use heaptriage::model::allocator::AllocatorStats;
use heaptriage::model::ingest;
use heaptriage::model::memory::MemoryMap;
use heaptriage::units::Bytes;
use procfs_core::FromBufRead;
use procfs_core::process::{MMapPath, MemoryMaps};

pub fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    decompress(&bytes).unwrap().value.into_owned()
}

fn stats(name: &str) -> AllocatorStats {
    let text = fixture(&format!("statistics/{name}.gz"));
    let parsed = match input::sniff(&text) {
        Some(Format::StatsJson) => stats_json::parse(&text).unwrap(),
        Some(Format::StatsText) => stats_text::parse(&text).unwrap(),
        other => panic!("{name} is taken for {other:?}"),
    };
    assert!(parsed.warnings.is_empty(), "{name}: {:?}", parsed.warnings);
    ingest::stats(&parsed.value[0])
}

fn memory(name: &str) -> MemoryMap {
    let text = fixture(&format!("smaps/{name}.smaps.gz"));
    assert_eq!(input::sniff(&text), Some(Format::Smaps));
    let parsed = smaps::parse(&text).unwrap();
    assert_eq!((parsed.value.len(), parsed.warnings.len()), (1, 0), "{name}");
    ingest::smaps(&parsed.value[0])
}

/// Allocated, active, metadata, resident, mapped, retained; dirty, muzzy, thread caches; small, large; arenas.
type Figures = [Option<u64>; 12];

#[track_caller]
fn check(name: &str, version: Option<(u32, u32, u32)>, expected: Figures) {
    let stats = stats(name);
    let m = &stats.merged;
    let bytes = [
        stats.allocated,
        stats.active,
        stats.metadata,
        stats.resident,
        stats.mapped,
        stats.retained,
        m.dirty,
        m.muzzy,
        m.tcache,
        m.small_allocated,
        m.large_allocated,
    ];
    let mut figures: Vec<Option<u64>> = bytes.into_iter().map(|bytes| bytes.map(Bytes::get)).collect();
    figures.push(stats.arenas_initialized);
    assert_eq!(figures, expected, "{name}");
    assert_eq!(stats.version_numbers(), version, "{name}");
}

#[test]
fn statistics_of_every_version_in_either_form() {
    fn s(bytes: u64) -> Option<u64> {
        Some(bytes)
    }
    check(
        "jemalloc-3.6.0.txt",
        Some((3, 6, 0)),
        [s(1658304), s(1667072), None, None, s(12582912), None, s(40960), None, None, s(404928), s(1253376), s(2)],
    );
    check(
        "jemalloc-4.5.0.txt",
        Some((4, 5, 0)),
        [s(1868736), s(1937408), s(812672), s(2711552), s(6291456), s(0), s(61440), None, None, s(500672), s(1368064), s(2)],
    );
    check(
        "jemalloc-4.5.0_opts-Jgbl.json",
        None,
        [s(816512), s(880640), s(744384), s(1523712), s(4194304), s(0), s(0), None, None, s(759168), s(57344), s(1)],
    );
    let v521 =
        [s(1795080), s(1839104), s(1318024), s(3186688), s(6086656), s(2301952), s(53248), s(0), s(70720), s(455688), s(1339392), s(2)];
    check("jemalloc-5.2.1.txt", Some((5, 2, 1)), v521);
    check("jemalloc-5.2.1_opts-Jblxe.json", Some((5, 2, 1)), v521);
    let v530 =
        [s(1942528), s(1990656), s(2830976), s(4767744), s(10412032), s(2170880), s(32768), s(0), s(70720), s(455680), s(1486848), s(2)];
    check("jemalloc-5.3.0.txt", Some((5, 3, 0)), v530);
    check("jemalloc-5.3.0_full.json", Some((5, 3, 0)), v530);
    check("jemalloc-5.3.0_opts-Jblxe.json", Some((5, 3, 0)), v530);
    check(
        "jemalloc-5.3.0_single-arena_no-merged-key.json",
        Some((5, 3, 0)),
        [s(890304), s(933888), s(2743536), s(3588096), s(7225344), s(1163264), s(0), s(0), s(55568), s(714176), s(176128), s(1)],
    );
    let dev = |metadata, resident| {
        [s(1754368), s(1785856), s(metadata), s(resident), s(6045696), s(2342912), s(65536), s(0), s(62784), s(447744), s(1306624), s(2)]
    };
    check("jemalloc-dev-295e4894.txt", Some((5, 3, 99)), dev(1640720, 3403776));
    check("jemalloc-dev-295e4894_opts-Jblxe.json", Some((5, 3, 99)), dev(2165008, 3928064));
}

#[test]
fn size_classes_add_up_to_the_small_and_large_totals() {
    for name in ["jemalloc-5.3.0_full.json", "jemalloc-5.3.0.txt", "jemalloc-5.2.1.txt", "jemalloc-4.5.0.txt", "jemalloc-3.6.0.txt"] {
        let stats = stats(name);
        let small: u64 = stats.bins.iter().map(|bin| bin.live * bin.size).sum();
        let large: u64 = stats.large.iter().map(|class| class.live * class.size).sum();
        assert_eq!(Some(Bytes::new(small)), stats.merged.small_allocated, "{name}");
        assert_eq!(Some(Bytes::new(large)), stats.merged.large_allocated, "{name}");
        let of_48 = stats.bins.iter().find(|bin| bin.size == 48).unwrap();
        // 3.6 prints bytes, which count what lies in thread caches.
        let live = if name.contains("3.6.0") { 8016 } else { 8000 };
        assert_eq!((of_48.live, of_48.slab_size >= 4096, of_48.regions_per_slab >= 84), (live, true, true), "{name}");
    }
}

#[test]
fn options_are_read_in_either_form() {
    for name in ["jemalloc-5.3.0.txt", "jemalloc-5.3.0_full.json", "jemalloc-5.2.1.txt", "jemalloc-5.2.1_opts-Jblxe.json"] {
        let options = stats(name).options;
        assert_eq!((options.dirty_decay_ms, options.muzzy_decay_ms), (Some(10_000), Some(0)), "{name}");
        assert_eq!((options.background_thread, options.narenas, options.config_prof), (Some(false), Some(8), Some(true)), "{name}");
        assert_eq!((options.thp.as_deref(), options.dss.as_deref()), (Some("default"), Some("secondary")), "{name}");
        assert_eq!((options.lg_prof_sample, options.tcache_max), (Some(19), Some(32_768)), "{name}");
    }
}

#[test]
fn smaps_add_up() {
    // Mappings; Size, Rss, Pss, Anonymous, Private_Dirty, LazyFree in kB.
    let expected = [
        ("6.18_glibc_2threads", 32, [151_132, 14_420, 13_104, 13_076, 13_088, 0]),
        ("6.18_jemalloc-5.3.0_2threads", 53, [52_576, 18_256, 15_426, 14_908, 14_920, 0]),
        ("6.18_mimalloc-2.0_2threads", 37, [117_452, 15_468, 13_880, 13_816, 13_828, 0]),
        ("6.18_odd-names_glibc-arenas_lazyfree", 48, [165_008, 23_480, 22_040, 22_004, 19_976, 2048]),
        ("6.18_rust_debug_jemalloc-dev", 43, [76_640, 56_720, 54_428, 52_672, 53_452, 0]),
        ("6.18_rust_tikv-5.3.1_50MB-foreign-glibc", 43, [139_748, 59_856, 57_347, 52_632, 57_220, 0]),
        ("6.18_tcmalloc-2.10", 63, [24_320, 14_776, 12_884, 11_204, 11_216, 0]),
    ];
    for (name, mappings, sums) in expected {
        let map = memory(name);
        let t = map.total;
        let kib = [t.size, t.rss, t.pss, t.anonymous, t.private_dirty, t.lazy_free].map(|bytes| bytes.get() / 1024);
        assert_eq!((map.vmas.len(), kib), (mappings, sums), "{name}");
    }
    let rollup = smaps::parse(&fixture("smaps/6.18.smaps_rollup.gz")).unwrap().value.remove(0).records.len();
    assert_eq!(rollup, 1);
}

#[test]
fn smaps_agree_with_procfs() {
    for name in [
        "6.18_glibc_2threads",
        "6.18_jemalloc-5.3.0_2threads",
        "6.18_mimalloc-2.0_2threads",
        "6.18_rust_debug_jemalloc-dev",
        "6.18_tcmalloc-2.10",
    ] {
        let text = fixture(&format!("smaps/{name}.smaps.gz"));
        let oracle = MemoryMaps::from_buf_read(text.as_slice()).unwrap();
        let ours = memory(name);
        assert_eq!(oracle.len(), ours.vmas.len());
        for (theirs, ours) in oracle.iter().zip(&ours.vmas) {
            let r = ours.residency;
            assert_eq!(theirs.address, (ours.mapping.range.start.get(), ours.mapping.range.end.get()));
            assert_eq!((theirs.offset, theirs.inode), (ours.mapping.offset.get(), ours.mapping.inode));
            let fields = [
                ("Size", r.size),
                ("Rss", r.rss),
                ("Pss", r.pss),
                ("Private_Dirty", r.private_dirty),
                ("Shared_Clean", r.shared_clean),
                ("Anonymous", r.anonymous),
                ("Swap", r.swap),
                ("LazyFree", r.lazy_free),
            ];
            for (key, bytes) in fields {
                assert_eq!(theirs.extension.map.get(key).copied(), Some(bytes.get()), "{name} {key}");
            }
            if let MMapPath::Path(path) = &theirs.pathname {
                assert_eq!(path.to_string_lossy(), ours.mapping.display_name());
            }
        }
    }
}

#[test]
fn odd_names_are_kept_raw() {
    let map = memory("6.18_odd-names_glibc-arenas_lazyfree");
    let names: Vec<String> = map.vmas.iter().map(|vma| vma.mapping.display_name().into_owned()).collect();
    for name in [
        "/opt/demo/m/lit\\012eral",
        "/opt/demo/m/real (deleted)",
        "/opt/demo/m/tab\there",
        "/opt/demo/m/with space.so",
        "/memfd:jit code (deleted)",
        "/SYSV00000000 (deleted)",
    ] {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
}

#[test]
fn status_rollup_and_cgroup_are_told_apart() {
    let status = fixture("smaps/6.18.status.gz");
    assert_eq!(input::sniff(&status), Some(Format::Status));
    let status = ingest::status(&input::status::parse(&status).unwrap().value);
    assert_eq!((status.name.as_deref(), status.pid, status.threads), (Some("cat"), Some(3178), Some(1)));
    assert_eq!(
        (status.vm_rss, status.rss_anon, status.rss_file),
        (Some(Bytes::from_kib(1636)), Some(Bytes::from_kib(112)), Some(Bytes::from_kib(1524)))
    );
    let rollup = fixture("smaps/6.18.smaps_rollup.gz");
    assert_eq!(input::sniff(&rollup), Some(Format::Smaps));
    let map = ingest::smaps(&smaps::parse(&rollup).unwrap().value[0]);
    assert!(!map.has_mappings() && map.vmas.is_empty());
    assert_eq!((map.total.rss, map.total.anonymous, map.total.size), (Bytes::from_kib(1708), Bytes::from_kib(116), Bytes::ZERO));
    // Which cgroup a process is in is no figure of memory.
    assert_eq!(input::sniff(&fixture("smaps/cgroup-v1-hybrid.txt.gz")), None);
}
