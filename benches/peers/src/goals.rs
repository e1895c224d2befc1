//! The goals: what is run for each, and what must hold of the figures.

use crate::Result;
use crate::inputs::Inputs;
use crate::measure::{Job, Measured, Run, in_turn, median, ratio};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One claim about the figures of a goal.
struct Claim {
    /// What is compared.
    what: String,
    value: f64,
    bound: Bound,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Shown, and no goal.
    Shown,
}

impl Claim {
    fn at_most(what: &str, value: f64, bound: f64) -> Claim {
        Claim { what: what.to_owned(), value, bound: Bound::AtMost(bound) }
    }

    fn at_least(what: &str, value: f64, bound: f64) -> Claim {
        Claim { what: what.to_owned(), value, bound: Bound::AtLeast(bound) }
    }

    fn line(&self, goal: &str) -> String {
        let (bound, verdict) = match self.bound {
            Bound::AtMost(bound) => (format!("at most {bound}"), self.value <= bound),
            Bound::AtLeast(bound) => (format!("at least {bound}"), self.value >= bound),
            Bound::Shown => (String::new(), true),
        };
        let verdict = match (&self.bound, self.value.is_nan(), verdict) {
            (Bound::Shown, ..) => "",
            (_, true, _) => "not measured",
            (_, _, true) => "PASS",
            (_, _, false) => "short",
        };
        format!("| {goal} | {} | {:.3} | {bound} | {verdict} |", self.what, self.value)
    }
}

/// The jobs of a goal and how its figures are judged.
struct Plan {
    jobs: Vec<Job>,
    rounds: usize,
    claims: Box<dyn Fn(&Measured) -> Vec<Claim>>,
}

/// Most seconds of one run.
const LIMIT: Duration = Duration::from_secs(1200);

const ALL: [&str; 13] = ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13"];

/// Makes the inputs of a goal.
pub fn prepare(arguments: &[String]) -> Result<()> {
    let [dir, goal] = arguments else { return Err("peers prepare DIR GOAL".into()) };
    plan(goal, &mut Inputs::new(Path::new(dir))?).map(|_| ())
}

/// Runs the goals that are named, or all.
pub fn bench(arguments: &[String]) -> Result<()> {
    let [dir, wanted @ ..] = arguments else { return Err("peers bench DIR [GOAL...]".into()) };
    let mut inputs = Inputs::new(Path::new(dir))?;
    let log = inputs.path("log");
    println!("{}", machine());
    let mut summary = String::new();
    for goal in ALL.into_iter().filter(|goal| wanted.is_empty() || wanted.iter().any(|w| w == goal)) {
        // A child's peak is never below that of the process that started it: inputs are made by another one.
        let status = Command::new(std::env::current_exe()?).args(["prepare", dir, goal]).status()?;
        if !status.success() {
            return Err(format!("the inputs of {goal} could not be made").into());
        }
        let plan = plan(goal, &mut inputs)?;
        let measured = in_turn(&plan.jobs, plan.rounds, LIMIT, &log);
        println!("\n{goal}\n\n| command | CPU s | in the kernel | wall s | peak MB |\n|---|---|---|---|---|");
        for job in &plan.jobs {
            match measured.get(&job.name) {
                Some(runs) => println!(
                    "| {} | {:.3} | {:.3} | {:.3} | {:.0} |",
                    job.name,
                    median(runs, |run| run.cpu),
                    median(runs, |run| run.system),
                    median(runs, |run| run.wall),
                    median(runs, |run| run.peak)
                ),
                None => println!("| {} | failed, see {} | | | |", job.name, log.display()),
            }
        }
        for claim in (plan.claims)(&measured) {
            let _ = writeln!(summary, "{}", claim.line(goal));
        }
    }
    println!("\n| goal | what | measured | goal | |\n|---|---|---|---|---|\n{summary}");
    Ok(())
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{name}, {threads} threads, Linux {}, load {}", kernel.trim(), load.split(' ').next().unwrap_or(""))
}

fn plan(goal: &str, inputs: &mut Inputs) -> Result<Plan> {
    let peers = std::env::current_exe()?.display().to_string();
    let ht = format!("env XDG_CACHE_HOME={} {}", inputs.path("cache").display(), inputs.path("bin/heaptriage").display());
    let gopprof = inputs.path("bin/gopprof").display().to_string();
    let service = inputs.service.display().to_string();
    let library = |job: &str, files: &[&PathBuf]| {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        format!("{peers} library {job} {}", files.join(" "))
    };
    Ok(match goal {
        "G1" => {
            let (_, dump) = inputs.pair(1_000_000)?;
            Plan {
                jobs: vec![
                    Job::new("hex of every frame", library("hex", &[&dump])),
                    Job::new("heaptriage parse", library("parse", &[&dump])),
                    Job::new("pprof_util", library("pprof_util", &[&dump])),
                ],
                rounds: 5,
                claims: Box::new({
                    let kept = command_figure(&library("parse", &[&dump]), "bytes a frame");
                    move |measured| {
                        vec![
                            Claim::at_most("parse / hex-only", cpu(measured, "heaptriage parse", "hex of every frame"), 3.0),
                            Claim::at_least("pprof_util / parse", cpu(measured, "pprof_util", "heaptriage parse"), 5.0),
                            Claim::at_most("bytes a frame beside the text", kept, 6.0),
                        ]
                    }
                }),
            }
        }
        "G2" | "G3" => {
            let few = goal == "G2";
            let list = inputs.addresses(if few { 10_000 } else { 55_851 })?;
            let binary = &inputs.service;
            let ours = format!("env RAYON_NUM_THREADS=1 {}", library("lookup", &[binary, &list]));
            let mut jobs = vec![
                Job::new("heaptriage", ours),
                Job::new("addr2line Loader", library("addr2line", &[binary, &list])),
                Job::new("blazesym", library("blazesym", &[binary, &list])),
            ];
            if few {
                jobs.push(Job::new("llvm-symbolizer", format!("llvm-symbolizer --obj={service} < {}", list.display())));
                jobs.push(Job::new("binutils addr2line", format!("addr2line -fiC -e {service} < {}", list.display())));
            }
            Plan {
                jobs,
                rounds: 5,
                claims: Box::new(move |measured| {
                    let over = |peer: &str| cpu(measured, peer, "heaptriage");
                    let peak = |peer: &str| of(measured, "heaptriage", peer, |run| run.peak);
                    if few {
                        vec![
                            Claim::at_least("Loader / heaptriage", over("addr2line Loader"), 3.0),
                            Claim::at_least("blazesym / heaptriage", over("blazesym"), 3.0),
                            Claim::at_least("llvm-symbolizer / heaptriage", over("llvm-symbolizer"), 7.0),
                            Claim::at_least("binutils / heaptriage", over("binutils addr2line"), 19.0),
                        ]
                    } else {
                        vec![
                            Claim::at_least("Loader / heaptriage", over("addr2line Loader"), 4.0),
                            Claim::at_least("blazesym / heaptriage", over("blazesym"), 3.5),
                            Claim::at_most("peak / Loader's", peak("addr2line Loader"), 0.55),
                            Claim::at_most("peak / blazesym's", peak("blazesym"), 0.55),
                        ]
                    }
                }),
            }
        }
        "G4" => {
            let list = inputs.addresses(1)?;
            let ours = format!("env RAYON_NUM_THREADS=1 {}", library("lookup", &[&inputs.service, &list]));
            Plan {
                jobs: vec![Job::new("heaptriage", ours), Job::new("blazesym", library("blazesym", &[&inputs.service, &list]))],
                rounds: 11,
                claims: Box::new(|measured| {
                    vec![Claim::at_most("heaptriage / blazesym, 1 address", cpu(measured, "heaptriage", "blazesym"), 1.2)]
                }),
            }
        }
        "G5" => {
            let list = inputs.addresses(55_851)?;
            let with = |threads: usize| format!("env RAYON_NUM_THREADS={threads} {}", library("lookup", &[&inputs.service, &list]));
            Plan {
                jobs: vec![Job::new("1 thread", with(1)), Job::new("2 threads", with(2))],
                rounds: 9,
                claims: Box::new(|measured| {
                    vec![
                        Claim::at_least("wall of 1 / wall of 2 threads", of(measured, "1 thread", "2 threads", |run| run.wall), 1.7),
                        Claim::at_most("CPU of 2 / CPU of 1 thread", cpu(measured, "2 threads", "1 thread"), 1.05),
                    ]
                }),
            }
        }
        "G6" | "G7" => {
            let real = goal == "G6";
            let (base, current) = if real { inputs.real_pair()? } else { inputs.pair(100_000)? };
            let (go_base, go_current) = (inputs.gperftools(&base)?, inputs.gperftools(&current)?);
            let svg = inputs.path("out.svg");
            let (b, c) = (base.display(), current.display());
            Plan {
                jobs: vec![
                    Job::new(
                        "heaptriage diff, SVG",
                        format!("{ht} diff {b} {c} --no-cache --binary {service} --format svg -o {}", svg.display()),
                    ),
                    Job::new("jeprof --text --base", format!("jeprof --text --base={b} {service} {c}")),
                    Job::new("Go pprof -base", format!("{} -text -base {} {service} {}", gopprof, go_base.display(), go_current.display())),
                ],
                rounds: if real { 3 } else { 1 },
                claims: Box::new(move |measured| {
                    let ours = "heaptriage diff, SVG";
                    let peer = if real { "jeprof --text --base" } else { "Go pprof -base" };
                    vec![
                        Claim::at_least(
                            "jeprof / heaptriage",
                            cpu(measured, "jeprof --text --base", ours),
                            if real { 35.0 } else { 150.0 },
                        ),
                        Claim::at_least("Go pprof / heaptriage", cpu(measured, "Go pprof -base", ours), if real { 10.0 } else { 30.0 }),
                        Claim::at_most(
                            if real { "peak / jeprof's" } else { "peak / Go pprof's" },
                            of(measured, ours, peer, |run| run.peak),
                            if real { 0.2 } else { 0.5 },
                        ),
                    ]
                }),
            }
        }
        "G8" => {
            let mut jobs = Vec::new();
            for stacks in [10_000, 100_000, 1_000_000] {
                let (base, current) = inputs.pair(stacks)?;
                let command = format!(
                    "{ht} diff {} {} --no-cache --binary {service} --format svg -o {}",
                    base.display(),
                    current.display(),
                    inputs.path("out.svg").display()
                );
                jobs.push(Job::new(&format!("{stacks} + {stacks} stacks"), command));
            }
            Plan {
                jobs,
                rounds: 3,
                claims: Box::new(|measured| {
                    let name = |stacks: usize| format!("{stacks} + {stacks} stacks");
                    let cpu = |stacks: usize| figure(measured, &name(stacks), |run| run.cpu);
                    // Naming the addresses costs the same for any number of stacks: what grows is the rest.
                    let slope = |from: usize, to: usize| (cpu(to) - cpu(from)) / (to - from) as f64;
                    vec![
                        Claim::at_most("CPU seconds, 1M + 1M", cpu(1_000_000), 5.0),
                        Claim::at_most("peak in GB, 1M + 1M", figure(measured, &name(1_000_000), |run| run.peak) / 1024.0, 0.8),
                        Claim::at_most(
                            "cost of a stack, 100k to 1M / 10k to 100k",
                            slope(100_000, 1_000_000) / slope(10_000, 100_000),
                            1.3,
                        ),
                    ]
                }),
            }
        }
        "G9" => {
            let (_, current) = inputs.pair(100_000)?;
            let folded = inputs.path("100000.folded");
            if !folded.exists() {
                shell(&format!(
                    "{ht} flamegraph {} --all-frames --binary {service} --format folded -o {}",
                    current.display(),
                    folded.display()
                ))?;
            }
            let svg = inputs.path("out.svg").display().to_string();
            let ours = format!("{ht} flamegraph {} --no-cache --all-frames --binary {service} -o {svg}", current.display());
            let theirs = library("inferno", &[&folded, &inputs.path("inferno.svg")]);
            Plan {
                jobs: vec![Job::new("heaptriage flamegraph, from the dump", ours), Job::new("inferno, from folded text", theirs)],
                rounds: 3,
                claims: Box::new(|measured| {
                    let value = cpu(measured, "heaptriage flamegraph, from the dump", "inferno, from folded text");
                    vec![Claim::at_most("heaptriage / inferno alone", value, 0.4)]
                }),
            }
        }
        "G10" => {
            let series = inputs.smaps_series()?;
            Plan {
                jobs: vec![
                    Job::new("newline scan", library("newlines", &[&series])),
                    Job::new("heaptriage, every field", library("smaps", &[&series])),
                    Job::new("procfs", library("procfs", &[&series])),
                    Job::new("heaptriage rss", format!("{ht} rss {} -o {}", series.display(), inputs.path("out.txt").display())),
                ],
                rounds: 7,
                claims: Box::new(|measured| {
                    vec![
                        Claim::at_most("every field / newline scan", cpu(measured, "heaptriage, every field", "newline scan"), 6.0),
                        Claim::at_least("procfs / every field", cpu(measured, "procfs", "heaptriage, every field"), 8.0),
                    ]
                }),
            }
        }
        "G11" => {
            let capture = inputs.capture()?;
            let shipped = inputs.root.join("fixtures/captures/segments");
            let out = inputs.path("out.txt").display().to_string();
            let report = format!("{ht} report {} --binary {service} -o {out}", capture.display());
            shell(&format!("{ht} cache clear"))?;
            Plan {
                jobs: vec![
                    Job::new("cold", format!("{report} --no-cache")),
                    Job::new("warm", report),
                    Job::new("shipped capture", format!("{ht} report {} -o {out}", shipped.display())),
                ],
                rounds: 4,
                claims: Box::new(|measured| {
                    // The first run with the cache fills it: the least is that of a warm one.
                    let least = |name: &str| {
                        measured.get(name).map_or(f64::NAN, |runs| runs.iter().map(|run| run.cpu).fold(f64::INFINITY, f64::min))
                    };
                    vec![
                        Claim::at_most("CPU seconds cold", figure(measured, "cold", |run| run.cpu), 2.5),
                        Claim::at_most("CPU seconds warm", least("warm"), 0.5),
                        Claim::at_most("peak MB", figure(measured, "cold", |run| run.peak), 400.0),
                        Claim::at_most("CPU seconds, shipped capture", figure(measured, "shipped capture", |run| run.cpu), 0.15),
                    ]
                }),
            }
        }
        "G12" => {
            let mut jobs = Vec::new();
            for snapshots in [500, 1000, 5000] {
                let dir = inputs.long_capture(snapshots)?;
                let command = format!("{ht} report {} --binary {service} -o {}", dir.display(), inputs.path("out.txt").display());
                jobs.push(Job::new(&format!("{snapshots} snapshots"), command));
            }
            Plan {
                jobs,
                rounds: 1,
                claims: Box::new(|measured| {
                    let cpu = |n: usize| figure(measured, &format!("{n} snapshots"), |run| run.cpu);
                    let peak = |n: usize| figure(measured, &format!("{n} snapshots"), |run| run.peak);
                    let per_count = (peak(5000) - peak(1000)) * 1048576.0 / (4000.0 * 3000.0);
                    vec![
                        Claim::at_most(
                            "cost of a snapshot, 1,000 to 5,000 / 500 to 1,000",
                            (cpu(5000) - cpu(1000)) / 4000.0 / ((cpu(1000) - cpu(500)) / 500.0),
                            1.3,
                        ),
                        // A series has a live and an accumulated count, of objects and of bytes: 32 bytes.
                        Claim::at_most("bytes of memory for a stack and snapshot", per_count, 40.0),
                    ]
                }),
            }
        }
        "G13" => {
            let capture = inputs.path("recorded");
            let script = format!(
                "rm -rf {out}; mkfifo {fifo} 2>/dev/null; {peers} mappings 10000 4 < {fifo} > {log} & exec 3> {fifo}; \
                 while ! grep -q ready {log} 2>/dev/null; do sleep 0.1; done; pid=$(sed -n 's/ready //p' {log}); \
                 {time} {ht} record --pid $pid --every 10s --for 20s -o {out}; code=$?; exec 3>&-; wait; rm -f {fifo}; exit $code",
                out = capture.display(),
                fifo = inputs.path("fifo").display(),
                log = inputs.path("mappings.log").display(),
                time = format!("env TIME='record: user %U system %S' time -o {}", inputs.path("record.time").display()),
            );
            let (times, stall) = (inputs.path("record.time"), inputs.path("mappings.log"));
            Plan {
                jobs: vec![Job::new("the process and record", script)],
                rounds: 1,
                claims: Box::new(move |_| {
                    let words = std::fs::read_to_string(&times).unwrap_or_default();
                    let number = |word: &str| {
                        words.split(word).nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN)
                    };
                    let stall = std::fs::read_to_string(&stall).unwrap_or_default();
                    let stall =
                        stall.split("mappings: ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()).unwrap_or(f64::NAN);
                    vec![
                        Claim::at_most("record's own CPU / the kernel's", number("user ") / number("system "), 0.15),
                        Claim { what: "longest wait of the process, ms".to_owned(), value: stall, bound: Bound::Shown },
                    ]
                }),
            }
        }
        other => return Err(format!("no goal {other}").into()),
    })
}

/// Ratio of processor time.
fn cpu(measured: &Measured, more: &str, less: &str) -> f64 {
    of(measured, more, less, |run| run.cpu)
}

fn of(measured: &Measured, more: &str, less: &str, figure: impl Fn(&Run) -> f64) -> f64 {
    match (measured.get(more), measured.get(less)) {
        (Some(a), Some(b)) => ratio(a, b, figure),
        _ => f64::NAN,
    }
}

fn figure(measured: &Measured, name: &str, figure: impl Fn(&Run) -> f64) -> f64 {
    measured.get(name).map_or(f64::NAN, |runs| median(runs, figure))
}

fn shell(command: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("failed: {command}").into()) }
}

/// The number before some words in what a command prints.
fn command_figure(command: &str, words: &str) -> f64 {
    let output = Command::new("sh").args(["-c", command]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.split_once(words));
    line.and_then(|(before, _)| before.split_whitespace().next_back()?.parse().ok()).unwrap_or(f64::NAN)
}
