//! Detectors: what kind of mistake a growth looks like, from its frames and figures. One file each, one line in
//! [`DETECTORS`].
//!
//! A detector never decides *whether* something leaks (that is `triage`): it names the pattern, words the remedy and
//! says what would refute it. Each has near misses that must stay silent, tested in its file.

use crate::analysis::finding::{Evidence, FrameView};
use crate::analysis::trend::Course;

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
}

impl Case<'_> {
    /// The first frame, from the allocation outwards, whose function name satisfies `test`.
    pub fn frame(&self, test: impl Fn(&str) -> bool) -> Option<&FrameView> {
        self.stack.iter().find(|frame| test(&frame.function))
    }

    /// Frames of the language's library and of dependencies between the allocation and the first user frame.
    pub fn library(&self) -> impl Iterator<Item = &FrameView> {
        self.stack.iter().take_while(|frame| frame.role != Some(crate::model::frame::Role::User))
    }
}

/// A pattern found.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// How specific: the highest one names the suspect. 1 a container's name alone, 2 a call that skips a destructor,
    /// 3 with evidence from the binary.
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

/// One detector.
#[derive(Debug)]
pub struct Detector {
    /// Its word in reports and suppressions.
    pub id: &'static str,
    /// One line for `--list-detectors`.
    pub summary: &'static str,
    /// What looks like it and is not; for docs/detectors.md.
    pub near_misses: &'static str,
    /// Looks at one growth.
    pub examine: fn(&Case<'_>) -> Option<Match>,
}

/// Every detector that looks at the frames of a growth.
pub const DETECTORS: &[&Detector] = &[];

/// The most specific pattern of a growth; the order of the table decides between equals.
pub fn examine(case: &Case<'_>) -> Option<(&'static str, Match)> {
    DETECTORS
        .iter()
        .filter_map(|detector| (detector.examine)(case).map(|found| (detector.id, found)))
        .reduce(|best, next| if next.1.weight > best.1.weight { next } else { best })
}
