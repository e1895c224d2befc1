//! Names that try to be something else: in every output of every command they stay names.

use super::program::{Ran, Run, assert_harmless, calls};
use heaptriage::pprof_proto::{Function, Line, Location, Mapping, Profile, Sample, ValueType};
use prost::Message;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Each would do harm somewhere.
const NAMES: &[&str] = &[
    "evil\u{1b}[31mred\u{1b}]0;title\u{7}",
    "right\u{202e}to left",
    "hidden\u{200b}\u{feff}space",
    "c1\u{9b}2J\u{7f}",
    "line\nfeed\r\n# owned",
    "=HYPERLINK(\"http://x\")",
    "@SUM(1)",
    "-2+3",
    "+1",
    "</script><img src=x onerror=alert(1)>",
    "</svg><script>alert(1)</script>",
    "]]><b>&amp;&#0;",
    "pipe|`tick`|<b>bold</b>",
    "semi;colon [u8; 32]",
    "quote\"comma,'apostrophe'",
    "%s%n%x",
    "tab\there",
    "nul\0byte",
    "$(reboot)",
    "`reboot`;&|back\\slash\\",
];

/// A pprof profile in which each name has a stack of its own that grows with `step`.
fn profile(step: i64) -> Vec<u8> {
    let mut strings: Vec<String> = ["", "inuse_objects", "count", "inuse_space", "bytes", "space"].map(str::to_owned).to_vec();
    let mut intern = |text: &str| -> i64 {
        strings.push(text.to_owned());
        strings.len() as i64 - 1
    };
    let mut profile = Profile {
        sample_type: vec![ValueType { r#type: 1, unit: 2 }, ValueType { r#type: 3, unit: 4 }],
        period_type: Some(ValueType { r#type: 5, unit: 4 }),
        period: 1,
        time_nanos: 1_763_650_000_000_000_000 + step * 60_000_000_000,
        ..Profile::default()
    };
    for (index, name) in NAMES.iter().enumerate() {
        let id = index as u64 + 1;
        let text = intern(name);
        let file = intern(&format!("/src/{name}.rs"));
        let path = intern(&format!("/bin/{name}"));
        profile.mapping.push(Mapping {
            id,
            memory_start: id << 20,
            memory_limit: (id + 1) << 20,
            filename: path,
            has_functions: true,
            ..Mapping::default()
        });
        profile.function.push(Function { id, name: text, system_name: text, filename: file, ..Function::default() });
        profile.location.push(Location {
            id,
            mapping_id: id,
            address: (id << 20) + 16,
            line: vec![Line { function_id: id, line: 7, ..Line::default() }],
            ..Location::default()
        });
        let objects = 100 + 50 * step;
        profile.sample.push(Sample { location_id: vec![id], value: vec![objects, objects * 4096 * (id as i64)], ..Sample::default() });
    }
    profile.string_table = strings;
    profile.encode_to_vec()
}

/// A capture of such profiles whose other files have such names inside too.
fn capture(folder: &Path) -> PathBuf {
    let path = folder.join("capture");
    std::fs::create_dir_all(&path).expect("writable");
    for step in 0..7 {
        std::fs::write(path.join(format!("{}.heap", 1_763_650_000_000_i64 + step * 60_000)), profile(step)).expect("writable");
    }
    let about = serde_json::json!({ "pid": 7, "exe": NAMES[0], "cmdline": NAMES, "kernel": NAMES[1], "malloc_conf": NAMES[9] });
    std::fs::write(path.join("capture.json"), about.to_string()).expect("writable");
    let header: Vec<String> = NAMES.iter().map(|name| name.replace([',', '\n', '\r', '"'], "_")).collect();
    let row = |step: i64| format!("{},{}\n", 1_763_650_000_000 + step * 60_000, vec![(step * 10).to_string(); NAMES.len()].join(","));
    let rows: String = (0..7).map(row).collect();
    std::fs::write(path.join("counters.csv"), format!("unix_ms,{}\n{rows}", header.join(","))).expect("writable");
    path
}

/// A text dump with such threads and mapped files.
fn dump(folder: &Path) -> PathBuf {
    let mut text = format!("heap_v2/1\n  t*: {}: {} [0: 0]\n", 2 * NAMES.len(), 2000 * NAMES.len());
    let one_line: Vec<String> = NAMES.iter().map(|name| name.replace('\n', "\\012")).collect();
    for (thread, name) in one_line.iter().enumerate() {
        text.push_str(&format!("  t{thread}: 2: 2000 [0: 0] {name}\n"));
    }
    for thread in 0..NAMES.len() {
        text.push_str(&format!("@ {:#x} 0x99000\n  t*: 2: 2000 [0: 0]\n  t{thread}: 2: 2000 [0: 0]\n", 0x10010 + thread * 0x1000));
    }
    text.push_str("\nMAPPED_LIBRARIES:\n");
    for (index, name) in one_line.iter().enumerate() {
        let start = 0x10000 + index * 0x1000;
        text.push_str(&format!("{start:x}-{:x} r-xp 00000000 08:01 {index}    /srv/{name}\n", start + 0x1000));
    }
    let path = folder.join("1763650420000.heap");
    std::fs::write(&path, text).expect("writable");
    path
}

/// The format that a call writes, by its own words.
fn format_of(args: &[&str], command: &str) -> String {
    let after = |option: &str| args.iter().position(|arg| *arg == option).and_then(|at| args.get(at + 1));
    match (after("--format"), after("--to"), command) {
        (Some(format), ..) | (None, Some(format), _) => (*format).to_owned(),
        (None, None, "flamegraph") => "svg".to_owned(),
        _ => "text".to_owned(),
    }
}

#[test]
fn names_stay_names_in_every_output() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let capture = capture(folder.path());
    let dump = dump(folder.path());
    let single = capture.join("1763650060000.heap");
    for (input, base) in [(&capture, &single), (&dump, &single), (&single, &dump)] {
        for call in calls() {
            let ran = Run::new(call.args(input, base), None).go();
            let what = format!("{} {:?} on {}", call.command, call.args, input.display());
            ran.is_sound(&what, call.codes);
            check(&what, &format_of(call.args, call.command), &ran);
        }
    }
}

/// Names in the debug information of a binary: of functions, types, members, statics, files.
#[test]
fn names_of_debug_information_stay_names() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for name in NAMES.iter().filter(|name| !name.contains('\0')) {
        let binary = super::dwarf_bombs::with_names(name).link(folder.path(), "app");
        for (args, ran) in super::dwarf_bombs::ask_all(&binary, &format!("{name:?}")) {
            let format = match &*args[0] {
                "flamegraph" => "svg".to_owned(),
                command => format_of(&args.iter().map(String::as_str).collect::<Vec<_>>(), command),
            };
            check(&format!("{args:?} with {name:?}"), &format, &ran);
        }
    }
}

/// All formats of the commands that have many.
#[test]
fn names_stay_names_in_every_format() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let capture = capture(folder.path());
    let (first, last) = (capture.join("1763650000000.heap"), capture.join("1763650360000.heap"));
    let commands = super::program::commands();
    let formats = ["text", "markdown", "json", "csv", "html", "sarif", "junit", "folded", "svg", "pprof", "jeprof", "dot"];
    let mut written = 0;
    for command in ["report", "diff", "top", "tree", "flamegraph", "rss", "trend", "check"] {
        if !commands.iter().any(|known| known == command) {
            continue;
        }
        for format in formats {
            let mut args: Vec<&std::ffi::OsStr> = vec![command.as_ref()];
            match command {
                "report" | "rss" | "trend" => args.push(capture.as_os_str()),
                "check" => args.extend([capture.as_os_str(), "--max-growth".as_ref(), "1KiB".as_ref()]),
                "diff" => args.extend([first.as_os_str(), last.as_os_str()]),
                _ => args.push(last.as_os_str()),
            }
            args.extend(["--format".as_ref(), std::ffi::OsStr::new(format)]);
            let ran = Run::new(&args, None).go();
            let what = format!("{command} --format {format}");
            ran.is_sound(&what, &[0, 1, 2]);
            if ran.code == Some(2) {
                assert!(ran.stderr.contains("does not write") || ran.stderr.contains("invalid value"), "{what}: {}", ran.stderr);
                continue;
            }
            written += 1;
            check(&what, format, &ran);
        }
    }
    assert!(written >= 4, "only {written} outputs were looked at");
}

fn check(what: &str, format: &str, ran: &Ran) {
    if ran.code == Some(2) {
        return;
    }
    assert!(!ran.stdout.is_empty(), "{what}: nothing was written");
    if format == "pprof" {
        return; // binary: it is not for a terminal, and it refuses one
    }
    assert_harmless(what, &ran.stdout);
    let text = ran.text();
    assert!(!text.lines().any(|line| line.starts_with("# owned")), "{what}: a name begins a line");
    assert!(!text.contains("--binary $(") && !text.contains("--binary `r"), "{what}: a command to paste runs another");
    match format {
        "json" | "sarif" | "speedscope" | "firefox" => {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            assert!(parsed.is_ok(), "{what}: {:?}", parsed.err());
        }
        "svg" | "junit" => well_formed(what, &text),
        "dot" => drawn(what, &text),
        "html" => {
            let count = |tag: &str| text.matches(tag).count();
            assert_eq!(count("<script"), count("</script"), "{what}: a name closes a script");
            assert!(!text.contains("<img") && !text.contains("<script>alert"), "{what}: a name became an element");
        }
        "markdown" => assert!(!outside_code(&text).contains('<'), "{what}: a name could be an element in\n{text}"),
        "csv" => {
            for field in fields(&text) {
                let risky = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
                assert!(!risky || field.parse::<f64>().is_ok(), "{what}: {field:?} is a formula");
            }
        }
        "folded" => {
            for line in text.lines() {
                let weight = line.rsplit_once(' ').map(|(_, weight)| weight);
                assert!(weight.is_some_and(|weight| weight.parse::<f64>().is_ok()), "{what}: no weight in {line:?}");
            }
        }
        _ => {}
    }
}

/// Markdown without its code spans and blocks.
fn outside_code(text: &str) -> String {
    let mut out = String::new();
    let text = text.replace("\\\\", "").replace("\\`", "").replace("\\<", "");
    let mut rest = text.as_str();
    while let Some(start) = rest.find('`') {
        out.push_str(&rest[..start]);
        let ticks = rest[start..].bytes().take_while(|&byte| byte == b'`').count();
        let fence = "`".repeat(ticks);
        let after = &rest[start + ticks..];
        rest = after.find(&fence).map_or("", |end| &after[end + ticks..]);
    }
    out + rest
}

/// The fields of a CSV text, unquoted.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// Graphviz reads it, and every node is one of ours; without Graphviz no quoted string ends early.
fn drawn(what: &str, text: &str) {
    let unescaped = text.replace("\\\\", "").replace("\\\"", "");
    for line in unescaped.lines() {
        assert_eq!(line.matches('"').count() % 2, 0, "{what}: a name ends its string in {line}");
    }
    let dot = Command::new("dot").arg("-Tplain").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut dot) = dot else { return };
    std::io::Write::write_all(&mut dot.stdin.take().expect("piped"), text.as_bytes()).expect("dot reads");
    let output = dot.wait_with_output().expect("dot ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `xmllint` reads it; without xmllint no element may have come from a name.
fn well_formed(what: &str, text: &str) {
    assert!(!text.contains("<img") && !text.contains("<script>alert") && !text.contains("<b>"), "{what}: a name became an element");
    let lint = Command::new("xmllint").args(["--noout", "--nonet", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut lint) = lint else {
        assert!(std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "xmllint is not installed");
        println!("xmllint is not installed: {what} was not parsed");
        return;
    };
    std::io::Write::write_all(&mut lint.stdin.take().expect("piped"), text.as_bytes()).expect("xmllint reads");
    let output = lint.wait_with_output().expect("xmllint ends");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}
