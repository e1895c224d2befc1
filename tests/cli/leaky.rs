//! A program with two leaks of known size (`fixtures/leaky`), in every build in which programs are shipped: the leaking
//! function is the first line, by its owner frame, with file and line, and the truth lies in the interval.

use heaptriage::binary::elf::ElfFile;
use heaptriage::input::compress::decompress;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The dumps in each folder.
const FIRST: &str = "1795831965000.heap.gz";
const SECOND: &str = "1795831965500.heap.gz";
const BUILDS: [&str; 4] = ["release", "debug", "lines", "stripped"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/leaky")
}

/// Runs a command in the folder of the fixture.
#[track_caller]
fn run(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .current_dir(folder())
        .args(args)
        .args(["--no-cache", "--sysroot", "/nonexistent"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn diff(args: &[&str]) -> Value {
    let value = serde_json::from_str(&run(&[&["diff", "--json"], args].concat())).unwrap();
    crate::schemas::conforms("diff", &value);
    value
}

/// The executables, unpacked.
struct Shop(tempfile::TempDir);

impl Shop {
    fn new() -> Self {
        let shop = Shop(tempfile::tempdir().unwrap());
        for build in ["debug", "lines", "stripped"] {
            let packed = std::fs::read(folder().join(build).join("leaky.zst")).unwrap();
            std::fs::create_dir(shop.0.path().join(build)).unwrap();
            std::fs::write(shop.0.path().join(build).join("leaky"), decompress(&packed).unwrap().value).unwrap();
        }
        shop
    }

    /// The two dumps of a build, and its executable.
    fn build(&self, build: &str) -> [String; 3] {
        let folder = if build == "release" { folder() } else { self.0.path().to_owned() };
        let binary = folder.join(build).join("leaky");
        [format!("{build}/{FIRST}"), format!("{build}/{SECOND}"), binary.to_str().unwrap().to_owned()]
    }

    /// A folder with the debug file of the stripped executable, by build-id.
    fn debug_dir(&self) -> String {
        let id = ElfFile::open(&folder().join("release/leaky")).unwrap().build_id().unwrap().to_string();
        let of_id = self.0.path().join(".build-id").join(&id[..2]);
        std::fs::create_dir_all(&of_id).unwrap();
        std::fs::copy(folder().join("release/leaky"), of_id.join(format!("{}.debug", &id[2..]))).unwrap();
        self.0.path().to_str().unwrap().to_owned()
    }
}

/// What the program counted as lost between its dumps, in objects and bytes.
fn truth(build: &str, function: &str) -> (i64, i64) {
    let text = std::fs::read_to_string(folder().join(build).join("truth.json")).unwrap();
    let truth: Value = serde_json::from_str(&text).unwrap();
    let of = |key: &str| truth["second"][function][key].as_i64().unwrap() - truth["first"][function][key].as_i64().unwrap();
    (of("objects"), of("bytes"))
}

/// The line of a source file that has `text`.
fn line(file: &str, text: &str) -> u64 {
    let source = std::fs::read_to_string(folder().join("src").join(file)).unwrap();
    1 + source.lines().position(|line| line.contains(text)).unwrap() as u64
}

#[track_caller]
fn row<'a>(diff: &'a Value, function: &str) -> &'a Value {
    let rows = diff["rows"].as_array().unwrap();
    let found = rows.iter().find(|row| row["name"].as_str().unwrap().ends_with(function));
    found.unwrap_or_else(|| panic!("no row {function}: {rows:?}"))
}

#[track_caller]
fn holds(row: &Value, bytes: i64) {
    let (low, high) = (row["interval"]["low"].as_i64().unwrap(), row["interval"]["high"].as_i64().unwrap());
    assert!((low..=high).contains(&bytes), "{bytes} is not in {low}..={high}: {row}");
}

#[test]
fn the_leak_is_the_first_line_in_every_build() {
    let (remember, intern) = (line("sessions.rs", "String::with_capacity"), line("intern.rs", "Box::leak"));
    let shop = Shop::new();
    let debug_dir = shop.debug_dir();
    for build in BUILDS {
        let [base, current, binary] = shop.build(build);
        let mut args = vec![base.as_str(), &current, "--binary", &binary];
        if build == "stripped" {
            args.extend(["--debug-dir", &debug_dir]);
        }
        let diff = diff(&args);
        assert_eq!(diff["match"], "address", "{build}");
        let first = &diff["rows"][0];
        assert_eq!((&first["name"], &first["crate"]), (&"leaky::sessions::Registry::remember".into(), &"leaky".into()), "{build}: {first}");
        assert!(first["file"].as_str().unwrap().ends_with("src/sessions.rs"), "{build}: {first}");
        assert_eq!((first["line"].as_u64(), &first["significant"]), (Some(remember), &true.into()), "{build}");
        let (objects, bytes) = truth(build, "remember");
        holds(first, bytes);
        let estimate = first["delta_flat_objects"].as_i64().unwrap();
        assert!((estimate - objects).abs() * 5 < objects, "{build}: lost {objects} objects, estimated {estimate}");
        let second = row(&diff, "intern::intern");
        assert_eq!((second["line"].as_u64(), &second["significant"]), (Some(intern), &true.into()), "{build}: {second}");
        holds(second, truth(build, "intern").1);
        // Renewed all the time, and as large as before.
        let cache = row(&diff, "pages::Cache::load");
        assert_eq!(cache["significant"], false, "{build}: {cache}");
        holds(cache, 0);
        let symbols = diff["symbols"].as_array().unwrap().iter().find(|module| module["module"] == "leaky").unwrap();
        let level = if build == "lines" { "lines" } else { "full" };
        assert_eq!((&symbols["status"], &symbols["debug_info"]), (&"ok".into(), &level.into()), "{build}: {symbols}");
        assert_eq!(symbols["addresses"], symbols["symbolized"], "{build}: {symbols}");

        let text = run(&[&["diff"], args.as_slice()].concat());
        let first = text.lines().skip_while(|line| !line.trim_start().starts_with("Grew")).nth(1).unwrap();
        assert!(
            first.contains("leaky::sessions::Registry::remember  ") && first.contains(&format!("src/sessions.rs:{remember}")),
            "{text}"
        );
    }
}

#[test]
fn without_its_debug_file_a_stripped_program_has_no_names_and_says_what_to_do() {
    let shop = Shop::new();
    let [base, current, binary] = shop.build("stripped");
    let text = run(&["diff", &base, &current, "--binary", &binary]);
    assert!(text.contains("leaky+0x") && !text.contains("remember"), "{text}");
    assert!(text.contains("Symbols: leaky 0 % (no symbols)"), "{text}");
    assert!(text.contains("no debug information: install the debug package (build-id "), "{text}");
    let unnamed = diff(&[&base, &current, "--binary", &binary, "--by", "address"]);
    let named = diff(&[&base, &current, "--binary", &binary, "--debug-dir", &shop.debug_dir(), "--by", "address"]);
    assert_eq!(unnamed["total"], named["total"], "names change no sum");
}

#[test]
fn another_process_and_another_build() {
    let shop = Shop::new();
    let [_, current, binary] = shop.build("release");
    let [debug_base, _, debug] = shop.build("debug");
    let restarted = diff(&[&format!("restarted/{FIRST}"), &current, "--binary", &binary]);
    assert_eq!(restarted["match"], "module");
    assert_eq!(restarted["rows"][0]["name"], "leaky::sessions::Registry::remember");
    holds(&restarted["rows"][0], truth("release", "remember").1);
    let rebuilt = diff(&[&debug_base, &current, "--binary", &debug, "--binary", &binary]);
    assert_eq!(rebuilt["match"], "name", "{}", rebuilt["symbols"]);
    assert_eq!(rebuilt["rows"][0]["name"], "leaky::sessions::Registry::remember");
    holds(&rebuilt["rows"][0], truth("release", "remember").1);
    let words = run(&["diff", &debug_base, &current, "--binary", &debug, "--binary", &binary]);
    assert!(words.lines().next().unwrap().ends_with("another build, matched by normalized names"), "{words}");
}

#[test]
fn every_filter_is_echoed_and_leaves_what_it_says() {
    let [_, current, binary] = Shop::new().build("release");
    let top = |args: &[&str]| -> Value {
        let value: Value = serde_json::from_str(&run(&[&["top", &current, "--json", "--binary", &binary], args].concat())).unwrap();
        crate::schemas::conforms("top", &value);
        value
    };
    let names = |top: &Value| -> Vec<String> {
        top["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().rsplit("::").next().unwrap().to_owned()).collect()
    };
    let all = top(&[]);
    let left_out = |top: &Value| top["left_out_stacks"].as_u64().unwrap();
    assert_eq!(left_out(&all), 0);
    for (filter, value, echo, has, has_not) in [
        ("--focus", "remember", "--focus remember", "remember", "intern"),
        ("--ignore", "remember", "--ignore remember", "intern", "remember"),
        ("--hide", "remember", "--hide remember", "serve", "remember"),
        ("--show", "remember|intern", "--show 'remember|intern'", "remember", "serve"),
        ("--show-from", "remember", "--show-from remember", "remember", "intern"),
        ("--crate", "leaky", "--crate leaky", "remember", "[no stack]"),
        ("--thread", "worker", "--thread worker", "remember", "[no stack]"),
        ("--min-size", "1000", "--min-size 1000", "load", "intern"),
        ("--max-size", "400", "--max-size 400", "intern", "load"),
    ] {
        let found = top(&[filter, value]);
        assert_eq!(found["filters"], serde_json::json!([echo]), "{filter}");
        let names = names(&found);
        assert!(names.iter().any(|name| name == has) && names.iter().all(|name| name != has_not), "{filter}: {names:?}");
        let text = run(&["top", &current, "--binary", &binary, filter, value]);
        assert!(text.contains(&format!("Filters: {echo}")), "{filter}: {text}");
    }
}
