//! Is profiling on, and will it be useful? Examines a program file, a live process, a capture or this machine.
//!
//! Each examination is a list of checks: what was found, how good it is, and what to do about it. Looks, and changes
//! nothing; whatever cannot be looked at is a check of its own, never an error.

mod allocator;
mod live;
mod machine;
mod program;
mod recorded;
mod settings;

pub use live::process;
pub use machine::machine;
pub use program::program;
pub use recorded::recorded;

/// What was examined, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// `program`, `process`, `capture` or `machine`.
    pub kind: &'static str,
    /// Path or name, for people.
    pub subject: String,
    /// Process id of a process, or of the process that a capture is of.
    pub pid: Option<u64>,
    /// In the order in which they build on each other.
    pub checks: Vec<Check>,
    /// The variable to start the program with, and its value; `None` where nothing is to be set, or nothing would help.
    pub set: Option<(String, String)>,
}

/// One fact with its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable word for machines: `jemalloc`, `profiling_on`.
    pub id: &'static str,
    /// How good it is.
    pub state: State,
    /// What was found; lower case, no full stop.
    pub finding: String,
    /// What to do; `None` when nothing is to be done.
    pub remedy: Option<String>,
}

/// How good a finding is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Costs evidence or certainty.
    Doubt,
    /// What is wanted cannot be had this way.
    Bad,
}

impl State {
    /// The word in both outputs.
    pub fn word(self) -> &'static str {
        match self {
            State::Good => "ok",
            State::Note => "note",
            State::Doubt => "doubt",
            State::Bad => "bad",
        }
    }
}

impl Check {
    fn new(id: &'static str, state: State, finding: impl Into<String>) -> Check {
        Check { id, state, finding: finding.into(), remedy: None }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Check {
        self.remedy = Some(remedy.into());
        self
    }
}

impl Examination {
    fn new(kind: &'static str, subject: impl Into<String>) -> Examination {
        Examination { kind, subject: subject.into(), pid: None, checks: Vec::new(), set: None }
    }

    fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Nothing stands in the way.
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.state != State::Bad)
    }

    /// What to do, the grave first, each once.
    pub fn to_do(&self) -> Vec<&str> {
        let mut list: Vec<&str> = Vec::new();
        for state in [State::Bad, State::Doubt] {
            for remedy in self.checks.iter().filter(|check| check.state == state).filter_map(|check| check.remedy.as_deref()) {
                if !list.contains(&remedy) {
                    list.push(remedy);
                }
            }
        }
        list
    }
}
