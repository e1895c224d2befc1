//! A file that gets its name when it is whole.
//!
//! Until then it has none, where the file system can do that (`O_TMPFILE`, open(2)): whatever ends the program, Ctrl-C
//! and `kill -9` too, leaves nothing behind. Elsewhere it has a name of its own, `.heaptriage-` and six letters.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// Everybody may read and write, less the umask: what a shell's `>` gives a file.
const MODE: u32 = 0o666;

/// An open file that is not under its name yet.
#[derive(Debug)]
pub struct Draft {
    file: File,
    /// Its temporary name; `None` where it needs none.
    name: Option<TempPath>,
    folder: PathBuf,
}

impl Draft {
    /// A file that [`Draft::persist`] puts into this folder.
    ///
    /// # Errors
    /// When nothing can be created there.
    pub fn new_in(folder: &Path) -> io::Result<Draft> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let (file, name) = match unnamed(folder) {
            Some(file) => (file, None),
            None => {
                let (file, name) = named(folder)?.into_parts();
                (file, Some(name))
            }
        };
        Ok(Draft { file, name, folder: folder.to_owned() })
    }

    /// Gives the file its name, in place of what was there.
    ///
    /// # Errors
    /// When that fails: then nothing has changed.
    pub fn persist(mut self, path: &Path) -> io::Result<()> {
        let name = match self.name.take() {
            Some(name) => name,
            None => self.link()?,
        };
        name.persist(path).map_err(|error| error.error)
    }

    /// A name for a file without one: a link cannot replace a file, a rename can.
    fn link(&mut self) -> io::Result<TempPath> {
        let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked = builder().make_in(&self.folder, |path| {
            use rustix::fs::{AtFlags, CWD, linkat};
            Ok(linkat(CWD, &open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        });
        if let Ok(linked) = linked {
            return Ok(linked.into_temp_path());
        }
        // Some file systems have files without a name and cannot give them one.
        let mut copy = named(&self.folder)?;
        self.file.rewind()?;
        io::copy(&mut self.file, &mut copy)?;
        Ok(copy.into_temp_path())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// `None` where the kernel, the file system or a missing /proc stands against it; an error of the folder shows again.
fn unnamed(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    let file = File::from(open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(MODE)).ok()?);
    Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())).exists().then_some(file)
}

fn named(folder: &Path) -> io::Result<NamedTempFile> {
    builder().tempfile_in(folder)
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".heaptriage-");
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for content in ["first", "second, longer"] {
            let mut draft = Draft::new_in(folder.path()).unwrap();
            draft.write_all(content.as_bytes()).unwrap();
            assert!(draft.name.is_some() || !names(folder.path()).iter().any(|name| name.starts_with(".heaptriage-")));
            draft.persist(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(names(folder.path()), ["out"]);
            // As a shell's redirection would have made it.
            let shell = std::process::Command::new("sh").args(["-c", "umask"]).output().unwrap();
            let umask = u32::from_str_radix(String::from_utf8_lossy(&shell.stdout).trim(), 8).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE & !umask);
        }
        drop(Draft::new_in(folder.path()).unwrap());
        assert_eq!(names(folder.path()), ["out"]);
    }

    /// Where a file must have a name, or cannot be given one later.
    #[test]
    fn with_a_name_it_goes_the_same_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let (file, name) = named(folder.path()).unwrap().into_parts();
        let mut draft = Draft { file, name: Some(name), folder: folder.path().to_owned() };
        draft.write_all(b"named").unwrap();
        draft.persist(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "named");
        // An open file that had a name and lost it cannot be linked: it is copied.
        let mut file = named(folder.path()).unwrap().into_file();
        file.write_all(b"copied").unwrap();
        Draft { file, name: None, folder: folder.path().to_owned() }.persist(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "copied");
        assert!(Draft::new_in(&folder.path().join("missing")).is_err());
    }
}
