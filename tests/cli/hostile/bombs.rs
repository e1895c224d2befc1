//! Small inputs that unfold, and large ones that are nothing but large.

use super::mutation::memory;
use super::program::{Ran, Run};
use super::thorough;
use std::io::Write;
use std::path::Path;

fn report(file: &Path, memory: Option<u64>) -> Ran {
    let size = file.metadata().expect("written").len() as usize;
    Run::new([std::ffi::OsStr::new("report"), file.as_os_str()], memory).size(size).go()
}

/// zstd's own run-length blocks: four bytes for 128 KiB.
fn zstd_bomb(blocks: usize) -> Vec<u8> {
    // Magic; no content size, no checksum, window of 128 KiB.
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..blocks {
        let last = u32::from(block + 1 == blocks);
        let header = (128 * 1024) << 3 | 1 << 1 | last;
        bytes.extend_from_slice(&header.to_le_bytes()[..3]);
        bytes.push(b'0');
    }
    bytes
}

fn gzip_bomb(megabytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b'0'; 1 << 20];
    for _ in 0..megabytes {
        encoder.write_all(&zeros).expect("memory");
    }
    encoder.finish().expect("memory")
}

#[test]
fn compression_bombs_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, bomb) in [("bomb.gz", gzip_bomb(300)), ("bomb.zst", zstd_bomb(40_000))] {
        let file = folder.path().join(name);
        std::fs::write(&file, &bomb).expect("writable");
        // What may be unfolded before it is refused comes on top, twice while it grows.
        let ran = report(&file, Some(memory(bomb.len()).expect("a limit") + (192 << 20)));
        ran.is_sound(name, &[2]);
        assert!(ran.stderr.contains(name) && ran.stderr.contains("decompress"), "{name}: {}", ran.stderr);
    }
}

#[test]
fn one_line_of_many_megabytes() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("line.heap");
    let size = if thorough() { 1 << 30 } else { 48 << 20 };
    for (what, unit) in [("blanks", " "), ("addresses", " 0x7f0000001000"), ("one word", "f")] {
        let mut text = String::from("heap_v2/524288\n  t*: 1: 100 [0: 0]\n@ 0x1000");
        while text.len() < size {
            text.push_str(unit);
        }
        std::fs::write(&file, &text).expect("writable");
        report(&file, memory(text.len())).is_sound(&format!("a line of {what}"), &[0, 2]);
    }
    std::fs::write(&file, vec![b'x'; size]).expect("writable");
    report(&file, memory(size)).is_sound("a line of nothing known", &[2]);
}

#[test]
fn a_million_threads() {
    let count = if thorough() { 10_000_000 } else { 1_000_000 };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("threads.heap");
    let mut text = format!("heap_v2/524288\n  t*: {count}: {count}00 [0: 0]\n");
    for thread in 0..count {
        text.push_str(&format!("  t{thread}: 1: 100 [0: 0]\n"));
    }
    text.push_str(&format!("@ 0x1000 0x2000\n  t*: {count}: {count}00 [0: 0]\n"));
    for thread in 0..count {
        text.push_str(&format!("  t{thread}: 1: 100 [0: 0]\n"));
    }
    std::fs::write(&file, &text).expect("writable");
    report(&file, memory(text.len())).is_sound("a million threads", &[0, 2]);
}

#[test]
fn numbers_at_the_ends_of_their_range() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("1763650000123.heap");
    let other = folder.path().join("1763650060123.heap");
    let most = u64::MAX;
    for rate in [0, 1, 2, 1 << 19, 1 << 63, most] {
        for (count, bytes) in [(most, most), (1 << 63, most), (1, most), (most, 1), (0, 0), (0, most), (1, 0)] {
            let stack = |count: u64, bytes: u64| {
                format!("@ 0x1000 0x2000\n  t*: {count}: {bytes} [{count}: {bytes}]\n  t0: {count}: {bytes} [{count}: {bytes}]\n")
            };
            let dump = |count: u64, bytes: u64| {
                format!(
                    "heap_v2/{rate}\n  t*: {count}: {bytes} [{count}: {bytes}]\n  t0: {count}: {bytes} [{count}: {bytes}]\n{}{}{}\nMAPPED_LIBRARIES:\n",
                    stack(count, bytes),
                    stack(count, bytes).replace("0x1000", "0x3000"),
                    stack(count, bytes).replace("0x1000", "0x4000"),
                )
            };
            std::fs::write(&file, dump(count, bytes)).expect("writable");
            std::fs::write(&other, dump(1, 1)).expect("writable");
            for call in super::program::calls() {
                let ran = Run::new(call.args(&file, &other), memory(4096)).go();
                let what = format!("{} {:?}, rate {rate}, {count} objects of {bytes} bytes", call.command, call.args);
                ran.is_sound(&what, call.codes);
                let out = String::from_utf8_lossy(&ran.stdout);
                let mut words = out.split(|c: char| !c.is_alphabetic());
                assert!(!words.any(|word| matches!(word, "NaN" | "inf")), "{what}: not a number in\n{out}");
            }
        }
    }
}
