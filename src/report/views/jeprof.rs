//! The layout of `jeprof --text`: for scripts that read it, and for eyes that know it.
//!
//! ```text
//! Total: 1.7 MB
//!      1.1  65.6%  65.6%      1.1  65.6% leak_big
//! ```
//!
//! Numbers are as jeprof's formulas make them (`Unparse`, `Percent`, `PrintText` in `bin/jeprof.in`).

use super::{About, place_words};
use crate::analysis::diff::{Diff, delta_value};
use crate::analysis::places::{By, PlaceId, Places};
use crate::analysis::top::{Top, value};
use crate::origin::printable;
use std::fmt::Write as _;

/// `top` as `jeprof --text` prints it, at most `most` rows.
pub fn top(about: &About<'_>, table: &Places, top: &Top, most: usize, show_bytes: bool) -> String {
    let rows = top.rows.iter().map(|row| (row.place, value(&row.flat, about.measure), value(&row.cum, about.measure)));
    print(about, table, value(&top.total, about.measure), rows, most, show_bytes)
}

/// `diff` as `jeprof --text --base` prints it, at most `most` rows.
pub fn diff(about: &About<'_>, table: &Places, diff: &Diff, most: usize, show_bytes: bool) -> String {
    let rows = diff.rows.iter().map(|row| (row.place, delta_value(&row.flat, about.measure), delta_value(&row.cum, about.measure)));
    print(about, table, delta_value(&diff.total, about.measure), rows, most, show_bytes)
}

fn print(
    about: &About<'_>,
    table: &Places,
    total: f64,
    rows: impl Iterator<Item = (PlaceId, f64, f64)>,
    most: usize,
    show_bytes: bool,
) -> String {
    let (unit, megabytes) = match (about.measure.is_objects(), show_bytes) {
        (true, _) => ("objects", false),
        (false, true) => ("B", false),
        (false, false) => ("MB", true),
    };
    let number = |value: f64| if megabytes { format!("{:.1}", value / 1_048_576.0) } else { format!("{}", super::whole(value)) };
    let share = |value: f64| format!("{:.1}%", if total == 0.0 { 0.0 } else { 100.0 * value / total });
    let mut out = format!("Total: {} {unit}\n", number(total));
    let mut running = 0.0;
    for (place, flat, cum) in rows.filter(|(_, flat, cum)| *flat != 0.0 || *cum != 0.0).take(most) {
        running += flat;
        let _ = writeln!(
            out,
            "{:>8} {:>6} {:>6} {:>8} {:>6} {}",
            number(flat),
            share(flat),
            share(running),
            number(cum),
            share(cum),
            name(about, table, place)
        );
    }
    out
}

/// `function`, `function file:line`, `address function file:line`, as its options of these names have it.
fn name(about: &About<'_>, table: &Places, id: PlaceId) -> String {
    let label = printable(table.label(id));
    let place = || place_words(table, id).unwrap_or_else(|| "??:0".to_owned());
    match (about.by, table.get(id).address) {
        (By::Line, _) => format!("{label} {}", place()),
        (By::Address, Some(address)) => format!("{address:016x} {label} {}", place()),
        _ => label.into_owned(),
    }
}
