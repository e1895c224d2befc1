//! What recorded lives say of stacks: whether their objects die, and how old they become.

use crate::analysis::finding::Evidence;
use crate::model::lives::{Life, Lives};
use crate::model::stack::StackId;
use crate::units::{grouped, iec, percent};

/// Bytes asked for below this share of those handed out are worth a word: size classes lose at most a fifth.
const LOOSE: f64 = 0.75;

/// Facts about the objects of `stacks`, one for each record that has any to tell.
pub fn evidence(lives: &[Lives], stacks: &[StackId]) -> Vec<Evidence> {
    let of = |one: &Lives| -> Vec<Life> {
        one.objects.iter().filter(|life| life.stack.is_some_and(|stack| stacks.contains(&stack))).copied().collect()
    };
    let facts = lives.iter().filter_map(|one| {
        let own = of(one);
        let claim = match one.duration_ns {
            Some(duration) => logged(&own, one.objects.len(), duration),
            None => recent(&own),
        };
        Some(Evidence::new(claim?, one.file.clone()))
    });
    facts.collect()
}

/// A log holds what was freed while it ran. A log without anything tells nothing.
fn logged(own: &[Life], all: usize, duration: u64) -> Option<String> {
    if all == 0 {
        return None;
    }
    if own.is_empty() {
        return Some(format!(
            "none of its objects was freed during a log of {}, while {} sampled objects of other stacks were",
            span(duration),
            grouped(all as u64)
        ));
    }
    let mut ages: Vec<u64> = own.iter().filter_map(age).collect();
    ages.sort_unstable();
    let (median, oldest) = (ages.get(ages.len() / 2)?, ages.last()?);
    Some(format!(
        "{} of its sampled objects were freed during a log of {}: half of them lived no longer than {}, none longer than {}",
        grouped(own.len() as u64),
        span(duration),
        span(*median),
        span(*oldest)
    ))
}

/// A list of the latest allocations, live and freed.
fn recent(own: &[Life]) -> Option<String> {
    let newest = own.iter().map(|life| life.born_ns).max()?;
    let live: Vec<&Life> = own.iter().filter(|life| !life.released).collect();
    let mut claim = format!("{} of its {} latest sampled allocations are still live", live.len(), own.len());
    // The list does not say when it was made: not before its newest entry.
    if let Some(oldest) = live.iter().map(|life| newest.saturating_sub(life.born_ns)).max().filter(|&age| age > 0) {
        claim.push_str(&format!(", the oldest for at least {}", span(oldest)));
    }
    let (asked, usable) = own
        .iter()
        .filter_map(|life| Some((life.requested?, life.usable_size)))
        .fold((0u64, 0u64), |sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)));
    if usable > 0 && (asked as f64) < LOOSE * usable as f64 {
        claim.push_str(&format!(
            "; {} were asked for of the {} handed out ({})",
            iec(asked as f64),
            iec(usable as f64),
            percent(asked as f64, usable as f64)
        ));
    }
    Some(claim)
}

fn age(life: &Life) -> Option<u64> {
    Some(life.freed_ns?.saturating_sub(life.born_ns))
}

/// `850 ms`, `12.4 s`, `5 min 2 s`.
fn span(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    match s {
        0 if ns < 1_000_000 => "1 ms".to_owned(),
        0 => format!("{} ms", ns / 1_000_000),
        1..60 => format!("{:.1} s", ns as f64 / 1e9),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn life(stack: u32, born: u64, freed: Option<u64>) -> Life {
        let freed_ns = freed.map(|at| at * SECOND);
        Life { stack: Some(StackId(stack)), usable_size: 64, requested: None, born_ns: born * SECOND, freed_ns, released: freed.is_some() }
    }

    fn claims(lives: Lives, stack: u32) -> Vec<String> {
        evidence(&[lives], &[StackId(stack)]).into_iter().map(|evidence| evidence.claim).collect()
    }

    #[test]
    fn a_log_tells_who_dies_and_who_does_not() {
        let objects = vec![life(1, 0, Some(2)), life(1, 1, Some(2)), life(1, 0, Some(30))];
        let log = Lives { file: "p.json".into(), duration_ns: Some(90 * SECOND), objects };
        assert_eq!(
            claims(log.clone(), 1),
            [
                "3 of its sampled objects were freed during a log of 1 min 30 s: half of them lived no longer than 2.0 s, none longer than 30.0 s"
            ]
        );
        assert_eq!(
            claims(log.clone(), 2),
            ["none of its objects was freed during a log of 1 min 30 s, while 3 sampled objects of other stacks were"]
        );
        assert!(claims(Lives { objects: Vec::new(), ..log }, 2).is_empty(), "an empty log says nothing");
    }

    #[test]
    fn the_latest_allocations() {
        let mut objects = vec![life(1, 10, None), life(1, 40, None), life(1, 20, Some(25)), life(2, 50, None)];
        objects[0].requested = Some(10);
        let recent = Lives { file: "r.json".into(), duration_ns: None, objects };
        assert_eq!(
            claims(recent.clone(), 1),
            [
                "2 of its 3 latest sampled allocations are still live, the oldest for at least 30.0 s; 10 B were asked for of the 64 B handed out (15.6 %)"
            ]
        );
        assert!(claims(recent, 3).is_empty());
    }
}
