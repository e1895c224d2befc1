//! Metrics of one or several files to snapshots: one process is chosen, and figures that were asked for separately
//! (one file for RSS, one for the allocator) meet by time.

use crate::input::prometheus::{Figure, Scrape};
use crate::origin::{Notice, printable};
use std::collections::BTreeMap;

/// The figures of one time, and which files they are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The figures.
    pub scrape: Scrape,
    /// File of the allocator's figures, and of the process's.
    pub files: [Option<String>; 2],
}

/// Names of processes in a notice.
const NAMED: usize = 4;
/// Starts that are this close are one: the figure is computed from clock ticks.
const SAME_START_S: u64 = 2;

/// Readings of the process with most of them, by time. Metrics without a time are left out, and that is said.
pub fn readings(files: Vec<(String, Vec<Scrape>)>, notices: &mut Vec<Notice>) -> Vec<Reading> {
    let mut processes: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
    for (label, scrapes) in files {
        let before = scrapes.len();
        let timed: Vec<Scrape> = scrapes.into_iter().filter(|scrape| scrape.unix_ms.is_some()).collect();
        if timed.len() < before {
            let message = format!("{} readings carry no time: left out; put a time line (`date +%s`) before each", before - timed.len());
            notices.push(Notice::new(&label, message));
        }
        for scrape in timed {
            let files = [has_allocator(&scrape), has_process(&scrape)].map(|has| has.then(|| label.clone()));
            processes.entry(scrape.process.clone()).or_default().push(Reading { scrape, files });
        }
    }
    let Some((name, chosen)) = choose(processes, notices) else { return Vec::new() };
    let joined = join(chosen);
    one_incarnation(&name, joined, notices)
}

fn has_allocator(scrape: &Scrape) -> bool {
    [Figure::Allocated, Figure::Active, Figure::Metadata, Figure::Resident, Figure::Mapped, Figure::Retained]
        .into_iter()
        .any(|figure| scrape.get(figure).is_some())
}

fn has_process(scrape: &Scrape) -> bool {
    [Figure::Rss, Figure::VirtualSize, Figure::Threads].into_iter().any(|figure| scrape.get(figure).is_some())
}

fn choose(processes: BTreeMap<String, Vec<Reading>>, notices: &mut Vec<Notice>) -> Option<(String, Vec<Reading>)> {
    let count = processes.len();
    let names: Vec<String> =
        processes.keys().map(|name| if name.is_empty() { "one without labels".to_owned() } else { name.clone() }).collect();
    let mut all: Vec<(String, Vec<Reading>)> = processes.into_iter().collect();
    // The first of equals: names are sorted.
    let most = all.iter().map(|(_, readings)| readings.len()).max()?;
    let at = all.iter().position(|(_, readings)| readings.len() == most)?;
    let chosen = all.swap_remove(at);
    if count > 1 {
        let others: Vec<&str> = names.iter().filter(|name| **name != chosen.0).take(NAMED).map(String::as_str).collect();
        let more = if count - 1 > NAMED { ", ..." } else { "" };
        let message = format!(
            "the metrics are of {count} processes: {} is used, not {}{more}; ask for one by its labels",
            printable(if chosen.0.is_empty() { "the one without labels" } else { &chosen.0 }),
            printable(&others.join("; "))
        );
        notices.push(Notice::new("", message));
    }
    Some(chosen)
}

/// Readings at one time, and those less than half a step apart that complement each other, become one.
fn join(mut readings: Vec<Reading>) -> Vec<Reading> {
    readings.sort_by_key(|reading| reading.scrape.unix_ms);
    let mut joined: Vec<Reading> = Vec::new();
    for reading in readings {
        match joined.last_mut() {
            Some(last) if last.scrape.unix_ms == reading.scrape.unix_ms => merge(last, reading),
            _ => joined.push(reading),
        }
    }
    // Two queries with steps of their own: each time has only its half.
    let half = joined.iter().filter(|reading| reading.files[1].is_none()).count();
    if half == 0 || half == joined.len() {
        return joined;
    }
    let at = |reading: &Reading| reading.scrape.unix_ms.unwrap_or(0);
    let axis: Vec<i64> = joined.iter().filter(|reading| reading.files[1].is_some()).map(at).collect();
    let mut steps: Vec<i64> = axis.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let near = steps.get(steps.len() / 2).map_or(0, |step| step / 2);
    let (mut whole, alone): (Vec<Reading>, Vec<Reading>) = joined.into_iter().partition(|reading| reading.files[1].is_some());
    for reading in alone {
        let time = at(&reading);
        let after = whole.partition_point(|one| at(one) < time);
        let nearest = [after.checked_sub(1), Some(after)]
            .into_iter()
            .flatten()
            .filter(|&i| i < whole.len())
            .min_by_key(|&i| (at(&whole[i]) - time).abs())
            .filter(|&i| (at(&whole[i]) - time).abs() <= near && whole[i].files[0].is_none());
        match nearest {
            Some(i) => merge(&mut whole[i], reading),
            None => whole.insert(after, reading),
        }
    }
    whole
}

fn merge(into: &mut Reading, from: Reading) {
    for (known, new) in into.scrape.values.iter_mut().zip(from.scrape.values) {
        *known = known.or(new);
    }
    for (known, new) in into.files.iter_mut().zip(from.files) {
        *known = known.take().or(new);
    }
}

/// A service that was restarted is two processes: the longer of them.
fn one_incarnation(name: &str, readings: Vec<Reading>, notices: &mut Vec<Notice>) -> Vec<Reading> {
    let mut incarnations: Vec<Vec<Reading>> = Vec::new();
    let mut start: Option<u64> = None;
    for reading in readings {
        let own = reading.scrape.get(Figure::Start);
        let restarted = matches!((start, own), (Some(before), Some(now)) if now > before + SAME_START_S);
        start = own.or(start);
        match incarnations.last_mut() {
            Some(last) if !restarted => last.push(reading),
            _ => incarnations.push(vec![reading]),
        }
    }
    let count = incarnations.len();
    let Some(longest) = incarnations.into_iter().max_by_key(Vec::len) else { return Vec::new() };
    if count > 1 {
        let of = if name.is_empty() { String::new() } else { format!(" of {}", printable(name)) };
        notices.push(Notice::new(
            "",
            format!(
                "the metrics{of} show {} restarts (process_start_time_seconds): the longest run, {} readings, is used",
                count - 1,
                longest.len()
            ),
        ));
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(process: &str, unix_ms: i64, figures: &[(Figure, u64)]) -> Scrape {
        let mut scrape = Scrape { unix_ms: Some(unix_ms), process: process.into(), ..Scrape::default() };
        figures.iter().for_each(|(figure, value)| scrape.values[*figure as usize] = Some(*value));
        scrape
    }

    #[test]
    fn figures_of_two_files_meet_by_time() {
        let rss = (0..4).map(|i| scrape("a", i * 1000, &[(Figure::Rss, 100)])).collect();
        let allocated = (0..4).map(|i| scrape("a", i * 1000 + 300, &[(Figure::Allocated, 50)])).collect();
        let mut notices = Vec::new();
        let readings = readings(vec![("rss.json".into(), rss), ("je.json".into(), allocated)], &mut notices);
        assert_eq!((readings.len(), notices.len()), (4, 0));
        assert_eq!(readings[1].scrape.get(Figure::Allocated), Some(50));
        assert_eq!(readings[1].files, [Some("je.json".into()), Some("rss.json".into())]);
    }

    #[test]
    fn one_process_and_one_run_of_it() {
        let mut scrapes: Vec<Scrape> =
            (0..5).map(|i| scrape("a", i * 1000, &[(Figure::Rss, 1), (Figure::Start, 10 + i as u64 / 3 * 50)])).collect();
        scrapes.push(scrape("b", 0, &[(Figure::Rss, 1)]));
        scrapes.push(Scrape::default());
        let mut notices = Vec::new();
        let readings = readings(vec![("m".into(), scrapes)], &mut notices);
        assert_eq!(readings.len(), 3);
        let said: Vec<String> = notices.iter().map(Notice::to_string).collect();
        assert!(said[0].contains("carry no time") && said[1].contains("2 processes") && said[2].contains("1 restarts"), "{said:?}");
    }
}
