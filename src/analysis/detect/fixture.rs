//! Stacks written as text, for the tests of the detectors.

use super::{Case, Match, Sibling, examine};
use crate::analysis::finding::{FrameView, SiteView};
use crate::analysis::join::Explanation;
use crate::analysis::trend::{Course, Shape};
use crate::model::frame::Role;

/// Frames from lines, innermost first. A letter says whose code it is: `a` allocator, `l` library, `d` dependency,
/// `u` user, `r` runtime; then the function, and after ` | ` its file.
pub(crate) fn frames(text: &str) -> Vec<FrameView> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (role, rest) = line.split_once(' ').expect("a letter, a blank and a function");
            let role = match role {
                "a" => Role::Allocator,
                "l" => Role::Library,
                "d" => Role::Dependency,
                "u" => Role::User,
                "r" => Role::Runtime,
                other => panic!("no role {other}"),
            };
            let (function, file) = rest.split_once(" | ").map_or((rest, None), |(f, file)| (f, Some(file.to_owned())));
            FrameView { function: function.to_owned(), file, role: Some(role), hidden: role.is_hidden(), ..FrameView::default() }
        })
        .collect()
}

/// A case to be changed.
#[derive(Debug)]
pub(crate) struct Sketch {
    pub stack: Vec<FrameView>,
    pub others: Vec<Sibling>,
    pub explanation: Explanation,
    pub object_bytes: f64,
    pub course: Course,
    pub survival: Option<f64>,
}

impl Sketch {
    pub(crate) fn new(stack: &str) -> Sketch {
        Sketch {
            stack: frames(stack),
            others: Vec::new(),
            explanation: Explanation::default(),
            object_bytes: 256.0,
            course: Course { shape: Shape::Linear, trends: Vec::new(), best: None, mann_kendall: 0.0, lag1: 0.0, rises: 9, intervals: 9 },
            survival: None,
        }
    }

    pub(crate) fn object_bytes(mut self, bytes: f64) -> Self {
        self.object_bytes = bytes;
        self
    }

    pub(crate) fn shape(mut self, shape: Shape) -> Self {
        self.course.shape = shape;
        self
    }

    pub(crate) fn beside(mut self, stack: &str, object_bytes: f64) -> Self {
        self.others.push(Sibling { stack: frames(stack), object_bytes });
        self
    }

    pub(crate) fn site(mut self, kind: &str, type_name: &str) -> Self {
        self.explanation.sites.push(SiteView {
            kind: kind.into(),
            type_name: type_name.into(),
            function: "app::work".into(),
            file: Some("src/work.rs".into()),
            line: Some(7),
            tier: 1,
            ..SiteView::default()
        });
        self
    }

    /// What the binary says.
    pub(crate) fn explained(mut self, explanation: Explanation) -> Self {
        self.explanation = explanation;
        self
    }

    /// What the whole table says.
    pub(crate) fn examine(&self) -> Option<(&'static str, Match)> {
        let none = FrameView::default();
        let owner = self.stack.iter().find(|f| f.role == Some(Role::User)).unwrap_or(&none);
        examine(&Case {
            stack: &self.stack,
            owner,
            operation: None,
            object_bytes: self.object_bytes,
            course: &self.course,
            survival: self.survival,
            stacks: 1 + self.others.len(),
            others: &self.others,
            explanation: Some(&self.explanation),
        })
    }

    /// The pattern that the whole table names.
    pub(crate) fn pattern(&self) -> Option<&'static str> {
        self.examine().map(|(id, _)| id)
    }
}

/// The table names `expected` for this stack.
#[track_caller]
pub(crate) fn check(stack: &str, expected: Option<&str>) {
    assert_eq!(Sketch::new(stack).pattern(), expected);
}
