//! The filters of the views applied to what is exported: which stacks, and which of their frames.
//!
//! An export keeps every frame unless asked otherwise, so that a viewer can hide and show them itself. `--focus`,
//! `--ignore`, `--crate` and the sizes choose stacks here as in every view; `--hide`, `--show` and `--show-from` are
//! applied to the finished [`Profile`], whose totals stay. (`--thread` is applied where threads are told apart.)

use crate::analysis::export::{ExportFrame, Profile};
use crate::analysis::filter::{Filter, Measure};
use crate::analysis::places::{By, NameMatch, Places, Shown, Walk};
use crate::model::frame::{NameId, Role, Symbols};
use crate::model::heap::HeapProfile;
use crate::model::stack::StackTable;
use regex::Regex;
use std::collections::HashSet;

/// For each stack whether the filter keeps it.
pub fn kept(stacks: &StackTable, symbols: &Symbols, heap: &HeapProfile, filter: &Filter, measure: Measure) -> Vec<bool> {
    // A stack whose frames are all hidden is kept by the views, and so it is here.
    let mut table = Places::new(By::Function, NameMatch::Exact);
    let mut shown = Shown::new(&mut table, stacks, symbols, filter);
    let mut walk = Walk::default();
    let mut keep: Vec<bool> = stacks.ids().map(|stack| shown.walk(stack, &table, &mut walk)).collect();
    for sample in heap.samples.iter().filter(|sample| !filter.size_fits(measure.of(sample))) {
        if let Some(keep) = keep.get_mut(sample.stack.index()) {
            *keep = false;
        }
    }
    keep
}

impl Profile {
    /// Leaves out frames (`--hide`, `--show`), and callers above the outermost match of `--show-from`.
    pub fn restrict(&mut self, filter: &Filter) {
        if filter.hide.is_none() && filter.show.is_none() && filter.show_from.is_none() {
            return;
        }
        let of = |re: &Option<Regex>| -> Option<Vec<bool>> {
            let re = re.as_ref()?;
            Some((0..self.frames.len() as u32).map(|frame| self.frame_matches(frame, re)).collect())
        };
        let (hide, show, from) = (of(&filter.hide), of(&filter.show), of(&filter.show_from));
        let visible = |frame: u32| {
            let is = |hits: &Option<Vec<bool>>| hits.as_ref().map(|hits| hits[frame as usize]);
            is(&hide) != Some(true) && is(&show) != Some(false)
        };
        let begins = |frame: u32| from.as_ref().is_some_and(|hits| hits[frame as usize]);
        self.rewrite(visible, from.is_some(), begins);
    }

    /// Leaves out the frames of the allocator, the library and the runtime, as the views do, and says how many functions these
    /// are. For formats whose readers look at the innermost frame: it would be the allocator's in every stack.
    pub fn hide_plumbing(&mut self) {
        let hidden = |about: &ExportFrame| about.role.is_hidden();
        let functions: HashSet<NameId> = self.frames.iter().filter(|about| hidden(about)).map(|about| about.function).collect();
        if functions.is_empty() {
            return;
        }
        let visible: Vec<bool> = self.frames.iter().map(|about| !hidden(about)).collect();
        self.rewrite(|frame| visible[frame as usize], false, |_| false);
        self.comments.push(format!("{} allocator, library and runtime functions hidden; --all-frames shows them", functions.len()));
    }

    /// As [`crate::analysis::filter::matches`] does: of an allocator's or the library's frames only the function.
    fn frame_matches(&self, frame: u32, re: &Regex) -> bool {
        let about = &self.frames[frame as usize];
        let place = || [about.file, about.module].into_iter().any(|text| self.text(text).is_some_and(|text| re.is_match(text)));
        let hidden = matches!(about.role, Role::Allocator | Role::Library | Role::Runtime);
        re.is_match(self.function(frame)) || (!hidden && place())
    }
}

#[cfg(test)]
mod tests {
    use crate::analysis::export::tests::profile;
    use crate::analysis::filter::Filter;
    use crate::model::frame::{NameId, Role};
    use regex::Regex;

    fn stacks(filter: &Filter) -> Vec<String> {
        let mut profile = profile(false, false);
        let before = profile.total();
        profile.restrict(filter);
        assert_eq!(profile.total(), before, "frames are left out, bytes are not");
        let path = |sample| profile.path(sample).map(|frame| profile.function(frame)).collect::<Vec<_>>().join(" < ");
        profile.samples.iter().map(path).collect()
    }

    fn re(text: &str) -> Option<Regex> {
        Some(Regex::new(text).unwrap())
    }

    #[test]
    fn frames_are_left_out_and_stacks_keep_their_bytes() {
        let all = stacks(&Filter::default());
        assert_eq!(all[0], "malloc < app::parse < app::serve < main");
        let hidden = stacks(&Filter { hide: re("^malloc$"), ..Filter::default() });
        assert_eq!(hidden[0], "app::parse < app::serve < main");
        let shown = stacks(&Filter { show: re("parse|^main$"), ..Filter::default() });
        assert_eq!(shown[0], "app::parse < main");
        let mut profile = profile(false, false);
        profile.frames.iter_mut().find(|about| about.function == NameId(0)).unwrap().role = Role::Allocator;
        let (before, comments) = (profile.total(), profile.comments.len());
        profile.hide_plumbing();
        let inner = profile.path(&profile.samples[0]).next().unwrap();
        assert_eq!((profile.total(), profile.comments.len() - comments), (before, 1));
        assert_eq!(profile.function(inner), "app::parse");
        let from = stacks(&Filter { show_from: re("serve"), ..Filter::default() });
        assert_eq!(from[0], "malloc < app::parse < app::serve");
        assert_eq!(from[1], "", "a stack without a match is kept out by the stack filter, and has no frames here");
    }
}
