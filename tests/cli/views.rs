//! `top`, `diff`, `tree`, `peek`, `list` and `flamegraph`: arguments in, bytes and exit code out.

use crate::programs::has_tool;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ON: &str = "heap/jemalloc-5.3.0_unbias-on.heap";
const OFF: &str = "heap/jemalloc-5.3.0_unbias-off.heap";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Runs the program in the folder of fixtures; no binary of this machine gives a name to an address.
fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    command.current_dir(fixture("")).args(args).env("NO_COLOR", "1").env_remove("PPROF_BINARY_PATH");
    // `rss` names no address.
    command.args(["--sysroot", "/nonexistent"].iter().filter(|_| args[0] != "rss")).output().unwrap()
}

#[track_caller]
fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(name: &str, args: &[&str]) -> Value {
    let value: Value = serde_json::from_str(&stdout(args)).unwrap();
    crate::schemas::conforms(name, &value);
    value
}

/// Standard error and exit code 2.
#[track_caller]
fn fails(args: &[&str], expected: &str) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(stderr.contains(expected), "{args:?}\n{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is printed beside an error");
}

#[test]
fn an_unknown_error_is_no_error_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("x.pb.gz").display().to_string();
    stdout(&["convert", ON, "-o", &profile]);
    let text = stdout(&["top", &profile, "--all-frames", "--top", "3"]);
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("iB  ")).collect();
    assert!(rows.len() >= 3 && rows.iter().all(|row| row.contains(" ?  ")), "{text}");
    assert!(!text.contains('±') || text.matches('±').count() == 1, "the head of the column alone: {text}");
}

/// What the script of a page reads: its longest run of base64 letters, decoded and decompressed.
fn page_data(page: &str) -> String {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let data = page.split(|c| !LETTERS.contains(c)).max_by_key(|run| run.len()).unwrap();
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for letter in data.chars() {
        bits = bits << 6 | LETTERS.find(letter).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn redacted_views_tell_nothing_of_the_machine() {
    let folder = fixture("leaky/release");
    let at = |name: &str| folder.join(name).display().to_string();
    let (first, last, binary) = (at("1795831965000.heap.gz"), at("1795831965500.heap.gz"), at("leaky"));
    let calls: [(&[&str], &[&str]); 6] = [
        (&["top", &last], &["text", "json", "csv"]),
        (&["tree", &last], &["text", "json"]),
        (&["peek", &last, "remember"], &["text", "json"]),
        (&["list", &last, "remember"], &["text", "json"]),
        (&["diff", &first, &last], &["text", "json", "csv", "svg", "html"]),
        (&["flamegraph", &last], &["svg", "html", "folded"]),
    ];
    for (call, formats) in calls {
        for format in formats {
            let args = [call, &["--binary", &binary, "--format", format, "--redact"]].concat();
            let mut text = stdout(&args);
            if *format == "html" {
                text.push_str(&page_data(&text));
            }
            assert!(text.contains("remember"), "{args:?}: the names stay");
            for private in ["/srv/", env!("CARGO_MANIFEST_DIR"), "fixtures/"] {
                assert!(!text.contains(private), "{args:?}: {private}");
            }
        }
    }
    assert!(stdout(&["top", &last, "--binary", &binary]).contains("/srv/leaky/src/sessions.rs"), "only where it is asked for");
    fails(&["top", &last, "--thread", "worker", "--redact"], "--redact leaves out names of threads");
}

#[test]
fn redacted_conclusions_tell_nothing_of_the_machine() {
    let capture = fixture("captures/segments").display().to_string();
    let binary = fixture("captures/bin/quarryd").display().to_string();
    let named: [(&[&str], &[&str]); 3] = [
        (&["report"], &["text", "markdown", "json", "html", "sarif"]),
        (&["check", "--max-growth", "1GiB"], &["text", "json", "junit", "sarif"]),
        (&["trend"], &["text", "json", "csv"]),
    ];
    let private = ["/srv/", "/rustc/", "/usr/", "/registry/", env!("CARGO_MANIFEST_DIR"), "fixtures/", "quarryd (pid"];
    for (call, formats) in named {
        for format in formats {
            let args = [call, &[&capture, "--binary", &binary, "--format", format, "--redact"]].concat();
            let mut text = stdout(&args);
            if *format == "html" {
                text.push_str(&page_data(&text));
            }
            for private in private {
                assert!(!text.contains(private), "{args:?}: {private}");
            }
        }
    }
    for format in ["text", "json", "csv", "svg"] {
        let args = ["rss", &capture, "--format", format, "--redact"];
        let text = stdout(&args);
        assert!(text.contains("libc.so.6") || format == "svg", "{args:?}: file names stay");
        for private in private {
            assert!(!text.contains(private), "{args:?}: {private}");
        }
    }
    assert!(stdout(&["trend", &capture, "--binary", &binary, "--redact", "--json"]).contains("\"file\": \"segment.rs\""));
    assert!(stdout(&["rss", &capture, "--json"]).contains("/usr/lib/"), "only where it is asked for");
}

#[test]
fn totals_agree_with_jeprof_to_the_byte() {
    assert_eq!(json("top", &["top", ON, "--json"])["total"]["bytes"], 1_754_326);
    assert_eq!(json("top", &["top", "peers/google-pprof/cppbench.heap", "--json"])["total"]["bytes"], 80_935_305);
    assert_eq!(json("top", &["top", "peers/google-pprof/cppbench.heap", "--json"])["total"]["objects"], 41_074);
    assert_eq!(json("top", &["top", "peers/google-pprof/cppbench.growth.zst", "--json"])["total"]["bytes"], 178_257_920);
    assert!(stdout(&["top", ON, "--format", "jeprof", "--show_bytes"]).starts_with("Total: 1754326 B\n"));
    assert!(stdout(&["top", ON, "--format", "jeprof"]).starts_with("Total: 1.7 MB\n"));
}

/// The rows of one line each that hold memory themselves: numbers, without names.
fn flat_rows(jeprof: &str) -> Vec<(i64, String)> {
    let rows = jeprof.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (flat, share) = (fields.next()?.parse().ok()?, fields.next()?.to_owned());
        Some((flat, share))
    });
    rows.filter(|(flat, _)| *flat != 0).collect()
}

#[test]
fn jeprof_itself_prints_the_same_totals_and_rows() {
    if !has_tool("jeprof") {
        return;
    }
    let folder = |name: &str| std::fs::read_dir(fixture(name)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let heap = folder("heap").filter(|name| name.ends_with(".heap")).map(|name| format!("heap/{name}"));
    let peers = ["cppbench.heap", "cppbench.growth"].map(|name| format!("peers/google-pprof/{name}"));
    let mut compared = 0;
    for dump in heap.chain(peers) {
        let jeprof = Command::new("jeprof").args(["--text", "--show_bytes", "/bin/true", &dump]).current_dir(fixture("")).output().unwrap();
        let theirs = String::from_utf8_lossy(&jeprof.stdout);
        let ours = stdout(&["top", &dump, "--format", "jeprof", "--show_bytes"]);
        // Of a profile without samples it says nothing.
        let total = theirs.lines().next().unwrap_or("Total: 0 B");
        assert_eq!(ours.lines().next(), Some(total), "{dump}");
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    // Its rows need no name to be told apart: gperftools leaves its own frames out.
    let dump = "heap/gperftools-2.10_heapprofile.heap";
    let jeprof =
        Command::new("jeprof").args(["--text", "--show_bytes", "--addresses", "/bin/true", dump]).current_dir(fixture("")).output();
    let ours = stdout(&["top", dump, "--by", "address", "--format", "jeprof", "--show_bytes"]);
    let (theirs, ours) = (flat_rows(&String::from_utf8_lossy(&jeprof.unwrap().stdout)), flat_rows(&ours));
    assert!(theirs.len() == 5 && theirs == ours, "{theirs:?}\n{ours:?}");
}

#[test]
fn compressed_dumps_give_the_same_rows() {
    let rows = |name: &str| json("top", &["top", name, "--json"])["rows"].clone();
    assert_eq!(rows("heap/jemalloc-5.3.0_unbias-on.heap.gz"), rows(ON));
    assert_eq!(rows("heap/jemalloc-5.3.0_unbias-on.heap.zst"), rows(ON));
    assert!(!rows(ON).as_array().unwrap().is_empty());
}

#[test]
fn every_view_fits_its_schema() {
    for by in ["function", "line", "file", "crate", "stack", "address"] {
        let top = json("top", &["top", ON, "--json", "--by", by]);
        let flat: i64 = top["rows"].as_array().unwrap().iter().map(|row| row["flat_bytes"].as_i64().unwrap()).sum();
        assert!((1_754_300..=1_754_326).contains(&flat), "flat rows by {by} add up to {flat}");
        json("diff", &["diff", OFF, ON, "--json", "--by", by]);
    }
    json("tree", &["tree", ON, "--json"]);
    json("tree", &["tree", ON, "--json", "--sample", "inuse_objects"]);
    json("peek", &["peek", ON, "mini", "--json"]);
    json("list", &["list", ON, "mini", "--json"]);
}

#[test]
fn two_processes_of_one_binary_are_matched_by_module() {
    let diff = json("diff", &["diff", OFF, ON, "--json"]);
    assert_eq!(diff["match"], "module");
    assert_eq!(diff["total"]["base_bytes"], 1_721_355);
    assert_eq!(diff["total"]["current_bytes"], 1_754_326);
    // The leak's call site is one row, although the program was loaded elsewhere.
    let row = diff["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["base_cum_bytes"].as_i64() > Some(0) && row["current_cum_bytes"].as_i64() > Some(0));
    assert!(row.is_some());
}

/// Without the binaries only the layout of the code tells that they are two.
#[test]
fn another_build_without_its_binary_is_told_by_its_layout() {
    let dump = |build: &str| format!("leaky/{build}/1795831965000.heap.gz");
    let between = |build: &str| stdout(&["diff", &dump("release"), &dump(build), "--no-cache"]);
    assert!(between("debug").contains("another build, matched by normalized names"));
    assert!(between("restarted").contains("another process of the same binary, matched by module and offset"));
}

#[test]
fn a_difference_of_two_files_asks_for_no_times() {
    let here = tempfile::tempdir().unwrap();
    for names in [["before.heap", "after.heap"], ["jeprof.4.1.i1.heap", "jeprof.4.2.i2.heap"]] {
        let paths: Vec<String> = names.iter().map(|name| here.path().join(name).display().to_string()).collect();
        for (path, dump) in paths.iter().zip(["1795831965000", "1795831965500"]) {
            std::fs::copy(fixture(&format!("leaky/release/{dump}.heap.gz")), path).unwrap();
        }
        let output = run(&["diff", &paths[0], &paths[1], "--no-cache"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with('+') && text.contains("same process, matched by address"), "{text}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        // A series has rates, so there it matters.
        let output = run(&["trend", &paths[0], &paths[1], "--no-cache"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains(" time"), "{names:?}");
    }
}

#[test]
fn a_flamegraph_says_whose_time_it_shows() {
    let title = |dump: &str| {
        let svg = stdout(&["flamegraph", dump, "--no-cache"]);
        svg.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap().to_owned()
    };
    let here = tempfile::tempdir().unwrap();
    let copy = here.path().join("web.heap.gz");
    std::fs::copy(fixture("leaky/release/1795831965000.heap.gz"), &copy).unwrap();
    let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::options().append(true).open(&copy).unwrap().set_modified(written).unwrap();
    assert!(title(copy.to_str().unwrap()).ends_with(", file of 2023-11-14 22:13:20 UTC"));
    assert!(title("leaky/release/1795831965000.heap.gz").ends_with(", 2026-11-28 02:12:45 UTC"));
}

#[test]
fn a_dump_does_not_differ_from_itself() {
    let diff = json("diff", &["diff", ON, ON, "--json"]);
    assert_eq!(diff["match"], "address");
    assert_eq!(diff["total"]["delta_bytes"], 0);
    assert!(diff["rows"].as_array().unwrap().iter().all(|row| row["delta_flat_bytes"] == 0 && row["significant"] == false));
    assert!(stdout(&["diff", ON, ON]).contains("Nothing changed."));
}

#[test]
fn differences_change_their_sign_with_the_order() {
    let total = |a: &str, b: &str| json("diff", &["diff", a, b, "--json"])["total"]["delta_bytes"].as_i64().unwrap();
    assert_eq!(total(OFF, ON), -total(ON, OFF));
}

#[test]
fn the_first_line_says_what_is_covered() {
    let text = stdout(&["top", ON, "--top", "1"]);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("1.7 MiB live in 6 stacks (95 %: ") && first.contains("; showing 1 of "), "{first}");
    assert!(text.contains("1 sample per 16 KiB"), "{text}");
    assert!(text.contains("\nSymbols: "), "{text}");
    let text = stdout(&["diff", OFF, ON]);
    assert!(text.lines().next().unwrap().contains("another process of the same binary, matched by module and offset"), "{text}");
    assert!(text.contains("Note: counts were not unbiased"), "{text}");
}

#[test]
fn filters_are_echoed_and_counted() {
    let text = stdout(&["top", ON, "--focus", "nowhere to be found"]);
    assert!(text.contains("Filters: --focus 'nowhere to be found'; left out: 6 stacks, 1.7 MiB"), "{text}");
    let top = json("top", &["top", ON, "--json", "--min-size", "100KiB"]);
    assert_eq!(top["filters"][0], "--min-size 102400");
    assert!(top["total"]["bytes"].as_i64() < Some(1_400_000));
    let thread = json("top", &["top", ON, "--json", "--thread", "0"]);
    assert_eq!(thread["total"]["bytes"], 574_390);
}

#[test]
fn familiar_spellings_are_taken() {
    let objects = json("top", &["top", ON, "--inuse_objects", "--json"]);
    assert_eq!(objects["sample"], "inuse_objects");
    assert_eq!(json("top", &["top", ON, "--lines", "--cum", "--json"])["by"], "line");
    assert_eq!(json("diff", &["top", ON, "--base", OFF, "--json"])["schema"], "heaptriage/diff/1");
    let raw = json("top", &["top", ON, "--raw-samples", "--json"]);
    assert_eq!(raw["total"]["bytes"], 1_393_987);
    let accumulated = json("top", &["top", "heap/jemalloc-5.3.0_unbias-on_accum-on.heap", "--alloc_space", "--json"]);
    assert!(accumulated["total"]["bytes"].as_i64() > Some(1_745_015));
}

#[test]
fn bad_inputs_are_refused_with_reason_and_advice() {
    fails(&["top", "peers/google-pprof/cppbench.contention"], "a contention profile");
    fails(&["top", "peers/google-pprof/cppbench.thread"], "a thread profile");
    fails(&["top", "peers/google-pprof/java.heap"], "a Java heap profile");
    fails(&["top", "heap/README.md"], "heap/README.md");
    fails(&["top", "missing.heap"], "no such file");
    fails(&["top", ON, "--format", "svg"], "`top` does not write svg: it writes text, json, csv, jeprof");
    fails(&["top", ON, "--focus", "("], "bad regular expression in --focus");
    fails(&["top", ON, "--alloc_space"], "accumulated counts were not recorded");
    fails(&["top", ON, "--thread", "nobody"], "no thread `nobody`");
    fails(&["diff", ON], "only one heap dump");
    fails(&["peek", ON, "no_such_function"], "no function in these stacks matches `no_such_function`");
    fails(&["top", ON, "--strict"], "--strict: ");
    fails(&["top", ON, "-o", "missing/out.txt"], "cannot write missing/out.txt");
}

#[test]
fn odd_dumps_are_shown_and_said() {
    let output = run(&["top", "heap/jemalloc-5.3.0_truncated-in-stacks.heap"]);
    assert!(output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("truncated-in-stacks.heap:19:4: truncated: the dump ends in the middle; the 3 whole stacks before it are used"),
        "{stderr}"
    );
    let output = run(&["top", "heap/gperftools-2.10_heap_v2_empty.heap"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no samples"));
    let output = run(&["top", "peers/google-pprof/gobench.heap", "--json"]);
    let top: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(top["total"]["bytes"], 7_721_320);
    assert!(top["rows"].as_array().unwrap().iter().any(|row| row["name"] == "[no stack]"));
}

#[test]
fn flamegraphs_are_xml_that_refers_to_nothing() {
    for args in [vec!["flamegraph", ON], vec!["flamegraph", ON, "--base", OFF], vec!["diff", OFF, ON, "--format", "svg"]] {
        let svg = stdout(&args);
        assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("http").count(), 2, "only the name space of SVG, in the head and in the script");
        assert!(svg.contains("live"), "the title says what");
        assert_eq!(svg, stdout(&args), "the same bytes every time");
    }
    let html = stdout(&["flamegraph", ON, "--base", OFF, "--format", "html"]);
    assert!(html.to_ascii_lowercase().starts_with("<!doctype html>") && html.contains("</script>"));
    assert!(stdout(&["flamegraph", "heap/gperftools-2.10_heap_v2_empty.heap"]).contains("No samples: nothing to draw."));
}

#[test]
fn folded_stacks_hold_every_byte() {
    let folded = stdout(&["flamegraph", ON, "--format", "folded"]);
    let sum: i64 = folded.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum();
    assert!((1_754_320..=1_754_326).contains(&sum), "{folded}");
    let both = stdout(&["diff", OFF, ON, "--format", "folded"]);
    assert!(both.lines().all(|line| line.rsplit(' ').take(2).all(|number| number.parse::<i64>().is_ok())), "{both}");
}

#[test]
fn csv_has_a_head_and_a_row_each() {
    let csv = stdout(&["top", ON, "--format", "csv"]);
    let rows = json("top", &["top", ON, "--json"])["rows"].as_array().unwrap().len();
    assert_eq!(csv.lines().count(), rows + 1);
    assert!(csv.starts_with("name,file,line,crate,module,address,container,flat_bytes,"));
}

#[test]
fn a_difference_as_pprof_is_read_back() {
    let output = run(&["diff", OFF, ON, "--format", "pprof"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = heaptriage::input::compress::decompress(&output.stdout).unwrap();
    assert!(heaptriage::input::pprof::sniff(&bytes.value));
}

#[test]
fn an_error_that_nobody_knows_is_no_interval() {
    let folder = tempfile::tempdir().unwrap();
    let pprof = folder.path().join("on.pb.gz");
    let pprof = pprof.to_str().unwrap();
    assert!(run(&["convert", ON, "-o", pprof]).status.success());
    for (what, args) in [("top", vec!["top", pprof, "--json"]), ("diff", vec!["diff", pprof, pprof, "--json"])] {
        let of = json(what, &args);
        assert!(of["total"]["interval"].is_null(), "{what}");
        assert!(of["rows"].as_array().unwrap().iter().all(|row| row["interval"].is_null()), "{what}");
    }
    assert!(json("top", &["top", ON, "--json"])["total"]["interval"]["low"].is_i64());
}
