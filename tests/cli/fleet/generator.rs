//! A fleet of 80 instances with 12 snapshots each, as captures on disk, and what is planted in it.
//!
//! | instances | build | what |
//! |---|---|---|
//! | `idx-000` to `idx-039` | old | `indexer::postings::push` holds 5 MiB and stays |
//! | `idx-000` to `idx-003`, `idx-040` to `idx-043` | both | a sawtooth of 8 MiB in `indexer::batch::run` |
//! | `idx-035` to `idx-039` | old | retention: dirty pages grow, live bytes do not; `idx-039` four times as fast |
//! | `idx-040` to `idx-079` | new | `indexer::planner::plan` is new: 3 MiB |
//! | `idx-044` to `idx-049` | new | sessions warm up and stay |
//! | `idx-050` to `idx-079` | new | the leak: `indexer::postings::push` gains 2 MiB a snapshot, in `idx-050` 6 MiB |
//! | `idx-070` | new | leaks and restarts after three snapshots: a capture of its own each |
//!
//! Every instance has its own addresses; the old build has hash suffixes and library frames where the new one has
//! inlined them. The snapshots of an hour lie in two days. Profiles are pprof, so that names come without a binary.

use heaptriage::pprof_proto as proto;
use prost::Message as _;
use std::path::Path;

pub const INSTANCES: usize = 80;
pub const SNAPSHOTS: usize = 12;
pub const OLD: &str = "0a1d0a1d0a1d0a1d0a1d0a1d0a1d0a1d0a1d0a1d";
pub const NEW: &str = "beefbeefbeefbeefbeefbeefbeefbeefbeefbeef";
pub const MIB: i64 = 1 << 20;
/// 2026-11-20T23:30:00Z.
pub const START_MS: i64 = 1_795_217_400_000;
pub const STEP_MS: i64 = 300_000;
/// Requests that an instance answers between two snapshots.
pub const REQUESTS: i64 = 1000;
const RESTARTED: usize = 70;
const RESTART_AT: usize = 3;
const LIMIT: i64 = 1 << 30;

/// Totals of what was planted, for the sums of queries.
#[derive(Debug, Default)]
pub struct Planted {
    /// RSS of the last snapshots, by build.
    pub last_rss: [i64; 2],
    /// Live bytes of the last snapshots.
    pub last_heap: i64,
}

pub fn name(instance: usize) -> String {
    format!("idx-{instance:03}")
}

pub fn leaks(instance: usize) -> bool {
    instance >= 50
}

fn is_new(instance: usize) -> bool {
    instance >= 40
}

/// Writes `first/NAME.capture` for each instance, and `second/idx-070.capture` for the one that restarted.
pub fn write(folder: &Path) -> Planted {
    let mut planted = Planted::default();
    for instance in 0..INSTANCES {
        let parts: &[(&str, std::ops::Range<usize>)] = match instance {
            RESTARTED => &[("first", 0..RESTART_AT), ("second", RESTART_AT..SNAPSHOTS)],
            _ => &[("first", 0..SNAPSHOTS)],
        };
        for (nth, (part, snapshots)) in parts.iter().enumerate() {
            let capture = folder.join(part).join(format!("{}.capture", name(instance)));
            std::fs::create_dir_all(&capture).unwrap();
            let build = if is_new(instance) { NEW } else { OLD };
            // The new build was rolled out half a minute after the old one had been started.
            let started = START_MS + snapshots.start as i64 * STEP_MS - if is_new(instance) { 60_000 } else { 90_000 };
            let pid = 1000 + 100 * nth + instance;
            let about = format!(
                r#"{{"pid":{pid},"exe":"/srv/bin/indexer","start_unix_ms":{started},"page_size":4096,"modules":[{{"path":"/lib/libc.so.6","build_id":"c0ffee00"}},{{"path":"/srv/bin/indexer","build_id":"{build}"}}]}}"#
            );
            std::fs::write(capture.join("capture.json"), about).unwrap();
            // A thousand requests between two snapshots: work since the start of the process.
            let rows = snapshots.clone().enumerate().map(|(age, at)| format!("{},{}\n", stem(instance, at), REQUESTS * age as i64));
            std::fs::write(capture.join("counters.csv"), format!("unix_ms,requests\n{}", rows.collect::<String>())).unwrap();
            for (age, snapshot) in snapshots.clone().enumerate() {
                let stacks = levels(instance, snapshot, age);
                let heap: i64 = stacks.iter().map(|(_, bytes)| bytes).sum();
                let dirty = 4 * MIB + retained(instance, snapshot);
                let rss = process(&capture, stem(instance, snapshot), base(instance, nth), heap, dirty);
                std::fs::write(capture.join(format!("{}.pb", stem(instance, snapshot))), pprof(instance, nth, &stacks)).unwrap();
                if snapshot + 1 == SNAPSHOTS {
                    planted.last_rss[usize::from(is_new(instance))] += rss;
                    planted.last_heap += heap;
                }
            }
        }
    }
    planted
}

/// Unix milliseconds of a snapshot: instances are seconds apart.
pub fn stem(instance: usize, snapshot: usize) -> i64 {
    START_MS + snapshot as i64 * STEP_MS + instance as i64 * 700
}

/// Noise of at most 64 KiB that is the same in every run.
fn noise(instance: usize, snapshot: usize, stack: usize) -> i64 {
    let seed = (instance * 7919 + snapshot * 104_729 + stack * 1_299_709) as u64;
    let mixed = (seed ^ (seed >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 48) as i64 - (32 << 10)
}

/// Bytes that freed pages add to RSS.
fn retained(instance: usize, snapshot: usize) -> i64 {
    let each = match instance {
        39 => 40 * MIB,
        35..=38 => 10 * MIB,
        _ => 0,
    };
    each * snapshot as i64
}

/// Stacks of the program, root first, with their bytes at a snapshot of a process of this many snapshots.
fn levels(instance: usize, snapshot: usize, age: usize) -> Vec<(&'static [&'static str], i64)> {
    const CACHE: &[&str] = &["indexer::main", "indexer::serve", "indexer::cache::fill"];
    const PUSH: &[&str] = &["indexer::main", "indexer::serve", "indexer::batch::index", "indexer::postings::push"];
    const BATCH: &[&str] = &["indexer::main", "indexer::serve", "indexer::batch::run"];
    const SESSION: &[&str] = &["indexer::main", "indexer::serve", "indexer::session::touch"];
    const PLAN: &[&str] = &["indexer::main", "indexer::serve", "indexer::planner::plan"];
    const SMALL: [&[&str]; 8] = [
        &["indexer::main", "indexer::config::a"],
        &["indexer::main", "indexer::config::b"],
        &["indexer::main", "indexer::config::c"],
        &["indexer::main", "indexer::config::d"],
        &["indexer::main", "indexer::config::e"],
        &["indexer::main", "indexer::config::f"],
        &["indexer::main", "indexer::config::g"],
        &["indexer::main", "indexer::config::h"],
    ];
    let mut stacks = vec![(CACHE, 64 * MIB + noise(instance, snapshot, 0))];
    let pace = match instance {
        50 => 6 * MIB,
        _ if leaks(instance) => 2 * MIB,
        _ => 0,
    };
    stacks.push((PUSH, 5 * MIB + pace * age as i64 + noise(instance, snapshot, 1)));
    if instance % 40 < 4 {
        stacks.push((BATCH, 8 * MIB * ((snapshot as i64 + 1) % 4) / 3 + 64 * 1024));
    }
    if (44..50).contains(&instance) {
        let warm = 10.0 * (1.0 - (-(age as f64) / 2.0).exp());
        stacks.push((SESSION, (warm * MIB as f64) as i64 + 4096));
    }
    if is_new(instance) {
        stacks.push((PLAN, 3 * MIB));
    }
    stacks.extend(SMALL.iter().zip(1..).map(|(stack, n)| (*stack, 1024 * n)));
    stacks
}

/// Where the program is in this process.
fn base(instance: usize, incarnation: usize) -> u64 {
    0x5500_0000_0000 + ((instance * 2 + incarnation) as u64) * 0x1_0000_0000
}

/// smaps, statistics and cgroup of an instant; its RSS.
fn process(capture: &Path, stem: i64, base: u64, heap: i64, dirty: i64) -> i64 {
    let page = |bytes: i64| (bytes + 4095) / 4096 * 4096;
    let (allocated, active, metadata) = (heap, page(heap + heap / 50), 2 * MIB);
    let jemalloc = active + metadata + page(dirty);
    let text = 1_200 * 1024;
    let rss = jemalloc + text + 132 * 1024;
    let vma = |range: &str, perms: &str, name: &str, rss: i64, flags: &str| {
        let (file, anonymous) = if name.starts_with('/') { (rss, 0) } else { (0, rss) };
        format!(
            "{range} {perms} 00000000 00:00 0 {name}\nSize: {} kB\nRss: {} kB\nPss: {} kB\nShared_Clean: 0 kB\nShared_Dirty: 0 kB\nPrivate_Clean: {} kB\nPrivate_Dirty: {} kB\nReferenced: {} kB\nAnonymous: {} kB\nLazyFree: 0 kB\nAnonHugePages: 0 kB\nSwap: 0 kB\nVmFlags: {flags}\n",
            2048 << 10,
            rss >> 10,
            rss >> 10,
            file >> 10,
            anonymous >> 10,
            rss >> 10,
            anonymous >> 10
        )
    };
    let program = format!("{base:x}-{:x}", base + 0x1000_0000);
    let smaps = vma(&program, "r-xp", "/srv/bin/indexer", text, "rd ex mr mw me")
        + &vma("7f0000000000-7f0080000000", "rw-p", "", jemalloc, "rd wr mr mw me nr sd")
        + &vma("7ffc00000000-7ffc80000000", "rw-p", "[stack]", 132 * 1024, "rd wr mr mw me gd ac");
    std::fs::write(capture.join(format!("{stem}.smaps")), smaps).unwrap();
    let stats = format!(
        r#"{{"jemalloc":{{"version":"5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c","config":{{"prof":true}},"opt":{{"prof":true,"background_thread":false,"dirty_decay_ms":10000}},"arenas":{{"narenas":4,"page":4096}},"stats":{{"allocated":{allocated},"active":{active},"metadata":{metadata},"resident":{},"mapped":{},"retained":0}},"stats.arenas":{{"merged":{{"pactive":{},"pdirty":{},"pmuzzy":0}}}}}}}}"#,
        jemalloc,
        jemalloc,
        active / 4096,
        page(dirty) / 4096
    );
    std::fs::write(capture.join(format!("{stem}.stats.json")), stats).unwrap();
    std::fs::write(capture.join(format!("{stem}.cgroup")), format!("memory.current {rss}\nmemory.max {LIMIT}\n")).unwrap();
    rss
}

/// A profile with names, at the addresses of this process.
fn pprof(instance: usize, incarnation: usize, stacks: &[(&[&str], i64)]) -> Vec<u8> {
    let base = base(instance, incarnation);
    let old = !is_new(instance);
    let mut texts = vec![String::new()];
    let mut text = |word: &str| {
        let at = texts.iter().position(|known| known == word).unwrap_or_else(|| {
            texts.push(word.to_owned());
            texts.len() - 1
        });
        at as i64
    };
    let mut profile = proto::Profile {
        sample_type: vec![
            proto::ValueType { r#type: text("inuse_objects"), unit: text("count") },
            proto::ValueType { r#type: text("inuse_space"), unit: text("bytes") },
        ],
        mapping: vec![proto::Mapping {
            id: 1,
            memory_start: base,
            memory_limit: base + 0x1000_0000,
            filename: text("/srv/bin/indexer"),
            build_id: text(if old { OLD } else { NEW }),
            has_functions: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut location = |profile: &mut proto::Profile, function: &str, file: &str, line: i64| {
        let id = profile.location.len() as u64 + 1;
        profile.function.push(proto::Function { id, name: text(function), filename: text(file), ..Default::default() });
        profile.location.push(proto::Location {
            id,
            mapping_id: 1,
            address: base + 0x1000 + 16 * id,
            line: vec![proto::Line { function_id: id, line, ..Default::default() }],
            ..Default::default()
        });
        id
    };
    for (nth, (stack, bytes)) in stacks.iter().enumerate() {
        let mut ids = vec![location(&mut profile, "_rjem_malloc", "", 0)];
        if old {
            // What the new build has inlined.
            let grow = "alloc::raw_vec::RawVecInner<A>::finish_grow";
            ids.push(location(&mut profile, grow, "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/alloc/src/raw_vec/mod.rs", 548));
        }
        for (depth, function) in stack.iter().rev().enumerate() {
            let spelled = if old { format!("{function}::h{:016x}", 0x1234_5678_9abc + nth * 31 + depth) } else { (*function).to_owned() };
            ids.push(location(&mut profile, &spelled, "/srv/src/indexer.rs", if old { 10 } else { 20 } + depth as i64));
        }
        profile.sample.push(proto::Sample { location_id: ids, value: vec![bytes / 1024 + 1, *bytes], label: Vec::new() });
    }
    profile.string_table = texts;
    profile.encode_to_vec()
}
