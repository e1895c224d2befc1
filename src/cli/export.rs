//! A dump as every exchange format is written from: what `convert` and `push` have in common.

use super::load;
use super::open::Named;
use crate::analysis::export::{Builder, Dump, Profile, add_dump};
use crate::analysis::export_filter::kept;
use crate::analysis::filter::{Filter, Measure};
use crate::model::heap::{HeapProfile, Sampling};
use crate::model::snapshot::{Part, Snapshot};
use crate::units::Bytes;

/// One dump with what is known of it, as the filter leaves it.
///
/// # Errors
/// Counts that were not recorded, and a thread that is not there.
pub fn profile(
    input: &Named,
    (snapshot, heap): (&Snapshot, &HeapProfile),
    (filter, measure): (&Filter, Measure),
    redact: bool,
) -> anyhow::Result<Profile> {
    load::check_recorded(heap, snapshot, filter, measure)?;
    let process = input.timeline.process.name.as_deref().filter(|_| !redact);
    let mut builder = Builder::new(process.unwrap_or(&snapshot.name), redact);
    let about = builder.about();
    about.unix_ms = snapshot.time_source.is_time().then_some(snapshot.unix_ms);
    about.comments = comments(snapshot, heap, filter, redact);
    let stacks = &input.timeline.stacks;
    let keep = filter.chooses_stacks().then(|| kept(stacks, &input.symbols, heap, filter, measure));
    add_dump(&mut builder, &Dump { heap, stacks, symbols: &input.symbols, keep: keep.as_deref() }, filter);
    let mut profile = builder.finish();
    profile.restrict(filter);
    Ok(profile)
}

/// How the profile was made.
fn comments(snapshot: &Snapshot, heap: &HeapProfile, filter: &Filter, redact: bool) -> Vec<String> {
    let file = snapshot.file(Part::Heap).unwrap_or(&snapshot.name);
    let file = if redact { "a heap dump" } else { file.rsplit('/').next().unwrap_or(file) };
    let values = match (heap.sampling, filter.raw_samples) {
        (Sampling::Exact, _) => "every allocation was recorded".to_owned(),
        (Sampling::Interval(interval), true) => format!("values as sampled, 1 sample per {}, not scaled", Bytes::new(interval.get())),
        (Sampling::Interval(interval), false) => {
            format!("values are estimates: 1 sample per {}, scaled by 1/(1-exp(-size/interval)) per stack", Bytes::new(interval.get()))
        }
    };
    let filters = filter.echo().into_iter().filter(|_| !redact).map(|option| format!("filter {option}"));
    [format!("heaptriage {} from {file}", env!("CARGO_PKG_VERSION")), values].into_iter().chain(filters).collect()
}
