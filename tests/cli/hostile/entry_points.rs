//! The fuzzed entry points with bounded effort: any bytes, and mutations of every fixture.

use super::entries::{self, ENTRIES};
use super::mutate::{MUTATIONS, Random, mutate, plain};
use super::thorough;
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Fixtures up to this size are mutated here; larger ones only by the whole binary.
const MOST_BYTES: u64 = 100_000;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("fixtures are readable") {
        let path = entry.expect("fixtures are readable").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Every committed fixture, by path.
pub fn fixtures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), &mut found);
    found.retain(|path| path.extension().is_none_or(|extension| extension != "md"));
    found.sort();
    assert!(found.len() > 30, "the walk over fixtures found too little");
    found
}

/// The folder of the fixtures that a file belongs to, with what follows the stem of its name: `captures heap.gz`.
pub fn kind(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).expect("a fixture");
    let folder = below.iter().next().expect("a folder").to_string_lossy();
    let name = path.file_name().expect("a file").to_string_lossy();
    format!("{folder} {}", name.split_once('.').map_or(&*name, |(_, kind)| kind))
}

/// Whether an entry point is quick enough to see every fixture with every mutation.
fn is_quick(name: &str) -> bool {
    !matches!(name, "elf" | "facts" | "capture" | "report")
}

#[test]
fn mutated_fixtures_panic_no_parser() {
    let mut seen: HashSet<String> = HashSet::new();
    for (turn, path) in fixtures().into_iter().enumerate() {
        if path.metadata().expect("fixtures are readable").len() > MOST_BYTES {
            continue;
        }
        // Of each kind the first with every mutation, the others with one each, in turn.
        let all = seen.insert(kind(&path)) || thorough();
        let mutations = if all { &MUTATIONS[..] } else { std::slice::from_ref(&MUTATIONS[turn % MUTATIONS.len()]) };
        let bytes = std::fs::read(&path).expect("fixtures are readable");
        let mut content = plain(&bytes);
        content.truncate(usize::try_from(MOST_BYTES).expect("small"));
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let mut random = Random::of(&name);
        for &mutation in mutations {
            for (entry, function) in ENTRIES.iter().filter(|(entry, _)| is_quick(entry)) {
                let mutated = mutate(if *entry == "compress" { &bytes } else { &content }, mutation, &mut random);
                let outcome = std::panic::catch_unwind(|| function(&mutated));
                assert!(outcome.is_ok(), "{entry} panicked on {name} after {mutation:?}");
            }
        }
    }
}

#[test]
fn mutated_binaries_panic_no_reader() {
    for (name, bytes) in binaries() {
        let mut random = Random::of(&name);
        for round in 0..60 {
            let mutation = *random.pick(&MUTATIONS[..2]);
            let mutated = mutate(&bytes, mutation, &mut random);
            for entry in ["elf", "facts"] {
                let outcome = std::panic::catch_unwind(|| entries::run(entry, &mutated));
                assert!(outcome.is_ok(), "{entry} panicked on {name} after {mutation:?}, round {round}");
            }
        }
    }
}

/// A small binary with debug information, linked here: with one compiler, so that only its bytes vary.
fn binaries() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let source = folder.path().join("a.c");
    std::fs::write(
        &source,
        "struct list { struct list *next; int i; };\n\
         static inline int inner(struct list *l) { return l->i + 1; }\n\
         int outer(struct list *l) { int n = 0; while (l) { n += inner(l); l = l->next; } return n; }\n\
         void _start(void) { outer(0); for (;;) ; }\n",
    )
    .expect("writable");
    let kinds: [(&str, &[&str]); 3] = [
        ("static", &["-g", "-O2", "-static"]),
        ("pie", &["-g", "-O2", "-static-pie", "-Wl,--build-id"]),
        ("compressed", &["-g", "-O2", "-static", "-gz=zlib"]),
    ];
    kinds
        .iter()
        .map(|(name, flags)| {
            let out = folder.path().join(name);
            let status = std::process::Command::new("cc").args(*flags).args(["-nostdlib", "-o"]).arg(&out).arg(&source).status();
            assert!(status.is_ok_and(|status| status.success()), "cc links a small program ({name})");
            ((*name).to_owned(), std::fs::read(&out).expect("linked"))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_panic_no_entry_point(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (_, function) in ENTRIES {
            function(&bytes);
        }
    }

    /// Text that looks like something: pieces of real formats in any order.
    #[test]
    fn any_pieces_panic_no_parser(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60)) {
        let text = pieces.concat();
        for (_, function) in ENTRIES.iter().filter(|(entry, _)| is_quick(entry)) {
            function(text.as_bytes());
        }
    }

    #[test]
    fn any_pieces_in_a_capture_panic_nothing(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60)) {
        let text = format!("=== 1763650000123.heap\n{}", pieces.concat());
        entries::run("capture", text.as_bytes());
        entries::run("report", text.as_bytes());
    }

    /// A sound capture of several dumps with pieces among them: what is left is triaged and printed.
    #[test]
    fn any_pieces_in_a_sound_capture_panic_no_triage(
        pieces in proptest::collection::vec((0_usize..40, proptest::sample::select(PIECES)), 0..12),
    ) {
        let mut lines: Vec<String> = Vec::new();
        for at in 1..6 {
            lines.push(format!("=== 17636500{at}0123.heap\nheap_v2/524288\n"));
            lines.push(format!("  t*: {at}: {at}000000 [9: 9000000]\n"));
            lines.push("@ 0x1100 0x1200\n".to_owned());
            lines.push(format!("  t*: {at}: {at}000000 [9: 9000000]\n"));
            lines.push("\nMAPPED_LIBRARIES:\n1000-3000 r-xp 00000000 08:01 7 /nonexistent/a\n".to_owned());
            lines.push(format!("=== 17636500{at}0123.smaps\n7f0000000000-7f0001000000 rw-p 00000000 00:00 0 \nSize: 16384 kB\n"));
            lines.push(format!("Rss: {at}024 kB\nLazyFree: 0 kB\nVmFlags: rd wr mr nr\n"));
        }
        for (at, piece) in pieces {
            lines.insert(at.min(lines.len()), piece.to_owned());
        }
        entries::run("report", lines.concat().as_bytes());
    }

    #[test]
    fn any_words_are_suppressions_or_an_error(words in proptest::collection::vec(proptest::sample::select(SUPPRESSIONS), 0..40)) {
        entries::run("suppressions", words.concat().as_bytes());
    }
}

const PIECES: &[&str] = &[
    "heap_v2/524288\n",
    "heap_v2/1\n",
    "heap_v2/0\n",
    "heap profile: 1: 2 [3: 4] @ heap_v2/16384\n",
    "heap profile: ",
    " @ heap/1\n",
    "  t*: 3: 300 [0: 0]\n",
    "  t0: 3: 300 [0: 0] name: 1 [2]\n",
    "  t18446744073709551615: 1: 1 [1: 1]\n",
    "@",
    "@ 0x1000 0x2000\n",
    " 0xffffffffffffffff",
    "\n",
    "3: 300 [3: 300] @ 0x1000 0x0\n",
    "MAPPED_LIBRARIES:\n",
    "1000-3000 r-xp 00000000 08:01 7 /bin/a (deleted)\n",
    "ffffffffffffffff-0 r-xp ffffffffffffffff 00:00 0 [vdso]\n",
    "Rss: 18446744073709551615 kB\n",
    "Size: 4 kB\n",
    "VmFlags: rd wr nr\n",
    "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n",
    "2026-11-20T10:00:00Z\n",
    "1763650000\n",
    "Name:\tx\n",
    "VmRSS:\t 9 kB\n",
    "{",
    "}",
    "[",
    "\"jemalloc\": {",
    "\"stats\": {\"allocated\": 1e99}",
    ",",
    "___ Begin jemalloc statistics ___\n",
    "Allocated: 1, active: 2\n",
    "bins: size ind allocated\n",
    "merged arenas stats:\n",
    "unix_ms,a,b\n",
    "1,2,3\n",
    "<malloc version=\"1\">",
    "<heap nr=\"0\">",
    "</heap>",
    "</malloc>",
    "=== 1763650000124.smaps\n",
    "{\"memory.current\": 1}",
    "# TYPE jemalloc_allocated_bytes gauge\n",
    "jemalloc_allocated_bytes 1e6 1763650000123\n",
    "jemalloc_resident_bytes{pod=\"a\\\"b\"} +Inf\n",
    "process_resident_memory_bytes -1\n",
    "<jemalloc>: Leak approximation summary: ~18446744073709551615 bytes, ~1 object, >= 1 context\n",
    "{\"info\": {\"version\": \"1\", \"prof_sample_rate\": 1, \"sample_interval\": 1}",
    "\"stack_traces\": [[\"0x1000\", \"0xzz\"]]",
    "\"allocations\": [{\"alloc_thread\": 0, \"alloc_trace\": 9, \"alloc_timestamp\": -1, \"usize\": 1e30}]",
    "\"recent_allocations\": [{\"size\": 1, \"usize\": 18446744073709551615, \"released\": false, \"alloc_trace\": [\"0x1\"]}]",
    "=== prof_log.json\n",
    "=== 1763650000124.prom\n",
    "=== capture.json\n",
    "=== counters.csv\n",
    "\u{202e}",
    "\u{1b}[31m",
    "\0",
];

/// Of the three formats of suppressions, and what breaks them.
const SUPPRESSIONS: &[&str] = &[
    "[[suppress]]\n",
    "frames = [\"app::*::insert\", \"...\", \"main\"]\n",
    "frames = []\n",
    "pattern = \"unbounded_map\"\n",
    "pattern = \"none_such\"\n",
    "fingerprint = \"a41f09c2\"\n",
    "fingerprint = \"zz\"\n",
    "reason = \"\\u001b[31m\"\n",
    "reason = \"bounded\"\n",
    "expires = 2027-01-31\n",
    "expires = 9999-12-31T23:59:59Z\n",
    "reson = 1\n",
    "leak:app::Cache\n",
    "leak:^*?*?*?*?*$\n",
    "leak:\n",
    "race:x\n",
    "# a remark\n",
    "{\n",
    "   name of it\n",
    "   Memcheck:Leak\n",
    "   Memcheck:Value8\n",
    "   match-leak-kinds: definite\n",
    "   fun:_ZN3app5serveEv\n",
    "   fun:*\n",
    "   obj:*/libfoo.so*\n",
    "   src:a.c:12\n",
    "   ...\n",
    "}\n",
    "\u{202e}",
    "\r\n",
    "\0",
];
