//! Is this file the one that ran? Answered from the file and the process's mappings.
//!
//! Two proofs: the build-id, where the capture recorded it; else the layout. A layout agrees when
//! every mapping of the module is a piece of one of the file's segments at one common load address,
//! and the return addresses of the dump stand right after call instructions in the file. A rebuilt
//! binary often keeps its segments' pages, so layout alone convinces nobody: the calls do, since
//! they move with every change before them.
//!
//! ```text
//!   file     |  r--  |     r-x      | r-- | rw- |          PT_LOAD headers: offset, size, svma
//!   process  |  r--p |     r-xp     | r--p| rw-p|  bias = avma - svma, the same for each
//! ```

use crate::address::{Avma, Svma};
use crate::binary::elf::{ElfFile, Machine, Segment};
use crate::model::mapping::Mapping;

/// What the mappings and the return addresses say about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every mapping fits and the calls are where they should be.
    Proven(Layout),
    /// Nothing contradicts, and too little supports.
    Possible(Layout),
    /// The file contradicts the process: the reason, to follow "because".
    Refuted(String),
}

/// How the file was loaded: the difference between addresses in the process and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `avma - svma`, modulo 2^64.
    pub bias: u64,
}

impl Layout {
    /// The file's own address of an address in the process.
    pub fn svma(self, avma: Avma) -> Svma {
        Svma::new(avma.get().wrapping_sub(self.bias))
    }
}

/// Page sizes a mapping may be rounded to: x86-64; arm64 with 16 and 64 KiB kernels.
const PAGE_SIZES: [u64; 3] = [4 << 10, 16 << 10, 64 << 10];
/// Share of return addresses that may fail to follow a call in the right file: garbage of frame-pointer
/// unwinding, hand-written assembly. A random address follows what looks like a call in some 2 % of cases.
const MOST_STRAY: f64 = 0.05;
/// Share of return addresses that follow no call from which on the file is another one.
const REFUTING_STRAY: f64 = 0.1;

/// Compares a file with the mappings of one module and the return addresses seen in it.
pub fn layout(file: &ElfFile, mappings: &[&Mapping], returns: &[Avma]) -> Verdict {
    let mut best = None;
    for page in PAGE_SIZES {
        match bias(file, mappings, page) {
            Ok(bias) => return with_calls(file, Layout { bias }, returns),
            Err(reason) => best.get_or_insert(reason),
        };
    }
    Verdict::Refuted(best.unwrap_or_default())
}

/// The layout of a file that holds debug information only: its segments have kept their addresses and
/// sizes in memory but not their content. Its identity must be proven by build-id.
pub fn layout_in_memory(file: &ElfFile, mappings: &[&Mapping]) -> Option<Layout> {
    PAGE_SIZES.iter().find_map(|&page| {
        let segment = file.segments().iter().find(|s| s.executable && s.memory_size > 0)?;
        let start = segment.svma.get() & !(page - 1);
        let end = segment.svma.get().checked_add(segment.memory_size)?.checked_next_multiple_of(page)?;
        let code = mappings.iter().find(|m| m.is_executable() && m.range.len() == end - start)?;
        Some(Layout { bias: code.range.start.get().wrapping_sub(start) })
    })
}

/// Up to `count` addresses that follow calls, spread over the code of a file as it is mapped: what a profile of it would hold.
pub fn call_sites(file: &ElfFile, mappings: &[&Mapping], count: u64) -> Vec<Avma> {
    /// Where no call follows for so long there is data, or padding.
    const FARTHEST: u64 = 4096;
    let Some(bias) = PAGE_SIZES.iter().find_map(|&page| bias(file, mappings, page).ok()) else { return Vec::new() };
    let mut found = Vec::new();
    for segment in file.segments().iter().filter(|segment| segment.executable) {
        let step = (segment.file_size / count.max(1)).max(1);
        let end = segment.svma.get().saturating_add(segment.file_size);
        let mut at = segment.svma.get();
        while at < end {
            let call = (at + 1..end.min(at + FARTHEST)).find(|&at| follows_call(file, Svma::new(at)) == Some(true));
            found.extend(call.map(|at| Avma::new(at.wrapping_add(bias))));
            at = call.unwrap_or(at).max(at.saturating_add(step));
        }
    }
    found
}

/// The common load address, or why there is none.
fn bias(file: &ElfFile, mappings: &[&Mapping], page: u64) -> Result<u64, String> {
    let mut common: Option<u64> = None;
    // Code first: it fits one segment only, while read-only mappings may fit two that share a page of the file.
    let (code, data): (Vec<&Mapping>, Vec<&Mapping>) = mappings.iter().partition(|m| m.is_executable());
    for mapping in code.into_iter().chain(data) {
        let candidates: Vec<u64> = file.segments().iter().filter_map(|segment| fits(segment, mapping, page)).collect();
        let agreed = match common {
            None => candidates.first().copied(),
            Some(bias) => candidates.contains(&bias).then_some(bias),
        };
        let Some(bias) = agreed else {
            return Err(format!("its segments do not match the mapping at {:#x} (offset {:#x})", mapping.range.start, mapping.offset));
        };
        common = Some(bias);
    }
    let Some(bias) = common else {
        return Err("the dump lists no mapping of it".to_owned());
    };
    if !file.is_position_independent() && bias != 0 {
        return Err("it is linked for a fixed address and the module ran at another".to_owned());
    }
    // The other way round: the mapped code ends where the file's code ends.
    for segment in file.segments().iter().filter(|s| s.executable && s.file_size > 0) {
        let (start, end) = pages_of(segment, page);
        let (start, end) = (start.wrapping_add(bias), end.wrapping_add(bias));
        let executable = |m: &&&Mapping| m.is_executable();
        let covers = |address: u64| mappings.iter().filter(executable).any(|m| m.range.contains(Avma::new(address)));
        if mappings.iter().any(|m| m.is_executable()) && !(covers(start) && covers(end.wrapping_sub(1))) {
            return Err(format!("its code has {:#x} bytes, which is not what was mapped", segment.file_size));
        }
    }
    Ok(bias)
}

/// First and last page of a segment's content, as the loader maps it.
fn pages_of(segment: &Segment, page: u64) -> (u64, u64) {
    let start = segment.svma.get() & !(page - 1);
    let end = segment.svma.get().saturating_add(segment.file_size).checked_next_multiple_of(page).unwrap_or(u64::MAX);
    (start, end)
}

/// The bias under which a mapping is a piece of a segment; `None` when it cannot be.
fn fits(segment: &Segment, mapping: &Mapping, page: u64) -> Option<u64> {
    if segment.file_size == 0 || (mapping.is_executable() && !segment.executable) {
        return None;
    }
    let low = segment.offset.get() & !(page - 1);
    let high = segment.offset.get().checked_add(segment.file_size)?.checked_next_multiple_of(page)?;
    let start = mapping.offset.get();
    let end = start.checked_add(mapping.range.len())?;
    // The kernel joins neighbors of equal rights, so data may reach over into the next segment.
    if start < low || start >= high || (mapping.is_executable() && end > high) || segment.svma.get() % page != segment.offset.get() % page {
        return None;
    }
    // Where the mapping's first byte stands in the file's own addresses.
    let svma = start.wrapping_sub(segment.offset.get()).wrapping_add(segment.svma.get());
    Some(mapping.range.start.get().wrapping_sub(svma))
}

fn with_calls(file: &ElfFile, layout: Layout, returns: &[Avma]) -> Verdict {
    let judged: Vec<bool> = returns.iter().filter_map(|&address| follows_call(file, layout.svma(address))).collect();
    let stray = judged.iter().filter(|&&follows| !follows).count();
    let share = stray as f64 / judged.len().max(1) as f64;
    if share >= REFUTING_STRAY {
        return Verdict::Refuted(format!("{stray} of {} return addresses do not follow a call in it", judged.len()));
    }
    if !judged.is_empty() && share <= MOST_STRAY {
        return Verdict::Proven(layout);
    }
    Verdict::Possible(layout)
}

/// Whether the instruction before a return address is a call; `None` where that cannot be judged:
/// another machine, or an address outside the file's code.
fn follows_call(file: &ElfFile, returned: Svma) -> Option<bool> {
    /// The longest call before a return address on x86-64: `call *disp32(base, index)` with a REX prefix.
    const LONGEST: u64 = 8;
    let segment = file.segment_at(Svma::new(returned.get().checked_sub(1)?)).filter(|s| s.executable)?;
    let available = returned.get() - segment.svma.get();
    let len = available.min(LONGEST);
    let before = file.bytes_at(Svma::new(returned.get() - len), len as usize)?;
    match file.machine() {
        // libc keeps a `nop` before the function that signal handlers return to, whose start is an address in stacks.
        Machine::X86_64 if before.last() == Some(&0x90) => None,
        Machine::X86_64 => Some(is_x86_call(before)),
        Machine::Aarch64 => {
            let word = u32::from_le_bytes(*before.last_chunk::<4>()?);
            // BL, BLR and the pointer-authenticating BLRAA.. of the Arm manual, C6.2.
            Some(word >> 26 == 0b100101 || word & 0xffff_fc1f == 0xd63f_0000 || word & 0xfeff_f800 == 0xd63f_0800)
        }
        Machine::Other => None,
    }
}

/// Whether bytes end in a call: `E8 rel32`, or `FF /2` with each form of its operand
/// (Intel SDM volume 2, "CALL").
fn is_x86_call(before: &[u8]) -> bool {
    let at = |back: usize| before.get(before.len().checked_sub(back)?).copied();
    if at(5) == Some(0xe8) {
        return true;
    }
    // Length of `FF modrm [sib] [disp]` by its operand; each is tried where it would begin.
    (2..=7).any(|length| {
        let (Some(0xff), Some(modrm)) = (at(length), at(length - 1)) else { return false };
        if modrm >> 3 & 7 != 2 {
            return false;
        }
        let (mode, rm) = (modrm >> 6, modrm & 7);
        let sib = mode != 3 && rm == 4;
        let base = if sib { at(length - 2) } else { None };
        let displacement = match mode {
            0 if rm == 5 || base.is_some_and(|sib| sib & 7 == 5) => 4,
            1 => 1,
            2 => 4,
            _ => 0,
        };
        length == 2 + usize::from(sib) + displacement
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_bytes() {
        let yes: [&[u8]; 8] = [
            &[0, 0, 0, 0xe8, 1, 2, 3, 4],
            &[0, 0xff, 0xd0],                // call *%rax
            &[0x41, 0xff, 0x54, 0x24, 0x18], // call *0x18(%r12)
            &[0xff, 0x15, 1, 2, 3, 4],       // call *x(%rip)
            &[0xff, 0x93, 1, 2, 3, 4],       // call *x(%rbx)
            &[0xff, 0x50, 0x18],             // call *0x18(%rax)
            &[0xff, 0x14, 0xc8],             // call *(%rax,%rcx,8)
            &[0xff, 0x94, 0xc8, 1, 2, 3, 4], // call *x(%rax,%rcx,8)
        ];
        for bytes in yes {
            assert!(is_x86_call(bytes), "{bytes:x?}");
        }
        let no: [&[u8]; 7] = [&[0, 0xff, 0x14], &[], &[0xff], &[0x90; 8], &[0xff, 0xe0], &[0xff, 0x25, 1, 2, 3, 4], &[0xe9, 1, 2, 3, 4]];
        for bytes in no {
            assert!(!is_x86_call(bytes), "{bytes:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..9)) {
            is_x86_call(&bytes);
        }
    }
}
