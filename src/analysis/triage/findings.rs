//! Groups that were judged to findings: suspects with their evidence, and what is cleared.

use super::{STEADY_BYTES, STEADY_SHARE};
use crate::analysis::detect::{self, Case, Sibling};
use crate::analysis::estimate::Interval;
use crate::analysis::finding::{Cleared, Confidence, Evidence, FrameView, Rate, Suspect, VerdictKind, fingerprint};
use crate::analysis::group::Paths;
use crate::analysis::join::{Driver, Explanation, Growing};
use crate::analysis::judge::{Call, Judged, MATERIAL_SHARE};
use crate::analysis::ledger::Ledger;
use crate::analysis::lives;
use crate::analysis::owner;
use crate::analysis::series::HeapSeries;
use crate::analysis::size_class;
use crate::analysis::trend::{Course, POOL_SLOWED, TIME};
use crate::analysis::view;
use crate::model::frame::Symbols;
use crate::model::heap::HeapProfile;
use crate::model::snapshot::Part;
use crate::model::stack::StackId;
use crate::model::timeline::Timeline;
use crate::units::{iec, percent};

/// Growth shown as cleared has at least this share of the growth of RSS, or of the largest live growth.
const WORTH_A_LINE: f64 = 0.05;
/// Other stacks of a group that the detectors look at.
const SIBLINGS: usize = 8;
/// Stacks of a group that the binaries are asked about, heaviest growth first.
const MOST_STACKS: usize = 64;
/// Share of a growth in stacks of which the binary shows where they are lost.
const LOST: f64 = 0.8;
/// Share of a growth, in sampled objects, that threads of the first dump must have grown by to be its threads.
const STAYED: f64 = 0.8;
/// Share of the growth of RSS from which a growth in chunks goes as RSS does.
const MOST_OF_RSS: f64 = 0.8;
/// Patterns of memory that the program can still reach: entries of a structure that is in use.
const REACHABLE: [&str; 3] = ["unbounded_map", "unbounded_vec", "interning"];

/// Everything needed to turn a judged group into a finding.
pub(super) struct View<'a> {
    pub timeline: &'a Timeline,
    pub symbols: &'a Symbols,
    pub series: &'a HeapSeries,
    pub paths: &'a Paths,
    pub ledger: &'a Ledger,
    /// Course of what the allocator has resident.
    pub resident: Option<&'a Course>,
}

impl View<'_> {
    fn owner(&self, judged: &Judged) -> FrameView {
        let place = judged.group.place();
        let frame = place.and_then(|p| self.symbols.frames(p.address).get(p.depth as usize).map(|frame| (p.address, frame)));
        frame.map_or_else(FrameView::default, |(address, frame)| view::frame(&self.timeline.stacks, self.symbols, address, frame))
    }

    /// What a growth is suspected of, how surely, and what is open about it.
    pub fn grade<'j>(&self, judged: &'j Judged) -> Option<(VerdictKind, Confidence, Option<&'j str>)> {
        match &judged.call {
            Call::Suspect(kind, confidence) => Some((*kind, *confidence, None)),
            // Two snapshots, or a shape that does not show: a suspicion with its interval, if it is of any size.
            Call::Open(why) if self.is_material(judged) => Some((VerdictKind::Growth, Confidence::Low, Some(why))),
            _ => None,
        }
    }

    /// The stacks of a group with the growth of each.
    pub fn growing(&self, judged: &Judged) -> Growing {
        let last = self.series.dumps().saturating_sub(1);
        let growth = |&stack: &StackId| (stack, self.series.delta(&self.series.stacks[stack.index()], 0, last).bytes);
        let mut stacks: Vec<(StackId, f64)> = judged.group.stacks.iter().map(growth).filter(|(_, bytes)| *bytes > 0.0).collect();
        stacks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        stacks.truncate(MOST_STACKS);
        Growing { stacks }
    }

    pub fn suspect(&self, judged: &Judged, explanation: Option<&Explanation>) -> Option<Suspect> {
        let (kind, mut confidence, open) = self.grade(judged)?;
        let heaviest = *judged.group.stacks.first()?;
        let stack = view::stack(&self.timeline.stacks, self.symbols, heaviest);
        let owner = self.owner(judged);
        let operation = self.operation(heaviest);
        let pattern = self.pattern(judged, explanation);
        let (growth, class_claim) = self.growth(judged);
        let mut evidence = self.evidence(judged, growth);
        evidence.extend(class_claim);
        evidence.extend(lives::evidence(&self.timeline.lives, &judged.group.stacks));
        if let Some(why) = open {
            let source = judged.driver.as_ref().map(|driver| format!("machine code of {}", driver.source));
            evidence.push(Evidence::new(why, source.unwrap_or_else(|| dumps_of(self.series))));
        }
        let mut refuted_by = general_refutation(judged);
        let mut remedy = general_remedy(&owner);
        let mut keywords: Vec<String> = Vec::new();
        // What the binary shows comes first: it says why the memory stays.
        let shown = explanation.map_or(&[][..], |explanation| &explanation.evidence);
        evidence.splice(0..0, shown.iter().cloned());
        if let Some((_, found)) = &pattern {
            let at = if found.weight == detect::BINARY { 0 } else { evidence.len() };
            evidence.splice(at..at, found.evidence.iter().cloned());
            refuted_by = format!("{}; or {refuted_by}", found.refuted_by);
            remedy.clone_from(&found.remedy);
            keywords.extend(found.keywords.iter().map(|&k| k.to_owned()));
        }
        // Growth shows that it is kept; only its meaning tells data that is being loaded from entries that were forgotten.
        let reachable = is_reachable(pattern.as_ref());
        if reachable && confidence == Confidence::High {
            confidence = Confidence::Medium;
            let claim = "a structure that the program can reach holds it, and growth alone cannot show that its entries are needed no more: \
                         the confidence is not high. Let the work end, or do the same work twice: data that is loaded stops growing, and the \
                         second time adds nothing";
            evidence.push(Evidence::new(claim, "pattern"));
        }
        evidence.extend(
            judged
                .doubt()
                .filter(|_| kind == VerdictKind::Leak && confidence == Confidence::Medium && !reachable)
                .map(|doubt| Evidence::new(format!("the confidence is medium, not high: {doubt}"), dumps_of(self.series))),
        );
        let names = judged.group.shared.iter().map(|f| self.paths.name(f.key));
        keywords.extend(owner.function.rsplit("::").find(|part| !part.starts_with('{')).map(str::to_owned));
        Some(Suspect {
            fingerprint: fingerprint(std::iter::once(kind.word()).chain(names)),
            kind,
            pattern: pattern.as_ref().map(|(id, _)| *id),
            confidence,
            growth,
            fitted: judged.course.best_trend().map(|t| {
                let units = growth.estimate / t.rate.estimate;
                Interval { estimate: t.robust.estimate * units, low: t.robust.low * units, high: t.robust.high * units }
            }),
            shape: judged.course.shape,
            rises: (judged.course.rises, judged.course.intervals),
            rates: rates(self.pace(judged)),
            survival: judged.survival.filter(|_| !judged.is_table()),
            owner,
            operation,
            stack,
            stacks: judged.group.stacks.len(),
            levels: judged.levels.iter().map(|l| l.bytes).collect(),
            sites: explanation.map_or_else(Vec::new, |explanation| explanation.sites.clone()),
            holder: explanation.and_then(|explanation| explanation.holder.clone()),
            cycle: explanation.map_or_else(Vec::new, |explanation| explanation.cycle.clone()),
            evidence,
            refuted_by,
            remedy,
            keywords,
            source: Vec::new(),
            suppressed: None,
        })
    }

    /// The container operation that a stack allocates in.
    fn operation(&self, stack: StackId) -> Option<String> {
        owner::owner(self.symbols, self.timeline.stacks.stack(stack)).and_then(|o| o.container).map(str::to_owned)
    }

    /// What the detectors say of a group.
    fn pattern(&self, judged: &Judged, explanation: Option<&Explanation>) -> Option<(&'static str, detect::Match)> {
        let heaviest = *judged.group.stacks.first()?;
        let stack = view::stack(&self.timeline.stacks, self.symbols, heaviest);
        let operation = self.operation(heaviest);
        let others: Vec<Sibling> = judged.group.stacks.iter().skip(1).take(SIBLINGS).map(|&s| self.sibling(s)).collect();
        detect::examine(&Case {
            stack: &stack,
            owner: &self.owner(judged),
            operation: operation.as_deref(),
            object_bytes: judged.object_bytes(),
            course: &judged.course,
            survival: judged.survival,
            stacks: judged.group.stacks.len(),
            others: &others,
            explanation,
        })
    }

    /// Whether a growth may be data that is being loaded: it is kept in a structure that is in use, nothing but its growth
    /// speaks for a leak, and the threads that allocate it worked at the first dump already. A thread for each job has its own
    /// loop, which ends each time. What no structure is seen to keep stays a leak: programs leak in loops that count, too.
    pub fn may_be_a_load(&self, judged: &Judged, explanation: Option<&Explanation>) -> bool {
        let by_growth = matches!(judged.call, Call::Suspect(VerdictKind::Leak, _));
        let shown = explanation.is_some_and(|found| found.pattern.is_some() || !found.cycle.is_empty());
        by_growth && !shown && is_reachable(self.pattern(judged, explanation).as_ref()) && self.threads_stayed(judged)
    }

    /// Whether threads that the first dump lists hold what grew; true where dumps list no threads.
    fn threads_stayed(&self, judged: &Judged) -> bool {
        let dump = |at: Option<&usize>| at.and_then(|&i| self.timeline.snapshots[i].heap.as_ref());
        let (Some(first), Some(last)) = (dump(self.series.snapshots.first()), dump(self.series.snapshots.last())) else { return false };
        let held =
            |heap: &HeapProfile, uid: u64| heap.threads.iter().find(|thread| thread.uid == uid).map_or(0, |thread| thread.live.objects);
        let grown: f64 = first.threads.iter().map(|thread| held(last, thread.uid) as f64 - thread.live.objects as f64).sum();
        let (from, to) = (judged.levels.first().map_or(0.0, |l| l.samples), judged.levels.last().map_or(0.0, |l| l.samples));
        last.threads.is_empty() || grown >= STAYED * (to - from)
    }

    fn sibling(&self, stack: StackId) -> Sibling {
        let last = self.series.dumps().saturating_sub(1);
        let end = self.series.estimate(&self.series.stacks[stack.index()], last);
        Sibling {
            stack: view::stack(&self.timeline.stacks, self.symbols, stack),
            object_bytes: if end.objects > 0.0 { end.bytes / end.objects } else { 0.0 },
        }
    }

    /// The course that tells the rate: an arena's chunks double, the memory touched in them grows smoothly.
    fn pace<'b>(&'b self, judged: &'b Judged) -> &'b Course {
        match self.resident {
            Some(resident) if judged.grows_in_chunks() && resident.shape.is_ongoing() && self.is_most_of_rss(judged) => resident,
            _ => &judged.course,
        }
    }

    /// Whether a growth is so much of that of RSS that the course of RSS is its own.
    fn is_most_of_rss(&self, judged: &Judged) -> bool {
        self.ledger.rss_growth().is_some_and(|growth| judged.delta.bytes >= MOST_OF_RSS * growth as f64)
    }

    /// The growth with its interval, tightened by the exact counts of its size class where these say anything.
    fn growth(&self, judged: &Judged) -> (Interval, Option<Evidence>) {
        let growth = judged.growth();
        let snapshot = |at: Option<&usize>| at.map(|&i| &self.timeline.snapshots[i]);
        let (Some(first), Some(last)) = (snapshot(self.series.snapshots.first()), snapshot(self.series.snapshots.last())) else {
            return (growth, None);
        };
        let (Some(before), Some(after)) = (&first.stats, &last.stats) else { return (growth, None) };
        match size_class::tighten(self.series, &judged.group.stacks, growth, before, after) {
            Some(bound) => {
                let source = format!("{}: bins, lextents", last.file(Part::Stats).unwrap_or("statistics"));
                (bound.growth, Some(Evidence::new(bound.claim, source)))
            }
            None => (growth, None),
        }
    }

    fn is_material(&self, judged: &Judged) -> bool {
        let bytes = judged.delta.bytes;
        let floor = match self.ledger.rss_growth() {
            Some(growth) => (MATERIAL_SHARE * growth as f64).max(STEADY_BYTES),
            // Without resident memory the live heap is the measure: a small program may grow by little that is most of it.
            None => {
                let last = self.series.dumps().saturating_sub(1);
                let live: f64 = self.series.stacks.iter().map(|stack| self.series.estimate(stack, last).bytes).sum();
                STEADY_BYTES.min(STEADY_SHARE * live)
            }
        };
        bytes >= 4.0 * self.series.interval() && bytes >= floor
    }

    fn evidence(&self, judged: &Judged, growth: Interval) -> Vec<Evidence> {
        let dumps = dumps_of(self.series);
        let course = &judged.course;
        let mut all = vec![Evidence::new(
            format!(
                "live bytes of {} grew by {} (95 %: {} to {}), in {} of {} intervals",
                match judged.group.stacks.len() {
                    1 => "one stack".to_owned(),
                    n => format!("{n} stacks that meet in the owner"),
                },
                iec(growth.estimate),
                iec(growth.low),
                iec(growth.high),
                course.rises,
                course.intervals
            ),
            dumps.clone(),
        )];
        let pace = self.pace(judged);
        let smooth = !std::ptr::eq(pace, course);
        if let Some(trend) = pace.best_trend() {
            let others = pace.trends.iter().filter(|t| t.per != trend.per);
            let others: Vec<String> = others.map(|t| format!("per {}: r² {:.3}", singular(&t.per), t.r2)).collect();
            let also = if others.is_empty() { String::new() } else { format!(" ({})", others.join("; ")) };
            all.push(Evidence::new(
                format!(
                    "{}{} per {}, r² {:.3}{also}",
                    match (smooth, judged.is_arena()) {
                        (true, true) => "the memory touched in its chunks grows smoothly: ",
                        (true, false) => "the memory touched in its tables, which double, grows smoothly: ",
                        _ => "",
                    },
                    iec(trend.rate.estimate),
                    singular(&trend.per),
                    trend.r2
                ),
                match (smooth, trend.per.as_str()) {
                    (true, _) => "resident memory of the allocator (smaps)".to_owned(),
                    (_, "second") => dumps.clone(),
                    _ => "counters.csv".to_owned(),
                },
            ));
            if course.shape.is_ongoing() && judged.pool_excluded() {
                all.push(Evidence::new(
                    format!(
                        "the last third of the window grew at {:.2} times the rate of the first third; a cache that fills within half of the \
                         window would have slowed to {POOL_SLOWED}",
                        trend.late_over_early()
                    ),
                    match judged.counted {
                        true => format!("exact counts of its size class in the statistics beside {dumps}"),
                        false => dumps.clone(),
                    },
                ));
            }
        }
        // Every doubling of a table is a new object, and the old one is freed.
        if let Some(survival) = judged.survival.filter(|_| !judged.is_table()) {
            all.push(Evidence::new(
                format!("{} of the objects allocated here since the first dump are still live", percent(survival, 1.0)),
                "accumulated counts of the dumps",
            ));
        }
        all
    }

    pub fn cleared(&self, judged: &Judged, rise: Option<f64>) -> Option<Cleared> {
        let Call::Cleared(kind, reason) = &judged.call else { return None };
        let size = judged.series.range();
        let worth = size >= (WORTH_A_LINE * rise.unwrap_or(0.0)).max(4.0 * self.series.interval());
        worth.then(|| Cleared {
            kind: *kind,
            growth: judged.growth(),
            owner: Some(self.owner(judged)),
            reason: reason.clone(),
            levels: judged.levels.iter().map(|l| l.bytes).collect(),
        })
    }
}

/// The best-explaining rate first, then time in a unit that reads well.
fn rates(course: &Course) -> Vec<Rate> {
    let mut order: Vec<usize> = (0..course.trends.len()).collect();
    order.sort_by_key(|&i| Some(i) != course.best);
    order
        .into_iter()
        .map(|i| {
            let trend = &course.trends[i];
            let (per, factor) = match trend.per.as_str() {
                "second" => time_unit(trend.rate.estimate),
                counter => (counter.to_owned(), 1.0),
            };
            Rate { per, bytes: trend.rate.per(1.0 / factor), r2: trend.r2 }
        })
        .collect()
}

/// The unit of time in which a rate is at least a KiB.
fn time_unit(per_second: f64) -> (String, f64) {
    let (unit, seconds) = match per_second.abs() {
        rate if rate >= 1024.0 => ("second", 1.0),
        rate if rate * 60.0 >= 1024.0 => ("minute", 60.0),
        _ => ("hour", 3600.0),
    };
    (unit.to_owned(), seconds)
}

/// `documents` as one says it after "per": `document`.
pub fn singular(unit: &str) -> String {
    match unit {
        u if u.ends_with("ies") && u.len() > 4 => format!("{}y", &u[..u.len() - 3]),
        u if ["sses", "shes", "tches", "nches", "rches", "xes"].iter().any(|end| u.ends_with(end)) => u[..u.len() - 2].to_owned(),
        u if u.ends_with('s') && !u.ends_with("ss") && u.len() > 2 => u[..u.len() - 1].to_owned(),
        u => u.to_owned(),
    }
}

/// The dumps, as a source.
fn dumps_of(series: &HeapSeries) -> String {
    match series.dumps() {
        2 => "both dumps".to_owned(),
        n => format!("{n} dumps"),
    }
}

/// Whether a structure that the program can reach is seen to hold it, and not by what the binary says of losses.
fn is_reachable(pattern: Option<&(&'static str, detect::Match)>) -> bool {
    pattern.is_some_and(|(id, found)| REACHABLE.contains(id) && found.weight != detect::BINARY)
}

/// Whether the binary shows where what grows is lost: then a few snapshots that all grew are enough to call it a leak.
pub(super) fn is_lost(found: &Explanation) -> bool {
    found.covered >= LOST && found.sites.iter().any(|site| site.explains)
}

/// What a loop that counts says of the growth it drives.
pub(super) fn load_in_progress(driver: &Driver) -> String {
    let at = if driver.place.is_empty() { String::new() } else { format!(" ({})", driver.place) };
    format!(
        "a loop in `{}`{at} that counts to an end allocates it, and until then data that is loaded and a leak look alike: capture until \
         the loop has ended, or let it run twice (a load stays as it is, a leak adds as much again)",
        driver.function
    )
}

fn general_refutation(judged: &Judged) -> String {
    match judged.course.intervals {
        0 | 1 => "a third dump after the same work shows no further growth".to_owned(),
        _ => match judged.course.best_trend().filter(|trend| trend.per != TIME) {
            Some(trend) => format!(
                "`{}` comes to an end by itself (a load, an import), or a capture twice as long shows the growth ending: a cache that fills \
                 more slowly than half of this window looks the same",
                trend.per
            ),
            None => "a capture twice as long shows the growth ending: a load or a cache that fills more slowly than half of this window \
                     looks the same"
                .to_owned(),
        },
    }
}

fn general_remedy(owner: &FrameView) -> String {
    match owner.function.is_empty() {
        true => "find what keeps these allocations and bound it or free it".to_owned(),
        false => {
            format!("find what keeps what `{}` allocates, and bound it, evict from it or free it when its work is done", owner.function)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_structure_is_seen_to_hold_is_not_reachable() {
        let found = |id, weight| {
            let found = detect::Match { weight, evidence: vec![], remedy: String::new(), refuted_by: String::new(), keywords: vec![] };
            is_reachable(Some(&(id, found)))
        };
        assert!(found("unbounded_map", 1));
        assert!(!found("unbounded_map", detect::BINARY), "the binary shows a loss");
        assert!(!found("c_allocation", 1) && !found("mem_forget", 2));
        // A leak in a loop that counts, of which nothing else is known, stays one.
        assert!(!is_reachable(None));
    }

    #[test]
    fn units_of_work_are_said_in_the_singular() {
        let said: Vec<String> =
            ["documents", "queries", "batches", "flushes", "searches", "caches", "access", "second"].into_iter().map(singular).collect();
        assert_eq!(said, ["document", "query", "batch", "flush", "search", "cache", "access", "second"]);
    }
}
