//! Walking a function's machine code: which ways out of it exist, and what unwinding would destroy.
//!
//! Works on the skeleton that [`crate::binary::code`] made: calls, jumps, branches, returns. Values are
//! not followed, so a way out may be one that no execution takes (drop flags): findings say "some way".

use crate::binary::bodies::Inlined;
use crate::binary::code::Flow;
use crate::binary::facts::{Callee, Function, OwnershipFacts};
use crate::binary::glue;
use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

/// Where a walk ends because the value is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// Code that drops it inline: half-open ranges, sorted.
    pub ranges: Vec<(u64, u64)>,
    /// Calls that drop it: addresses of the call instructions, sorted.
    pub calls: Vec<u64>,
}

impl Stops {
    /// Whether nothing ends a walk.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.calls.is_empty()
    }

    /// Brings both lists in order.
    pub fn sort(&mut self) {
        self.ranges.sort_unstable();
        self.calls.sort_unstable();
        self.calls.dedup();
    }

    /// Whether straight-line code from `from` up to and including the instruction at `to` meets a stop.
    fn between(&self, from: u64, to: u64) -> bool {
        self.ranges.iter().any(|&(start, end)| start <= to && from < end)
            || self.calls.get(self.calls.partition_point(|&call| call < from)).is_some_and(|&call| call <= to)
    }
}

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Some way leaves the function without meeting a stop.
    pub leaves: bool,
    /// The address of the instruction that leaves: the lowest one met.
    pub at: u64,
    /// Some way meets a stop.
    pub stops: bool,
    /// Every jump could be followed.
    pub complete: bool,
}

/// Places that are visited at most in one walk.
const MOST_VISITS: usize = 200_000;

/// Whether some way from `starts` reaches the instruction at `goal` without meeting a stop; `None` without machine code.
pub fn reaches(facts: &OwnershipFacts, function: &Function, starts: &[u64], stops: &Stops, goal: u64) -> Option<bool> {
    Some(walk(facts, function, starts, stops, Some(goal))?.leaves)
}

/// Walks forward from `starts` until returns, tail calls or stops. Landing pads are reached by unwinding only and not entered.
pub fn ways(facts: &OwnershipFacts, function: &Function, starts: &[u64], stops: &Stops) -> Option<Ways> {
    walk(facts, function, starts, stops, None)
}

fn walk(facts: &OwnershipFacts, function: &Function, starts: &[u64], stops: &Stops, goal: Option<u64>) -> Option<Ways> {
    let code = function.code.as_ref()?;
    let pads: HashSet<u64, FxBuildHasher> = function.call_sites.iter().map(|site| site.pad).collect();
    let inside = |address: u64| function.body.ranges.iter().any(|&(start, end)| (start..end).contains(&address));
    let mut found = Ways { leaves: false, at: u64::MAX, stops: false, complete: !code.damaged };
    let mut seen: HashSet<u64, FxBuildHasher> = HashSet::default();
    let mut queue: Vec<u64> = starts.to_vec();
    let mut visits = 0;
    while let Some(mut at) = queue.pop() {
        while inside(at) && !pads.contains(&at) && seen.insert(at) {
            visits += 1;
            if visits > MOST_VISITS {
                found.complete = false;
                return Some(found);
            }
            let steps = code.from(at);
            let Some(step) = steps.first() else { break };
            if stops.between(at, step.at) {
                found.stops = true;
                break;
            }
            if goal == Some(step.at) {
                found.leaves = true;
                found.at = step.at;
                return Some(found);
            }
            let mut leave = || {
                if goal.is_none() {
                    found.leaves = true;
                    found.at = found.at.min(step.at);
                }
            };
            match step.flow {
                Flow::Call(target) => {
                    if target.and_then(|target| callee(facts, target)).is_some_and(|callee| callee.never_returns) {
                        break;
                    }
                    at = step.next;
                }
                Flow::Branch(target) => {
                    if inside(target) {
                        queue.push(target);
                    }
                    at = step.next;
                }
                Flow::Jump(Some(target)) if inside(target) => at = target,
                Flow::Jump(Some(target)) => {
                    if !callee(facts, target).is_some_and(|callee| callee.never_returns) {
                        leave();
                    }
                    break;
                }
                Flow::Jump(None) => {
                    found.complete = false;
                    break;
                }
                Flow::Switch(_) => {
                    let targets = steps.iter().take_while(|other| other.at == step.at);
                    queue.extend(targets.filter_map(|step| if let Flow::Switch(target) = step.flow { Some(target) } else { None }));
                    break;
                }
                Flow::Return => {
                    leave();
                    break;
                }
                Flow::Stop => break,
            }
        }
    }
    Some(found)
}

/// The function that starts at an address and is called by one that was looked at.
pub fn callee(facts: &OwnershipFacts, address: u64) -> Option<&Callee> {
    let found = facts.callees.binary_search_by_key(&address, |callee| callee.address).ok()?;
    Some(&facts.callees[found])
}

/// The function that was looked at and whose code holds an address: an index into [`OwnershipFacts::functions`].
pub fn function_at(facts: &OwnershipFacts, address: u64) -> Option<usize> {
    facts.functions.iter().position(|function| function.body.ranges.iter().any(|&(start, end)| (start..end).contains(&address)))
}

/// Whether an inlined call's code holds an address.
pub fn holds(inlined: &Inlined, address: u64) -> bool {
    inlined.ranges.iter().any(|&(start, end)| (start..end).contains(&address))
}

/// Types that unwinding out of the call at `address` destroys, in order of the landing pad: what was alive there.
///
/// Follows the landing pad to where unwinding goes on; named are called glue and inlined glue. Empty where the call has no
/// landing pad, or the function was not looked at.
pub fn alive(facts: &OwnershipFacts, function: &Function, address: u64) -> Vec<String> {
    let Some(site) = function.call_sites.iter().find(|site| (site.start..site.end).contains(&address)) else { return Vec::new() };
    let Some(code) = function.code.as_ref() else { return Vec::new() };
    let glue: Vec<(&Inlined, String)> = function
        .body
        .inlined
        .iter()
        .filter_map(|inlined| Some((inlined, glue::subject_of(&facts.names[inlined.name as usize].name)?)))
        .collect();
    let inside = |at: u64| function.body.ranges.iter().any(|&(start, end)| (start..end).contains(&at));
    let mut found: Vec<String> = Vec::new();
    let mut seen: HashSet<u64, FxBuildHasher> = HashSet::default();
    let mut queue = vec![site.pad];
    while let Some(mut at) = queue.pop() {
        while inside(at) && seen.insert(at) && seen.len() < MOST_VISITS {
            let Some(step) = code.from(at).first() else { break };
            for (inlined, subject) in &glue {
                let meets = inlined.ranges.iter().any(|&(start, end)| start <= step.at && at < end);
                if meets && !found.contains(subject) {
                    found.push(subject.clone());
                }
            }
            match step.flow {
                Flow::Call(target) | Flow::Jump(target) if !target.is_some_and(inside) => {
                    let callee = target.and_then(|target| callee(facts, target));
                    if let Some(subject) = callee.and_then(|callee| callee.destroys.as_ref())
                        && !found.contains(subject)
                    {
                        found.push(subject.clone());
                    }
                    let ends = matches!(step.flow, Flow::Jump(_)) || callee.is_some_and(|callee| callee.never_returns);
                    if ends {
                        break;
                    }
                    at = step.next;
                }
                Flow::Call(_) => at = step.next,
                Flow::Jump(Some(target)) => at = target,
                Flow::Branch(target) => {
                    queue.push(target);
                    at = step.next;
                }
                Flow::Switch(target) => {
                    queue.push(target);
                    break;
                }
                Flow::Jump(None) | Flow::Return | Flow::Stop => break,
            }
        }
    }
    found
}
