//! Which files an INPUT stands for: directories, files, globs, standard input. Finds and reads; judges nothing.

use crate::capture::name::{self, Name};
use crate::input;
use crate::origin::Notice;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

/// One file to read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is; `None` is standard input.
    pub path: Option<PathBuf>,
    /// What messages and evidence call it: the name inside a capture directory, else the path as given.
    pub label: String,
    /// What its name tells.
    pub name: Name,
    /// Directory it was found in or given with; files of one snapshot share it.
    pub home: PathBuf,
    /// Given by itself rather than found in a directory: it must be usable, or that is said.
    pub asked_for: bool,
    /// Modification time, Unix milliseconds.
    pub modified_ms: Option<i64>,
}

/// What the arguments stand for.
#[derive(Debug, Default)]
pub struct Found {
    /// Files, in the order of the arguments, by name within a directory.
    pub sources: Vec<Source>,
    /// Capture directories.
    pub directories: Vec<PathBuf>,
    /// Directories with executables and debug files of captures.
    pub bin_dirs: Vec<PathBuf>,
    /// Programs among the files given by hand, as `jeprof PROGRAM DUMP` has them.
    pub programs: Vec<PathBuf>,
    /// What could not be taken.
    pub notices: Vec<Notice>,
}

/// Where executables lie in a capture.
const BIN: &str = "bin";

/// Finds the files. Touches directories and metadata only, and the first bytes of a file given by hand.
pub fn find(inputs: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for input in inputs {
        if input.as_os_str() == "-" {
            let name = Name { stem: "<stdin>".into(), unix_ms: None, sequence: None, at_exit: false };
            found.sources.push(Source {
                path: None,
                label: "<stdin>".into(),
                name,
                home: PathBuf::new(),
                asked_for: true,
                modified_ms: None,
            });
            continue;
        }
        match fs::metadata(input) {
            Ok(meta) if meta.is_dir() => directory(input, &mut found),
            Ok(meta) => file(input, &meta, &mut found),
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_wildcard(input) => glob(input, &mut found),
            Err(error) => found.notices.push(Notice::new(shown(input), trouble(&error))),
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.sources.retain(|source| seen.insert(source.path.clone()));
    found.bin_dirs.dedup();
    found
}

/// Largest file that is read: the most that one dump may be.
pub const MOST_BYTES: u64 = 16 << 30;
/// A file above this is looked at before it is read: cores and databases lie beside dumps.
const LARGE: u64 = 64 << 20;
/// How much of it.
const HEAD: u64 = 64 << 10;

/// The bytes of a file; of a large one that begins as nothing known does, only the beginning.
pub fn read(source: &Source) -> io::Result<Vec<u8>> {
    match &source.path {
        Some(path) => read_file(path),
        None => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    if length <= LARGE {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let mut bytes = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut bytes)?;
    if is_nothing_known(&bytes) {
        return Ok(bytes);
    }
    if length > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file that begins so is a program, a core or other binary data. In text anything may follow.
fn is_nothing_known(head: &[u8]) -> bool {
    input::is_program(head) || (head.contains(&0) && !input::compress::is_compressed(head) && input::sniff(head).is_none())
}

/// An error of the system with what to do about it.
pub fn trouble(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::FileTooLarge => {
            "is larger than 16 GiB, and not read: dump with a larger sampling interval (lg_prof_sample), or cut a log to its last part"
                .into()
        }
        io::ErrorKind::NotFound => "no such file: check the path".into(),
        io::ErrorKind::PermissionDenied => "no permission to read it: run as the user who owns it, or copy it with sudo".into(),
        _ => format!("cannot be read: {error}"),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn source(path: PathBuf, label: String, home: PathBuf, asked_for: bool, meta: &fs::Metadata) -> Source {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let since_epoch = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_ms = since_epoch.and_then(|time| i64::try_from(time.as_millis()).ok());
    Source { path: Some(path), label, name: name::parse(&file), home, asked_for, modified_ms }
}

fn file(path: &Path, meta: &fs::Metadata, found: &mut Found) {
    if is_program(path, meta) {
        if !found.programs.iter().any(|known| known == path) {
            found.programs.push(path.to_owned());
        }
        return;
    }
    let home = path.parent().unwrap_or(Path::new("")).to_owned();
    bin_of(&home, found);
    found.sources.push(source(path.to_owned(), shown(path), home, true, meta));
}

/// Whether a plain file is ELF; a pipe is read once only, and not here.
fn is_program(path: &Path, meta: &fs::Metadata) -> bool {
    let mut magic = [0; 4];
    meta.is_file() && fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && input::is_program(&magic)
}

/// Every plain file of a capture directory; what a link leads outside to is not part of the capture.
fn directory(dir: &Path, found: &mut Found) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return found.notices.push(Notice::new(shown(dir), trouble(&error))),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => found.notices.push(Notice::new(shown(dir), format!("the directory cannot be read to its end: {error}"))),
        }
    }
    paths.sort();
    for path in paths {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if file.starts_with('.') {
            continue;
        }
        match inside(dir, &path) {
            Ok(Some(meta)) if meta.is_file() => found.sources.push(source(path, file, dir.to_owned(), false, &meta)),
            Ok(Some(_)) => {}
            Ok(None) => found.notices.push(Notice::new(
                shown(&path),
                "is a link to outside of the capture: not followed; give the file itself as an input, or --binary for an executable",
            )),
            Err(error) => found.notices.push(Notice::new(shown(&path), trouble(&error))),
        }
    }
    found.directories.push(dir.to_owned());
    bin_of(dir, found);
}

/// The metadata of a file in `dir`; `None` when it is a link that leads outside.
fn inside(dir: &Path, path: &Path) -> io::Result<Option<fs::Metadata>> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_symlink() {
        return Ok(Some(meta));
    }
    let (target, root) = (fs::canonicalize(path)?, fs::canonicalize(dir)?);
    if target.starts_with(root) { fs::metadata(path).map(Some) } else { Ok(None) }
}

/// `DIR/bin`, if the capture has one.
fn bin_of(dir: &Path, found: &mut Found) {
    let bin = dir.join(BIN);
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match inside(here, &here.join(BIN)) {
        Ok(Some(meta)) if meta.is_dir() && !found.bin_dirs.contains(&bin) => found.bin_dirs.push(bin),
        Ok(None) => found
            .notices
            .push(Notice::new(shown(&bin), "is a link to outside of the capture: not followed; pass the executable with --binary")),
        _ => {}
    }
}

/// `bin` of capture.json as a directory or file inside the capture; an error says why it is refused.
pub fn confined(dir: &Path, named: &str) -> Result<PathBuf, String> {
    let advice = "pass the executable with --binary";
    let path = Path::new(named);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`bin` names {}, which is not inside the capture: not used; {advice}", crate::origin::quote(named.as_bytes())));
    }
    let joined = dir.join(path);
    match inside(dir, &joined) {
        Ok(Some(_)) if fs::canonicalize(&joined).and_then(|real| Ok(real.starts_with(fs::canonicalize(dir)?))).unwrap_or(false) => {
            Ok(joined)
        }
        Ok(_) => Err(format!("`bin` leads outside of the capture: not used; {advice}")),
        Err(error) => Err(format!("`bin` names {}: {}", crate::origin::quote(named.as_bytes()), trouble(&error))),
    }
}

fn has_wildcard(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// Directories deeper than this below the fixed part of a pattern are not searched.
const MOST_DEPTH: usize = 16;

/// A pattern that the shell did not expand.
fn glob(pattern: &Path, found: &mut Found) {
    let text = shown(pattern);
    let matcher = match globset::GlobBuilder::new(&text).literal_separator(true).build() {
        Ok(glob) => glob.compile_matcher(),
        Err(error) => return found.notices.push(Notice::new(text, format!("is no file and no pattern: {}", error.kind()))),
    };
    let mut root = PathBuf::new();
    let parts: Vec<Component<'_>> = pattern.components().collect();
    let fixed = parts.iter().take_while(|part| !has_wildcard(Path::new(part.as_os_str()))).count();
    parts[..fixed].iter().for_each(|part| root.push(part));
    let deepest = if text.contains("**") { MOST_DEPTH } else { parts.len() - fixed };
    let mut matches = Vec::new();
    walk(&root, deepest, &mut |path| {
        if matcher.is_match(path) {
            matches.push(path.to_owned());
        }
    });
    matches.sort();
    if matches.is_empty() {
        return found.notices.push(Notice::new(text, "no file matches the pattern"));
    }
    for path in matches {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => directory(&path, found),
            Ok(meta) => file(&path, &meta, found),
            Err(error) => found.notices.push(Notice::new(shown(&path), trouble(&error))),
        }
    }
}

fn walk(dir: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let Ok(entries) = fs::read_dir(here) else { return };
    for entry in entries.flatten() {
        let path = dir.join(entry.file_name());
        visit(&path);
        // Links are not followed here: they could lead in circles.
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, depth - 1, visit);
        }
    }
}
