//! Examines a program file: will it profile, and will its stacks have names?

use super::settings::{Settings, Source};
use super::{Check, Examination, State, allocator};
use crate::address::Svma;
use crate::binary::code::Memory;
use crate::binary::elf::ElfFile;
use crate::capture::launch;
use crate::capture::program::{Jemalloc, Program};
use crate::symbolize::SymbolOptions;
use std::path::{Path, PathBuf};

/// Examines the file of a program or a library.
pub fn program(path: &Path, options: &SymbolOptions) -> Examination {
    let mut report = Examination::new("program", path.display().to_string());
    let facts = match Program::read(path, true) {
        Ok(facts) => facts,
        Err(error) => {
            let remedy = "give an ELF program of 64 bits, a capture, or --pid N";
            report.add(Check::new("file", State::Bad, format!("not a program that can be examined: {error}")).remedy(remedy));
            return report;
        }
    };
    // A shared jemalloc is another file.
    let library = if facts.jemalloc.is_none() && facts.needs_jemalloc { shared_jemalloc(&facts) } else { None };
    let (found, place) = match (&facts.jemalloc, &library) {
        (None, Some((library, jemalloc))) => (Some(jemalloc), library.display().to_string()),
        (own, _) => (own.as_ref(), "it".to_owned()),
    };
    report.checks.extend(allocator::jemalloc(found, &place, &facts));
    if let Some(jemalloc) = found.filter(|jemalloc| jemalloc.profiling) {
        let settings = Settings { sources: built_in(path, jemalloc), ..Settings::default() };
        for source in &settings.sources {
            report.add(Check::new(
                "built_in_settings",
                State::Note,
                format!("{}: {}", source.name, crate::origin::printable(&source.text)),
            ));
        }
        report.checks.extend(settings.checks(jemalloc, false, None));
        if !settings.is_on() {
            report.set = Some((jemalloc.variable.clone(), settings.advised()));
        }
    }
    report.checks.extend(allocator::file(path, Vec::new(), options));
    report
}

/// The shared jemalloc a program would get here.
fn shared_jemalloc(program: &Program) -> Option<(PathBuf, Jemalloc)> {
    launch::libraries(program).find_map(|(path, facts)| Some((path, facts.jemalloc?)))
}

/// Settings that are part of the program: the string its variable `malloc_conf` points to.
pub(super) fn built_in(path: &Path, jemalloc: &Jemalloc) -> Vec<Source> {
    let names = [format!("{}malloc_conf", jemalloc.prefix()), format!("{}malloc_conf_2_conf_harder", jemalloc.prefix())];
    let Ok(variables) = Program::variables(path, &[&names[0], &names[1]]) else { return Vec::new() };
    let Ok(elf) = ElfFile::open(path) else { return Vec::new() };
    let memory = Memory::new(&elf);
    names
        .iter()
        .zip(variables)
        .filter_map(|(name, variable)| {
            let text = memory.pointer(variable?.address)?;
            Some(Source { name: format!("its variable {name}"), text: text_at(&elf, text)? })
        })
        .collect()
}

/// The C string at an address of the file.
fn text_at(elf: &ElfFile, address: u64) -> Option<String> {
    /// As long as a setting reasonably gets.
    const MOST: usize = 4096;
    let longest = (0..).map(|shift| MOST >> shift).take_while(|&len| len > 0);
    let bytes = longest.into_iter().find_map(|len| elf.bytes_at(Svma::new(address), len))?;
    let end = memchr::memchr(0, bytes)?;
    (end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
}
