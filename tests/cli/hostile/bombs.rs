//! Small inputs that unfold, and large ones that are nothing but large.

use super::mutate::plain;
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

/// Files of a capture whose every number is at an end of its range, from the third snapshot of five on: sums, differences and
/// ratios of all of them are taken somewhere.
#[test]
fn every_number_of_a_capture_at_an_end_of_its_range() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/segments");
    let mut files: Vec<_> = std::fs::read_dir(&fixture).expect("a fixture").map(|file| file.expect("a fixture").path()).collect();
    files.sort();
    let read = |path: &Path| String::from_utf8(plain(&std::fs::read(path).expect("a fixture"))).expect("text");
    let first = fixture.join("1795219454001.heap.gz");
    let sound = folder.path().join("1795219454001.heap");
    let numbers = ["18446744073709551615", "9223372036854775808", "9223372036854775807", "0", "1"];
    for number in if thorough() { &numbers[..] } else { &numbers[..2] } {
        for kind in ["heap", "smaps", "stats.json"] {
            let capture = folder.path().join(format!("{kind}-{number}"));
            std::fs::create_dir(&capture).expect("writable");
            for path in &files {
                let name = path.file_name().expect("a file").to_str().expect("text");
                let text = read(path);
                let Some((stem, rest)) = name.split_once('.').filter(|(stem, _)| stem.starts_with('1')) else {
                    std::fs::write(capture.join(name), text).expect("writable");
                    continue;
                };
                let rest = rest.trim_end_matches(".gz");
                let turn = files.iter().filter(|file| **file < *path && file.to_string_lossy().contains(rest)).count();
                let changed = rest == kind && turn >= 2;
                let text = if changed { each_number(&text, if kind == "smaps" { " kB" } else { "" }, number) } else { text };
                if turn < 5 {
                    std::fs::write(capture.join(format!("{stem}.{rest}")), text).expect("writable");
                }
            }
            std::fs::write(&sound, read(&first)).expect("writable");
            for call in super::program::calls() {
                let ran = Run::new(call.args(&capture, &sound), Some(256 << 20)).go();
                let what = format!("{} {:?}, {number} everywhere in {kind}", call.command, call.args);
                ran.is_sound(&what, call.codes);
                let out = String::from_utf8_lossy(&ran.stdout);
                let mut words = out.split(|c: char| !c.is_alphabetic());
                assert!(!words.any(|word| matches!(word, "NaN" | "inf")), "{what}: not a number in\n{out}");
            }
        }
    }
}

/// `text` with `number` for each decimal number that stands alone, or before `unit` only.
fn each_number(text: &str, unit: &str, number: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        let alone = out.ends_with([' ', ':', '[']) && after.starts_with([' ', ':', ',', ']', '}', '\n']);
        out.push_str(if alone && after.starts_with(unit) { number } else { digits });
        rest = after;
    }
    out + rest
}
