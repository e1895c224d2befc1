//! `check`: gates for continuous integration.

use super::args::{OutputArgs, PrivacyArgs, TimeArgs, size};
use super::draft::Draft;
use super::output::Format;
use super::report::{Triaged, triaged};
use super::source::{SourceArgs, places};
use super::suppress::SuppressArgs;
use super::symbols::SymbolArgs;
use super::{Context, Outcome};
use crate::analysis::gate::{self, Baseline, Known, Limits, RateLimit, Seen, State};
use crate::analysis::triage::{self, singular};
use crate::report::{check, junit, sarif, text};
use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Suspects shown unless asked for more.
const SUSPECTS: usize = 10;
/// A baseline has a line or two for each suspect; more than this is another file.
const MOST_BYTES: u64 = 16 << 20;
/// The schema of a baseline.
const BASELINE: &str = "heaptriage/baseline/1";

/// Fail a build on growth: limits on growth, on rates per unit of work, on RSS, or on suspects that are new.
///
/// Growth and rates are compared by the lower bound of their 95 % interval, so that noise never fails a build. Without
/// any limit, a leak of medium or high confidence fails. Exit code 0: all hold; 1: one failed; 2: the capture does not
/// tell, or an error.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage check capture/ --max-growth 5MiB --max-rss 512MiB
  heaptriage check capture/ --max-rate 1KiB/requests --baseline known.json --format junit -o a.xml")]
pub struct CheckArgs {
    /// A capture directory, or dumps, smaps and statistics of one process.
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Live growth, first to last snapshot, of all suspects together: 5MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Gates")]
    max_growth: Option<u64>,
    /// Growth per unit of a counter or of time: 1KiB/requests, 2MiB/hour. Repeatable.
    #[arg(long, value_name = "SIZE/UNIT", value_parser = rate, help_heading = "Gates")]
    max_rate: Vec<RateLimit>,
    /// RSS in any snapshot.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Gates")]
    max_rss: Option<u64>,
    /// Only suspects that FILE does not know count; without other limits, any of them fails.
    #[arg(long, value_name = "FILE", help_heading = "Gates")]
    baseline: Option<PathBuf>,
    /// Accept the suspects of this capture: write them to FILE for later --baseline.
    #[arg(long, value_name = "FILE", help_heading = "Gates")]
    write_baseline: Option<PathBuf>,
    /// Measure growth against this counter of counters.csv, and time, only.
    #[arg(long, value_name = "NAME")]
    counter: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    symbols: SymbolArgs,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    suppress: SuppressArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    privacy: PrivacyArgs,
}

/// A baseline file.
#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    suspects: Vec<Entry>,
}

/// A suspect in it; growth is there for people.
#[derive(Serialize, Deserialize)]
struct Entry {
    fingerprint: String,
    owner: String,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    growth_bytes: i64,
}

/// Runs `check`.
pub fn run(args: &CheckArgs, context: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("check")?;
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    let mut output = args.output.create(format)?;
    let mut done = triaged(&args.inputs, &args.symbols, &args.time, args.counter.as_deref(), &args.suppress, Some(&args.source))?;
    if args.privacy.redact {
        done.redact();
    }
    let exposures = exposures(&done);
    let mut limits = Limits {
        growth: args.max_growth.map(|bytes| bytes as f64),
        rates: args.max_rate.iter().map(|limit| known_unit(limit, &done)).collect::<anyhow::Result<_>>()?,
        rss: args.max_rss.map(|bytes| bytes as f64),
        baseline,
    };
    let suspects = &done.triage.suspects;
    if let Some(path) = &args.write_baseline {
        let accepted: Vec<_> = suspects.iter().filter(|suspect| suspect.suppressed.is_none()).collect();
        let entry = |suspect: &&crate::analysis::finding::Suspect| {
            let known = Known::of(suspect);
            let growth_bytes = suspect.growth.estimate.round() as i64;
            Entry {
                fingerprint: known.fingerprint,
                owner: known.owner,
                pattern: known.pattern,
                kind: suspect.kind.word().to_owned(),
                growth_bytes,
            }
        };
        write_baseline(path, &File { schema: BASELINE.to_owned(), suspects: accepted.iter().map(entry).collect() })?;
        // They are accepted from now on.
        limits.baseline.get_or_insert_default().known.extend(accepted.iter().map(|suspect| Known::of(suspect)));
    }
    let dumps = done.timeline.snapshots.iter().filter(|snapshot| snapshot.heap.is_some()).count();
    let seen = Seen { suspects, dumps, rss: &done.triage.ledger.rss, exposures: &exposures };
    let checked = gate::check(seen, &limits);
    match format {
        Format::Json => writeln!(output, "{}", serde_json::to_string_pretty(&check::value(&done.triage, &checked))?)?,
        Format::Junit => output.write_all(junit::render(&checked, suspects).as_bytes())?,
        Format::Sarif => {
            let places = if args.privacy.redact { sarif::Places::new() } else { places(sarif::frames(suspects).iter(), &args.source) };
            let known = limits.baseline.as_ref().map(|_| checked.known.as_slice());
            let log = sarif::log(&sarif::findings(suspects, known), &sarif::rules(), &places);
            writeln!(output, "{}", serde_json::to_string_pretty(&log)?)?;
        }
        _ => output.write_all(text::render(&check::compose(&done.triage, &checked, args.output.rows(SUSPECTS))).as_bytes())?,
    }
    output.finish()?;
    context.notices(&done.notices);
    if checked.failed() {
        return Ok(Outcome::GateFailed);
    }
    if let Some(gate) = checked.gates.iter().find(|gate| gate.state == State::NotJudged) {
        let inputs: Vec<_> = args
            .inputs
            .iter()
            .map(|input| input.to_string_lossy())
            .map(|input| match args.privacy.redact {
                true => crate::origin::printable(crate::origin::base_name(&input)).into_owned(),
                false => crate::origin::printable(&input).into_owned(),
            })
            .collect();
        anyhow::bail!("{}: {}: {}\n  help: `heaptriage doctor` says what to capture", inputs.join(", "), gate.label, gate.message);
    }
    Ok(Outcome::Done)
}

/// How far time and every counter went, over the dumps where there are two, else over all snapshots.
fn exposures(done: &Triaged) -> Vec<(String, f64)> {
    let snapshots = &done.timeline.snapshots;
    let dumps: Vec<usize> = (0..snapshots.len()).filter(|&i| snapshots[i].heap.is_some()).collect();
    let at = if dumps.len() > 1 { dumps } else { (0..snapshots.len()).collect() };
    let timed = snapshots.iter().all(|snapshot| snapshot.time_source.is_time());
    triage::regressors(&done.timeline, &at, &triage::Options::default())
        .into_iter()
        .filter(|regressor| timed || regressor.name != "second")
        .filter_map(|regressor| Some((regressor.name, regressor.values.last()? - regressor.values.first()?)))
        .collect()
}

/// The limit with its unit as the capture spells it: `request` for `requests`; an error for one it does not have.
fn known_unit(limit: &RateLimit, done: &Triaged) -> anyhow::Result<RateLimit> {
    let wanted = limit.per.as_str();
    let time = [("second", &["s", "sec", "seconds"][..]), ("minute", &["min", "minutes"]), ("hour", &["h", "hours"])];
    let counters = || done.timeline.counters.iter().map(|counter| counter.name.as_str());
    let found = counters().find(|name| *name == wanted).or_else(|| counters().find(|name| singular(name) == wanted));
    let found = found.or_else(|| time.iter().find(|(unit, others)| *unit == wanted || others.contains(&wanted)).map(|(unit, _)| *unit));
    match found {
        Some(per) => Ok(RateLimit { per: per.to_owned(), ..limit.clone() }),
        None => {
            let known: Vec<&str> = counters().chain(["second", "minute", "hour"]).collect();
            anyhow::bail!("no counter `{}` in the capture\n  help: it has {}", crate::origin::printable(wanted), known.join(", "))
        }
    }
}

/// `1KiB/requests`.
fn rate(text: &str) -> Result<RateLimit, String> {
    let bad = || format!("expected a size per unit such as 1KiB/requests or 2MiB/hour, found `{text}`");
    let (bytes, per) = text.split_once('/').ok_or_else(bad)?;
    if per.trim().is_empty() {
        return Err(bad());
    }
    Ok(RateLimit { bytes: size(bytes.trim())? as f64, per: per.trim().to_owned() })
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    let shown = || format!("cannot read the baseline {}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).with_context(shown)?;
    anyhow::ensure!(bytes.len() as u64 <= MOST_BYTES, "{} has more than 16 MiB: not a baseline", path.display());
    let file: File = serde_json::from_slice(&bytes).with_context(shown)?;
    anyhow::ensure!(
        file.schema == BASELINE,
        "{} is not a baseline: its schema is `{}`, not `{BASELINE}`\n  help: write one with --write-baseline",
        path.display(),
        crate::origin::printable(&file.schema)
    );
    let known = file.suspects.into_iter().map(|one| Known { fingerprint: one.fingerprint, owner: one.owner, pattern: one.pattern });
    Ok(Baseline { known: known.collect() })
}

/// Written beside its place and renamed: a baseline is whole or not there.
fn write_baseline(path: &Path, file: &File) -> anyhow::Result<()> {
    let failed = || format!("cannot write the baseline {}", path.display());
    let mut draft = Draft::new_in(path.parent().unwrap_or(Path::new("."))).with_context(failed)?;
    writeln!(draft, "{}", serde_json::to_string_pretty(file)?).with_context(failed)?;
    draft.persist(path).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_size_per_unit() {
        assert_eq!(rate("1KiB/requests"), Ok(RateLimit { bytes: 1024.0, per: "requests".into() }));
        assert_eq!(rate("1.5 MB / hour").map(|limit| limit.bytes), Ok(1_500_000.0));
        for bad in ["1KiB", "1KiB/", "x/requests", "/requests"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
