//! Examines a live process: what it was started with, what its allocator really does, where its dumps go.

use super::settings::{Measured, Settings, Source};
use super::{Check, Examination, State, allocator, program};
use crate::capture::describe::{Description, Module, Scan};
use crate::capture::process::{LiveProcess, ProcessError};
use crate::capture::program::{Jemalloc, Program};
use crate::input::maps;
use crate::model::mapping::Mapping;
use crate::origin::printable;
use crate::symbolize::SymbolOptions;
use rustix::process::Signal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Examines a process. An error when there is none of this number.
pub fn process(pid: u32, options: &SymbolOptions) -> Result<Examination, ProcessError> {
    let mut report = Examination::new("process", format!("pid {pid}"));
    report.pid = Some(u64::from(pid));
    let process = match LiveProcess::open(pid) {
        Ok(process) => process,
        Err(error @ ProcessError::None { .. }) => return Err(error),
        Err(error) => {
            let check = Check::new("access", State::Bad, error.to_string());
            report.add(match error {
                ProcessError::Forbidden { .. } => check.remedy(format!("sudo heaptriage doctor --pid {pid}")),
                _ => check,
            });
            return Ok(report);
        }
    };
    let description = match Description::of(&process, Scan::Allocator) {
        Ok(description) => description,
        Err(error) => {
            report.add(Check::new("access", State::Bad, format!("it ended while it was examined: {error}")));
            return Ok(report);
        }
    };
    report.subject = format!("{} (pid {pid})", printable(&description.name));
    examine(&mut report, &process, &description, options);
    Ok(report)
}

fn examine(report: &mut Examination, process: &LiveProcess, description: &Description, options: &SymbolOptions) {
    let with_jemalloc = description.modules.iter().find(|module| jemalloc_of(module).is_some());
    let main = description.modules.iter().find(|module| Some(&module.path) == description.exe.as_ref());
    let unknown = Program::default();
    let program = main.and_then(|module| module.program.as_ref()).unwrap_or(&unknown);
    let place = with_jemalloc
        .map_or_else(|| printable(&description.name).into_owned(), |module| printable(&module.path.to_string_lossy()).into_owned());
    let jemalloc = with_jemalloc.and_then(jemalloc_of);
    report.checks.extend(allocator::jemalloc(jemalloc, &place, program));
    if let (Some(module), Some(jemalloc)) = (with_jemalloc, jemalloc) {
        let settings = settings(process, module, jemalloc);
        report.checks.extend(misplaced(process, jemalloc));
        if jemalloc.profiling {
            let live = process.stat().ok().map(|stat| stat.resident_pages.saturating_mul(procfs::page_size()));
            report.checks.extend(settings.checks(jemalloc, true, live));
            if settings.is_on() {
                report.checks.extend(dumps(process, &settings));
            } else {
                report.set = Some((jemalloc.variable.clone(), settings.advised()));
            }
        }
    }
    if process.link("exe").is_ok_and(|exe| exe.as_os_str().as_bytes().ends_with(b" (deleted)")) {
        let finding = "its executable was deleted or replaced since it was started: stacks can only be named while it runs";
        report.add(Check::new("executable", State::Doubt, finding).remedy("record it with --with-binary"));
    }
    if process.has_other_root() {
        report.add(Check::new(
            "container",
            State::Note,
            format!("it runs in another file tree (a container): its files are read below /proc/{}/root", process.pid()),
        ));
    }
    if let Some(module) = main {
        report.checks.extend(allocator::file(&module.readable_at, mappings(process, module), options));
    }
}

fn jemalloc_of(module: &Module) -> Option<&Jemalloc> {
    module.program.as_ref()?.jemalloc.as_ref()
}

/// All settings the allocator of the process saw, in its order.
fn settings(process: &LiveProcess, module: &Module, jemalloc: &Jemalloc) -> Settings {
    let mut sources = program::built_in(&module.readable_at, jemalloc);
    // A symbolic link whose target is the text (jemalloc(3)).
    let link = process.seen(std::path::Path::new("/etc/malloc.conf"));
    if let Ok(text) = std::fs::read_link(link) {
        sources.push(Source { name: "/etc/malloc.conf".into(), text: text.to_string_lossy().into_owned() });
    }
    if let Some(text) = environment(process, &jemalloc.variable) {
        sources.push(Source { name: format!("the variable {}", jemalloc.variable), text });
    }
    // `malloc_conf_2_conf_harder` is applied after the environment.
    let (harder, mut sources): (Vec<Source>, Vec<Source>) = sources.into_iter().partition(|source| source.name.ends_with("harder"));
    sources.extend(harder);
    Settings { sources, measured: measured(process, module).unwrap_or_default() }
}

fn environment(process: &LiveProcess, variable: &str) -> Option<String> {
    let environ = process.read("environ").ok()?;
    environ.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// A setting in the variable that another build would read: the most common mistake.
fn misplaced(process: &LiveProcess, jemalloc: &Jemalloc) -> Option<Check> {
    let other = if jemalloc.variable == "MALLOC_CONF" { "_RJEM_MALLOC_CONF" } else { "MALLOC_CONF" };
    let value = environment(process, other).filter(|value| !value.is_empty())?;
    let finding = format!(
        "{other} is set to {}, but this jemalloc reads {}: it has no effect",
        crate::origin::quote(value.as_bytes()),
        jemalloc.variable
    );
    Some(Check::new("variable", State::Doubt, finding).remedy(format!("set {} instead of {other}", jemalloc.variable)))
}

/// Reads jemalloc's own variables in the memory of the process. Without symbols or permission there are none.
fn measured(process: &LiveProcess, module: &Module) -> Option<Measured> {
    const NAMES: [&str; 8] = [
        "je_opt_prof",
        "je_prof_active_state",
        "je_opt_prof_accum",
        "je_opt_prof_unbias",
        "je_lg_prof_sample",
        "je_opt_lg_prof_interval",
        "je_opt_prof_prefix",
        "je_opt_background_thread",
    ];
    // The private namespace comes before: `_rjem_je_opt_prof` in tikv's builds, whatever their public prefix.
    let prefixed = NAMES.map(|name| format!("_rjem_{name}"));
    let all: Vec<&str> = NAMES.iter().copied().chain(prefixed.iter().map(String::as_str)).collect();
    let variables = Program::variables(&module.readable_at, &all).ok()?;
    let bias = bias(process, module)?;
    let memory = process.open_file("mem").ok()?;
    let read = |index: usize, most: u64| -> Option<Vec<u8>> {
        let variable = variables.get(index).copied().flatten().or_else(|| variables.get(index + NAMES.len()).copied().flatten())?;
        let mut bytes = vec![0; usize::try_from(variable.size.min(most)).ok()?];
        memory.read_exact_at(&mut bytes, bias.checked_add(variable.address)?).ok()?;
        Some(bytes)
    };
    let flag = |index: usize| match read(index, 1)?.first()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    let number = |index: usize| Some(i64::from_le_bytes(read(index, 8)?.try_into().ok()?));
    let text = |index: usize| {
        let bytes = read(index, 4096)?;
        let end = memchr::memchr(0, &bytes)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let on = flag(0)?;
    Some(Measured {
        prof: Some(on),
        active: flag(1),
        accum: flag(2),
        unbias: flag(3),
        // Set when profiling starts: 0 before.
        lg_sample: number(4).filter(|_| on).and_then(|lg| u64::try_from(lg).ok()),
        lg_interval: number(5),
        prefix: text(6),
        background_thread: flag(7),
    })
}

/// What is to be added to an address of the file to get that in the process.
fn bias(process: &LiveProcess, module: &Module) -> Option<u64> {
    let first = mappings(process, module).into_iter().find(|mapping| mapping.offset.get() == 0)?;
    first.range.start.get().checked_sub(Program::base(&module.readable_at).ok()?)
}

/// Where a module is in the process.
fn mappings(process: &LiveProcess, module: &Module) -> Vec<Mapping> {
    let text = process.read("maps").unwrap_or_default();
    let lines = text.split(|&byte| byte == b'\n').filter_map(maps::parse_line);
    let ours = lines.filter(|line| line.name.strip_suffix(b" (deleted)").unwrap_or(line.name) == module.path.as_os_str().as_bytes());
    ours.map(|line| Mapping {
        range: line.range,
        perms: line.perms,
        offset: line.offset,
        device: line.device,
        inode: line.inode,
        name: line.name.into(),
    })
    .collect()
}

/// How dumps come about, and where they go.
fn dumps(process: &LiveProcess, settings: &Settings) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut ways = Vec::new();
    let interval =
        settings.measured.lg_interval.or_else(|| settings.get("lg_prof_interval")?.0.parse().ok()).filter(|&lg| (0..64).contains(&lg));
    if let Some(lg) = interval {
        ways.push(format!("by itself after each {} allocated", crate::units::iec(2f64.powi(lg as i32))));
    }
    for (signal, name) in [(Signal::USR1, "USR1"), (Signal::USR2, "USR2")] {
        if process.handles(signal).unwrap_or(false) {
            ways.push(format!("on SIG{name}, if that is what its handler does (`record --signal {name}`)"));
        }
    }
    let pid = process.pid();
    checks.push(if ways.is_empty() {
        Check::new("dumping", State::Doubt, "nothing makes it dump: no lg_prof_interval, and no handler for SIGUSR1 or SIGUSR2")
            .remedy(format!("`heaptriage record --pid {pid} --gdb`, or add two lines to its main (docs/recording.md)"))
    } else {
        Check::new("dumping", State::Good, format!("it dumps {}", ways.join(", ")))
    });
    match settings.prefix() {
        None => checks.push(Check::new(
            "dump_place",
            State::Note,
            "prof_prefix is empty: dumps only come where the program itself names a file",
        )),
        Some(prefix) => {
            let prefix = process.link("cwd").unwrap_or_default().join(prefix);
            let folder = prefix.parent().map(PathBuf::from).unwrap_or_default();
            let place = format!("{}.{}.*.heap", printable(&prefix.to_string_lossy()), process.own_pid());
            let there = process.seen(&folder);
            checks.push(if there.is_dir() {
                Check::new("dump_place", State::Good, format!("dumps go to {place}, where `record` looks for them by itself"))
            } else {
                Check::new("dump_place", State::Bad, format!("dumps would go to {place}, but there is no such folder"))
                    .remedy(format!("make the folder {}, or set prof_prefix to another", printable(&folder.to_string_lossy())))
            });
        }
    }
    checks
}
