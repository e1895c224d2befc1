use super::*;
use crate::origin::Position;
use proptest::prelude::*;

fn read(text: &[u8]) -> Parsed<RawDump> {
    parse(text, HeapOptions { threads: true }).unwrap_or_else(|error| panic!("{error}"))
}

/// Every stack as its addresses and live counts.
fn stacks(dump: &RawDump) -> Vec<(Vec<u64>, (u64, u64))> {
    let live = dump.live.iter().map(|c| (c.objects, c.bytes));
    (0..dump.len()).map(|i| dump.stack(i).iter().map(|&id| dump.addresses[id as usize]).collect()).zip(live).collect()
}

fn messages(warnings: &[Warning]) -> Vec<&str> {
    warnings.iter().map(|w| w.message.as_str()).collect()
}

const MAPS: &str = "\nMAPPED_LIBRARIES:\n1000-2000 r-xp 00000000 fe:00 7    /opt/a b\n";

#[track_caller]
fn fails(text: &str, expected: &str) {
    let error = parse(text.as_bytes(), HeapOptions::default()).map(|p| p.warnings).unwrap_err();
    assert_eq!(error.message, expected);
    assert!(error.offset <= text.len());
}

/// The body of a dump after `heap_v2/1\n`, its stacks and its warnings.
#[track_caller]
fn body(text: &str, expected: &[(&[u64], (u64, u64))], warnings: &[&str]) {
    let parsed = read(format!("heap_v2/1\n{text}").as_bytes());
    let expected: Vec<(Vec<u64>, (u64, u64))> = expected.iter().map(|&(stack, counts)| (stack.to_vec(), counts)).collect();
    assert_eq!(stacks(&parsed.value), expected);
    assert_eq!(messages(&parsed.warnings), warnings);
}

#[test]
fn a_plain_dump() {
    let text = format!(
        "heap_v2/1\n  t*: 3: 48 [0: 0]\n  t0: 3: 48 [0: 0]\n@ 0x1100 0x1200\n  t*: 2: 32 [0: 0]\n  t0: 2: 32 [0: 0]\n@ 0x1100\n  t*: 1: 16 [0: 0]\n  t0: 1: 16 [0: 0]\n{MAPS}"
    );
    let parsed = read(text.as_bytes());
    assert_eq!(messages(&parsed.warnings), [""; 0]);
    let dump = parsed.value;
    assert_eq!(stacks(&dump), [(vec![0x1100, 0x1200], (2, 32)), (vec![0x1100], (1, 16))]);
    assert_eq!(dump.addresses, [0x1100, 0x1200]);
    assert_eq!(dump.header_check, HeaderCheck::Equal);
    assert_eq!((dump.kind, dump.truncated), (Kind::Exact, false));
    assert_eq!(dump.accumulated, []);
    assert_eq!(dump.mappings[0].name.as_ref(), b"/opt/a b");
    assert_eq!(dump.thread_counts.len(), 2);
}

#[test]
fn blocks_of_any_size_give_the_same_dump() {
    let text = format!(
        "heap_v2/4096\r\n  t*: 3: 48 [9: 99]\n  t0: 3: 48 [0: 0] a b\n@ 0x55947ca47263 0x55947ca4777b\n  t*: 2: 32 [5: 80]\n@\n  t*: 1: 16 [0: 0]\n{MAPS}"
    );
    let whole = read(text.as_bytes());
    for size in 1..text.len() {
        let mut parser = Parser::new(HeapOptions { threads: true });
        let mut carry = Vec::new();
        for block in text.as_bytes().chunks(size) {
            carry.extend_from_slice(block);
            let read = parser.feed(&carry);
            carry.drain(..read);
        }
        assert_eq!(parser.finish(&carry).unwrap(), whole, "blocks of {size}");
    }
}

#[test]
fn empty_stacks_and_zero_counts_are_records() {
    body(&format!("@\n  t*: 1: 288 [2: 296]\n@ \n  t*: 0: 0 [1: 16]\n{MAPS}"), &[(&[], (1, 288)), (&[], (0, 0))], &[]);
}

#[test]
fn accumulated_counts_are_kept_once_one_is_not_zero() {
    let dump =
        read(format!("heap_v2/1\n@ 0x1\n  t*: 1: 2 [0: 0]\n@ 0x2\n  t*: 0: 0 [3: 4]\n@ 0x3\n  t*: 1: 1 [0: 0]\n{MAPS}").as_bytes()).value;
    let pairs: Vec<(u64, u64)> = dump.accumulated.iter().map(|c| (c.objects, c.bytes)).collect();
    assert_eq!(pairs, [(0, 0), (3, 4), (0, 0)]);
}

#[test]
fn thread_names_hold_anything() {
    let header = "heap_v2/4096\n  t*: 5: 5 [0: 0]\n  t0: 1: 1 [0: 0]\n  t1: 1: 1 [0: 0] io: 1 [2]\n  t2: 1: 1 [0: 0] nnnn  t3: 1: 1 [0: 0] tab\tname \n  t4: 1: 1 [0: 0] 12: 34 [5: 6]\n";
    let dump = read(format!("{header}{MAPS}").as_bytes()).value;
    let threads: Vec<(u64, Option<&str>)> =
        dump.threads.iter().map(|t| (t.uid, t.name.as_deref().map(|n| std::str::from_utf8(n).unwrap()))).collect();
    assert_eq!(threads, [(0, None), (1, Some("io: 1 [2]")), (2, Some("nnnn")), (3, Some("tab\tname ")), (4, Some("12: 34 [5: 6]"))]);
}

#[test]
fn bad_lines_leave_out_their_stack_only() {
    body(
        &format!("@ 0x1\n  t*: 4x: 2 [0: 0]\n@ 0x2\n  t*: 1: 2 [0: 0]\n{MAPS}"),
        &[(&[2], (1, 2))],
        &["expected an object count after `t*:`, found `4x`: this stack is left out"],
    );
    body(
        &format!("@ 0x1 zz\n  t*: 4: 2 [0: 0]\n@ 0x2\n  t*: 1: 2 [0: 0]\n{MAPS}"),
        &[(&[2], (1, 2))],
        &["expected an address, found `zz`: this stack is left out"],
    );
    body(
        &format!("@ 0x1\n@ 0x2\n  t*: 1: 2 [0: 0]\n{MAPS}"),
        &[(&[2], (1, 2))],
        &["expected the counters of the stack before, found `@`: that stack is left out"],
    );
    fails(&format!("heap_v2/1\n@ 0x1\n  t*: 4x: 2 [0: 0]\n{MAPS}"), "expected an object count after `t*:`, found `4x`");
}

#[test]
fn many_bad_lines_are_counted() {
    let parsed = read(format!("heap_v2/1\n@ 0x1\n  t*: 1: 2 [0: 0]\n{}{MAPS}", "x\n".repeat(1000)).as_bytes());
    assert_eq!(parsed.warnings.len(), WARNINGS_SHOWN + 1);
    assert_eq!(parsed.warnings[WARNINGS_SHOWN].message, "995 more bad lines; their stacks are left out");
}

#[test]
fn a_dump_cut_anywhere_keeps_whole_records() {
    let text = "heap_v2/1\n  t*: 3: 48 [0: 0]\n@ 0x1100\n  t*: 2: 32 [0: 0]\n  t0: 2: 32 [0: 0]\n@ 0x1200\n  t*: 1: 16 [0: 0]\n";
    let first_whole = text.find("\n  t0:").unwrap();
    for cut in 0..text.len() {
        let Ok(parsed) = parse(&text.as_bytes()[..cut], HeapOptions::default()) else {
            assert!(cut < 10, "cut at {cut}");
            continue;
        };
        let bytes: u64 = parsed.value.live.iter().map(|c| c.bytes).sum();
        let expected = if cut < first_whole {
            0
        } else if cut < text.len() - 1 {
            32
        } else {
            48
        };
        assert_eq!(bytes, expected, "cut at {cut}");
        if !text[..cut].ends_with('\n') {
            assert!(parsed.value.truncated, "cut at {cut}");
        }
    }
    let parsed = read(&text.as_bytes()[..text.len() - 12]);
    let warning = &parsed.warnings[0];
    assert_eq!(
        warning.message,
        "truncated: the dump ends in the middle; the 1 whole stack before it is used and hold about 67 % of the bytes in its header"
    );
    assert_eq!(Position::of(text.as_bytes(), warning.offset.unwrap()).to_string(), "7:8");
}

#[test]
fn a_cut_mappings_section_loses_no_stack() {
    let parsed = read(b"heap_v2/1\n@ 0x1\n  t*: 1: 2 [0: 0]\n\nMAPPED_LIBRARIES:\n1000-2000 r-xp 00000000 fe:00 7 /a\n2000-3000 r-x");
    assert_eq!(messages(&parsed.warnings), ["truncated: the dump ends in its mappings section; every stack is there"]);
    assert_eq!(parsed.value.mappings.len(), 1);
    let parsed = read(b"heap_v2/1\n@ 0x1\n  t*: 1: 2 [0: 0]\n\nMAPPED_LIBRARIES:\n1000-2000 --xp 00000000 00:00 0 [vsyscall]");
    assert_eq!((messages(&parsed.warnings), parsed.value.truncated), (vec![], false));
}

#[test]
fn what_is_missing_is_said() {
    body(
        "@ 0x1\n  t*: 1: 2 [0: 0]\n\n",
        &[(&[1], (1, 2))],
        &[
            "no mappings section: the dump was cut just before it, or /proc could not be read when it was written; addresses cannot be named",
        ],
    );
    body(
        MAPS,
        &[],
        &["no samples: no stack is recorded; profiling was not active (prof_active), or nothing was allocated since, or freed again"],
    );
}

#[test]
fn a_second_dump_is_left_out() {
    body(
        &format!("@ 0x1\n  t*: 1: 2 [0: 0]\n{MAPS}heap_v2/1\n@ 0x2\n  t*: 1: 2 [0: 0]\n"),
        &[(&[1], (1, 2))],
        &["another dump begins here and is left out: pass the dumps as files of their own"],
    );
}

#[test]
fn what_is_no_heap_profile_is_named() {
    fails("--- contentionz 1 ---\ncycles/second = 1\n", "this is a contention profile, not a heap profile");
    fails("--- threadz 1 ---\n", "this is a thread profile (stacks of running threads), not a heap profile");
    fails("--- heapz 1 ---\nformat = java\n", "this is a Java heap profile, not a heap profile");
    fails("goroutine profile: total 3\n", "this is a goroutine profile of Go, not a heap profile");
    fails("hello\nworld\n", "not a heap profile: expected `heap_v2/` or `heap profile:`, found `hello`");
    fails("hello", "not a heap profile: expected `heap_v2/` or `heap profile:`, found `hello`");
    fails("", "the file is empty");
    fails("\n \n", "the file is empty");
    fails("heap_v", "truncated in its first line: `heap_v`");
    fails("heap_v2/52", "truncated in its first line: `heap_v2/52`");
    fails("heap_v2/x\n", "expected the bytes between samples after `heap_v2/`, found `x`");
    fails("heap profile: 1: 2 [3: 4] @ heap_v2/x\n", "expected the bytes between samples in the first line, found `x`");
    fails("heap profile: 1: x\n", "expected a byte count in the first line, found `x`");
}

#[test]
fn legacy_kinds_follow_the_label() {
    #[track_caller]
    fn kind(label: &str, kind: Kind, rate: u64) {
        let dump = read(format!("heap profile: 1: 2 [1: 2] @ {label}\n1: 2 [1: 2] @ 0x1\n{MAPS}").as_bytes()).value;
        assert_eq!((dump.kind, dump.rate), (kind, rate), "{label}");
    }
    kind("heapprofile", Kind::Exact, 0);
    kind("heap_v2/524288", Kind::Sampled, 524_288);
    kind("heapz_v2/524288", Kind::Sampled, 524_288);
    kind("heap/1048576", Kind::Sampled, 524_288);
    kind("heap_v2/0", Kind::Exact, 0);
    kind("growth", Kind::Growth, 0);
    kind("growthz", Kind::Growth, 0);
    kind("fragmentation", Kind::Fragmentation, 0);
    let parsed = read(format!("heap profile: 1: 2 [1: 2]\n1: 2 [1: 2] @ 0x1\n{MAPS}").as_bytes());
    assert_eq!(messages(&parsed.warnings), ["the first line names no sampling rate: numbers are taken as exact"]);
    let parsed = read(format!("heap profile: 1: 2 [1: 2] @ odd\n1: 2 [1: 2] @ 0x1\n{MAPS}").as_bytes());
    assert_eq!(messages(&parsed.warnings), ["unknown kind of heap profile `odd`: numbers are taken as exact"]);
}

#[test]
fn equal_pairs_of_a_sampled_heap_are_not_accumulated_counts() {
    let accumulated = |text: &str| !read(text.as_bytes()).value.accumulated.is_empty();
    assert!(!accumulated("heap profile: 1: 2 [1: 2] @ heap_v2/9\n1: 2 [1: 2] @ 0x1\n"));
    assert!(accumulated("heap profile: 1: 2 [1: 2] @ heapprofile\n1: 2 [1: 2] @ 0x1\n"));
    assert!(accumulated("heap profile: 1: 2 [1: 2] @ heap_v2/9\n1: 2 [1: 2] @ 0x1 0x0\n"));
}

#[test]
fn null_ends_a_stack_of_jemalloc_3() {
    let dump = read(b"heap profile: 1: 2 [0: 0] @ heap_v2/9\n1: 2 [0: 0] @ 0x1 0x0\n0: 0 [0: 0] @ 0x0\n").value;
    assert_eq!(stacks(&dump), [(vec![1], (1, 2)), (vec![], (0, 0))]);
    assert!(dump.null_terminated);
}

#[test]
fn short_mapping_lines_and_variables() {
    let dump = read(b"heap profile: 1: 2 [1: 2] @ growth\n1: 2 [1: 2] @ 0x1\n--- Memory map: ---\n\tsource=/home\n  00400000-00fcb000: $source/server\n  7f00-7f10: /lib/$source\n 1-2: $sourcery\nbad\n").value;
    let names: Vec<&str> = dump.mappings.iter().map(|m| std::str::from_utf8(&m.name).unwrap()).collect();
    assert_eq!(names, ["/home/server", "/lib/$source", "$sourcery"]);
    assert_eq!(
        dump.mappings[0].range,
        crate::address::AddrRange::new(crate::address::Avma::new(0x40_0000), crate::address::Avma::new(0xfc_b000))
    );
}

#[test]
fn go_comments_are_skipped() {
    let parsed =
        read(b"heap profile: 1: 2 [1: 2] @ heap/2\n1: 2 [1: 2] @ 0x1\n#\t0x0\tmain.f+0x1\t/a.go:1\n\n# runtime.MemStats\n# Alloc = 5\n");
    assert_eq!(parsed.value.len(), 1);
    assert_eq!(parsed.warnings.len(), 1, "{:?}", parsed.warnings);
}

#[test]
fn header_check_tells_unbias() {
    let check =
        |header: &str, stacks: &str| read(format!("heap_v2/16384\n  t*: {header} [0: 0]\n{stacks}{MAPS}").as_bytes()).value.header_check;
    let two = "@ 0x1\n  t*: 100: 4800 [0: 0]\n@ 0x2\n  t*: 4: 1310720 [0: 0]\n";
    assert_eq!(check("104: 1315520", two), HeaderCheck::Equal);
    // 100 / (1 - e^(-48/16384)) + 4 objects of these bytes in sum, put through the transformation.
    assert_eq!(check("180: 15512", two), HeaderCheck::EqualUnsampled);
    assert_eq!(check("9: 9", two), HeaderCheck::Different);
    assert_eq!(check("9: 9", ""), HeaderCheck::Unknown);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(error) = parse(&bytes, HeapOptions { threads: true }) {
            prop_assert!(error.offset <= bytes.len());
        }
    }

    #[test]
    fn no_mangled_dump_makes_it_panic(mut bytes in dump_text(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        match parse(&bytes, HeapOptions { threads: true }) {
            Err(error) => prop_assert!(error.offset <= bytes.len()),
            Ok(parsed) => {
                prop_assert!(parsed.warnings.iter().all(|w| w.offset.is_none_or(|o| o <= bytes.len())));
                prop_assert_eq!(parsed.value.live.len(), parsed.value.len());
            }
        }
    }

    #[test]
    fn what_is_printed_is_read_back(list in stack_list()) {
        let dump = read(print(&list).as_bytes()).value;
        let expected: Vec<_> = list.iter().map(|(stack, live, _)| (stack.clone(), *live)).collect();
        prop_assert_eq!(stacks(&dump), expected);
        if !dump.accumulated.is_empty() {
            let expected: Vec<_> = list.iter().map(|(_, _, accumulated)| *accumulated).collect();
            prop_assert_eq!(dump.accumulated.iter().map(|c| (c.objects, c.bytes)).collect::<Vec<_>>(), expected);
        }
    }
}

type Printed = (Vec<u64>, (u64, u64), (u64, u64));

fn stack_list() -> impl Strategy<Value = Vec<Printed>> {
    let address = prop_oneof![any::<u64>(), 0x5555_0000_0000u64..0x5555_0000_0100, 0u64..4];
    let counts = || (any::<u64>(), any::<u64>());
    proptest::collection::vec((proptest::collection::vec(address, 0..12), counts(), counts()), 0..12)
}

fn print(list: &[Printed]) -> String {
    use std::fmt::Write;
    let mut text = String::from("heap_v2/1\n  t*: 1: 1 [0: 0]\n");
    for (stack, live, accumulated) in list {
        text.push('@');
        stack.iter().for_each(|address| write!(text, " {address:#x}").unwrap());
        writeln!(text, "\n  t*: {}: {} [{}: {}]", live.0, live.1, accumulated.0, accumulated.1).unwrap();
    }
    text + MAPS
}

fn dump_text() -> impl Strategy<Value = Vec<u8>> {
    stack_list().prop_map(|list| print(&list).into_bytes())
}
