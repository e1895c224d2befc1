//! Every JSON output keeps its committed schema, over real captures and over inputs that have next to nothing; and every
//! key that `docs/json.md` promises is there.

use heaptriage::report::schemas::SCHEMAS;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Panics with every place of `value` that the schema `name` does not allow.
#[track_caller]
pub fn conforms(name: &str, value: &Value) {
    let (_, schema) = SCHEMAS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no schema `{name}`"));
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new(), "{name}");
    assert_eq!(value["schema"], format!("heaptriage/{name}/1"));
}

/// Runs a command in the folder of fixtures and checks what it prints; exit code 1 is one of `check`.
#[track_caller]
fn valid(name: &str, args: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    let output = command.current_dir(root().join("fixtures")).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || output.status.code() == Some(1) && args[0] == "check", "{args:?}: {stderr}");
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    conforms(name, &value);
    value
}

const NOWHERE: [&str; 2] = ["--sysroot", "/nonexistent"];

#[test]
fn schemas_are_schemas_and_are_printed() {
    for (name, text) in SCHEMAS {
        let schema: Value = serde_json::from_str(text).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        assert_eq!(schema["$id"], format!("heaptriage/{name}/1"));
        let output = Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(["schema", name]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(["schema", "nothing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[possible values: report, diff, top, "));
}

/// Reports of captures with names are checked where their verdicts are (`captures.rs`).
#[test]
fn captures_without_names() {
    for capture in ["captures/catalog", "captures/analytics", "captures/stem-serve", "captures/ordinals"] {
        valid("report", &[&["report", capture, "--json"], &NOWHERE[..]].concat());
        valid("trend", &[&["trend", capture, "--json"], &NOWHERE[..]].concat());
        valid("check", &[&["check", capture, "--json", "--max-rss", "1GiB"], &NOWHERE[..]].concat());
        valid("rss", &["rss", capture, "--json"]);
        valid("doctor", &["doctor", capture, "--json"]);
    }
    let redacted = valid("report", &["report", "captures/queries", "--json", "--redact", NOWHERE[0], NOWHERE[1]]);
    assert!(redacted["capture"]["process"].is_null());
}

#[test]
fn inputs_with_next_to_nothing() {
    for input in [
        "heap/gperftools-2.10_heap_v2_empty.heap",
        "heap/jemalloc-5.3.0_truncated-in-stacks.heap",
        "heap/jemalloc-5.3.0_no-maps-section.heap",
        "heap/gperftools-2.10_growth.heap",
        "peers/google-pprof/gobench.heap",
    ] {
        for (name, more) in [("report", &[][..]), ("trend", &[]), ("top", &[]), ("tree", &[]), ("peek", &["--all-frames", "."])] {
            let inputs: &[&str] = if name == "peek" { &["peek", input, "."] } else { &[name, input] };
            let more = if name == "peek" { &more[..1] } else { more };
            if name == "peek" && input.contains("_empty") {
                continue; // no function to look at: an error, tested where the views are
            }
            valid(name, &[inputs, &["--json"], more, &NOWHERE[..]].concat());
        }
        valid("diff", &[&["diff", input, input, "--json"], &NOWHERE[..]].concat());
    }
    for input in [
        "smaps/6.18_tcmalloc-2.10.smaps.gz",
        "statistics/jemalloc-5.3.0.txt.gz",
        "statistics/jemalloc-3.6.0.txt.gz",
        "smaps/6.18.smaps_rollup.gz",
    ] {
        valid("report", &["report", input, "--json"]);
        valid("rss", &["rss", input, "--json"]);
    }
}

#[test]
fn stacks_and_baselines_in_files() {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("out.json");
    let path = file.to_str().unwrap();
    let written = |args: &[&str]| -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_heaptriage")).current_dir(root().join("fixtures")).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
    };
    for dump in
        ["heap/jemalloc-5.3.0_unbias-on_accum-on.heap", "heap/jemalloc-5.3.0_threadnames.heap", "heap/gperftools-2.10_heap_v2_empty.heap"]
    {
        conforms("profile", &written(&["convert", dump, "-o", path, NOWHERE[0], NOWHERE[1]]));
    }
    let baseline = written(&["check", "captures/segments", "--write-baseline", path, NOWHERE[0], NOWHERE[1]]);
    conforms("baseline", &baseline);
    assert!(!baseline["suspects"].as_array().unwrap().is_empty());
}

#[test]
fn programs() {
    let quarryd = "captures/bin/quarryd";
    let sites = valid("sites", &["sites", quarryd, "--json"]);
    assert!(!sites["sites"].as_array().unwrap().is_empty());
    valid("owners", &["owners", quarryd, "--type", "bumpalo::Bump", "--json"]);
    valid("doctor", &["doctor", quarryd, "--json"]);
}

/// `.suspects[].rate.per` and the like of everything in `value`.
fn paths(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{at}.{key}");
                paths(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| paths(value, &format!("{at}[]"), into)),
        _ => {}
    }
}

#[test]
fn every_promised_key_is_there() {
    let text = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let binary = "captures/bin/quarryd";
    let diff = ["heap/jemalloc-5.3.0_unbias-off.heap", "heap/jemalloc-5.3.0_unbias-on.heap"];
    let outputs: [(&str, Vec<Vec<&str>>); 5] = [
        (
            "report",
            vec![
                vec!["report", "captures/segments", "--binary", binary, "--json"],
                vec!["report", "captures/facets", "--json"],
                vec!["report", diff[0], diff[1], "--json"],
            ],
        ),
        ("diff", vec![vec!["diff", diff[0], diff[1], "--json"]]),
        ("top", vec![vec!["top", diff[1], "--json"]]),
        ("sites", vec![vec!["sites", binary, "--json"]]),
        (
            "owners",
            vec![
                vec!["owners", "leaky/release/leaky", "--type", "leaky::Lost", "--json"],
                vec!["owners", binary, "--type", "bumpalo::Bump", "--json"],
                vec!["owners", binary, "--cycles", "--json"],
            ],
        ),
    ];
    let mut promised = 0;
    for example in text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        let example: Value = serde_json::from_str(example).unwrap_or_else(|error| panic!("{error}: {example}"));
        let name = example["schema"].as_str().unwrap().split('/').nth(1).unwrap();
        let (_, commands) = outputs.iter().find(|(known, _)| *known == name).unwrap();
        let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
        paths(&example, "", &mut wanted);
        for args in commands {
            paths(&valid(name, args), "", &mut found);
        }
        let missing: Vec<&String> = wanted.difference(&found).collect();
        assert_eq!(missing, Vec::<&String>::new(), "{name}");
        promised += wanted.len();
    }
    assert!(promised > 100, "the examples are there: {promised} keys");
}
