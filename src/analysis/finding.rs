//! What an analysis says: verdict, suspects, cleared growth, what is missing. Values with their evidence, no layout.

use crate::analysis::estimate::Interval;
use crate::analysis::trend::Shape;
use crate::model::frame::Role;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to "is it a leak?", in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerdictKind {
    /// Live bytes of a stack grow in step with time or work and are not freed.
    Leak,
    /// Growth whose cause is open: two snapshots only, or no shape is supported.
    Growth,
    /// A leak whose owner is a bump arena that outlives its work.
    BumpArenaGrowth,
    /// Another allocator's heap grows in step with time or work.
    ForeignAllocatorLeak,
    /// Live growth that ended.
    GrowthPlateau,
    /// Live growth that happened once.
    OneTime,
    /// Live growth that comes back down.
    Sawtooth,
    /// Freed, kept by the allocator until decay.
    DirtyRetention,
    /// Given back with MADV_FREE, still counted by the kernel.
    MadvFreeLag,
    /// Space in pages in use that no object uses.
    Fragmentation,
    /// Transparent huge pages make untouched memory resident.
    Thp,
    /// Freed objects in thread caches.
    Tcache,
    /// Another allocator keeps what was freed.
    ForeignAllocatorRetention,
    /// Pages of mapped files.
    FileMapping,
    /// Anonymous memory that the program maps itself.
    DirectMmap,
    /// Stacks of threads.
    ThreadStacks,
    /// Address space grew, memory did not.
    VirtualOnly,
    /// Nothing to report.
    Steady,
    /// The evidence does not suffice.
    Inconclusive,
}

impl VerdictKind {
    /// Every kind, in the order of the contract.
    pub const ALL: [VerdictKind; 19] = [
        VerdictKind::Leak,
        VerdictKind::Growth,
        VerdictKind::BumpArenaGrowth,
        VerdictKind::ForeignAllocatorLeak,
        VerdictKind::GrowthPlateau,
        VerdictKind::OneTime,
        VerdictKind::Sawtooth,
        VerdictKind::DirtyRetention,
        VerdictKind::MadvFreeLag,
        VerdictKind::Fragmentation,
        VerdictKind::Thp,
        VerdictKind::Tcache,
        VerdictKind::ForeignAllocatorRetention,
        VerdictKind::FileMapping,
        VerdictKind::DirectMmap,
        VerdictKind::ThreadStacks,
        VerdictKind::VirtualOnly,
        VerdictKind::Steady,
        VerdictKind::Inconclusive,
    ];

    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            VerdictKind::Leak => "leak",
            VerdictKind::Growth => "growth",
            VerdictKind::BumpArenaGrowth => "bump_arena_growth",
            VerdictKind::ForeignAllocatorLeak => "foreign_allocator_leak",
            VerdictKind::GrowthPlateau => "growth_plateau",
            VerdictKind::OneTime => "one_time",
            VerdictKind::Sawtooth => "sawtooth",
            VerdictKind::DirtyRetention => "dirty_retention",
            VerdictKind::MadvFreeLag => "madv_free_lag",
            VerdictKind::Fragmentation => "fragmentation",
            VerdictKind::Thp => "thp",
            VerdictKind::Tcache => "tcache",
            VerdictKind::ForeignAllocatorRetention => "foreign_allocator_retention",
            VerdictKind::FileMapping => "file_mapping",
            VerdictKind::DirectMmap => "direct_mmap",
            VerdictKind::ThreadStacks => "thread_stacks",
            VerdictKind::VirtualOnly => "virtual_only",
            VerdictKind::Steady => "steady",
            VerdictKind::Inconclusive => "inconclusive",
        }
    }

    /// Whether it says that memory is lost.
    pub fn is_leak(self) -> bool {
        matches!(self, VerdictKind::Leak | VerdictKind::BumpArenaGrowth | VerdictKind::ForeignAllocatorLeak)
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How sure a finding is.
///
/// High: growth is significant, follows time or a counter without saturation over five intervals or more, a pool
/// that fills within half the window is excluded. Medium: the same with one of these missing. Low: two snapshots, or
/// growth within what a cache may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "said above")]
pub enum Confidence {
    Low,
    Medium,
    High,
}

impl Confidence {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One fact behind a finding, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Evidence {
    /// A sentence with its figures.
    pub claim: String,
    /// File and figure it was read from.
    pub source: String,
}

impl Evidence {
    /// A claim with its source.
    pub fn new(claim: impl Into<String>, source: impl Into<String>) -> Self {
        Evidence { claim: claim.into(), source: source.into() }
    }
}

/// A frame as a report shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameView {
    /// Demangled function, or `module+0xoffset`.
    pub function: String,
    /// Source file.
    pub file: Option<String>,
    /// Line.
    pub line: Option<u32>,
    /// Module's base name.
    pub module: Option<String>,
    /// Return address as printed in the dump.
    pub address: Option<u64>,
    /// The call site in the ELF file's addresses.
    pub svma: Option<u64>,
    /// Inlined into the next frame.
    pub inlined: bool,
    /// Hidden by default.
    pub hidden: bool,
    /// Whose code.
    pub role: Option<Role>,
    /// Crate, where the name tells.
    pub krate: Option<String>,
}

/// Growth per unit of a regressor.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// The counter's column name, or `second`, `minute`, `hour`.
    pub per: String,
    /// Bytes per unit.
    pub bytes: Interval,
    /// Share of the variance explained.
    pub r2: f64,
}

/// A place in the binary that explains a suspect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SiteView {
    /// Word of the site catalogue: `arena-freeze`, ...
    pub kind: String,
    /// The function that skips it: `into_raw`; empty where only the missing drop shows.
    pub skip: String,
    /// The type whose destructor is skipped.
    pub type_name: String,
    /// How that type owns heap memory: `.1: alloc::vec::Vec<u8>`; empty where only its drop glue tells.
    pub owns_via: String,
    /// Function.
    pub function: String,
    /// Source file.
    pub file: Option<String>,
    /// Line.
    pub line: Option<u32>,
    /// How it was found: 1 inline entry or call, 2 path walk, 3 source text; 0 unwind cleanup.
    pub tier: u8,
    /// Generic wrappers between the function and what skips the drop, outermost first.
    pub via: Vec<String>,
    /// Addresses in the file's own terms.
    pub addresses: Vec<u64>,
    /// Every jump on the way could be followed.
    pub complete: bool,
    /// The binary it was read from: `indexer, build-id 5c1e...`.
    pub binary: String,
    /// It explains the growth, rather than may explain it.
    pub explains: bool,
}

/// Something is wrong here.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// 16 hex digits; the same after restart and rebuild.
    pub fingerprint: String,
    /// What it is.
    pub kind: VerdictKind,
    /// The detector whose pattern it shows.
    pub pattern: Option<&'static str>,
    /// How sure.
    pub confidence: Confidence,
    /// First to last snapshot, bytes.
    pub growth: Interval,
    /// The rate times the exposure: what the fitted line says; `None` without a fit.
    pub fitted: Option<Interval>,
    /// Course of its live bytes.
    pub shape: Shape,
    /// In how many of how many intervals it grew.
    pub rises: (usize, usize),
    /// Best-explaining rate first, then time.
    pub rates: Vec<Rate>,
    /// Share of the objects allocated since the first snapshot that are still live.
    pub survival: Option<f64>,
    /// The frame where the growth comes together.
    pub owner: FrameView,
    /// What the container was doing: `Vec growth`, `HashMap resize`.
    pub operation: Option<String>,
    /// Heaviest stack, innermost first.
    pub stack: Vec<FrameView>,
    /// Number of stacks grouped here.
    pub stacks: usize,
    /// Estimated live bytes at each dump.
    pub levels: Vec<f64>,
    /// Places in the binary that explain it, best first.
    pub sites: Vec<SiteView>,
    /// The static, thread-local or type that holds it, with the path to what grows.
    pub holder: Option<String>,
    /// Types of the reference cycle that it may belong to.
    pub cycle: Vec<String>,
    /// What is known, with sources.
    pub evidence: Vec<Evidence>,
    /// What would show that it is not a leak.
    pub refuted_by: String,
    /// What to do.
    pub remedy: String,
    /// Words to search for.
    pub keywords: Vec<String>,
    /// Source lines around the owner's, with their numbers, where the file is at hand.
    pub source: Vec<(u32, String)>,
    /// Why a suppression silences it; suppressed suspects are counted and not shown.
    pub suppressed: Option<String>,
}

impl Suspect {
    /// Linear growth of one stack, of which nothing else is known.
    pub fn new(kind: VerdictKind, growth: Interval, stack: Vec<FrameView>) -> Self {
        Suspect {
            fingerprint: String::new(),
            kind,
            pattern: None,
            confidence: Confidence::Low,
            growth,
            fitted: None,
            shape: Shape::Linear,
            rises: (0, 0),
            rates: Vec::new(),
            survival: None,
            owner: FrameView::default(),
            operation: None,
            stack,
            stacks: 1,
            levels: Vec::new(),
            sites: Vec::new(),
            holder: None,
            cycle: Vec::new(),
            evidence: Vec::new(),
            refuted_by: String::new(),
            remedy: String::new(),
            keywords: Vec::new(),
            source: Vec::new(),
            suppressed: None,
        }
    }
}

/// Growth that was looked at and is not a leak.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared {
    /// What it is instead.
    pub kind: VerdictKind,
    /// First to last snapshot, bytes.
    pub growth: Interval,
    /// The frame where it comes together, for live growth.
    pub owner: Option<FrameView>,
    /// Why it is not a leak; a sentence.
    pub reason: String,
    /// Live bytes at each dump; empty for ledger rows.
    pub levels: Vec<f64>,
}

/// A fact that would make the answer more certain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Missing {
    /// What is missing: `stats`, `accumulated counts`, `debug info`.
    pub fact: String,
    /// What could not be told because of it.
    pub consequence: String,
    /// How to get it.
    pub remedy: String,
}

impl Missing {
    /// The three parts.
    pub fn new(fact: impl Into<String>, consequence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Missing { fact: fact.into(), consequence: consequence.into(), remedy: remedy.into() }
    }
}

/// The conclusion.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What it is.
    pub kind: VerdictKind,
    /// What else explains more than a tenth of the growth.
    pub also: Vec<VerdictKind>,
    /// How sure.
    pub confidence: Confidence,
    /// One or two sentences.
    pub summary: String,
}

/// 64-bit FNV-1a (Fowler, Noll, Vo): a name for a group that stays the same across runs, builds and platforms.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique() {
        let mut words: Vec<&str> = VerdictKind::ALL.iter().map(|k| k.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), VerdictKind::ALL.len());
    }

    #[test]
    fn fingerprints_depend_on_the_parts() {
        assert_eq!(fingerprint(["leak", "a::b"]).len(), 16);
        assert_ne!(fingerprint(["leak", "a::b"]), fingerprint(["leaka", "::b"]));
        assert_eq!(fingerprint([]), "cbf29ce484222325");
    }
}
