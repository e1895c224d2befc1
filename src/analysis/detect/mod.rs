//! Detectors: what kind of mistake a growth looks like, from its frames and figures. One file each, one line in
//! [`DETECTORS`].
//!
//! A detector never decides *whether* something leaks (that is `triage`): it names the pattern, words the remedy and
//! says what would refute it. Each has near misses that must stay silent, tested in its file.

mod box_leak;
mod bump_alloc_skips_drop;
mod bump_arena_outlives_work;
mod bump_slice_skips_drop;
mod c_allocation;
mod interning;
mod into_raw;
mod manually_drop;
mod mem_forget;
pub mod path;
pub mod pools;
mod profiler_own_memory;
mod rc_cycle;
pub mod setting;
mod task_leak;
mod thread_local_growth;
mod unbounded_channel;
mod unbounded_map;
mod unbounded_vec;

use crate::analysis::finding::{Evidence, FrameView, SiteView};
use crate::analysis::join::Explanation;
use crate::analysis::trend::Course;
use crate::model::frame::Role;
use crate::origin::base_name;
use path::Path;
use pools::Pool;

/// What a detector sees of one growth.
#[derive(Debug)]
pub struct Case<'a> {
    /// The heaviest stack, innermost first, hidden frames included.
    pub stack: &'a [FrameView],
    /// The frame where the growth comes together.
    pub owner: &'a FrameView,
    /// The container operation beside the owner, where there is one.
    pub operation: Option<&'a str>,
    /// Mean object size in bytes.
    pub object_bytes: f64,
    /// Course of the live bytes.
    pub course: &'a Course,
    /// Share of objects allocated since the first snapshot that are live.
    pub survival: Option<f64>,
    /// Number of stacks in the group.
    pub stacks: usize,
    /// The group's other stacks, heaviest first; as many as are worth looking at. Beside a payload they hold the
    /// container that keeps it.
    pub others: &'a [Sibling],
    /// What the binary says of why it grows.
    pub explanation: Option<&'a Explanation>,
}

/// Another stack of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sibling {
    /// Innermost first, hidden frames included.
    pub stack: Vec<FrameView>,
    /// Mean object size in bytes.
    pub object_bytes: f64,
}

impl Case<'_> {
    /// The first frame, from the allocation outwards, whose function name satisfies `test`.
    pub fn frame(&self, test: impl Fn(&str) -> bool) -> Option<&FrameView> {
        self.stack.iter().find(|frame| test(&frame.function))
    }

    /// Frames of the language's library and of dependencies between the allocation and the first user frame.
    pub fn library(&self) -> impl Iterator<Item = &FrameView> {
        self.stack.iter().take_while(|frame| frame.role != Some(Role::User))
    }
}

/// A pattern found.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// How specific: the highest one names the suspect. 0 a place alone, 1 a container's name, 2 a call that skips a destructor
    /// or a known arena, 3 with evidence from the binary.
    pub weight: u8,
    /// Facts that show it.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub remedy: String,
    /// What would show that it is none.
    pub refuted_by: String,
    /// Words to search for.
    pub keywords: Vec<&'static str>,
}

/// Where the memory was allocated, and nothing more: names a suspect that nothing else names.
const PLACE: u8 = 0;
/// A container's or a function's name alone.
const NAME: u8 = 1;
/// A call that skips a destructor, or an arena known by name.
const CALL: u8 = 2;
/// Evidence from the binary.
pub const BINARY: u8 = 3;

/// One detector.
#[derive(Debug)]
pub struct Detector {
    /// Its word in reports and suppressions.
    pub id: &'static str,
    /// One line for `--list-detectors`.
    pub summary: &'static str,
    /// What shows it, for docs/detectors.md.
    pub shown_by: &'static str,
    /// What looks like it and is not; for docs/detectors.md.
    pub near_misses: &'static str,
    /// What to do, in general; for docs/detectors.md.
    pub fix: &'static str,
    /// Looks at one growth.
    pub examine: fn(&Trace<'_>) -> Option<Match>,
}

/// Every detector that looks at the frames of a growth. Between equally specific ones the earlier names the suspect:
/// those that say how memory is lost come before those that say where it is kept.
pub const DETECTORS: &[&Detector] = &[
    &profiler_own_memory::DETECTOR,
    &bump_slice_skips_drop::DETECTOR,
    &bump_alloc_skips_drop::DETECTOR,
    &mem_forget::DETECTOR,
    &manually_drop::DETECTOR,
    &into_raw::DETECTOR,
    &box_leak::DETECTOR,
    &bump_arena_outlives_work::DETECTOR,
    &unbounded_channel::DETECTOR,
    &interning::DETECTOR,
    &thread_local_growth::DETECTOR,
    &unbounded_map::DETECTOR,
    &task_leak::DETECTOR,
    &c_allocation::DETECTOR,
    &rc_cycle::DETECTOR,
    &unbounded_vec::DETECTOR,
];

/// The most specific pattern of a growth; the order of the table decides between equals.
pub fn examine(case: &Case<'_>) -> Option<(&'static str, Match)> {
    let trace = Trace::of(case);
    DETECTORS
        .iter()
        .filter_map(|detector| (detector.examine)(&trace).map(|found| (detector.id, found)))
        .reduce(|best, next| if next.1.weight > best.1.weight { next } else { best })
}

/// A case with the paths of its frames' names.
#[derive(Debug)]
pub struct Trace<'a> {
    /// The case.
    pub case: &'a Case<'a>,
    /// The heaviest stack first, then its siblings.
    stacks: Vec<Strand<'a>>,
}

/// One stack of a [`Trace`].
#[derive(Debug)]
struct Strand<'a> {
    /// Innermost first.
    steps: Vec<Step<'a>>,
    /// Mean object size in bytes.
    object_bytes: f64,
}

/// One frame of a [`Trace`].
#[derive(Debug)]
struct Step<'a> {
    frame: &'a FrameView,
    path: Path,
    /// Position in its stack, innermost 0.
    index: usize,
    /// Belongs to the stack that is shown.
    shown: bool,
}

impl<'a> Trace<'a> {
    /// Works out the paths of all frames of a case.
    pub fn of(case: &'a Case<'a>) -> Trace<'a> {
        let strand = |stack: &'a [FrameView], object_bytes: f64, shown: bool| Strand {
            steps: stack.iter().enumerate().map(|(index, frame)| Step { frame, path: Path::of(frame), index, shown }).collect(),
            object_bytes,
        };
        let mut stacks = vec![strand(case.stack, case.object_bytes, true)];
        stacks.extend(case.others.iter().map(|other| strand(&other.stack, other.object_bytes, false)));
        Trace { case, stacks }
    }

    /// The heaviest stack.
    fn heaviest(&self) -> &Strand<'a> {
        &self.stacks[0]
    }

    /// Name of the owner for a sentence.
    fn owner(&self) -> &str {
        &self.case.owner.function
    }

    /// The binary's best site, if it is of one of these kinds.
    fn site(&self, kinds: &[&str]) -> Option<&'a SiteView> {
        self.case.explanation?.sites.first().filter(|site| kinds.contains(&site.kind.as_str()))
    }

    /// The binary's explanation, if it is of this pattern.
    fn explained(&self, pattern: &str) -> Option<&'a Explanation> {
        self.case.explanation.filter(|explanation| explanation.pattern.as_deref() == Some(pattern))
    }
}

impl<'a> Strand<'a> {
    /// Everything before the first frame of the program's own code.
    fn library(&self) -> &[Step<'a>] {
        self.near(0)
    }

    /// Everything up to and with the first `functions` of the program's own functions. A closure counts as the
    /// function it is written in, so that what that function calls with it is seen: `work` fills a container by
    /// `extend`, which calls `work::{{closure}}`, which allocates.
    fn near(&self, functions: usize) -> &[Step<'a>] {
        let (mut seen, mut last) = (0, None);
        for (index, step) in self.steps.iter().enumerate() {
            if step.frame.role == Some(Role::User) && last != Some(&step.path) {
                if seen == functions {
                    return &self.steps[..index];
                }
                (seen, last) = (seen + 1, Some(&step.path));
            }
        }
        &self.steps
    }

    /// The known pool that the stack's memory belongs to, and its frame.
    fn pool(&self) -> Option<(&Step<'a>, &'static Pool)> {
        let (index, pool) = pools::known_at(self.steps.iter().map(|step| (step.frame.role, &step.path)))?;
        Some((&self.steps[index], pool))
    }

    /// Whose code makes this call: the first function of the program from here outwards, for a sentence.
    fn caller(&self, step: &Step<'_>) -> Option<&'a str> {
        let outer = self.steps.get(step.index..)?;
        outer.iter().find(|outer| outer.frame.role == Some(Role::User)).map(|outer| outer.frame.function.as_str())
    }

    /// The frames after those of the allocator at the top.
    fn after_allocator(&self) -> &[Step<'a>] {
        let start = self.steps.iter().position(|step| step.frame.role != Some(Role::Allocator)).unwrap_or(self.steps.len());
        &self.steps[start..]
    }
}

impl Step<'_> {
    /// The function without its generics, for a sentence.
    fn name(&self) -> &str {
        self.path.as_str()
    }

    /// The frame as evidence: what it shows, and where it stands.
    fn shows(&self, claim: impl Into<String>) -> Evidence {
        let stack = if self.shown { "stack" } else { "another stack of the group" };
        let place = match (&self.frame.file, self.frame.line) {
            (Some(file), Some(line)) => format!(", {}:{line}", base_name(file)),
            _ => String::new(),
        };
        Evidence::new(claim, format!("{stack}, frame {}{place}", self.index))
    }
}

impl SiteView {
    /// The site as evidence.
    fn shows(&self, claim: impl Into<String>) -> Evidence {
        let how = match self.tier {
            0 => "exception table",
            1 => "debug information",
            2 => "machine code",
            _ => "source text",
        };
        let of = if self.binary.is_empty() { self.at() } else { self.binary.clone() };
        Evidence::new(claim, format!("{how} of {of}"))
    }

    /// `app::work` at work.rs:7, and the wrappers it goes through.
    fn at(&self) -> String {
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!(" at {}:{line}", base_name(file)),
            _ => String::new(),
        };
        let via: Vec<String> = self.via.iter().map(|via| format!("`{via}`")).collect();
        let via = if via.is_empty() { String::new() } else { format!(" through {}", via.join(", ")) };
        format!("`{}`{place}{via}", self.function)
    }

    /// What the elements or the value own, as the end of a sentence about them.
    fn owning(&self, who: &str) -> String {
        let article = |name: &str| if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        match self.owns_via.split_once(": ") {
            _ if self.owns_via.is_empty() => format!("{who} owns memory of the global heap"),
            Some((path, owner)) => format!("{who} owns {} `{owner}` on the global heap (`{path}`)", article(owner)),
            None => format!("{who} owns {} `{}` on the global heap", article(&self.owns_via), self.owns_via),
        }
    }

    /// The site may explain the growth, and nothing more.
    fn perhaps(&self, claim: String) -> String {
        if self.explains || self.binary.is_empty() { claim } else { format!("possibly: {claim}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and letters only, so that they can be written in a suppression.
    fn is_snake_case(id: &str) -> bool {
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !id.starts_with('_') && !id.ends_with('_')
    }

    #[test]
    fn the_table_is_consistent() {
        let mut ids: Vec<&str> = DETECTORS.iter().map(|d| d.id).collect();
        assert!(ids.iter().all(|id| is_snake_case(id)));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), DETECTORS.len());
        for detector in DETECTORS {
            for text in [detector.summary, detector.shown_by, detector.near_misses, detector.fix] {
                assert!(text.len() > 20 && !text.contains('\n'), "{}: {text}", detector.id);
            }
            assert!(detector.summary.len() <= 80 && !detector.summary.ends_with('.'), "{}", detector.id);
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture;
