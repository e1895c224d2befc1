//! Gates on what the hot stages cost, in instructions as callgrind counts them: no clock, no load, no luck.
//!
//! A gate runs this test binary again under valgrind for one job at two sizes. The difference is the cost of the
//! additional items alone; it repeats within a percent, and its limit leaves a tenth. Only the parser's varies more,
//! because its table of addresses is seeded at random against made-up collisions: a gate takes the least of three
//! runs. The counts are of the profile that `cargo test` builds, so they are larger than those of a release by an order of magnitude, and move together
//! with them. When a change makes a stage cheaper, lower its limit.

#[path = "../benches/inputs/mod.rs"]
mod inputs;

use heaptriage::address::Svma;
use heaptriage::analysis::filter::{Filter, Measure};
use heaptriage::analysis::places::{By, NameMatch, Places, Shown};
use heaptriage::analysis::tree::{self, Paths, Which};
use heaptriage::binary::elf::ElfFile;
use heaptriage::binary::lookup::{DebugFiles, look_up};
use heaptriage::input::heap::{self, HeapOptions};
use heaptriage::input::smaps;
use heaptriage::model::ingest;
use heaptriage::model::stack::StackTable;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

/// The job and its size, for the run under valgrind.
const JOB: &str = "HEAPTRIAGE_COST_JOB";

/// What is counted: nothing outside of this function.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Not a test of its own: what the gates run under valgrind.
#[test]
fn job() {
    let Some(job) = std::env::var_os(JOB) else { return };
    let job = job.into_string().expect("our own variable");
    let (job, size) = job.split_once(' ').expect("a job and its size");
    let size: usize = size.parse().expect("a number");
    match job {
        "parse" => {
            let text = inputs::heap_dump(size, 1);
            let parsed = counted(|| heap::parse(&text, HeapOptions::default())).expect("a sound dump");
            assert_eq!(parsed.value.len(), size);
        }
        "intern" => {
            let raw = heap::parse(&inputs::heap_dump(size, 1), HeapOptions::default()).expect("a sound dump").value;
            assert_eq!(counted(|| ingest::heap(raw, &mut StackTable::new())).samples.len(), size);
        }
        "tree" => {
            let raw = heap::parse(&inputs::heap_dump(size, 1), HeapOptions::default()).expect("a sound dump").value;
            let mut stacks = StackTable::new();
            let profile = ingest::heap(raw, &mut stacks);
            let symbols = inputs::symbols(&stacks);
            let filter = Filter::default();
            let mut table = Places::new(By::Function, NameMatch::Exact);
            let mut shown = Shown::new(&mut table, &stacks, &symbols, &filter);
            let mut paths = Paths::new(&table);
            let nodes = counted(|| {
                paths.add(&table, &mut shown, &profile, Which::Current, &filter, Measure::InuseSpace);
                tree::build(&paths, &table, paths.weight().current / 2000.0).nodes.len()
            });
            assert!(nodes > 1);
        }
        "smaps" => {
            let text = inputs::smaps_series(size, 100);
            assert_eq!(counted(|| smaps::sections(&text).map(|section| ingest::smaps(&section).vmas.len()).sum::<usize>()), 100 * size);
        }
        "symbols" => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/bin/quarryd");
            let elf = ElfFile::open(&path).expect("the fixture is there");
            let text = elf.section_range(".text").expect("it has code");
            let addresses = inputs::code_addresses(text.start.get()..text.end.get(), size as u64);
            let addresses: Vec<Svma> = addresses.into_iter().map(Svma::new).collect();
            let split = BTreeMap::new();
            let files = DebugFiles { main: &elf, alternate: None, package: None, split: &split };
            // One thread: rayon's own would be counted while they wait.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().expect("a pool");
            assert!(!counted(|| pool.install(|| look_up(files, &addresses, true))).names.is_empty());
        }
        other => panic!("no job {other}"),
    }
}

/// Instructions of a job.
fn instructions(job: &str, size: usize) -> u64 {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", "--toggle-collect=cost::counted*"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "job", "--nocapture", "--test-threads=1"])
        .env(JOB, format!("{job} {size}"))
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{job} {size}: {text}{}", String::from_utf8_lossy(&out.stdout));
    let count = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim().parse());
    count.unwrap_or_else(|| panic!("no count in {text}")).expect("a number")
}

/// Whether valgrind is there. Its absence is a failure where `HEAPTRIAGE_REQUIRE_TOOLS` is set.
fn has_valgrind() -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join("valgrind").is_file()));
    if !found {
        assert!(std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "valgrind is not installed");
        eprintln!("did not run: valgrind is not installed");
    }
    found
}

/// Checks the cost of one more item against its limit.
#[track_caller]
fn gate(job: &str, (few, many): (usize, usize), limit: u64) {
    if !cfg!(debug_assertions) {
        println!("did not run: the limits are those of the profile that `cargo test` builds");
        return;
    }
    if !has_valgrind() {
        return;
    }
    let least = |size| (0..3).map(|_| instructions(job, size)).min().unwrap_or_default();
    let (few_cost, many_cost) = (least(few), least(many));
    let each = many_cost.saturating_sub(few_cost) / (many - few) as u64;
    println!("{job}: {few_cost} instructions for {few}, {many_cost} for {many}: {each} each, limit {limit}");
    assert!(each <= limit, "{job}: {each} instructions for one more, limit {limit}");
}

#[test]
fn parsing_a_stack() {
    gate("parse", (500, 2000), 33_200);
}

#[test]
fn interning_a_stack() {
    gate("intern", (500, 2000), 21_000);
}

#[test]
fn putting_a_stack_into_the_tree() {
    gate("tree", (500, 2000), 122_000);
}

#[test]
fn reading_an_smaps_text() {
    gate("smaps", (5, 20), 6_900_000);
}

#[test]
fn naming_an_address() {
    // Enough addresses that every unit is read to its end: one with few of them is left when all are found.
    gate("symbols", (1000, 4000), 60_800);
}

#[test]
fn counts_repeat() {
    if has_valgrind() {
        let (a, b) = (instructions("intern", 500), instructions("intern", 500));
        assert!(a.abs_diff(b) * 100 < a, "{a} and {b} instructions for the same work");
    }
}
