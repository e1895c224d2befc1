//! DWARF of a file through gimli, with one fixed reader type.
//!
//! Sections are slices of the mapped file, or of the decompressed copies that [`ElfFile`] keeps.
//! Debug information may be spread: in the file itself, in an alternate file shared by several
//! binaries (dwz, `.gnu_debugaltlink`), or split off into `.dwo` files or one `.dwp` package, with
//! only skeleton units left behind ([`skeletons`]).

use super::elf::ElfFile;
use super::roots::Roots;
use gimli::{AttributeValue, LittleEndian, SectionId};
use std::path::PathBuf;

/// The one reader type.
pub type Reader<'a> = gimli::EndianSlice<'a, LittleEndian>;
/// DWARF sections of a file.
pub type Dwarf<'a> = gimli::Dwarf<Reader<'a>>;
/// A unit with its header and root attributes.
pub type Unit<'a> = gimli::Unit<Reader<'a>>;

/// Which sections a caller is going to look at: the others are not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sections {
    /// Functions, inlining and lines: neither locations of variables nor macros.
    ForSymbols,
    /// All of them.
    All,
}

impl Sections {
    fn has(self, id: SectionId) -> bool {
        use SectionId::{
            DebugAranges, DebugLoc, DebugLocLists, DebugMacinfo, DebugMacro, DebugNames, DebugPubNames, DebugPubTypes, DebugTypes,
        };
        self == Sections::All
            || !matches!(
                id,
                DebugAranges
                    | DebugLoc
                    | DebugLocLists
                    | DebugMacinfo
                    | DebugMacro
                    | DebugNames
                    | DebugPubNames
                    | DebugPubTypes
                    | DebugTypes
            )
    }
}

/// The DWARF of a file; every section that is not there is empty. `alternate` is the file that dwz shares.
pub fn load<'a>(file: &'a ElfFile, alternate: Option<&'a ElfFile>, sections: Sections) -> Dwarf<'a> {
    let mut dwarf = sections_of(file, sections, SectionId::name);
    if let Some(alternate) = alternate {
        dwarf.set_sup(sections_of(alternate, sections, SectionId::name));
    }
    dwarf
}

/// The DWARF of a `.dwo` file; `parent` holds its skeleton.
pub fn load_split<'a>(file: &'a ElfFile, parent: &Dwarf<'a>, sections: Sections) -> Dwarf<'a> {
    let mut dwarf = sections_of(file, sections, |id| id.dwo_name().unwrap_or(""));
    dwarf.make_dwo(parent);
    dwarf
}

/// The index of a `.dwp` file; `None` when it has none that can be read. It speaks of every section, so all are loaded.
pub fn load_package<'a>(file: &'a ElfFile) -> Option<gimli::DwarfPackage<Reader<'a>>> {
    let empty = Reader::new(&[], LittleEndian);
    let section = |id: SectionId| Ok::<_, gimli::Error>(section(file, id, Sections::All, id.dwo_name().unwrap_or("")));
    gimli::DwarfPackage::load(section, empty).ok()
}

fn sections_of<'a>(file: &'a ElfFile, sections: Sections, name: impl Fn(SectionId) -> &'static str) -> Dwarf<'a> {
    let load = |id: SectionId| Ok::<_, std::convert::Infallible>(section(file, id, sections, name(id)));
    let Ok(dwarf) = Dwarf::load(load);
    dwarf
}

fn section<'a>(file: &'a ElfFile, id: SectionId, sections: Sections, name: &str) -> Reader<'a> {
    let bytes = if sections.has(id) && !name.is_empty() { file.section(name) } else { None };
    Reader::new(bytes.unwrap_or_default(), LittleEndian)
}

/// Whether a file has debug information of its own, skeletons included.
pub fn has_debug_info(file: &ElfFile) -> bool {
    file.has_section(".debug_info")
}

/// What a unit left behind when its debug information was split off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// Which split unit belongs to it.
    pub id: u64,
    /// The `.dwo` file as the compiler named it, relative to [`Skeleton::directory`] or absolute.
    pub name: PathBuf,
    /// Working directory of the compiler.
    pub directory: PathBuf,
}

/// Every skeleton unit, in file order.
pub fn skeletons(dwarf: &Dwarf<'_>) -> Vec<Skeleton> {
    let mut found = Vec::new();
    let (roots, headers, _) = Roots::new(dwarf);
    for header in headers {
        let Some((unit, _)) = roots.unit(dwarf, header) else { continue };
        let (Some(id), Ok(Some(name))) = (unit.dwo_id, unit.dwo_name()) else { continue };
        let Ok(name) = dwarf.attr_string(&unit, name) else { continue };
        let directory = unit.comp_dir.map(|dir| path(dir.slice())).unwrap_or_default();
        found.push(Skeleton { id: id.0, name: path(name.slice()), directory });
    }
    found
}

/// The identity that a `.dwo` file states.
pub fn split_id(file: &ElfFile) -> Option<u64> {
    let dwarf = sections_of(file, Sections::ForSymbols, |id| id.dwo_name().unwrap_or(""));
    let header = dwarf.units().next().ok()??;
    dwarf.unit(header).ok()?.dwo_id.map(|id| id.0)
}

/// A path as the debug information spells it; any bytes but NUL may stand in it.
pub fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Whether a unit describes types (`debug = 2`), rather than only functions and lines: told by the
/// tags that its abbreviations name, without reading its entries.
pub fn has_types(unit: &Unit<'_>) -> bool {
    // Compilers number abbreviations from 1 without gaps.
    let tags = (1..).map_while(|code| unit.abbreviations.get(code)).map(gimli::Abbreviation::tag);
    tags.into_iter().any(|tag| matches!(tag, gimli::DW_TAG_base_type | gimli::DW_TAG_structure_type | gimli::DW_TAG_pointer_type))
}

/// Whether a unit was written by the Rust compiler.
pub fn is_rust(unit: &Unit<'_>) -> bool {
    language(unit) == Some(gimli::DW_LANG_Rust)
}

/// Source language of a unit; `None` where it states none.
pub fn language(unit: &Unit<'_>) -> Option<gimli::DwLang> {
    let mut entries = unit.entries_raw(None).ok()?;
    let root = entries.read_abbreviation().ok()??;
    root.attributes().iter().find_map(|&spec| match entries.read_attribute(spec).ok()?.value() {
        AttributeValue::Language(language) => Some(language),
        _ => None,
    })
}
