//! One capture as one Parquet table: every stack of every snapshot by name, nothing left out. For a notebook.

use crate::analysis::estimate::unsample;
use crate::analysis::export::Amount;
use crate::fleet::columns::{Column, Values, encode};
use crate::fleet::reduce::build_id;
use crate::fleet::stack::NamedStacks;
use crate::model::frame::Symbols;
use crate::model::heap::Sampling;
use crate::model::timeline::Timeline;
use hashbrown::HashMap;
use parquet::errors::ParquetError;
use rustc_hash::FxBuildHasher;

/// The table; of the snapshot named `only`, or of all. With `raw` numbers are as sampled.
///
/// `ts_us` is null where snapshots have an order and no time.
///
/// # Errors
/// A fault of the Parquet library.
pub fn write(timeline: &Timeline, symbols: &Symbols, only: Option<&str>, raw: bool) -> Result<Vec<u8>, ParquetError> {
    let named = NamedStacks::of(&timeline.stacks, symbols);
    // (snapshot, row of `named`) with what is live and what was allocated.
    let mut rows: Vec<(usize, u32, Amount, Option<Amount>)> = Vec::new();
    for (at, snapshot) in timeline.snapshots.iter().enumerate() {
        let Some(heap) = snapshot.heap.as_ref().filter(|_| only.is_none_or(|only| only == snapshot.name)) else { continue };
        let sampling = if raw { Sampling::Exact } else { heap.sampling };
        let mut sums: HashMap<u32, (Amount, Amount), FxBuildHasher> = HashMap::default();
        for sample in &heap.samples {
            let Some(&row) = named.row_of.get(sample.stack.index()) else { continue };
            let sum = sums.entry(row).or_default();
            sum.0 = sum.0 + Amount::of(&unsample(sample.live, sampling));
            sum.1 = sum.1 + Amount::of(&unsample(sample.accumulated, sampling));
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|a, b| named.rows[a.0 as usize].stack_id.cmp(&named.rows[b.0 as usize].stack_id));
        rows.extend(sums.into_iter().map(|(row, (live, ever))| (at, row, live, heap.accumulated.then_some(ever))));
    }
    let count = rows.len();
    let names = timeline.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
    let of_stack = |name: &str, get: fn(&crate::fleet::rows::StackRow) -> &String| {
        Column::new(name, Values::Texts(named.rows.iter().map(|row| get(row).clone()).collect(), rows.iter().map(|row| row.1).collect()))
    };
    let time = |at: usize| {
        let snapshot = &timeline.snapshots[at];
        snapshot.time_source.is_time().then(|| snapshot.unix_ms.saturating_mul(1000))
    };
    let amounts = |get: fn(Amount) -> i64| Values::Optional(rows.iter().map(|row| row.3.map(get)).collect());
    let process = timeline.process.name.clone().unwrap_or_default();
    let build = build_id(&timeline.process, symbols).unwrap_or_else(|| "unknown".into());
    encode(
        "stacks_over_time",
        &[
            Column::constant("process", &process, count),
            Column::constant("build_id", &build, count),
            Column::new("snapshot", Values::Texts(names, rows.iter().map(|row| row.0 as u32).collect())),
            Column::new("ts_us", Values::Optional(rows.iter().map(|row| time(row.0)).collect())),
            of_stack("stack_id", |row| &row.stack_id),
            of_stack("leaf", |row| &row.leaf),
            of_stack("owner", |row| &row.owner),
            of_stack("crate", |row| &row.krate),
            of_stack("folded", |row| &row.folded),
            Column::new("inuse_bytes", Values::Ints(rows.iter().map(|row| row.2.bytes).collect())),
            Column::new("inuse_objects", Values::Ints(rows.iter().map(|row| row.2.objects).collect())),
            Column::new("alloc_bytes", amounts(|amount| amount.bytes)),
            Column::new("alloc_objects", amounts(|amount| amount.objects)),
        ],
    )
}
