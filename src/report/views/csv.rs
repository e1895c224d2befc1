//! Views as CSV (RFC 4180): a head line, every row, whole bytes and objects.
//!
//! A text that a spreadsheet would run as a formula gets an apostrophe in front.

use super::{About, whole};
use crate::analysis::diff::Diff;
use crate::analysis::places::{By, PlaceId, Places};
use crate::analysis::top::Top;
use crate::report::cells::cell;
use std::borrow::Cow;

const LABELS: &str = "name,file,line,crate,module,address,container";

/// `top` as CSV, at most `most` rows.
pub fn top(about: &About<'_>, table: &Places, top: &Top, most: usize) -> String {
    let mut out = format!("{LABELS},flat_bytes,cum_bytes,flat_objects,cum_objects,interval_low,interval_high\n");
    for row in top.rows.iter().take(most) {
        let interval = row.flat.interval();
        let numbers = [row.flat.bytes, row.cum.bytes, row.flat.objects, row.cum.objects, interval.low, interval.high];
        line(&mut out, about, table, row.place, &row.stack, row.container, numbers.map(whole).map(|n| n.to_string()));
    }
    out
}

/// `diff` as CSV, every row that `most` leaves.
pub fn diff(about: &About<'_>, table: &Places, diff: &Diff, most: usize) -> String {
    let mut out = format!(
        "{LABELS},base_flat_bytes,current_flat_bytes,delta_flat_bytes,base_cum_bytes,current_cum_bytes,delta_cum_bytes,\
         base_flat_objects,current_flat_objects,delta_flat_objects,base_cum_objects,current_cum_objects,delta_cum_objects,\
         interval_low,interval_high,significant,match\n"
    );
    for row in diff.rows.iter().take(most) {
        let pair = |base: f64, current: f64| [whole(base), whole(current), whole(current) - whole(base)];
        let mut numbers: Vec<String> = [
            pair(row.flat.base.bytes, row.flat.current.bytes),
            pair(row.cum.base.bytes, row.cum.current.bytes),
            pair(row.flat.base.objects, row.flat.current.objects),
            pair(row.cum.base.objects, row.cum.current.objects),
        ]
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
        let interval = row.flat.interval();
        numbers.extend([whole(interval.low).to_string(), whole(interval.high).to_string()]);
        numbers.extend([row.significant.to_string(), diff.matched.word().to_owned()]);
        line(&mut out, about, table, row.place, &row.stack, row.container, numbers);
    }
    out
}

fn line(
    out: &mut String,
    about: &About<'_>,
    table: &Places,
    id: PlaceId,
    stack: &[PlaceId],
    container: Option<&str>,
    numbers: impl IntoIterator<Item = String>,
) {
    let place = table.get(id);
    let text = |name: Option<_>| name.map(|name| cell(table.text(name))).unwrap_or_default();
    let name = if about.by == By::Stack {
        // Innermost first, as the dump has it.
        let frames: Vec<&str> = stack.iter().map(|&id| table.function(id)).collect();
        frames.join(" < ").into()
    } else {
        Cow::Borrowed(table.label(id))
    };
    let spans_functions = matches!(about.by, By::File | By::Crate);
    let mut cells = vec![
        cell(&name).into_owned(),
        if about.by == By::Crate { String::new() } else { text(place.file).into_owned() },
        if spans_functions { String::new() } else { place.line.map(|line| line.to_string()).unwrap_or_default() },
        text(place.krate).into_owned(),
        text(place.module).into_owned(),
        place.address.map(|address| format!("{address:#x}")).unwrap_or_default(),
        cell(container.unwrap_or_default()).into_owned(),
    ];
    cells.extend(numbers);
    out.push_str(&cells.join(","));
    out.push('\n');
}
