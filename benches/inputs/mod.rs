//! Inputs of the benches and of the cost gates, made up from a seed: the same bytes every time.

use heaptriage::model::frame::{Frame, Role, Symbols};
use heaptriage::model::stack::StackTable;
use std::fmt::Write;

/// A small generator (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// A `heap_v2` dump: 10 to 60 frames a stack, which leaves an earlier stack somewhere; 8 threads.
pub fn heap_dump(stacks: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut known: Vec<Vec<u64>> = Vec::with_capacity(stacks);
    let mut text = String::from("heap_v2/524288\n");
    let mut body = String::new();
    let mut total = (0, 0);
    for at in 0..stacks {
        let depth = 10 + random.below(51) as usize;
        // Root first.
        let mut stack: Vec<u64> = Vec::with_capacity(depth);
        if at > 0 {
            let earlier = &known[random.below(at as u64) as usize];
            let kept = random.below(earlier.len().min(depth) as u64) as usize;
            stack.extend_from_slice(&earlier[..kept]);
        }
        while stack.len() < depth {
            stack.push(0x5555_5555_4000 + random.below(4 * stacks as u64 + 1000) * 24);
        }
        body.push('@');
        for address in stack.iter().rev() {
            let _ = write!(body, " {address:#x}");
        }
        let (objects, size) = (1 + random.below(40), 16 << random.below(12));
        total = (total.0 + objects, total.1 + objects * size);
        let counts = format!("{objects}: {} [{}: {}]", objects * size, objects + 3, (objects + 3) * size);
        let _ = write!(body, "\n  t*: {counts}\n  t{}: {counts}\n", random.below(8));
        known.push(stack);
    }
    let _ = write!(text, "  t*: {}: {} [0: 0]\n{body}", total.0, total.1);
    text.push_str("\nMAPPED_LIBRARIES:\n555555554000-555575554000 r-xp 00000000 fe:00 123456 /opt/service\n");
    text.into_bytes()
}

/// A name for every address of a table, some inlined calls too.
#[allow(dead_code, reason = "the gates use a part")]
pub fn symbols(stacks: &StackTable) -> Symbols {
    let mut symbols = Symbols::default();
    for address in stacks.addresses() {
        let function = address.get() / 24 % 5000;
        let names =
            [format!("service::stage{}::Worker<T>::step{function}", function % 40), format!("alloc::vec::Vec<T,A>::push{}", function % 9)];
        let inlined = function % 3 == 0;
        let frames = (usize::from(!inlined)..2).rev().map(|at| Frame {
            function: symbols.names.intern(&names[1 - at]),
            linkage: None,
            file: None,
            line: Some(function as u32),
            module: None,
            svma: None,
            inlined: at == 0,
            role: if at == 0 { Role::Library } else { Role::User },
            unresolved: None,
        });
        let frames: Vec<Frame> = frames.collect();
        symbols.push(frames);
    }
    symbols
}

/// What `/proc/PID/smaps` prints, over and over.
#[allow(dead_code, reason = "the gates use a part")]
pub fn smaps_series(texts: usize, mappings: u64) -> Vec<u8> {
    const KEYS: [&str; 21] = [
        "KernelPageSize",
        "MMUPageSize",
        "Rss",
        "Pss",
        "Pss_Dirty",
        "Shared_Clean",
        "Shared_Dirty",
        "Private_Clean",
        "Private_Dirty",
        "Referenced",
        "Anonymous",
        "KSM",
        "LazyFree",
        "AnonHugePages",
        "ShmemPmdMapped",
        "FilePmdMapped",
        "Shared_Hugetlb",
        "Private_Hugetlb",
        "Swap",
        "SwapPss",
        "Locked",
    ];
    let mut series = String::new();
    for text in 0..texts {
        let _ = writeln!(series, "{}", 1_763_650_000 + text * 10);
        for at in 0..mappings {
            let start = 0x7f16_0000_0000 + at * 0x40_0000;
            let _ = write!(series, "{start:x}-{:x} rw-p 00000000 00:00 0 \nSize:               4096 kB\n", start + 0x40_0000);
            for (key, name) in KEYS.iter().enumerate() {
                let value = if key < 2 { 4 } else { (at * 37 + key as u64 * 11) % 4096 };
                let _ = writeln!(series, "{:<16}{value:>8} kB", format!("{name}:"));
            }
            series.push_str("THPeligible:           0\nVmFlags: rd wr mr mw me ac sd \n");
        }
    }
    series.into_bytes()
}

/// Addresses inside the code of a program: every `step`th byte of a section.
pub fn code_addresses(range: std::ops::Range<u64>, count: u64) -> Vec<u64> {
    let step = ((range.end - range.start) / count).max(1);
    (0..count).map(|at| range.start + at * step).collect()
}
