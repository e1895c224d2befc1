//! Which stacks and frames a view shows, and which of the four numbers of a heap profile.
//!
//! Values made from the command line and echoed in every output; `places` applies them.

use crate::model::frame::{Frame, Symbols};
use crate::model::heap::{HeapProfile, Sample, Sampled, Sampling, ThreadSample};
use crate::origin::shell_word;
use regex::Regex;

/// Which number of a stack is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// Bytes allocated and not freed.
    #[default]
    InuseSpace,
    /// Objects allocated and not freed.
    InuseObjects,
    /// Bytes allocated since the start, freed or not.
    AllocSpace,
    /// Objects allocated since the start, freed or not.
    AllocObjects,
}

impl Measure {
    /// As pprof and jeprof spell it.
    pub fn word(self) -> &'static str {
        match self {
            Measure::InuseSpace => "inuse_space",
            Measure::InuseObjects => "inuse_objects",
            Measure::AllocSpace => "alloc_space",
            Measure::AllocObjects => "alloc_objects",
        }
    }

    /// Counts since the start instead of live ones.
    pub fn is_accumulated(self) -> bool {
        matches!(self, Measure::AllocSpace | Measure::AllocObjects)
    }

    /// Objects instead of bytes.
    pub fn is_objects(self) -> bool {
        matches!(self, Measure::InuseObjects | Measure::AllocObjects)
    }

    /// What the bytes or objects are, in a sentence: `live`, `allocated since the start`.
    pub fn what(self) -> &'static str {
        if self.is_accumulated() { "allocated since the start" } else { "live" }
    }

    /// The counts of a stack that this measure looks at.
    pub fn of(self, sample: &Sample) -> Sampled {
        if self.is_accumulated() { sample.accumulated } else { sample.live }
    }

    /// The same for a stack's share in one thread.
    pub fn of_thread(self, sample: &ThreadSample) -> Sampled {
        if self.is_accumulated() { sample.accumulated } else { sample.live }
    }
}

/// Which stacks and frames are shown. Everything is shown by the default.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Keep stacks with a frame that matches.
    pub focus: Option<Regex>,
    /// Leave out stacks with a frame that matches.
    pub ignore: Option<Regex>,
    /// Leave out frames that match.
    pub hide: Option<Regex>,
    /// Leave out frames that do not match.
    pub show: Option<Regex>,
    /// Leave out callers above the outermost frame that matches, and stacks without one.
    pub show_from: Option<Regex>,
    /// Keep stacks whose owner frame is of this crate.
    pub crate_name: Option<String>,
    /// Keep what this thread allocated: a name, or jemalloc's thread number.
    pub thread: Option<String>,
    /// Keep stacks whose mean object has at least this many bytes.
    pub min_size: Option<u64>,
    /// Keep stacks whose mean object has at most this many bytes.
    pub max_size: Option<u64>,
    /// Show allocator, library and runtime frames too.
    pub all_frames: bool,
    /// Numbers as sampled, without undoing the sampling.
    pub raw_samples: bool,
}

impl Filter {
    /// The options that made it, as they are written on a command line.
    pub fn echo(&self) -> Vec<String> {
        let mut options = Vec::new();
        let mut add = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                options.push(format!("{name} {}", shell_word(value)));
            }
        };
        add("--focus", self.focus.as_ref().map(Regex::as_str));
        add("--ignore", self.ignore.as_ref().map(Regex::as_str));
        add("--hide", self.hide.as_ref().map(Regex::as_str));
        add("--show", self.show.as_ref().map(Regex::as_str));
        add("--show-from", self.show_from.as_ref().map(Regex::as_str));
        add("--crate", self.crate_name.as_deref());
        add("--thread", self.thread.as_deref());
        add("--min-size", self.min_size.map(|size| size.to_string()).as_deref());
        add("--max-size", self.max_size.map(|size| size.to_string()).as_deref());
        options.extend(self.all_frames.then(|| "--all-frames".to_owned()));
        options.extend(self.raw_samples.then(|| "--raw-samples".to_owned()));
        options
    }

    /// Whether it leaves out whole stacks.
    pub fn chooses_stacks(&self) -> bool {
        let expressions = self.focus.is_some() || self.ignore.is_some() || self.show_from.is_some();
        expressions || self.crate_name.is_some() || self.min_size.is_some() || self.max_size.is_some()
    }

    /// Whether numbers by thread are needed.
    pub fn needs_threads(&self) -> bool {
        self.thread.is_some()
    }

    /// How the numbers of `profile` are to be read: without undoing the sampling for `--raw-samples`.
    pub fn sampling(&self, profile: &HeapProfile) -> Sampling {
        if self.raw_samples { Sampling::Exact } else { profile.sampling }
    }

    /// Whether the mean object of these counts is of the size asked for; no objects have no size.
    pub fn size_fits(&self, counts: Sampled) -> bool {
        if self.min_size.is_none() && self.max_size.is_none() {
            return true;
        }
        let Some(size) = counts.bytes.checked_div(counts.objects) else { return false };
        self.min_size.is_none_or(|min| size >= min) && self.max_size.is_none_or(|max| size <= max)
    }

    /// Whether a thread is the one asked for.
    pub fn thread_fits(&self, uid: u64, name: Option<&str>) -> bool {
        self.thread.as_deref().is_none_or(|asked| name == Some(asked) || asked.strip_prefix('t').unwrap_or(asked).parse() == Ok(uid))
    }
}

/// Whether a regular expression matches a frame: its function, its source file or its module. Of an allocator's or
/// the library's frames only the function: every stack has them, and a `release` in their path is no lease.
pub fn matches(re: &Regex, frame: &Frame, symbols: &Symbols) -> bool {
    let place = || symbols.file(frame).is_some_and(|f| re.is_match(f)) || symbols.module(frame).is_some_and(|m| re.is_match(m));
    re.is_match(symbols.function(frame)) || (!frame.role.is_hidden() && place())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_echo_as_they_are_typed() {
        let filter = Filter {
            focus: Regex::new("a b|c").ok(),
            crate_name: Some("milli".to_owned()),
            min_size: Some(4096),
            all_frames: true,
            ..Filter::default()
        };
        assert_eq!(filter.echo(), ["--focus 'a b|c'", "--crate milli", "--min-size 4096", "--all-frames"]);
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

    #[test]
    fn sizes_are_of_the_mean_object() {
        let filter = Filter { min_size: Some(10), max_size: Some(20), ..Filter::default() };
        assert!(filter.size_fits(Sampled { objects: 2, bytes: 30 }));
        assert!(!filter.size_fits(Sampled { objects: 2, bytes: 50 }));
        assert!(!filter.size_fits(Sampled { objects: 0, bytes: 0 }));
        assert!(Filter::default().size_fits(Sampled::default()));
    }

    #[test]
    fn threads_are_named_or_numbered() {
        let filter = |thread: &str| Filter { thread: Some(thread.to_owned()), ..Filter::default() };
        assert!(filter("worker 1").thread_fits(7, Some("worker 1")));
        assert!(filter("7").thread_fits(7, None));
        assert!(filter("t7").thread_fits(7, Some("x")));
        assert!(!filter("8").thread_fits(7, None));
    }
}
