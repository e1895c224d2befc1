//! `fleet export`: captures to rows of the dataset.

use super::service;
use crate::capture::{self, OpenOptions, Opened};
use crate::cli::load;
use crate::cli::symbols::SymbolArgs;
use crate::cli::{Context, Outcome};
use crate::fleet::dataset::{Dataset, Written};
use crate::fleet::reduce::{self, reduce};
use crate::fleet::rows::Incarnation;
use crate::model::frame::{ModuleStatus, Symbols};
use crate::origin::{Notice, printable};
use crate::units::{grouped, iec};
use anyhow::bail;
use clap::Args;
use rayon::prelude::*;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Add captures to a Parquet dataset, reduced where they are: the stacks that hold 99 % of the bytes of any dump, all that grow,
/// and the rest as one row, so that totals still add up.
///
/// The same capture twice gives the same files. Snapshots that were exported before and are gone from the capture stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heaptriage fleet export /var/lib/heaptriage --root /srv/fleet --service indexer
  heaptriage fleet export web.capture --root /srv/fleet --service web --instance \"$(hostname)\" --follow")]
pub struct ExportArgs {
    /// A capture directory, or a directory of them; dumps given as files are one capture together.
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// The dataset's folder.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Name of the service: letters, digits, `-`, `_` and `.`.
    #[arg(long, value_name = "NAME", value_parser = service)]
    service: String,
    /// Name of the instance, such as the pod or the host. By default that of the capture's directory.
    #[arg(long, value_name = "ID", env = "HEAPTRIAGE_INSTANCE")]
    instance: Option<String>,
    /// Word for the build, where the program has no build-id. By default the build-id of the executable.
    #[arg(long, value_name = "ID", env = "HEAPTRIAGE_BUILD")]
    build: Option<String>,
    /// Share of each dump's bytes, in percent, that is kept stack by stack; 100 keeps every stack.
    #[arg(long, value_name = "PERCENT", default_value = "99", value_parser = percent)]
    keep: f64,
    /// Go on beside a recording: export again whenever there is something new, until SIGINT or SIGTERM, then once more.
    #[arg(long)]
    follow: bool,
    /// Time between exports with --follow.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, requires = "follow")]
    every: Duration,
    #[command(flatten)]
    symbols: SymbolArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("expected a share from 0 to 100, found `{}`", printable(text))),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("expected a time such as 30s or 10m, found `{}`", printable(text));
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    let span = Duration::try_from(span).map_err(|_| bad())?;
    if span < Duration::from_millis(100) { Err("at least 100ms".into()) } else { Ok(span) }
}

/// Runs `fleet export`.
pub fn run(args: &ExportArgs, context: &Context) -> anyhow::Result<Outcome> {
    let dataset = Dataset::new(&args.root);
    if args.follow {
        return follow(args, &dataset, context);
    }
    let captures = captures(&args.captures);
    let done = export(args, &captures, &dataset);
    let said = done.say(args, context)?;
    std::io::stdout().write_all(said.as_bytes())?;
    Ok(Outcome::Done)
}

/// Exports until asked to end; what was said once is not said again.
fn follow(args: &ExportArgs, dataset: &Dataset, context: &Context) -> anyhow::Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?; // the second time at once
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut seen: BTreeMap<PathBuf, Vec<(PathBuf, u64)>> = BTreeMap::new();
    let mut said: BTreeSet<String> = BTreeSet::new();
    let mut exported = false;
    loop {
        let last = stop.load(Ordering::SeqCst);
        let captures = captures(&args.captures);
        let changed: Vec<Capture> = captures.into_iter().filter(|capture| seen.get(&capture.key()) != Some(&capture.files())).collect();
        // Looked at before they are read: what is written meanwhile is new the next time.
        let files: Vec<_> = changed.iter().map(|capture| (capture.key(), capture.files())).collect();
        if !changed.is_empty() {
            let mut done = export(args, &changed, dataset);
            done.notices.retain(|notice| said.insert(notice.to_string()));
            exported |= done.written.snapshots > 0;
            let failed: BTreeSet<PathBuf> = done.failed.iter().cloned().collect();
            seen.extend(files.into_iter().filter(|(key, _)| !failed.contains(key)));
            context.notices(&done.notices);
            if !context.global.quiet && done.written.files > 0 {
                crate::cli::progress::end();
                std::io::stderr().write_all(done.sentence(args).as_bytes())?;
            }
        }
        if last {
            break;
        }
        let until = Instant::now() + args.every;
        while !stop.load(Ordering::SeqCst) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    if !exported {
        bail!("nothing was exported: no capture had a usable snapshot");
    }
    Ok(Outcome::Done)
}

/// Files of one process.
#[derive(Clone, Debug)]
struct Capture {
    inputs: Vec<PathBuf>,
    /// What the instance is called unless that is said.
    name: String,
}

impl Capture {
    fn key(&self) -> PathBuf {
        self.inputs.first().cloned().unwrap_or_default()
    }

    /// Names and sizes of its files: whether there is something new.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        for input in &self.inputs {
            let entries = std::fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
            for path in entries.chain([input.clone()]) {
                if let Some(meta) = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file) {
                    files.push((path, meta.len()));
                }
            }
        }
        files.sort();
        files
    }
}

/// The captures that arguments stand for: a directory with files in it is one, a directory with none has captures in it; loose
/// files are one together. What was recorded into a directory that has files as well (dumps, notes) is not passed over.
fn captures(arguments: &[PathBuf]) -> Vec<Capture> {
    let mut captures = Vec::new();
    let mut loose: Vec<PathBuf> = Vec::new();
    for argument in arguments {
        if !argument.is_dir() {
            loose.push(argument.clone());
            continue;
        }
        let visible = |path: &Path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.') && name != "lost+found");
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(argument).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| visible(path)).collect();
        entries.sort();
        if entries.is_empty() || entries.iter().any(|path| path.is_file()) {
            captures.push(Capture { inputs: vec![argument.clone()], name: name_of(argument) });
            entries.retain(|path| path.join("capture.json").is_file());
        }
        let folders = entries.into_iter().filter(|path| path.is_dir());
        captures.extend(folders.map(|path| Capture { name: name_of(&path), inputs: vec![path] }));
    }
    if let Some(first) = loose.first() {
        let folder = first.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        captures.push(Capture { name: name_of(folder), inputs: loose });
    }
    captures
}

/// `indexer-4121` for `/var/lib/heaptriage/indexer-4121.capture`.
fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "instance".into());
    name.strip_suffix(".capture").map_or(name.clone(), str::to_owned)
}

/// What exporting captures came to.
#[derive(Debug, Default)]
struct Done {
    written: Written,
    /// (instance, start) of everything exported.
    incarnations: BTreeSet<(String, i64)>,
    captures: usize,
    notices: Vec<Notice>,
    failed: Vec<PathBuf>,
}

impl Done {
    fn sentence(&self, args: &ExportArgs) -> String {
        let instances: BTreeSet<&str> = self.incarnations.iter().map(|(instance, _)| instance.as_str()).collect();
        let count = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{} {one}s", grouped(n as u64)) };
        let written = &self.written;
        let files = match (written.files, written.unchanged) {
            (0, _) => "nothing new".to_owned(),
            (files, 0) => count(files as usize, "file"),
            (files, unchanged) => format!("{}, {} unchanged", count(files as usize, "file"), grouped(unchanged)),
        };
        let restarts = match self.incarnations.len() - instances.len() {
            0 => String::new(),
            n => format!(", {}", count(n, "restart")),
        };
        format!(
            "{}: {} of {}{restarts} from {}: {} of stacks, {} in all ({files}) in {}\n",
            args.service,
            count(written.snapshots as usize, "snapshot"),
            count(instances.len(), "instance"),
            count(self.captures, "capture"),
            count(written.samples as usize, "row"),
            iec(written.bytes as f64),
            printable(&args.root.display().to_string()),
        )
    }

    /// The sentence; an error when nothing came of it.
    fn say(&self, args: &ExportArgs, context: &Context) -> anyhow::Result<String> {
        if self.captures == 0 {
            let reasons: Vec<String> = self.notices.iter().take(10).map(|notice| format!("\n  {notice}")).collect();
            bail!("nothing was exported{}", reasons.concat());
        }
        context.notices(&self.notices);
        Ok(self.sentence(args))
    }
}

fn export(args: &ExportArgs, captures: &[Capture], dataset: &Dataset) -> Done {
    let mut done = Done::default();
    if captures.is_empty() {
        done.notices.push(Notice::new("", "no capture among the inputs"));
    }
    let results: Vec<Result<One, Notice>> = captures.par_iter().map(|capture| one(args, capture, dataset)).collect();
    for (capture, result) in captures.iter().zip(results) {
        match result {
            Ok(one) => {
                done.captures += 1;
                done.written += one.written;
                done.incarnations.extend(one.incarnations);
                done.notices.extend(one.notices);
            }
            Err(notice) => {
                done.failed.push(capture.key());
                done.notices.push(notice);
            }
        }
    }
    done
}

#[derive(Debug, Default)]
struct One {
    written: Written,
    incarnations: Vec<(String, i64)>,
    notices: Vec<Notice>,
}

/// Exports one capture: every run of the program that is in it.
fn one(args: &ExportArgs, capture: &Capture, dataset: &Dataset) -> Result<One, Notice> {
    let label = capture.key().display().to_string();
    let failed = |message: String| Notice::new(&label, message);
    let instance = args.instance.clone().unwrap_or_else(|| capture.name.clone());
    let mut runs = capture::open_runs(&capture.inputs, &OpenOptions::default()).map_err(|error| failed(error.to_string()))?;
    runs.sort_by_key(|run| run.timeline.snapshots.first().map(|snapshot| snapshot.unix_ms));
    let mut one = One::default();
    let mut taken: BTreeSet<i64> = BTreeSet::new();
    for mut run in runs {
        let before = run.timeline.snapshots.len();
        run.timeline.snapshots.retain(|snapshot| snapshot.time_source.is_time());
        let untimed = before - run.timeline.snapshots.len();
        if untimed > 0 && untimed < before {
            one.notices.push(failed(format!("{untimed} of {before} snapshots have an order and no time: left out")));
        }
        let Some(first) = run.timeline.snapshots.first().map(|snapshot| snapshot.unix_ms) else {
            one.notices.append(&mut run.notices);
            let help = "its names tell an order and no time: name files by Unix milliseconds, as `record` does";
            one.notices.push(failed(format!("a run of the program was left out: {help}")));
            continue;
        };
        let all: Vec<usize> = (0..run.timeline.snapshots.len()).collect();
        let symbols = load::names(&mut run, &all, &args.symbols).map_err(|error| failed(error.to_string()))?;
        let start_ms = start(&run, first, &taken);
        taken.insert(start_ms);
        let build_id = args.build.clone().or_else(|| reduce::build_id(&run.timeline.process, &symbols));
        one.notices.append(&mut run.notices);
        one.notices.extend(doubts(&run, &symbols, start_ms, build_id.is_some()).into_iter().map(&failed));
        let of = Incarnation {
            service: args.service.clone(),
            instance: instance.clone(),
            build_id: build_id.unwrap_or_else(|| "unknown".into()),
            start_us: start_ms.saturating_mul(1000),
            process: run.timeline.process.name.clone().unwrap_or_default(),
        };
        one.incarnations.push((instance.clone(), of.start_us));
        let batch = reduce(&run.timeline, &symbols, of, args.keep);
        one.written += dataset.write(&batch).map_err(|error| failed(error.to_string()))?;
    }
    if one.incarnations.is_empty() {
        let reason = one.notices.pop().map_or_else(|| "holds no snapshot with a time".to_owned(), |notice| notice.message);
        return Err(failed(reason));
    }
    for notice in &mut one.notices {
        if !notice.input.starts_with(&label) {
            notice.input = if notice.input.is_empty() { label.clone() } else { format!("{label}/{}", notice.input) };
        }
    }
    Ok(one)
}

/// When the process started: as recorded, unless that is another run's start or after the first snapshot; else its first snapshot.
fn start(run: &Opened, first_ms: i64, taken: &BTreeSet<i64>) -> i64 {
    run.timeline.process.start_unix_ms.filter(|start| *start <= first_ms && !taken.contains(start)).unwrap_or(first_ms)
}

/// What is not as certain as it looks in the dataset.
fn doubts(run: &Opened, symbols: &Symbols, start_ms: i64, build: bool) -> Vec<String> {
    let mut doubts = Vec::new();
    if !build {
        doubts.push("no build-id is known, so builds cannot be compared: link with --build-id, or say --build".to_owned());
    }
    if run.timeline.process.start_unix_ms != Some(start_ms) {
        doubts.push("the start of the process is not known: its first snapshot stands in (capture.json: start_unix_ms)".to_owned());
    }
    for module in symbols.modules.iter().filter(|m| matches!(m.status, ModuleStatus::Missing | ModuleStatus::Mismatched)) {
        let remedy = module.remedy.as_deref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        doubts.push(format!(
            "{} has no names here ({}): its stacks go by offset and are the same within one build only{remedy}",
            printable(&module.name),
            module.status
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stand_for_captures() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for capture in ["all/web-1.capture", "all/web-2"] {
            std::fs::create_dir_all(path(capture)).unwrap();
            std::fs::write(path(capture).join("1763650000123.heap"), "").unwrap();
        }
        std::fs::create_dir_all(path("all/.trash")).unwrap();
        let names = |arguments: &[PathBuf]| captures(arguments).into_iter().map(|capture| capture.name).collect::<Vec<_>>();
        assert_eq!(names(&[path("all")]), ["web-1", "web-2"]);
        assert_eq!(names(&[path("all/web-1.capture")]), ["web-1"]);
        // A file beside them, and a capture that `record` made: both are looked at.
        std::fs::write(path("all/notes"), "").unwrap();
        std::fs::write(path("all/web-2/capture.json"), "{}").unwrap();
        assert_eq!(names(&[path("all")]), ["all", "web-2"]);
        std::fs::remove_file(path("all/web-2/capture.json")).unwrap();
        let loose = captures(&[path("all/web-2/1763650000123.heap"), path("all/web-2/2.heap")]);
        assert_eq!((loose.len(), loose[0].name.as_str(), loose[0].inputs.len()), (1, "web-2", 2));
        assert_eq!(captures(&[path("all/web-2")])[0].files(), [(path("all/web-2/1763650000123.heap"), 0)]);
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(percent("99"), Ok(0.99));
        assert_eq!(percent("99.5%"), Ok(0.995));
        assert!(percent("101").is_err() && percent("-1").is_err() && percent("NaN").is_err());
    }
}
