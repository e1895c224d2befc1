//! Heap dumps as a process writes them: which files are its own, and which are finished.
//!
//! jemalloc creates a dump under its final name and fills it in pieces of 64 KiB: there is no
//! rename to wait for. A finished dump ends with the last line of `/proc/PID/maps`:
//!
//! ```text
//! ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
//! ```
//!
//! (`jemalloc src/prof_sys.c`, `prof_dump_maps`.) A cut can fall on the end of an earlier line, so
//! the last mapping itself is what counts, not the newline.

use crate::input::maps;
use globset::GlobMatcher;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Which files are dumps of the process: a folder, and a pattern for the names in it.
#[derive(Clone, Debug)]
pub struct DumpPattern {
    folder: PathBuf,
    names: GlobMatcher,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Wildcards are for the file name.
    #[error("wildcards in the folder of `{0}`: only the file name may have them, as in /var/tmp/jeprof.*.heap")]
    Folder(String),
    /// Not a glob.
    #[error("`{pattern}` is not a pattern: {error}")]
    Glob {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        error: globset::Error,
    },
}

impl DumpPattern {
    /// From a path whose last part may have wildcards: `/var/tmp/jeprof.*.heap`.
    pub fn new(pattern: &str) -> Result<DumpPattern, PatternError> {
        let path = Path::new(pattern);
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        if folder.to_string_lossy().contains(['*', '?', '[', '{']) {
            return Err(PatternError::Folder(pattern.to_owned()));
        }
        let name = path.file_name().map_or_else(|| "*".into(), OsStr::to_string_lossy);
        let names = globset::Glob::new(&name).map_err(|error| PatternError::Glob { pattern: pattern.to_owned(), error })?;
        Ok(DumpPattern { folder, names: names.compile_matcher() })
    }

    /// All dumps that jemalloc writes for `prefix`, the value of `prof_prefix`.
    pub fn for_prefix(prefix: &Path) -> Option<DumpPattern> {
        let name = globset::escape(&prefix.file_name()?.to_string_lossy());
        let names = globset::Glob::new(&format!("{name}.*.heap")).ok()?.compile_matcher();
        Some(DumpPattern { folder: prefix.parent().unwrap_or(Path::new(".")).to_owned(), names })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same pattern in the folder as it is found through another path.
    pub fn in_folder(self, folder: PathBuf) -> DumpPattern {
        DumpPattern { folder, ..self }
    }
}

impl std::fmt::Display for DumpPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.folder.join(self.names.glob().glob()).display())
    }
}

/// The pid in a name jemalloc made: `<prefix>.<pid>.<seq>.<letter>[<n>].heap`.
fn pid_in_name(name: &[u8]) -> Option<u32> {
    let mut parts = name.strip_suffix(b".heap")?.rsplit(|&byte| byte == b'.');
    let trigger = parts.next()?;
    let legal = trigger.first().is_some_and(|letter| b"fimu".contains(letter)) && trigger[1..].iter().all(u8::is_ascii_digit);
    let number = |part: Option<&[u8]>| std::str::from_utf8(part?).ok()?.parse::<u32>().ok();
    let _sequence = legal.then(|| number(parts.next())).flatten()?;
    number(parts.next())
}

/// File systems stamp times in steps: 10 ms where the kernel ticks at 100 Hz, a second on old network ones.
const RESOLUTION: Duration = Duration::from_millis(1100);

/// A finished dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Where it is.
    pub path: PathBuf,
    /// When its last byte was written.
    pub modified: SystemTime,
}

/// What is known of a file that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// As long as this, and not finished yet.
    Growing { length: u64, modified: SystemTime },
    /// Given out.
    Taken { length: u64, modified: SystemTime },
    /// Not a dump of this process.
    Foreign,
}

/// Looks again and again for dumps that have become finished.
#[derive(Debug)]
pub struct DumpWatch {
    pattern: DumpPattern,
    /// Pids the process may write into names: its own, and that in its namespace.
    pids: [u32; 2],
    /// Older files were written by another process.
    not_before: SystemTime,
    /// The last line of the process's maps, which ends a finished dump.
    last_mapping: Option<Vec<u8>>,
    seen: BTreeMap<PathBuf, Seen>,
    /// Time of the folder when it was last listed: unchanged means no new names.
    listed: Option<SystemTime>,
}

impl DumpWatch {
    /// Watches for dumps of a process that was started at `not_before`. `last_mapping` is the last
    /// line of its maps: it ends a finished dump, and stays the same while the process lives.
    pub fn new(pattern: DumpPattern, pids: [u32; 2], not_before: SystemTime, last_mapping: Option<Vec<u8>>) -> DumpWatch {
        DumpWatch { pattern, pids, not_before, last_mapping, seen: BTreeMap::new(), listed: None }
    }

    /// The pattern.
    pub fn pattern(&self) -> &DumpPattern {
        &self.pattern
    }

    /// Dumps finished since the last call, oldest first.
    pub fn finished(&mut self) -> io::Result<Vec<Dump>> {
        let folder = fs::metadata(&self.pattern.folder)?.modified()?;
        let waiting = self.seen.values().any(|seen| matches!(seen, Seen::Growing { .. }));
        if self.listed == Some(folder) && !waiting {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.pattern.folder)? {
            let entry = entry?;
            if !self.pattern.names.is_match(Path::new(&entry.file_name())) {
                continue;
            }
            let path = entry.path();
            // A file may be gone again.
            let Ok(meta) = fs::metadata(&path) else { continue };
            let (length, modified) = (meta.len(), meta.modified()?);
            match self.seen.get(&path) {
                Some(Seen::Foreign) => continue,
                Some(Seen::Taken { length: l, modified: m }) if (*l, *m) == (length, modified) => continue,
                _ => {}
            }
            let foreign = !meta.is_file()
                || pid_in_name(entry.file_name().as_bytes()).is_some_and(|pid| !self.pids.contains(&pid))
                || modified < self.not_before;
            let seen = if foreign {
                Seen::Foreign
            } else if length > 0 && self.is_finished(&path, length) && unchanged(&path, length, modified) {
                found.push(Dump { path: path.clone(), modified });
                Seen::Taken { length, modified }
            } else {
                Seen::Growing { length, modified }
            };
            self.seen.insert(path, seen);
        }
        // A name made within the resolution of the folder's time would not change it again.
        let settled = SystemTime::now().duration_since(folder).is_ok_and(|age| age > RESOLUTION);
        self.listed = settled.then_some(folder);
        found.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        Ok(found)
    }

    /// Whether the file, of this length, ends as a whole dump of the process does.
    pub fn is_finished(&self, path: &Path, length: u64) -> bool {
        tail(path, length).is_ok_and(|tail| ends_whole(&tail, self.last_mapping.as_deref()))
    }

    /// Matching files that never were finished, with their length: cut by a full disk or by the death of the process.
    pub fn unfinished(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.seen.iter().filter_map(|(path, seen)| match seen {
            Seen::Growing { length, .. } => Some((path.as_path(), *length)),
            Seen::Taken { .. } | Seen::Foreign => None,
        })
    }
}

/// Whether the file is still as it was when it was looked at: its last bytes may have come since, and its time with them.
fn unchanged(path: &Path, length: u64, modified: SystemTime) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == length && meta.modified().is_ok_and(|now| now == modified))
}

/// The end of a file, long enough for its last line: a maps line is at most a path (4,096 bytes, a
/// newline in it taking four) after 73 columns.
fn tail(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    const TAIL: u64 = 20_000;
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Whether the end of a dump is the end of a whole one.
pub fn ends_whole(tail: &[u8], last_mapping: Option<&[u8]>) -> bool {
    let Some(body) = tail.strip_suffix(b"\n") else { return false };
    let start = memchr::memrchr(b'\n', body).map_or(0, |newline| newline + 1);
    let Some(last) = body.get(start..).and_then(maps::parse_line) else { return false };
    let expected = last_mapping.and_then(maps::parse_line);
    match expected {
        // Ranges may have moved between the dump and now (the stack grows): the name says it.
        Some(expected) if !expected.name.is_empty() => last.name == expected.name,
        Some(expected) => last.range.end >= expected.range.end,
        None => matches!(last.name, b"[vsyscall]" | b"[vdso]" | b"[stack]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VSYSCALL: &str = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
    const LIBC: &str = "7f0000000000-7f0000001000 r-xp 00000000 fe:00 7    /lib/libc.so.6\n";

    #[test]
    fn a_dump_cut_at_a_line_end_is_not_whole() {
        let whole = format!("heap_v2/524288\n\nMAPPED_LIBRARIES:\n{LIBC}{VSYSCALL}");
        let vsyscall = VSYSCALL.trim_end().as_bytes();
        assert!(ends_whole(whole.as_bytes(), Some(vsyscall)));
        assert!(ends_whole(whole.as_bytes(), None));
        for cut in 0..whole.len() {
            assert!(!ends_whole(&whole.as_bytes()[..cut], Some(vsyscall)), "cut at {cut}");
            assert!(!ends_whole(&whole.as_bytes()[..cut], None), "cut at {cut}");
        }
        // Without vsyscall page the process's own last line tells.
        assert!(ends_whole(LIBC.as_bytes(), Some(LIBC.trim_end().as_bytes())));
    }

    #[test]
    fn names_tell_the_process() {
        assert_eq!(pid_in_name(b"jeprof.14650.8.u0.heap"), Some(14650));
        assert_eq!(pid_in_name(b"a.b.77.0.f.heap"), Some(77));
        assert_eq!(pid_in_name(b"jeprof.4026531836.77.3.m12.heap"), Some(77));
        for other in ["mine.heap", "1763650000123.heap", "jeprof.77.0.x1.heap", "jeprof.77.0.i1"] {
            assert_eq!(pid_in_name(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn patterns_are_a_folder_and_names() {
        let pattern = DumpPattern::new("/var/tmp/jeprof.*.heap").unwrap();
        assert_eq!(pattern.folder(), Path::new("/var/tmp"));
        assert!(pattern.names.is_match("jeprof.1.0.m0.heap") && !pattern.names.is_match("x.heap"));
        assert_eq!(DumpPattern::new("*.heap").unwrap().folder(), Path::new("."));
        assert!(matches!(DumpPattern::new("/a*/b.heap"), Err(PatternError::Folder(_))));
        assert!(matches!(DumpPattern::new("/a/[b.heap"), Err(PatternError::Glob { .. })));
        let prefixed = DumpPattern::for_prefix(Path::new("/tmp/je[1]")).unwrap();
        assert!(prefixed.names.is_match("je[1].5.0.f.heap") && !prefixed.names.is_match("je1.5.0.f.heap"));
    }

    #[test]
    fn a_dump_is_given_out_once_and_only_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = DumpPattern::for_prefix(&folder.path().join("p")).unwrap();
        let mut watch = DumpWatch::new(pattern, [7, 7], SystemTime::UNIX_EPOCH, None);
        let path = folder.path().join("p.7.0.m0.heap");
        let whole = format!("heap_v2/1\n\nMAPPED_LIBRARIES:\n{VSYSCALL}");
        assert_eq!(watch.finished().unwrap(), []);
        fs::write(&path, &whole[..20]).unwrap();
        fs::write(folder.path().join("p.8.0.m0.heap"), &whole).unwrap();
        fs::write(folder.path().join("p.7.1.m1.heap"), "").unwrap();
        assert_eq!(watch.finished().unwrap(), []);
        fs::write(&path, &whole).unwrap();
        let found = watch.finished().unwrap();
        assert_eq!(found.iter().map(|dump| &dump.path).collect::<Vec<_>>(), [&path]);
        assert_eq!(watch.finished().unwrap(), []);
        let unfinished: Vec<_> = watch.unfinished().collect();
        assert_eq!(unfinished, [(folder.path().join("p.7.1.m1.heap").as_path(), 0)]);
    }

    #[test]
    fn dumps_older_than_the_process_are_not_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("p.7.0.m0.heap"), VSYSCALL).unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        let mut watch = DumpWatch::new(DumpPattern::for_prefix(&folder.path().join("p")).unwrap(), [7, 7], later, None);
        assert_eq!(watch.finished().unwrap(), []);
        assert_eq!(watch.unfinished().count(), 0);
    }
}
