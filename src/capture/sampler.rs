//! Reading the memory of a live process at a bounded cost.
//!
//! smaps walks the page tables while it holds the target's memory-map lock: about 20 to 90 ms a
//! GiB resident and 1 to 10 µs a mapping. smaps_rollup saves the text, not the walk. So each reading
//! is timed, and the next one is as deep as a fixed share of the time allows: full smaps, else
//! a rollup where that is much cheaper, else the counters of `status`, which cost nothing.

use crate::capture::process::LiveProcess;
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Share of the time the kernel may spend walking page tables for us. While it walks, threads of the
/// target that map or unmap memory wait; 5 % is felt by nobody and gives full smaps of 4 GiB every 10 s.
const SHARE: f64 = 0.05;

/// How much a reading tells, and costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// `status` only: RSS as the kernel counts it.
    Status,
    /// `smaps_rollup`: sums.
    Rollup,
    /// `smaps`: every mapping.
    Full,
}

impl Depth {
    /// The file of `/proc/PID`, and with a dot in front the extension in a capture.
    pub fn file(self) -> &'static str {
        match self {
            Depth::Status => "status",
            Depth::Rollup => "smaps_rollup",
            Depth::Full => "smaps",
        }
    }
}

/// Decides how deep the next reading goes, from what the last ones cost.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    full: Option<Duration>,
    rollup: Option<Duration>,
    /// Time that may be spent, saved up since the last reading of that depth.
    saved_full: Duration,
    saved_rollup: Duration,
}

impl Pace {
    /// The depth of a regular reading after `elapsed` since the last one.
    pub fn choose(&mut self, elapsed: Duration) -> Depth {
        let income = elapsed.mul_f64(SHARE);
        let Some(full) = self.full else { return Depth::Full };
        // A rollup that costs as much as half of smaps is not worth its share: smaps tells far more.
        let rollup_pays = self.rollup.is_none_or(|rollup| rollup * 2 < full);
        let (to_full, to_rollup) = if rollup_pays { (income / 2, income / 2) } else { (income, Duration::ZERO) };
        // Not saved without end: a process that grew must not be read often because it once was cheap.
        self.saved_full = (self.saved_full + to_full).min(full * 2);
        self.saved_rollup = (self.saved_rollup + to_rollup).min(full);
        match self.rollup {
            _ if full <= self.saved_full || full <= income => Depth::Full,
            // Measured once, as soon as full readings turn out to be too dear.
            None => Depth::Rollup,
            Some(rollup) if rollup_pays && rollup <= self.saved_rollup => Depth::Rollup,
            Some(_) => Depth::Status,
        }
    }

    /// Notes what a reading cost.
    pub fn spent(&mut self, depth: Depth, cost: Duration) {
        // Smoothed: one reading that had to wait for the processor says little.
        let mean = |before: Option<Duration>| Some(before.map_or(cost, |before| (before * 3 + cost) / 4));
        match depth {
            Depth::Full => {
                self.full = mean(self.full);
                self.saved_full = self.saved_full.saturating_sub(cost);
            }
            Depth::Rollup => {
                self.rollup = mean(self.rollup);
                self.saved_rollup = self.saved_rollup.saturating_sub(cost);
            }
            Depth::Status => {}
        }
    }
}

/// What recording has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU time of the kernel for the readings, page-table walks included.
    pub reading: Duration,
    /// CPU time of the whole program, the readings included.
    pub total: Duration,
    /// The longest single read: while it lasts, whoever maps or unmaps memory in the target waits. A wait
    /// itself is not measured: on a busy machine it is longer.
    pub longest_read: Duration,
    /// Full, rollup and status readings.
    pub readings: [u64; 3],
    /// Bytes written into the capture.
    pub written: u64,
}

/// Why a reading is of no use.
#[derive(Debug)]
pub enum ReadingError {
    /// The process ended, or executed another program, while it was read.
    Gone,
    /// The kernel refuses.
    Io(io::Error),
}

/// Least room for a read.
const ROOM: usize = 64 * 1024;

/// Reads one file of `/proc/PID` whole, timing it.
#[derive(Debug, Default)]
pub struct Sampler {
    /// Kept from reading to reading; as long as its longest text or longer.
    buffer: Vec<u8>,
    cost: Cost,
}

impl Sampler {
    /// Reads at a depth; the text is whole, or an error is returned. Also the processor time it took (the time on
    /// the clock would count other programs on a busy machine).
    pub fn read(&mut self, process: &LiveProcess, depth: Depth) -> Result<(&[u8], Duration), ReadingError> {
        // A process that ends in the middle gives an early end of file: a text that looks whole.
        let before = alive(process)?;
        let cpu = cpu_time(ClockId::ThreadCPUTime);
        let mut file = process.open_file(depth.file()).map_err(gone)?;
        let mut longest = Duration::ZERO;
        let mut filled = 0;
        loop {
            // The kernel fills about a page at a time, whatever the room: room is made, and zeroed, in large steps.
            if self.buffer.len() - filled < ROOM {
                self.buffer.resize((filled * 2).max(4 * ROOM), 0);
            }
            let from = Instant::now();
            let read = file.read(&mut self.buffer[filled..]);
            longest = longest.max(from.elapsed());
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(gone(error)),
            }
        }
        let taken = cpu_time(ClockId::ThreadCPUTime).saturating_sub(cpu);
        self.cost.reading += taken;
        self.cost.longest_read = self.cost.longest_read.max(longest);
        let after = alive(process)?;
        let text = &self.buffer[..filled];
        if before != after || !text.ends_with(b"\n") {
            return Err(ReadingError::Gone);
        }
        let count = match depth {
            Depth::Full => 0,
            Depth::Rollup => 1,
            Depth::Status => 2,
        };
        self.cost.readings[count] += 1;
        Ok((text, taken))
    }

    /// Notes bytes written.
    pub fn wrote(&mut self, bytes: usize) {
        self.cost.written = self.cost.written.saturating_add(bytes as u64);
    }

    /// What it all has cost.
    pub fn cost(&self) -> Cost {
        Cost { total: cpu_time(ClockId::ProcessCPUTime), ..self.cost }
    }
}

/// What identifies the memory being read, while it exists.
fn alive(process: &LiveProcess) -> Result<(u64, u64), ReadingError> {
    let stat = process.stat().map_err(gone)?;
    if stat.has_ended() || stat.virtual_bytes == 0 { Err(ReadingError::Gone) } else { Ok(stat.image) }
}

fn gone(error: io::Error) -> ReadingError {
    match error.raw_os_error() {
        // ENOENT, ESRCH
        Some(2 | 3) => ReadingError::Gone,
        _ => ReadingError::Io(error),
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The depths of `count` readings, each `every` apart, when they cost this many milliseconds.
    fn depths(every: u64, full: u64, rollup: u64, count: usize) -> String {
        let mut pace = Pace::default();
        let every = Duration::from_millis(every);
        (0..count)
            .map(|_| {
                let depth = pace.choose(every);
                let (cost, letter) = match depth {
                    Depth::Full => (full, 'F'),
                    Depth::Rollup => (rollup, 'r'),
                    Depth::Status => (0, '.'),
                };
                pace.spent(depth, Duration::from_millis(cost));
                letter
            })
            .collect()
    }

    #[test]
    fn cheap_processes_are_read_in_full_every_time() {
        assert_eq!(depths(10_000, 2, 1, 8), "FFFFFFFF");
        assert_eq!(depths(10_000, 460, 400, 8), "FFFFFFFF", "4 GiB every 10 s");
    }

    #[test]
    fn many_mappings_are_read_as_sums_and_now_and_then_in_full() {
        // 50,000 mappings, little resident: 511 ms against 20.
        assert_eq!(depths(1000, 511, 20, 24), "FrrrrrrrrrrrrrrrrrrrrFrr");
    }

    #[test]
    fn much_resident_memory_is_read_seldom() {
        // Rollups walk the same page tables: status in between.
        assert_eq!(depths(1000, 186, 150, 13), "Fr...F..F...F");
    }

    #[test]
    fn the_share_of_time_is_kept() {
        for (every, full, rollup) in [(1000, 186, 150), (100, 511, 27), (5000, 3000, 100), (1000, 40, 3)] {
            let depths = depths(every, full, rollup, 2000);
            let spent: u64 = depths.chars().map(|c| if c == 'F' { full } else { u64::from(c == 'r') * rollup }).sum();
            let share = spent as f64 / (2000 * every) as f64;
            assert!(share < 1.1 * SHARE, "{every} {full} {rollup}: {share}");
        }
    }

    #[test]
    fn a_process_reads_itself() {
        let process = LiveProcess::open(std::process::id()).unwrap();
        let mut sampler = Sampler::default();
        let (text, _) = sampler.read(&process, Depth::Full).unwrap();
        assert!(memchr::memmem::find(text, b"\nRss:").is_some());
        assert!(sampler.read(&process, Depth::Status).unwrap().0.starts_with(b"Name:"));
        assert_eq!(sampler.cost().readings, [1, 0, 1]);
    }

    #[test]
    fn a_process_that_ended_gives_no_text() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = LiveProcess::open(child.id()).unwrap();
        let mut sampler = Sampler::default();
        child.kill().unwrap();
        while process.is_alive() {
            std::thread::yield_now();
        }
        assert!(matches!(sampler.read(&process, Depth::Full), Err(ReadingError::Gone)), "a zombie");
        child.wait().unwrap();
        assert!(matches!(sampler.read(&process, Depth::Status), Err(ReadingError::Gone)));
    }
}
