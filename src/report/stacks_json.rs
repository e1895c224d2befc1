//! Named stacks as plain JSON and CSV: for scripts, when no viewer's format is wanted. Schema `heaptriage/profile/1`.
//!
//! ```text
//! {"schema": "heaptriage/profile/1", "frames": [{"function": "main", "file": "src/main.rs", "line": 3}],
//!  "stacks": [{"frames": [0], "inuse_bytes": 64, "inuse_objects": 1}]}
//! ```
//!
//! Frames of a stack are indexes, innermost first.

use super::cells::cell;
use super::wire::{TOOL, Tool};
use crate::analysis::export::{ExportSample, Profile};
use crate::analysis::filter::Measure;
use crate::origin::printable;
use serde::Serialize;
use std::io::Write;

/// The schema's name and version.
pub const SCHEMA: &str = "heaptriage/profile/1";

#[derive(Serialize)]
struct File<'a> {
    schema: &'static str,
    tool: Tool,
    title: &'a str,
    comments: &'a [String],
    unix_ms: Option<i64>,
    sampling_interval_bytes: u64,
    difference: bool,
    total: Values,
    frames: Vec<Frame<'a>>,
    stacks: Vec<Stack<'a>>,
}

#[derive(Serialize)]
struct Values {
    inuse_bytes: i64,
    inuse_objects: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    alloc_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alloc_objects: Option<i64>,
}

#[derive(Serialize)]
struct Frame<'a> {
    function: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    #[serde(rename = "crate")]
    krate: Option<&'a str>,
    module: Option<&'a str>,
    inlined: bool,
    hidden: bool,
}

#[derive(Serialize)]
struct Stack<'a> {
    frames: Vec<u32>,
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<&'a str>,
    #[serde(flatten)]
    values: Values,
}

/// Writes JSON.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, mut out: impl Write) -> std::io::Result<()> {
    let (live, accumulated) = profile.total();
    let total = ExportSample::of(live, accumulated);
    let frame = |frame: &crate::analysis::export::ExportFrame| {
        let (function, file) = (frame.function, frame.file);
        (function, file, frame.line, frame.krate, frame.module, frame.inlined, frame.role.is_hidden())
    };
    let frames = profile.frames.iter().map(frame).map(|(function, file, line, krate, module, inlined, hidden)| Frame {
        function: profile.names.get(function),
        file: profile.text(file),
        line,
        krate: profile.text(krate),
        module: profile.text(module),
        inlined,
        hidden,
    });
    let stacks = profile.samples.iter().map(|sample| Stack {
        frames: profile.path(sample).collect(),
        addresses: profile.stack(sample).map(|location| format!("{:#x}", profile.locations[location as usize].address)).collect(),
        thread: thread(profile, sample),
        values: values(profile, sample),
    });
    let file = File {
        schema: SCHEMA,
        tool: TOOL,
        title: &profile.title,
        comments: &profile.comments,
        unix_ms: profile.unix_ms,
        sampling_interval_bytes: profile.interval,
        difference: profile.difference,
        total: values(profile, &total),
        frames: frames.collect(),
        stacks: stacks.collect(),
    };
    serde_json::to_writer(&mut out, &file)?;
    writeln!(out)
}

/// Writes CSV: values, thread, and the stack root first with `;` between functions.
///
/// # Errors
/// Those of the writer.
pub fn write_csv(profile: &Profile, mut out: impl Write) -> std::io::Result<()> {
    let accumulated = if profile.accumulated { "alloc_bytes,alloc_objects," } else { "" };
    writeln!(out, "inuse_bytes,inuse_objects,{accumulated}thread,stack")?;
    for sample in &profile.samples {
        write!(out, "{},{},", sample.live.bytes, sample.live.objects)?;
        if profile.accumulated {
            write!(out, "{},{},", sample.accumulated.bytes, sample.accumulated.objects)?;
        }
        writeln!(out, "{},{}", cell(thread(profile, sample).unwrap_or_default()), cell(&line(profile, sample)))?;
    }
    out.flush()
}

/// Writes folded stacks, one line a stack, as inferno and flamegraph.pl read them: positive numbers only, unless the
/// profile is a difference, whose falls stand with their sign.
///
/// # Errors
/// Those of the writer.
pub fn write_folded(profile: &Profile, measure: Measure, mut out: impl Write) -> std::io::Result<()> {
    let mut lines: std::collections::BTreeMap<String, i64> = std::collections::BTreeMap::new();
    for sample in &profile.samples {
        let sum = lines.entry(line(profile, sample)).or_default();
        *sum = sum.saturating_add(sample.number(measure));
    }
    for (stack, number) in lines.iter().filter(|(_, number)| **number > 0 || (profile.difference && **number != 0)) {
        writeln!(out, "{stack} {number}")?;
    }
    out.flush()
}

/// A stack root first. `;` separates frames and stands in Rust's names (`[u8; 32]`): there it becomes `:`.
fn line(profile: &Profile, sample: &ExportSample) -> String {
    let mut line = String::new();
    for frame in profile.path(sample).rev() {
        if !line.is_empty() {
            line.push(';');
        }
        line.push_str(&printable(profile.function(frame)).replace(';', ":"));
    }
    line
}

fn thread<'a>(profile: &'a Profile, sample: &ExportSample) -> Option<&'a str> {
    sample.thread.and_then(|thread| profile.threads.get(thread as usize)).map(String::as_str)
}

fn values(profile: &Profile, sample: &ExportSample) -> Values {
    Values {
        inuse_bytes: sample.live.bytes,
        inuse_objects: sample.live.objects,
        alloc_bytes: profile.accumulated.then_some(sample.accumulated.bytes),
        alloc_objects: profile.accumulated.then_some(sample.accumulated.objects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::export::tests::profile;
    use serde_json::Value as Json;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_totals_are_the_sum_of_stacks() {
        let json: Json = serde_json::from_str(&text(|out| write(&profile(true, false), out))).unwrap();
        let sum: i64 = json["stacks"].as_array().unwrap().iter().map(|s| s["inuse_bytes"].as_i64().unwrap()).sum();
        assert_eq!(json["total"]["inuse_bytes"].as_i64(), Some(sum));
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["stacks"][0]["thread"], "worker");
        assert_eq!(json["frames"][0]["hidden"], true);
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let csv = text(|out| write_csv(&profile(false, false), out));
        assert_eq!(csv.lines().next(), Some("inuse_bytes,inuse_objects,alloc_bytes,alloc_objects,thread,stack"));
        assert!(csv.contains(",,main;app::serve;app::parse;malloc\n"), "{csv}");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
    }

    #[test]
    fn folded_names_hold_no_separator() {
        let folded = text(|out| write_folded(&profile(false, false), Measure::InuseSpace, out));
        let lines: Vec<&str> = folded.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(lines, ["main;<app::Load as app::Run>::load[u8: 32];malloc", "main;app::serve;app::parse;malloc"]);
    }
}
