//! Everything a page needs to look at any pair of snapshots: the tree of all frames, stacks in it, and their sampled
//! counts at every dump. Counts are as sampled; whoever shows them undoes the sampling per stack.

use crate::analysis::export::{Builder, Profile, Source};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::owner::Owners;
use crate::model::frame::Symbols;
use crate::model::heap::{HeapProfile, Sampled, Sampling};
use crate::model::mapping::AddressSpace;
use crate::model::stack::{StackId, StackTable};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Stacks of any number of dumps as one tree.
#[derive(Clone, Debug, Default)]
pub struct Explorer {
    /// Frames, names and threads; of its samples only the positions mean something.
    pub profile: Profile,
    /// The tree, callers before callees; node 0 is the root and has no frame.
    pub nodes: Vec<Node>,
    /// Stacks: the nodes of their innermost and of their owner frame.
    pub stacks: Vec<StackPlace>,
    /// Dumps in order of time.
    pub dumps: Vec<DumpCounts>,
}

/// A frame below its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The caller's node.
    pub parent: u32,
    /// Index of the frame; that of the root means nothing.
    pub frame: u32,
}

/// Where a stack is in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackPlace {
    /// Node of the innermost frame.
    pub leaf: u32,
    /// Node of the owner frame.
    pub owner: u32,
}

/// The counts of one dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpCounts {
    /// Mean bytes between samples; 1 where every allocation was recorded.
    pub interval: u64,
    /// Which process it is of: objects of one process that live in both dumps are sampled in both or in neither.
    pub process: u32,
    /// Whether accumulated counts were recorded.
    pub accumulated: bool,
    /// By stack, ascending.
    pub counts: Vec<Counts>,
    /// By stack and thread, ascending; empty where threads were not read.
    pub threads: Vec<ThreadCounts>,
}

/// Counts of one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Index of the stack.
    pub stack: u32,
    /// Live.
    pub live: Sampled,
    /// Since the start.
    pub accumulated: Sampled,
}

/// Live counts of one stack in one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadCounts {
    /// Index of the stack.
    pub stack: u32,
    /// Index of the thread's name.
    pub thread: u32,
    /// Live.
    pub live: Sampled,
}

/// Collects dumps into an [`Explorer`].
#[derive(Debug)]
pub struct Collect {
    builder: Builder,
    nodes: Vec<Node>,
    children: HashMap<(u32, u32), u32, FxBuildHasher>,
    stacks: Vec<StackPlace>,
    dumps: Vec<DumpCounts>,
    processes: u32,
}

/// One process of a [`Collect`]: a table of stacks with its names.
#[derive(Debug)]
pub struct Process<'a> {
    source: Source<'a>,
    stacks: &'a StackTable,
    owners: Owners<'a>,
    known: HashMap<StackId, u32, FxBuildHasher>,
    id: u32,
}

/// Nothing yet.
impl Default for Collect {
    fn default() -> Self {
        Collect {
            builder: Builder::new("", false),
            nodes: vec![Node::default()],
            children: HashMap::default(),
            stacks: Vec::new(),
            dumps: Vec::new(),
            processes: 0,
        }
    }
}

impl Collect {
    /// Begins with another process.
    pub fn process<'a>(&mut self, stacks: &'a StackTable, symbols: &'a Symbols, space: &'a AddressSpace) -> Process<'a> {
        self.processes += 1;
        let source = self.builder.source(stacks, symbols, space);
        Process { source, stacks, owners: Owners::new(symbols), known: HashMap::default(), id: self.processes - 1 }
    }

    /// Adds a dump of a process; the order of calls is the order of dumps.
    pub fn dump(&mut self, process: &mut Process<'_>, heap: &HeapProfile, filter: &Filter) {
        let mut sums: HashMap<u32, (Sampled, Sampled), FxBuildHasher> = HashMap::default();
        for sample in &heap.samples {
            if (sample.live.objects == 0 && sample.accumulated.objects == 0) || !filter.size_fits(Measure::InuseSpace.of(sample)) {
                continue;
            }
            let stack = self.stack(process, sample.stack);
            let sum = sums.entry(stack).or_default();
            *sum = (sum.0.plus(sample.live), sum.1.plus(sample.accumulated));
        }
        let mut counts: Vec<Counts> = sums.into_iter().map(|(stack, (live, accumulated))| Counts { stack, live, accumulated }).collect();
        counts.sort_unstable_by_key(|counts| counts.stack);
        let names: Vec<u32> = heap
            .threads
            .iter()
            .map(|thread| {
                let name = thread.name.clone().unwrap_or_else(|| format!("t{}", thread.uid));
                self.builder.thread(&name)
            })
            .collect();
        let part = |part: &crate::model::heap::ThreadSample| {
            let stack = *process.known.get(&part.stack)?;
            Some(ThreadCounts { stack, thread: *names.get(part.thread as usize)?, live: part.live })
        };
        let mut threads: Vec<ThreadCounts> = heap.thread_samples.iter().filter_map(part).filter(|part| part.live.objects > 0).collect();
        threads.sort_by_key(|part| (part.stack, part.thread));
        self.dumps.push(DumpCounts {
            interval: match filter.sampling(heap) {
                Sampling::Exact => 1,
                Sampling::Interval(bytes) => bytes.get(),
            },
            process: process.id,
            accumulated: heap.accumulated,
            counts,
            threads,
        });
    }

    /// What was collected.
    pub fn finish(self) -> Explorer {
        Explorer { profile: self.builder.finish(), nodes: self.nodes, stacks: self.stacks, dumps: self.dumps }
    }

    fn stack(&mut self, process: &mut Process<'_>, stack: StackId) -> u32 {
        if let Some(&known) = process.known.get(&stack) {
            return known;
        }
        let sample = self.builder.stack(&mut process.source, stack);
        let owner_depth = process.owners.of(process.stacks.stack(stack)).map_or(0, |owner| owner.depth);
        let profile = self.builder.about();
        let path: Vec<u32> = profile.path(&profile.samples[sample as usize]).collect();
        let (mut node, mut owner) = (0, 0);
        for (depth, &frame) in path.iter().enumerate().rev() {
            let next = self.nodes.len() as u32;
            node = *self.children.entry((node, frame)).or_insert_with_key(|&(parent, frame)| {
                self.nodes.push(Node { parent, frame });
                next
            });
            if depth == owner_depth {
                owner = node;
            }
        }
        let id = self.stacks.len() as u32;
        self.stacks.push(StackPlace { leaf: node, owner });
        process.known.insert(stack, id);
        id
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::analysis::export::tests::model;

    /// The two stacks of the test model at two dumps; the second has ten more objects in the first stack.
    pub(crate) fn explorer(threads: bool) -> Explorer {
        let (stacks, symbols, heap) = model(threads);
        let mut later = heap.clone();
        later.samples[0].live = Sampled { objects: 40, bytes: 2560 };
        later.samples[0].accumulated = Sampled { objects: 60, bytes: 3840 };
        let mut collect = Collect::default();
        let space = heap.mappings.clone();
        let mut process = collect.process(&stacks, &symbols, &space);
        collect.dump(&mut process, &heap, &Filter::default());
        collect.dump(&mut process, &later, &Filter::default());
        drop(process);
        collect.finish()
    }

    #[test]
    fn stacks_share_the_nodes_of_their_callers() {
        let explorer = explorer(false);
        assert_eq!(explorer.nodes.len(), 1 + 1 + 3 + 2, "root, main, serve-parse-malloc, load-malloc");
        assert!(explorer.nodes.iter().enumerate().skip(1).all(|(i, node)| (node.parent as usize) < i));
        let name = |node: u32| explorer.profile.function(explorer.nodes[node as usize].frame);
        let owners: Vec<&str> = explorer.stacks.iter().map(|s| name(s.owner)).collect();
        assert_eq!(owners, ["app::parse", "<app::Load as app::Run>::load[u8; 32]"]);
        assert_eq!(explorer.dumps[1].counts[0].live.objects, 40);
        assert_eq!(explorer.dumps[0].interval, 1024);
    }

    #[test]
    fn threads_are_by_stack() {
        let explorer = explorer(true);
        let parts = &explorer.dumps[0].threads;
        assert_eq!(parts.iter().map(|p| (p.stack, p.thread, p.live.objects)).collect::<Vec<_>>(), [(0, 0, 20), (0, 1, 10), (1, 1, 10)]);
    }
}
