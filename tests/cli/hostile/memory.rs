//! The module with `unsafe` in it, under valgrind's memcheck: a binary is mapped, names are read from it by two
//! threads, and sites by a walk through its code.

use std::path::Path;
use std::process::Command;

fn has_valgrind() -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join("valgrind").is_file()));
    assert!(found || std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "valgrind is not installed");
    if !found {
        eprintln!("did not run: valgrind is not installed");
    }
    found
}

fn memcheck(arguments: &[&str]) -> String {
    const WRONG: i32 = 99;
    let out = Command::new("valgrind")
        .args(["-q", &format!("--error-exitcode={WRONG}"), env!("CARGO_BIN_EXE_heaptriage")])
        .args(arguments)
        .args(["--no-cache", "-q"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/leaky/release"))
        .output()
        .expect("valgrind runs");
    assert_eq!(out.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

#[test]
fn a_mapped_binary_is_read_inside_its_bounds() {
    if !has_valgrind() {
        return;
    }
    let named = memcheck(&["top", "1795831965500.heap.gz", "--binary", "leaky", "--jobs", "2"]);
    assert!(named.contains("leaky::"), "{named}");
    memcheck(&["sites", "leaky"]);
}
