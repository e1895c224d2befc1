//! Runs commands in turn and takes processor time, wall time and peak memory of each.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run of a command took, its children included.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Seconds in user and system mode.
    pub cpu: f64,
    /// Seconds of these in the kernel.
    pub system: f64,
    /// Seconds by the clock.
    pub wall: f64,
    /// Largest resident size of a single process, in MB (of 1,048,576 bytes).
    pub peak: f64,
}

/// A command of a goal.
#[derive(Clone, Debug)]
pub struct Job {
    /// How the table calls it.
    pub name: String,
    /// For `sh -c`.
    pub command: String,
}

impl Job {
    pub fn new(name: &str, command: impl Into<String>) -> Job {
        Job { name: name.to_owned(), command: command.into() }
    }
}

/// The runs of every job by its name; a job that failed or took too long is not there.
pub type Measured = BTreeMap<String, Vec<Run>>;

/// Runs the jobs `rounds` times in turn: what else happens on the machine meets all of them.
pub fn in_turn(jobs: &[Job], rounds: usize, limit: Duration, log: &Path) -> Measured {
    let mut measured = Measured::new();
    let mut failed: Vec<&str> = Vec::new();
    for _ in 0..rounds {
        for job in jobs {
            if failed.contains(&job.name.as_str()) {
                continue;
            }
            match run(&job.command, limit, log) {
                Ok(run) => measured.entry(job.name.clone()).or_default().push(run),
                Err(why) => {
                    eprintln!("  {}: {why}", job.name);
                    measured.remove(&job.name);
                    failed.push(&job.name);
                }
            }
        }
    }
    measured
}

/// The median of one figure of a job.
pub fn median(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    middle(runs.iter().map(figure).collect())
}

/// How many times more of a figure `a` takes than `b`, round by round: a busy machine moves both.
pub fn ratio(a: &[Run], b: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    middle(a.iter().zip(b).map(|(a, b)| figure(a) / figure(b).max(1e-9)).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn run(command: &str, limit: Duration, log: &Path) -> Result<Run, String> {
    let log = File::options().create(true).append(true).open(log).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let start = Instant::now();
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    let pid = child.id() as libc::pid_t;
    loop {
        let mut status = 0;
        // SAFETY: plain data, for which all zeros is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: waits for our own child, whose `Child` is never waited for; both pointers are to live locals.
        let done = unsafe { libc::wait4(pid, &mut status, libc::WNOHANG, &mut usage) };
        if done == pid {
            let wall = start.elapsed().as_secs_f64();
            if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
                return Err(format!("failed (wait status {status}): {command}"));
            }
            let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
            let system = seconds(usage.ru_stime);
            return Ok(Run { cpu: seconds(usage.ru_utime) + system, system, wall, peak: usage.ru_maxrss as f64 / 1024.0 });
        }
        if done < 0 {
            return Err("its child was lost".to_owned());
        }
        if start.elapsed() > limit {
            // SAFETY: the process group that this child leads.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
            return Err(format!("stopped after {} s", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
