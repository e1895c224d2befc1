//! What the main commands print over committed fixtures, byte for byte (`tests/goldens`).
//!
//! A change of wording or layout shows here as a difference to review. `INSTA_UPDATE=always cargo test --test cli goldens`
//! writes the files anew.

use std::path::{Path, PathBuf};
use std::process::Command;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[track_caller]
fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../goldens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(
        concat!(
            r"\b",
            env!("CARGO_PKG_VERSION_MAJOR"),
            r"\.",
            env!("CARGO_PKG_VERSION_MINOR"),
            r"\.",
            env!("CARGO_PKG_VERSION_PATCH"),
            r"\b"
        ),
        "VERSION",
    );
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Runs a command in the folder of fixtures, where no binary of this machine names an address.
#[track_caller]
fn output(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .current_dir(fixtures())
        .args(args)
        .env_remove("PPROF_BINARY_PATH")
        .env_remove("COLUMNS")
        .env_remove("HEAPTRIAGE_DUCKDB")
        .env_remove("HEAPTRIAGE_INSTANCE")
        .env_remove("HEAPTRIAGE_BUILD")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const ACCUM: &str = "heap/jemalloc-5.3.0_unbias-on_accum-on.heap";
const FIRST: &str = "leaky/release/1795831965000.heap.gz";
const SECOND: &str = "leaky/release/1795831965500.heap.gz";
const LEAKY: [&str; 4] = ["--binary", "leaky/release/leaky", "--sysroot", "/nonexistent"];

/// A view of the second dump of `leaky`.
#[track_caller]
fn view(name: &str, args: &[&str]) {
    golden(name, &output(&[args, &["--no-cache"], &LEAKY].concat()));
}

#[test]
fn top() {
    for format in ["text", "json", "csv", "jeprof"] {
        view(&format!("top__leaky__{format}"), &["top", SECOND, "--format", format]);
    }
    view("top__leaky_by_stack__text", &["top", SECOND, "--by", "stack", "--cum"]);
    view("top__leaky_all_frames__text", &["top", SECOND, "--all-frames", "--cum", "--top", "40"]);
    golden("top__without_names__text", &output(&["top", ACCUM, "--sysroot", "/nonexistent"]));
    golden("top__every_allocation__text", &output(&["top", "heap/gperftools-2.10_heapprofile.heap", "--sysroot", "/nonexistent"]));
    golden("top__growth__text", &output(&["top", "peers/google-pprof/cppbench.growth", "--top", "3", "--sysroot", "/nonexistent"]));
}

#[test]
fn diff() {
    for format in ["text", "json", "csv", "folded", "jeprof", "svg"] {
        view(&format!("diff__leaky__{format}"), &["diff", FIRST, SECOND, "--format", format]);
    }
    view("diff__by_line__text", &["diff", FIRST, SECOND, "--by", "line"]);
}

#[test]
fn calls() {
    for format in ["text", "json"] {
        view(&format!("tree__leaky__{format}"), &["tree", SECOND, "--format", format]);
        view(&format!("peek__leaky__{format}"), &["peek", SECOND, "serve$", "--format", format]);
        view(&format!("list__leaky__{format}"), &["list", SECOND, "remember", "--source-dir", "leaky", "--format", format]);
    }
}

#[test]
fn flamegraphs() {
    view("flamegraph__leaky__folded", &["flamegraph", SECOND, "--format", "folded"]);
    view("flamegraph__leaky__svg", &["flamegraph", SECOND]);
    // Looked at in a browser: red `remember` and `intern`, wider than all else; the net in the title.
    view("flamegraph_base__leaky__svg", &["flamegraph", SECOND, "--base", FIRST]);
}

/// A capture with its binary, and one where nothing is wrong.
#[test]
fn captures() {
    const QUARRYD: [&str; 5] = ["--binary", "captures/bin/quarryd", "--sysroot", "/nonexistent", "--no-cache"];
    let of = |args: &[&str]| output(&[args, &QUARRYD].concat());
    golden("report__segments__text", &of(&["report", "captures/segments"]));
    golden("report__segments__markdown", &of(&["report", "captures/segments", "--format", "markdown"]));
    golden("report__front__text", &of(&["report", "captures/front"]));
    for format in ["text", "csv"] {
        golden(&format!("trend__segments__{format}"), &of(&["trend", "captures/segments", "--format", format]));
    }
    for format in ["text", "json", "csv", "svg"] {
        golden(&format!("rss__segments__{format}"), &output(&["rss", "captures/segments", "--format", format]));
    }
}

/// The commands and their subcommands, as `--help` lists them.
fn commands(of: &[&str]) -> Vec<String> {
    let help = output(&[of, &["--help"]].concat());
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let list = list.lines().take_while(|line| !line.is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help() {
    golden("help", &output(&["--help"]));
    let all = commands(&[]);
    assert!(all.len() >= 18, "{all:?}");
    for command in &all {
        golden(&format!("help__{command}"), &output(&[command, "--help"]));
        for sub in commands(&[command]) {
            golden(&format!("help__{command}_{sub}"), &output(&[command, &sub, "--help"]));
        }
    }
}
