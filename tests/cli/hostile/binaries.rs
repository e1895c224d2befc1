//! Binaries that lie about their tables, change while they are read, and caches that were not made from them.

use super::mutation::memory;
use super::program::Run;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// A small program with debug information, as `cc` links it.
fn program(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (text, out) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&text, source).expect("writable");
    let status = Command::new("cc").args(["-g", "-O0", "-static", "-nostdlib", "-o"]).arg(&out).arg(&text).status();
    assert!(status.is_ok_and(|status| status.success()), "cc links a small program");
    out
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures").join(name)
}

/// A dump with one stack in a module, which is mapped from address 0x400000 on as `readelf -l` says of a static program.
pub fn dump(folder: &Path, address: u64) -> PathBuf {
    let path = folder.join("1763650000123.heap");
    let stack = "  t*: 9: 9000 [0: 0]\n";
    let text = format!(
        "heap_v2/1\n{stack}@ {:#x}\n{stack}\nMAPPED_LIBRARIES:\n400000-401000 r--p 00000000 08:01 7    /srv/app\n401000-402000 r-xp 00001000 08:01 7    /srv/app\n",
        address + 1
    );
    std::fs::write(&path, text).expect("writable");
    path
}

/// What is asked about a binary, and how it may end.
fn calls(binary: &Path, dump: &Path) -> Vec<(Vec<OsString>, &'static [i32])> {
    let words = |words: &[&OsStr]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut given = OsString::from("app=");
    given.push(binary);
    vec![
        (words(&["doctor".as_ref(), binary.as_os_str()]), &[0, 2]),
        (words(&["sites".as_ref(), binary.as_os_str()]), &[0, 2]),
        (words(&["owners".as_ref(), binary.as_os_str(), "--type".as_ref(), "list".as_ref()]), &[0, 2]),
        (words(&["top".as_ref(), dump.as_os_str(), "--binary".as_ref(), &given, "--no-cache".as_ref()]), &[0, 2]),
        (words(&["flamegraph".as_ref(), dump.as_os_str(), "--binary".as_ref(), &given, "--no-cache".as_ref()]), &[0, 2]),
        (words(&["report".as_ref(), dump.as_os_str(), "--binary".as_ref(), &given, "--no-cache".as_ref(), "--json".as_ref()]), &[0, 2]),
    ]
}

/// Offsets in the header of a 64-bit ELF file: where it is, its size, what it is.
const HEADER: &[(usize, usize, &str)] = &[
    (32, 8, "e_phoff"),
    (40, 8, "e_shoff"),
    (54, 2, "e_phentsize"),
    (56, 2, "e_phnum"),
    (58, 2, "e_shentsize"),
    (60, 2, "e_shnum"),
    (62, 2, "e_shstrndx"),
];

#[test]
fn headers_that_promise_too_much() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let sound = program(
        folder.path(),
        "app",
        "struct list { struct list *next; int i; };\nint outer(struct list *l) { int n = 0; while (l) { n += l->i; l = l->next; } return n; }\nvoid _start(void) { outer(0); for (;;) ; }\n",
    );
    let bytes = std::fs::read(&sound).expect("linked");
    let number = |at: usize, size: usize| bytes[at..at + size].iter().rev().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    let (sections, count) = (number(40, 8) as usize, number(60, 2) as usize);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut case = |what: String, changes: &[(usize, usize, u64)]| {
        let mut bytes = bytes.clone();
        for &(at, size, value) in changes {
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        cases.push((what, bytes));
    };
    for &(at, size, name) in HEADER {
        for value in [0, 1, 0xff00, 0xffff, u64::MAX >> 1, u64::MAX - 63, u64::MAX] {
            case(format!("{name} = {value:#x}"), &[(at, size, value)]);
        }
    }
    // More sections than 16 bits can say: the first section's size has their number, its link that of the names.
    for many in [1 << 16, 1 << 32, (1 << 58) - 1, u64::MAX] {
        let changes = [(60, 2, 0), (62, 2, 0xffff), (sections + 32, 8, many), (sections + 40, 4, 1 << 31)];
        case(format!("{many:#x} sections"), &changes);
    }
    // Every section, tables of strings and symbols among them, somewhere else or of another size.
    for index in 1..count {
        let section = sections + 64 * index;
        for (field, size) in [(24, 8), (32, 8), (40, 4), (56, 8)] {
            for value in [bytes.len() as u64 - 1, 1 << 32, u64::MAX - 7] {
                case(format!("section {index}, field {field} = {value:#x}"), &[(section + field, size, value)]);
            }
        }
        // Compressed, and unfolding to anything.
        case(format!("section {index} compressed"), &[(section + 8, 8, 0x800)]);
    }
    let dump = dump(folder.path(), 0x40_1000);
    let bent = folder.path().join("bent");
    for (turn, (what, bytes)) in cases.iter().enumerate() {
        std::fs::write(&bent, bytes).expect("writable");
        let all = calls(&bent, &dump);
        // Each case meets two of the commands, in turn.
        for (args, codes) in [&all[turn % all.len()], &all[(turn + 3) % all.len()]] {
            Run::new(args, memory(bytes.len())).go().is_sound(&format!("{args:?} with {what}"), codes);
        }
    }
    assert!(cases.len() > 150, "{} cases", cases.len());
}

#[test]
fn a_symbol_of_a_megabyte() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (kind, name) in [
        ("plain", "a".repeat(1 << 20)),
        ("mangled", format!("_ZN{}{}E", 1 << 20, "b".repeat(1 << 20))),
        // Each part refers to the whole before it: its text doubles every time.
        ("doubling", format!("_RNvC1a{}", (0..20_000).map(|_| "INvB2_B2_E").collect::<String>())),
    ] {
        let source = format!("void big(void) __asm__(\"{name}\");\nvoid big(void) {{ for (;;) ; }}\nvoid _start(void) {{ big(); }}\n");
        let binary = program(folder.path(), kind, &source);
        let dump = dump(folder.path(), 0x40_1004);
        let size = binary.metadata().expect("linked").len() as usize;
        for (args, codes) in calls(&binary, &dump) {
            let ran = Run::new(&args, memory(size)).go();
            ran.is_sound(&format!("{args:?}, a {kind} symbol"), codes);
            assert!(ran.stdout.len() < 256 << 10, "{args:?}: {} bytes of output for one symbol", ran.stdout.len());
        }
    }
}

/// Ten thousand symbols, all of one long name at one address; twenty thousand sections of one long name.
#[test]
fn tables_whose_entries_share_a_long_name() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let sound = program(folder.path(), "app", "void _start(void) { for (;;) ; }\n");
    let bytes = std::fs::read(&sound).expect("linked");
    let number = |at: usize, size: usize| bytes[at..at + size].iter().rev().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    let (sections, count) = (number(40, 8) as usize, number(60, 2) as usize);
    let section = |kind: u64| (1..count).map(|index| sections + 64 * index).find(|&at| number(at + 4, 4) == kind).expect("a section");
    let set = |out: &mut Vec<u8>, at: usize, size: usize, value: usize| out[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    // Names and symbols anew behind the file: `_start` ten thousand times, by a name of a megabyte.
    let symbols = |size: u64| {
        let mut out = bytes.clone();
        let names = out.len();
        out.push(0);
        out.extend(std::iter::repeat_n(b'n', 1 << 20));
        out.push(0);
        out.resize(out.len().next_multiple_of(8), 0);
        let table = out.len();
        out.extend([0; 24]);
        for _ in 0..10_000 {
            out.extend([1, 0, 0, 0, 0x12, 0, 1, 0]);
            out.extend(0x40_1000_u64.to_le_bytes());
            out.extend(size.to_le_bytes());
        }
        let (symtab, strtab) = (section(2), sections + 64 * number(section(2) + 40, 4) as usize);
        let length = out.len() - table;
        for (at, offset, size) in [(symtab, table, length), (strtab, names, table - names)] {
            set(&mut out, at + 24, 8, offset);
            set(&mut out, at + 32, 8, size);
        }
        out
    };
    let headers = {
        let mut out = bytes.clone();
        let names = out.len();
        out.extend(std::iter::repeat_n(b'n', 1 << 20));
        out.push(0);
        out.resize(out.len().next_multiple_of(8), 0);
        let table = out.len();
        let old = bytes[sections..sections + 64 * count].to_vec();
        out.extend(&old);
        for _ in count..20_000 {
            let mut header = [0; 64];
            header[4] = 1; // SHT_PROGBITS
            header[8] = 6; // of code
            out.extend(header);
        }
        let strings = table + 64 * number(62, 2) as usize;
        let length = table - names;
        set(&mut out, strings + 24, 8, names);
        set(&mut out, strings + 32, 8, length);
        set(&mut out, 40, 8, table);
        set(&mut out, 60, 2, 20_000);
        out
    };
    let dump = dump(folder.path(), 0x40_1000);
    let bent = folder.path().join("bent");
    for (what, bytes) in [("symbols with a size", symbols(16)), ("symbols without", symbols(0)), ("sections", headers)] {
        std::fs::write(&bent, &bytes).expect("writable");
        for (args, codes) in calls(&bent, &dump) {
            Run::new(&args, memory(bytes.len())).go().is_sound(&format!("{args:?} with {what} of one name"), codes);
        }
    }
}

/// Another process writes to the binary while it is read: then none of its names is used, and that is said.
#[test]
fn a_binary_written_to_while_it_is_read_names_nothing() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let binary = folder.path().join("quarryd");
    std::fs::copy(fixture("bin/quarryd"), &binary).expect("writable");
    let args = |cache: &Path| {
        let fixed = ["top".as_ref(), "--format".as_ref(), "json".as_ref(), "--binary".as_ref(), binary.as_os_str()];
        let dump = fixture("segments/1795219454001.heap.gz");
        (fixed.map(OsStr::to_owned).into_iter().chain([dump.into_os_string()]).collect::<Vec<_>>(), cache.to_owned())
    };
    let run = |(args, cache): (Vec<OsString>, PathBuf)| Run::new(args, None).env("XDG_CACHE_HOME", cache).go();
    let cache = folder.path().join("cache");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let (stop, file) = (stop.clone(), std::fs::File::options().write(true).open(&binary).expect("writable"));
        std::thread::spawn(move || {
            let mut second = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                second += 1;
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).expect("our own file");
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let disturbed = run(args(&cache));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("the writer ends");
    disturbed.is_sound("top while the binary changes", &[0]);
    assert!(disturbed.stderr.contains("written to while it was read"), "{}", disturbed.stderr);
    assert!(!disturbed.text().contains("quarryd::"), "a name came from a file that was changing");
    // Nothing of it was kept for the next run.
    let quiet = run(args(&cache));
    assert!(quiet.text().contains("quarryd::"), "{}", quiet.stderr);
    assert!(!quiet.stderr.contains("written to"), "{}", quiet.stderr);
    assert_eq!(quiet.stdout, run(args(&folder.path().join("other"))).stdout);
}

/// Cut in place while it is mapped: said, with the exit code of an error, and no output under its name.
#[test]
fn a_binary_cut_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (binary, out) = (folder.path().join("quarryd"), folder.path().join("sites.json"));
    let whole = std::fs::read(fixture("bin/quarryd")).expect("a fixture");
    let mut said = 0;
    for delay in (0..60).map(|step| Duration::from_millis(step * 20)) {
        std::fs::write(&binary, &whole).expect("writable");
        let file = std::fs::File::options().write(true).open(&binary).expect("writable");
        let cut = std::thread::spawn(move || {
            std::thread::sleep(delay);
            file.set_len(4096).expect("our own file");
        });
        let args = ["sites".as_ref(), binary.as_os_str(), "--no-cache".as_ref(), "--json".as_ref(), "-o".as_ref(), out.as_os_str()];
        let ran = Run::new(args, None).go();
        cut.join().expect("it is cut");
        ran.is_sound(&format!("cut after {delay:?}"), &[0, 2]);
        if ran.stderr.contains("lost its end") {
            assert_eq!(ran.code, Some(2), "{}", ran.stderr);
            said += 1;
        }
        if ran.code == Some(2) {
            assert!(!out.exists(), "{}", ran.stderr);
        } else {
            std::fs::remove_file(&out).expect("written");
        }
        if said == 3 {
            return;
        }
    }
    assert!(said > 0, "no run was under way when the binary was cut");
}

/// A cache that was cut, forged, made by another version or from another binary is made anew, and the output is the same.
#[test]
fn no_cache_changes_what_is_said() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (cache, binary) = (folder.path().join("cache"), grown(folder.path()));
    let run = |capture: &str, extra: &[&str]| {
        let input = fixture(capture);
        let args = ["report".as_ref(), input.as_os_str(), "--binary".as_ref(), binary.as_os_str(), "--json".as_ref()];
        let ran = Run::new(args.into_iter().chain(extra.iter().map(OsStr::new)), None).env("XDG_CACHE_HOME", &cache).go();
        ran.is_sound("report with a cache", &[0]);
        ran.stdout
    };
    let expected = run("segments", &["--no-cache"]);
    assert!(files(&cache).is_empty(), "--no-cache writes none");
    // Several at once, with none there.
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| run("segments", &[]))).collect();
        for ran in runs {
            assert!(ran.join().expect("no panic") == expected, "another report beside other processes");
        }
    });
    let stored = files(&cache);
    assert!(!stored.is_empty() && stored.iter().all(|file| file.extension().is_some_and(|e| e == "syms")), "{stored:?}");
    let marked = |start: &[u8]| stored.iter().filter(|file| std::fs::read(file).expect("readable").starts_with(start)).count();
    assert_eq!((marked(b"htsyms"), marked(b"htkept")), (1, 1), "names, and what the binary says of the growth: {stored:?}");
    for file in &stored {
        for (what, bytes, whole) in damages(file) {
            std::fs::write(file, &bytes).expect("writable");
            assert!(run("segments", &[]) == expected, "a cache that is {what} changes the report");
            assert_eq!(std::fs::read(file).expect("readable").len(), whole, "a cache that was {what} is not made anew");
        }
    }
    // Another capture adds to it, and takes nothing away.
    let other = run("front", &["--no-cache"]);
    assert!(run("front", &[]) == other && run("segments", &[]) == expected && run("front", &[]) == other);
}

/// What `sites` and `owners` found is kept, and a damaged result is found out again.
#[test]
fn results_of_one_binary_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (cache, binary) = (folder.path().join("cache"), fixture("bin/quarryd"));
    for args in [&["sites"][..], &["sites", "--json"], &["owners", "--type", "bumpalo::Bump"], &["owners", "--cycles", "--format", "dot"]] {
        let run = |extra: &[&str]| {
            let all = args[..1].iter().map(OsStr::new).chain([binary.as_os_str()]).chain(args[1..].iter().chain(extra).map(OsStr::new));
            let ran = Run::new(all, None).env("XDG_CACHE_HOME", &cache).go();
            ran.is_sound(args[0], &[0]);
            ran.stdout
        };
        let before = files(&cache);
        let expected = run(&["--no-cache"]);
        assert_eq!(files(&cache), before, "--no-cache writes none");
        assert!(run(&[]) == expected && run(&[]) == expected, "{args:?}");
        let new: Vec<PathBuf> = files(&cache).into_iter().filter(|file| !before.contains(file)).collect();
        let [file] = &new[..] else { panic!("one file more for {args:?}: {new:?}") };
        let (what, bytes, whole) = damages(file).swap_remove(5);
        std::fs::write(file, &bytes).expect("writable");
        assert!(run(&[]) == expected, "a result that is {what} is believed by {args:?}");
        assert_eq!(std::fs::read(file).expect("readable").len(), whole, "not made anew");
    }
}

/// Ways in which a file of the cache may be wrong: (which, its bytes, bytes of the whole one).
fn damages(file: &Path) -> Vec<(&'static str, Vec<u8>, usize)> {
    let whole = std::fs::read(file).expect("readable");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let ways = [
        ("empty", Vec::new()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("cut by a byte", whole[..whole.len() - 1].to_vec()),
        ("too long", [&whole[..], b"\0"].concat()),
        ("of another version", flipped(7)),
        ("flipped", flipped(whole.len() / 2)),
        ("something else", std::fs::read(fixture("segments/capture.json")).expect("a fixture")),
    ];
    ways.into_iter().map(|(what, bytes)| (what, bytes, whole.len())).collect()
}

/// The program of the captures, with more debug information than is quick to read: only then a cache is kept.
fn grown(folder: &Path) -> PathBuf {
    let (info, plain, out) = (folder.join("info"), folder.join("plain"), folder.join("quarryd"));
    let objcopy = |args: &[&OsStr]| {
        let status = Command::new("objcopy").args(args).status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy {args:?}");
    };
    let section = |path: &Path| OsString::from(format!(".debug_info={}", path.display()));
    let source = fixture("bin/quarryd");
    let dump = section(&info);
    objcopy(&["--decompress-debug-sections".as_ref(), source.as_os_str(), plain.as_os_str()]);
    objcopy(&["--dump-section".as_ref(), &dump, plain.as_os_str(), folder.join("unused").as_os_str()]);
    // One more unit (DWARF 4: length, version, abbreviations, size of an address) of entries that say nothing.
    let mut bytes = std::fs::read(&info).expect("dumped");
    let empty = 20 << 20;
    bytes.extend_from_slice(&(empty as u32 + 7).to_le_bytes());
    bytes.extend_from_slice(&[4, 0, 0, 0, 0, 0, 8]);
    bytes.resize(bytes.len() + empty, 0);
    std::fs::write(&info, &bytes).expect("writable");
    objcopy(&["--update-section".as_ref(), &dump, plain.as_os_str(), out.as_os_str()]);
    out
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = Vec::new();
    for path in entries.map(|entry| entry.expect("readable").path()) {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
