//! Machine code reduced to what a path walk needs: calls, jumps, branches, returns and the addresses that are taken.
//!
//! Everything between two steps runs straight through. Decoding is behind [`decoder`]: x86-64 with
//! iced-x86; other machines have none, and callers say so. No emulation, no values: an indirect jump
//! is resolved only when it is a jump table of the usual form, otherwise the code is marked incomplete.

use super::elf::{ElfFile, Machine};
use crate::address::Svma;
use hashbrown::{HashMap, HashSet};
use object::{Object, ObjectSymbol, ObjectSymbolTable, RelocationTarget};
use rustc_hash::FxBuildHasher;

/// What ends a straight run of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A call; `None` when the target is computed at run time.
    Call(Option<u64>),
    /// A conditional jump.
    Branch(u64),
    /// An unconditional jump; `None` when the target is computed at run time and no jump table was recognised.
    Jump(Option<u64>),
    /// One target of a jump table: as many steps at one address as the table has targets.
    Switch(u64),
    /// A return.
    Return,
    /// `ud2`, `int3`, `hlt`: nothing runs after it.
    Stop,
}

/// A control-flow instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Address of the instruction.
    pub at: u64,
    /// Address after it.
    pub next: u64,
    /// What it does.
    pub flow: Flow,
}

/// The skeleton of a function's machine code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Control-flow instructions by address; the targets of a jump table follow each other at its address.
    pub steps: Vec<Step>,
    /// Addresses that instructions take or read relative to the program counter: (instruction, address). For
    /// slots of the global offset table, the address that the slot holds.
    pub references: Vec<(u64, u64)>,
    /// Bytes that were no instruction, or a part of the function that is not in the file.
    pub damaged: bool,
}

impl Code {
    /// The steps at or after `address`, in order.
    pub fn from(&self, address: u64) -> &[Step] {
        &self.steps[self.steps.partition_point(|step| step.at < address)..]
    }
}

/// Turns bytes into a skeleton.
pub trait Decode: Sync {
    /// Decodes the code at `start`. `slots` gives the value of pointers in relocated data; `table` gives the
    /// entries of a jump table at an address: 32-bit offsets relative to it.
    fn decode(&self, bytes: &[u8], start: u64, memory: &Memory<'_>, code: &mut Code);
}

/// The decoder for a machine; `None` where there is none.
pub fn decoder(machine: Machine) -> Option<&'static dyn Decode> {
    match machine {
        Machine::X86_64 => Some(&X86),
        Machine::Aarch64 | Machine::Other => None,
    }
}

/// Constant data of a file, as the program sees it after relocation.
#[derive(Debug)]
pub struct Memory<'a> {
    elf: &'a ElfFile,
    slots: HashMap<u64, u64, FxBuildHasher>,
    imports: Vec<String>,
}

/// Addresses from here on stand for imported functions: see [`Memory::import`].
const IMPORTS: u64 = 0xffff_f000_0000_0000;
/// Entries of a jump table that are read at most. Real `match`es over bytes have 256.
const MOST_TABLE_ENTRIES: usize = 1024;

impl<'a> Memory<'a> {
    /// Reads the dynamic relocations of a file.
    pub fn new(elf: &'a ElfFile) -> Self {
        let mut memory = Memory { elf, slots: HashMap::default(), imports: Vec::new() };
        let Ok(file) = object::File::parse(elf.file().bytes()) else { return memory };
        let symbols = file.dynamic_symbol_table();
        let mut import_ids: HashMap<Vec<u8>, u64, FxBuildHasher> = HashMap::default();
        for (slot, relocation) in file.dynamic_relocations().into_iter().flatten() {
            let target = match relocation.target() {
                RelocationTarget::Absolute => Some(relocation.addend() as u64),
                RelocationTarget::Symbol(index) => symbols.as_ref().and_then(|table| table.symbol_by_index(index).ok()).map(|symbol| {
                    if symbol.is_definition() && symbol.address() != 0 {
                        return symbol.address().wrapping_add(relocation.addend() as u64);
                    }
                    let name = symbol.name_bytes().unwrap_or_default().to_vec();
                    let imports = &mut memory.imports;
                    *import_ids.entry(name).or_insert_with_key(|name| {
                        imports.push(String::from_utf8_lossy(name).into_owned());
                        IMPORTS + imports.len() as u64 - 1
                    })
                }),
                _ => None,
            };
            if let Some(target) = target {
                memory.slots.insert(slot, target);
            }
        }
        memory
    }

    /// The pointer that stands at `address` in constant or relocated data.
    pub fn pointer(&self, address: u64) -> Option<u64> {
        if let Some(&target) = self.slots.get(&address) {
            return Some(target);
        }
        if self.elf.is_position_independent() {
            return None; // a pointer in a relocated file without relocation is no pointer
        }
        let segment = self.elf.segment_at(Svma::new(address))?;
        // The global offset table is made read-only after relocation, but its segment is writable in the
        // file: contents are trusted in fixed-address programs only.
        let _ = segment;
        let bytes = self.elf.bytes_at(Svma::new(address), 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?)).filter(|&target| target != 0)
    }

    /// The name of the imported function that an address from [`Memory::pointer`] stands for.
    pub fn import(&self, address: u64) -> Option<&str> {
        let index = address.checked_sub(IMPORTS)?;
        self.imports.get(index as usize).map(String::as_str)
    }

    fn table_entry(&self, table: u64, index: usize) -> Option<u64> {
        let at = table.checked_add(4 * index as u64)?;
        let bytes = self.elf.bytes_at(Svma::new(at), 4)?;
        let offset = i32::from_le_bytes(bytes.try_into().ok()?);
        Some(table.wrapping_add_signed(i64::from(offset)))
    }
}

/// The skeleton of the code in `ranges`; `None` when the machine has no decoder.
pub fn skeleton(elf: &ElfFile, memory: &Memory<'_>, ranges: &[(u64, u64)]) -> Option<Code> {
    let decoder = decoder(elf.machine())?;
    let mut code = Code::default();
    for &(start, end) in ranges {
        match end.checked_sub(start).and_then(|len| elf.bytes_at(Svma::new(start), usize::try_from(len).ok()?)) {
            Some(bytes) => decoder.decode(bytes, start, memory, &mut code),
            None => code.damaged = true,
        }
    }
    code.steps.sort_by_key(|step| step.at);
    Some(code)
}

/// Calls and tail jumps anywhere in the file's code to one of `targets`: (address of the call, target), by address.
///
/// Bytes are searched, not decoded: that a random 32-bit distance hits the first byte of one of a few hundred functions is
/// negligible, and it costs a fraction of decoding. Empty for machines other than x86-64.
pub fn callers(elf: &ElfFile, memory: &Memory<'_>, targets: &HashSet<u64, FxBuildHasher>) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    if elf.machine() != Machine::X86_64 || targets.is_empty() {
        return found;
    }
    for segment in elf.segments().iter().filter(|segment| segment.executable) {
        let start = segment.svma.get();
        let Some(bytes) = usize::try_from(segment.file_size).ok().and_then(|len| elf.bytes_at(segment.svma, len)) else { continue };
        // E8 call, E9 jmp, FF 15 call *slot(%rip), FF 25 jmp *slot(%rip); each with a 32-bit distance from its end.
        for at in memchr::memchr3_iter(0xe8, 0xe9, 0xff, bytes) {
            let (len, indirect) = match bytes[at] {
                0xff if matches!(bytes.get(at + 1), Some(0x15 | 0x25)) => (6, true),
                0xff => continue,
                _ => (5, false),
            };
            let Some(distance) = bytes.get(at + len - 4..at + len).and_then(|four| four.try_into().ok()).map(i32::from_le_bytes) else {
                continue;
            };
            let next = start.wrapping_add((at + len) as u64);
            let address = next.wrapping_add_signed(i64::from(distance));
            let target = if indirect { memory.pointer(address) } else { Some(address) };
            if let Some(target) = target.filter(|target| targets.contains(target)) {
                found.push((start.wrapping_add(at as u64), target));
            }
        }
    }
    found
}

struct X86;

impl Decode for X86 {
    fn decode(&self, bytes: &[u8], start: u64, memory: &Memory<'_>, code: &mut Code) {
        use iced_x86::{Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
        let end = start.saturating_add(bytes.len() as u64);
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        // The table that a following `jmp reg` goes through: the last address taken by `lea reg, [rip+x]`.
        let mut table: Option<u64> = None;
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let (at, next) = (instruction.ip(), instruction.next_ip());
            if instruction.is_invalid() {
                code.damaged = true;
                continue;
            }
            let mut slot = None;
            if instruction.is_ip_rel_memory_operand() {
                let address = instruction.ip_rel_memory_address();
                let reads = instruction.mnemonic() != Mnemonic::Lea;
                slot = if reads { memory.pointer(address) } else { None };
                code.references.push((at, slot.unwrap_or(address)));
                if instruction.mnemonic() == Mnemonic::Lea {
                    table = Some(address);
                }
            } else if instruction.mnemonic() == Mnemonic::Mov && instruction.op1_kind() == OpKind::Immediate64 {
                code.references.push((at, instruction.immediate64()));
            }
            let near = || match instruction.op0_kind() {
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => Some(instruction.near_branch_target()),
                _ => None,
            };
            let flow = match instruction.flow_control() {
                FlowControl::Next => continue,
                FlowControl::Call => Flow::Call(near()),
                FlowControl::IndirectCall => Flow::Call(slot),
                FlowControl::ConditionalBranch => match near() {
                    Some(target) => Flow::Branch(target),
                    None => continue,
                },
                FlowControl::UnconditionalBranch => Flow::Jump(near()),
                FlowControl::IndirectBranch if slot.is_some() => Flow::Jump(slot),
                FlowControl::IndirectBranch => {
                    let targets = table.filter(|_| instruction.op0_kind() == OpKind::Register).map(|table| {
                        let entries = (0..MOST_TABLE_ENTRIES).map_while(|index| memory.table_entry(table, index));
                        let mut targets: Vec<u64> = entries.take_while(|target| (start..end).contains(target)).collect();
                        targets.sort_unstable();
                        targets.dedup();
                        targets
                    });
                    match targets {
                        Some(targets) if !targets.is_empty() => {
                            code.steps.extend(targets.into_iter().map(|target| Step { at, next, flow: Flow::Switch(target) }));
                            continue;
                        }
                        _ => Flow::Jump(None),
                    }
                }
                FlowControl::Return => Flow::Return,
                FlowControl::Interrupt if matches!(instruction.code(), Opcode::Syscall) => continue,
                FlowControl::Interrupt | FlowControl::Exception => Flow::Stop,
                FlowControl::XbeginXabortXend => continue,
            };
            debug_assert!(instruction.memory_base() != Register::RIP || slot.is_some() || instruction.is_ip_rel_memory_operand());
            code.steps.push(Step { at, next, flow });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes bytes at 0x1000 with no data around them.
    fn decode(bytes: &[u8]) -> Code {
        let elf = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let mut code = Code::default();
        decoder(Machine::X86_64).unwrap().decode(
            bytes,
            0x1000,
            &Memory { elf: &elf, slots: HashMap::default(), imports: Vec::new() },
            &mut code,
        );
        code
    }

    #[test]
    fn control_flow_of_a_few_bytes() {
        // test eax,eax; je +5; call +0; ret; ud2
        let code = decode(&[0x85, 0xc0, 0x74, 0x05, 0xe8, 0, 0, 0, 0, 0xc3, 0x0f, 0x0b]);
        let flows: Vec<Flow> = code.steps.iter().map(|step| step.flow).collect();
        assert_eq!(flows, [Flow::Branch(0x1009), Flow::Call(Some(0x1009)), Flow::Return, Flow::Stop]);
        assert_eq!(code.from(0x1005).first().map(|step| step.at), Some(0x1009));
        assert!(!code.damaged);
    }

    #[test]
    fn damaged_code_is_said() {
        assert!(decode(&[0x06, 0x06]).damaged);
        assert!(decode(&[0xe8, 0]).damaged);
    }

    #[test]
    fn imports_are_named() {
        let elf = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let memory = Memory::new(&elf);
        let named = memory
            .slots
            .values()
            .filter_map(|&target| memory.import(target))
            .any(|name| name == "free" || name == "memcpy" || name == "malloc");
        assert!(named, "a dynamically linked test program imports from libc");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn any_bytes_decode(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let code = decode(&bytes);
            assert!(code.steps.windows(2).all(|pair| pair[0].at <= pair[1].at));
        }
    }
}
