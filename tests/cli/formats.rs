//! `convert` and `diff --format pprof`: read again by other tools and by ourselves, with the same totals.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(args).output().expect("the built program runs")
}

/// Converts a shipped capture and returns what was written.
#[track_caller]
fn convert(capture: &str, to: &str) -> Vec<u8> {
    let (input, binary) = (captures().join(capture), captures().join("bin/quarryd"));
    let output =
        run(&["-q", "convert", input.to_str().unwrap(), "--no-cache", "--binary", binary.to_str().unwrap(), "--to", to, "-o", "-"]);
    assert!(output.status.success(), "{to}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
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

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// Lines of `go tool pprof -raw` or `-top`.
fn pprof(args: &[&str], file: &Path) -> Option<String> {
    let output = peer("go")?.args(["tool", "pprof", "-symbolize=none"]).args(args).arg(file).output().expect("go runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn go_reads_our_pprof_with_the_same_totals_and_top_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queries.pb.gz");
    std::fs::write(&file, convert("queries", "pprof")).unwrap();
    let ours = json(&convert("queries", "json"));
    let total = ours["total"]["inuse_bytes"].as_i64().unwrap();
    let Some(top) = pprof(&["-top", "-unit=B", "-sample_index=inuse_space", "-nodecount=20000", "-nodefraction=0"], &file) else { return };
    assert!(top.contains(&format!("of {total}B total")), "{total} in {top}");
    assert!(top.contains("Build ID:") && top.contains("Type: inuse_space"), "{top}");
    // Cumulative bytes by function from our own JSON, the allocator's frames aside: pprof drops them.
    let frames = ours["frames"].as_array().unwrap();
    let mut cumulative = std::collections::BTreeMap::<&str, i64>::new();
    for stack in ours["stacks"].as_array().unwrap() {
        let names: std::collections::BTreeSet<&str> = (stack["frames"].as_array().unwrap().iter())
            .map(|frame| frames[frame.as_u64().unwrap() as usize]["function"].as_str().unwrap())
            .collect();
        for name in names {
            *cumulative.entry(name).or_default() += stack["inuse_bytes"].as_i64().unwrap();
        }
    }
    let mut seen = 0;
    for line in top.lines().skip_while(|line| !line.trim_start().starts_with("flat")).skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = fields[5..].join(" ");
        // pprof writes function names without what stands in parentheses, and marks inlined ones.
        let name = name.trim_end_matches(" (inline)").trim_end_matches(" (partial-inline)");
        if let Some(&bytes) = cumulative.get(name) {
            assert_eq!(fields[3].trim_end_matches('B').parse::<i64>().unwrap(), bytes, "{line}");
            seen += 1;
        }
    }
    assert!(seen >= 30, "{seen} functions were compared: {top}");
    let comments = pprof(&["-comments"], &file).unwrap();
    assert!(comments.contains("1 sample per 128.0 KiB"), "{comments}");
    let raw = pprof(&["-raw"], &file).unwrap();
    assert!(raw.contains("PeriodType: space bytes\nPeriod: 131072"), "{}", &raw[..200]);
}

#[test]
fn our_own_reader_agrees_with_what_we_write() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queries.pb.gz");
    std::fs::write(&file, convert("queries", "pprof")).unwrap();
    let output = run(&["-q", "convert", file.to_str().unwrap(), "--to", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (again, ours) = (json(&output.stdout), json(&convert("queries", "json")));
    assert_eq!(again["total"]["inuse_bytes"], ours["total"]["inuse_bytes"]);
    assert_eq!(again["stacks"].as_array().map(Vec::len), ours["stacks"].as_array().map(Vec::len));
}

#[test]
fn a_difference_as_pprof_is_the_sum_of_the_rows_of_diff() {
    let directory = tempfile::tempdir().unwrap();
    let (file, input, binary) = (directory.path().join("diff.pb.gz"), captures().join("queries"), captures().join("bin/quarryd"));
    let args = |format: &'static str| {
        ["-q", "diff", input.to_str().unwrap(), "--no-cache", "--binary", binary.to_str().unwrap(), "--format", format].map(str::to_owned)
    };
    let text = run(&args("json").iter().map(String::as_str).collect::<Vec<_>>());
    let delta = json(&text.stdout)["total"]["delta_bytes"].as_f64().unwrap();
    let mut pprof_args = args("pprof").to_vec();
    pprof_args.extend(["-o".to_owned(), file.to_str().unwrap().to_owned()]);
    let output = run(&pprof_args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let Some(raw) = pprof(&["-raw"], &file) else { return };
    let samples = raw.lines().skip_while(|line| !line.starts_with("Samples:")).skip(2).take_while(|line| !line.starts_with("Locations"));
    let sum: f64 = samples.filter_map(|line| line.split(':').next()?.split_whitespace().last()?.parse::<f64>().ok()).sum();
    assert!((sum - delta).abs() <= 64.0, "{sum} {delta}");
}

#[test]
fn speedscope_keeps_its_schema() {
    let written = json(&convert("queries", "speedscope"));
    let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas/speedscope-1.25.0.json.gz")).unwrap();
    let schema: Value = serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema).unwrap().iter_errors(&written).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let frames = written["shared"]["frames"].as_array().unwrap().len() as u64;
    for profile in written["profiles"].as_array().unwrap() {
        let (samples, weights) = (profile["samples"].as_array().unwrap(), profile["weights"].as_array().unwrap());
        assert_eq!(samples.len(), weights.len());
        assert!(samples.iter().flat_map(|s| s.as_array().unwrap()).all(|frame| frame.as_u64().unwrap() < frames));
        assert_eq!(weights.iter().map(|w| w.as_i64().unwrap()).sum::<i64>(), profile["endValue"].as_i64().unwrap());
    }
}

/// The sum of the costs that are a function's own: lines of numbers that follow no `calls=`.
fn flat_of_callgrind(text: &str) -> i64 {
    let mut previous = "";
    let mut sum = 0;
    for line in text.lines() {
        let cost = line.starts_with(|c: char| c.is_ascii_digit()) && !previous.starts_with("calls=");
        sum += if cost { line.split(' ').nth(1).unwrap().parse::<i64>().unwrap() } else { 0 };
        previous = line;
    }
    sum
}

#[test]
fn every_format_carries_the_same_total() {
    let total = json(&convert("queries", "json"))["total"]["inuse_bytes"].as_i64().unwrap();
    let text = |to| String::from_utf8(convert("queries", to)).expect("UTF-8");
    let folded: i64 = text("folded").lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum();
    let csv: i64 = text("csv").lines().skip(1).map(|line| line.split(',').next().unwrap().parse::<i64>().unwrap()).sum();
    assert_eq!((folded, csv), (total, total));
    let callgrind = text("callgrind");
    assert!(callgrind.contains(&format!("summary: {total} ")));
    assert_eq!(flat_of_callgrind(&callgrind), total, "flat costs add up, also of stacks without frames of the program");
    assert!(!callgrind.contains("prof_backtrace") && callgrind.contains(" hidden; --all-frames shows them"));
    let firefox = json(&convert("queries", "firefox"));
    let live: i64 = firefox["threads"][0]["nativeAllocations"]["weight"].as_array().unwrap().iter().map(|w| w.as_i64().unwrap()).sum();
    assert_eq!(live, total, "what is allocated and not freed at the end");
    let counters: Vec<&str> = firefox["counters"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert!(counters.contains(&"RSS") && counters.contains(&"live heap"), "{counters:?}");
}

#[test]
fn an_unknown_extension_is_refused_with_advice() {
    let input = captures().join("queries");
    let output = run(&["convert", input.to_str().unwrap(), "-o", "/nonexistent/leak.svg"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("flamegraph"));
}

#[test]
fn pprof_is_an_input_of_every_view() {
    let directory = tempfile::tempdir().unwrap();
    let (binary, input) = (captures().join("bin/quarryd"), captures().join("queries"));
    let (binary, input) = (binary.to_str().unwrap(), input.to_str().unwrap());
    let write = |snapshot: &str| {
        let file = directory.path().join(format!("{snapshot}.pb.gz")).to_str().unwrap().to_owned();
        let output = run(&["-q", "convert", input, "--no-cache", "--binary", binary, "--snapshot", snapshot, "-o", &file]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        file
    };
    let (first, last) = (write("1"), write("10"));
    let of = |args: &[&str]| {
        let output = run(&[&["-q"], args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        json(&output.stdout)
    };
    // Of each function the same number, whether read from the dump or from pprof; estimates are rounded on the way.
    let rows = |value: &Value, key: &str| -> Vec<(String, f64)> {
        let rows = value["rows"].as_array().unwrap().iter();
        rows.take(10).map(|row| (row["name"].as_str().unwrap().to_owned(), row[key].as_f64().unwrap())).collect()
    };
    let same = |a: Vec<(String, f64)>, b: Vec<(String, f64)>| {
        assert_eq!(a.len(), b.len());
        for ((name, bytes), (other, others)) in a.iter().zip(&b) {
            assert!(name == other && (bytes - others).abs() <= 64.0, "{name} {bytes}, {other} {others}");
        }
    };
    let dump = of(&["top", input, "--no-cache", "--binary", binary, "--top", "10"]);
    same(rows(&of(&["top", &last, "--top", "10"]), "flat_bytes"), rows(&dump, "flat_bytes"));
    let diff = of(&["diff", &first, &last, "--top", "10"]);
    let dumps = of(&["diff", input, "--no-cache", "--binary", binary, "--top", "10"]);
    assert!((diff["total"]["delta_bytes"].as_f64().unwrap() - dumps["total"]["delta_bytes"].as_f64().unwrap()).abs() <= 640.0);
    let report = of(&["report", &first, &last]);
    assert_eq!(report["capture"]["snapshots"], 2);
    assert!(
        report["suspects"][0]["stack"].as_array().unwrap().iter().any(|f| f["function"].as_str().unwrap().starts_with("quarryd::engine"))
    );
}

#[test]
fn filters_choose_stacks_and_frames_of_what_is_converted() {
    let total = |args: &[&str]| {
        let (input, binary) = (captures().join("queries"), captures().join("bin/quarryd"));
        let fixed = ["-q", "convert", input.to_str().unwrap(), "--no-cache", "--binary", binary.to_str().unwrap(), "--to", "json"];
        let output = run(&[&fixed, args].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let value = json(&output.stdout);
        let used: std::collections::BTreeSet<u64> = (value["stacks"].as_array().unwrap().iter())
            .flat_map(|stack| stack["frames"].as_array().unwrap().iter().map(|frame| frame.as_u64().unwrap()))
            .collect();
        let names: Vec<String> = used.iter().map(|&f| value["frames"][f as usize]["function"].as_str().unwrap().to_owned()).collect();
        (value["total"]["inuse_bytes"].as_i64().unwrap(), names)
    };
    let (all, names) = total(&[]);
    let with = total(&["--focus", "plan_terms"]).0;
    assert!(0 < with && with < all);
    assert_eq!(with + total(&["--ignore", "plan_terms"]).0, all, "a stack has a frame that matches or has none");
    assert!(names.iter().any(|name| name.starts_with("bumpalo::")));
    let (same, hidden) = total(&["--hide", "^bumpalo::"]);
    assert!(same == all && !hidden.iter().any(|name| name.starts_with("bumpalo::")), "{hidden:?}");
    let (same, shown) = total(&["--show", "^quarryd::"]);
    assert!(same == all && shown.iter().all(|name| name.starts_with("quarryd::")), "{shown:?}");
    let (part, from) = total(&["--show-from", "^quarryd::engine::execute$"]);
    assert!(0 < part && part < all && !from.iter().any(|name| name.starts_with("capkit::spawn")), "{from:?}");
    // The number of folded stacks is the one asked for.
    let folded = |sample: &str| {
        let (input, binary) = (captures().join("queries"), captures().join("bin/quarryd"));
        let fixed = ["-q", "convert", input.to_str().unwrap(), "--no-cache", "--binary", binary.to_str().unwrap(), "--to", "folded"];
        let output = run(&[&fixed[..], &["--sample", sample]].concat());
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum::<i64>()
    };
    assert_eq!(folded("inuse_space"), all);
    assert_eq!(folded("inuse_objects"), json(&convert("queries", "json"))["total"]["inuse_objects"].as_i64().unwrap());
}

#[test]
fn inferno_draws_our_folded_stacks_without_loss() {
    let folded = String::from_utf8(convert("queries", "folded")).unwrap();
    let sum: usize = folded.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum();
    let mut options = inferno::flamegraph::Options::default();
    options.count_name = "bytes".to_owned();
    let mut svg = Vec::new();
    inferno::flamegraph::from_lines(&mut options, folded.lines(), &mut svg).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    let grouped = {
        let digits: Vec<char> = sum.to_string().chars().collect();
        let groups: Vec<String> = digits.rchunks(3).rev().map(|group| group.iter().collect()).collect();
        groups.join(",")
    };
    assert!(svg.contains(&format!("all ({grouped} bytes, 100%)")), "{grouped}");
    assert!(svg.contains("quarryd::engine::plan_terms"));
}
