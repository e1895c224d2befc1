//! Opening and mapping files: the one home of `unsafe`.
//!
//! A binary is mapped, not read: of a file of gigabytes only the pages that are looked at are loaded.

use super::BinaryError;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A regular file, mapped for reading.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    file: File,
    map: Mmap,
    modified: Option<SystemTime>,
}

impl MappedFile {
    /// Opens and maps a file.
    ///
    /// # Errors
    /// When it cannot be opened or mapped, is empty, or is no regular file.
    pub fn open(path: &Path) -> Result<Self, BinaryError> {
        let io = |source| BinaryError::Io { path: path.to_owned(), source };
        // Looked at before it is opened, because opening a pipe would wait for a writer.
        let before = std::fs::metadata(path).map_err(io)?;
        if !before.is_file() {
            return Err(BinaryError::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(BinaryError::NotAFile { path: path.to_owned() });
        }
        if metadata.len() == 0 {
            return Err(BinaryError::NotElf { path: path.to_owned() });
        }
        // SAFETY: the mapping is private and read-only, and its bytes are only ever read as `u8`.
        // What could break it is another process that truncates the file in place while it is
        // mapped: reading past the new end raises SIGBUS, which `say_when_cut` answers. Linkers, package
        // managers and `install` replace files by rename or unlink first, which leaves this mapping intact;
        // a rewrite in place is the limit that docs/security.md states.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(MappedFile { path: path.to_owned(), file, map, modified: metadata.modified().ok() })
    }

    /// The whole content.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Time of the last change when it was opened; `None` where the file system keeps none.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Whether length and time of change are still those of the opening.
    pub fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|now| now.len() == self.map.len() as u64 && now.modified().ok() == self.modified)
    }
}

/// Where a mapped file is cut while it is read, the program says so and ends with exit code 2, instead of by SIGBUS.
/// For a program that has the process to itself, not for users of the library.
pub fn say_when_cut() {
    const MESSAGE: &[u8] = b"heaptriage: a binary or debug file lost its end while it was being read: it was written to in place, \
        or its disk failed; nothing of it was used\n  help: run this again when the file is whole; replace files by \
        rename, as `install` and package managers do\n";
    const FAILED: i32 = 2;
    let action = || {
        let _ = rustix::io::write(std::io::stderr(), MESSAGE);
        signal_hook::low_level::exit(FAILED);
    };
    // SAFETY: the handler calls write(2) and _exit(2) alone, which signal-safety(7) allows: `stderr` makes a handle without
    // a lock, and nothing is allocated, freed or unwound.
    #[allow(unsafe_code)]
    let installed = unsafe { signal_hook::low_level::register(signal_hook::consts::SIGBUS, action) };
    if let Err(error) = installed {
        log::info!("no handler for SIGBUS: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(MappedFile::open(dir.path()), Err(BinaryError::NotAFile { .. })));
        assert!(matches!(MappedFile::open(&dir.path().join("none")), Err(BinaryError::Io { .. })));
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        assert!(matches!(MappedFile::open(&empty), Err(BinaryError::NotElf { .. })));
        let file = dir.path().join("file");
        std::fs::write(&file, "abc").unwrap();
        let mapped = MappedFile::open(&file).unwrap();
        assert_eq!(mapped.bytes(), b"abc");
        assert!(mapped.is_unchanged());
        // Written to in place: that is seen, whatever was read before.
        let longer = std::fs::File::options().append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut &longer, b"d").unwrap();
        assert!(!mapped.is_unchanged());
        // Replaced by rename: the mapping keeps the old content.
        let other = dir.path().join("other");
        std::fs::write(&other, "something else").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_eq!(mapped.bytes(), b"abc");
    }
}
