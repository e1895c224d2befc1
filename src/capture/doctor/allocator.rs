//! Which allocator a program has, how its debug information and its unwinding are: what is read from files.

use super::{Check, State};
use crate::address::{AddrRange, Avma, FileOffset};
use crate::binary::elf::ElfFile;
use crate::binary::unwind::UnwindTable;
use crate::capture::launch;
use crate::capture::program::{Jemalloc, Libc, Program};
use crate::model::frame::{DebugInfo, ModuleStatus, ModuleSymbols};
use crate::model::mapping::{AddressSpace, Mapping};
use crate::model::stack::StackTable;
use crate::symbolize::{BinaryArg, RecordedModule, SymbolOptions, proof, symbolize};
use crate::units::percent;
use std::path::Path;

/// What can be said of the jemalloc in a program or its libraries.
pub(super) fn jemalloc(found: Option<&Jemalloc>, place: &str, program: &Program) -> Vec<Check> {
    let Some(jemalloc) = found else {
        let finding = match program.needs_jemalloc {
            true => format!("{place} asks for a shared libjemalloc, which was not found here"),
            false => format!("no jemalloc in {place}"),
        };
        const BUILD_IN: &str = "build jemalloc in (in Rust: tikv-jemallocator with the feature `profiling` as #[global_allocator])";
        let remedy = match program.libc {
            _ if program.is_static => format!("{BUILD_IN}: it is statically linked, so none can be loaded before it"),
            Some(Libc::Musl) if launch::libraries(program).next().is_none() => {
                format!("{BUILD_IN}: it is linked with musl, and no jemalloc for musl is installed here that could be loaded before it")
            }
            _ => format!("start it with `heaptriage record --preload -- CMD...`, or {BUILD_IN}"),
        };
        return vec![Check::new("jemalloc", if program.needs_jemalloc { State::Doubt } else { State::Bad }, finding).remedy(remedy)];
    };
    let version = jemalloc.version.as_deref().map_or_else(|| "of unknown version".to_owned(), short);
    let prefix = match jemalloc.prefix().as_str() {
        "" => "unprefixed: it serves malloc of the whole process".to_owned(),
        prefix => format!("functions prefixed {prefix}: C libraries keep the C library's malloc"),
    };
    let mut checks =
        vec![Check::new("jemalloc", State::Good, format!("jemalloc {version} in {place}, {prefix}; it reads {}", jemalloc.variable))];
    checks.push(if jemalloc.profiling {
        Check::new("profiling_built", State::Good, "built with profiling")
    } else {
        Check::new("profiling_built", State::Bad, "built without profiling: no heap dumps")
            .remedy("build jemalloc with --enable-prof (in Rust: the feature `profiling` of tikv-jemallocator)")
    });
    checks
}

/// `5.3.0` of `5.3.0-1-ge13ca993…`.
pub(super) fn short(version: &str) -> String {
    let numbers = version.split('-').next().unwrap_or(version);
    if numbers == "0.0.0" { "of unknown version (built outside git)".to_owned() } else { numbers.to_owned() }
}

/// Debug information, build-id and unwinding of a file. `mappings` are where it is in a process, or empty.
pub(super) fn file(path: &Path, mappings: Vec<Mapping>, options: &SymbolOptions) -> Vec<Check> {
    let elf = match ElfFile::open(path) {
        Ok(elf) => elf,
        Err(error) => return vec![Check::new("file", State::Bad, format!("it cannot be read: {error}"))],
    };
    let mut checks = Vec::new();
    let module = symbols(&elf, path, mappings, options);
    let level = module.as_ref().map_or(DebugInfo::None, |module| module.debug_info);
    let from = module
        .as_ref()
        .and_then(|module| module.file.as_deref())
        .filter(|file| Path::new(file) != path)
        .map_or_else(String::new, |file| format!(" (in {})", crate::origin::printable(file)));
    let remedy = "build with debug = \"line-tables-only\" or more (C and C++: -g) and keep it: strip into a debug file with the same build-id, pass it with --debug-dir";
    checks.push(match level {
        DebugInfo::Full => Check::new("debug_info", State::Good, format!("full debug information{from}: inlined calls, lines and types")),
        DebugInfo::Lines => Check::new(
            "debug_info",
            State::Good,
            format!("debug information without types{from}: inlined calls and lines, but `sites` cannot look for skipped destructors"),
        )
        .remedy("debug = 2 in the release profile, for `sites` and `owners`"),
        DebugInfo::Names => Check::new(
            "debug_info",
            State::Doubt,
            "no debug information, only function names: inlined functions vanish from stacks, and lines",
        )
        .remedy(remedy),
        DebugInfo::None => Check::new("debug_info", State::Bad, "neither debug information nor function names").remedy(remedy),
    });
    if elf.build_id().is_none() {
        let finding = "no build-id: nothing can prove that a binary is the one that ran";
        checks.push(Check::new("build_id", State::Doubt, finding).remedy("link with -Wl,--build-id"));
    }
    checks.extend(unwinding(&elf));
    checks
}

/// Whether jemalloc's unwinder will find its way through the program.
fn unwinding(elf: &ElfFile) -> Vec<Check> {
    /// Of a program without tables only the start-up code of the C library is covered: a tenth of the smallest.
    const LEAST: f64 = 0.25;
    /// A linked-in library without tables ends stacks that go through it. Padding is not covered either, ...
    const MOST: f64 = 0.75;
    /// ... nor are some hundred bytes of start-up code, which are much of a small program.
    const SMALL: u64 = 16 * 1024;
    let mut checks = Vec::new();
    let interpreter = elf.section(".interp").map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    let covered = UnwindTable::read(elf).share_of(elf, ".text");
    if covered < LEAST {
        let tables = match elf.has_section(".eh_frame") {
            true => format!("unwind tables (.eh_frame) for {} of the code only", percent(covered, 1.0)),
            false => "no unwind tables (.eh_frame)".to_owned(),
        };
        checks.push(
            Check::new("unwinding", State::Bad, format!("{tables}: stacks end at the allocator"))
                .remedy("build with -C force-unwind-tables=yes (C and C++: -fasynchronous-unwind-tables)"),
        );
    } else if covered < MOST && elf.section_size(".text") > SMALL {
        checks.push(
            Check::new(
                "unwinding",
                State::Doubt,
                format!("unwind tables (.eh_frame) cover {} of the code: stacks through the rest end there", percent(covered, 1.0)),
            )
            .remedy("build the C and C++ parts with -fasynchronous-unwind-tables"),
        );
    } else if interpreter.as_deref().is_some_and(|path| path.contains("musl")) {
        checks.push(
            Check::new("unwinding", State::Doubt, "linked with musl, where jemalloc's default unwinder often sees one frame only").remedy(
                "look at a dump with `heaptriage doctor DUMP`; if its stacks have one frame, build jemalloc with --enable-prof-libunwind",
            ),
        );
    } else {
        let libc = match interpreter {
            Some(path) => format!("loaded by {}", crate::origin::printable(&path)),
            None if elf.has_section(".dynamic") => "a library or statically linked".to_owned(),
            None => "statically linked".to_owned(),
        };
        checks.push(Check::new("unwinding", State::Good, format!("unwind tables are there; {libc}")));
    }
    checks
}

/// How much the file and its debug file tell: names some addresses of it, as a profile would.
fn symbols(elf: &ElfFile, path: &Path, mappings: Vec<Mapping>, options: &SymbolOptions) -> Option<ModuleSymbols> {
    /// Spread over the code, so that they fall into most of its larger units.
    const ADDRESSES: u64 = 256;
    use std::os::unix::ffi::OsStrExt;
    let mappings = if mappings.is_empty() {
        // As the kernel would map it at address 0: whole pages.
        const PAGE: u64 = 4096;
        let of = |segment: &crate::binary::elf::Segment| {
            let start = segment.svma.get() & !(PAGE - 1);
            let end = segment.svma.get().saturating_add(segment.file_size).div_ceil(PAGE).saturating_mul(PAGE);
            Mapping {
                range: AddrRange::new(Avma::new(start), Avma::new(end)),
                perms: if segment.executable { *b"r-xp" } else { *b"r--p" },
                offset: FileOffset::new(segment.offset.get() & !(PAGE - 1)),
                device: (0, 0),
                inode: 1,
                name: std::path::absolute(path).unwrap_or_default().as_os_str().as_bytes().into(),
            }
        };
        elf.segments().iter().map(of).collect()
    } else {
        mappings
    };
    // Without a build-id the file proves itself by its calls.
    let own: Vec<&Mapping> = mappings.iter().collect();
    let calls = proof::call_sites(elf, &own, ADDRESSES);
    let code: Vec<AddrRange<Avma>> = mappings.iter().filter(|mapping| mapping.is_executable()).map(|mapping| mapping.range).collect();
    let mut stacks = StackTable::new();
    for &address in &calls {
        stacks.intern(&[crate::address::ReturnAddress::new(address.get())]);
    }
    for range in code.into_iter().filter(|_| calls.is_empty()) {
        let step = (range.len() / ADDRESSES).max(1);
        for at in (0..ADDRESSES).map(|i| range.start.get().saturating_add(i.saturating_mul(step)).saturating_add(1)) {
            stacks.intern(&[crate::address::ReturnAddress::new(at)]);
        }
    }
    let name = mappings.first()?.display_name().into_owned();
    // Made-up addresses are of no use to later runs.
    let mut options = SymbolOptions { cache: None, ..options.clone() };
    options.binaries.push(BinaryArg { module: None, path: path.to_owned() });
    let recorded = elf.build_id().map(|id| RecordedModule { path: name.trim_end_matches(" (deleted)").to_owned(), build_id: id.clone() });
    options.recorded.extend(recorded);
    let (symbols, _) = symbolize(&stacks, &AddressSpace::new(mappings), &options);
    symbols.modules.into_iter().find(|module| matches!(module.status, ModuleStatus::Ok | ModuleStatus::Unproven))
}
