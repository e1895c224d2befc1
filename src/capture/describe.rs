//! `capture.json`: which process a capture is of, and with which programs and settings it ran.
//!
//! ```json
//! {"pid": 4121, "exe": "/opt/indexer", "cmdline": "/opt/indexer --data /srv", "start_unix_ms": 1763650000123,
//!  "start_ticks": 88123, "boot_id": "4c0e…", "page_size": 4096, "kernel": "Linux 6.18.0",
//!  "jemalloc_version": "5.3.0-0-g54ea…", "malloc_conf": "prof:true", "malloc_conf_variable": "_RJEM_MALLOC_CONF", "modules": [{"path": "/opt/indexer", "build_id": "5c1e…"}]}
//! ```
//!
//! `start_ticks` and `boot_id` are the identity of the process: a pid alone is used again.
//! Keys this module does not know (counters, notes of the user) are kept.

use crate::capture::dumps::DumpPattern;
use crate::capture::process::LiveProcess;
use crate::capture::program::Program;
use crate::input::maps;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The file's name in a capture.
pub const FILE: &str = "capture.json";

/// What is known of a process besides its snapshots.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its executable as it sees it, without ` (deleted)`.
    pub exe: Option<PathBuf>,
    /// The command line, arguments separated by blanks.
    pub cmdline: String,
    /// When it started.
    pub start: SystemTime,
    /// The same in clock ticks after boot: exact.
    pub start_ticks: u64,
    /// Which boot.
    pub boot_id: Option<String>,
    /// Files with executable mappings, in address order of the first one.
    pub modules: Vec<Module>,
    /// Settings for the allocator given in the environment.
    pub malloc_conf: Option<String>,
    /// As the allocator's own strings say, or as the allocator itself said.
    pub jemalloc_version: Option<String>,
}

/// How much of the mapped files is read for a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Build-ids.
    Identity,
    /// Also which jemalloc is in them: their constant data is read, some tens of MiB for a large program.
    Allocator,
}

/// A file mapped into a process.
#[derive(Clone, Debug)]
pub struct Module {
    /// As the process sees it.
    pub path: PathBuf,
    /// Where this program can open it.
    pub readable_at: PathBuf,
    /// Facts of the file; `None` when it cannot be read.
    pub program: Option<Program>,
}

impl Description {
    /// Looks at a process.
    pub fn of(process: &LiveProcess, scan: Scan) -> io::Result<Description> {
        let stat = process.stat()?;
        let cmdline = process.read("cmdline").unwrap_or_default();
        let arguments: Vec<_> = cmdline.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
        let modules = modules(process, scan)?;
        let jemalloc_version = modules.iter().find_map(|module| module.program.as_ref()?.jemalloc.as_ref()?.version.clone());
        let malloc_conf = settings(process, &modules);
        let exe = process.link("exe").ok().map(without_deleted);
        Ok(Description {
            pid: process.pid(),
            name: stat.name,
            exe,
            cmdline: arguments.join(" ").trim_end().to_owned(),
            start: start_time(process.start_ticks()),
            start_ticks: process.start_ticks(),
            boot_id: read_line("/proc/sys/kernel/random/boot_id"),
            modules,
            malloc_conf,
            jemalloc_version,
        })
    }

    /// The jemalloc in use: the executable's own, else that of a library.
    pub fn jemalloc(&self) -> Option<&crate::capture::program::Jemalloc> {
        self.modules.iter().find_map(|module| module.program.as_ref()?.jemalloc.as_ref())
    }

    /// Where the process dumps by its own settings: `prof_prefix`, relative to its working directory
    /// and seen through its root. `None` when it does not profile.
    pub fn dumps(&self, process: &LiveProcess) -> Option<DumpPattern> {
        let conf = self.malloc_conf.as_deref()?;
        if option(conf, "prof") != Some("true") {
            return None;
        }
        let prefix = Path::new(option(conf, "prof_prefix").filter(|prefix| !prefix.is_empty()).unwrap_or("jeprof"));
        let prefix = process.link("cwd").ok()?.join(prefix);
        DumpPattern::for_prefix(&if process.has_other_root() { process.seen(&prefix) } else { prefix })
    }

    /// The text of `capture.json`; `earlier` is the file of a recording that is being continued.
    pub fn to_json(&self, earlier: Option<&Map<String, Value>>) -> Vec<u8> {
        let mut map = earlier.cloned().unwrap_or_default();
        let start_unix_ms = self.start.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        let modules: Vec<Value> = self
            .modules
            .iter()
            .map(|module| {
                let build_id = module.program.as_ref().and_then(|p| p.build_id.as_ref()).map(ToString::to_string);
                json!({ "path": module.path.to_string_lossy(), "build_id": build_id })
            })
            .collect();
        set("pid", Some(self.pid.into()));
        set("exe", self.exe.as_ref().map(|exe| exe.to_string_lossy().into_owned().into()));
        set("cmdline", Some(self.cmdline.clone().into()));
        set("start_unix_ms", Some(start_unix_ms.into()));
        set("start_ticks", Some(self.start_ticks.into()));
        set("boot_id", self.boot_id.clone().map(Value::from));
        set("page_size", Some(procfs::page_size().into()));
        set("kernel", read_line("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}").into()));
        set("jemalloc_version", self.jemalloc_version.clone().map(Value::from));
        set("malloc_conf", self.malloc_conf.clone().map(Value::from));
        set("malloc_conf_variable", self.jemalloc().map(|jemalloc| jemalloc.variable.clone().into()));
        set("modules", Some(modules.into()));
        pretty(map)
    }

    /// Whether an earlier `capture.json` is of the same process. Without any identity in it, it
    /// is taken to be: somebody made the capture by hand.
    pub fn continues(&self, earlier: &Map<String, Value>) -> bool {
        let number = |key: &str| earlier.get(key).and_then(Value::as_u64);
        let same = |key: &str, ours: u64| number(key).is_none_or(|theirs| theirs == ours);
        let boot = |theirs: &str| self.boot_id.as_deref().is_none_or(|ours| ours == theirs);
        same("pid", self.pid.into())
            && same("start_ticks", self.start_ticks)
            && earlier.get("boot_id").and_then(Value::as_str).is_none_or(boot)
    }
}

/// The text of a `capture.json`.
pub fn pretty(map: Map<String, Value>) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(&Value::Object(map)).unwrap_or_default();
    text.push(b'\n');
    text
}

/// When a process that started `ticks` after boot started on the calendar.
fn start_time(ticks: u64) -> SystemTime {
    let uptime = read_line("/proc/uptime").and_then(|line| line.split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
    let age = uptime - ticks as f64 / procfs::ticks_per_second().max(1) as f64;
    let now = SystemTime::now();
    Duration::try_from_secs_f64(age).ok().and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// The files with code mapped into the process.
fn modules(process: &LiveProcess, scan: Scan) -> io::Result<Vec<Module>> {
    let text = process.read("maps")?;
    let mut modules: Vec<Module> = Vec::new();
    let mut known: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
    let exe = process.link("exe").map(without_deleted).ok();
    for line in text.split(|&byte| byte == b'\n').filter_map(maps::parse_line) {
        let name = line.name.strip_suffix(b" (deleted)").unwrap_or(line.name);
        if line.perms[2] != b'x' || !name.starts_with(b"/") || known.insert(name.to_vec(), ()).is_some() {
            continue;
        }
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(name));
        // The executable by its link: it may be unlinked, or replaced by a newer one.
        let readable_at = match &exe {
            Some(exe) if *exe == path => PathBuf::from(format!("/proc/{}/exe", process.pid())),
            _ => {
                let exact = format!("/proc/{}/map_files/{:x}-{:x}", process.pid(), line.range.start, line.range.end);
                // The very file that is mapped; needs privileges, else the path in the process's root.
                if std::fs::File::open(&exact).is_ok() { exact.into() } else { process.seen(&path) }
            }
        };
        let program = Program::read(&readable_at, scan == Scan::Allocator).ok();
        modules.push(Module { path, readable_at, program });
    }
    Ok(modules)
}

/// The allocator's settings from the environment of the process: of the variable its jemalloc reads (empty where it is not
/// set), else of any.
fn settings(process: &LiveProcess, modules: &[Module]) -> Option<String> {
    let environ = process.read("environ").ok()?;
    let value = |variable: &str| {
        environ.split(|&byte| byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    };
    let read: Vec<&str> = modules.iter().filter_map(|m| Some(m.program.as_ref()?.jemalloc.as_ref()?.variable.as_str())).collect();
    match read.first() {
        Some(variable) => Some(value(variable).unwrap_or_default()),
        None => value("MALLOC_CONF").or_else(|| value("_RJEM_MALLOC_CONF")),
    }
}

/// One option of a `malloc_conf` text; the last one counts, as in jemalloc.
pub fn option<'a>(malloc_conf: &'a str, name: &str) -> Option<&'a str> {
    malloc_conf.split(',').rev().find_map(|pair| {
        let (key, value) = pair.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn without_deleted(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(kept) => PathBuf::from(std::ffi::OsStr::from_bytes(kept)),
        None => path,
    }
}

fn read_line(path: impl AsRef<Path>) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_counts() {
        assert_eq!(option("prof:true,lg_prof_sample:17,prof:false", "prof"), Some("false"));
        assert_eq!(option("prof_prefix:/tmp/a:b", "prof_prefix"), Some("/tmp/a:b"));
        assert_eq!(option("prof", "prof"), None);
    }

    #[test]
    fn a_process_describes_itself_and_knows_its_capture_again() {
        let process = LiveProcess::open(std::process::id()).unwrap();
        let description = Description::of(&process, Scan::Allocator).unwrap();
        assert_eq!(description.exe.as_deref(), std::env::current_exe().ok().as_deref());
        assert!(description.modules.iter().any(|m| Some(&m.path) == description.exe.as_ref() && m.program.is_some()));
        let age = SystemTime::now().duration_since(description.start).unwrap();
        assert!(age < Duration::from_secs(24 * 3600), "{age:?}");

        let earlier: Map<String, Value> = serde_json::from_slice(&description.to_json(None)).unwrap();
        assert!(description.continues(&earlier));
        let mut other = earlier.clone();
        other.insert("start_ticks".into(), (description.start_ticks + 1).into());
        assert!(!description.continues(&other), "the pid was used again");
        assert!(description.continues(&Map::new()), "made by hand");

        let mut noted = earlier;
        noted.insert("counters".into(), json!({"documents": "cumulative"}));
        let again: Value = serde_json::from_slice(&description.to_json(Some(&noted))).unwrap();
        assert_eq!(again["counters"]["documents"], "cumulative");
    }
}
