//! The loop that a call stands in, and whether it ends by counting.
//!
//! A load runs `for document in 0..n`, a service runs until it is told to stop. The machine code shows which: the
//! outermost loop around a call is the strongly connected component of the call in its function's control flow, and it
//! counts when a way out that returns tests a value which nothing in the loop changes but constant steps, one on every
//! turn, against one that nothing in the loop changes.
//!
//! ```text
//!        mov  ebp, 85000
//! turn:  call ingest          <- the call
//!        ...
//!        dec  ebp             <- a constant step, on every turn
//!        jne  turn            <- the way out tests it
//! ```
//!
//! What cannot be followed (a counter behind a pointer, an iterator in memory) is no counting: silence is not evidence.

use super::code::{Code, Flow, Memory, skeleton};
use super::elf::{ElfFile, Machine};
use crate::address::Svma;
use hashbrown::{HashMap, HashSet};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use rustc_hash::FxBuildHasher;

/// The outermost loop around a call, within one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLoop {
    /// An address inside the call instruction.
    pub call: u64,
    /// What ends it.
    pub ends: Ends,
}

/// What ends a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// There is no loop: the call is made once.
    NoLoop,
    /// A count that is reached.
    Count,
    /// Something else, or nothing.
    Other,
}

/// Instructions of a function that is looked at: longer ones are tables in code form.
const MOST_INSTRUCTIONS: usize = 100_000;
/// Loops inside each other that are followed.
const MOST_DEEP: usize = 6;
/// Instructions before a test or a step that are followed back to what it works on.
const MOST_BACK: usize = 16;

/// The loops around `calls` (addresses inside call instructions) in the function at `ranges`; none where the code cannot be
/// followed. `never_returns` tells functions that have no way back. Empty for machines other than x86-64.
pub fn loops(
    elf: &ElfFile,
    memory: &Memory<'_>,
    ranges: &[(u64, u64)],
    calls: &[u64],
    never_returns: &mut dyn FnMut(u64) -> bool,
) -> Vec<CallLoop> {
    if elf.machine() != Machine::X86_64 || calls.is_empty() {
        return Vec::new();
    }
    let Some(code) = skeleton(elf, memory, ranges).filter(|code| !code.damaged) else { return Vec::new() };
    let bytes = ranges.iter().filter_map(|&(start, end)| {
        let len = usize::try_from(end.checked_sub(start)?).ok()?;
        Some((start, elf.bytes_at(Svma::new(start), len)?))
    });
    Body::new(bytes, &code, never_returns).map_or_else(Vec::new, |body| calls.iter().filter_map(|&call| body.around(call)).collect())
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// A whole register.
    Register(Register),
    /// A place in the function's own frame: base and distance.
    Slot(Register, i64),
}

impl Place {
    /// Whether calls leave it as it is (System V ABI).
    fn survives_calls(self) -> bool {
        use Register::{R12, R13, R14, R15, RBP, RBX, RSP};
        match self {
            Place::Register(register) => [RBX, RBP, RSP, R12, R13, R14, R15].contains(&register),
            Place::Slot(..) => true,
        }
    }
}

/// The instructions of a function with the ways between them.
struct Body {
    instructions: Vec<Instruction>,
    /// Instructions that may follow each.
    next: Vec<Vec<usize>>,
    /// How many ways lead to each.
    ways_to: Vec<usize>,
    /// Places that each may write.
    writes: Vec<Vec<Place>>,
    /// Whether a way out of the function is at each.
    leaves: Vec<bool>,
    /// Slots whose address is taken: others may write them.
    shared: HashSet<Place, FxBuildHasher>,
    /// `rbp` is the frame's base.
    has_frame_pointer: bool,
}

impl Body {
    fn new<'b>(parts: impl Iterator<Item = (u64, &'b [u8])>, code: &Code, never_returns: &mut dyn FnMut(u64) -> bool) -> Option<Body> {
        let mut instructions: Vec<Instruction> = Vec::new();
        for (start, bytes) in parts {
            instructions.extend(Decoder::with_ip(64, bytes, start, DecoderOptions::NONE));
            if instructions.len() > MOST_INSTRUCTIONS {
                return None;
            }
        }
        let index: HashMap<u64, usize, FxBuildHasher> = instructions.iter().enumerate().map(|(i, one)| (one.ip(), i)).collect();
        let has_frame_pointer = instructions
            .iter()
            .any(|one| one.mnemonic() == Mnemonic::Mov && one.op0_register() == Register::RBP && one.op1_register() == Register::RSP);
        let count = instructions.len();
        let mut body = Body {
            next: vec![Vec::new(); count],
            ways_to: vec![0; count],
            writes: Vec::with_capacity(count),
            leaves: vec![false; count],
            shared: HashSet::default(),
            has_frame_pointer,
            instructions,
        };
        let mut factory = InstructionInfoFactory::new();
        for at in 0..count {
            let one = body.instructions[at];
            let steps = code.from(one.ip()).iter().take_while(|step| step.at == one.ip());
            let mut next: Vec<usize> = Vec::new();
            let mut straight = true;
            for step in steps {
                let inside = |target: u64| index.get(&target).copied();
                straight = match step.flow {
                    Flow::Call(target) => !target.is_some_and(&mut *never_returns),
                    Flow::Branch(target) => {
                        next.extend(inside(target));
                        true
                    }
                    Flow::Jump(Some(target)) => {
                        next.extend(inside(target));
                        body.leaves[at] |= inside(target).is_none() && !never_returns(target);
                        false
                    }
                    Flow::Switch(target) => {
                        next.extend(inside(target));
                        false
                    }
                    Flow::Jump(None) | Flow::Return => {
                        body.leaves[at] = true;
                        false
                    }
                    Flow::Stop => false,
                };
            }
            if straight {
                next.extend(index.get(&one.next_ip()));
            }
            next.sort_unstable();
            next.dedup();
            next.iter().for_each(|&to| body.ways_to[to] += 1);
            body.next[at] = next;
            let writes = body.written(&one, &mut factory);
            body.writes.push(writes);
            if one.mnemonic() == Mnemonic::Lea
                && let Some(slot) = body.slot(&one)
            {
                body.shared.insert(slot);
            }
        }
        Some(body)
    }

    /// The slot that a memory operand is.
    fn slot(&self, one: &Instruction) -> Option<Place> {
        let base = one.memory_base();
        let frame = base == Register::RSP || (base == Register::RBP && self.has_frame_pointer);
        (frame && one.memory_index() == Register::None).then_some(Place::Slot(base, one.memory_displacement64() as i64))
    }

    /// The place that an operand is.
    fn operand(&self, one: &Instruction, operand: u32) -> Option<Place> {
        match one.op_kind(operand) {
            OpKind::Register => Some(Place::Register(one.op_register(operand).full_register())),
            OpKind::Memory => self.slot(one),
            _ => None,
        }
    }

    fn written(&self, one: &Instruction, factory: &mut InstructionInfoFactory) -> Vec<Place> {
        let writes =
            |access: OpAccess| matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite);
        let info = factory.info(one);
        let registers = info.used_registers().iter().filter(|used| writes(used.access()));
        let mut places: Vec<Place> = registers.map(|used| Place::Register(used.register().full_register())).collect();
        if info.used_memory().iter().any(|used| writes(used.access())) && !one.is_stack_instruction() {
            places.extend(self.slot(one));
        }
        places
    }

    /// The outermost loop around a call.
    fn around(&self, call: u64) -> Option<CallLoop> {
        let at = self.instructions.partition_point(|one| one.next_ip() <= call);
        let at = match self.instructions.get(at) {
            Some(one) if (one.ip()..one.next_ip()).contains(&call) => at,
            // Parts of a function may be out of order.
            _ => self.instructions.iter().position(|one| (one.ip()..one.next_ip()).contains(&call))?,
        };
        let mut passed = HashSet::default();
        let ends = match self.circle(at, &passed) {
            None => Ends::NoLoop,
            Some(_) if self.counts_out(at, &mut passed) => Ends::Count,
            Some(_) => Ends::Other,
        };
        Some(CallLoop { call, ends })
    }

    /// The outermost loop around an instruction that does not go through those `passed`.
    fn circle(&self, at: usize, passed: &HashSet<usize, FxBuildHasher>) -> Option<HashSet<usize, FxBuildHasher>> {
        let ahead = self.reached(&self.next[at], |one| !passed.contains(&one));
        if !ahead.contains(&at) {
            return None;
        }
        let mut back: Vec<Vec<usize>> = vec![Vec::new(); self.instructions.len()];
        for &from in ahead.iter().filter(|from| !passed.contains(*from)) {
            self.next[from].iter().for_each(|&to| back[to].push(from));
        }
        let mut turn: HashSet<usize, FxBuildHasher> = HashSet::default();
        let mut queue = vec![at];
        while let Some(one) = queue.pop() {
            if ahead.contains(&one) && !passed.contains(&one) && turn.insert(one) {
                queue.extend(&back[one]);
            }
        }
        Some(turn)
    }

    /// Whether every loop around an instruction has a way out that tests a count: the outermost, then what goes round without
    /// that test, and so on inwards.
    fn counts_out(&self, at: usize, passed: &mut HashSet<usize, FxBuildHasher>) -> bool {
        let Some(turn) = self.circle(at, passed) else { return true };
        if passed.len() >= MOST_DEEP {
            return false;
        }
        let mut tests: Vec<usize> = turn.iter().copied().filter(|&branch| self.is_count(branch, &turn)).collect();
        tests.sort_unstable();
        tests.into_iter().any(|branch| {
            passed.insert(branch);
            let inwards = self.counts_out(at, passed);
            passed.remove(&branch);
            inwards
        })
    }

    /// Everything reached from `starts` through instructions that `through` lets pass.
    fn reached(&self, starts: &[usize], through: impl Fn(usize) -> bool) -> HashSet<usize, FxBuildHasher> {
        let mut seen: HashSet<usize, FxBuildHasher> = HashSet::default();
        let mut queue = starts.to_vec();
        while let Some(one) = queue.pop() {
            if seen.insert(one) && through(one) {
                queue.extend(&self.next[one]);
            }
        }
        seen
    }

    /// Whether an instruction is a way out of the loop, to a return, that tests a count.
    fn is_count(&self, branch: usize, turn: &HashSet<usize, FxBuildHasher>) -> bool {
        let one = &self.instructions[branch];
        let of_signs = matches!(one.mnemonic(), Mnemonic::Jo | Mnemonic::Jno | Mnemonic::Js | Mnemonic::Jns | Mnemonic::Jp | Mnemonic::Jnp);
        if one.flow_control() != FlowControl::ConditionalBranch || of_signs {
            return false;
        }
        let out: Vec<usize> = self.next[branch].iter().copied().filter(|to| !turn.contains(to)).collect();
        if out.is_empty() || !self.reached(&out, |_| true).iter().any(|&to| self.leaves[to]) {
            return false;
        }
        let Some(test) = self.before(branch).take(MOST_BACK).find(|&at| self.instructions[at].rflags_modified() != 0) else { return false };
        let test_one = &self.instructions[test];
        let (first, second) = (self.operand(test_one, 0), self.operand(test_one, 1));
        let immediate = test_one.op_count() > 1 && test_one.op1_kind() != OpKind::Register && test_one.op1_kind() != OpKind::Memory;
        let counts = |place: Option<Place>| {
            let value = place.and_then(|place| self.value(test, place));
            value.is_some_and(|(place, _)| self.steps(place, turn, branch))
        };
        let stays = |place: Option<Place>| {
            let value = place.and_then(|place| self.value(test, place));
            value.is_some_and(|(place, _)| {
                place.survives_calls() && !self.shared.contains(&place) && !turn.iter().any(|&at| self.writes[at].contains(&place))
            })
        };
        match test_one.mnemonic() {
            Mnemonic::Inc | Mnemonic::Dec => counts(first),
            Mnemonic::Add | Mnemonic::Sub => immediate && counts(first),
            Mnemonic::Test => first == second && counts(first),
            Mnemonic::Cmp => match immediate {
                true => counts(first),
                false => (counts(first) && stays(second)) || (counts(second) && stays(first)),
            },
            _ => false,
        }
    }

    /// Whether a place changes by constant steps only in the loop, between any two tests.
    fn steps(&self, place: Place, turn: &HashSet<usize, FxBuildHasher>, branch: usize) -> bool {
        if !place.survives_calls() || self.shared.contains(&place) {
            return false;
        }
        let written: Vec<usize> = turn.iter().copied().filter(|&at| self.writes[at].contains(&place)).collect();
        let is_step = |&at: &usize| matches!(self.after(at, place), Some((same, by)) if same == place && by != 0);
        if written.is_empty() || !written.iter().all(is_step) {
            return false;
        }
        // A turn without a step would make the count one of something else: of failures, say.
        !self.reached(&self.next[branch], |at| at != branch && turn.contains(&at) && !written.contains(&at)).contains(&branch)
    }

    /// Instructions that ran straight before one, nearest first.
    fn before(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let straight = |&at: &usize| at > 0 && self.ways_to[at] == 1 && self.next[at - 1].as_slice() == [at];
        std::iter::successors(Some(at), move |at| straight(at).then(|| at - 1)).skip(1)
    }

    /// What a place holds before an instruction, as an earlier place and what was added to it.
    fn value(&self, at: usize, place: Place) -> Option<(Place, i64)> {
        let (mut place, mut added) = (place, 0i64);
        for one in self.before(at).take(MOST_BACK) {
            (place, added) = self.through(one, place, added)?;
        }
        Some((place, added))
    }

    /// What a place that an instruction writes holds after it, followed back to the place itself where it came from there.
    fn after(&self, at: usize, written: Place) -> Option<(Place, i64)> {
        let (mut place, mut added) = self.through(at, written, 0)?;
        for one in self.before(at).take(MOST_BACK) {
            if place == written {
                break;
            }
            (place, added) = self.through(one, place, added)?;
        }
        Some((place, added))
    }

    /// What a place after an instruction was before it; `None` where that is not a place and a constant.
    fn through(&self, at: usize, place: Place, added: i64) -> Option<(Place, i64)> {
        let one = &self.instructions[at];
        let is_call = matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        if is_call && !place.survives_calls() {
            return None;
        }
        if !self.writes[at].contains(&place) {
            return Some((place, added));
        }
        if self.operand(one, 0) != Some(place) {
            return None;
        }
        let constant = || one.try_immediate(1).ok().map(|value| value as i64);
        match one.mnemonic() {
            Mnemonic::Inc => Some((place, added.checked_add(1)?)),
            Mnemonic::Dec => Some((place, added.checked_sub(1)?)),
            Mnemonic::Add => Some((place, added.checked_add(constant()?)?)),
            Mnemonic::Sub => Some((place, added.checked_sub(constant()?)?)),
            Mnemonic::Mov => Some((self.operand(one, 1)?, added)),
            Mnemonic::Lea if one.memory_index() == Register::None && one.memory_base() != Register::RIP => {
                let base = Place::Register(one.memory_base().full_register());
                Some((base, added.checked_add(one.memory_displacement64() as i64)?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::code::decoder;

    /// What ends the loop around the first call of these bytes.
    fn around(bytes: &[u8]) -> Ends {
        let elf = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
        let mut code = Code::default();
        decoder(Machine::X86_64).unwrap().decode(bytes, 0x1000, &Memory::new(&elf), &mut code);
        let call = code.steps.iter().find(|step| matches!(step.flow, Flow::Call(_))).unwrap().at;
        let body = Body::new(std::iter::once((0x1000, bytes)), &code, &mut |target| target == 0x2000).unwrap();
        body.around(call).unwrap().ends
    }

    /// `call` to an address from one.
    fn call(from: u64, to: u64) -> Vec<u8> {
        let distance = to.wrapping_sub(from + 5) as u32;
        [vec![0xe8], distance.to_le_bytes().to_vec()].concat()
    }

    #[test]
    fn a_loop_that_counts_down_or_up() {
        // mov ebx, 1000; turn: call; dec ebx; jne turn; ret
        let down = [&[0xbb, 0xe8, 3, 0, 0][..], &call(0x1005, 0x3000), &[0xff, 0xcb, 0x75, 0xf7, 0xc3]].concat();
        assert_eq!(around(&down), Ends::Count);
        // xor ebx, ebx; turn: call; add rbx, 24; cmp rbx, r12; jne turn; ret: over the elements of a slice
        let up = [&[0x31, 0xdb][..], &call(0x1002, 0x3000), &[0x48, 0x83, 0xc3, 24, 0x4c, 0x39, 0xe3, 0x75, 0xf2, 0xc3]].concat();
        assert_eq!(around(&up), Ends::Count);
        // turn: mov rax, [rsp+8]; inc rax; mov [rsp+8], rax; cmp rax, 1000; je out; call; jmp turn; out: ret
        let spilled = [
            &[0x48, 0x8b, 0x44, 0x24, 8, 0x48, 0xff, 0xc0, 0x48, 0x89, 0x44, 0x24, 8, 0x48, 0x3d, 0xe8, 3, 0, 0, 0x74, 7][..],
            &call(0x1015, 0x3000),
            &[0xeb, 0xe4, 0xc3],
        ]
        .concat();
        assert_eq!(around(&spilled), Ends::Count);
    }

    #[test]
    fn loops_that_count_inside_each_other() {
        // outer: mov ebx, 64; inner: call; dec ebx; jne inner; inc r12; cmp r12, 4000; jne outer; ret
        let batches = [
            &[0xbb, 64, 0, 0, 0][..],
            &call(0x1005, 0x3000),
            &[0xff, 0xcb, 0x75, 0xf7, 0x49, 0xff, 0xc4, 0x49, 0x81, 0xfc, 0xa0, 0x0f, 0, 0, 0x75, 0xe6, 0xc3],
        ]
        .concat();
        assert_eq!(around(&batches), Ends::Count);
    }

    #[test]
    fn a_loop_that_is_told_to_stop_does_not_count() {
        // turn: call; cmp byte [rip+16], 0; je turn; ret
        let flag = [&call(0x1000, 0x3000)[..], &[0x80, 0x3d, 16, 0, 0, 0, 0, 0x74, 0xf2, 0xc3]].concat();
        assert_eq!(around(&flag), Ends::Other);
        // turn: call; test rax, rax; jne turn; ret: a channel's receiver
        let received = [&call(0x1000, 0x3000)[..], &[0x48, 0x85, 0xc0, 0x75, 0xf6, 0xc3]].concat();
        assert_eq!(around(&received), Ends::Other);
        // call; ret
        assert_eq!(around(&[&call(0x1000, 0x3000)[..], &[0xc3]].concat()), Ends::NoLoop);
    }

    #[test]
    fn what_looks_like_counting_and_is_not() {
        // turn: call; test eax, eax; je turn; inc ebx; cmp ebx, 5; jne turn; ret: five failures, not five turns
        let failures = [&call(0x1000, 0x3000)[..], &[0x85, 0xc0, 0x74, 0xf7, 0xff, 0xc3, 0x83, 0xfb, 5, 0x75, 0xf0, 0xc3]].concat();
        assert_eq!(around(&failures), Ends::Other);
        // turn: xor ebx, ebx; inner: call; inc ebx; cmp ebx, 5; jne inner; jmp turn: the inner loop alone counts
        let inner = [&[0x31, 0xdb][..], &call(0x1002, 0x3000), &[0xff, 0xc3, 0x83, 0xfb, 5, 0x75, 0xf4, 0xeb, 0xf0, 0xc3]].concat();
        assert_eq!(around(&inner), Ends::Other);
        // An endless loop in one that counts: mov r12d, 9; outer: call; cmp byte [rip+16], 0; je outer; dec r12d; jne outer; ret
        let endless = [
            &[0x41, 0xbc, 9, 0, 0, 0][..],
            &call(0x1006, 0x3000),
            &[0x80, 0x3d, 16, 0, 0, 0, 0, 0x74, 0xf2, 0x41, 0xff, 0xcc, 0x75, 0xed, 0xc3],
        ]
        .concat();
        assert_eq!(around(&endless), Ends::Other);
        // turn: call; inc rbx; cmp rbx, r12; jae panic; test rax, rax; jne turn; ret; panic: call 0x2000; ud2: a bounds check
        let checked = [
            &call(0x1000, 0x3000)[..],
            &[0x48, 0xff, 0xc3, 0x4c, 0x39, 0xe3, 0x73, 6, 0x48, 0x85, 0xc0, 0x75, 0xee, 0xc3],
            &call(0x1013, 0x2000),
            &[0x0f, 0x0b],
        ]
        .concat();
        assert_eq!(around(&checked), Ends::Other);
        // turn: call; inc rbx; cmp rbx, [r12]; jne turn; ret: the end moves, a consumer behind its producer
        let moving = [&call(0x1000, 0x3000)[..], &[0x48, 0xff, 0xc3, 0x49, 0x3b, 0x1c, 0x24, 0x75, 0xf2, 0xc3]].concat();
        assert_eq!(around(&moving), Ends::Other);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn any_bytes_have_loops_or_none(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..96), at in 0u64..96) {
            let elf = ElfFile::open(&std::env::current_exe().unwrap()).unwrap();
            let mut code = Code::default();
            decoder(Machine::X86_64).unwrap().decode(&bytes, 0x1000, &Memory::new(&elf), &mut code);
            if let Some(body) = Body::new(std::iter::once((0x1000, bytes.as_slice())), &code, &mut |_| false) {
                let _ = body.around(0x1000 + at);
            }
        }
    }
}
