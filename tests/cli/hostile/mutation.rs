//! Every fixture, mutated, through every command of the whole program.

use super::entry_points::{fixtures, kind};
use super::mutate::{MUTATIONS, Random, mutate, plain};
use super::program::{Run, calls};
use super::thorough;
use std::collections::HashMap;
use std::path::Path;

/// Memory that a run may use: this much, and four times its input.
pub const FREE_MEMORY: u64 = 64 << 20;
/// Largest fixture that is mutated here.
const MOST_BYTES: u64 = 400_000;

pub fn memory(input: usize) -> Option<u64> {
    Some(FREE_MEMORY + 4 * input as u64)
}

fn base() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heap/jemalloc-5.3.0_unbias-off.heap")
}

#[test]
fn mutated_fixtures_end_well() {
    let calls = calls();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let base = base();
    let base_size = base.metadata().expect("a fixture").len() as usize;
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (turn, path) in fixtures().into_iter().enumerate() {
        if path.metadata().expect("a fixture").len() > MOST_BYTES {
            continue;
        }
        // The snapshots of a capture are alike: the first of each kind goes through every call, each further one
        // through one call, in turn, so that no fixture and no command is left out and the test stays short. All pairs are `HEAPTRIAGE_THOROUGH`.
        let like = seen.entry(kind(&path)).or_default();
        let calls = if *like == 0 || thorough() { &calls[..] } else { std::slice::from_ref(&calls[turn % calls.len()]) };
        *like += 1;
        let bytes = std::fs::read(&path).expect("fixtures are readable");
        let content = plain(&bytes);
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let mut random = Random::of(&name);
        for call in calls {
            let mutation = *random.pick(&MUTATIONS);
            // One in four as it is in the file, compressed or not; the others behind that.
            let (part, input) = if random.below(4) == 0 { ("the file", &bytes) } else { ("its content", &content) };
            let mutated = mutate(input, mutation, &mut random);
            let file = folder.path().join("mutated.heap");
            std::fs::write(&file, &mutated).expect("writable");
            let ran = Run::new(call.args(&file, &base), memory(mutated.len() + base_size)).go();
            let what = format!("{} {:?} on {name} after {mutation:?} of {part}", call.command, call.args);
            ran.is_sound(&what, call.codes);
            if ran.code == Some(2) && !call.args.contains(&"BASE") {
                // A sound input of another kind is no error of that file: then what is missing is named.
                let named = ran.stderr.contains("mutated.heap") || ran.stderr.contains("among the inputs");
                assert!(named, "{what}: the error does not name the file\n{}", ran.stderr);
            }
        }
    }
}

/// A dump cut at each of many places: it is used, and said to be cut, or refused by name.
#[test]
fn a_dump_cut_anywhere_ends_well() {
    let calls = calls();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let bytes = std::fs::read(base()).expect("a fixture");
    let step = (bytes.len() / 60).max(1);
    for (round, length) in (0..bytes.len()).step_by(step).enumerate() {
        let file = folder.path().join("cut.heap");
        std::fs::write(&file, &bytes[..length]).expect("writable");
        let call = calls[round % calls.len()];
        let ran = Run::new(call.args(&file, &base()), memory(2 * bytes.len())).go();
        ran.is_sound(&format!("{} {:?} on {length} of {} bytes", call.command, call.args, bytes.len()), call.codes);
    }
}

/// The limit on memory is one: below what the program needs to start it ends badly.
#[test]
fn the_memory_limit_is_enforced() {
    let ran = Run::new([std::ffi::OsString::from("report"), base().into_os_string()], Some(200 << 10)).go();
    assert!(ran.code != Some(0), "the limit of these tests has no effect");
}
