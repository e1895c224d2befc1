//! Asking a process for a dump by attaching gdb: what people do by hand when it has no handler.
//!
//! ```text
//! gdb --batch -p 4121 -ex 'call (int)_rjem_mallctl("prof.dump", 0, 0, 0, 0)'
//! ```
//!
//! Every thread stands still until the dump is written. Should one of them have been stopped inside
//! the allocator with a lock held, the call waits for that lock for ever; then gdb is ended after
//! [`PATIENCE`] and the process goes on, but a call that was cut may leave the allocator unusable.

use crate::capture::process::LiveProcess;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A dump of 100,000 stacks is written in about a second; a call that takes this long is stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the user must know before it is done.
pub const WARNING: &str = "attaching gdb stops every thread of the process while a dump is written, and a thread stopped inside the allocator can make the call hang: use it where that is acceptable, and --signal where there is a handler";

/// The commands gdb gets. `prefix` is that of jemalloc's functions.
pub fn arguments(pid: u32, prefix: &str) -> Vec<String> {
    let call = format!("call (int){prefix}mallctl(\"prof.dump\", (void*)0, (void*)0, (void*)0, (unsigned long)0)");
    let mut arguments: Vec<String> =
        ["--nx", "--batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off"].map(String::from).into();
    arguments.extend(["-p".to_owned(), pid.to_string(), "-ex".to_owned(), call, "-ex".to_owned(), "detach".to_owned()]);
    arguments
}

/// Has gdb call jemalloc's `prof.dump` in the process; an error says what to do instead.
pub fn dump(process: &LiveProcess, prefix: &str) -> Result<(), String> {
    let mut gdb = Command::new("gdb")
        .args(arguments(process.pid(), prefix))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("gdb cannot be started: {error}"))?;
    // Read beside: gdb would stop at a full pipe.
    let readers: Vec<_> = [gdb.stdout.take().map(reader), gdb.stderr.take().map(reader)].into_iter().flatten().collect();
    let since = Instant::now();
    let status = loop {
        match gdb.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if since.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // SIGTERM: gdb detaches, SIGKILL would leave its breakpoints behind.
                if let Some(pid) = i32::try_from(gdb.id()).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
                std::thread::sleep(Duration::from_secs(1));
                let _ = gdb.kill();
                let _ = gdb.wait();
                return Err(format!(
                    "the call in gdb did not return within {} s: a thread holds the allocator's lock; gdb was ended",
                    PATIENCE.as_secs()
                ));
            }
            Err(error) => return Err(format!("gdb: {error}")),
        }
    };
    let output: String = readers.into_iter().map(|reader| reader.join().unwrap_or_default()).collect();
    outcome(&output, status.success())
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut output = Vec::new();
        // What was read before an error is what there is to say.
        let _ = pipe.read_to_end(&mut output);
        String::from_utf8_lossy(&output).into_owned()
    })
}

/// What gdb's output means: `$1 = 0` is the return value of mallctl.
fn outcome(output: &str, success: bool) -> Result<(), String> {
    let value = output.lines().rev().find_map(|line| line.strip_prefix("$1 = ")?.trim().parse::<i32>().ok());
    match value {
        Some(0) => Ok(()),
        // ENOENT: no such control, because profiling is not compiled in or not on.
        Some(2) => Err("jemalloc says that it does not profile (prof.dump: ENOENT): start the process with prof:true".into()),
        Some(other) => Err(format!("jemalloc could not dump (prof.dump returned {other}): is prof_prefix set, and its folder writable?")),
        None => {
            let line = output.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("[Inferior")).unwrap_or("no output");
            let hint = if output.contains("ptrace: Operation not permitted") {
                "; attaching is refused: run it with sudo, or see /proc/sys/kernel/yama/ptrace_scope"
            } else if output.contains("No symbol") {
                "; the program is stripped of the name: use --signal with a handler"
            } else {
                ""
            };
            let failed = if success { "did not call" } else { "failed" };
            Err(format!("gdb {failed}: {}{hint}", crate::origin::printable(line.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_names_the_prefixed_function() {
        let arguments = arguments(4121, "_rjem_");
        assert!(arguments.contains(&"4121".to_owned()));
        assert!(arguments.iter().any(|a| a.starts_with("call (int)_rjem_mallctl(\"prof.dump\"")));
    }

    #[test]
    fn what_gdb_says_is_understood() {
        assert_eq!(outcome("[New LWP 5]\n$1 = 0\n[Inferior 1 (process 4) detached]\n", true), Ok(()));
        assert!(outcome("$1 = 2\n", true).unwrap_err().contains("prof:true"));
        assert!(outcome("ptrace: Operation not permitted.\n", false).unwrap_err().contains("sudo"));
        assert!(outcome("No symbol \"mallctl\" in current context.\n", true).unwrap_err().contains("stripped"));
        assert!(outcome("", false).is_err());
    }
}
