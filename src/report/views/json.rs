//! Views as JSON: `heaptriage/top/1`, `heaptriage/diff/1`. Keys may be added, never renamed or removed.
//!
//! Integers are bytes or objects, cut to whole ones as jeprof cuts them; addresses are hex strings. The
//! schemas are beside, in `report/schemas/`.

use super::{About, Profiled, whole};
use crate::analysis::diff::{Change, Diff, DiffRow, delta_value};
use crate::analysis::estimate::Interval;
use crate::analysis::places::{By, Hidden, PlaceId, Places};
use crate::analysis::top::{Row, Top};
use crate::model::heap::{Family, Sampling, Unbias};
use crate::report::wire::{SymbolWire, TOOL, Tool, WarningWire, print, symbol, warning};
use serde::Serialize;

#[derive(Serialize)]
struct TopWire<'a> {
    schema: &'static str,
    tool: Tool,
    profile: ProfileWire<'a>,
    #[serde(flatten)]
    view: ViewWire<'a>,
    total: TopTotal,
    omitted_rows: usize,
    rows: Vec<TopRow<'a>>,
    symbols: Vec<SymbolWire<'a>>,
    warnings: Vec<WarningWire<'a>>,
}

#[derive(Serialize)]
struct DiffWire<'a> {
    schema: &'static str,
    tool: Tool,
    base: ProfileWire<'a>,
    current: ProfileWire<'a>,
    #[serde(flatten)]
    view: ViewWire<'a>,
    r#match: &'static str,
    total: DiffTotal,
    omitted_rows: usize,
    rows: Vec<DiffRowWire<'a>>,
    symbols: Vec<SymbolWire<'a>>,
    warnings: Vec<WarningWire<'a>>,
}

#[derive(Serialize)]
pub(super) struct ProfileWire<'a> {
    name: &'a str,
    file: Option<&'a str>,
    process: Option<&'a str>,
    unix_ms: Option<i64>,
    sampling_interval_bytes: Option<u64>,
    unbias: Option<bool>,
    truncated: bool,
    dumps: usize,
}

/// What was asked for, and what that leaves out.
#[derive(Serialize)]
pub(super) struct ViewWire<'a> {
    by: &'static str,
    sample: &'static str,
    sort: &'static str,
    filters: &'a [String],
    left_out_stacks: usize,
    hidden_functions: HiddenWire,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct HiddenWire {
    allocator: usize,
    library: usize,
    runtime: usize,
    by_options: usize,
}

#[derive(Serialize)]
struct TopTotal {
    bytes: i64,
    objects: i64,
    interval: Option<IntervalWire>,
    stacks: usize,
}

#[derive(Serialize)]
struct DiffTotal {
    base_bytes: i64,
    current_bytes: i64,
    delta_bytes: i64,
    base_objects: i64,
    current_objects: i64,
    delta_objects: i64,
    interval: Option<IntervalWire>,
    stacks: usize,
}

#[derive(Serialize)]
struct IntervalWire {
    low: i64,
    high: i64,
}

#[derive(Serialize)]
struct Labels<'a> {
    name: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    #[serde(rename = "crate")]
    krate: Option<&'a str>,
    module: Option<&'a str>,
    address: Option<String>,
    /// Rows by stack: its visible frames, innermost first.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<FrameWire<'a>>>,
    container: Option<&'static str>,
}

#[derive(Serialize)]
struct FrameWire<'a> {
    function: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
}

#[derive(Serialize)]
struct TopRow<'a> {
    #[serde(flatten)]
    labels: Labels<'a>,
    flat_bytes: i64,
    cum_bytes: i64,
    flat_objects: i64,
    cum_objects: i64,
    interval: Option<IntervalWire>,
}

#[derive(Serialize)]
struct DiffRowWire<'a> {
    #[serde(flatten)]
    labels: Labels<'a>,
    base_flat_bytes: i64,
    current_flat_bytes: i64,
    delta_flat_bytes: i64,
    base_cum_bytes: i64,
    current_cum_bytes: i64,
    delta_cum_bytes: i64,
    base_flat_objects: i64,
    current_flat_objects: i64,
    delta_flat_objects: i64,
    base_cum_objects: i64,
    current_cum_objects: i64,
    delta_cum_objects: i64,
    interval: Option<IntervalWire>,
    significant: bool,
    r#match: &'static str,
}

/// `top` as JSON, at most `most` rows; ends with a newline.
pub fn top(about: &About<'_>, table: &Places, top: &Top, most: usize) -> String {
    let row = |row: &Row| TopRow {
        labels: labels(about, table, row.place, &row.stack, row.container),
        flat_bytes: whole(row.flat.bytes),
        cum_bytes: whole(row.cum.bytes),
        flat_objects: whole(row.flat.objects),
        cum_objects: whole(row.cum.objects),
        interval: interval(about, row.flat.interval()),
    };
    let rows: Vec<TopRow<'_>> = top.rows.iter().take(most).map(row).collect();
    let wire = TopWire {
        schema: "heaptriage/top/1",
        tool: TOOL,
        profile: profile(&about.current),
        view: view(about, top.left_out_stacks, &top.hidden),
        total: TopTotal {
            bytes: whole(top.total.bytes),
            objects: whole(top.total.objects),
            interval: interval(about, top.total.interval()),
            stacks: top.stacks,
        },
        omitted_rows: top.rows.len() - rows.len(),
        rows,
        symbols: about.modules.iter().map(symbol).collect(),
        warnings: about.notices.iter().map(warning).collect(),
    };
    print(&wire)
}

/// `diff` as JSON, at most `most` rows that grew and as many that shrank; ends with a newline.
pub fn diff(about: &About<'_>, table: &Places, diff: &Diff, most: usize) -> String {
    let key = |row: &DiffRow| delta_value(if about.sort_cum { &row.cum } else { &row.flat }, about.measure);
    let grew = diff.rows.iter().take_while(|row| key(row) > 0.0).count();
    let shrank = diff.rows.iter().rev().take_while(|row| key(row) < 0.0).count();
    // Of a limited list both ends are kept.
    let shown = |index: usize| index < grew.min(most) || index >= diff.rows.len() - shrank.min(most) || most == usize::MAX;
    let rows: Vec<DiffRowWire<'_>> = (diff.rows.iter().enumerate())
        .filter(|(index, _)| shown(*index))
        .map(|(_, row)| {
            let (flat, cum) = (numbers(&row.flat), numbers(&row.cum));
            DiffRowWire {
                labels: labels(about, table, row.place, &row.stack, row.container),
                base_flat_bytes: flat.bytes.0,
                current_flat_bytes: flat.bytes.1,
                delta_flat_bytes: flat.bytes.1 - flat.bytes.0,
                base_cum_bytes: cum.bytes.0,
                current_cum_bytes: cum.bytes.1,
                delta_cum_bytes: cum.bytes.1 - cum.bytes.0,
                base_flat_objects: flat.objects.0,
                current_flat_objects: flat.objects.1,
                delta_flat_objects: flat.objects.1 - flat.objects.0,
                base_cum_objects: cum.objects.0,
                current_cum_objects: cum.objects.1,
                delta_cum_objects: cum.objects.1 - cum.objects.0,
                interval: interval(about, row.flat.interval()),
                significant: row.significant,
                r#match: diff.matched.word(),
            }
        })
        .collect();
    let total = numbers(&diff.total);
    let wire = DiffWire {
        schema: "heaptriage/diff/1",
        tool: TOOL,
        base: profile(about.base.as_ref().unwrap_or(&about.current)),
        current: profile(&about.current),
        view: view(about, diff.left_out_stacks, &diff.hidden),
        r#match: diff.matched.word(),
        total: DiffTotal {
            base_bytes: total.bytes.0,
            current_bytes: total.bytes.1,
            delta_bytes: total.bytes.1 - total.bytes.0,
            base_objects: total.objects.0,
            current_objects: total.objects.1,
            delta_objects: total.objects.1 - total.objects.0,
            interval: interval(about, diff.total.interval()),
            stacks: diff.stacks,
        },
        omitted_rows: diff.rows.len() - rows.len(),
        rows,
        symbols: about.modules.iter().map(symbol).collect(),
        warnings: about.notices.iter().map(warning).collect(),
    };
    print(&wire)
}

/// Whole numbers of both sides, whose difference is the change.
struct Numbers {
    bytes: (i64, i64),
    objects: (i64, i64),
}

fn numbers(change: &Change) -> Numbers {
    Numbers {
        bytes: (whole(change.base.bytes), whole(change.current.bytes)),
        objects: (whole(change.base.objects), whole(change.current.objects)),
    }
}

fn labels<'a>(about: &About<'_>, table: &'a Places, id: PlaceId, stack: &[PlaceId], container: Option<&'static str>) -> Labels<'a> {
    let place = table.get(id);
    let text = |name| table.text(name);
    let spans_functions = matches!(about.by, By::File | By::Crate);
    let frame = |&id: &PlaceId| {
        let place = table.get(id);
        FrameWire { function: table.function(id), file: place.file.map(text), line: place.line, module: place.module.map(text) }
    };
    Labels {
        name: table.label(id),
        file: if about.by == By::Crate { None } else { place.file.map(text) },
        line: if spans_functions { None } else { place.line },
        krate: place.krate.map(text),
        module: place.module.map(text),
        address: place.address.map(|address| format!("{address:#x}")),
        frames: (about.by == By::Stack).then(|| stack.iter().map(frame).collect()),
        container,
    }
}

/// `None` where nobody knows the error: estimates that another program wrote.
fn interval(about: &About<'_>, interval: Interval) -> Option<IntervalWire> {
    let by_writer = |profile: &Profiled| profile.family == Family::Pprof;
    let unknown = by_writer(&about.current) || about.base.as_ref().is_some_and(by_writer);
    (!unknown).then(|| IntervalWire { low: whole(interval.low), high: whole(interval.high) })
}

pub(super) fn profile(profile: &Profiled) -> ProfileWire<'_> {
    ProfileWire {
        name: &profile.name,
        file: profile.file.as_deref(),
        process: profile.process.as_deref(),
        unix_ms: profile.unix_ms,
        sampling_interval_bytes: match profile.sampling {
            Sampling::Exact => None,
            Sampling::Interval(bytes) => Some(bytes.get()),
        },
        unbias: match profile.unbias {
            Unbias::On => Some(true),
            Unbias::Off => Some(false),
            Unbias::Unknown => None,
        },
        truncated: profile.truncated,
        dumps: profile.of_dumps,
    }
}

pub(super) fn view<'a>(about: &'a About<'_>, left_out_stacks: usize, hidden: &Hidden) -> ViewWire<'a> {
    ViewWire {
        by: about.by.word(),
        sample: about.measure.word(),
        sort: if about.sort_cum { "cum" } else { "flat" },
        filters: &about.filters,
        left_out_stacks,
        hidden_functions: HiddenWire {
            allocator: hidden.allocator,
            library: hidden.library,
            runtime: hidden.runtime,
            by_options: hidden.by_options,
        },
        notes: about.notes(),
    }
}
