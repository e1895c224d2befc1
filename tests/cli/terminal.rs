//! What a terminal and a shell get: help, topics, completions, manual pages, widths and colors.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const COMMANDS: [&str; 10] = ["report", "diff", "top", "flamegraph", "convert", "push", "check", "record", "help", "man"];

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

fn heaptriage(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    command.args(args).env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR").env_remove("CLICOLOR");
    command
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn run(args: &[&str]) -> String {
    text(&heaptriage(args).output().unwrap())
}

/// A peer's command, or `None` where it is not installed and need not be.
fn peer(name: &str) -> Option<Command> {
    let found = std::env::var_os("PATH").is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file()));
    assert!(found || std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "{name} is required and not installed");
    if !found {
        eprintln!("did not run: {name} is not installed");
    }
    found.then(|| Command::new(name))
}

#[test]
fn topics_are_read_with_help() {
    let concepts = run(&["help", "concepts"]);
    assert!(concepts.contains("Live is not leaked (heaptriage help live-and-leaked)"), "{concepts}");
    let sampling = run(&["help", "sampling"]);
    assert!(sampling.starts_with("Sampling and its error\n=====") && sampling.contains("P(s) = 1 - exp(-s / interval)"), "{sampling}");
    assert_eq!(run(&["help", "dirty"]), run(&["help", "dirty-muzzy-retained"]), "a beginning suffices");
    assert!(run(&["help"]).contains("Topics (heaptriage help TOPIC):"));
    assert!(run(&["help", "diff"]).contains("Examples:"));
    assert!(run(&["help", "cache", "clear"]).contains("cache clear"));
    let unknown = heaptriage(&["help", "gardening"]).output().unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said.contains("there is no help on `gardening`") && said.contains("topics are concepts, live-and-leaked"), "{said}");
}

#[test]
fn every_shell_takes_its_completions() {
    let directory = tempfile::tempdir().unwrap();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let file = directory.path().join(shell);
        std::fs::write(&file, run(&["completions", shell])).unwrap();
        let Some(mut peer) = peer(shell) else { continue };
        let output = peer.arg(check).arg(&file).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Bash offers commands, options and the words of an option.
    let Some(mut bash) = peer("bash") else { return };
    let script = "source \"$1\"; complete_of() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \
        _heaptriage heaptriage \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[@]}\"; }
        complete_of heaptriage fl; complete_of heaptriage flamegraph --ici; complete_of heaptriage flamegraph --palette ''";
    let output = bash.args(["--norc", "-c", script, "bash"]).arg(directory.path().join("bash")).output().unwrap();
    let offered = text(&output);
    let lines: Vec<&str> = offered.lines().collect();
    assert!(lines[0].split(' ').any(|word| word == "flamegraph"), "{offered}");
    assert_eq!(lines[1..], ["--icicle", "role crate safe"]);
}

#[test]
fn manual_pages_are_well_formed() {
    let directory = tempfile::tempdir().unwrap();
    let said = run(&["man", "--dir", directory.path().to_str().unwrap()]);
    assert!(said.contains("pages written to"), "{said}");
    for command in COMMANDS {
        let page = std::fs::read_to_string(directory.path().join(format!("heaptriage-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH OPTIONS"), "{command}");
        assert_eq!(page, run(&["man", command]));
    }
    let main = std::fs::read_to_string(directory.path().join("heaptriage.1")).unwrap();
    assert_eq!(main, run(&["man"]));
    assert!(main.contains(".TH HEAPTRIAGE 1") && main.contains("Is it a leak, and whose?"), "{}", &main[..300]);
    let Some(mut mandoc) = peer("mandoc") else { return };
    let pages: Vec<PathBuf> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let output = mandoc.args(["-T", "lint", "-W", "error"]).args(&pages).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let Some(mut mandoc) = peer("mandoc") else { return };
    let shown = text(&mandoc.args(["-T", "utf8"]).arg(directory.path().join("heaptriage-flamegraph.1")).output().unwrap());
    let plain: String = shown.replace('\u{8}', "");
    assert!(plain.contains("icicle"), "{plain}");
}

/// A command in a terminal of so many columns (util-linux' `script` makes one).
fn in_terminal(columns: usize, args: &[&str], environment: &[(&str, &str)]) -> Option<String> {
    let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let line = format!("stty cols {columns} rows 50; '{}' {}", env!("CARGO_BIN_EXE_heaptriage"), quoted.join(" "));
    let mut script = peer("script")?;
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm-256color");
    script.env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE").envs(environment.iter().copied());
    let output = script.output().unwrap();
    Some(text(&output).replace('\r', ""))
}

/// Without ANSI sequences.
fn plain(text: &str) -> String {
    regex::Regex::new("\u{1b}\\[[0-9;?]*[A-Za-z]").unwrap().replace_all(text, "").into_owned()
}

#[test]
fn tables_fit_a_terminal_and_are_never_cut_in_a_pipe() {
    let (capture, binary) = (captures().join("queries"), captures().join("bin/quarryd"));
    let (capture, binary) = (capture.to_str().unwrap(), binary.to_str().unwrap());
    for command in ["top", "tree", "diff"] {
        let args = ["-q", command, "--no-cache", "--binary", binary, capture];
        let piped = run(&args);
        assert!(piped.lines().any(|line| line.chars().count() > 110), "`{command}` has long lines: {piped}");
        assert!(!piped.contains('\u{1b}') && !piped.contains('…'), "{piped}");
        for columns in [80, 100] {
            let Some(shown) = in_terminal(columns, &args, &[]) else { return };
            let shown = plain(&shown);
            let rows = shown.lines().filter(|line| line.contains("quarryd::"));
            let widest = rows.map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= columns, "`{command}` at {columns} columns: {widest}\n{shown}");
            assert!(shown.lines().count() >= piped.lines().count(), "rows are cut, not left out");
        }
    }
}

#[test]
fn colors_follow_the_environment() {
    let (capture, binary) = (captures().join("queries"), captures().join("bin/quarryd"));
    let diff = ["-q", "diff", "--no-cache", "--binary", binary.to_str().unwrap(), capture.to_str().unwrap()];
    let forced = |name: &str, value: &str| text(&heaptriage(&diff).env(name, value).output().unwrap()).contains('\u{1b}');
    assert!(!forced("CLICOLOR", "1"), "a pipe gets none");
    assert!(forced("CLICOLOR_FORCE", "1"), "unless it is forced");
    let with = |when: &'static str| run(&["--color", when].into_iter().chain(diff).collect::<Vec<_>>()).contains('\u{1b}');
    assert!(with("always") && !with("never") && !with("auto"));
    let Some(shown) = in_terminal(100, &diff, &[]) else { return };
    assert!(shown.contains('\u{1b}'), "a terminal gets colors");
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR", "0")] {
        let shown = in_terminal(100, &diff, &[(name, value)]).unwrap();
        assert!(!shown.contains('\u{1b}'), "{name}={value}: {shown}");
    }
}

#[test]
fn who_waits_sees_a_bar_and_it_goes() {
    let Some(mut script) = peer("script") else { return };
    let dump = captures().join("../leaky/release/1795831965500.heap.gz");
    let line = format!(
        "(sleep 1.5; cat '{}') | '{}' top - --top 1 --no-cache --sysroot /nonexistent",
        dump.display(),
        env!("CARGO_BIN_EXE_heaptriage")
    );
    let output = script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm-256color").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("\r\x1b[K[--------------------] reading 0 of 1 files, 1 s"), "{text}");
    let (_, result) = text.rsplit_once("\r\x1b[K").unwrap();
    assert!(result.starts_with("40.2 MiB live"), "{text}");
}
