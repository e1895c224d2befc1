//! Finding the file of a module, and its debug files.
//!
//! Every file that is found must prove that it is the one that ran ([`super::proof`]); a file that is
//! proven to be another is refused, said, and never used. Files of a capture are not trusted to name
//! other files: from there only the same directory is searched.
//!
//! | order | where |
//! |---|---|
//! | 1 | `--binary [MODULE=]PATH` |
//! | 2 | the capture's `bin/`: by base name, by build-id, then any file that proves itself |
//! | 3 | the path of the mapping under `--sysroot` |
//! | 4 | `DEBUG_DIR/.build-id/xx/rest`, `PPROF_BINARY_PATH`, the debuginfod cache |

use super::proof::{self, Layout, Verdict};
use super::{BinaryArg, Module, SymbolOptions};
use crate::address::BuildId;
use crate::binary::BinaryError;
use crate::binary::dwarf;
use crate::binary::elf::ElfFile;
use crate::model::frame::DebugFiles;
use crate::origin::{Notice, printable};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A module's file and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Located {
    /// The file that ran, or for a module whose file is gone, its debug file.
    pub binary: ElfFile,
    /// Detached debug information.
    pub debug: Option<ElfFile>,
    /// The file that dwz shares between binaries.
    pub alternate: Option<ElfFile>,
    /// The package of split units.
    pub package: Option<ElfFile>,
    /// Split units by identity.
    pub split: BTreeMap<u64, ElfFile>,
    /// How it was loaded.
    pub layout: Layout,
    /// Build-id or layout prove that it is the file that ran.
    pub proven: bool,
    /// Identity.
    pub build_id: Option<BuildId>,
}

impl Located {
    /// The file with the debug information.
    pub fn debug_file(&self) -> &ElfFile {
        self.debug.as_ref().unwrap_or(&self.binary)
    }

    /// Where the files besides the binary are.
    pub fn debug_files(&self) -> DebugFiles {
        let path = |file: &Option<ElfFile>| file.as_ref().map(|file| file.path().to_owned());
        DebugFiles {
            debug: path(&self.debug),
            alternate: path(&self.alternate),
            package: path(&self.package),
            split: self.split.values().map(|file| file.path().to_owned()).collect(),
        }
    }

    /// The first of its files that was written to since it was opened: what was read of it may be neither the old nor the new.
    pub fn changed(&self) -> Option<&ElfFile> {
        let others = [&self.debug, &self.alternate, &self.package].into_iter().flatten();
        [&self.binary].into_iter().chain(others).chain(self.split.values()).find(|file| !file.file().is_unchanged())
    }
}

/// The debug files that belong to a binary that no profile names: beside it, by its link, by its build-id. What was refused, and why.
///
/// # Errors
/// When the binary cannot be opened or is no ELF file.
pub fn debug_files(path: &Path, options: &SymbolOptions) -> Result<(DebugFiles, Vec<Notice>), BinaryError> {
    let file = ElfFile::open(path)?;
    let mut search = Search::new(options);
    let found = search.complete(file, Layout { bias: 0 }, true, &Candidate::new(path.to_owned()));
    Ok((found.debug_files(), search.notices()))
}

/// Why a module has no file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Absent {
    /// A file was found and refused: which, and why.
    pub refused: Option<(PathBuf, String)>,
}

/// What a candidate turned out to be.
enum Tried {
    Proven(ElfFile, Layout),
    Possible(ElfFile, Layout),
    Refused(String),
    Nothing,
}

/// The most files of a capture's directory that are tried by content.
const MOST_TRIED: usize = 256;

/// The search for files, over all modules.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    options: &'a SymbolOptions,
    /// Index of the module that each `--binary` serves.
    assigned: Vec<Option<usize>>,
    notices: Vec<Notice>,
    exhausted: Cell<bool>,
}

impl<'a> Search<'a> {
    pub fn new(options: &'a SymbolOptions) -> Self {
        Search { options, assigned: vec![None; options.binaries.len()], notices: Vec::new(), exhausted: Cell::new(false) }
    }

    /// What was refused or not used, in order of discovery.
    pub fn notices(mut self) -> Vec<Notice> {
        if self.exhausted.get() {
            let message =
                "binaries and debug files could not be opened, because this process may open no more files: raise its limit (`ulimit -n`)";
            self.notices.push(Notice::new("", message.to_owned()));
        }
        self.notices
    }

    /// Decides which module each `--binary` serves.
    pub fn assign(&mut self, modules: &[Module<'_>]) {
        for (index, argument) in self.options.binaries.iter().enumerate() {
            let chosen = match &argument.module {
                Some(wanted) => modules.iter().position(|module| is_named(module, wanted)),
                None => match ElfFile::open(&argument.path) {
                    Ok(file) => best_module(&file, argument, modules),
                    Err(error) => {
                        self.notices.push(Notice::new("", format!("--binary: {error}: not used; give the ELF file that ran")));
                        continue;
                    }
                },
            };
            if chosen.is_none() {
                let names: Vec<&str> = modules.iter().filter(|m| m.raw_path.is_some()).map(|m| m.name.as_str()).collect();
                let what = match &argument.module {
                    Some(wanted) => format!("no module `{}` has addresses in this profile", printable(wanted)),
                    None => "serves no module of this profile, by build-id, layout or name".to_owned(),
                };
                let modules = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                self.notice(&argument.path, format!("{what}; modules: {}; use --binary MODULE=PATH", printable(&modules)));
            }
            self.assigned[index] = chosen;
        }
    }

    /// Finds the file of a module.
    pub fn locate(&mut self, index: usize, module: &Module<'_>) -> Result<Located, Absent> {
        let Some(raw_path) = module.raw_path else { return Err(Absent::default()) };
        let mut refused = None;
        let mut possible = None;
        for candidate in self.candidates(index, module, raw_path) {
            match self.try_file(&candidate.path, module) {
                Tried::Proven(file, layout) => return Ok(self.complete(file, layout, true, &candidate)),
                Tried::Possible(file, layout) if !candidate.must_prove => {
                    possible.get_or_insert((file, layout, candidate));
                }
                // Files tried only because they are there are not said to be wrong.
                Tried::Refused(reason) if !candidate.by_content => {
                    let advice = format!("is not the file that ran as {}: {reason}; not used", printable(&module.name));
                    self.notice(&candidate.path, advice);
                    refused.get_or_insert((candidate.path, reason));
                }
                _ => {}
            }
        }
        if let Some((file, layout, candidate)) = possible {
            let newer = self.options.not_after.is_some_and(|dump| file.file().modified().is_some_and(|file| file > dump));
            let doubt = if newer { " and the file is newer than the profile" } else { "" };
            self.notice(
                &candidate.path,
                format!(
                    "nothing proves that it is the file that ran as {} (no recorded build-id, no calls to compare){doubt}",
                    printable(&module.name)
                ),
            );
            return Ok(self.complete(file, layout, false, &candidate));
        }
        Err(Absent { refused })
    }

    /// Notes that debug information was cut short.
    pub fn damaged(&mut self, found: &Located, units: usize) {
        let units = if units == 1 { "1 unit".to_owned() } else { format!("{units} units") };
        self.notice(found.debug_file().path(), format!("its debug information is damaged in {units}: inlined calls may be missing there"));
    }

    /// Notes which compressed sections were not read.
    pub fn refused(&mut self, found: &Located) {
        let file = found.debug_file();
        for section in file.refused() {
            let section = printable(&section).into_owned();
            self.notice(file.path(), format!("its section `{section}` is compressed and not read: damaged, or unfolding without end"));
        }
    }

    /// Takes back what was found in a file that another process wrote to meanwhile.
    pub fn changed(&mut self, file: &ElfFile) -> Absent {
        let reason = "it was written to while it was read: none of its names is used; run this again when it is whole";
        self.notice(file.path(), reason.to_owned());
        Absent { refused: Some((file.path().to_owned(), reason.to_owned())) }
    }

    fn notice(&mut self, path: &Path, message: String) {
        self.notices.push(Notice::new(path.display().to_string(), message));
    }

    fn candidates(&self, index: usize, module: &Module<'_>, raw_path: &[u8]) -> Vec<Candidate> {
        let mut list = Vec::new();
        let given = self.options.binaries.iter().zip(&self.assigned).filter(|(_, assigned)| **assigned == Some(index));
        list.extend(given.map(|(argument, _)| Candidate::new(argument.path.clone())));
        let name = OsStr::from_bytes(raw_path.rsplit(|&b| b == b'/').next().unwrap_or_default());
        for dir in &self.options.search_dirs {
            let mut inside = |path: PathBuf| list.push(Candidate { inside: Some(dir.clone()), ..Candidate::new(path) });
            inside(dir.join(name));
            if let Some(id) = &module.recorded {
                let hex = id.to_string();
                inside(dir.join(&hex));
                inside(dir.join(format!("{hex}.debug")));
                inside(dir.join(build_id_path(id, "")));
                inside(dir.join(build_id_path(id, ".debug")));
            }
            let named: Vec<PathBuf> = list.iter().map(|candidate| candidate.path.clone()).collect();
            let others = files_in(dir).into_iter().filter(|path| !named.contains(path));
            list.extend(others.map(|path| Candidate {
                inside: Some(dir.clone()),
                must_prove: true,
                by_content: true,
                ..Candidate::new(path)
            }));
        }
        if let Some(path) = under(&self.options.sysroot, Path::new(OsStr::from_bytes(raw_path))) {
            list.push(Candidate { must_prove: module.deleted, by_content: module.deleted, ..Candidate::new(path) });
        }
        for dir in &self.options.pprof_dirs {
            if let Some(id) = &module.recorded {
                list.extend(files_in(&dir.join(id.to_string())).into_iter().map(Candidate::new));
            }
            list.push(Candidate::new(dir.join(name)));
        }
        if let Some(id) = &module.recorded {
            for dir in &self.options.debug_dirs {
                list.push(Candidate::new(dir.join(build_id_path(id, ""))));
                list.push(Candidate::new(dir.join(build_id_path(id, ".debug"))));
            }
            if let Some(dir) = &self.options.debuginfod_cache {
                list.push(Candidate::new(dir.join(id.to_string()).join("executable")));
                list.push(Candidate::new(dir.join(id.to_string()).join("debuginfo")));
            }
        }
        list.retain(|candidate| candidate.inside.as_ref().is_none_or(|dir| stays_in(&candidate.path, dir)));
        list
    }

    fn try_file(&mut self, path: &Path, module: &Module<'_>) -> Tried {
        let file = match self.reach(path) {
            Ok(file) => file,
            Err(crate::binary::BinaryError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Tried::Nothing,
            Err(error) if self.options.binaries.iter().any(|argument| argument.path == path) => return Tried::Refused(error.to_string()),
            Err(_) => return Tried::Nothing,
        };
        if let Some(recorded) = &module.recorded {
            return match file.build_id() {
                Some(id) if id == recorded => match proof::layout(&file, &module.mappings, &[]) {
                    Verdict::Proven(layout) | Verdict::Possible(layout) => Tried::Proven(file, layout),
                    // A file of debug information only has lost its offsets in the file, not its addresses.
                    Verdict::Refuted(reason) => match proof::layout_in_memory(&file, &module.mappings) {
                        Some(layout) => Tried::Proven(file, layout),
                        None => Tried::Refused(reason),
                    },
                },
                Some(id) => Tried::Refused(format!("its build-id is {id}, and {recorded} ran")),
                None => Tried::Refused(format!("it has no build-id, and {recorded} ran")),
            };
        }
        match proof::layout(&file, &module.mappings, &module.returns()) {
            Verdict::Proven(layout) => Tried::Proven(file, layout),
            Verdict::Possible(layout) => Tried::Possible(file, layout),
            Verdict::Refuted(reason) => Tried::Refused(reason),
        }
    }

    /// Finds the debug files that belong to a binary.
    fn complete(&mut self, binary: ElfFile, layout: Layout, proven: bool, candidate: &Candidate) -> Located {
        let build_id = binary.build_id().cloned();
        let debug = if dwarf::has_debug_info(&binary) { None } else { self.debug_file(&binary, candidate) };
        let mut located = Located { binary, debug, alternate: None, package: None, split: BTreeMap::new(), layout, proven, build_id };
        if let Some((name, id)) = located.debug_file().debug_alt_link() {
            located.alternate = self.alternate(&located, &name, id.as_ref(), candidate);
        }
        // A skeleton leaves its addresses in `.debug_addr`; without that section no unit need be read to know.
        let may_be_split = located.debug_file().has_section(".debug_addr");
        let dwarf = may_be_split.then(|| dwarf::load(located.debug_file(), None, dwarf::Sections::ForSymbols));
        let skeletons = dwarf.map(|dwarf| dwarf::skeletons(&dwarf)).unwrap_or_default();
        if !skeletons.is_empty() {
            located.package = self.package(&located, candidate);
            if located.package.is_none() {
                located.split = self.split(&located, &skeletons, candidate);
            }
        }
        located
    }

    fn debug_file(&mut self, binary: &ElfFile, candidate: &Candidate) -> Option<ElfFile> {
        let mut paths = Vec::new();
        let id = binary.build_id();
        if let Some(id) = id {
            let hex = id.to_string();
            for dir in &self.options.search_dirs {
                paths.extend([dir.join(format!("{hex}.debug")), dir.join(build_id_path(id, ".debug"))]);
            }
            paths.extend(self.options.debug_dirs.iter().map(|dir| dir.join(build_id_path(id, ".debug"))));
            paths.extend(under(&self.options.sysroot, &Path::new("/usr/lib/debug").join(build_id_path(id, ".debug"))));
            paths.extend(self.options.pprof_dirs.iter().flat_map(|dir| files_in(&dir.join(&hex))));
            paths.extend(self.options.debuginfod_cache.iter().map(|dir| dir.join(&hex).join("debuginfo")));
        }
        let matches = |file: &ElfFile| dwarf::has_debug_info(file) && id.is_some() && file.build_id() == id;
        if let Some(found) = paths.iter().filter_map(|path| self.open(path)).find(matches) {
            return Some(found);
        }
        let (name, crc) = binary.debug_link()?;
        let name = base_name(&name)?;
        let dir = binary.path().parent().unwrap_or(Path::new("."));
        let mut linked = vec![dir.join(name), dir.join(".debug").join(name)];
        linked.extend(self.options.search_dirs.iter().map(|dir| dir.join(name)));
        for root in &self.options.debug_dirs {
            linked.extend(under(root, &std::path::absolute(dir).unwrap_or_default()).map(|dir| dir.join(name)));
            linked.push(root.join(name));
        }
        linked.retain(|path| {
            path != binary.path() && candidate.inside.as_ref().is_none_or(|dir| !path.starts_with(dir) || stays_in(path, dir))
        });
        let mut wrong = None;
        for file in linked.iter().filter_map(|path| self.open(path)).filter(dwarf::has_debug_info) {
            let same = match (id, file.build_id()) {
                (Some(id), Some(other)) => id == other,
                _ => crc32(file.file().bytes()) == crc,
            };
            if same {
                return Some(file);
            }
            wrong.get_or_insert(file.path().to_owned());
        }
        if let Some(path) = wrong {
            self.notice(&path, format!("is not the debug file of {}: its build-id or checksum differs; not used", binary.path().display()));
        }
        None
    }

    /// Opens a debug file; what is missing or no ELF file is passed over.
    fn open(&self, path: &Path) -> Option<ElfFile> {
        let dir = self.options.search_dirs.iter().find(|dir| path.starts_with(dir));
        if dir.is_some_and(|dir| !stays_in(path, dir)) {
            return None;
        }
        self.reach(path).ok()
    }

    /// Opens a file; where the process may open no more, that is remembered, to be said at the end.
    fn reach(&self, path: &Path) -> Result<ElfFile, BinaryError> {
        let exhausted = |error: &BinaryError| match error {
            BinaryError::Io { source, .. } => {
                [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
            }
            _ => false,
        };
        ElfFile::open(path).inspect_err(|error| self.exhausted.set(self.exhausted.get() || exhausted(error)))
    }

    fn alternate(&mut self, located: &Located, name: &[u8], id: Option<&BuildId>, candidate: &Candidate) -> Option<ElfFile> {
        let stated = dwarf::path(name);
        let file = located.debug_file();
        let dir = file.path().parent().unwrap_or(Path::new("."));
        let base = stated.file_name()?;
        let mut paths = Vec::new();
        if candidate.inside.is_none() {
            paths.push(dir.join(&stated));
        }
        paths.push(dir.join(base));
        paths.extend(self.options.search_dirs.iter().map(|dir| dir.join(base)));
        for root in &self.options.debug_dirs {
            paths.extend([root.join(".dwz").join(base), root.join(base)]);
            paths.extend(id.map(|id| root.join(build_id_path(id, ".debug"))));
            paths.extend(under(root, &stated));
        }
        let found = paths.iter().filter_map(|path| self.open(path)).find(|file| id.is_none() || file.build_id() == id);
        if found.is_none() {
            let message =
                format!("its alternate debug file {} is missing: some names cannot be read", printable(&stated.to_string_lossy()));
            self.notice(file.path(), message);
        }
        found
    }

    fn package(&self, located: &Located, candidate: &Candidate) -> Option<ElfFile> {
        let with_suffix = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dwp");
            PathBuf::from(name)
        };
        let mut paths = vec![with_suffix(located.binary.path()), with_suffix(located.debug_file().path())];
        let base = with_suffix(Path::new(located.binary.path().file_name().unwrap_or_default()));
        paths.extend(self.options.search_dirs.iter().chain(&self.options.debug_dirs).map(|dir| dir.join(&base)));
        paths.retain(|path| candidate.inside.as_ref().is_none_or(|dir| !path.starts_with(dir) || stays_in(path, dir)));
        paths.iter().filter_map(|path| self.open(path)).find(|file| file.has_section(".debug_cu_index"))
    }

    fn split(&self, located: &Located, skeletons: &[dwarf::Skeleton], candidate: &Candidate) -> BTreeMap<u64, ElfFile> {
        let dir = located.binary.path().parent().unwrap_or(Path::new("."));
        let mut found = BTreeMap::new();
        for skeleton in skeletons {
            let Some(base) = skeleton.name.file_name() else { continue };
            let mut paths = Vec::new();
            if candidate.inside.is_none() {
                paths.extend(under(&self.options.sysroot, &skeleton.directory.join(&skeleton.name)));
            }
            paths.push(dir.join(base));
            paths.extend(self.options.search_dirs.iter().chain(&self.options.debug_dirs).map(|dir| dir.join(base)));
            let file = paths.iter().filter_map(|path| self.open(path)).find(|file| dwarf::split_id(file) == Some(skeleton.id));
            found.extend(file.map(|file| (skeleton.id, file)));
        }
        found
    }
}

/// The module that a file without `MODULE=` serves: proven by build-id or layout, else of its base name.
fn best_module(file: &ElfFile, argument: &BinaryArg, modules: &[Module<'_>]) -> Option<usize> {
    let files = || modules.iter().enumerate().filter(|(_, module)| module.raw_path.is_some());
    let same_id = files().find(|(_, module)| module.recorded.is_some() && module.recorded.as_ref() == file.build_id());
    let proven = || files().find(|(_, module)| matches!(proof::layout(file, &module.mappings, &module.returns()), Verdict::Proven(_)));
    let same_name = || files().find(|(_, module)| argument.path.file_name() == Some(OsStr::new(&module.name)));
    same_id.or_else(proven).or_else(same_name).map(|(index, _)| index)
}

/// A file to try.
#[derive(Clone, Debug)]
struct Candidate {
    path: PathBuf,
    /// The directory that the file may not lead out of.
    inside: Option<PathBuf>,
    /// Used only when proven: nothing but its presence speaks for it.
    must_prove: bool,
    /// Tried because it is there, not because anyone named it.
    by_content: bool,
}

impl Candidate {
    fn new(path: PathBuf) -> Self {
        Candidate { path, inside: None, must_prove: false, by_content: false }
    }
}

/// Whether `wanted` names the module: its path, the end of its path, its base name or its build-id.
fn is_named(module: &Module<'_>, wanted: &str) -> bool {
    let tail = module.path.strip_suffix(wanted).is_some_and(|front| front.is_empty() || front.ends_with('/') || wanted.starts_with('/'));
    let id = module.recorded.as_ref().is_some_and(|id| BuildId::from_hex(wanted).as_ref() == Some(id));
    module.raw_path.is_some() && !wanted.is_empty() && (tail || id)
}

/// `.build-id/xx/rest` and a suffix.
fn build_id_path(id: &BuildId, suffix: &str) -> PathBuf {
    let hex = id.to_string();
    let (first, rest) = hex.split_at(2);
    PathBuf::from(format!(".build-id/{first}/{rest}{suffix}"))
}

/// `path` below `root`; `None` when it holds `..`, which no kernel path does.
fn under(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut joined = root.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(part) => joined.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(joined)
}

/// A file name without directories.
fn base_name(name: &[u8]) -> Option<&OsStr> {
    let plain = !name.is_empty() && !name.contains(&b'/') && name != b"." && name != b"..";
    plain.then(|| OsStr::from_bytes(name))
}

/// Whether a path, links followed, is below a directory.
fn stays_in(path: &Path, dir: &Path) -> bool {
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

/// The regular files of a directory, by name; of a large one the first.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.truncate(MOST_TRIED);
    files
}

/// The checksum of `.gnu_debuglink`.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_root() {
        assert_eq!(under(Path::new("/r"), Path::new("/usr/lib/x")), Some(PathBuf::from("/r/usr/lib/x")));
        assert_eq!(under(Path::new("/r"), Path::new("/usr/../../etc")), None);
        assert_eq!(base_name(b"x.debug"), Some(OsStr::new("x.debug")));
        for bad in [&b"../x"[..], b"/etc/x", b"", b"..", b"."] {
            assert_eq!(base_name(bad), None);
        }
    }

    #[test]
    fn links_do_not_lead_out() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(other.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(other.path().join("secret"), dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("own"), "x").unwrap();
        assert!(stays_in(&dir.path().join("own"), dir.path()));
        assert!(!stays_in(&dir.path().join("link"), dir.path()));
        assert!(!stays_in(&dir.path().join("missing"), dir.path()));
    }

    #[test]
    fn build_ids_make_paths() {
        let id = BuildId::from_hex("abcdef").unwrap();
        assert_eq!(build_id_path(&id, ".debug"), PathBuf::from(".build-id/ab/cdef.debug"));
    }

    #[test]
    fn checksum_is_that_of_debuglink() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
