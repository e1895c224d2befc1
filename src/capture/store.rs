//! A capture directory being written: whole files or none.
//!
//! Every file is written under a temporary name in `.partial/`, synced, and renamed to its final
//! name, so that a kill, a crash or a full disk leaves nothing half-written where a reader looks.
//! One writer at a time: the directory is locked while it is open, and the kernel drops the lock
//! with the process. Knows nothing of what the files mean.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where files are while they are being written; emptied when the next writer opens the capture.
const PARTIAL: &str = ".partial";

/// Where a command that was started for a capture dumps.
const SPOOL: &str = ".dumps";

/// A capture directory open for writing.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Holds the lock, and makes renames durable.
    directory: File,
    #[cfg(test)]
    faults: faults::Faults,
}

/// Why a capture directory cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made or opened.
    #[error("cannot write the capture directory {}: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another recording has it open.
    #[error("another recording is writing {}: stop it, or name another directory with -o", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
}

impl Store {
    /// Makes the directory if need be, locks it, and removes what an earlier writer left unfinished.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let io = |error| StoreError::Io { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(io)?;
        let directory = File::open(path).map_err(io)?;
        // Other errors pass: some network file systems have no locks, then two writers are the user's own affair.
        let lock = rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        if lock == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(StoreError::Busy { path: path.to_owned() });
        }
        let partial = path.join(PARTIAL);
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir(&partial).map_err(io)?;
        Ok(Store {
            path: path.to_owned(),
            directory,
            #[cfg(test)]
            faults: faults::Faults::default(),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder for a process to write dumps into: hidden, because they come under their final names.
    /// An absolute path; not made by this.
    pub fn spool(&self) -> PathBuf {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        path.join(SPOOL)
    }

    /// Whether a file of this name is in the capture.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }

    /// Where to write a file that some other code fills; [`Store::publish`] gives it its name.
    pub fn partial(&self, name: &str) -> PathBuf {
        self.path.join(PARTIAL).join(name.replace('/', "_"))
    }

    /// Writes a whole file; an existing one of the name is replaced.
    pub fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let partial = self.partial(name);
        let written = self.step().and_then(|()| File::create(&partial)).and_then(|mut file| {
            self.step()?;
            file.write_all(content)
        });
        self.finish(written.map(|()| content.len() as u64), &partial, name).map(drop)
    }

    /// Copies an open file into the capture; its length is returned.
    pub fn copy(&self, mut source: File, name: &str) -> io::Result<u64> {
        let partial = self.partial(name);
        let written = self.step().and_then(|()| File::create(&partial)).and_then(|mut file| {
            self.step()?;
            io::copy(&mut source, &mut file)
        });
        self.finish(written, &partial, name)
    }

    /// Gives a file written at [`Store::partial`] its final name.
    pub fn publish(&self, name: &str) -> io::Result<()> {
        let partial = self.partial(name);
        self.finish(Ok(0), &partial, name).map(drop)
    }

    /// Moves a file of the same file system into the capture.
    pub fn adopt(&self, source: &Path, name: &str) -> io::Result<()> {
        self.step()?;
        File::open(source)?.sync_all()?;
        self.step()?;
        fs::rename(source, self.path.join(name))?;
        self.sync()
    }

    /// Makes the names given so far durable.
    pub fn sync(&self) -> io::Result<()> {
        self.step()?;
        self.directory.sync_all()
    }

    /// Syncs and renames what was written, or removes it.
    fn finish(&self, written: io::Result<u64>, partial: &Path, name: &str) -> io::Result<u64> {
        let finished = written.and_then(|bytes| {
            self.step()?;
            // Opened anew: what counts for the sync is the file, not the handle.
            File::open(partial)?.sync_all()?;
            self.step()?;
            let target = self.path.join(name);
            if let (Some(folder), true) = (target.parent(), name.contains('/')) {
                fs::create_dir_all(folder)?;
            }
            fs::rename(partial, target)?;
            Ok(bytes)
        });
        if finished.is_err() {
            // The disk may be full: what is unfinished gives its room back at once.
            let _ = fs::remove_file(partial);
        }
        finished
    }

    #[cfg(not(test))]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        self.faults.step()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Empty unless something went wrong; then the next writer clears it.
        let _ = fs::remove_dir(self.path.join(PARTIAL));
    }
}

#[cfg(test)]
mod faults {
    use std::cell::Cell;
    use std::io;

    /// Fails the step with this number, counted from 0, and all after it.
    #[derive(Debug, Default)]
    pub(super) struct Faults {
        taken: Cell<usize>,
        first: Cell<Option<usize>>,
    }

    impl Faults {
        pub(super) fn from(&self, first: Option<usize>) {
            self.taken.set(0);
            self.first.set(first);
        }

        pub(super) fn step(&self) -> io::Result<()> {
            let step = self.taken.get();
            self.taken.set(step + 1);
            match self.first.get() {
                Some(first) if step >= first => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(store: &Store) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(store.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| n != PARTIAL).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_whole_or_absent_whatever_step_fails() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put("old", b"as it was").unwrap();
        for first in 0.. {
            store.faults.from(Some(first));
            let result = store.put("new", b"content");
            store.faults.from(None);
            assert_eq!(fs::read(folder.path().join("old")).unwrap(), b"as it was");
            assert_eq!(fs::read_dir(folder.path().join(PARTIAL)).unwrap().count(), 0, "step {first}");
            if result.is_ok() {
                assert!(first > 2, "a write has several steps that can fail");
                break;
            }
            assert_eq!(names(&store), ["old"], "step {first}");
        }
        assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"content");
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put("capture.json", b"one").unwrap();
        for first in 0..4 {
            store.faults.from(Some(first));
            assert!(store.put("capture.json", b"two").is_err());
            assert_eq!(fs::read(folder.path().join("capture.json")).unwrap(), b"one");
        }
    }

    #[test]
    fn the_next_writer_clears_what_was_left_unfinished() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        fs::write(store.partial("1.smaps"), b"half a li").unwrap();
        drop(store);
        assert!(folder.path().join(PARTIAL).join("1.smaps").exists());
        let store = Store::open(folder.path()).unwrap();
        assert!(!store.partial("1.smaps").exists());
        drop(store);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Busy { .. })));
        drop(first);
        Store::open(folder.path()).unwrap();
    }

    #[test]
    fn files_are_copied_and_moved_in() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("dump");
        fs::write(&outside, b"heap_v2/524288\n").unwrap();
        let store = Store::open(&folder.path().join("capture")).unwrap();
        assert_eq!(store.copy(File::open(&outside).unwrap(), "bin/dump").unwrap(), 15);
        store.adopt(&outside, "1.heap").unwrap();
        assert!(!outside.exists());
        assert_eq!(fs::read(store.path().join("bin/dump")).unwrap(), fs::read(store.path().join("1.heap")).unwrap());
    }
}
