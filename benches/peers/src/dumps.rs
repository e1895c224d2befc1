//! Heap dumps of any size over the real return addresses of an x86-64 program, so that naming them is real work.
//!
//! A stack is a walk over the static call graph (`call rel32` in `.text`): a frame is the address after a call, the
//! next one lies in the function that is called. A new stack leaves an earlier one at a random depth, as real ones
//! do, and one step in eight goes anywhere (an indirect call).

use crate::Result;
use object::{Object, ObjectSection, ObjectSegment};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub stacks: usize,
    /// Fewest and most frames of a stack.
    pub depth: (usize, usize),
    pub threads: usize,
    /// Share of the second dump's stacks that differ from the first: in counts, or by being in one of them only.
    pub changed: f64,
}

/// The call sites of a program.
#[derive(Debug)]
pub struct Program {
    path: String,
    /// Address that `.text` begins at.
    text: u64,
    is_pie: bool,
    /// Segments: permissions, file offset, address, size.
    segments: Vec<([u8; 4], u64, u64, u64)>,
    /// Offsets in `.text` after a call, ascending.
    returns: Vec<u32>,
    /// For each call the index of the called function.
    callee: Vec<u32>,
    /// For each function the range of its own calls.
    calls: Vec<(u32, u32)>,
}

/// A small generator (xorshift): the same seed makes the same files.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) * end as u64 >> 32) as usize
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Small numbers are far likelier.
    fn skewed(&mut self, end: usize) -> usize {
        (self.share().powi(3) * end as f64) as usize
    }
}

/// Base of a position-independent program in the dumps.
const BASE: u64 = 0x5555_5555_4000;

impl Program {
    pub fn read(path: &Path) -> Result<Program> {
        let bytes = std::fs::read(path)?;
        let elf = object::File::parse(bytes.as_slice())?;
        let section = elf.section_by_name(".text").ok_or("no .text")?;
        let text = section.data()?;
        let mut found: Vec<(u32, u32)> = Vec::new();
        let mut at = 0;
        while let Some(&[opcode, a, b, c, d]) = text.get(at..at + 5).and_then(|window| window.first_chunk::<5>()) {
            let after = at as i64 + 5;
            let target = after + i64::from(i32::from_le_bytes([a, b, c, d]));
            // Functions begin at multiples of 16: what looks like a call and leads elsewhere is none.
            if opcode == 0xe8 && target % 16 == 0 && (0..text.len() as i64).contains(&target) {
                found.push((after as u32, target as u32));
                at += 5;
            } else {
                at += 1;
            }
        }
        let mut functions: Vec<u32> = found.iter().map(|call| call.1).collect();
        functions.sort_unstable();
        functions.dedup();
        let place = |target: u32| functions.partition_point(|&start| start < target) as u32;
        let first =
            |function: usize| functions.get(function).map_or(found.len(), |&start| found.partition_point(|call| call.0 <= start)) as u32;
        let calls = (0..functions.len()).map(|function| (first(function), first(function + 1))).collect();
        let segments = elf.segments().map(|segment| {
            let perms = segment.permissions();
            let flag = |set: bool, letter: u8| if set { letter } else { b'-' };
            let flags = [flag(perms.readable(), b'r'), flag(perms.writable(), b'w'), flag(perms.executable(), b'x'), b'p'];
            (flags, segment.file_range().0, segment.address(), segment.size())
        });
        Ok(Program {
            path: std::fs::canonicalize(path)?.display().to_string(),
            text: section.address(),
            is_pie: elf.kind() == object::ObjectKind::Dynamic,
            segments: segments.collect(),
            returns: found.iter().map(|call| call.0).collect(),
            callee: found.iter().map(|call| place(call.1)).collect(),
            calls,
        })
    }

    /// Writes distinct addresses of calls, one a line, as profilers look them up: the return address less one.
    pub fn write_addresses(&self, path: &Path, count: usize) -> Result<()> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut order: Vec<u32> = (0..self.returns.len() as u32).collect();
        let count = count.min(order.len());
        let mut out = BufWriter::new(File::create(path)?);
        for at in 0..count {
            let other = at + random.below(order.len() - at);
            order.swap(at, other);
            writeln!(out, "{:#x}", self.text + u64::from(self.returns[order[at] as usize]) - 1)?;
        }
        Ok(out.flush()?)
    }

    /// Writes a dump and one of a later time.
    pub fn write_pair(&self, plan: Plan, base: &Path, current: &Path) -> Result<()> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 | 1);
        let stacks = self.stacks(plan, &mut random);
        let mut counts: Vec<Counts> = (0..stacks.len()).map(|_| Counts::new(&mut random, plan.threads)).collect();
        let kept = plan.stacks;
        self.write(base, plan.threads, &stacks, &counts, |stack| stack < kept)?;
        let mut gone = vec![false; stacks.len()];
        for (counts, gone) in counts.iter_mut().zip(&mut gone).take(kept) {
            match random.share() {
                share if share < plan.changed / 6.0 => *gone = true,
                share if share < plan.changed * 5.0 / 6.0 => counts.grow(1 + random.below(4) as u64),
                _ => {}
            }
        }
        self.write(current, plan.threads, &stacks, &counts, |stack| !gone[stack])
    }

    /// Calls of each stack, outermost first; beyond `plan.stacks`, those of the second dump alone.
    fn stacks(&self, plan: Plan, random: &mut Random) -> Stacks {
        let total = plan.stacks + (plan.stacks as f64 * plan.changed / 6.0) as usize;
        // A program of any size has some hundred thousand calls, and a profile meets a part of them.
        let share = ((plan.stacks as f64).sqrt() * 160.0 / self.returns.len() as f64).min(1.0);
        let live: Vec<bool> = self.calls.iter().map(|calls| random.share() < share && calls.1 > calls.0).collect();
        let reachable: Vec<u32> = (0..live.len() as u32).filter(|&function| live[function as usize]).collect();
        let roots: Vec<u32> = (0..4).map(|_| reachable[random.below(reachable.len())]).collect();
        let mut found = Stacks { calls: Vec::new(), ends: Vec::new() };
        for stack in 0..total {
            let depth = plan.depth.0 + random.below(plan.depth.1 - plan.depth.0 + 1);
            let start = found.calls.len();
            let mut function = roots[random.below(roots.len())];
            if stack > 0 {
                let (from, to) = found.range(random.below(stack));
                let kept = random.below((to - from).min(depth));
                found.calls.extend_from_within(from..from + kept);
                if kept > 0 {
                    function = self.callee[found.calls[start + kept - 1] as usize];
                }
            }
            while found.calls.len() < start + depth {
                if !live[function as usize] {
                    function = reachable[random.below(reachable.len())];
                    continue;
                }
                let (first, end) = self.calls[function as usize];
                let call = first as usize + random.skewed((end - first) as usize);
                found.calls.push(call as u32);
                let anywhere = self.callee[call] == function || random.below(8) == 0;
                function = if anywhere { reachable[random.skewed(reachable.len())] } else { self.callee[call] };
            }
            found.ends.push(found.calls.len());
        }
        found
    }

    fn write(&self, path: &Path, threads: usize, stacks: &Stacks, counts: &[Counts], has: impl Fn(usize) -> bool) -> Result<()> {
        let bias = if self.is_pie { BASE } else { 0 };
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut totals = vec![[0u64; 4]; threads + 1];
        for (_, counts) in counts.iter().enumerate().filter(|(stack, _)| has(*stack)) {
            for (total, number) in totals[0].iter_mut().zip(counts.numbers) {
                *total += number;
            }
            for (total, number) in totals[1 + counts.thread].iter_mut().zip(counts.numbers) {
                *total += number;
            }
        }
        writeln!(out, "heap_v2/524288")?;
        for (at, [objects, bytes, all_objects, all_bytes]) in totals.iter().enumerate() {
            let label = if at == 0 { "*".to_owned() } else { (at - 1).to_string() };
            writeln!(out, "  t{label}: {objects}: {bytes} [{all_objects}: {all_bytes}]")?;
        }
        for (stack, counts) in counts.iter().enumerate().filter(|(stack, _)| has(*stack)) {
            out.write_all(b"@")?;
            let (from, to) = stacks.range(stack);
            for &call in stacks.calls[from..to].iter().rev() {
                write!(out, " {:#x}", bias + self.text + u64::from(self.returns[call as usize]))?;
            }
            let [objects, bytes, all_objects, all_bytes] = counts.numbers;
            writeln!(out, "\n  t*: {objects}: {bytes} [{all_objects}: {all_bytes}]")?;
            writeln!(out, "  t{}: {objects}: {bytes} [{all_objects}: {all_bytes}]", counts.thread)?;
        }
        writeln!(out, "\nMAPPED_LIBRARIES:")?;
        for (perms, offset, address, size) in &self.segments {
            let (start, end) = ((bias + address) & !4095, (bias + address + size + 4095) & !4095);
            let perms = String::from_utf8_lossy(perms);
            writeln!(out, "{start:x}-{end:x} {perms} {:08x} fe:00 123456 {}", offset & !4095, self.path)?;
        }
        // Anonymous memory between the files, as a process of some size has it.
        for at in 0..200u64 {
            let start = 0x7f00_0000_0000 + at * 0x80_0000;
            writeln!(out, "{start:x}-{:x} rw-p 00000000 00:00 0 ", start + 0x60_0000)?;
        }
        Ok(out.flush()?)
    }
}

struct Stacks {
    calls: Vec<u32>,
    ends: Vec<usize>,
}

impl Stacks {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn range(&self, stack: usize) -> (usize, usize) {
        (if stack == 0 { 0 } else { self.ends[stack - 1] }, self.ends[stack])
    }
}

/// Live and accumulated objects and bytes of a stack, and who allocated them.
struct Counts {
    numbers: [u64; 4],
    thread: usize,
}

impl Counts {
    fn new(random: &mut Random, threads: usize) -> Counts {
        let (live, size) = (1 + random.skewed(40) as u64, 16u64 << random.skewed(16));
        let ever = live + random.below(200) as u64;
        Counts { numbers: [live, live * size, ever, ever * size], thread: random.below(threads) }
    }

    fn grow(&mut self, factor: u64) {
        let [live, bytes, ever, all] = &mut self.numbers;
        let more = *live * (factor - 1) + u64::from(factor == 1);
        let size = *bytes / *live;
        (*live, *bytes) = (*live + more, *bytes + more * size);
        (*ever, *all) = (*ever + more, *all + more * size);
    }
}

/// A `heap_v2` dump as gperftools writes one, which Go's pprof reads and `heap_v2` it does not: one line a stack.
pub fn to_gperftools(from: &Path, to: &Path) -> Result<()> {
    let text = std::fs::read_to_string(from)?;
    let mut out = BufWriter::new(File::create(to)?);
    let (mut stack, mut is_header) = ("", true);
    let rate = text.lines().next().and_then(|line| line.strip_prefix("heap_v2/")).ok_or("not a heap_v2 dump")?;
    let maps = text.find("\nMAPPED_LIBRARIES:").unwrap_or(text.len());
    for line in text[..maps].lines() {
        if let Some(addresses) = line.strip_prefix('@') {
            (stack, is_header) = (addresses.trim(), false);
        } else if let Some(counts) = line.strip_prefix("  t*: ") {
            if is_header {
                writeln!(out, "heap profile: {counts} @ heap_v2/{rate}")?;
            } else {
                writeln!(out, "{counts} @ {stack}")?;
            }
        }
    }
    out.write_all(&text.as_bytes()[maps..])?;
    Ok(out.flush()?)
}
