//! Every heap dump among the fixtures reads to totals that were computed independently (see the READMEs there).

use heaptriage::analysis::estimate::{Estimated, unsample};
use heaptriage::input::compress::decompress;
use heaptriage::input::heap::{HeapOptions, parse, refusal};
use heaptriage::model::heap::{Family, HeapProfile, Sampled, Unbias};
use heaptriage::model::ingest;
use heaptriage::model::stack::StackTable;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn read(name: &str) -> (HeapProfile, Vec<String>) {
    let bytes = std::fs::read(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = decompress(&bytes).unwrap();
    let parsed = parse(&text.value, HeapOptions { threads: true }).unwrap_or_else(|error| panic!("{name}: {error}"));
    let warnings = parsed.warnings.into_iter().map(|w| w.message).collect();
    (ingest::heap(parsed.value, &mut StackTable::new()), warnings)
}

/// Records, printed objects and bytes, estimated objects and bytes to a tenth.
#[track_caller]
fn totals(name: &str, records: usize, printed: (u64, u64), estimated: (f64, f64), family: Family, unbias: Unbias) {
    let (profile, warnings) = read(name);
    let sum = profile.samples.iter().fold(Sampled::default(), |sum, s| sum.plus(s.live));
    assert_eq!((profile.samples.len(), sum.objects, sum.bytes), (records, printed.0, printed.1), "{name}");
    let total: Estimated = profile.samples.iter().map(|s| unsample(s.live, profile.sampling)).sum();
    assert!((total.objects - estimated.0).abs() < 0.06 && (total.bytes - estimated.1).abs() < 0.06, "{name}: {total:?}");
    assert_eq!((profile.family, profile.unbias), (family, unbias), "{name}");
    assert_eq!(profile.truncated, name.contains("truncated"), "{name}: {warnings:?}");
    if !profile.thread_samples.is_empty() && profile.unbias == Unbias::Off {
        let threads = profile.thread_samples.iter().fold(Sampled::default(), |sum, s| sum.plus(s.live));
        assert_eq!(threads, sum, "{name}: threads add up where the counts are plain sums");
    }
}

#[test]
fn jemalloc_3_and_4() {
    use {Family::*, Unbias::*};
    totals("heap/jemalloc-3.6.0_accum-off.heap", 4, (29, 1_213_616), (8549.8, 1_622_616.3), JemallocLegacy, Off);
    totals("heap/jemalloc-3.6.0_accum-on.heap", 6, (26, 1_213_472), (7524.3, 1_573_392.3), JemallocLegacy, Off);
    totals("heap/jemalloc-3.6.0_lg0_type-heapprofile.heap", 5, (8007, 1_597_376), (8007.0, 1_597_376.0), JemallocLegacy, Unknown);
    totals("heap/jemalloc-4.5.0_accum-off.heap", 4, (23, 1_311_632), (6498.8, 1_622_472.2), JemallocThreaded, Off);
}

#[test]
fn jemalloc_5() {
    use {Family::*, Unbias::*};
    totals("heap/jemalloc-5.2.1_accum-on.heap", 7, (26, 1_312_048), (7234.2, 1_671_832.8), JemallocThreaded, Off);
    totals("heap/jemalloc-5.2.1_threadname-too-long_newline-lost.heap", 2, (144, 147_456), (651.0, 666_620.8), JemallocThreaded, Off);
    totals("heap/jemalloc-5.3.0_lg0.heap", 6, (8008, 1_777_600), (8008.0, 1_777_600.0), JemallocThreaded, Unknown);
    totals("heap/jemalloc-5.3.0_sys-thread-names.heap", 4, (146, 230_278), (663.0, 753_114.1), JemallocThreaded, On);
    totals("heap/jemalloc-5.3.0_threadnames.heap", 3, (127, 211_453), (568.7, 665_488.9), JemallocThreaded, On);
    totals("heap/jemalloc-5.3.0_unbias-off.heap", 5, (25, 1_393_600), (6841.7, 1_721_356.0), JemallocThreaded, Off);
    totals("heap/jemalloc-5.3.0_unbias-on_accum-on.heap", 7, (26, 1_393_667), (7183.5, 1_737_782.4), JemallocThreaded, On);
    totals("heap/jemalloc-dev-295e4894_unbias-on.heap", 4, (35, 1_312_208), (10600.8, 1_819_368.4), JemallocThreaded, On);
    totals("heap/jemalloc-dev_threadnames.heap", 3, (127, 129_854), (580.9, 587_827.5), JemallocThreaded, On);
    totals("heap/rust-1.95_debug_jemalloc-dev_lg8.heap", 32, (524, 51_473_610), (1743.5, 51_528_837.8), JemallocThreaded, On);
    totals("heap/rust-1.95_debug_tikv-jemallocator-0.7_5.3.1_lg8.heap", 33, (529, 1_144_460), (1692.7, 1_200_278.3), JemallocThreaded, On);
    totals("heap/rust-1.95_release_jemalloc-dev_lg8.heap", 33, (549, 51_478_790), (1777.2, 51_538_349.3), JemallocThreaded, On);
}

#[test]
fn compressed_copies_and_cuts_of_one_dump() {
    use {Family::*, Unbias::*};
    for suffix in [".heap", ".heap.gz", ".heap.zst", "_two-members.heap.gz"] {
        let name = format!("heap/jemalloc-5.3.0_unbias-on{suffix}");
        totals(&name, 6, (27, 1_393_987), (7235.2, 1_754_327.0), JemallocThreaded, On);
    }
    totals("heap/jemalloc-5.3.0_no-maps-section.heap", 6, (27, 1_393_987), (7235.2, 1_754_327.0), JemallocThreaded, On);
    totals("heap/jemalloc-5.3.0_truncated-in-maps.heap", 6, (27, 1_393_987), (7235.2, 1_754_327.0), JemallocThreaded, On);
    totals("heap/jemalloc-5.3.0_truncated-in-stacks.heap", 3, (24, 984_048), (7181.5, 1_327_608.2), JemallocThreaded, Unknown);
    let (_, warnings) = read("heap/jemalloc-5.3.0_truncated-in-stacks.heap");
    assert_eq!(
        warnings,
        ["truncated: the dump ends in the middle; the 3 whole stacks before it are used and hold about 76 % of the bytes in its header"]
    );
}

#[test]
fn other_writers() {
    use {Family::*, Unbias::*};
    totals("heap/gperftools-2.10_growth.heap", 8, (8, 8_388_608), (8.0, 8_388_608.0), Growth, Unknown);
    totals("heap/gperftools-2.10_heap_v2_empty.heap", 0, (0, 0), (0.0, 0.0), Gperftools, Unknown);
    totals("heap/gperftools-2.10_heapprofile.heap", 17, (20_032, 7_011_496), (20_032.0, 7_011_496.0), Gperftools, Unknown);
    for name in ["peers/google-pprof/cppbench.heap", "peers/google-pprof/cppbench.heap.gz"] {
        totals(name, 31, (144, 8_498_176), (41_075.0, 80_935_305.8), Gperftools, Off);
    }
    for name in ["peers/google-pprof/cppbench.growth", "peers/google-pprof/cppbench.growth.zst"] {
        totals(name, 85, (85, 178_257_920), (85.0, 178_257_920.0), Growth, Unknown);
    }
    totals("peers/google-pprof/gobench.heap", 15, (13, 1_595_680), (11_453.1, 7_721_320.6), Gperftools, Off);
    let (go, _) = read("peers/google-pprof/gobench.heap");
    let accumulated = go.samples.iter().fold(Sampled::default(), |sum, s| sum.plus(s.accumulated));
    assert_eq!((accumulated.objects, accumulated.bytes), (659, 9_209_144));
    let (cpp, _) = read("peers/google-pprof/cppbench.heap");
    assert_eq!(cpp.mappings.mappings()[0].display_name(), "/home/cppbench_server_main");
    assert!(!cpp.accumulated && go.accumulated);
}

#[test]
fn thread_names_survive() {
    let names = |name: &str| -> Vec<Option<String>> { read(name).0.threads.into_iter().map(|t| t.name).collect() };
    let lost = names("heap/jemalloc-5.2.1_threadname-too-long_newline-lost.heap");
    assert_eq!(lost.len(), 7);
    assert_eq!(lost[1].as_deref(), Some("io: 1 [2]"));
    assert_eq!(lost[3].as_deref(), Some("tab\tname "));
    assert_eq!(lost[5].as_deref(), Some("12: 34 [5: 6]"));
    assert_eq!(names("heap/jemalloc-5.3.0_sys-thread-names.heap")[0].as_deref(), Some("feat"));
}

#[test]
fn what_is_no_heap_profile_is_refused_by_name() {
    for (name, expected) in [
        ("cppbench.contention", "a contention profile"),
        ("java.contention", "a contention profile"),
        ("cppbench.thread", "a thread profile (stacks of running threads)"),
        ("java.heap", "a Java heap profile"),
    ] {
        let bytes = std::fs::read(fixture("peers/google-pprof").join(name)).unwrap();
        assert_eq!(refusal(&bytes).map(|(what, _)| what), Some(expected), "{name}");
        assert!(parse(&bytes, HeapOptions::default()).is_err());
    }
}
