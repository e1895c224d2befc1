//! ELF facts: identity, segments, sections, symbols, links to debug files.
//!
//! Read once when the file is opened: build-id, segments and section headers. Read on demand and
//! kept: the symbol table and the content of compressed sections.

use super::BinaryError;
use super::file::MappedFile;
use crate::address::{AddrRange, BuildId, FileOffset, Svma};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

/// Machine code of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// AArch64.
    Aarch64,
    /// Any other.
    Other,
}

/// A `PT_LOAD` program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it stands in the address space of the file itself.
    pub svma: Svma,
    /// Bytes in memory.
    pub memory_size: u64,
    /// Where its content stands in the file.
    pub offset: FileOffset,
    /// Bytes in the file; the rest of [`Segment::memory_size`] is zeros.
    pub file_size: u64,
    /// Code may run here.
    pub executable: bool,
    /// May be written.
    pub writable: bool,
}

/// A section header with the place of its content.
#[derive(Clone, Debug)]
struct Section {
    name: Box<[u8]>,
    svma: Svma,
    size: u64,
    executable: bool,
    /// Content in the file, compressed or not; `None` for `.bss` and for ranges outside the file.
    data: Option<Range<usize>>,
    /// Uncompressed size, for compressed sections.
    inflated: Option<u64>,
}

/// A function of the symbol table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSymbol<'a> {
    /// Linkage name, raw.
    pub name: &'a [u8],
    /// First address.
    pub start: Svma,
    /// Bytes; 0 where the symbol table has none (assembly).
    pub size: u64,
}

#[derive(Clone, Debug)]
struct SymbolEntry {
    start: u64,
    size: u64,
    name: Range<usize>,
    /// Smaller is better among symbols of one address.
    rank: u8,
}

/// Function symbols by address.
#[derive(Debug)]
struct SymbolIndex {
    entries: Vec<SymbolEntry>,
    /// Largest end of the entries up to each: where to stop looking back.
    ends: Vec<u64>,
}

/// An ELF file, open.
#[derive(Debug)]
pub struct ElfFile {
    file: MappedFile,
    machine: Machine,
    build_id: Option<BuildId>,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    inflated: Vec<OnceLock<Option<Box<[u8]>>>>,
    symbols: OnceLock<SymbolIndex>,
    /// First address and size of sections with code, by address.
    code: Vec<(u64, u64)>,
    position_independent: bool,
}

/// A compressed section may grow to at most this many times its size. Debug sections stay
/// far below; a bomb can reach 1,000 (zlib) or 30,000 times (zstd). The limit is a choice, not a measurement.
const MOST_INFLATION: u64 = 64;
/// Below this size the ratio is not asked: headers weigh more than content.
const SMALL_SECTION: u64 = 1 << 20;
/// Bytes of a section's name that are kept, more than any name has that is looked for: hostile files give a million sections one name.
const LONGEST_SECTION_NAME: usize = 64;
/// Bytes by which symbols of one address are told apart.
const LONGEST_COMPARED_NAME: usize = 1024;
/// Symbols that overlap an address and start before it: how many to look back over. Real tables nest one or two deep.
const MOST_NESTED_SYMBOLS: usize = 64;

impl ElfFile {
    /// Opens and maps a file and reads its headers.
    ///
    /// # Errors
    /// When it cannot be opened, is not ELF, is big-endian, or its headers lie outside the file.
    pub fn open(path: &Path) -> Result<Self, BinaryError> {
        Self::new(MappedFile::open(path)?)
    }

    fn new(file: MappedFile) -> Result<Self, BinaryError> {
        let path = || file.path().to_owned();
        let malformed = |error: object::Error| BinaryError::Malformed { path: path(), what: error.to_string() };
        if !file.bytes().starts_with(&object::elf::ELFMAG) {
            return Err(BinaryError::NotElf { path: path() });
        }
        let elf = object::File::parse(file.bytes()).map_err(malformed)?;
        if !elf.is_little_endian() {
            return Err(BinaryError::Unsupported { path: path(), what: "big-endian binaries are not read" });
        }
        let machine = match elf.architecture() {
            object::Architecture::X86_64 => Machine::X86_64,
            object::Architecture::Aarch64 => Machine::Aarch64,
            _ => Machine::Other,
        };
        let segments = elf.segments().map(|segment| segment_of(&segment)).collect();
        let len = file.bytes().len() as u64;
        let sections: Vec<Section> = elf.sections().map(|section| section_of(&section, len)).collect();
        let build_id = elf.build_id().ok().flatten().and_then(BuildId::new);
        let position_independent = matches!(elf.kind(), object::ObjectKind::Dynamic);
        let inflated = sections.iter().map(|_| OnceLock::new()).collect();
        let executable = sections.iter().filter(|section| section.executable);
        let mut code: Vec<(u64, u64)> = executable.map(|section| (section.svma.get(), section.size)).collect();
        code.sort_unstable();
        Ok(ElfFile { machine, build_id, segments, sections, inflated, symbols: OnceLock::new(), code, position_independent, file })
    }

    /// The file's path as it was opened.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The mapped file.
    pub fn file(&self) -> &MappedFile {
        &self.file
    }

    /// Machine code of the file.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The GNU build-id note; `None` where the linker wrote none.
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// Loaded at any address (a shared library, a PIE), rather than at the stated one.
    pub fn is_position_independent(&self) -> bool {
        self.position_independent
    }

    /// The `PT_LOAD` program headers, in their order (ascending addresses).
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Content of a section, decompressed where needed; `None` when there is no such section, it has
    /// no content in the file, or it is damaged. `.zdebug_*` (the old GNU compression) is found by
    /// its modern name.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let index = self.section_index(name)?;
        let section = &self.sections[index];
        let raw = self.file.bytes().get(section.data.clone()?)?;
        if section.inflated.is_none() {
            return Some(raw);
        }
        self.inflated[index].get_or_init(|| self.inflate(section)).as_deref()
    }

    fn section_index(&self, name: &str) -> Option<usize> {
        let position = |name: &[u8]| self.sections.iter().position(|section| &*section.name == name);
        position(name.as_bytes()).or_else(|| position(format!(".z{}", name.strip_prefix('.')?).as_bytes()))
    }

    /// Whether a section is there with content, without decompressing it.
    pub fn has_section(&self, name: &str) -> bool {
        self.section_index(name).is_some_and(|index| self.sections[index].data.as_ref().is_some_and(|data| !data.is_empty()))
    }

    /// Bytes of a section's content, decompressed; 0 when there is none. Nothing is decompressed to tell.
    pub fn section_size(&self, name: &str) -> u64 {
        let Some(section) = self.section_index(name).map(|index| &self.sections[index]) else { return 0 };
        section.inflated.unwrap_or_else(|| section.data.as_ref().map_or(0, |data| data.len() as u64))
    }

    /// Where a section stands in the file's own addresses; `None` when there is none or it is not loaded.
    pub fn section_range(&self, name: &str) -> Option<AddrRange<Svma>> {
        let section = &self.sections[self.section_index(name)?];
        let start = section.svma.get();
        (start != 0).then(|| AddrRange::new(section.svma, Svma::new(start.saturating_add(section.size))))
    }

    /// Compressed sections that were asked for and not read, because they are damaged or unfold to more than sections do.
    pub fn refused(&self) -> Vec<String> {
        let refused = self.sections.iter().zip(&self.inflated).filter(|(_, inflated)| inflated.get().is_some_and(Option::is_none));
        refused.map(|(section, _)| String::from_utf8_lossy(&section.name).into_owned()).collect()
    }

    fn inflate(&self, section: &Section) -> Option<Box<[u8]>> {
        let size = section.inflated?;
        let compressed = section.data.as_ref()?.len() as u64;
        if size > SMALL_SECTION && size / MOST_INFLATION > compressed {
            return None;
        }
        // The object crate knows the three encodings; parsing the headers again costs microseconds.
        let elf = object::File::parse(self.file.bytes()).ok()?;
        let found = elf.sections().find(|s| s.name_bytes().is_ok_and(|name| *name == *section.name))?;
        found.uncompressed_data().ok().map(|data| data.into_owned().into_boxed_slice())
    }

    /// `len` bytes of the file's content as loaded at `svma`; `None` where it has fewer.
    pub fn bytes_at(&self, svma: Svma, len: usize) -> Option<&[u8]> {
        let segment = self.segment_at(svma)?;
        let into = svma.get() - segment.svma.get();
        let end = into.checked_add(len as u64).filter(|&end| end <= segment.file_size)?;
        let offset = segment.offset.get();
        let start = usize::try_from(offset.checked_add(into)?).ok()?;
        self.file.bytes().get(start..usize::try_from(offset.checked_add(end)?).ok()?)
    }

    /// The segment whose content in the file holds `svma`.
    pub fn segment_at(&self, svma: Svma) -> Option<&Segment> {
        self.segments.iter().find(|s| svma >= s.svma && svma.get() - s.svma.get() < s.file_size)
    }

    /// The file's name of its detached debug information and the CRC-32 of that file (`.gnu_debuglink`).
    pub fn debug_link(&self) -> Option<(Vec<u8>, u32)> {
        let elf = object::File::parse(self.file.bytes()).ok()?;
        let (name, crc) = elf.gnu_debuglink().ok()??;
        Some((name.to_vec(), crc))
    }

    /// Name and build-id of the alternate debug file that dwz shares between binaries (`.gnu_debugaltlink`).
    pub fn debug_alt_link(&self) -> Option<(Vec<u8>, Option<BuildId>)> {
        let elf = object::File::parse(self.file.bytes()).ok()?;
        let (name, id) = elf.gnu_debugaltlink().ok()??;
        Some((name.to_vec(), BuildId::new(id)))
    }

    /// The function that holds `svma`: of nested ones the innermost, of several names of one address the best known.
    ///
    /// A symbol with a size ends there, so that code between exported functions of a stripped library stays unnamed.
    pub fn symbol_at(&self, svma: Svma) -> Option<FunctionSymbol<'_>> {
        let index = self.symbol_index();
        let address = svma.get();
        let after = index.entries.partition_point(|entry| entry.start <= address);
        for (entry, &end) in index.entries[..after].iter().zip(&index.ends[..after]).rev().take(MOST_NESTED_SYMBOLS) {
            if end <= address {
                break;
            }
            if address < entry.start.saturating_add(entry.size) {
                return Some(self.symbol(entry));
            }
        }
        None
    }

    /// [`ElfFile::symbol_at`] for many addresses, which must be sorted: one pass over the table, which is
    /// neither sorted nor kept: for a few addresses sorting the table of a large binary would be most of the work.
    pub fn symbols_at(&self, sorted: &[Svma]) -> Vec<Option<FunctionSymbol<'_>>> {
        /// How often a symbol may hold an address before the table is sorted after all: only where a
        /// file has symbols that span everything.
        const MOST_HELD: usize = 64;
        let mut best: Vec<Option<SymbolEntry>> = vec![None; sorted.len()];
        // Of symbols without a size, and of all the nearest start: where a symbol begins, the one before it ends.
        let mut endless: Vec<Option<SymbolEntry>> = vec![None; sorted.len()];
        let mut nearest = vec![0u64; sorted.len()];
        let mut budget = MOST_HELD.saturating_mul(sorted.len()).saturating_add(1 << 16);
        self.for_each_symbol(|symbol| {
            let from = sorted.partition_point(|address| address.get() < symbol.start);
            let Some(first) = nearest.get_mut(from) else { return };
            *first = (*first).max(symbol.start);
            if symbol.size == 0 {
                self.keep_better(&mut endless[from], &symbol);
                return;
            }
            let end = symbol.start.saturating_add(symbol.size);
            for at in from..sorted.len() {
                if sorted[at].get() >= end || budget == 0 {
                    break;
                }
                budget -= 1;
                self.keep_better(&mut best[at], &symbol);
            }
        });
        if budget == 0 {
            return sorted.iter().map(|&address| self.symbol_at(address)).collect();
        }
        let (mut start, mut last) = (0, None::<SymbolEntry>);
        for at in 0..sorted.len() {
            start = start.max(nearest[at]);
            last = endless[at].take().or(last);
            // One without a size reaches to the next symbol or the end of its section.
            let reaches = |symbol: &&SymbolEntry| symbol.start == start && sorted[at].get() < self.code_end(symbol.start);
            if let Some(symbol) = last.as_ref().filter(reaches) {
                self.keep_better(&mut best[at], symbol);
            }
        }
        best.iter().map(|entry| entry.as_ref().map(|entry| self.symbol(entry))).collect()
    }

    fn keep_better(&self, kept: &mut Option<SymbolEntry>, symbol: &SymbolEntry) {
        if kept.as_ref().is_none_or(|kept| self.order(kept, symbol).is_lt()) {
            *kept = Some(symbol.clone());
        }
    }

    /// Of symbols that hold an address, the greatest names it best: the innermost, best known, with the
    /// plainest name (`clone3` rather than `__clone3`), first by name.
    fn order(&self, a: &SymbolEntry, b: &SymbolEntry) -> std::cmp::Ordering {
        let plain = |entry: &SymbolEntry| {
            let name = self.file.bytes().get(entry.name.clone()).unwrap_or_default();
            (name.starts_with(b"__"), &name[..name.len().min(LONGEST_COMPARED_NAME)])
        };
        // Without a size it may be long: one with a size says more.
        let size = |entry: &SymbolEntry| entry.size.wrapping_sub(1);
        (a.start, size(b), b.rank).cmp(&(b.start, size(a), a.rank)).then_with(|| plain(b).cmp(&plain(a)))
    }

    fn symbol(&self, entry: &SymbolEntry) -> FunctionSymbol<'_> {
        let name = self.file.bytes().get(entry.name.clone()).unwrap_or_default();
        FunctionSymbol { name, start: Svma::new(entry.start), size: entry.size }
    }

    /// Every function symbol, by address; symbols without a size in the file reach to the next one.
    pub fn symbols(&self) -> impl Iterator<Item = FunctionSymbol<'_>> {
        self.symbol_index().entries.iter().map(|entry| self.symbol(entry))
    }

    /// Whether there is a full symbol table; `false` also when only exported functions are listed.
    pub fn has_symbol_table(&self) -> bool {
        self.has_section(".symtab")
    }

    fn symbol_index(&self) -> &SymbolIndex {
        self.symbols.get_or_init(|| self.read_symbols())
    }

    /// Calls `each` with every function symbol that has an address and a name.
    fn for_each_symbol(&self, mut each: impl FnMut(SymbolEntry)) {
        let Ok(elf) = object::File::parse(self.file.bytes()) else { return };
        let base = self.file.bytes().as_ptr() as usize;
        for symbols in [elf.symbols(), elf.dynamic_symbols()] {
            for symbol in symbols {
                let rank = match symbol.kind() {
                    SymbolKind::Text => 0,
                    // Hand-written assembly often leaves the type out.
                    SymbolKind::Unknown if symbol.section_index().is_some_and(|index| self.is_code(index.0)) => 4,
                    _ => continue,
                };
                if !symbol.is_definition() && rank == 0 || symbol.address() == 0 {
                    continue;
                }
                let Ok(name) = symbol.name_bytes() else { continue };
                // Mapping symbols of Arm and local labels are no names of functions.
                if name.is_empty() || name.starts_with(b"$") || name.starts_with(b".L") {
                    continue;
                }
                let start = (name.as_ptr() as usize).wrapping_sub(base);
                let weak = if symbol.is_weak() { 1 } else { 0 };
                let local = if symbol.is_local() { 2 } else { 0 };
                each(SymbolEntry {
                    start: symbol.address(),
                    size: symbol.size(),
                    name: start..start + name.len(),
                    rank: rank + weak + local,
                });
            }
        }
    }

    fn read_symbols(&self) -> SymbolIndex {
        let mut entries = Vec::new();
        self.for_each_symbol(|entry| entries.push(entry));
        // The last of several names of one address is found first: the best goes last.
        let bytes = self.file.bytes();
        entries.sort_unstable_by(|a, b| self.order(a, b));
        entries.dedup_by(|a, b| a.start == b.start && a.size == b.size && bytes.get(a.name.clone()) == bytes.get(b.name.clone()));
        // Symbols without a size reach to the next symbol, or to the end of their section.
        let mut next = u64::MAX;
        let mut upcoming = u64::MAX;
        for i in (0..entries.len()).rev() {
            if entries[i].start != upcoming {
                next = upcoming;
                upcoming = entries[i].start;
            }
            if entries[i].size == 0 {
                let limit = self.code_end(entries[i].start).min(next);
                entries[i].size = limit.saturating_sub(entries[i].start);
            }
        }
        let mut most = 0;
        let ends = entries
            .iter()
            .map(|entry| {
                most = most.max(entry.start.saturating_add(entry.size));
                most
            })
            .collect();
        SymbolIndex { entries, ends }
    }

    /// Whether the section with this index of the file's table holds code.
    fn is_code(&self, index: usize) -> bool {
        // The object crate counts from the null section, which it leaves out of `sections()`.
        index.checked_sub(1).and_then(|index| self.sections.get(index)).is_some_and(|section| section.executable)
    }

    /// Where the section with code ends that holds an address.
    fn code_end(&self, address: u64) -> u64 {
        /// Sections that hold one address: more than one only in files that are not linked.
        const MOST_OVERLAPPING: usize = 64;
        let after = self.code.partition_point(|section| section.0 <= address);
        let holding = self.code[..after].iter().rev().take(MOST_OVERLAPPING).find(|&&(start, size)| address - start < size);
        holding.map_or(address, |&(start, size)| start.saturating_add(size))
    }

    /// The jemalloc version string that jemalloc keeps in its data, like `5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c`.
    ///
    /// `None` when jemalloc is not linked into this file, or was built without version information.
    pub fn jemalloc_version(&self) -> Option<&str> {
        [".rodata", ".rodata.str1.1", ".data.rel.ro"].iter().find_map(|name| jemalloc_version(self.section(name)?))
    }
}

fn segment_of(segment: &object::Segment<'_, '_>) -> Segment {
    let (offset, file_size) = segment.file_range();
    let flags = match segment.flags() {
        object::SegmentFlags::Elf { p_flags, .. } => p_flags.0,
        _ => 0,
    };
    Segment {
        svma: Svma::new(segment.address()),
        memory_size: segment.size(),
        offset: FileOffset::new(offset),
        file_size,
        executable: flags & object::elf::PF_X.0 != 0,
        writable: flags & object::elf::PF_W.0 != 0,
    }
}

fn section_of(section: &object::Section<'_, '_>, file_len: u64) -> Section {
    let flags = match section.flags() {
        object::SectionFlags::Elf { sh_flags, .. } => sh_flags.0,
        _ => 0,
    };
    let (data, inflated) = match section.compressed_file_range() {
        Ok(range) => {
            let inflated = (range.format != object::CompressionFormat::None).then_some(range.uncompressed_size);
            let end = range.offset.checked_add(range.compressed_size).filter(|&end| end <= file_len);
            (end.filter(|_| section.file_range().is_some()).map(|end| range.offset as usize..end as usize), inflated)
        }
        Err(_) => (None, None),
    };
    Section {
        name: section.name_bytes().map(|name| &name[..name.len().min(LONGEST_SECTION_NAME)]).unwrap_or_default().into(),
        svma: Svma::new(section.address()),
        size: section.size(),
        executable: flags & object::elf::SHF_EXECINSTR.0 != 0,
        data,
        inflated,
    }
}

/// `\d+.\d+.\d+-\d+-g<40 hex>` (jemalloc `JEMALLOC_VERSION`), the first in `bytes`.
fn jemalloc_version(bytes: &[u8]) -> Option<&str> {
    /// Longest part in front of `-g`: three numbers, the commits since the tag.
    const MOST_FRONT: usize = 24;
    memchr::memmem::find_iter(bytes, b"-g").find_map(|dash| {
        let hash = bytes.get(dash + 2..dash + 42)?;
        if !hash.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let front = &bytes[dash.saturating_sub(MOST_FRONT)..dash];
        let len = front.iter().rev().take_while(|c| c.is_ascii_digit() || matches!(c, b'.' | b'-')).count();
        let front = &front[front.len() - len..];
        let (version, commits) = front.split_at(front.iter().rposition(|&c| c == b'-')?);
        let commits = &commits[1..];
        let numbers: Vec<&[u8]> = version.split(|&c| c == b'.').collect();
        let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if numbers.len() != 3 || !numbers.iter().all(|part| digits(part)) || !digits(commits) {
            return None;
        }
        std::str::from_utf8(&bytes[dash - len..dash + 42]).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_many_addresses_are_those_of_each() {
        let file = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let code = file.section_range(".text").unwrap();
        let addresses: Vec<Svma> = (code.start.get() - 64..code.end.get() + 64).step_by(4099).map(Svma::new).collect();
        let all = file.symbols_at(&addresses);
        let named = all.iter().flatten().count();
        assert!(named * 10 > addresses.len() * 9, "{named} of {}", addresses.len());
        for (&address, symbol) in addresses.iter().zip(all) {
            assert_eq!(symbol, file.symbol_at(address), "{address:#x}");
        }
        assert!(file.symbols_at(&[]).is_empty());
    }

    #[test]
    fn sections_and_segments_agree() {
        let file = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let code = file.section_range(".text").unwrap();
        assert!(file.segment_at(code.start).unwrap().executable);
        assert_eq!(file.bytes_at(code.start, 16).unwrap(), &file.section(".text").unwrap()[..16]);
        assert_eq!(file.bytes_at(Svma::new(u64::MAX - 3), 16), None);
        assert!(file.has_section(".text") && !file.has_section(".no such section"));
    }

    #[test]
    fn version_strings_are_found_and_nothing_else() {
        let version = "5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c";
        let check = |text: String, expected: Option<&str>| assert_eq!(jemalloc_version(text.as_bytes()), expected);
        check(format!("x-g\0{version}\0"), Some(version));
        check(format!("<jemalloc>\x001{version}"), Some(&format!("1{version}")));
        check(version[..48].to_owned(), None);
        check(version.replace("5.3.0", "5.3"), None);
        check(version.replace("-0-", "-"), None);
        check("-g".to_owned(), None);
    }
}
