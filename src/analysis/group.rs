//! Stacks that are one growth seen through many paths, brought together.
//!
//! The innermost user frame alone is often a helper (it held 51 to 67 % of four known leaks), the outermost is the
//! thread's main loop. A group's place is the *lowest common user frame*: descend from the root, and stop where the
//! children grow in proportion.
//!
//! ```text
//! main -> worker -> index_batch -> tokenize -> push      grows 1 : 2 : 1 in every interval   } one group at
//!                              \-> fields   -> push      with push_all                       } index_batch
//!                \-> sessions  -> insert                 grows by another clock: its own group
//! ```
//!
//! Proportion is tested by the contingency chi² of (child x interval) increments with their *expected* variance:
//! observed variances split leaks whose arrival is uneven. Nothing is judged a leak here.

use crate::analysis::series::HeapSeries;
use crate::model::frame::{Frame, Role, Symbols};
use crate::model::role::normalize;
use crate::model::stack::{AddressId, StackId, StackTable};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Children are one group unless their proportions differ at this level.
const PROPORTION_ALPHA: f64 = 0.01;
/// Children with fewer expected samples are lumped: the chi² approximation needs a handful in each cell.
const LEAST_SAMPLES: f64 = 8.0;
/// A child whose growth is below this share of its parent's is no reason to split or to join.
const SMALL_SHARE: f64 = 0.05;

/// One growth: stacks that meet in a frame.
#[derive(Clone, Debug)]
pub struct Group {
    /// The stacks, heaviest growth first.
    pub stacks: Vec<StackId>,
    /// The user frames that all of them share, outermost first; the last one is where they meet.
    pub shared: Vec<PathFrame>,
}

impl Group {
    /// The frame where the group's growth comes together; `None` for stacks without any frame.
    pub fn place(&self) -> Option<PathFrame> {
        self.shared.last().copied()
    }
}

/// A frame of a path: its normalised name and one place where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFrame {
    /// Id of the normalised name within one [`Paths`].
    pub key: u32,
    /// The address whose expansion holds the frame.
    pub address: AddressId,
    /// Position in that expansion, innermost first.
    pub depth: u32,
}

/// The user frames of every stack, outermost first.
#[derive(Debug, Default)]
pub struct Paths {
    paths: Vec<Vec<PathFrame>>,
    names: Vec<String>,
}

impl Paths {
    /// Finds the user frames of all stacks. Where a stack has none, its dependency frames stand in, else its outermost
    /// library frame, else its innermost frame of all.
    pub fn of(stacks: &StackTable, symbols: &Symbols) -> Paths {
        let mut keys: HashMap<String, u32, FxBuildHasher> = HashMap::default();
        let mut by_name: HashMap<u32, u32, FxBuildHasher> = HashMap::default();
        let mut names = Vec::new();
        let mut key_of = |frame: &Frame| {
            *by_name.entry(frame.function.0).or_insert_with(|| {
                let name = normalize(symbols.names.get(frame.function)).into_owned();
                *keys.entry(name.clone()).or_insert_with(|| {
                    names.push(name);
                    names.len() as u32 - 1
                })
            })
        };
        let paths = stacks
            .ids()
            .map(|stack| {
                let mut path: Vec<PathFrame> = Vec::new();
                for role in [Role::User, Role::Dependency, Role::Library, Role::Runtime, Role::Allocator] {
                    for address in stacks.stack(stack).rev() {
                        for (depth, frame) in symbols.frames(address).iter().enumerate().rev() {
                            if frame.role == role {
                                path.push(PathFrame { key: key_of(frame), address, depth: depth as u32 });
                            }
                        }
                    }
                    if !path.is_empty() {
                        break;
                    }
                }
                // Direct recursion says nothing of who owns: one frame.
                path.dedup_by_key(|frame| frame.key);
                path
            })
            .collect();
        Paths { paths, names }
    }

    /// The path of a stack, outermost first.
    pub fn path(&self, stack: StackId) -> &[PathFrame] {
        self.paths.get(stack.index()).map_or(&[], Vec::as_slice)
    }

    /// The normalised name behind a key.
    pub fn name(&self, key: u32) -> &str {
        &self.names[key as usize]
    }
}

/// Groups stacks by where their growth comes together. Every stack given is in exactly one group.
pub fn group(series: &HeapSeries, paths: &Paths, stacks: Vec<StackId>) -> Vec<Group> {
    let mut work = vec![(stacks, 0usize)];
    let mut groups = Vec::new();
    while let Some((stacks, depth)) = work.pop() {
        let Some(&first) = stacks.first() else { continue };
        // As far as all of them go together.
        let lead = paths.path(first);
        let shared = (depth..lead.len())
            .find(|&d| stacks.iter().any(|&s| paths.path(s).get(d).map(|f| f.key) != Some(lead[d].key)))
            .unwrap_or(lead.len());
        let node = Node::new(series, paths, stacks, shared);
        match node.split(series) {
            Split::Together(stacks) => groups.push(finish(series, paths, stacks, shared)),
            Split::Apart { own, children } => {
                if !own.is_empty() {
                    groups.push(finish(series, paths, own, shared));
                }
                work.extend(children.into_iter().map(|child| (child, shared + 1)));
            }
        }
    }
    groups
}

fn finish(series: &HeapSeries, paths: &Paths, mut stacks: Vec<StackId>, shared: usize) -> Group {
    let growth = |s: &StackId| series.growth(std::iter::once(&series.stacks[s.index()])).bytes;
    let mut keyed: Vec<(f64, StackId)> = stacks.iter().map(|s| (growth(s), *s)).collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    stacks.clear();
    stacks.extend(keyed.into_iter().map(|(_, s)| s));
    let shared = stacks.first().map_or_else(Vec::new, |&s| paths.path(s).iter().take(shared).copied().collect());
    Group { stacks, shared }
}

/// A place in the call tree with the stacks below it, by child.
struct Node {
    shared: usize,
    /// Stacks that allocate in the shared frame itself: the container around its payload.
    own: Vec<StackId>,
    children: Vec<Child>,
}

struct Child {
    stacks: Vec<StackId>,
    increments: Vec<f64>,
    growth: f64,
    samples: f64,
    /// Bytes that one sampled object stands for.
    weight: f64,
    significant: bool,
}

enum Split {
    Together(Vec<StackId>),
    Apart { own: Vec<StackId>, children: Vec<Vec<StackId>> },
}

impl Node {
    fn new(series: &HeapSeries, paths: &Paths, stacks: Vec<StackId>, shared: usize) -> Node {
        let mut own = Vec::new();
        let mut by_key: HashMap<u32, Vec<StackId>, FxBuildHasher> = HashMap::default();
        let mut order = Vec::new();
        for stack in stacks {
            match paths.path(stack).get(shared) {
                None => own.push(stack),
                Some(frame) => by_key
                    .entry(frame.key)
                    .or_insert_with(|| {
                        order.push(frame.key);
                        Vec::new()
                    })
                    .push(stack),
            }
        }
        let children = order.into_iter().filter_map(|key| by_key.remove(&key)).map(|stacks| Child::new(series, stacks)).collect();
        Node { shared, own, children }
    }

    fn split(self, series: &HeapSeries) -> Split {
        let growth: f64 = self.children.iter().map(|c| c.growth).filter(|g| *g > 0.0).sum();
        let (large, small): (Vec<Child>, Vec<Child>) =
            self.children.into_iter().partition(|c| c.samples >= LEAST_SAMPLES && c.growth.abs() >= SMALL_SHARE * growth);
        let (growing, other): (Vec<Child>, Vec<Child>) = large.into_iter().partition(|c| c.growth > 0.0 && c.significant);
        let rest = Child::lump(&small);
        let stacks_of = |children: Vec<Child>| children.into_iter().map(|c| c.stacks).collect::<Vec<_>>();
        // The first user frame is the thread's closure or `main`: everything meets there, which says nothing.
        let may_stop = self.shared >= 2;
        // What the shared frame allocates itself is one more child; where it follows its own steps but is no larger than
        // the one payload beside it, it is that payload's container: a container grows by doubling.
        let own = Child::new(series, self.own.clone());
        let has_own = own.samples >= LEAST_SAMPLES && own.growth >= SMALL_SHARE * growth;
        let lumped = rest.iter().filter(|r| r.samples >= LEAST_SAMPLES && r.growth > 0.0);
        let mut tested: Vec<&Child> = growing.iter().chain(lumped).collect();
        let container = growing.len() == 1 && own.growth > 0.0 && own.growth <= growing[0].growth;
        let payload_alike = tested.len() >= 2 && in_proportion(&tested);
        if has_own {
            tested.push(&own);
        }
        let alike = growing.is_empty() || container || payload_alike || (tested.len() >= 2 && in_proportion(&tested));
        let together = may_stop && other.is_empty() && alike;
        if together {
            let mut stacks = self.own;
            stacks.extend(growing.into_iter().chain(small).flat_map(|c| c.stacks));
            return Split::Together(stacks);
        }
        let mut children = stacks_of(growing);
        children.extend(stacks_of(other));
        children.extend(stacks_of(small));
        Split::Apart { own: self.own, children }
    }
}

impl Child {
    fn new(series: &HeapSeries, stacks: Vec<StackId>) -> Child {
        let each = || stacks.iter().map(|s| &series.stacks[s.index()]);
        let levels = series.totals(each());
        let delta = series.growth(each());
        let (samples, bytes) = levels.iter().fold((0.0, 0.0), |(s, b), e| (s + e.samples, b + e.bytes));
        Child {
            increments: levels.windows(2).map(|w| w[1].bytes - w[0].bytes).collect(),
            growth: delta.bytes,
            samples: levels.iter().map(|e| e.samples).fold(0.0, f64::max),
            weight: if samples > 0.0 { bytes / samples } else { 0.0 },
            significant: delta.bytes > 2.0 * delta.variance.max(0.0).sqrt(),
            stacks,
        }
    }

    /// Several small children as one, without their stacks.
    fn lump(children: &[Child]) -> Option<Child> {
        let first = children.first()?;
        let mut increments = vec![0.0; first.increments.len()];
        let (mut growth, mut samples, mut bytes) = (0.0, 0.0, 0.0);
        for child in children {
            for (sum, add) in increments.iter_mut().zip(&child.increments) {
                *sum += add;
            }
            growth += child.growth;
            samples += child.samples;
            bytes += child.samples * child.weight;
        }
        let weight = if samples > 0.0 { bytes / samples } else { 0.0 };
        Some(Child { stacks: Vec::new(), increments, growth, samples, weight, significant: false })
    }
}

/// Whether the children's increments keep their proportions over the intervals.
fn in_proportion(children: &[&Child]) -> bool {
    let intervals = children.first().map_or(0, |c| c.increments.len());
    let total: f64 = children.iter().map(|c| c.growth).sum();
    if intervals < 2 || total <= 0.0 {
        return intervals < 2; // two snapshots cannot tell children apart
    }
    let column: Vec<f64> = (0..intervals).map(|i| children.iter().map(|c| c.increments[i]).sum()).collect();
    let mut chi2 = 0.0;
    for child in children {
        for (increment, all) in child.increments.iter().zip(&column) {
            let expected = child.growth * all / total;
            // A Poisson number of samples of equal weight; at least one, for cells where nothing is expected.
            let variance = child.weight * expected.max(child.weight);
            if variance > 0.0 {
                chi2 += (increment - expected).powi(2) / variance;
            }
        }
    }
    let freedom = ((children.len() - 1) * (intervals - 1)) as f64;
    ChiSquared::new(freedom).is_ok_and(|distribution| distribution.sf(chi2) > PROPORTION_ALPHA)
}

/// Groups stacks at their lowest common user frame whatever their courses: for the chunks of an arena, whose blame falls
/// on whoever crossed the end of the last one. Stacks that share nothing beyond the first user frame are apart.
pub fn together(series: &HeapSeries, paths: &Paths, stacks: Vec<StackId>) -> Vec<Group> {
    let mut work = vec![(stacks, 0usize)];
    let mut groups = Vec::new();
    while let Some((stacks, depth)) = work.pop() {
        let Some(&first) = stacks.first() else { continue };
        let lead = paths.path(first);
        let differs = |d: &usize| stacks.iter().any(|&s| paths.path(s).get(*d).map(|f| f.key) != Some(lead[*d].key));
        let shared = (depth..lead.len()).find(differs).unwrap_or(lead.len());
        let node = Node::new(series, paths, stacks, shared);
        if shared >= 2 || node.children.is_empty() {
            let all = node.own.into_iter().chain(node.children.into_iter().flat_map(|c| c.stacks)).collect();
            groups.push(finish(series, paths, all, shared));
            continue;
        }
        if !node.own.is_empty() {
            groups.push(finish(series, paths, node.own, shared));
        }
        work.extend(node.children.into_iter().map(|child| (child.stacks, shared + 1)));
    }
    groups
}
