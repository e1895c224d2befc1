//! What a capture cannot show: the smallest leak that would have been seen, and which facts are missing.

use super::Summary;
use crate::analysis::finding::Missing;
use crate::analysis::judge::{Judged, RESOLVED_SAMPLES};
use crate::analysis::series::HeapSeries;
use crate::model::frame::Symbols;
use crate::model::heap::Sampling;
use crate::model::timeline::Timeline;
use crate::units::{grouped, iec};

/// Finer sampling than every 16 KiB costs more than it shows.
const FINEST_LG: u32 = 14;
/// From 2^17 on what sampling adds to the heap stays within some percent.
const UNDISTORTED_LG: u32 = 17;

/// The smallest leak that would have shown, said for the all-clear: in a stack of its own, and inside memory that churns.
pub(super) fn blind_spot(series: &HeapSeries, summary: &Summary, judged: &[Judged]) -> Option<String> {
    let sampling = *series.sampling.last()?;
    let seconds = (summary.last_unix_ms - summary.first_unix_ms) as f64 / 1000.0;
    if series.dumps() < 2 {
        return None;
    }
    if summary.estimated_by_writer {
        return Some(
            "how small a leak would show is not known: pprof does not tell the error of its estimates; give the dumps themselves"
                .to_owned(),
        );
    }
    let Sampling::Interval(interval) = sampling else {
        return Some("every allocation was recorded: any growth of live memory would show".to_owned());
    };
    let least = RESOLVED_SAMPLES * interval.get() as f64;
    let rate = |bytes: f64| match summary.timed && seconds > 0.0 {
        true => format!(" ({} per minute)", iec(bytes / seconds * 60.0)),
        false => String::new(),
    };
    // Growth must stand out of the error of the whole it is part of, and that is largest where objects come and go.
    let hidden = |j: &&Judged| !j.is_suspect();
    let loudest = judged.iter().filter(hidden).map(Judged::could_hide).max_by(f64::total_cmp);
    let within = loudest
        .filter(|&bytes| bytes > least)
        .map_or_else(String::new, |bytes| format!("; where objects come and go most, one below {}{}", iec(bytes), rate(bytes)));
    let finer = match interval.get().max(1).ilog2() {
        lg if lg >= UNDISTORTED_LG + 2 => format!("lg_prof_sample:{} shows a quarter of that, and a capture", lg - 2),
        lg if lg >= FINEST_LG + 2 => {
            format!(
                "lg_prof_sample:{} shows a quarter of that (below {UNDISTORTED_LG} profiling itself adds to RSS), and a capture",
                lg - 2
            )
        }
        _ => "a capture".to_owned(),
    };
    Some(format!(
        "a leak below {}{} in a stack of its own would be invisible at one sample per {}{within}; {finer} four times as long shows a \
         quarter of the rate",
        iec(least),
        rate(least),
        iec(interval.get() as f64),
    ))
}

pub(super) fn missing(timeline: &Timeline, summary: &Summary, symbols: &Symbols, series: &HeapSeries) -> Vec<Missing> {
    let mut all = Vec::new();
    let has = |source: &str| summary.sources.contains(&source);
    if !has("heap") {
        all.push(Missing::new(
            "heap dumps",
            "whose memory it is cannot be told",
            "run with prof:true and dump with prof.dump, or use `heaptriage record`",
        ));
    } else if series.dumps() == 1 {
        all.push(Missing::new(
            "a second heap dump",
            "one dump shows what is live, not what grows",
            "dump again after the same amount of work",
        ));
    } else if series.dumps() <= crate::analysis::trend::LEAST_INTERVALS {
        all.push(Missing::new(
            "more snapshots",
            format!("{} dumps do not tell a leak from a cache that warms", series.dumps()),
            "take ten or more over a longer window: `heaptriage record --pid N --every 30s`",
        ));
    }
    if series.partial > 0 {
        all.push(Missing::new(
            format!("the whole of {} cut {}", series.partial, if series.partial == 1 { "dump" } else { "dumps" }),
            "a stack that a cut dump lacks would look freed: growth is told from the other dumps",
            "copy the dumps again, and check the room on the disk they were written to",
        ));
    }
    if !has("smaps") && !has("status") {
        all.push(Missing::new(
            "resident memory (smaps)",
            match has("heap") {
                true => "RSS cannot be accounted for: only live heap is shown",
                false => "RSS cannot be accounted for: only what the allocator counts is shown",
            },
            "copy /proc/PID/smaps beside each dump",
        ));
    } else if !has("smaps") {
        all.push(Missing::new("smaps", "RSS cannot be split into heap, files and stacks", "copy /proc/PID/smaps beside each dump"));
    }
    if !has("stats") {
        all.push(Missing::new(
            "allocator statistics (stats.json)",
            match has("heap") {
                true => "live heap, fragmentation and dirty pages are told apart by the profile's estimate only",
                false => "live heap, fragmentation and dirty pages cannot be told apart",
            },
            "write malloc_stats_print(\"J\") beside each dump",
        ));
    }
    if has("heap") && !series.accumulated && series.dumps() > 1 {
        all.push(Missing::new("accumulated counts", "how many objects were freed meanwhile is not known", "run with prof_accum:true"));
    }
    if timeline.counters.is_empty() && series.dumps() > 1 {
        all.push(Missing::new(
            "workload counters",
            "growth is measured against time only, not per request or document",
            "add counters.csv (unix_ms,requests,...) to the capture",
        ));
    }
    for module in &symbols.modules {
        if let (Some(remedy), true) = (&module.remedy, module.symbolized < module.addresses) {
            all.push(Missing::new(
                format!("symbols of {}", module.name),
                format!("{} of {} addresses in it have no name", grouped(module.addresses - module.symbolized), grouped(module.addresses)),
                remedy.clone(),
            ));
        }
    }
    all
}
