//! A running process seen through `/proc/PID`: its identity, and its files read safely.
//!
//! The directory is opened once. Once the process is gone every read through it fails, even when
//! the kernel has given the number to another process: what is read is never somebody else's.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A process that was alive when it was opened.
#[derive(Debug)]
pub struct LiveProcess {
    pid: u32,
    directory: OwnedFd,
    /// For signals that cannot hit a successor; `None` on kernels before 5.3.
    pidfd: Option<OwnedFd>,
    start_ticks: u64,
}

/// Why a process cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No such process.
    #[error("no process has the pid {pid}: it has ended, or runs in another pid namespace (a container); `ps -ef` lists those of here")]
    None {
        /// The pid asked for.
        pid: u32,
    },
    /// A thread of the kernel.
    #[error("pid {pid} ({name}) is a kernel thread: it has no memory of its own to record")]
    Kernel {
        /// The pid asked for.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// It has ended and waits for its parent.
    #[error("pid {pid} ({name}) has ended and waits for its parent to notice (a zombie): nothing is left to record")]
    Zombie {
        /// The pid asked for.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// It belongs to somebody else, or has made itself unreadable.
    #[error("pid {pid} ({name}) may not be read: its memory map is for the same user (uid {uid}) and for CAP_SYS_PTRACE (sudo)")]
    Forbidden {
        /// The pid asked for.
        pid: u32,
        /// Its name.
        name: String,
        /// Its owner.
        uid: u32,
    },
    /// `/proc` says something else.
    #[error("/proc/{pid} cannot be read: {error}")]
    Io {
        /// The pid asked for.
        pid: u32,
        /// What the kernel said.
        error: io::Error,
    },
}

/// What `/proc/PID/stat` says that is needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The name, at most 15 bytes (`comm`).
    pub name: String,
    /// `R`, `S`, `D`, `Z` (zombie), `X` (dead), ...
    pub state: u8,
    /// User and kernel time so far, in clock ticks.
    pub cpu_ticks: u64,
    /// Start of the process in clock ticks after boot: with the pid, its identity.
    pub start_ticks: u64,
    /// Virtual size in bytes; 0 for kernel threads and zombies.
    pub virtual_bytes: u64,
    /// Resident pages (an approximation since Linux 6.2).
    pub resident_pages: u64,
    /// Addresses that another program, started by exec in the same process, would change: start of
    /// the code and of the stack. Zeros without permission.
    pub image: (u64, u64),
}

impl Stat {
    /// Parses the line; the name is in parentheses and may hold blanks and parentheses itself.
    pub fn parse(line: &[u8]) -> Option<Stat> {
        let open = memchr::memchr(b'(', line)?;
        let close = memchr::memrchr(b')', line)?;
        let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        // Field 3 of `man 5 proc_pid_stat` is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Stat {
            name,
            state: *fields.first()?.as_bytes().first()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
            image: (number(26).unwrap_or(0), number(28).unwrap_or(0)),
        })
    }

    /// It has ended: only its parent's notice is outstanding.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

impl LiveProcess {
    /// Opens a process whose memory can be read.
    pub fn open(pid: u32) -> Result<LiveProcess, ProcessError> {
        let from = |error: io::Error| match error.raw_os_error() {
            // ENOENT and ESRCH: never there, or gone since.
            Some(2 | 3) => ProcessError::None { pid },
            _ => ProcessError::Io { pid, error },
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).map_err(|e| from(e.into()))?;
        let pidfd = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
        let mut process = LiveProcess { pid, directory, pidfd, start_ticks: 0 };
        let stat = process.stat().map_err(from)?;
        process.start_ticks = stat.start_ticks;
        if stat.has_ended() {
            return Err(ProcessError::Zombie { pid, name: stat.name });
        }
        let denied = || {
            let uid = rustix::fs::fstat(&process.directory).map_or(0, |meta| meta.st_uid);
            ProcessError::Forbidden { pid, name: stat.name.clone(), uid }
        };
        // Opening may succeed where reading is refused or gives nothing.
        let mut byte = [0];
        match process.open_file("maps").and_then(|mut maps| maps.read(&mut byte)) {
            Ok(0) if stat.virtual_bytes == 0 => Err(ProcessError::Kernel { pid, name: stat.name }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(denied()),
            Err(error) => Err(from(error)),
            Ok(_) => Ok(process),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started, in clock ticks after boot.
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Opens `/proc/PID/NAME`.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        Ok(rustix::fs::openat(&self.directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
    }

    /// Reads a small file of `/proc/PID`.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_file(name)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Where a link of `/proc/PID` (`exe`, `cwd`, `root`) points, as the process sees it.
    pub fn link(&self, name: &str) -> io::Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let target = rustix::fs::readlinkat(&self.directory, name, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
    }

    /// A path for opening a file as the process sees it: other root, other mounts.
    pub fn seen(&self, path: &std::path::Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap_or(path);
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(inside)
    }

    /// Whether it sees another file tree than this program (a container, a chroot).
    pub fn has_other_root(&self) -> bool {
        let ours = rustix::fs::stat("/").ok();
        let theirs = rustix::fs::statat(&self.directory, "root/.", rustix::fs::AtFlags::empty()).ok();
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino),
            _ => false,
        }
    }

    /// Its state now. An error when it is gone.
    pub fn stat(&self) -> io::Result<Stat> {
        let line = self.read("stat")?;
        Stat::parse(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat is not as the kernel writes it"))
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.stat().is_ok_and(|stat| !stat.has_ended())
    }

    /// Whether the number belongs to another process by now.
    pub fn was_replaced(&self) -> bool {
        std::fs::read(format!("/proc/{}/stat", self.pid))
            .ok()
            .and_then(|line| Stat::parse(&line))
            .is_some_and(|stat| stat.start_ticks != self.start_ticks)
    }

    /// Sends a signal to this very process, never to a successor with its number.
    pub fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        match &self.pidfd {
            Some(pidfd) => Ok(rustix::process::pidfd_send_signal(pidfd, signal)?),
            None if self.is_alive() => {
                let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
                Ok(rustix::process::kill_process(pid.ok_or(io::ErrorKind::InvalidInput)?, signal)?)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What it does with a signal. An error when it is gone.
    pub fn handles(&self, signal: rustix::process::Signal) -> io::Result<bool> {
        let status = self.read("status")?;
        Ok(handles(&status, signal.as_raw()))
    }

    /// The pid it has in its own namespace, which is what it writes into file names.
    pub fn own_pid(&self) -> u32 {
        let status = self.read("status").unwrap_or_default();
        let pids = line_of(&status, "NSpid:").unwrap_or_default();
        pids.split_ascii_whitespace().next_back().and_then(|pid| pid.parse().ok()).unwrap_or(self.pid)
    }
}

/// Whether a signal would not end the process: it is caught, ignored, or blocked and waited for.
fn handles(status: &[u8], signal: i32) -> bool {
    ["SigCgt:", "SigIgn:", "SigBlk:"].iter().any(|key| {
        let mask = line_of(status, key).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
    })
}

fn line_of<'a>(status: &'a [u8], key: &str) -> Option<&'a str> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes()))?;
    std::str::from_utf8(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse_the_fields() {
        let stat = Stat::parse(b"77 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 8192 5 99 111 222 333\n").unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.cpu_ticks, stat.start_ticks), ("a) b) (c", b'S', 23, 4242));
        assert_eq!((stat.virtual_bytes, stat.resident_pages, stat.image), (8192, 5, (111, 333)));
        assert_eq!(Stat::parse(b""), None);
        assert_eq!(Stat::parse(b"1 (x"), None);
        assert_eq!(Stat::parse(b"1 )x( S"), None);
    }

    #[test]
    fn a_signal_without_handler_is_told_from_one_with() {
        let status = b"Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000800\n";
        assert!(handles(status, 12), "caught");
        assert!(handles(status, 13), "ignored");
        assert!(!handles(status, 10));
        assert!(!handles(b"", 12));
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_cannot() {
        let process = LiveProcess::open(std::process::id()).unwrap();
        assert!(process.is_alive() && !process.was_replaced() && !process.has_other_root());
        assert_eq!(process.link("exe").unwrap(), std::env::current_exe().unwrap());
        assert!(matches!(LiveProcess::open(u32::MAX), Err(ProcessError::None { .. })));
        let kernel = LiveProcess::open(2);
        assert!(
            matches!(kernel, Err(ProcessError::Kernel { .. } | ProcessError::None { .. } | ProcessError::Forbidden { .. }))
                || kernel.is_ok()
        );
    }

    #[test]
    fn a_process_that_ended_reads_as_gone_although_its_number_may_live_on() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = LiveProcess::open(child.id()).unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        while process.is_alive() {
            std::thread::yield_now();
        }
        assert!(matches!(LiveProcess::open(child.id()), Err(ProcessError::Zombie { .. })));
        child.wait().unwrap();
        assert_eq!(process.stat().unwrap_err().raw_os_error(), Some(3));
        assert!(!process.was_replaced(), "the number is free");
        // The same number with another start is another process.
        let successor = LiveProcess { pid: std::process::id(), start_ticks: 1, ..process };
        assert!(successor.was_replaced());
    }
}
