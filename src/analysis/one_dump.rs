//! What a single dump tells: how much is live and whose most of it is. Whether it grows, only a second one shows.

use crate::analysis::estimate::{Estimated, unsample};
use crate::analysis::owner::Owners;
use crate::analysis::series::HeapSeries;
use crate::analysis::view;
use crate::model::frame::Symbols;
use crate::model::timeline::Timeline;
use crate::units::{iec, iec_range, percent};
use std::collections::BTreeMap;

/// Owners that are named.
const NAMED: usize = 3;

/// `40.2 MiB are live in 11 stacks (95 %: 38.1 to 42.4 MiB); most at ...`; `None` unless there is exactly one dump with samples.
pub fn sentence(timeline: &Timeline, series: &HeapSeries, symbols: &Symbols) -> Option<String> {
    let [sampling] = series.sampling.as_slice() else { return None };
    let mut owners = Owners::new(symbols);
    let (mut total, mut stacks) = (Estimated::default(), 0);
    let mut by_owner: BTreeMap<String, f64> = BTreeMap::new();
    for of_stack in &series.stacks {
        let live = of_stack.live.first().map(|&counts| unsample(counts, *sampling)).unwrap_or_default();
        if live.bytes <= 0.0 {
            continue;
        }
        (total, stacks) = ([total, live].into_iter().sum(), stacks + 1);
        if let Some(owner) = owners.of(timeline.stacks.stack(of_stack.stack)) {
            let name = view::frame(&timeline.stacks, symbols, owner.address, owner.frame).function;
            *by_owner.entry(name).or_default() += live.bytes;
        }
    }
    let mut heaviest: Vec<(String, f64)> = by_owner.into_iter().collect();
    heaviest.sort_by(|a, b| b.1.total_cmp(&a.1));
    let named: Vec<String> =
        heaviest.iter().take(NAMED).map(|(name, bytes)| format!("`{name}` ({}, {})", iec(*bytes), percent(*bytes, total.bytes))).collect();
    let interval = total.interval();
    let range = if interval.low < interval.high { format!(" (95 %: {})", iec_range(interval.low, interval.high)) } else { String::new() };
    let are = if stacks == 1 { "stack" } else { "stacks" };
    (stacks > 0).then(|| format!("{} are live in {stacks} {are}{range}; most at {}.", iec(total.bytes), named.join(", ")))
}
