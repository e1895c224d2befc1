//! The stages of a run, one by one: `cargo bench`. Against other programs see `benches/peers`.

#[path = "inputs/mod.rs"]
mod inputs;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use heaptriage::address::Svma;
use heaptriage::analysis::filter::{Filter, Measure};
use heaptriage::analysis::places::{By, NameMatch, Places, Shown};
use heaptriage::analysis::tree::{self, Paths, Which};
use heaptriage::binary::elf::ElfFile;
use heaptriage::binary::lookup::{DebugFiles, look_up};
use heaptriage::input::heap::{self, HeapOptions};
use heaptriage::input::smaps;
use heaptriage::model::heap::HeapProfile;
use heaptriage::model::ingest;
use heaptriage::model::name::{crate_of, normalize};
use heaptriage::model::stack::StackTable;
use std::collections::BTreeMap;
use std::path::Path;

fn main() {
    divan::main();
}

const STACKS: [usize; 3] = [1_000, 10_000, 100_000];

/// Text to columns.
#[divan::bench(args = STACKS)]
fn parse(bencher: Bencher<'_, '_>, stacks: usize) {
    let text = inputs::heap_dump(stacks, 1);
    let parse = || heap::parse(black_box(&text), HeapOptions::default()).map(|parsed| parsed.value.len());
    bencher.counter(BytesCount::new(text.len())).bench(parse);
}

/// Columns to interned stacks.
#[divan::bench(args = STACKS)]
fn intern(bencher: Bencher<'_, '_>, stacks: usize) {
    let text = inputs::heap_dump(stacks, 1);
    let raw = || heap::parse(&text, HeapOptions::default()).expect("a sound dump").value;
    bencher.with_inputs(raw).bench_values(|raw| ingest::heap(raw, &mut StackTable::new()).samples.len());
}

fn profile(stacks: usize) -> (StackTable, HeapProfile) {
    let text = inputs::heap_dump(stacks, 1);
    let mut table = StackTable::new();
    let raw = heap::parse(&text, HeapOptions::default()).expect("a sound dump").value;
    let profile = ingest::heap(raw, &mut table);
    (table, profile)
}

/// Named stacks to the pruned tree of a flamegraph.
#[divan::bench(args = STACKS)]
fn call_tree(bencher: Bencher<'_, '_>, stacks: usize) {
    let (stacks, profile) = profile(stacks);
    let symbols = inputs::symbols(&stacks);
    let filter = Filter::default();
    bencher.bench(|| {
        let mut table = Places::new(By::Function, NameMatch::Exact);
        let mut shown = Shown::new(&mut table, &stacks, &symbols, &filter);
        let mut paths = Paths::new(&table);
        paths.add(&table, &mut shown, &profile, Which::Current, &filter, Measure::InuseSpace);
        tree::build(&paths, &table, paths.weight().current / 2000.0).nodes.len()
    });
}

/// Addresses of a small program to frames, files and lines.
#[divan::bench(args = [1, 100, 10_000])]
fn symbols(bencher: Bencher<'_, '_>, count: u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/bin/quarryd");
    let elf = ElfFile::open(&path).expect("the fixture is there");
    let text = elf.section_range(".text").expect("it has code");
    let addresses: Vec<Svma> = inputs::code_addresses(text.start.get()..text.end.get(), count).into_iter().map(Svma::new).collect();
    bencher.bench(|| {
        let split = BTreeMap::new();
        let files = DebugFiles { main: &elf, alternate: None, package: None, split: &split };
        look_up(files, black_box(&addresses), true).names.len()
    });
}

/// A series of smaps texts, every field.
#[divan::bench(args = [10, 100])]
fn smaps_series(bencher: Bencher<'_, '_>, texts: usize) {
    let text = inputs::smaps_series(texts, 126);
    let read = || smaps::sections(black_box(&text)).map(|section| ingest::smaps(&section).total.rss).max();
    bencher.counter(BytesCount::new(text.len())).bench(read);
}

/// Names taken apart.
#[divan::bench]
fn names() -> usize {
    const NAMES: [&str; 3] = [
        "<alloc::vec::Vec<T,A> as alloc::vec::spec_extend::SpecExtend<&T,core::slice::iter::Iter<T>>>::spec_extend",
        "hashbrown::rustc_entry::<impl hashbrown::map::HashMap<K,V,S,A>>::rustc_entry",
        "std::vector<int, std::allocator<int> >::push_back(int const&)",
    ];
    NAMES.iter().map(|name| normalize(black_box(name)).len() + crate_of(black_box(name)).map_or(0, str::len)).sum()
}
