//! Where the debug information is that was split off a binary.

use super::dwarf::{self, Sections};
use super::elf::ElfFile;
use super::facts::Options;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::path::{Path, PathBuf};

/// Split debug information beside a binary.
pub(super) struct SplitFiles {
    pub(super) package: Option<ElfFile>,
    pub(super) loose: HashMap<u64, ElfFile, FxBuildHasher>,
}

impl SplitFiles {
    /// Looks for the package that was given, then `<binary>.dwp`, then for the `.dwo` files: those given, where the compiler wrote
    /// them, beside the binary.
    pub(super) fn find(path: &Path, options: &Options, debug: &ElfFile) -> Self {
        let mut split = SplitFiles { package: None, loose: HashMap::default() };
        let skeletons = dwarf::skeletons(&dwarf::load(debug, None, Sections::ForSymbols));
        if skeletons.is_empty() {
            return split;
        }
        let beside = |file: &Path| {
            let mut name = file.as_os_str().to_owned();
            name.push(".dwp");
            PathBuf::from(name)
        };
        let searched = [Some(path), options.debug_file.as_deref()].into_iter().flatten().filter(|_| !options.named_only);
        let packages = options.package.iter().cloned().chain(searched.map(beside));
        split.package = packages.into_iter().find_map(|file| ElfFile::open(&file).ok());
        if split.package.is_some() {
            return split;
        }
        for file in options.split.iter().filter_map(|file| ElfFile::open(file).ok()) {
            if let Some(id) = dwarf::split_id(&file) {
                split.loose.insert(id, file);
            }
        }
        let beside = path.parent().unwrap_or(Path::new(""));
        for skeleton in skeletons {
            if split.loose.contains_key(&skeleton.id) || options.named_only {
                continue;
            }
            let written = skeleton.directory.join(&skeleton.name);
            let moved = skeleton.name.file_name().map(|name| beside.join(name));
            let found = [Some(written), moved].into_iter().flatten().find_map(|file| ElfFile::open(&file).ok());
            if let Some(file) = found.filter(|file| dwarf::split_id(file) == Some(skeleton.id)) {
                split.loose.insert(skeleton.id, file);
            }
        }
        split
    }
}
