//! Stacks with names and values, flat and owned: what every exchange format is written from.
//!
//! Values are estimates (unsampled per stack, then rounded to whole bytes and objects). Stacks of several
//! tables, of two builds for instance, may stand in one [`Profile`]; a format that merges by name merges them.

use crate::analysis::estimate::{Estimated, unsample};
use crate::analysis::filter::{Filter, Measure};
use crate::model::frame::{Frame, ModuleId, NameId, Names, Role, Symbols};
use crate::model::heap::{HeapProfile, Sampled, Sampling};
use crate::model::mapping::AddressSpace;
use crate::model::role::{crate_of, crate_of_file};
use crate::model::stack::{AddressId, StackId, StackTable};
use crate::origin::base_name;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::ops::Range;

/// Stands for the frames of a stack that are all left out.
const NO_FRAMES: &str = "[no frames shown]";

/// Named stacks with their values.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// What it is a profile of, for a viewer's title.
    pub title: String,
    /// How it was made; one sentence each.
    pub comments: Vec<String>,
    /// When it was taken, Unix milliseconds; `None` where only the order is known.
    pub unix_ms: Option<i64>,
    /// Mean bytes between samples; 1 where every allocation was recorded.
    pub interval: u64,
    /// Whether values are given for all allocations since the start, beside the live ones.
    pub accumulated: bool,
    /// Whether values are differences, which may be negative.
    pub difference: bool,
    /// Every text.
    pub names: Names,
    /// Distinct frames.
    pub frames: Vec<ExportFrame>,
    /// Distinct addresses with their frames.
    pub locations: Vec<Location>,
    /// Mapped files, by address.
    pub mappings: Vec<MappedFile>,
    /// Threads that samples refer to.
    pub threads: Vec<String>,
    /// Stacks with values.
    pub samples: Vec<ExportSample>,
    lines: Vec<u32>,
    stacks: Vec<u32>,
}

/// A function activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExportFrame {
    /// Function, demangled; `module+0xoffset` for one without a name.
    pub function: NameId,
    /// Linkage name, where it differs.
    pub linkage: Option<NameId>,
    /// Source file.
    pub file: Option<NameId>,
    /// Line in it.
    pub line: Option<u32>,
    /// Crate (for C++: namespace), where name or file tell.
    pub krate: Option<NameId>,
    /// Base name of the module.
    pub module: Option<NameId>,
    /// Whose code it is.
    pub role: Role,
    /// Whether it has a name of its own.
    pub named: bool,
    /// Whether it was inlined into the next frame of the same address.
    pub inlined: bool,
}

impl ExportFrame {
    /// Nothing is known of it but what stands for it.
    fn unnamed(function: NameId) -> Self {
        ExportFrame {
            function,
            linkage: None,
            file: None,
            line: None,
            krate: None,
            module: None,
            role: Role::User,
            named: false,
            inlined: false,
        }
    }
}

/// An address of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Address inside the call instruction.
    pub address: u64,
    /// Index of its mapping.
    pub mapping: Option<u32>,
    lines: Range<u32>,
}

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// Offset of the first address in the file.
    pub offset: u64,
    /// Path.
    pub path: String,
    /// Build-id in hex, where known.
    pub build_id: Option<String>,
}

/// Objects and bytes; negative in a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Objects.
    pub objects: i64,
    /// Bytes.
    pub bytes: i64,
}

impl Amount {
    /// An estimate in whole objects and bytes.
    pub fn of(estimate: &Estimated) -> Amount {
        Amount { objects: estimate.objects.round() as i64, bytes: estimate.bytes.round() as i64 }
    }

    /// The change from `before` to `self`.
    pub fn less(self, before: Amount) -> Amount {
        Amount { objects: self.objects.saturating_sub(before.objects), bytes: self.bytes.saturating_sub(before.bytes) }
    }

    /// Whether both are nothing.
    pub fn is_zero(self) -> bool {
        self == Amount::default()
    }
}

impl std::ops::Add for Amount {
    type Output = Amount;
    fn add(self, other: Amount) -> Amount {
        Amount { objects: self.objects.saturating_add(other.objects), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// A stack with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSample {
    stack: Range<u32>,
    /// Index of the thread, where samples are told apart by thread.
    pub thread: Option<u32>,
    /// Live.
    pub live: Amount,
    /// Since the start.
    pub accumulated: Amount,
}

impl ExportSample {
    /// Values without a stack: a total.
    pub fn of(live: Amount, accumulated: Amount) -> Self {
        ExportSample { stack: 0..0, thread: None, live, accumulated }
    }

    /// The number that `measure` looks at.
    pub fn number(&self, measure: Measure) -> i64 {
        let amount = if measure.is_accumulated() { self.accumulated } else { self.live };
        if measure.is_objects() { amount.objects } else { amount.bytes }
    }
}

impl Profile {
    /// Locations of a sample, innermost first.
    pub fn stack(&self, sample: &ExportSample) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + Clone + '_ {
        self.stacks[sample.stack.start as usize..sample.stack.end as usize].iter().copied()
    }

    /// Indexes of the frames of a location, innermost (inlined) first; at least one.
    pub fn lines(&self, location: u32) -> &[u32] {
        let lines = &self.locations[location as usize].lines;
        &self.lines[lines.start as usize..lines.end as usize]
    }

    /// Indexes of all frames of a sample, innermost first.
    pub fn path(&self, sample: &ExportSample) -> impl DoubleEndedIterator<Item = u32> + Clone + '_ {
        self.stack(sample).flat_map(|location| self.lines(location).iter().copied())
    }

    /// Name of a frame.
    pub fn function(&self, frame: u32) -> &str {
        self.names.get(self.frames[frame as usize].function)
    }

    /// A text, where there is one.
    pub fn text(&self, name: Option<NameId>) -> Option<&str> {
        name.map(|name| self.names.get(name))
    }

    /// Leaves out frames that are not `visible`, and with `cut` the callers of the outermost frame that `begins`.
    pub(super) fn rewrite(&mut self, visible: impl Fn(u32) -> bool, cut: bool, begins: impl Fn(u32) -> bool) {
        let locations = std::mem::take(&mut self.locations);
        let lines = std::mem::take(&mut self.lines);
        let stacks = std::mem::take(&mut self.stacks);
        let lines_of = |location: u32| {
            let range = &locations[location as usize].lines;
            &lines[range.start as usize..range.end as usize]
        };
        // A location with its first frames, by their number; `None` where none is visible.
        let mut rewritten: HashMap<(u32, usize), Option<u32>, FxBuildHasher> = HashMap::default();
        let mut known: HashMap<(u32, u32), Range<u32>, FxBuildHasher> = HashMap::default();
        let mut samples = std::mem::take(&mut self.samples);
        for sample in &mut samples {
            let range = sample.stack.clone();
            if let Some(known) = known.get(&(range.start, range.end)) {
                sample.stack = known.clone();
                continue;
            }
            let path = &stacks[range.start as usize..range.end as usize];
            let matches =
                path.iter().enumerate().filter_map(|(at, &location)| Some((at, lines_of(location).iter().rposition(|&f| begins(f))?)));
            let last = if cut { matches.last() } else { None };
            let start = self.stacks.len() as u32;
            for (at, &location) in path.iter().enumerate() {
                let whole = lines_of(location);
                let end = match last {
                    _ if !cut => whole.len(),
                    Some((outermost, _)) if at < outermost => whole.len(),
                    Some((outermost, frame)) if at == outermost => frame + 1,
                    _ => 0,
                };
                let new = *rewritten.entry((location, end)).or_insert_with(|| {
                    let first = self.lines.len() as u32;
                    self.lines.extend(whole[..end].iter().copied().filter(|&frame| visible(frame)));
                    let lines = first..self.lines.len() as u32;
                    let old = &locations[location as usize];
                    (!lines.is_empty()).then(|| {
                        self.locations.push(Location { address: old.address, mapping: old.mapping, lines });
                        self.locations.len() as u32 - 1
                    })
                });
                self.stacks.extend(new);
            }
            sample.stack = start..self.stacks.len() as u32;
            known.insert((range.start, range.end), sample.stack.clone());
        }
        self.samples = samples;
    }

    /// Gives stacks without frames one that says so, for formats in which bytes are a function's.
    pub fn name_empty_stacks(&mut self) {
        if self.samples.iter().all(|sample| !sample.stack.is_empty()) {
            return;
        }
        let function = self.names.intern(NO_FRAMES);
        let (frame, line) = (self.frames.len() as u32, self.lines.len() as u32);
        self.frames.push(ExportFrame::unnamed(function));
        self.lines.push(frame);
        self.locations.push(Location { address: 0, mapping: None, lines: line..line + 1 });
        let at = self.stacks.len() as u32;
        self.stacks.push(self.locations.len() as u32 - 1);
        for sample in self.samples.iter_mut().filter(|sample| sample.stack.is_empty()) {
            sample.stack = at..at + 1;
        }
    }

    /// Sum over all samples: live, accumulated.
    pub fn total(&self) -> (Amount, Amount) {
        self.samples.iter().fold(Default::default(), |(live, accumulated), sample| (live + sample.live, accumulated + sample.accumulated))
    }
}

/// Collects stacks of one table after the other into a [`Profile`].
#[derive(Debug)]
pub struct Builder {
    profile: Profile,
    frames: HashMap<ExportFrame, u32, FxBuildHasher>,
    redact: bool,
}

/// The stacks, names and mappings that values refer to; one per process or build.
#[derive(Debug)]
pub struct Source<'a> {
    stacks: &'a StackTable,
    symbols: &'a Symbols,
    space: &'a AddressSpace,
    locations: Vec<Option<u32>>,
    ranges: HashMap<StackId, Range<u32>, FxBuildHasher>,
    first_mapping: u32,
}

impl Builder {
    /// An empty profile; with `redact` paths become base names.
    pub fn new(title: impl Into<String>, redact: bool) -> Self {
        let profile = Profile { title: title.into(), interval: 1, ..Profile::default() };
        Builder { profile, frames: HashMap::default(), redact }
    }

    /// Adds a table of stacks; values are then added with [`Builder::add`].
    pub fn source<'a>(&mut self, stacks: &'a StackTable, symbols: &'a Symbols, space: &'a AddressSpace) -> Source<'a> {
        let first_mapping = self.profile.mappings.len() as u32;
        let build_id =
            |path: &str| symbols.modules.iter().find(|m| m.path == path).and_then(|m| m.build_id.as_ref()).map(ToString::to_string);
        for mapping in space.mappings() {
            let path = mapping.path().map_or_else(|| mapping.display_name(), String::from_utf8_lossy);
            let build_id = build_id(&path);
            let path = if self.redact { base_name(&path).to_owned() } else { path.into_owned() };
            self.profile.mappings.push(MappedFile {
                start: mapping.range.start.get(),
                end: mapping.range.end.get(),
                offset: mapping.offset.get(),
                path,
                build_id,
            });
        }
        Source { stacks, symbols, space, locations: vec![None; stacks.addresses().len()], ranges: HashMap::default(), first_mapping }
    }

    /// The index of a thread's name, added where it is new.
    pub fn thread(&mut self, name: &str) -> u32 {
        let threads = &mut self.profile.threads;
        let found = threads.iter().position(|thread| thread == name);
        found.unwrap_or_else(|| {
            threads.push(name.to_owned());
            threads.len() - 1
        }) as u32
    }

    /// Adds values of a stack; nothing where all are zero.
    pub fn add(&mut self, source: &mut Source<'_>, stack: StackId, thread: Option<u32>, live: Amount, accumulated: Amount) {
        if live.is_zero() && accumulated.is_zero() {
            return;
        }
        let stack = self.range(source, stack);
        self.profile.samples.push(ExportSample { stack, thread, live, accumulated });
    }

    /// Adds a stack whose values are kept elsewhere; its position in [`Profile::samples`].
    pub fn stack(&mut self, source: &mut Source<'_>, stack: StackId) -> u32 {
        let stack = self.range(source, stack);
        self.profile.samples.push(ExportSample { stack, ..ExportSample::of(Amount::default(), Amount::default()) });
        self.profile.samples.len() as u32 - 1
    }

    /// The profile with the values that were added.
    pub fn finish(self) -> Profile {
        self.profile
    }

    /// What is said of the profile as a whole.
    pub fn about(&mut self) -> &mut Profile {
        &mut self.profile
    }

    fn range(&mut self, source: &mut Source<'_>, stack: StackId) -> Range<u32> {
        if let Some(known) = source.ranges.get(&stack) {
            return known.clone();
        }
        let start = self.profile.stacks.len() as u32;
        for address in source.stacks.stack(stack) {
            let location = self.location(source, address);
            self.profile.stacks.push(location);
        }
        let range = start..self.profile.stacks.len() as u32;
        source.ranges.insert(stack, range.clone());
        range
    }

    fn location(&mut self, source: &mut Source<'_>, address: AddressId) -> u32 {
        if let Some(known) = source.locations[address.index()] {
            return known;
        }
        let at = source.stacks.address(address).lookup();
        let mapping = source.space.find(at).and_then(|found| {
            let mappings = source.space.mappings();
            let first = mappings.partition_point(|m| m.range.start < found.range.start);
            let index = first + mappings[first..].iter().position(|m| std::ptr::eq(m, found))?;
            Some(index as u32 + source.first_mapping)
        });
        let start = self.profile.lines.len() as u32;
        for frame in source.symbols.frames(address) {
            let frame = self.frame(source.symbols, frame);
            self.profile.lines.push(frame);
        }
        if start == self.profile.lines.len() as u32 {
            let function = self.profile.names.intern(&format!("{at:#x}"));
            let frame = self.intern(ExportFrame::unnamed(function));
            self.profile.lines.push(frame);
        }
        let id = self.profile.locations.len() as u32;
        let lines = start..self.profile.lines.len() as u32;
        // The topmost bit marks an address that was made up for a place without one.
        let known = if mapping.is_none() && at.get() >> 63 == 1 { 0 } else { at.get() };
        self.profile.locations.push(Location { address: known, mapping, lines });
        source.locations[address.index()] = Some(id);
        id
    }

    fn frame(&mut self, symbols: &Symbols, frame: &Frame) -> u32 {
        let redact = self.redact;
        let names = &mut self.profile.names;
        let function = symbols.function(frame);
        let file = symbols.file(frame);
        let krate = match frame.unresolved {
            None => crate_of(function).or_else(|| file.and_then(crate_of_file)),
            Some(_) => None,
        };
        let converted = ExportFrame {
            function: names.intern(function),
            linkage: frame.linkage.map(|linkage| names.intern(symbols.names.get(linkage))),
            file: file.map(|file| names.intern(if redact { base_name(file) } else { file })),
            line: frame.line,
            krate: krate.map(|krate| names.intern(krate)),
            module: frame.module.map(|ModuleId(module)| names.intern(&symbols.modules[module as usize].name)),
            role: frame.role,
            named: frame.unresolved.is_none(),
            inlined: frame.inlined,
        };
        self.intern(converted)
    }

    fn intern(&mut self, frame: ExportFrame) -> u32 {
        let next = self.profile.frames.len() as u32;
        let id = *self.frames.entry(frame).or_insert(next);
        if id == next {
            self.profile.frames.push(frame);
        }
        id
    }
}

/// One dump with the tables its stacks refer to.
#[derive(Clone, Copy, Debug)]
pub struct Dump<'a> {
    /// The dump.
    pub heap: &'a HeapProfile,
    /// Its stacks.
    pub stacks: &'a StackTable,
    /// Their names.
    pub symbols: &'a Symbols,
    /// Which stacks are wanted, by id; `None` for all.
    pub keep: Option<&'a [bool]>,
}

impl Dump<'_> {
    fn wants(&self, stack: StackId) -> bool {
        self.keep.is_none_or(|keep| keep.get(stack.index()).copied().unwrap_or(false))
    }
}

/// Adds the stacks of a dump, by thread where the dump was read with its threads.
pub fn add_dump(builder: &mut Builder, dump: &Dump<'_>, filter: &Filter) {
    let sampling = filter.sampling(dump.heap);
    builder.profile.accumulated |= dump.heap.accumulated;
    builder.profile.interval = match dump.heap.sampling {
        Sampling::Exact => 1,
        Sampling::Interval(bytes) => bytes.get(),
    };
    let mut source = builder.source(dump.stacks, dump.symbols, &dump.heap.mappings);
    let estimates = by_stack(dump, sampling);
    if dump.heap.thread_samples.is_empty() {
        for (stack, (live, accumulated)) in estimates.into_iter().filter(|_| filter.thread.is_none()) {
            builder.add(&mut source, stack, None, live, accumulated);
        }
        return;
    }
    let mut shares: HashMap<StackId, Vec<(u32, Sampled, Sampled)>, FxBuildHasher> = HashMap::default();
    for part in &dump.heap.thread_samples {
        shares.entry(part.stack).or_default().push((part.thread, part.live, part.accumulated));
    }
    let threads = &dump.heap.threads;
    let names: Vec<String> = threads.iter().map(|t| t.name.clone().unwrap_or_else(|| format!("t{}", t.uid))).collect();
    let wanted: Vec<bool> = threads.iter().map(|t| filter.thread_fits(t.uid, t.name.as_deref())).collect();
    for (stack, (live, accumulated)) in estimates {
        let Some(parts) = shares.get(&stack) else {
            if filter.thread.is_none() {
                builder.add(&mut source, stack, None, live, accumulated);
            }
            continue;
        };
        let lives = split(live, parts.iter().map(|part| part.1));
        let accumulateds = split(accumulated, parts.iter().map(|part| part.2));
        for (((thread, ..), live), accumulated) in parts.iter().zip(lives).zip(accumulateds) {
            if !wanted.get(*thread as usize).copied().unwrap_or(filter.thread.is_none()) {
                continue;
            }
            let thread = names.get(*thread as usize).map(|name| builder.thread(name));
            builder.add(&mut source, stack, thread, live, accumulated);
        }
    }
}

/// Adds what changed from one dump to another. Dumps that share a table are subtracted stack by stack; otherwise the
/// stacks of the first count negative, and whoever merges by name gets the difference.
pub fn add_difference(builder: &mut Builder, base: &Dump<'_>, current: &Dump<'_>, filter: &Filter) {
    builder.profile.difference = true;
    builder.profile.accumulated = base.heap.accumulated && current.heap.accumulated;
    builder.profile.interval = match current.heap.sampling {
        Sampling::Exact => 1,
        Sampling::Interval(bytes) => bytes.get(),
    };
    let before = by_stack(base, filter.sampling(base.heap));
    let after = by_stack(current, filter.sampling(current.heap));
    let mut source = builder.source(current.stacks, current.symbols, &current.heap.mappings);
    if !std::ptr::eq(base.stacks, current.stacks) {
        for (stack, (live, accumulated)) in after {
            builder.add(&mut source, stack, None, live, accumulated);
        }
        let mut source = builder.source(base.stacks, base.symbols, &base.heap.mappings);
        for (stack, (live, accumulated)) in before {
            builder.add(&mut source, stack, None, Amount::default().less(live), Amount::default().less(accumulated));
        }
        return;
    }
    let mut changes: HashMap<StackId, (Amount, Amount), FxBuildHasher> = HashMap::default();
    let mut order = Vec::new();
    let both = before.into_iter().map(|(s, (l, a))| (s, Amount::default().less(l), Amount::default().less(a)));
    for (stack, live, accumulated) in both.chain(after.into_iter().map(|(s, (l, a))| (s, l, a))) {
        let change = changes.entry(stack).or_insert_with(|| {
            order.push(stack);
            Default::default()
        });
        *change = (change.0 + live, change.1 + accumulated);
    }
    for stack in order {
        let (live, accumulated) = changes[&stack];
        builder.add(&mut source, stack, None, live, accumulated);
    }
}

/// Estimates of every stack in the order of the dump, live and accumulated; each record is unsampled by itself.
fn by_stack(dump: &Dump<'_>, sampling: Sampling) -> Vec<(StackId, (Amount, Amount))> {
    let mut at: HashMap<StackId, usize, FxBuildHasher> = HashMap::default();
    let mut all: Vec<(StackId, (Amount, Amount))> = Vec::with_capacity(dump.heap.samples.len());
    for sample in dump.heap.samples.iter().filter(|sample| dump.wants(sample.stack)) {
        let live = Amount::of(&unsample(sample.live, sampling));
        let accumulated = Amount::of(&unsample(sample.accumulated, sampling));
        let index = *at.entry(sample.stack).or_insert_with(|| {
            all.push((sample.stack, Default::default()));
            all.len() - 1
        });
        let (_, sum) = &mut all[index];
        *sum = (sum.0 + live, sum.1 + accumulated);
    }
    all
}

/// Shares out an amount in proportion to the counts of its parts; the shares add up to it exactly. Counts of parts are
/// not unsampled by themselves: the mean size of a part would stand for another probability than that of the whole.
fn split(whole: Amount, parts: impl Iterator<Item = Sampled> + Clone) -> Vec<Amount> {
    let objects: f64 = parts.clone().map(|part| part.objects as f64).sum();
    let bytes: f64 = parts.clone().map(|part| part.bytes as f64).sum();
    let share = |amount: i64, part: f64, total: f64| if total > 0.0 { (amount as f64 * (part / total)).round() as i64 } else { 0 };
    let (mut seen, mut given) = ((0.0, 0.0), Amount::default());
    parts
        .map(|part| {
            seen = (seen.0 + part.objects as f64, seen.1 + part.bytes as f64);
            let upto = Amount { objects: share(whole.objects, seen.0, objects), bytes: share(whole.bytes, seen.1, bytes) };
            let own = upto.less(given);
            given = upto;
            own
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::address::{AddrRange, Avma, FileOffset, ReturnAddress};
    use crate::model::frame::{DebugInfo, ModuleStatus, ModuleSymbols};
    use crate::model::heap::{Family, Sample, Thread, ThreadSample, Unbias};
    use crate::model::mapping::Mapping;
    use crate::units::Bytes;

    /// Two stacks of `app`, 64 B objects at one sample per KiB; `main -> serve -> parse (inlined into serve) -> malloc`
    /// and `main -> load -> malloc`.
    pub(crate) fn model(threads: bool) -> (StackTable, Symbols, HeapProfile) {
        let mut stacks = StackTable::new();
        let stack = |stacks: &mut StackTable, list: &[u64]| stacks.intern(&list.iter().map(|&a| ReturnAddress::new(a)).collect::<Vec<_>>());
        let a = stack(&mut stacks, &[0x1101, 0x1201, 0x1301]);
        let b = stack(&mut stacks, &[0x1101, 0x1401, 0x1301]);
        let mut symbols = Symbols::default();
        type Named<'a> = (&'a str, Option<(&'a str, u32)>, Role);
        let frames: [&[Named<'_>]; 4] = [
            &[("malloc", None, Role::Allocator)],
            &[("app::parse", Some(("/src/app/parse.rs", 7)), Role::User), ("app::serve", Some(("/src/app/main.rs", 20)), Role::User)],
            &[("main", Some(("/src/app/main.rs", 3)), Role::User)],
            &[("<app::Load as app::Run>::load[u8; 32]", Some(("/src/app/load.rs", 9)), Role::User)],
        ];
        for list in frames {
            let frames: Vec<Frame> = list
                .iter()
                .enumerate()
                .map(|(i, &(function, place, role))| Frame {
                    function: symbols.names.intern(function),
                    linkage: None,
                    file: place.map(|(file, _)| symbols.names.intern(file)),
                    line: place.map(|(_, line)| line),
                    module: Some(ModuleId(0)),
                    svma: None,
                    inlined: i + 1 < list.len(),
                    role,
                    unresolved: None,
                })
                .collect();
            symbols.push(frames);
        }
        symbols.modules.push(ModuleSymbols {
            name: "app".to_owned(),
            path: "/srv/app".to_owned(),
            file: None,
            debug_files: Default::default(),
            build_id: crate::address::BuildId::from_hex("0123abcd"),
            status: ModuleStatus::Ok,
            debug_info: DebugInfo::Full,
            addresses: 4,
            symbolized: 4,
            remedy: None,
        });
        let counts = |objects, bytes| Sampled { objects, bytes };
        let sample =
            |stack, objects: u64, all: u64| Sample { stack, live: counts(objects, objects * 64), accumulated: counts(all, all * 64) };
        let part = |thread, stack, objects: u64| ThreadSample {
            thread,
            stack,
            live: counts(objects, objects * 64),
            accumulated: counts(objects, objects * 64),
        };
        let mapping = |start: u64, end: u64, name: &[u8]| Mapping {
            range: AddrRange::new(Avma::new(start), Avma::new(end)),
            perms: *b"r-xp",
            offset: FileOffset::new(0x100),
            device: (8, 1),
            inode: 7,
            name: name.into(),
        };
        let heap = HeapProfile {
            family: Family::JemallocThreaded,
            sampling: Sampling::Interval(Bytes::new(1024)),
            accumulated: true,
            unbias: Unbias::On,
            header: None,
            threads: vec![
                Thread { uid: 0, name: Some("worker".to_owned()), live: Sampled::default() },
                Thread { uid: 1, name: None, live: Sampled::default() },
            ],
            samples: vec![sample(a, 30, 50), sample(b, 10, 10)],
            thread_samples: if threads { vec![part(0, a, 20), part(1, a, 10), part(1, b, 10)] } else { Vec::new() },
            mappings: AddressSpace::new(vec![mapping(0x1000, 0x2000, b"/srv/app"), mapping(0x9000, 0xa000, b"[heap]")]),
            truncated: false,
        };
        (stacks, symbols, heap)
    }

    pub(crate) fn profile(threads: bool, redact: bool) -> Profile {
        let (stacks, symbols, heap) = model(threads);
        let mut builder = Builder::new("app", redact);
        builder.about().comments.push("made by a test".to_owned());
        builder.about().unix_ms = Some(1_763_650_000_123);
        add_dump(&mut builder, &Dump { heap: &heap, stacks: &stacks, symbols: &symbols, keep: None }, &Filter::default());
        builder.finish()
    }

    #[test]
    fn estimates_are_of_each_stack() {
        let profile = profile(false, false);
        let p = -(-64.0f64 / 1024.0).exp_m1();
        assert_eq!(profile.samples[0].live, Amount { objects: (30.0 / p).round() as i64, bytes: (30.0 * 64.0 / p).round() as i64 });
        assert_eq!(profile.samples.len(), 2);
        let path: Vec<&str> = profile.path(&profile.samples[0]).map(|frame| profile.function(frame)).collect();
        assert_eq!(path, ["malloc", "app::parse", "app::serve", "main"]);
        assert_eq!(profile.mappings[0].build_id.as_deref(), Some("0123abcd"));
    }

    #[test]
    fn threads_share_a_stack_without_loss() {
        let (whole, parts) = (profile(false, false), profile(true, false));
        assert_eq!(whole.total(), parts.total());
        assert_eq!(parts.threads, ["worker", "t1"]);
        assert_eq!(parts.samples.len(), 3);
        let thirds = split(Amount { objects: 10, bytes: 100 }, [Sampled { objects: 1, bytes: 1 }; 3].into_iter());
        assert_eq!(thirds.iter().map(|t| t.bytes).collect::<Vec<_>>(), [33, 34, 33]);
    }

    #[test]
    fn differences_add_up() {
        let (stacks, symbols, heap) = model(false);
        let dump = Dump { heap: &heap, stacks: &stacks, symbols: &symbols, keep: None };
        let mut builder = Builder::new("same", false);
        add_difference(&mut builder, &dump, &dump, &Filter::default());
        assert_eq!(builder.finish().samples, [], "a dump less itself is nothing");
        let (other, other_symbols, mut more) = model(false);
        more.samples[0].live.objects += 10;
        more.samples[0].live.bytes += 640;
        let mut builder = Builder::new("two builds", false);
        add_difference(&mut builder, &dump, &Dump { heap: &more, stacks: &other, symbols: &other_symbols, keep: None }, &Filter::default());
        let profile = builder.finish();
        assert_eq!(profile.samples.len(), 4);
        let p = -(-64.0f64 / 1024.0).exp_m1();
        assert!((profile.total().0.bytes - (640.0 / p) as i64).abs() <= 2);
    }

    #[test]
    fn redacted_paths_are_base_names() {
        let profile = profile(false, true);
        assert_eq!(profile.mappings[0].path, "app");
        assert!(profile.frames.iter().all(|frame| profile.text(frame.file).is_none_or(|file| !file.contains('/'))));
    }
}
