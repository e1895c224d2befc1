//! What is fuzzed: one function per parser and entry point, each from bytes to nothing.
//!
//! A target of `cargo fuzz` calls one of them, and `tests/cli/hostile` calls all of them with mutated fixtures in every
//! `cargo test`. Besides not panicking each asserts what must hold for any bytes.

use heaptriage::address::{AddrRange, Avma, ReturnAddress, Svma};
use heaptriage::analysis::estimate::Interval;
use heaptriage::analysis::finding::{FrameView, Suspect, VerdictKind};
use heaptriage::analysis::suppress::{FramePattern, Rule, Suppressions};
use heaptriage::analysis::{account, estimate, triage};
use heaptriage::binary::elf::ElfFile;
use heaptriage::binary::facts;
use heaptriage::input::heap::{self, HeapOptions};
use heaptriage::input::suppressions::RawFrame;
use heaptriage::input::{self, ParseError, Parsed};
use heaptriage::model::ingest;
use heaptriage::model::mapping::{AddressSpace, Mapping};
use heaptriage::model::stack::StackTable;
use heaptriage::origin::Position;
use heaptriage::report::{markdown, sarif, text, triage_document, triage_json};
use heaptriage::symbolize::{self, BinaryArg, SymbolOptions};
use std::io::Write as _;

/// Reads any bytes.
pub type Entry = fn(&[u8]);

/// Name and function of each entry point; the name is that of the fuzz target.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("heap", heap_dump),
    ("pprof", pprof),
    ("compress", compress),
    ("maps", maps),
    ("smaps", smaps),
    ("stats_json", stats_json),
    ("stats_text", stats_text),
    ("counters", counters),
    ("small_files", small_files),
    ("lives", lives),
    ("metrics", metrics),
    ("suppressions", suppressions),
    ("names", names),
    ("elf", elf),
    ("facts", ownership_facts),
    ("capture", capture),
    ("report", report),
];

/// A position lies inside the input, or right behind it.
fn sound<T>(text: &[u8], result: Result<Parsed<T>, ParseError>) -> Option<T> {
    match result {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                if let Some(offset) = warning.offset {
                    assert!(offset <= text.len(), "a warning at {offset} in {} bytes", text.len());
                    let _ = Position::of(text, offset);
                }
                assert_printable(&warning.message);
            }
            Some(parsed.value)
        }
        Err(error) => {
            assert!(error.offset <= text.len(), "an error at {} in {} bytes", error.offset, text.len());
            let _ = error.position(text);
            assert_printable(&error.message);
            None
        }
    }
}

/// What comes from an input never reaches a terminal raw.
fn assert_printable(message: &str) {
    let raw = message.chars().find(|c| {
        (c.is_control() && *c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    });
    assert!(raw.is_none(), "{raw:?} in the message {message:?}");
}

/// A heap dump: whole and in blocks alike, every index inside its table, every estimate a number.
fn heap_dump(bytes: &[u8]) {
    for threads in [false, true] {
        let options = HeapOptions { threads };
        let whole = heap::parse(bytes, options);
        let mut parser = heap::Parser::new(options);
        let (mut block, mut rest) = (Vec::new(), bytes);
        let mut size = 1 + bytes.len() % 97;
        while !rest.is_empty() {
            let (next, after) = rest.split_at(size.min(rest.len()));
            block.extend_from_slice(next);
            let read = parser.feed(&block);
            block.drain(..read);
            rest = after;
            size = size * 2 + 1;
        }
        let blocks = parser.finish(&block);
        assert_eq!(whole.is_ok(), blocks.is_ok());
        if let (Ok(whole), Ok(blocks)) = (&whole, &blocks) {
            assert_eq!(whole.value, blocks.value);
        }
        let Some(raw) = sound(bytes, whole) else { continue };
        assert!(raw.ends.is_sorted());
        assert_eq!(raw.ends.last().map_or(0, |&end| end as usize), raw.frames.len());
        assert!(raw.frames.iter().all(|&frame| (frame as usize) < raw.addresses.len()));
        assert!(raw.live.len() == raw.len() && (raw.accumulated.is_empty() || raw.accumulated.len() == raw.len()));
        let mut stacks = StackTable::new();
        let profile = ingest::heap(raw, &mut stacks);
        check_profile(&profile, &stacks);
    }
}

fn check_profile(profile: &heaptriage::model::heap::HeapProfile, stacks: &StackTable) {
    let mut total = estimate::Estimated::default();
    for sample in &profile.samples {
        assert!(sample.stack.index() < stacks.len());
        let estimated = estimate::unsample(sample.live, profile.sampling);
        assert!(estimated.bytes.is_finite() && estimated.bytes >= 0.0);
        let interval = estimated.interval();
        assert!(interval.low <= interval.high, "{interval:?}");
        total = total.plus(estimated);
    }
    let interval = total.interval();
    assert!(interval.low.is_finite() && interval.high.is_finite(), "{interval:?}");
    for address in stacks.addresses().iter().take(64) {
        let _ = profile.mappings.find(address.lookup());
    }
}

/// A pprof profile.
fn pprof(bytes: &[u8]) {
    if let Some(raw) = sound(bytes, input::pprof::parse(bytes)) {
        let mut stacks = StackTable::new();
        let mut symbols = heaptriage::model::frame::Symbols::default();
        let profile = ingest::pprof(&raw, &mut stacks, &mut symbols);
        check_profile(&profile, &stacks);
    }
}

/// gzip and zstd: what comes out stays within what is allowed.
fn compress(bytes: &[u8]) {
    // Warnings are placed in what came out, errors in what went in.
    let result = input::compress::decompress(bytes);
    let text = result.as_ref().map_or(bytes, |content| content.value.as_ref()).to_vec();
    if let Some(content) = sound(&text, result) {
        assert!(content.len() <= (65 << 20).max(bytes.len().saturating_mul(401)), "{} from {} bytes", content.len(), bytes.len());
    }
}

/// Lines of maps.
fn maps(bytes: &[u8]) {
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(input::maps::parse_line);
    let mappings: Vec<Mapping> = lines.map(|line| ingest::mapping(&line)).collect();
    let ends: Vec<AddrRange<Avma>> = mappings.iter().map(|mapping| mapping.range).collect();
    let space = AddressSpace::new(mappings);
    for range in ends {
        let _ = space.find(range.start);
        let _ = space.find(range.end);
    }
}

/// smaps, smaps_rollup and series of them.
fn smaps(bytes: &[u8]) {
    let _ = input::smaps::sniff(bytes);
    if let Some(sections) = sound(bytes, input::smaps::parse(bytes)) {
        assert!(!sections.is_empty());
        for section in &sections {
            let _ = ingest::smaps(section);
        }
    }
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let _ = input::series::time(&lines);
}

/// Statistics in JSON, possibly inside a log.
fn stats_json(bytes: &[u8]) {
    let _ = input::stats_json::sniff(bytes);
    for statistics in sound(bytes, input::stats_json::parse(bytes)).unwrap_or_default() {
        let _ = ingest::stats(&statistics);
    }
}

/// Statistics in text, possibly inside a log.
fn stats_text(bytes: &[u8]) {
    let _ = input::stats_text::sniff(bytes);
    for statistics in sound(bytes, input::stats_text::parse(bytes)).unwrap_or_default() {
        let _ = ingest::stats(&statistics);
    }
}

/// Workload counters.
fn counters(bytes: &[u8]) {
    let _ = input::counters::sniff(bytes);
    let _ = sound(bytes, input::counters::parse(bytes));
}

/// The small files of a capture, and telling what an input is.
fn small_files(bytes: &[u8]) {
    let _ = input::sniff(bytes);
    let _ = heap::refusal(bytes);
    let _ = sound(bytes, input::status::parse(bytes));
    let _ = sound(bytes, input::cgroup::parse(bytes));
    let _ = sound(bytes, input::pmap::parse(bytes));
    let _ = sound(bytes, input::malloc_info::parse(bytes));
    let _ = sound(bytes, input::capture_json::parse(bytes));
}

/// Records of single objects: `prof_log`, and the recent allocations of `experimental.prof_recent`.
fn lives(bytes: &[u8]) {
    let _ = (input::prof_log::sniff(bytes), input::prof_recent::sniff(bytes));
    for raw in [sound(bytes, input::prof_log::parse(bytes)), sound(bytes, input::prof_recent::parse(bytes))].into_iter().flatten() {
        assert!(raw.objects.iter().all(|life| (life.stack as usize) < raw.stacks.len()), "an object without its stack");
        let mut stacks = StackTable::new();
        for stack in &raw.stacks {
            stacks.intern(&stack.iter().map(|&address| ReturnAddress::new(address)).collect::<Vec<_>>());
        }
        let lives = ingest::lives("prof_log.json", &raw, &stacks);
        assert_eq!(lives.objects.len(), raw.objects.len());
        assert!(lives.objects.iter().all(|life| life.stack.is_some_and(|stack| stack.index() < stacks.len())));
    }
}

/// What a service prints of itself: Prometheus metrics, and jemalloc's line of leaks at exit.
fn metrics(bytes: &[u8]) {
    let _ = (input::prometheus::sniff(bytes), input::leak_line::sniff(bytes));
    for scrape in sound(bytes, input::prometheus::parse(bytes)).unwrap_or_default() {
        let _ = ingest::metrics(&scrape);
    }
    let _ = sound(bytes, input::leak_line::parse(bytes));
}

/// Suppressions of the three formats, asked about stacks that are empty, ordinary and odd.
fn suppressions(bytes: &[u8]) {
    let Some(read) = sound(bytes, input::suppressions::parse(bytes)) else { return };
    let lines = bytes.split(|&byte| byte == b'\n').count() as u64;
    let frame = |raw: RawFrame| match raw {
        RawFrame::Rest => FramePattern::Rest,
        RawFrame::Function(text) => FramePattern::Function(text),
        RawFrame::Module(text) => FramePattern::Module(text),
        RawFrame::File(text) => FramePattern::File(text),
        RawFrame::Anything(text) => FramePattern::Anything(text),
    };
    let rules: Vec<Rule> = read
        .into_iter()
        .map(|raw| {
            assert!((1..=lines).contains(&raw.line), "line {} of {lines}", raw.line);
            Rule {
                label: format!("suppressions:{}", raw.line),
                frames: raw.frames.into_iter().map(frame).collect(),
                pattern: raw.pattern,
                fingerprint: raw.fingerprint,
                reason: raw.reason,
                expires: raw.expires,
                builtin: false,
            }
        })
        .collect();
    let view = |function: &str| FrameView { function: function.to_owned(), ..FrameView::default() };
    let names = ["alloc::raw_vec::RawVec<T>::grow", "app::Cache<K, V>::insert", "app::serve::{closure#0}", "main", "", "a*?b"];
    let stacks = [Vec::new(), names.map(view).to_vec(), vec![view("app::recurse"); 60]];
    let mut suspects: Vec<Suspect> = stacks.into_iter().map(suspect).collect();
    let count = suspects.len();
    let usage = Suppressions { rules, today: None }.apply(&mut suspects);
    assert!(usage.suspects <= count && usage.expired.is_empty());
    for remark in usage.remarks() {
        assert_printable(&remark);
    }
}

/// Names as linkers write them: demangled, bounded in length, without what would harm a terminal.
fn names(bytes: &[u8]) {
    let Ok(linkage) = std::str::from_utf8(bytes) else { return };
    let name = heaptriage::names::demangle(linkage);
    assert!(name.len() <= 64 << 10, "{} bytes", name.len());
    let normal = heaptriage::model::role::normalize(&name);
    let _ = heaptriage::model::role::role_of(&normal, None, None);
    let _ = heaptriage::model::role::crate_of(&name);
}

/// A file of its own for `bytes`; binaries are mapped, so they must be one.
fn file_of(bytes: &[u8]) -> Option<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new().ok()?;
    file.write_all(bytes).ok()?;
    file.flush().ok()?;
    Some(file)
}

/// A binary: sections, symbols, and the names and lines of addresses in it.
fn elf(bytes: &[u8]) {
    let Some(file) = file_of(bytes) else { return };
    let Ok(elf) = ElfFile::open(file.path()) else { return };
    let _ = (elf.machine(), elf.build_id(), elf.debug_link(), elf.debug_alt_link(), elf.jemalloc_version());
    for name in [".text", ".eh_frame", ".debug_info", ".debug_str", ".gcc_except_table"] {
        let _ = elf.section(name);
        let _ = elf.section_range(name);
    }
    let mut addresses: Vec<u64> = elf.symbols().take(8).map(|symbol| symbol.start.get()).collect();
    let segments: Vec<(u64, u64, u64)> =
        elf.segments().iter().take(16).map(|segment| (segment.svma.get(), segment.offset.get(), segment.file_size)).collect();
    for &(svma, _, size) in &segments {
        addresses.extend([svma, svma.wrapping_add(size / 2), svma.wrapping_add(size)]);
    }
    for &address in &addresses {
        let _ = elf.symbol_at(Svma::new(address));
        let _ = elf.bytes_at(Svma::new(address), 64);
    }
    // As if it had been loaded where it says.
    let path = file.path().to_string_lossy().into_owned();
    let mappings = segments
        .iter()
        .filter_map(|&(svma, offset, size)| {
            let line = format!("{:x}-{:x} r-xp {offset:x} 00:00 1 {path}", svma, svma.checked_add(size.max(1))?);
            Some(ingest::mapping(&input::maps::parse_line(line.as_bytes())?))
        })
        .collect();
    let mut stacks = StackTable::new();
    let stack: Vec<ReturnAddress> = addresses.iter().map(|&address| ReturnAddress::new(address.wrapping_add(1))).collect();
    stacks.intern(&stack);
    let options = SymbolOptions {
        binaries: vec![BinaryArg { module: None, path: file.path().to_owned() }],
        debug_dirs: Vec::new(),
        ..SymbolOptions::default()
    };
    let (symbols, notices) = symbolize::symbolize(&stacks, &AddressSpace::new(mappings), &options);
    assert_eq!(symbols.len(), stacks.addresses().len());
    for notice in notices {
        assert_printable(&notice.message);
    }
}

/// What the ownership analysis reads of a binary.
fn ownership_facts(bytes: &[u8]) {
    let Some(file) = file_of(bytes) else { return };
    let _ =
        facts::ownership_facts(file.path(), &facts::Options { addresses: vec![0x1000, 0x1010, 0x40_1000], ..facts::Options::default() });
}

/// Growth by a stack, of which nothing else is known.
fn suspect(stack: Vec<FrameView>) -> Suspect {
    Suspect {
        fingerprint: "a41f09c25b7e11d0".to_owned(),
        pattern: Some("unbounded_map"),
        rises: (9, 9),
        owner: stack.get(1).cloned().unwrap_or_default(),
        ..Suspect::new(VerdictKind::Leak, Interval { estimate: 1e6, low: 9e5, high: 1.1e6 }, stack)
    }
}

/// A capture directory in one text: `=== NAME` opens a file.
fn capture(bytes: &[u8]) {
    open(bytes, |_| {});
}

/// The whole triage of a made-up capture directory, as text, Markdown, JSON and SARIF.
fn report(bytes: &[u8]) {
    open(bytes, |opened| {
        let timeline = &opened.timeline;
        let symbols = timeline.symbols.clone().unwrap_or_else(|| {
            let mappings = timeline.snapshots.iter().find_map(|snapshot| Some(snapshot.heap.as_ref()?.mappings.clone()));
            // No binary of this machine: what is found must follow from the bytes.
            let options = SymbolOptions { sysroot: "/nonexistent".into(), ..SymbolOptions::default() };
            symbolize::symbolize(&timeline.stacks, &mappings.unwrap_or_default(), &options).0
        });
        let ledger = account::ledger(timeline);
        for (index, &rss) in ledger.rss.iter().enumerate() {
            let sum: i128 = ledger.rows.iter().map(|row| i128::from(row.bytes[index])).sum();
            assert_eq!(sum, i128::from(rss), "the rows of snapshot {index} add up to its RSS");
        }
        let triage = triage::triage(timeline, &symbols, ledger, &triage::Options::default());
        for explain in [false, true] {
            let options = triage_document::Options { top: 3, all_frames: explain, explain };
            let blocks = triage_document::compose(&triage, &symbols, &opened.notices, options);
            assert_printable(&text::render(&blocks));
            assert_printable(&markdown::render(&blocks));
        }
        let json = triage_json::value(&triage, &symbols, &opened.notices).to_string();
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        let _ = sarif::log(&sarif::findings(&triage.suspects, None), &sarif::rules(), &sarif::Places::new()).to_string();
    });
}

fn open(bytes: &[u8], then: impl FnOnce(&heaptriage::capture::Opened)) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let mut open: Option<std::fs::File> = None;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"=== ") {
            let name = String::from_utf8_lossy(name.trim_ascii_end()).replace(['/', '\0'], "_");
            let plain = !name.is_empty() && !name.starts_with('.') && name.len() < 100;
            open = plain.then(|| std::fs::File::create(directory.path().join(name)).ok()).flatten();
        } else if let Some(file) = &mut open {
            let _ = file.write_all(line);
        }
    }
    drop(open);
    let options = heaptriage::capture::OpenOptions { threads: true, ..Default::default() };
    match heaptriage::capture::open(&[directory.path().to_owned()], &options) {
        Ok(opened) => {
            assert!(!opened.timeline.snapshots.is_empty());
            for notice in &opened.notices {
                assert_printable(&notice.to_string());
            }
            then(&opened);
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// Runs the entry point of that name.
#[allow(dead_code, reason = "fuzz targets run one by name, the test runs all")]
pub fn run(name: &str, bytes: &[u8]) {
    let entry = ENTRIES.iter().find(|(entry, _)| *entry == name);
    let (_, function) = entry.expect("every target is in the table");
    function(bytes);
}
