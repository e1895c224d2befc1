//! What a program file says about itself: build-id, and the jemalloc inside it.
//!
//! Read, not mapped: the file may belong to a running service and be replaced at any moment.
//! jemalloc is found by the strings its C code holds, which stripping leaves in place:
//!
//! ```text
//! \0_RJEM_MALLOC_CONF\0     the variable it reads: the prefix it was built with, in capitals
//! \05.3.0-1-ge13ca993e8ccb9ba9847cc330696e02839f328f7\0     JEMALLOC_VERSION
//! heap_v2/%lu               the head of a dump: present only when built with profiling
//! ```

use crate::address::BuildId;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

/// Facts of one ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The identity of the file.
    pub build_id: Option<BuildId>,
    /// jemalloc, when it is linked into this file.
    pub jemalloc: Option<Jemalloc>,
    /// It asks for a shared jemalloc.
    pub needs_jemalloc: bool,
    /// Statically linked: nothing can be loaded before it.
    pub is_static: bool,
    /// The C library it asks for, where its name tells.
    pub libc: Option<Libc>,
}

/// A C library: what is linked with one does not load into a process of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// GNU's, `libc.so.6`.
    Glibc,
    /// `libc.musl-x86_64.so.1`, or `libc.so` where the compiler is musl's wrapper of another.
    Musl,
}

impl Libc {
    fn of_library(name: &[u8]) -> Option<Libc> {
        match name {
            b"libc.so.6" => Some(Libc::Glibc),
            b"libc.so" => Some(Libc::Musl),
            _ => name.starts_with(b"libc.musl-").then_some(Libc::Musl),
        }
    }
}

impl std::fmt::Display for Libc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Libc::Glibc => "glibc",
            Libc::Musl => "musl",
        })
    }
}

/// A jemalloc inside a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jemalloc {
    /// `5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c`; `None` when it was built without.
    pub version: Option<String>,
    /// The environment variable it reads: `MALLOC_CONF`, or `_RJEM_MALLOC_CONF` when built with that prefix.
    pub variable: String,
    /// Built with `--enable-prof` (the crate feature `profiling`).
    pub profiling: bool,
}

impl Jemalloc {
    /// The prefix of its functions: `_rjem_`, or nothing.
    pub fn prefix(&self) -> String {
        self.variable.trim_end_matches("MALLOC_CONF").to_lowercase()
    }
}

impl Program {
    /// Reads the facts of an ELF file, its constant data for the allocator only if asked. An error when it cannot
    /// be read or is not ELF.
    pub fn read(path: &Path, allocator: bool) -> io::Result<Program> {
        let cache = ReadCache::new(File::open(path)?);
        let elf = parse(&cache)?;
        let build_id = elf.build_id().ok().flatten().and_then(BuildId::new);
        let mut jemalloc = None;
        for section in elf.sections().filter(|_| allocator) {
            // C strings stand in .rodata, or in .rodata.str1.1 and the like.
            let named = section.name().is_ok_and(|name| name.starts_with(".rodata"));
            if named && let Ok(data) = section.data() {
                jemalloc = jemalloc.or_else(|| find_jemalloc(data));
            }
        }
        let libraries = needed(&elf);
        let needs_jemalloc = libraries.iter().any(|name| memchr::memmem::find(name, b"libjemalloc").is_some());
        let is_static = libraries.is_empty() && elf.section_by_name(".interp").is_none();
        let libc = libraries.iter().find_map(|name| Libc::of_library(name));
        Ok(Program { build_id, jemalloc, needs_jemalloc, is_static, libc })
    }

    /// Whether a library of these facts loads into a process of this program, as far as the C libraries tell.
    pub fn takes(&self, library: &Program) -> bool {
        self.libc.zip(library.libc).is_none_or(|(own, other)| own == other)
    }
}

/// Where a variable stands in the address space of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its address.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
}

impl Program {
    /// Finds variables by their names in the symbol table: one entry for each name, `None` where it is not there.
    pub fn variables(path: &Path, names: &[&str]) -> io::Result<Vec<Option<Variable>>> {
        let cache = ReadCache::new(File::open(path)?);
        let elf = parse(&cache)?;
        let mut found = vec![None; names.len()];
        for symbol in elf.symbols().chain(elf.dynamic_symbols()).filter(|symbol| symbol.is_definition()) {
            let Ok(name) = symbol.name() else { continue };
            if let Some(index) = names.iter().position(|wanted| *wanted == name) {
                found[index] = found[index].or(Some(Variable { address: symbol.address(), size: symbol.size() }));
            }
        }
        Ok(found)
    }

    /// The address at which the beginning of the file is to be loaded: 0 for position-independent programs.
    pub fn base(path: &Path) -> io::Result<u64> {
        let cache = ReadCache::new(File::open(path)?);
        let elf = parse(&cache)?;
        Ok(elf.segments().find(|segment| segment.file_range().0 == 0).map_or(0, |segment| segment.address()))
    }
}

type Elf<'data> = ElfFile64<'data, object::Endianness, &'data ReadCache<File>>;

fn parse(cache: &ReadCache<File>) -> io::Result<Elf<'_>> {
    ElfFile64::parse(cache).map_err(|error: object::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// The libraries an ELF file asks for.
fn needed<'data>(elf: &Elf<'data>) -> Vec<&'data [u8]> {
    let libraries = elf.import_libraries().into_iter().flatten();
    // A broken entry ends the list: what was read counts.
    libraries.map_while(Result::ok).map(|library| library.name()).collect()
}

/// Looks for jemalloc's strings.
fn find_jemalloc(data: &[u8]) -> Option<Jemalloc> {
    // Without the NUL that ends them: this program holds these words too, but not as C strings.
    const VARIABLE: &[u8] = b"MALLOC_CONF";
    const MESSAGE: &[u8] = b"environment variable MALLOC_CONF";
    let ends_at = |at: usize, text: &[u8]| data.get(at + text.len()) == Some(&0);
    let variable = memchr::memmem::find_iter(data, VARIABLE).filter(|&at| ends_at(at, VARIABLE)).find_map(|at| {
        let before = data.get(..at)?;
        let prefix = before.iter().rev().take_while(|&&c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_').count();
        let start = at.checked_sub(prefix)?;
        // Prose that ends in the word is not the variable.
        let standalone = start == 0 || data.get(start - 1).is_some_and(|c| !(b' '..=b'~').contains(c));
        (prefix <= 32 && standalone).then(|| String::from_utf8_lossy(&data[start..at + VARIABLE.len()]).into_owned())
    });
    // A linker that shares the ends of strings keeps only this message of jemalloc's for an unprefixed build.
    let shared = || memchr::memmem::find_iter(data, MESSAGE).find(|&at| ends_at(at, MESSAGE)).map(|_| "MALLOC_CONF".to_owned());
    let variable = variable.or_else(shared)?;
    // JEMALLOC_VERSION is made from `git describe`; a build outside git says `0.0.0-0-g0000…`.
    static VERSION: LazyLock<Option<regex::bytes::Regex>> = LazyLock::new(|| {
        regex::bytes::Regex::new(r"(?-u)(?:^|[^ -~])([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}-[0-9]{1,6}-g[0-9A-Za-z_]{1,64})\x00").ok()
    });
    let version = VERSION.as_ref().and_then(|regex| {
        let found = regex.captures(data)?.get(1)?;
        Some(String::from_utf8_lossy(found.as_bytes()).into_owned())
    });
    let profiling = memchr::memmem::find(data, b"heap_v2/%").is_some();
    Some(Jemalloc { version, variable, profiling })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_tell_prefix_version_and_profiling() {
        let version = "5.3.0-1-ge13ca993e8ccb9ba9847cc330696e02839f328f7";
        let found = find_jemalloc(format!("x\0_RJEM_MALLOC_CONF\0heap_v2/%lu\n\0{version}\0").as_bytes()).unwrap();
        assert_eq!((found.variable.as_str(), found.version.as_deref(), found.profiling), ("_RJEM_MALLOC_CONF", Some(version), true));
        assert_eq!(found.prefix(), "_rjem_");
        let plain = find_jemalloc(b"MALLOC_CONF\0").unwrap();
        assert_eq!((plain.prefix(), plain.version, plain.profiling), (String::new(), None, false));
    }

    #[test]
    fn mentions_of_the_variable_are_not_jemalloc() {
        assert_eq!(find_jemalloc(b"set _RJEM_MALLOC_CONF or MALLOC_CONF to"), None);
        assert_eq!(find_jemalloc(b"please set MALLOC_CONF\0"), None);
        let shared = find_jemalloc(b"value of the environment variable MALLOC_CONF\0").unwrap();
        assert_eq!(shared.variable, "MALLOC_CONF", "the standalone string was merged into the message");
    }

    #[test]
    fn libraries_of_another_c_library_do_not_load() {
        let linked = |libc: &[u8]| Program { libc: Libc::of_library(libc), ..Program::default() };
        let (glibc, musl) = (linked(b"libc.so.6"), linked(b"libc.musl-x86_64.so.1"));
        assert_eq!(linked(b"libc.so").libc, Some(Libc::Musl));
        assert!(glibc.takes(&glibc) && musl.takes(&musl) && musl.takes(&linked(b"libm.so.6")));
        assert!(!glibc.takes(&musl) && !musl.takes(&glibc));
    }

    #[test]
    fn a_program_without_jemalloc_has_none() {
        let program = Program::read(Path::new("/bin/sh"), true).unwrap();
        assert_eq!((program.jemalloc, program.needs_jemalloc, program.is_static), (None, false, false));
        assert_eq!(Program::read(Path::new("/proc/self/status"), true).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
