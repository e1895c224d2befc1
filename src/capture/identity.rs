//! Whether two snapshots are of one process: its address space does not move while it lives.
//!
//! Every start of a program gets its own random base (ASLR), so libraries, stack and vdso of another process
//! or another incarnation lie elsewhere. Process ids come second: a container numbers its own.

use crate::address::{AddrRange, Avma};
use std::collections::BTreeMap;

/// Where the fixed things of a process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id, where something said it.
    pub pid: Option<u64>,
    /// Executable mappings by path (their lowest start), and what the kernel places once.
    places: BTreeMap<Box<[u8]>, u64>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// One process.
    Same,
    /// Two.
    Different,
    /// Nothing to compare.
    Unknown,
}

/// Files beyond these tell nothing new.
const MOST_PLACES: usize = 256;

impl Identity {
    /// A process of which no more than its id is known.
    pub fn of_pid(pid: Option<u64>) -> Self {
        Identity { pid, places: BTreeMap::new() }
    }

    /// Takes a mapping in.
    pub fn see(&mut self, range: AddrRange<Avma>, perms: [u8; 4], name: &[u8]) {
        let (key, place) = match name {
            // The stack grows downward from a fixed end.
            b"[stack]" => (name, range.end.get()),
            b"[vdso]" | b"[heap]" => (name, range.start.get()),
            // Executables and libraries; data files may be mapped again elsewhere.
            _ if name.starts_with(b"/") && perms[2] == b'x' && !name.starts_with(b"/memfd:") => {
                (name.strip_suffix(b" (deleted)").unwrap_or(name), range.start.get())
            }
            _ => return,
        };
        if let Some(known) = self.places.get_mut(key) {
            *known = (*known).min(place);
        } else if self.places.len() < MOST_PLACES {
            self.places.insert(key.into(), place);
        }
    }

    /// What the other knows is known here too (for another snapshot of the same process).
    pub fn learn(&mut self, other: &Identity) {
        self.pid = other.pid.or(self.pid);
        for (key, place) in &other.places {
            if self.places.len() < MOST_PLACES || self.places.contains_key(key) {
                self.places.insert(key.clone(), *place);
            }
        }
    }

    /// Compares by the majority of what both have; a single library may have been loaded again elsewhere.
    pub fn compare(&self, other: &Identity) -> Likeness {
        let shared = self.places.iter().filter_map(|(key, place)| Some((*place, *other.places.get(key)?)));
        let (mut equal, mut unequal) = (0, 0);
        shared.for_each(|(a, b)| if a == b { equal += 1 } else { unequal += 1 });
        match (equal, unequal) {
            (0, 0) => match (self.pid, other.pid) {
                (Some(a), Some(b)) if a != b => Likeness::Different,
                // Two programs that share no file and not even a vdso in common.
                _ if !self.places.is_empty() && !other.places.is_empty() => Likeness::Different,
                (Some(_), Some(_)) => Likeness::Same,
                _ => Likeness::Unknown,
            },
            _ if equal >= unequal => Likeness::Same,
            _ => Likeness::Different,
        }
    }

    /// For a message: the process id and where its program is.
    pub fn describe(&self) -> String {
        let pid = self.pid.map(|pid| format!("pid {pid}"));
        let program = self.places.iter().find(|(key, _)| key.starts_with(b"/") && !is_library(key));
        let place = program.map(|(key, place)| {
            let path = String::from_utf8_lossy(key);
            format!("{} at 0x{place:x}", path.rsplit('/').next().unwrap_or(&path))
        });
        match (pid, place) {
            (Some(pid), Some(place)) => format!("{pid}, {place}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "unknown".into(),
        }
    }
}

/// `libc.so.6`, `ld-linux-x86-64.so.2`.
pub fn is_library(path: &[u8]) -> bool {
    let base = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    memchr::memmem::find(base, b".so").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pid: Option<u64>, places: &[(&str, u64)]) -> Identity {
        let mut identity = Identity::of_pid(pid);
        for (name, start) in places {
            identity.see(AddrRange::new(Avma::new(*start), Avma::new(start + 4096)), *b"r-xp", name.as_bytes());
        }
        identity
    }

    #[test]
    fn addresses_decide_before_process_ids() {
        let first = identity(Some(1), &[("/srv/app", 0x5500), ("/lib/libc.so.6", 0x7f00), ("[vdso]", 0x7ff0)]);
        let later = identity(Some(7), &[("/srv/app", 0x5500), ("/lib/libc.so.6", 0x7f00), ("/lib/new.so", 0x7e00)]);
        let again = identity(Some(1), &[("/srv/app", 0x5600), ("/lib/libc.so.6", 0x7f80), ("[vdso]", 0x7ff8)]);
        let fixed = identity(None, &[("/srv/app", 0x5500), ("/lib/libc.so.6", 0x7f80), ("[vdso]", 0x7ff8)]);
        assert_eq!(first.compare(&later), Likeness::Same);
        assert_eq!(first.compare(&again), Likeness::Different);
        assert_eq!(first.compare(&fixed), Likeness::Different);
        assert_eq!(identity(Some(1), &[]).compare(&identity(Some(2), &[])), Likeness::Different);
        assert_eq!(identity(Some(1), &[]).compare(&first), Likeness::Same);
        assert_eq!(identity(None, &[]).compare(&first), Likeness::Unknown);
        assert_eq!(first.describe(), "pid 1, app at 0x5500");
    }
}
