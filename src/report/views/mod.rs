//! The views of heap profiles as bytes: `top`, `diff`, `tree`, `peek`, `list`, folded stacks, flamegraphs.
//!
//! One file a format; what they have in common is said here: what a view is of, how a number reads, and the
//! table of symbols at the foot.

pub mod calls;
pub mod csv;
pub mod folded;
pub mod jeprof;
pub mod json;
pub mod palette;
pub mod svg;
pub mod text;

use crate::analysis::filter::Measure;
use crate::analysis::places::{By, Hidden, PlaceId, Places, Rows};
use crate::model::frame::{DebugInfo, ModuleStatus, ModuleSymbols};
use crate::model::heap::{Family, HeapProfile, Sampling, Unbias};
use crate::origin::{Notice, printable};
use crate::units::{grouped, iec, signed_iec};

/// How text may look where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Columns to fit tables into; `None` where lines may be of any length and are never cut.
    pub width: Option<usize>,
    /// Whether ANSI colors are wanted.
    pub color: bool,
}

/// One heap profile that a view is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiled {
    /// Snapshot's name.
    pub name: String,
    /// File it was read from.
    pub file: Option<String>,
    /// `quarryd (pid 10285)`.
    pub process: Option<String>,
    /// Unix milliseconds, where the time is known and not only the order.
    pub unix_ms: Option<i64>,
    /// That is when the file was last written, which says nothing after a copy.
    pub of_file: bool,
    /// How allocations were chosen.
    pub sampling: Sampling,
    /// Who wrote it.
    pub family: Family,
    /// Whether its counts were unbiased.
    pub unbias: Unbias,
    /// Whether it is cut.
    pub truncated: bool,
    /// How many dumps there are, itself included.
    pub of_dumps: usize,
    /// Its place among them: `first`, `last`.
    pub nth: &'static str,
}

impl Profiled {
    /// Of a profile under a name.
    pub fn new(name: impl Into<String>, profile: &HeapProfile) -> Self {
        Profiled {
            name: name.into(),
            file: None,
            process: None,
            unix_ms: None,
            of_file: false,
            sampling: profile.sampling,
            family: profile.family,
            unbias: profile.unbias,
            truncated: profile.truncated,
            of_dumps: 1,
            nth: "last",
        }
    }

    /// `1 sample per 64 KiB`, `every allocation`.
    pub fn sampling_words(&self) -> String {
        match (self.family, self.sampling) {
            (Family::Pprof, _) => "estimates of the profile's writer, error unknown".to_owned(),
            (Family::Growth, _) => "growth of the page heap: address space, not live memory".to_owned(),
            (Family::Fragmentation, _) => "free space inside spans, not live memory".to_owned(),
            (_, Sampling::Exact) => "every allocation recorded".to_owned(),
            (_, Sampling::Interval(bytes)) => format!("1 sample per {}", bytes.to_string().replace(".0 ", " ")),
        }
    }
}

/// What a view is of and how it was made: printed at its head and foot.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The profile, or the second of a difference.
    pub current: Profiled,
    /// The first of a difference.
    pub base: Option<Profiled>,
    /// What rows stand for.
    pub by: By,
    /// Which number is looked at.
    pub measure: Measure,
    /// Ordered by cumulative numbers.
    pub sort_cum: bool,
    /// Filters in force, as typed.
    pub filters: Vec<String>,
    /// Modules of all addresses.
    pub modules: &'a [ModuleSymbols],
    /// What was left out or is odd.
    pub notices: &'a [Notice],
}

impl About<'_> {
    /// What the bytes are, in a word or two: `live`; of profiles of other things not that.
    pub fn what(&self) -> &'static str {
        match self.current.family {
            Family::Growth => "of address space",
            Family::Fragmentation => "free inside spans",
            _ => self.measure.what(),
        }
    }

    /// A number of the measure: `1.4 MiB`, `1,234`.
    pub fn number(&self, value: f64) -> String {
        if self.measure.is_objects() { grouped(value.max(0.0).round() as u64) } else { iec(value) }
    }

    /// A change of the measure: `+1.4 MiB`, `-1,234`, `0`.
    pub fn change(&self, value: f64) -> String {
        if !self.measure.is_objects() {
            return signed_iec(value);
        }
        let count = grouped(value.abs().round() as u64);
        match count.as_str() {
            "0" => count,
            _ if value < 0.0 => format!("-{count}"),
            _ => format!("+{count}"),
        }
    }

    /// What a row stands for.
    pub fn row_is(&self) -> &'static str {
        match self.by {
            By::Function => "function",
            By::Line => "line",
            By::File => "file",
            By::Crate => "crate",
            By::Stack => "stack",
            By::Address => "address",
        }
    }

    /// The same in the plural.
    pub fn rows_are(&self) -> &'static str {
        match self.by {
            By::Function => "functions",
            By::Line => "lines",
            By::File => "files",
            By::Crate => "crates",
            By::Stack => "stacks",
            By::Address => "addresses",
        }
    }

    /// What should be known about the numbers: one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let profiles = || self.base.iter().chain(Some(&self.current));
        if profiles().any(|p| p.unbias == Unbias::Off && p.sampling != Sampling::Exact) {
            notes.push(
                "counts were not unbiased by the writer (jemalloc before 5.3, or prof_unbias:false): stacks that allocate mixed sizes are \
                 underestimated, in bytes by up to 21 %, in objects by far more"
                    .to_owned(),
            );
        }
        for profile in profiles().filter(|p| p.truncated) {
            notes.push(format!("{} is truncated: its numbers are of the part that is there", printable(&profile.name)));
        }
        notes
    }
}

/// `3 allocator, 12 library and 9 runtime functions hidden (--all-frames shows them)`; `None` when none is.
pub fn hidden_words(hidden: &Hidden) -> Option<String> {
    let kinds = [(hidden.allocator, "allocator"), (hidden.library, "library"), (hidden.runtime, "runtime")];
    let by_role: Vec<String> = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
    let mut parts = Vec::new();
    if let Some((last, others)) = by_role.split_last() {
        let list = if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) };
        let total = hidden.allocator + hidden.library + hidden.runtime;
        parts.push(format!("{list} function{} hidden (--all-frames shows them)", if total == 1 { "" } else { "s" }));
    }
    if hidden.by_options > 0 {
        parts.push(format!("{} by --hide and --show", hidden.by_options));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `file:line` of a place, or its module where no file is known; `None` for a name that says it all.
pub fn place_words(table: &Places, id: PlaceId) -> Option<String> {
    let place = table.get(id);
    match (place.file, place.line) {
        (Some(file), Some(line)) => Some(format!("{}:{line}", printable(table.text(file)))),
        (Some(file), None) => Some(printable(table.text(file)).into_owned()),
        _ if place.unresolved.is_some() => None,
        _ => place.module.map(|module| format!("in {}", printable(table.text(module)))),
    }
}

/// The same for a row of many places, whose line is not told by any of them.
pub fn row_words(table: &Places, rows: &Rows, id: PlaceId) -> Option<String> {
    if rows.is_alone(id) || table.get(id).file.is_none() {
        return place_words(table, id);
    }
    table.get(id).file.map(|file| printable(table.text(file)).into_owned())
}

/// The symbols of all modules in one line, and for each gap a line that says what to do.
pub fn symbol_lines(modules: &[ModuleSymbols]) -> Vec<String> {
    let used: Vec<&ModuleSymbols> = modules.iter().filter(|module| module.addresses > 0).collect();
    if used.is_empty() {
        return vec!["Symbols: no address lies in a module".to_owned()];
    }
    let one = |module: &&ModuleSymbols| {
        let share = 100 * module.symbolized / module.addresses.max(1);
        let quality = match (module.status, module.debug_info) {
            (ModuleStatus::Missing, _) => "missing",
            (ModuleStatus::Mismatched, _) => "not the build that ran",
            (ModuleStatus::NotAFile, _) => "not a file",
            (ModuleStatus::FromInput, _) => "names from the input",
            (_, DebugInfo::Full) => "full debug info",
            (_, DebugInfo::Lines) => "lines, no types",
            (_, DebugInfo::Names) => "names only",
            (_, DebugInfo::None) => "no symbols",
        };
        let proof = if module.status == ModuleStatus::Unproven {
            ", unproven: neither build-id nor layout tells whether it is the one that ran"
        } else {
            ""
        };
        format!("{} {share} % ({quality}{proof})", printable(&module.name))
    };
    let mut lines = vec![format!("Symbols: {}", used.iter().map(one).collect::<Vec<_>>().join(", "))];
    for module in &used {
        if let Some(remedy) = &module.remedy {
            lines.push(format!("  {}: {}", printable(&module.name), printable(remedy)));
        }
    }
    lines
}

/// A whole number of bytes or objects, as jeprof makes one of an estimate: cut, never rounded up.
pub fn whole(value: f64) -> i64 {
    value.trunc() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_counted() {
        let hidden = Hidden { allocator: 3, library: 12, runtime: 0, by_options: 2 };
        assert_eq!(
            hidden_words(&hidden).unwrap(),
            "3 allocator and 12 library functions hidden (--all-frames shows them), 2 by --hide and --show"
        );
        assert_eq!(hidden_words(&Hidden::default()), None);
        assert_eq!(
            hidden_words(&Hidden { runtime: 1, ..Hidden::default() }).unwrap(),
            "1 runtime function hidden (--all-frames shows them)"
        );
    }
}
