//! The inputs, each made once below the directory of the run.

use crate::Result;
use crate::dumps::{Plan, Program, to_gperftools};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where everything lies.
#[derive(Debug)]
pub struct Inputs {
    pub dir: PathBuf,
    /// The program whose addresses are looked up: `service` of this folder, built with full debug information.
    pub service: PathBuf,
    /// The repository.
    pub root: PathBuf,
    program: Option<Program>,
}

/// Dumps of the service's own capture.
const SNAPSHOTS: usize = 12;

impl Inputs {
    pub fn new(dir: &Path) -> Result<Inputs> {
        fs::create_dir_all(dir)?;
        let dir = fs::canonicalize(dir)?;
        let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
        let service = dir.join("bin/search-service");
        if !service.is_file() {
            return Err(format!("{} is missing: `benches/peers/run` builds it", service.display()).into());
        }
        Ok(Inputs { dir, service, root, program: None })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn program(&mut self) -> Result<&Program> {
        if self.program.is_none() {
            self.program = Some(Program::read(&self.service)?);
        }
        self.program.as_ref().ok_or_else(|| "the program was not read".into())
    }

    /// A list of distinct call addresses.
    pub fn addresses(&mut self, count: usize) -> Result<PathBuf> {
        let path = self.path(&format!("addresses.{count}"));
        if !path.exists() {
            self.program()?.write_addresses(&path, count)?;
        }
        Ok(path)
    }

    /// Two dumps with some stacks each, of which three in ten differ; and the second as Go's pprof reads it.
    pub fn pair(&mut self, stacks: usize) -> Result<(PathBuf, PathBuf)> {
        let (base, current) = (self.path(&format!("{stacks}.base.heap")), self.path(&format!("{stacks}.current.heap")));
        if !current.exists() {
            let plan = Plan { stacks, depth: (10, 60), threads: 8, changed: 0.3 };
            self.program()?.write_pair(plan, &base, &current)?;
        }
        Ok((base, current))
    }

    /// A dump in the form of gperftools.
    pub fn gperftools(&self, dump: &Path) -> Result<PathBuf> {
        let path = dump.with_extension("gperftools");
        if !path.exists() {
            to_gperftools(dump, &path)?;
        }
        Ok(path)
    }

    /// The service's own dumps, as a capture.
    pub fn capture(&self) -> Result<PathBuf> {
        let dir = self.path("capture");
        let count = |dir: &Path| {
            fs::read_dir(dir).map_or(0, |entries| entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "heap")).count())
        };
        if count(&dir) < SNAPSHOTS {
            fs::create_dir_all(&dir)?;
            let settings = "prof:true,prof_accum:true,lg_prof_sample:6";
            let status = Command::new(&self.service)
                .env("MALLOC_CONF", settings)
                .env("_RJEM_MALLOC_CONF", settings)
                .args([dir.as_os_str(), SNAPSHOTS.to_string().as_ref(), "4000".as_ref()])
                .stdout(std::process::Stdio::null())
                .status()?;
            if !status.success() || count(&dir) < SNAPSHOTS {
                return Err("the service wrote no dumps".into());
            }
        }
        Ok(dir)
    }

    /// The first and the last dump of that capture.
    pub fn real_pair(&self) -> Result<(PathBuf, PathBuf)> {
        let mut dumps: Vec<PathBuf> = fs::read_dir(self.capture()?)?.flatten().map(|entry| entry.path()).collect();
        dumps.retain(|path| path.extension().is_some_and(|extension| extension == "heap"));
        dumps.sort();
        match (dumps.first(), dumps.last()) {
            (Some(first), Some(last)) => Ok((first.clone(), last.clone())),
            _ => Err("no dump in the capture".into()),
        }
    }

    /// A thousand texts of a process with 126 mappings, the time before each: the smaps of a fixture, over and over.
    pub fn smaps_series(&self) -> Result<PathBuf> {
        let path = self.path("series.smaps");
        if !path.exists() {
            let text = smaps_text(126);
            let mut out = std::io::BufWriter::new(fs::File::create(&path)?);
            for at in 0..1000 {
                writeln!(out, "{}", 1_763_650_000 + at * 10)?;
                out.write_all(text.as_bytes())?;
            }
            out.flush()?;
        }
        Ok(path)
    }

    /// A capture of many dumps with 3,000 stacks; twenty different files, each under many names.
    pub fn long_capture(&mut self, snapshots: usize) -> Result<PathBuf> {
        const FILES: usize = 20;
        let dir = self.path(&format!("long.{snapshots}"));
        if !dir.join("done").exists() {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir)?;
            let plan = Plan { stacks: 3000, depth: (10, 60), threads: 2, changed: 0.3 };
            let (first, other) = (self.path("long.base"), self.path("long.current"));
            self.program()?.write_pair(plan, &first, &other)?;
            let text = fs::read_to_string(&first)?;
            for file in 0..FILES {
                fs::write(dir.join(format!(".{file}")), grown(&text, file as u64))?;
            }
            for at in 0..snapshots {
                fs::hard_link(
                    dir.join(format!(".{}", at * FILES / snapshots)),
                    dir.join(format!("{}.heap", 1_763_650_000_000u64 + at as u64 * 1000)),
                )?;
            }
            fs::write(dir.join("done"), "")?;
        }
        Ok(dir)
    }
}

/// The dump in which one stack in fifty has `more` times its live bytes on top.
fn grown(text: &str, more: u64) -> String {
    let mut out = String::with_capacity(text.len());
    let mut stack = 0usize;
    for line in text.lines() {
        stack += usize::from(line.starts_with('@'));
        let is_counter = stack > 0 && stack % 50 == 0 && line.starts_with("  t");
        match line.split_once(": ").filter(|_| is_counter).and_then(|(label, counts)| Some((label, multiplied(counts, 1 + more)?))) {
            Some((label, counts)) => out.push_str(&format!("{label}: {counts}")),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

fn multiplied(counts: &str, factor: u64) -> Option<String> {
    let numbers: Option<Vec<u64>> =
        counts.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()).map(|word| word.parse().ok()).collect();
    let numbers = numbers?;
    let [objects, bytes, ever, all] = numbers.as_slice() else { return None };
    Some(format!("{}: {} [{}: {}]", objects * factor, bytes * factor, ever * factor, all * factor))
}

/// What `/proc/PID/smaps` prints on Linux 6.x.
fn smaps_text(mappings: u64) -> String {
    const KEYS: [&str; 21] = [
        "KernelPageSize",
        "MMUPageSize",
        "Rss",
        "Pss",
        "Pss_Dirty",
        "Shared_Clean",
        "Shared_Dirty",
        "Private_Clean",
        "Private_Dirty",
        "Referenced",
        "Anonymous",
        "KSM",
        "LazyFree",
        "AnonHugePages",
        "ShmemPmdMapped",
        "FilePmdMapped",
        "Shared_Hugetlb",
        "Private_Hugetlb",
        "Swap",
        "SwapPss",
        "Locked",
    ];
    let mut text = String::new();
    for at in 0..mappings {
        let start = 0x7f16_0000_0000 + at * 0x40_0000;
        let name = if at % 3 == 0 { "fe:00 10125594                   /usr/lib/x86_64-linux-gnu/libexample.so.1" } else { "00:00 0 " };
        text.push_str(&format!("{start:x}-{:x} rw-p 00000000 {name}\nSize:               4096 kB\n", start + 0x40_0000));
        for (key, name) in KEYS.iter().enumerate() {
            let value = if key < 2 { 4 } else { (at * 37 + key as u64 * 11) % 4096 };
            text.push_str(&format!("{:<16}{value:>8} kB\n", format!("{name}:")));
        }
        text.push_str("THPeligible:           0\nVmFlags: rd wr mr mw me ac sd \n");
    }
    text
}
