//! `record`: makes a capture directory of a live process, or of a command it starts.

use super::gauges::Textfile;
use super::screen::Screen;
use super::{Context, Outcome};
use crate::capture::debugger;
use crate::capture::describe::{self, Description, Scan};
use crate::capture::dumps::DumpPattern;
use crate::capture::launch::{self, LaunchOptions};
use crate::capture::process::LiveProcess;
use crate::capture::record::{self, Ask, End, Event, RecordOptions, Summary};
use crate::capture::store::Store;
use crate::origin::{Notice, printable};
use crate::units::iec;
use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  Record a running service for ten minutes, with a dump at each snapshot from its USR2 handler:
    heaptriage record --pid $(pidof indexer) --every 10s --for 10m --signal USR2

  Start a program with profiling on, dumping after each GiB it allocates, and look at the result:
    heaptriage record -o run.capture -- ./indexer --data /srv && heaptriage report run.capture";

/// Arguments of `record`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
#[group(id = "target", required = true, args = ["pid", "command"])]
pub struct RecordArgs {
    /// Record this process. It must belong to the same user, or run this with sudo.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Start this command with heap profiling on and record it until it ends.
    #[arg(last = true, value_name = "CMD", conflicts_with = "pid")]
    command: Vec<OsString>,
    /// Time between snapshots: `10s`, `500ms`, `1m`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    every: Duration,
    /// End after this time (a started command is then asked to end with SIGTERM). Without it the recording lasts as long as the process.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    length: Option<Duration>,
    /// Where the process writes heap dumps, such as '/var/tmp/jeprof.*.heap'. By default where its own prof_prefix says.
    #[arg(long, value_name = "GLOB", conflicts_with = "command")]
    dumps: Option<String>,
    /// Ask for a dump at each snapshot with this signal, for a process with a handler that dumps.
    #[arg(long, value_name = "NAME", value_parser = signal)]
    signal: Option<Signal>,
    /// Ask for a dump at each snapshot by attaching gdb. For a process without handler, where standing still for a moment is acceptable.
    #[arg(long, conflicts_with = "signal")]
    gdb: bool,
    /// The capture directory. By default NAME-PID.capture (or NAME.capture for a command) in the current one; an existing capture of the same process is continued.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Copy the executable and its libraries into the capture, so that it can be read on another machine.
    #[arg(long)]
    with_binary: bool,
    /// Keep a Prometheus text file with RSS, the ledger and the suspects so far, for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// Start the command with this jemalloc in front of the C library's malloc (LD_PRELOAD); without a path the distribution's.
    #[arg(long, value_name = "LIB", num_args = 0..=1, require_equals = true, requires = "command")]
    preload: Option<Option<PathBuf>>,
    /// More settings for the command's jemalloc, such as 'lg_prof_sample:17,prof_accum:true'.
    #[arg(long, value_name = "CONF", requires = "command")]
    conf: Option<String>,
    /// Have the command dump each time it has allocated this much (a power of two is used); 0 for a dump at its end only.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = super::args::size, conflicts_with = "pid")]
    dump_interval: u64,
}

/// `10s`, `1m30s`, `500ms`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("expected a time such as 500ms, 10s or 5m, found `{}`", printable(text));
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    let span = Duration::try_from(span).map_err(|_| bad())?;
    // Below this the reading itself would be the load.
    if span < Duration::from_millis(50) { Err("at least 50ms".into()) } else { Ok(span) }
}

/// `USR2`, `SIGUSR2`, `12`.
fn signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let known = match name.strip_prefix("SIG").unwrap_or(&name) {
        "HUP" => Some(Signal::HUP),
        "INT" => Some(Signal::INT),
        "QUIT" => Some(Signal::QUIT),
        "USR1" => Some(Signal::USR1),
        "USR2" => Some(Signal::USR2),
        "ALRM" => Some(Signal::ALARM),
        "URG" => Some(Signal::URG),
        "WINCH" => Some(Signal::WINCH),
        "IO" | "POLL" => Some(Signal::IO),
        "PWR" => Some(Signal::POWER),
        number => number.parse().ok().and_then(Signal::from_named_raw),
    };
    known.ok_or_else(|| format!("expected a signal such as USR2, found `{}`", printable(text)))
}

/// Runs `record`.
pub fn run(args: RecordArgs, context: &Context) -> anyhow::Result<Outcome> {
    let control = Control::install()?;
    let mut screen = Screen::new(context);
    let (summary, path) = match args.pid {
        Some(pid) => record_pid(&args, pid, &control, &mut screen)?,
        None => record_command(&args, &control, &mut screen)?,
    };
    if !context.global.quiet {
        screen.clear();
        std::io::stderr().write_all(closing(&summary, &path).as_bytes())?;
    }
    if summary.snapshots == 0 {
        bail!("no snapshot was recorded");
    }
    Ok(Outcome::Done)
}

fn record_pid(args: &RecordArgs, pid: u32, control: &Control, screen: &mut Screen) -> anyhow::Result<(Summary, PathBuf)> {
    let process = LiveProcess::open(pid)?;
    let description = Description::of(&process, Scan::Allocator)?;
    let path = match &args.output {
        Some(path) => path.clone(),
        None => free_name(&format!("{}-{pid}", file_name(&description.name)), |path| {
            record::earlier_description(path).is_some_and(|earlier| description.continues(&earlier))
        }),
    };
    let store = record::open(&path, &description)?;
    let dumps = match &args.dumps {
        Some(pattern) => Some(given_pattern(pattern, &process)?),
        None => description.dumps(&process),
    };
    let spool = store.spool();
    let ours = dumps.as_ref().is_some_and(|dumps| dumps.folder().canonicalize().is_ok_and(|folder| folder == spool));
    screen.started(&description, &path);
    let summary = record(args, &process, description, &store, dumps, ours, control, screen)?;
    Ok((summary, path))
}

fn record_command(args: &RecordArgs, control: &Control, screen: &mut Screen) -> anyhow::Result<(Summary, PathBuf)> {
    let name = args.command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let path = match &args.output {
        Some(path) => path.clone(),
        None => free_name(&file_name(&name.to_string_lossy()), |_| false),
    };
    if path.join(describe::FILE).exists() {
        bail!("{} is the capture of another process: name another directory with -o", path.display());
    }
    // Checked before the command is started: what cannot be written must not start anything.
    let store = Store::open(&path)?;
    let spool = store.spool();
    std::fs::create_dir_all(&spool).with_context(|| format!("cannot write {}", spool.display()))?;
    let options = LaunchOptions {
        preload: args.preload.clone().map(Option::unwrap_or_default),
        settings: args.conf.clone(),
        dump_interval: args.dump_interval,
    };
    let mut launch = match launch::prepare(&args.command, &spool, &options) {
        Ok(launch) => launch,
        Err(error) => {
            // Nothing was started, and nothing is left of it: folders go that are empty.
            let _ = std::fs::remove_dir(&spool);
            drop(store);
            let _ = std::fs::remove_dir(&path);
            return Err(error.into());
        }
    };
    for doubt in &launch.doubts {
        screen.notice(&Notice::new("", doubt.as_str()));
    }
    for (variable, value) in &launch.variables {
        screen.say(&format!("heaptriage: starting with {variable}={value}\n"));
    }
    let mut child = launch.command.spawn().with_context(|| format!("cannot start {}", name.display()))?;
    control.supervise(&child);
    let opened = LiveProcess::open(child.id()).map_err(anyhow::Error::from).and_then(|process| {
        let description = Description::of(&process, Scan::Allocator)?;
        Ok((process, description))
    });
    let (process, description) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let status = child.wait()?;
            return Err(error.context(format!("the command ended before it could be recorded: {status}")));
        }
    };
    store
        .put(describe::FILE, &description.to_json(None))
        .with_context(|| format!("cannot write {}", path.join(describe::FILE).display()))?;
    screen.started(&description, &path);
    let dumps = DumpPattern::for_prefix(&spool.join("jeprof"));
    let mut summary = record(args, &process, description, &store, dumps, true, control, screen)?;
    let status = end_command(&mut child, &process, &mut summary, control)?;
    // Only when nothing is left in it: dumps of other processes are not ours to remove.
    let left = std::fs::remove_dir(&spool).is_err() && std::fs::read_dir(&spool).is_ok_and(|mut entries| entries.next().is_some());
    if left {
        screen.notice(&Notice::new(
            spool.display().to_string(),
            "dumps of other processes that the command started are left here; record such a process with --pid",
        ));
    }
    match status {
        Some(status) if !status.success() && summary.end != End::Length => {
            screen.notice(&Notice::new(name.to_string_lossy(), format!("the command ended with {status}")))
        }
        Some(_) => {}
        None => screen.notice(&Notice::new(name.to_string_lossy(), format!("the command goes on as pid {}", child.id()))),
    }
    Ok((summary, path))
}

/// Ends what is left of the command when its recording is over; `None` when it goes on.
fn end_command(child: &mut Child, process: &LiveProcess, summary: &mut Summary, control: &Control) -> anyhow::Result<Option<ExitStatus>> {
    if summary.end == End::Length {
        // It may have ended this very moment.
        let _ = process.signal(Signal::TERM);
    }
    let since = Instant::now();
    let patience = if matches!(summary.end, End::Ended | End::Replaced) { Duration::MAX } else { Duration::from_secs(10) };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if since.elapsed() > patience || (summary.end == End::Stopped && control.child_is_left_alone()) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[allow(clippy::too_many_arguments, reason = "what is known of a target, and the three ways to talk")]
fn record(
    args: &RecordArgs,
    process: &LiveProcess,
    description: Description,
    store: &Store,
    dumps: Option<DumpPattern>,
    spool: bool,
    control: &Control,
    screen: &mut Screen,
) -> anyhow::Result<Summary> {
    let ask = ask(args, process, &description, screen)?;
    let options = RecordOptions { every: args.every, length: args.length, dumps, spool, ask, with_binary: args.with_binary };
    let mut textfile = args.prometheus.as_ref().map(|file| Textfile::new(file, store.path(), &description.name, description.pid));
    let summary = record::record(process, description, store, options, &control.stop, &mut |event| match event {
        Event::Notice(notice) => screen.notice(&notice),
        Event::Snapshot(snapped) => {
            if let (Some(textfile), Some(file)) = (&mut textfile, &args.prometheus)
                && let Err(error) = textfile.snapshot(&snapped)
            {
                screen.notice_once(&Notice::new(file.display().to_string(), format!("cannot be written: {error}")));
            }
            screen.snapshot(store.path(), &snapped);
        }
    });
    if let (Some(textfile), Some(file)) = (&mut textfile, &args.prometheus)
        && let Err(error) = textfile.finish()
    {
        screen.notice_once(&Notice::new(file.display().to_string(), format!("cannot be written: {error}")));
    }
    Ok(summary)
}

/// The way to ask for dumps, checked: a signal without handler would end the process.
fn ask(args: &RecordArgs, process: &LiveProcess, description: &Description, screen: &mut Screen) -> anyhow::Result<Option<Ask>> {
    if let Some(signal) = args.signal {
        // A command just started has not installed its handler yet.
        if args.pid.is_some() && !process.handles(signal)? {
            bail!(
                "pid {} has no handler for signal {}: it would end the process\n  help: install one that dumps (docs/recording.md), or use --gdb",
                process.pid(),
                signal.as_raw()
            );
        }
        return Ok(Some(Box::new(move |process| {
            if process.handles(signal).map_err(|error| error.to_string())? {
                process.signal(signal).map_err(|error| format!("the signal could not be sent: {error}"))
            } else {
                Err(format!("it has no handler for signal {}: not sent, because it would end the process", signal.as_raw()))
            }
        })));
    }
    if args.gdb {
        let jemalloc = description.jemalloc().context("no jemalloc was found in the process: there is nothing gdb could call")?;
        let prefix = jemalloc.prefix();
        screen.notice(&Notice::new("", debugger::WARNING));
        return Ok(Some(Box::new(move |process| debugger::dump(process, &prefix))));
    }
    Ok(None)
}

/// The pattern as given; for a process in a container looked up in its own file tree first.
fn given_pattern(pattern: &str, process: &LiveProcess) -> anyhow::Result<DumpPattern> {
    let given = DumpPattern::new(pattern)?;
    if process.has_other_root() && given.folder().is_absolute() {
        let inside = process.seen(given.folder());
        if inside.is_dir() {
            return Ok(given.in_folder(inside));
        }
    }
    if !given.folder().is_dir() {
        bail!("no folder {} for the dumps of pid {}", given.folder().display(), process.pid());
    }
    Ok(given)
}

/// `NAME.capture`, or with a number where that is the capture of something else.
fn free_name(name: &str, ours: impl Fn(&Path) -> bool) -> PathBuf {
    let numbered = |n: u32| if n == 1 { format!("{name}.capture") } else { format!("{name}-{n}.capture") };
    (1..).map(|n| PathBuf::from(numbered(n))).find(|path| !path.exists() || ours(path)).unwrap_or_else(|| PathBuf::from(numbered(1)))
}

/// A process name as part of a file name.
fn file_name(name: &str) -> String {
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let safe = safe.trim_start_matches('.');
    if safe.is_empty() { "process".to_owned() } else { safe.to_owned() }
}

/// Signals to this program, and the command it may have started.
struct Control {
    stop: Receiver<()>,
    child: Arc<AtomicU32>,
    left_alone: Arc<AtomicBool>,
}

impl Control {
    /// From here on SIGINT, SIGTERM and SIGHUP end the recording in order; a second one at once.
    fn install() -> anyhow::Result<Control> {
        // A file size limit then shows as an error of write, as a full disk does.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (sender, stop) = channel();
        let child = Arc::new(AtomicU32::new(0));
        let left_alone = Arc::new(AtomicBool::new(false));
        let control = Control { stop, child: Arc::clone(&child), left_alone: Arc::clone(&left_alone) };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut received = 0;
            for signal in signals.forever() {
                received += 1;
                let command = i32::try_from(child.load(Ordering::Relaxed)).ok().and_then(rustix::process::Pid::from_raw);
                match (command, received) {
                    // The command ends first, and what it writes on its way out is recorded. SIGINT of a terminal
                    // went to it as well; sent once more it would be taken for the impatient second one.
                    (Some(command), 1) => {
                        if signal != SIGINT {
                            let _ = rustix::process::kill_process(command, Signal::TERM);
                        }
                    }
                    (Some(_), 2) => {
                        left_alone.store(true, Ordering::Relaxed);
                        let _ = sender.send(());
                    }
                    (None, 1) => {
                        let _ = sender.send(());
                    }
                    // Files are whole at every moment: nothing is lost but the last words.
                    _ => std::process::exit(128 + signal),
                }
            }
        })?;
        Ok(control)
    }

    fn supervise(&self, child: &Child) {
        self.child.store(child.id(), Ordering::Relaxed);
    }

    fn child_is_left_alone(&self) -> bool {
        self.left_alone.load(Ordering::Relaxed)
    }
}

/// What was recorded, what it cost, and what to do next.
fn closing(summary: &Summary, path: &Path) -> String {
    let path = path.display();
    let cost = &summary.cost;
    let end = match summary.end {
        End::Length => "the time is over",
        End::Stopped => "it was stopped",
        End::Ended => "the process ended",
        End::Replaced => "the process ended, and its pid belongs to another one by now",
    };
    let mut lost = String::new();
    if summary.dropped > 0 {
        lost += &format!("; {} dumps that followed another too soon were dropped", summary.dropped);
    }
    if summary.lost > 0 {
        lost += &format!("; {} snapshots or dumps could not be written", summary.lost);
    }
    let [full, rollup, status] = cost.readings;
    let elapsed = summary.elapsed.as_secs_f64().max(1e-9);
    let percent = |time: Duration| 100.0 * time.as_secs_f64() / elapsed;
    let own = cost.total.saturating_sub(cost.reading);
    let head = format!(
        "heaptriage: {} {} in {path}, {} with a heap dump, over {}: {end}{lost}\n",
        summary.snapshots,
        if summary.snapshots == 1 { "snapshot" } else { "snapshots" },
        summary.dumps,
        time(summary.elapsed),
    );
    if summary.snapshots == 0 {
        return head;
    }
    format!(
        "{head}  \
         memory was read {full} times in full, {rollup} times as sums, {status} times as RSS alone; {} written\n  \
         cost: {:.2} % of a core in the kernel for the readings, {:.2} % for everything else; the longest read of the target's memory map took {}: a thread that maps memory may have waited that long, on a busy machine longer\n  \
         next: heaptriage report {path}\n",
        iec(cost.written as f64),
        percent(cost.reading),
        percent(own),
        time(cost.longest_read),
    )
}

/// `12 ms`, `3.2 s`, `10 min 0 s`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() < 10 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_signals_are_read_as_people_write_them() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("-1s").is_err() && duration("1ms").is_err() && duration("soon").is_err());
        assert_eq!(signal("usr2"), Ok(Signal::USR2));
        assert_eq!(signal("SIGUSR1"), Ok(Signal::USR1));
        assert_eq!(signal("12"), Ok(Signal::USR2));
        assert!(signal("USR9").is_err());
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(file_name("my srv/1"), "my_srv_1");
        assert_eq!(file_name("..."), "process");
    }

    #[test]
    fn the_closing_words_name_the_cost() {
        let summary = Summary {
            snapshots: 60,
            dumps: 12,
            dropped: 3,
            lost: 0,
            end: End::Length,
            cost: crate::capture::sampler::Cost {
                reading: Duration::from_millis(4800),
                total: Duration::from_millis(5400),
                longest_read: Duration::from_micros(3100),
                readings: [40, 20, 0],
                written: 12 << 20,
            },
            elapsed: Duration::from_secs(600),
        };
        insta::assert_snapshot!(closing(&summary, Path::new("indexer-4121.capture")), @r"
        heaptriage: 60 snapshots in indexer-4121.capture, 12 with a heap dump, over 10 min 0 s: the time is over; 3 dumps that followed another too soon were dropped
          memory was read 40 times in full, 20 times as sums, 0 times as RSS alone; 12.0 MiB written
          cost: 0.80 % of a core in the kernel for the readings, 0.10 % for everything else; the longest read of the target's memory map took 3.1 ms: a thread that maps memory may have waited that long, on a busy machine longer
          next: heaptriage report indexer-4121.capture
        ");
    }
}
