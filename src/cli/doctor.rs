//! `doctor`: is profiling on and useful, in a program, a process or a capture; and what to do.

use super::args::OutputArgs;
use super::output::{Format, Output};
use super::symbols::SymbolArgs;
use super::{Context, Outcome};
use crate::capture::doctor::{self, Examination, State};
use crate::origin::{printable, shell_word};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  Can this program be profiled, and with which variable?
    heaptriage doctor target/release/indexer

  Is profiling on in this process, and where do its dumps go?
    sudo heaptriage doctor --pid $(pidof indexer)";

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct DoctorArgs {
    /// A program, or a capture (a directory, or dumps, smaps and statistics). Without it and without --pid this machine is examined.
    #[arg(value_name = "BINARY|CAPTURE")]
    inputs: Vec<PathBuf>,
    /// Examine this process.
    #[arg(short, long, value_name = "N", conflicts_with = "inputs", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// Runs `doctor`.
pub fn run(args: &DoctorArgs, _: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("doctor")?;
    let mut output = args.output.create(format)?;
    let options = args.symbols.options();
    let report = match (args.pid, args.inputs.as_slice()) {
        (Some(pid), _) => doctor::process(pid, &options)?,
        (None, []) => doctor::machine(),
        (None, [path]) if is_program(path)? => doctor::program(path, &options),
        (None, inputs) => doctor::recorded(inputs, &options),
    };
    match format {
        Format::Json => writeln!(output, "{}", serde_json::to_string_pretty(&to_json(&report))?)?,
        _ => write_text(&mut output, &report)?,
    }
    output.finish()?;
    Ok(Outcome::Done)
}

/// Whether the file starts as programs do. An error when it cannot be read.
fn is_program(path: &Path) -> anyhow::Result<bool> {
    use std::io::Read;
    let glob = path.to_string_lossy().contains(['*', '?', '[']);
    if path == Path::new("-") || path.is_dir() || glob {
        return Ok(false);
    }
    let mut head = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(4).read_to_end(&mut head).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(head == b"\x7fELF")
}

fn write_text(output: &mut Output, report: &Examination) -> std::io::Result<()> {
    let look = output.look();
    writeln!(output, "heaptriage doctor: {}\n", printable(&report.subject))?;
    let width = look.width.unwrap_or(120).clamp(60, 120);
    for check in &report.checks {
        let word = check.state.word();
        let (on, off) = if look.color { (color(check.state), "\x1b[0m") } else { ("", "") };
        write!(output, "  {on}{word:<5}{off}  ")?;
        indented(output, &check.finding, width)?;
        if let Some(remedy) = check.remedy.as_ref().filter(|_| check.state == State::Note) {
            write!(output, "         ")?;
            indented(output, &format!("to change that: {remedy}"), width)?;
        }
    }
    let to_do = report.to_do();
    let verdict = match (report.is_ready(), to_do.is_empty()) {
        (true, true) => "Nothing to do.",
        (true, false) => "It works. To get more out of it:",
        (false, true) => "Not ready.",
        (false, false) => "Not ready. What to do:",
    };
    writeln!(output, "\n{verdict}")?;
    for (number, remedy) in to_do.iter().enumerate() {
        write!(output, "  {:>2}.    ", number + 1)?;
        indented(output, remedy, width)?;
    }
    if let Some((variable, value)) = &report.set {
        writeln!(output, "\n  export {variable}={}", shell_word(value))?;
    }
    Ok(())
}

/// Words of a paragraph whose first line has begun at column 9.
fn indented(output: &mut Output, text: &str, width: usize) -> std::io::Result<()> {
    const INDENT: usize = 9;
    let mut column = INDENT;
    for (i, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if i > 0 && column + 1 + length > width {
            write!(output, "\n{:INDENT$}", "")?;
            column = INDENT;
        } else if i > 0 {
            write!(output, " ")?;
            column += 1;
        }
        write!(output, "{word}")?;
        column += length;
    }
    writeln!(output)
}

fn color(state: State) -> &'static str {
    match state {
        State::Good => "\x1b[32m",
        State::Note => "",
        State::Doubt => "\x1b[33m",
        State::Bad => "\x1b[31m",
    }
}

fn to_json(report: &Examination) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|check| json!({"id": check.id, "state": check.state.word(), "finding": check.finding, "remedy": check.remedy}))
        .collect();
    let set = report.set.as_ref().map(|(variable, value)| json!({"variable": variable, "value": value}));
    json!({
        "schema": "heaptriage/doctor/1",
        "tool": {"name": "heaptriage", "version": env!("CARGO_PKG_VERSION")},
        "target": {"kind": report.kind, "subject": report.subject, "pid": report.pid},
        "ready": report.is_ready(),
        "checks": checks,
        "set": set,
        "to_do": report.to_do(),
    })
}
