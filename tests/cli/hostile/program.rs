//! Runs the program as a stranger's input would meet it: bounded in time and memory, with a clean environment.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that a run on a small input may take on a loaded machine, in a build without optimization.
const LONGEST: Duration = Duration::from_secs(60);

/// What a run did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub timed_out: bool,
}

/// A run about to be made.
#[derive(Debug)]
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
    longest: Duration,
}

impl Run {
    /// With these arguments. Private memory is limited to `memory` bytes when that is given.
    pub fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, memory: Option<u64>) -> Self {
        let program = env!("CARGO_BIN_EXE_heaptriage");
        let mut command = match memory {
            // The limit counts what the program can write to: heap and thread stacks, not mapped files.
            Some(bytes) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg("ulimit -c 0; ulimit -d \"$0\" && exec \"$@\"").arg((bytes / 1024).to_string()).arg(program);
                shell
            }
            None => Command::new(program),
        };
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("RUST_BACKTRACE", "0");
        Run { command, input: None, longest: LONGEST }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// Of a large input a build without optimization reads some ten megabytes a second, beside others.
    pub fn size(mut self, bytes: usize) -> Self {
        self.longest = LONGEST + Duration::from_millis(bytes as u64 / 4096);
        self
    }

    pub fn go(mut self) -> Ran {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child =
            self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program under test starts");
        let mut stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let out = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            bytes
        });
        let err = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            bytes
        });
        let feeder = self.input.take().map(|bytes| {
            let mut stdin = child.stdin.take().expect("piped");
            std::thread::spawn(move || drop(stdin.write_all(&bytes)))
        });
        let started = Instant::now();
        let mut timed_out = false;
        let status = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            if started.elapsed() > self.longest {
                timed_out = true;
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if let Some(feeder) = feeder {
            let _ = feeder.join();
        }
        Ran {
            code: status.code(),
            signal: status.signal(),
            stdout: out.join().expect("the reader ends"),
            stderr: String::from_utf8_lossy(&err.join().expect("the reader ends")).into_owned(),
            timed_out,
        }
    }
}

impl Ran {
    /// What must hold for every run on any input.
    #[track_caller]
    pub fn is_sound(&self, what: &str, codes: &[i32]) {
        let shown: String = self.stderr.chars().take(2000).collect();
        assert!(!self.timed_out, "{what}: too slow\n{shown}");
        assert_eq!(self.signal, None, "{what}: ended by a signal\n{shown}");
        assert!(!self.stderr.contains("panicked"), "{what}: panicked\n{shown}");
        assert!(self.code.is_some_and(|code| codes.contains(&code)), "{what}: exit code {:?}\n{shown}", self.code);
        assert_harmless(what, self.stderr.as_bytes());
        if self.code == Some(2) {
            assert!(self.stderr.starts_with("heaptriage: ") || self.stderr.starts_with("error: "), "{what}: no message of ours\n{shown}");
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("the output is UTF-8")
    }
}

/// Nothing that a terminal would act on, and nothing that reorders or hides text.
#[track_caller]
pub fn assert_harmless(what: &str, output: &[u8]) {
    let text = String::from_utf8_lossy(output);
    let raw = text.chars().find(|&c| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    });
    assert!(raw.is_none(), "{what}: {raw:?} goes out raw");
}

/// The subcommands of this build.
pub fn commands() -> Vec<String> {
    let help = Run::new(["--help"], None).go().text();
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the help lists commands");
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// How a command is called on inputs, and how it may end.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub command: &'static str,
    /// `INPUT` stands for the input, `BASE` for a sound one.
    pub args: &'static [&'static str],
    pub codes: &'static [i32],
}

const fn call(command: &'static str, args: &'static [&'static str]) -> Call {
    Call { command, args, codes: &[0, 2] }
}

/// Every command that reads dumps or captures.
pub const CALLS: &[Call] = &[
    call("report", &["INPUT"]),
    call("report", &["BASE", "INPUT", "--format", "json"]),
    call("report", &["INPUT", "--format", "markdown"]),
    call("report", &["BASE", "INPUT", "--format", "html"]),
    call("report", &["BASE", "INPUT", "--format", "sarif"]),
    call("diff", &["BASE", "INPUT"]),
    call("diff", &["INPUT", "BASE", "--format", "json", "--by", "line"]),
    call("diff", &["BASE", "INPUT", "--format", "csv", "--by", "stack"]),
    call("top", &["INPUT", "--cum"]),
    call("top", &["INPUT", "--format", "csv", "--by", "address", "--all-frames"]),
    call("tree", &["INPUT"]),
    call("peek", &["INPUT", "."]),
    call("list", &["INPUT", "."]),
    call("flamegraph", &["INPUT"]),
    call("flamegraph", &["INPUT", "--base", "BASE", "--format", "folded"]),
    call("rss", &["INPUT"]),
    call("rss", &["BASE", "INPUT", "--format", "svg"]),
    call("trend", &["BASE", "INPUT"]),
    call("trend", &["INPUT", "--format", "csv"]),
    call("convert", &["INPUT", "-o", "-", "--to", "json"]),
    call("convert", &["INPUT", "-o", "-", "--to", "folded"]),
    call("convert", &["INPUT", "-o", "-", "--to", "csv"]),
    call("convert", &["INPUT", "-o", "-", "--to", "firefox"]),
    call("convert", &["INPUT", "-o", "-", "--to", "callgrind"]),
    call("convert", &["INPUT", "-o", "-", "--to", "dot"]),
    call("convert", &["INPUT", "-o", "-", "--to", "pprof"]),
    call("convert", &["INPUT", "-o", "-", "--to", "speedscope"]),
    call("doctor", &["INPUT"]),
    Call { command: "check", args: &["BASE", "INPUT", "--max-growth", "1MiB"], codes: &[0, 1, 2] },
    Call { command: "check", args: &["INPUT", "--max-rss", "1GiB", "--format", "junit"], codes: &[0, 1, 2] },
];

/// Commands that read no dump: what they do with files is tested elsewhere.
const OTHERS: &[&str] =
    &["completions", "man", "help", "record", "push", "schema", "sites", "owners", "suppressions", "suppress", "fleet", "cache"];

/// The calls that this build knows.
pub fn calls() -> Vec<Call> {
    let commands = commands();
    for command in &commands {
        let known = CALLS.iter().any(|call| call.command == command) || OTHERS.contains(&command.as_str());
        assert!(known, "`{command}` is in no table: add it to CALLS or OTHERS");
    }
    CALLS.iter().filter(|call| commands.iter().any(|command| command == call.command)).copied().collect()
}

impl Call {
    pub fn args(&self, input: &Path, base: &Path) -> Vec<std::ffi::OsString> {
        let one = |arg: &&str| match *arg {
            "INPUT" => input.as_os_str().to_owned(),
            "BASE" => base.as_os_str().to_owned(),
            other => other.into(),
        };
        std::iter::once(self.command.into()).chain(self.args.iter().map(one)).collect()
    }
}
