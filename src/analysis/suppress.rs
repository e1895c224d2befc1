//! Suppressions applied: which suspects are known, what they hold, and which rules are of no use any more.
//!
//! A suppression silences a suspect, never its bytes: they are always reported. A rule that has expired does not
//! apply; one that matched nothing is reported too, so that lists do not rot.

use crate::analysis::detect::path::Path;
use crate::analysis::estimate::Interval;
use crate::analysis::finding::{FrameView, Suspect};
use crate::model::frame::Role;
use crate::origin::base_name;
use jiff::civil::Date;
use std::cell::OnceCell;

/// One suppression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// How reports call it: `heaptriage.toml:12`, or its name.
    pub label: String,
    /// Frames, innermost first; empty when it does not look at them.
    pub frames: Vec<FramePattern>,
    /// A detector's word.
    pub pattern: Option<String>,
    /// The fingerprint or its beginning.
    pub fingerprint: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Last day on which it holds.
    pub expires: Option<Date>,
    /// Comes with the program: not reported when it matches nothing.
    pub builtin: bool,
}

/// What a rule wants of a frame. `*` is any text, `?` any character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FramePattern {
    /// Any number of frames, none included.
    Rest,
    /// The function: its whole name, its name without generics, or the last segments of that.
    Function(String),
    /// The module's base name or path.
    Module(String),
    /// The source file: its path or the end of it, with `:line` where the pattern has one.
    File(String),
    /// Function, module or file of any frame of the stack, as a substring unless anchored by `^` or `$`.
    Anything(String),
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Suppressions {
    /// In order of the files and of the lines in them; the first that matches counts.
    pub rules: Vec<Rule>,
    /// The day that decides what has expired; `None` expires nothing.
    pub today: Option<Date>,
}

/// What became of the rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Suspects silenced.
    pub suspects: usize,
    /// What they grew by, added up.
    pub growth: Interval,
    /// Labels of rules that matched nothing.
    pub unused: Vec<String>,
    /// Rules that have expired: label and last day. Those that would have matched say so in `expired_hits`.
    pub expired: Vec<(String, Date)>,
    /// Labels of expired rules that would have silenced a suspect.
    pub expired_hits: Vec<String>,
}

impl Suppressions {
    /// Sets [`Suspect::suppressed`] and reports what the rules did.
    pub fn apply(&self, suspects: &mut [Suspect]) -> Usage {
        let mut hits = vec![0usize; self.rules.len()];
        let mut usage = Usage::default();
        for suspect in suspects {
            let live = {
                let frames = seen(suspect);
                let mut matching = (0..self.rules.len()).filter(|&i| self.rules[i].covers(suspect, &frames));
                matching.find(|&i| {
                    hits[i] += 1;
                    !self.has_expired(&self.rules[i])
                })
            };
            if let Some(index) = live {
                let rule = &self.rules[index];
                suspect.suppressed =
                    Some(rule.reason.clone().map_or_else(|| rule.label.clone(), |reason| format!("{reason} ({})", rule.label)));
                usage.suspects += 1;
                usage.growth.estimate += suspect.growth.estimate;
                usage.growth.low += suspect.growth.low;
                usage.growth.high += suspect.growth.high;
            }
        }
        for (rule, &hits) in self.rules.iter().zip(&hits) {
            match rule.expires {
                Some(day) if self.has_expired(rule) => {
                    usage.expired.push((rule.label.clone(), day));
                    if hits > 0 {
                        usage.expired_hits.push(rule.label.clone());
                    }
                }
                _ if hits == 0 && !rule.builtin => usage.unused.push(rule.label.clone()),
                _ => {}
            }
        }
        usage
    }

    fn has_expired(&self, rule: &Rule) -> bool {
        matches!((rule.expires, self.today), (Some(last), Some(today)) if today > last)
    }
}

impl Usage {
    /// What a maintainer of the lists should know: rules that are of no use any more.
    pub fn remarks(&self) -> Vec<String> {
        let expired = self.expired.iter().map(|(label, day)| {
            let effect = if self.expired_hits.contains(label) { "what it covered is reported again" } else { "it would match nothing" };
            format!("{label} expired on {day}: {effect}")
        });
        expired.chain(self.unused.iter().map(|label| format!("{label} matched no suspect"))).collect()
    }
}

impl Rule {
    /// Whether the rule is about this suspect; every part that it has must agree.
    pub fn matches(&self, suspect: &Suspect) -> bool {
        self.covers(suspect, &seen(suspect))
    }

    fn covers(&self, suspect: &Suspect, stack: &[Seen<'_>]) -> bool {
        self.pattern.as_deref().is_none_or(|pattern| suspect.pattern == Some(pattern))
            && self.fingerprint.as_deref().is_none_or(|digits| suspect.fingerprint.starts_with(digits))
            && (self.frames.is_empty() || self.matches_stack(stack, &suspect.owner))
    }

    /// Frames are compared from the innermost frame that the allocator does not own, from the innermost frame shown,
    /// or from the owner: people copy what they see in a report, tools what they see in a stack.
    fn matches_stack(&self, stack: &[Seen<'_>], owner: &FrameView) -> bool {
        if let [FramePattern::Anything(text)] = self.frames.as_slice() {
            return stack.iter().any(|seen| in_frame(text, seen.frame));
        }
        let asked: Vec<&Seen<'_>> = stack.iter().skip_while(|seen| seen.frame.role == Some(Role::Allocator)).collect();
        let shown: Vec<&Seen<'_>> = stack.iter().filter(|seen| !seen.frame.hidden).collect();
        let is_owner = |seen: &&Seen<'_>| seen.frame.function == owner.function && seen.frame.address == owner.address;
        let owned = shown.iter().position(is_owner).unwrap_or(0);
        [asked.as_slice(), shown.as_slice(), &shown[owned..]].into_iter().any(|frames| matches_frames(&self.frames, frames))
    }
}

/// A frame of a suspect with its path, worked out once for all rules.
struct Seen<'a> {
    frame: &'a FrameView,
    path: OnceCell<Path>,
}

fn seen(suspect: &Suspect) -> Vec<Seen<'_>> {
    suspect.stack.iter().map(|frame| Seen { frame, path: OnceCell::new() }).collect()
}

/// Whether the frames begin as the patterns say. The work is bounded by the product of the lengths.
fn matches_frames(patterns: &[FramePattern], frames: &[&Seen<'_>]) -> bool {
    greedy(patterns, frames, |pattern| *pattern == FramePattern::Rest, |pattern, seen| in_place(pattern, seen), true)
}

/// The usual matching with wildcards: on a mismatch, the last wildcard takes one more. `open`: the rest may follow.
fn greedy<P, T>(patterns: &[P], items: &[T], is_star: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool, open: bool) -> bool {
    let (mut p, mut i, mut star) = (0, 0, None);
    loop {
        if p == patterns.len() && (open || i == items.len()) {
            return true;
        }
        if p < patterns.len() && is_star(&patterns[p]) {
            star = Some((p, i));
            p += 1;
        } else if p < patterns.len() && i < items.len() && fits(&patterns[p], &items[i]) {
            p += 1;
            i += 1;
        } else if let Some((at, taken)) = star
            && taken < items.len()
        {
            star = Some((at, taken + 1));
            (p, i) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
}

fn in_place(pattern: &FramePattern, seen: &Seen<'_>) -> bool {
    let frame = seen.frame;
    match pattern {
        FramePattern::Rest => false,
        FramePattern::Function(name) => {
            let path = seen.path.get_or_init(|| Path::of(frame));
            glob(name, &frame.function) || ends_with_segments(name, path.as_str(), "::")
        }
        FramePattern::Module(name) => {
            frame.module.as_deref().is_some_and(|module| glob(name, module) || glob(base_name(name), base_name(module)))
        }
        FramePattern::File(name) => frame.file.as_deref().is_some_and(|file| {
            let with_line = frame.line.map(|line| format!("{file}:{line}"));
            ends_with_segments(name, file, "/") || with_line.is_some_and(|text| ends_with_segments(name, &text, "/"))
        }),
        FramePattern::Anything(text) => in_frame(text, frame),
    }
}

/// The whole text, or what begins behind one of its separators.
fn ends_with_segments(pattern: &str, text: &str, separator: &str) -> bool {
    glob(pattern, text) || text.match_indices(separator).any(|(at, found)| glob(pattern, &text[at + found.len()..]))
}

/// LeakSanitizer's template: a substring with `*`, anchored by `^` and `$`.
fn in_frame(template: &str, frame: &FrameView) -> bool {
    let (start, rest) = template.strip_prefix('^').map_or(("*", template), |rest| ("", rest));
    let (end, rest) = rest.strip_suffix('$').map_or(("*", rest), |rest| ("", rest));
    let pattern = format!("{start}{rest}{end}");
    [Some(&frame.function), frame.module.as_ref(), frame.file.as_ref()].into_iter().flatten().any(|text| glob(&pattern, text))
}

/// Whether the whole text fits a pattern in which `*` is any text and `?` any character.
pub fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == text;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    greedy(&pattern, &text, |p| *p == '*', |p, c| *p == '?' || p == c, false)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::analysis::detect::fixture::frames;
    use crate::analysis::finding::{Confidence, VerdictKind};

    const STACK: &str = "a prof_backtrace_impl\na malloc\nl alloc::string::String::clone\nu app::Memo<K,V>::remember\nu app::serve::{{closure}}\nd tokio::poll\nu app::main\nr start_thread";

    pub(crate) fn suspect(stack: &str) -> Suspect {
        let stack = frames(stack);
        let owner = stack.iter().find(|f| f.role == Some(Role::User)).cloned().unwrap_or_default();
        Suspect {
            fingerprint: "a41f09c25b7e11d0".into(),
            pattern: Some("unbounded_map"),
            confidence: Confidence::High,
            rises: (9, 9),
            owner,
            ..Suspect::new(VerdictKind::Leak, Interval { estimate: 100.0, low: 90.0, high: 110.0 }, stack)
        }
    }

    fn rule(frames: &[&str]) -> Rule {
        let frames = frames
            .iter()
            .map(|f| match f.split_once(':') {
                _ if *f == "..." => FramePattern::Rest,
                Some(("obj", m)) => FramePattern::Module(m.into()),
                Some(("src", m)) => FramePattern::File(m.into()),
                Some(("leak", m)) => FramePattern::Anything(m.into()),
                _ => FramePattern::Function((*f).into()),
            })
            .collect();
        Rule { label: "heaptriage.toml:1".into(), frames, reason: Some("known".into()), ..Rule::default() }
    }

    #[track_caller]
    fn check(frames: &[&str], expected: bool) {
        assert_eq!(rule(frames).matches(&suspect(STACK)), expected, "{frames:?}");
    }

    #[test]
    fn frames_begin_where_people_or_tools_begin() {
        check(&["app::Memo<K,V>::remember"], true);
        check(&["app::Memo::remember"], true);
        check(&["Memo::remember", "app::serve"], true);
        check(&["remember", "...", "app::main"], true);
        check(&["alloc::string::String::clone", "app::Memo::remember"], true);
        check(&["app::M*", "*serve*"], true);
        check(&["...", "app::main"], true);
        check(&["app::serve"], false); // neither innermost nor the owner
        check(&["emo::remember"], false); // not a whole segment
        check(&["remember", "app::main"], false); // frames between
        check(&["remember", "...", "app::other"], false);
        check(&["malloc"], false);
    }

    #[test]
    fn an_owner_further_out_is_a_beginning() {
        let mut one = suspect(STACK);
        one.owner = one.stack[6].clone();
        assert!(rule(&["app::main"]).matches(&one));
    }

    #[test]
    fn modules_files_and_templates() {
        let mut one = suspect(STACK);
        one.stack[3].module = Some("libapp.so.1".into());
        one.stack[3].file = Some("/srv/app/src/memo.rs".into());
        one.stack[3].line = Some(40);
        for frames in [
            ["obj:/usr/lib/libapp.so*"],
            ["obj:libapp*"],
            ["src:memo.rs"],
            ["src:src/memo.rs:40"],
            ["leak:Memo"],
            ["leak:^app::Memo"],
            ["leak:remember$"],
            ["leak:libapp.so"],
        ] {
            assert!(rule(&frames).matches(&one), "{frames:?}");
        }
        for frames in [["obj:libother*"], ["src:emo.rs"], ["src:memo.rs:41"], ["leak:^Memo"], ["leak:Memo$"]] {
            assert!(!rule(&frames).matches(&one), "{frames:?}");
        }
    }

    #[test]
    fn every_part_must_agree() {
        let mut one = rule(&["remember"]);
        one.pattern = Some("box_leak".into());
        assert!(!one.matches(&suspect(STACK)));
        one.pattern = Some("unbounded_map".into());
        one.fingerprint = Some("a41f09c2".into());
        assert!(one.matches(&suspect(STACK)));
        one.fingerprint = Some("ffffffff".into());
        assert!(!one.matches(&suspect(STACK)));
    }

    #[test]
    fn bytes_stay_visible_and_rules_do_not_rot() {
        let mut expired = rule(&["remember"]);
        expired.label = "expired".into();
        expired.expires = Some(jiff::civil::date(2026, 6, 30));
        let mut unused = rule(&["nobody"]);
        unused.label = "unused".into();
        let shipped = Rule { builtin: true, label: "shipped".into(), ..rule(&["nothing"]) };
        let rules = vec![expired, rule(&["remember"]), unused, shipped];
        let all = Suppressions { rules, today: Some(jiff::civil::date(2026, 7, 1)) };
        let mut suspects = [suspect(STACK)];
        let usage = all.apply(&mut suspects);
        assert_eq!(suspects[0].suppressed.as_deref(), Some("known (heaptriage.toml:1)"));
        assert_eq!((usage.suspects, usage.growth.estimate), (1, 100.0));
        assert_eq!(usage.unused, ["unused"]);
        assert_eq!(usage.expired, [("expired".to_owned(), jiff::civil::date(2026, 6, 30))]);
        assert_eq!(usage.expired_hits, ["expired"]);
        assert_eq!(usage.remarks(), ["expired expired on 2026-06-30: what it covered is reported again", "unused matched no suspect"]);
        // On its last day it still holds.
        let on_the_day = Suppressions { today: Some(jiff::civil::date(2026, 6, 30)), ..all };
        assert!(on_the_day.apply(&mut [suspect(STACK)]).expired.is_empty());
    }

    #[test]
    fn globs() {
        for (pattern, text) in [("", ""), ("*", ""), ("a*c", "abc"), ("a*b*c", "axxbyyc"), ("?b", "äb"), ("**", "x"), ("a*", "a")] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("a*c", "ab"), ("?", ""), ("a?", "a")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
        assert!(!glob(&"*a".repeat(50), &"a".repeat(49))); // no exponential search
    }
}
