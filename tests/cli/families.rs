//! Heap dumps with odd or missing parts, and files that are none: what is shown, what is said, and the exit code.

use std::path::Path;
use std::process::{Command, Output};

fn top(name: &str, text: impl AsRef<[u8]>) -> Output {
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join(name), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    command.current_dir(here.path()).args(["top", name, "--no-cache", "--sysroot", "/nonexistent"]).output().unwrap()
}

/// Shown, with all of `out` on standard output and `warning` on standard error.
#[track_caller]
fn shown(name: &str, text: impl AsRef<[u8]>, out: &[&str], warning: &str) {
    let output = top(name, text);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for part in out {
        assert!(stdout.contains(part), "no `{part}`:\n{stdout}");
    }
    assert!(stderr.contains(warning) && (warning.is_empty() == stderr.is_empty()), "{stderr}");
}

/// Refused with exit code 2 and this message alone.
#[track_caller]
fn refused(name: &str, text: impl AsRef<[u8]>, message: &str) {
    let output = top(name, text);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{stderr}");
    assert_eq!(stderr.trim_end(), format!("heaptriage: {message}"));
}

const NO_MAPS: &str =
    "no mappings section: the dump was cut just before it, or /proc could not be read when it was written; addresses cannot be named";

#[test]
fn maps_of_macos_and_a_stack_without_frames() {
    shown(
        "mac.heap",
        "heap_v2/524288\n  t*: 3: 4096 [0: 0]\n  t0: 3: 4096 [0: 0]\n@ 0x100003f80 0x100003f20\n  t*: 2: 2048 [0: 0]\n  t0: 2: 2048 [0: 0]\n\
         @\n  t*: 1: 2048 [0: 0]\n  t0: 1: 2048 [0: 0]\n\nMAPPED_LIBRARIES:\n0000000100000000-0000000100004000: /Users/a/indexer\n\
         00007ff80a000000-00007ff80a0fffff: /usr/lib/system/libsystem_c.dylib\n",
        &["in 2 stacks", "mac.heap of indexer", "indexer+0x3f7f", "[no stack]", "Symbols: indexer 0 % (missing)"],
        "",
    );
}

#[test]
fn records_of_nothing_live_and_missing_maps() {
    let dead = "heap_v2/524288\n  t*: 0: 0 [5: 500]\n@ 0x100003f80\n  t*: 0: 0 [5: 500]\n";
    shown("dead.heap", dead, &["0 B live in 1 stack; nothing to show"], &format!("dead.heap:5:1: {NO_MAPS}"));
    let crlf = "heap_v2/524288\r\n  t*: 2: 2048 [0: 0]\r\n@ 0x1234 0x5678\r\n  t*: 2: 2048 [0: 0]\r\n";
    shown("crlf.heap", crlf, &["1.0 MiB live in 1 stack", "0x1233", "0x5677"], NO_MAPS);
}

#[test]
fn other_labels_of_the_old_form() {
    let of =
        |label: &str| format!("heap profile:      1:   1024 [     1:     1024]{label}\n     1:   1024 [     1:     1024] @ 0x00400123\n");
    shown("old.heap", of(" @ heap/524288"), &["1 sample per 256 KiB", "256.5 KiB live"], NO_MAPS);
    shown("exact.heap", of(" @ heapprofile"), &["every allocation recorded", "1.0 KiB live"], NO_MAPS);
    shown("spans.heap", of(" @ fragmentation"), &["free space inside spans, not live memory", "1.0 KiB free inside spans"], NO_MAPS);
    shown("pages.heap", of(" @ growth"), &["growth of the page heap", "1.0 KiB of address space"], NO_MAPS);
    shown("bare.heap", of(""), &["1.0 KiB live"], "the first line names no sampling rate: numbers are taken as exact");
}

#[test]
fn lines_that_are_not_as_jemalloc_writes_them() {
    let stack = |counts: &str, rest: &str| format!("heap_v2/524288\n  t*: 2: 2048 [0: 0]\n@ 0x1234\n  t*: {counts} [0: 0]\n{rest}");
    shown(
        "address.heap",
        stack("2: 2048", "@ 0x1 0xzz\n  t*: 1: 1 [0: 0]\n"),
        &["1.0 MiB live in 1 stack"],
        "address.heap:5:7: expected an address, found `0xzz`: this stack is left out",
    );
    shown(
        "header.heap",
        stack("2: 2048", "").replacen("2: 2048", "4x: 2048", 1),
        &["1.0 MiB live in 1 stack"],
        "header.heap:2:7: expected an object count after `t*:`, found `4x`: the total that stacks are compared with is left out",
    );
    let twice = stack("2: 2048", "") + &stack("1: 1024", "");
    shown(
        "joined.heap",
        twice,
        &["1.0 MiB live in 1 stack"],
        "another dump begins here and is left out: pass the dumps as files of their own",
    );
}

#[test]
fn the_header_tells_when_stacks_are_missing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heap/jemalloc-5.3.0_unbias-off.heap");
    let text = std::fs::read_to_string(path).unwrap();
    let mut stacks: Vec<&str> = text.split("@ ").collect();
    stacks.remove(2);
    shown("less.heap", stacks.join("@ "), &["in 4 stacks"], "lines are missing or were changed; totals here are those of the stacks");
}

#[test]
fn what_is_no_heap_dump() {
    refused("empty.heap", "", "empty.heap: is empty: the process had ended, the disk was full, or it was not written yet; left out");
    refused("cut.heap", "heap_v2/", "cut.heap:1:1: truncated in its first line: `heap_v2/`; the file was left out");
    refused("note.txt", "hello\n", "note.txt: is nothing that is known (a heap dump, smaps, jemalloc statistics, ...): left out");
    refused(
        "locks.txt",
        "--- contentionz 1 ---\ncycles/second = 1\n",
        "locks.txt: is a contention profile: not used; fetch the heap profile of the server instead (/pprof/heap, /debug/pprof/heap)",
    );
}
