//! A pprof profile as stacks, names and counts.

use crate::address::{AddrRange, Avma, BuildId, FileOffset, ReturnAddress, Svma};
use crate::input::pprof::{RawFile, RawFrame, RawLocation, RawPprof};
use crate::model::frame::{DebugInfo, Frame, ModuleId, ModuleStatus, ModuleSymbols, Symbols, Unresolved};
use crate::model::heap::{Family, HeapProfile, Sample, Sampled, Sampling, Unbias};
use crate::model::mapping::{AddressSpace, Mapping};
use crate::model::role::{role_of, role_of_unnamed};
use crate::model::stack::{AddressId, StackTable};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A pprof profile over `stacks`, and its names in `symbols`, which covers the same addresses; both get
/// what is new. Its numbers are estimates by its writer and are taken as they are.
///
/// Identity is the address, unless the same address has another name already (another process, a location
/// without address): then one is made up, with the topmost bit set.
pub fn pprof(raw: &RawPprof, stacks: &mut StackTable, symbols: &mut Symbols) -> HeapProfile {
    let modules: Vec<ModuleId> = raw.mappings.iter().map(|file| module(file, symbols)).collect();
    let ids: Vec<u32> = raw.locations.iter().map(|location| address(location, raw, &modules, stacks, symbols).0).collect();
    let samples = raw.samples.iter().map(|sample| {
        let stack: Vec<u32> = sample.stack.iter().filter_map(|&location| ids.get(location as usize).copied()).collect();
        Sample {
            stack: stacks.intern_ids(&stack),
            live: Sampled { objects: sample.live.0, bytes: sample.live.1 },
            accumulated: Sampled { objects: sample.accumulated.0, bytes: sample.accumulated.1 },
        }
    });
    HeapProfile {
        family: Family::Pprof,
        sampling: Sampling::Exact,
        accumulated: raw.accumulated,
        unbias: Unbias::Unknown,
        header: None,
        threads: Vec::new(),
        samples: samples.collect(),
        thread_samples: Vec::new(),
        mappings: AddressSpace::new(raw.mappings.iter().filter(|file| file.start < file.end).map(mapping).collect()),
        truncated: false,
    }
}

fn mapping(file: &RawFile) -> Mapping {
    Mapping {
        range: AddrRange::new(Avma::new(file.start), Avma::new(file.end)),
        perms: *b"r-xp",
        offset: FileOffset::new(file.offset),
        device: (0, 0),
        inode: 0,
        name: file.path.as_bytes().into(),
    }
}

fn module(file: &RawFile, symbols: &mut Symbols) -> ModuleId {
    let build_id = BuildId::from_hex(&file.build_id);
    let known = symbols.modules.iter().position(|m| m.path == file.path && m.build_id == build_id);
    let index = known.unwrap_or_else(|| {
        let name = file.path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("?");
        symbols.modules.push(ModuleSymbols {
            name: name.to_owned(),
            path: file.path.clone(),
            file: None,
            debug_files: Default::default(),
            build_id,
            status: ModuleStatus::FromInput,
            debug_info: DebugInfo::None,
            addresses: 0,
            symbolized: 0,
            remedy: None,
        });
        symbols.modules.len() - 1
    });
    ModuleId(index as u32)
}

/// The id of a location's address, with its frames in `symbols`.
fn address(location: &RawLocation, raw: &RawPprof, modules: &[ModuleId], stacks: &mut StackTable, symbols: &mut Symbols) -> AddressId {
    let file = location.mapping.and_then(|mapping| raw.mappings.get(mapping as usize));
    let module = location.mapping.and_then(|mapping| modules.get(mapping as usize).copied());
    let frames = frames(location, file, module, symbols);
    // Addresses of a pprof lie inside the call; those of a stack table after it.
    let real = location.address.checked_add(1).filter(|_| location.address != 0);
    let made_up = made_up(location, file);
    for candidate in real.into_iter().chain([made_up]) {
        let id = stacks.intern_address(ReturnAddress::new(candidate));
        if id.index() >= symbols.len() {
            while symbols.len() < id.index() {
                symbols.push([]);
            }
            count(module, &frames, symbols);
            symbols.push(frames);
            return id;
        }
        if symbols.frames(id) == frames || candidate == made_up {
            return id;
        }
    }
    AddressId(0)
}

fn count(module: Option<ModuleId>, frames: &[Frame], symbols: &mut Symbols) {
    let Some(module) = module.and_then(|module| symbols.modules.get_mut(module.0 as usize)) else { return };
    module.addresses += 1;
    if frames.iter().all(|frame| frame.unresolved.is_none()) {
        module.symbolized += 1;
        let lines = frames.iter().any(|frame| frame.line.is_some());
        let found = if lines { DebugInfo::Lines } else { DebugInfo::Names };
        // The best of them comes first in the order of the type.
        module.debug_info = module.debug_info.min(found);
    }
}

fn frames(location: &RawLocation, file: Option<&RawFile>, module: Option<ModuleId>, symbols: &mut Symbols) -> Vec<Frame> {
    let svma = file
        .filter(|file| location.address >= file.start)
        .map(|file| Svma::new((location.address - file.start).saturating_add(file.offset)));
    let path = file.map(|file| file.path.as_str());
    let last = location.frames.len().saturating_sub(1);
    if location.frames.is_empty() {
        let name = match (module.and_then(|m| symbols.modules.get(m.0 as usize)), svma) {
            (Some(module), Some(svma)) => format!("{}+{svma:#x}", module.name),
            _ => format!("{:#x}", location.address),
        };
        return vec![Frame {
            function: symbols.names.intern(&name),
            linkage: None,
            file: None,
            line: None,
            module,
            svma,
            inlined: false,
            role: role_of_unnamed(path.unwrap_or_default()),
            unresolved: Some(if module.is_some() { Unresolved::NoSymbol } else { Unresolved::Unmapped }),
        }];
    }
    let named = location.frames.iter().enumerate().map(|(i, raw): (usize, &RawFrame)| Frame {
        function: symbols.names.intern(&raw.function),
        linkage: (!raw.system_name.is_empty() && raw.system_name != raw.function).then(|| symbols.names.intern(&raw.system_name)),
        file: (!raw.file.is_empty()).then(|| symbols.names.intern(&raw.file)),
        line: (raw.line > 0).then_some(raw.line),
        module,
        svma,
        inlined: i != last,
        role: role_of(&raw.function, (!raw.file.is_empty()).then_some(raw.file.as_str()), path),
        unresolved: None,
    });
    named.collect()
}

/// An identity for a place whose address is unknown or taken: the same place gives the same one.
fn made_up(location: &RawLocation, file: Option<&RawFile>) -> u64 {
    let mut hasher = DefaultHasher::new();
    file.map(|file| (&file.path, &file.build_id, location.address.wrapping_sub(file.start))).hash(&mut hasher);
    for frame in &location.frames {
        (&frame.function, &frame.file, frame.line).hash(&mut hasher);
    }
    hasher.finish() | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::pprof::RawSample;

    fn profile(address: u64, function: &str) -> RawPprof {
        let frame = |function: &str, line| RawFrame { function: function.to_owned(), file: "a.rs".to_owned(), line, ..RawFrame::default() };
        RawPprof {
            samples: vec![RawSample { stack: vec![0], live: (1, 10), accumulated: (0, 0) }],
            locations: vec![RawLocation { mapping: Some(0), address, frames: vec![frame("inlined", 3), frame(function, 7)] }],
            mappings: vec![RawFile { start: 0x1000, end: 0x2000, offset: 0, path: "/bin/app".to_owned(), build_id: "abcd".to_owned() }],
            live: true,
            ..RawPprof::default()
        }
    }

    #[test]
    fn names_come_with_the_input() {
        let (mut stacks, mut symbols) = (StackTable::new(), Symbols::default());
        let heap = pprof(&profile(0x1100, "f"), &mut stacks, &mut symbols);
        let id = stacks.stack(heap.samples[0].stack).next().unwrap();
        assert_eq!(stacks.address(id).lookup(), Avma::new(0x1100));
        let names: Vec<(&str, bool)> = symbols.frames(id).iter().map(|f| (symbols.function(f), f.inlined)).collect();
        assert_eq!(names, [("inlined", true), ("f", false)]);
        assert_eq!((symbols.modules[0].addresses, symbols.modules[0].symbolized), (1, 1));
        assert_eq!(symbols.modules[0].debug_info, DebugInfo::Lines);
    }

    #[test]
    fn an_address_never_takes_the_name_of_another() {
        let (mut stacks, mut symbols) = (StackTable::new(), Symbols::default());
        let mut name = |raw: &RawPprof| {
            let heap = pprof(raw, &mut stacks, &mut symbols);
            let id = stacks.stack(heap.samples[0].stack).next().unwrap();
            (symbols.function(symbols.frames(id).last().unwrap()).to_owned(), id)
        };
        let (first, second, again) = (name(&profile(0x1100, "f")), name(&profile(0x1100, "g")), name(&profile(0x1100, "f")));
        assert_eq!((first.0.as_str(), second.0.as_str()), ("f", "g"));
        assert_eq!(first, again);
        let (nowhere, elsewhere) = (name(&profile(0, "h")), name(&profile(0, "i")));
        assert_eq!((nowhere.0.as_str(), elsewhere.0.as_str()), ("h", "i"));
    }
}
