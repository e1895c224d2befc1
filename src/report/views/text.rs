//! Views as text. The first line says what is covered and what is not; columns fit a terminal and are
//! never cut when piped.

use super::{About, Look, hidden_words, place_words, symbol_lines};
use crate::analysis::diff::{Change, Diff, DiffRow, delta_value};
use crate::analysis::estimate::{Estimated, Interval};
use crate::analysis::places::{By, PlaceId, Places};
use crate::analysis::top::{Row, Top, value};
use crate::model::heap::Family;
use crate::origin::printable;
use crate::units::{iec, iec_range, iec_unit, percent, signed_iec};
use std::fmt::Write as _;

/// ANSI styles by meaning.
pub(super) mod style {
    pub const GREW: &str = "\x1b[31m";
    pub const SHRANK: &str = "\x1b[34m";
    pub const HEAD: &str = "\x1b[1m";
    pub const FAINT: &str = "\x1b[2m";
    pub const OFF: &str = "\x1b[0m";
}

/// Least columns for names before the figures are given the rest.
const LEAST_NAME: usize = 24;

/// Columns for names below which places are left out.
const NARROW: usize = 40;

/// One line of a table: figures, then a name and where it is.
struct Line {
    /// In columns; what follows a tab is aligned to the left, what comes before it to the right.
    figures: Vec<String>,
    name: String,
    place: Option<String>,
    note: Option<String>,
    style: &'static str,
    /// Lines below, for rows that are stacks.
    below: Vec<String>,
}

/// Prints `top`, at most `most` rows.
pub fn top(about: &About<'_>, table: &Places, top: &Top, most: usize, look: Look) -> String {
    let total = value(&top.total, about.measure);
    let shown: Vec<&Row> = top.rows.iter().filter(|row| value(&row.cum, about.measure) > 0.0).collect();
    let listed = shown.len().min(most);
    let covered: f64 = shown.iter().take(most).map(|row| value(&row.flat, about.measure)).sum();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}; {}{}",
        level_words(about, &top.total, top.stacks),
        showing(about, listed, shown.len(), covered, total),
        hidden_words(&top.hidden).map(|words| format!("; {words}")).unwrap_or_default(),
    );
    context(&mut out, about);
    let left_out = value(&top.left_out, about.measure);
    filters(&mut out, about, top.left_out_stacks, Some(about.number(left_out)));
    if listed > 0 {
        let head = ["flat", "±", "flat %", "cum", "cum %"];
        let lines = shown.iter().take(most).map(|row| {
            let (flat, cum) = (value(&row.flat, about.measure), value(&row.cum, about.measure));
            Line {
                figures: vec![
                    about.number(flat),
                    // Nobody but the writer of such a profile knows.
                    if about.current.family == Family::Pprof { "?".to_owned() } else { spread(row.flat.interval()) },
                    percent(flat, total),
                    about.number(cum),
                    percent(cum, total),
                ],
                name: name(about, table, row.place),
                place: place(about, table, row.place),
                note: row.container.map(str::to_owned),
                style: "",
                below: stack(about, table, &row.stack),
            }
        });
        self::lines(&mut out, &head, about, lines.collect(), look);
    }
    foot(&mut out, about);
    out
}

/// Prints `diff`: at most `most` rows that grew, and as many that shrank.
pub fn diff(about: &About<'_>, table: &Places, diff: &Diff, most: usize, look: Look) -> String {
    let key = |row: &DiffRow| delta_value(if about.sort_cum { &row.cum } else { &row.flat }, about.measure);
    let grew: Vec<&DiffRow> = diff.rows.iter().filter(|row| key(row) > 0.0).collect();
    let shrank: Vec<&DiffRow> = diff.rows.iter().rev().filter(|row| key(row) < 0.0).collect();
    let mut out = String::new();
    let changed = grew.len() + shrank.len();
    let listed = grew.len().min(most) + shrank.len().min(most);
    let _ = writeln!(
        out,
        "{} in {} {}; {} of {changed} changed {} shown{}; {}",
        change_level_words(about, &diff.total),
        diff.stacks,
        plural(diff.stacks, "stack"),
        listed,
        about.rows_are(),
        hidden_words(&diff.hidden).map(|words| format!(", {words}")).unwrap_or_default(),
        diff.matched.sentence(),
    );
    context(&mut out, about);
    filters(&mut out, about, diff.left_out_stacks, Some(about.change(delta_value(&diff.left_out, about.measure))));
    let detail = detail(about, grew.iter().take(most).chain(shrank.iter().take(most)).copied(), look);
    for (title, rows, style) in [("Grew", &grew, style::GREW), ("Shrank", &shrank, style::SHRANK)] {
        if rows.is_empty() {
            continue;
        }
        let head = [title, "cum"];
        let lines = rows.iter().take(most).map(|row| Line {
            figures: vec![change(about, row, detail), about.change(delta_value(&row.cum, about.measure))],
            name: name(about, table, row.place),
            place: place(about, table, row.place),
            note: row.container.map(str::to_owned),
            style,
            below: stack(about, table, &row.stack),
        });
        self::lines(&mut out, &head, about, lines.collect(), look);
        if rows.len() > most {
            let rest: f64 = rows.iter().skip(most).map(|row| delta_value(&row.flat, about.measure)).sum();
            let _ = writeln!(out, "  and {} more, {} together (--top 0 shows all)", rows.len() - most, about.change(rest));
        }
    }
    if grew.iter().take(most).chain(shrank.iter().take(most)).any(|row| !row.significant) && !about.measure.is_objects() {
        let _ = writeln!(out, "\n~ not significant: among so many {}, sampling alone makes such a change", about.rows_are());
    }
    if changed == 0 {
        let _ = writeln!(out, "\nNothing changed.");
    }
    foot(&mut out, about);
    out
}

/// `162.9 MiB live in 27 stacks (95 %: 156.6 to 169.5 MiB)`.
pub fn level_words(about: &About<'_>, total: &Estimated, stacks: usize) -> String {
    format!(
        "{}{} {} in {stacks} {}{}",
        about.number(value(total, about.measure)),
        if about.measure.is_objects() { " objects" } else { "" },
        about.what(),
        plural(stacks, "stack"),
        interval_words(about, total.interval()),
    )
}

/// `+25.4 MiB (95 %: 24.1 to 26.6), 15.0 -> 40.4 MiB live`.
pub fn change_level_words(about: &About<'_>, change: &Change) -> String {
    let (delta, rest) = change_words(about, change);
    format!("{delta}{rest} {}", about.what())
}

pub(super) fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// ` (95 %: 127.1 to 133.4 MiB)`; nothing for what is exact.
fn interval_words(about: &About<'_>, interval: Interval) -> String {
    if about.measure.is_objects() || interval.low >= interval.high {
        return String::new();
    }
    format!(" (95 %: {})", iec_range(interval.low, interval.high))
}

/// `±6 %`: the larger side of the interval, of the estimate.
fn spread(interval: Interval) -> String {
    let side = (interval.high - interval.estimate).max(interval.estimate - interval.low);
    match interval.estimate {
        e if e <= 0.0 => String::new(),
        e if side / e < 0.005 => "±0 %".to_owned(),
        e if side / e >= 1.995 => format!("±{:.0}x", side / e),
        e => format!("±{:.0} %", 100.0 * side / e),
    }
}

/// How much a row says beside its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// Its interval, and what it was and is.
    Levels,
    /// Its interval.
    Interval,
    /// Nothing.
    Change,
}

/// As much as leaves room for names in a terminal.
fn detail<'a>(about: &About<'_>, rows: impl Iterator<Item = &'a DiffRow> + Clone, look: Look) -> Detail {
    let Some(width) = look.width else { return Detail::Levels };
    let cum =
        rows.clone().map(|row| about.change(delta_value(&row.cum, about.measure)).chars().count()).max().unwrap_or(0).max("cum".len());
    let fits = |detail: &Detail| {
        let split = |row| change(about, row, *detail).split_once('\t').map_or((0, 0), |(a, b)| (a.chars().count(), b.chars().count()));
        let (right, left) = rows.clone().map(split).fold((0, 0), |widest, (a, b)| (widest.0.max(a), widest.1.max(b)));
        right + left + 2 + cum + 2 + LEAST_NAME <= width
    };
    [Detail::Levels, Detail::Interval].into_iter().find(fits).unwrap_or(Detail::Change)
}

/// A row's change for a column: aligned where the change ends.
fn change(about: &About<'_>, row: &DiffRow, detail: Detail) -> String {
    let (delta, rest) = change_words(about, &row.flat);
    let rest = match detail {
        Detail::Levels => rest.as_str(),
        Detail::Interval => rest.split_once(", ").map_or("", |(interval, _)| interval),
        Detail::Change => "",
    };
    let mark = if row.significant || about.measure.is_objects() { "" } else { "~ " };
    format!("{mark}{delta}\t{rest}")
}

/// `+25.4 MiB (95 %: 24.1 to 26.6), 15.0 -> 40.4 MiB`, the change and the rest of it.
fn change_words(about: &About<'_>, change: &Change) -> (String, String) {
    let (base, current) = (value(&change.base, about.measure), value(&change.current, about.measure));
    if about.measure.is_objects() {
        return (about.change(current - base), format!(", {} -> {}", about.number(base), about.number(current)));
    }
    let levels = match (iec(base).split_once(' '), iec(current)) {
        (Some((number, unit)), to) if to.ends_with(&format!(" {unit}")) => format!("{number} -> {to}"),
        (_, to) => format!("{} -> {to}", iec(base)),
    };
    let delta = signed_iec(current - base);
    let interval = change.interval();
    let interval = if interval.low < interval.high { format!(" (95 %: {})", ends(&delta, interval)) } else { String::new() };
    (delta, format!("{interval}, {levels}"))
}

/// Both ends of an interval in the unit of the number before it: `24.1 to 26.6`.
fn ends(of: &str, interval: Interval) -> String {
    let unit = of.rsplit(' ').next().unwrap_or_default();
    // Nothing has no sign.
    let tenths = |value: f64| Some(format!("{value:.1}")).filter(|text| text != "-0.0").unwrap_or_else(|| "0.0".to_owned());
    match iec_unit(unit) {
        Some(bytes) if bytes > 1.0 => format!("{} to {}", tenths(interval.low / bytes), tenths(interval.high / bytes)),
        _ => iec_range(interval.low, interval.high),
    }
}

fn showing(about: &About<'_>, listed: usize, all: usize, covered: f64, total: f64) -> String {
    let rows = about.rows_are();
    match (all, listed) {
        (0, _) => "nothing to show".to_owned(),
        (1, 1) => format!("showing the only {}", about.row_is()),
        _ if listed == all => format!("showing all {all} {rows}"),
        _ => format!("showing {listed} of {all} {rows}, {} of it", percent(covered, total)),
    }
}

/// Which profiles these are.
pub(super) fn context(out: &mut String, about: &About<'_>) {
    let one = |profile: &super::Profiled| {
        let process = profile.process.as_deref().map(|p| format!(" of {}", printable(p))).unwrap_or_default();
        let place = if profile.of_dumps > 1 { format!(", {} of {} dumps", profile.nth, profile.of_dumps) } else { String::new() };
        format!("{}{process}{place}", printable(profile.file.as_deref().unwrap_or(&profile.name)))
    };
    let _ = match &about.base {
        None => writeln!(out, "{}; {}", one(&about.current), about.current.sampling_words()),
        Some(base) if base.sampling == about.current.sampling => {
            writeln!(out, "{} -> {}; {}", one(base), one(&about.current), base.sampling_words())
        }
        Some(base) => {
            writeln!(out, "{} ({}) -> {} ({})", one(base), base.sampling_words(), one(&about.current), about.current.sampling_words())
        }
    };
}

pub(super) fn filters(out: &mut String, about: &About<'_>, left_out: usize, amount: Option<String>) {
    if about.filters.is_empty() {
        return;
    }
    let amount = amount.map(|amount| format!(", {amount}")).unwrap_or_default();
    let effect = if left_out == 0 { String::new() } else { format!("; left out: {left_out} {}{amount}", plural(left_out, "stack")) };
    let _ = writeln!(out, "Filters: {}{effect}", printable(&about.filters.join(" ")));
}

pub(super) fn foot(out: &mut String, about: &About<'_>) {
    out.push('\n');
    for line in symbol_lines(about.modules) {
        out.push_str(&line);
        out.push('\n');
    }
    for note in about.notes() {
        let _ = writeln!(out, "Note: {note}");
    }
}

fn name(about: &About<'_>, table: &Places, id: PlaceId) -> String {
    let name = printable(table.label(id));
    match (about.by, table.get(id).address) {
        (By::Address, Some(address)) => format!("{address:#x} {name}"),
        _ => name.into_owned(),
    }
}

fn place(about: &About<'_>, table: &Places, id: PlaceId) -> Option<String> {
    match about.by {
        // The name is the file, or spans many.
        By::File | By::Crate => None,
        _ => place_words(table, id),
    }
}

fn stack(about: &About<'_>, table: &Places, places: &[PlaceId]) -> Vec<String> {
    let line = |&id: &PlaceId| match place(about, table, id) {
        Some(place) => format!("{}  {place}", printable(table.function(id))),
        None => printable(table.function(id)).into_owned(),
    };
    places.iter().map(line).collect()
}

fn lines(out: &mut String, head: &[&str], about: &About<'_>, lines: Vec<Line>, look: Look) {
    out.push('\n');
    // The part of a cell that is aligned to the right, and the rest.
    let split = |cell: &str| cell.split_once('\t').map_or((cell.to_owned(), String::new()), |(a, b)| (a.to_owned(), b.to_owned()));
    let widths: Vec<(usize, usize)> = head
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let cells = lines.iter().filter_map(|line| line.figures.get(column)).map(|cell| split(cell));
            let heads = [(head.to_string(), String::new())];
            let long = |text: &str| text.chars().count();
            cells.chain(heads).fold((0, 0), |widest, (a, b)| (widest.0.max(long(&a)), widest.1.max(long(&b))))
        })
        .collect();
    let figures: usize = widths.iter().map(|(right, left)| right + left + 2).sum();
    let room = look.width.map(|width| width.saturating_sub(figures).max(LEAST_NAME));
    let styled =
        |style: &str, text: &str| if look.color && !style.is_empty() { format!("{style}{text}{}", style::OFF) } else { text.to_owned() };
    let mut row = String::new();
    for (head, (right, left)) in head.iter().zip(&widths) {
        let _ = write!(row, "{head:>right$}{:left$}  ", "");
    }
    row.push_str(about.by.word());
    out.push_str(&styled(style::HEAD, row.trim_end()));
    out.push('\n');
    for line in lines {
        row.clear();
        for (cell, &(right, left)) in line.figures.iter().zip(&widths) {
            let (number, rest) = split(cell);
            let pad = right - number.chars().count();
            let _ = write!(row, "{:pad$}{}{rest:left$}  ", "", styled(line.style, &number));
        }
        let tail: Vec<String> = line.place.into_iter().chain(line.note.map(|note| format!("[{note}]"))).collect();
        // Beside a name that is cut anyway, half a place says nothing.
        let tail = if room.is_some_and(|room| room < NARROW) { String::new() } else { tail.join("  ") };
        let (name, tail) = fit(&line.name, &tail, room);
        row.push_str(&name);
        if !tail.is_empty() {
            let _ = write!(row, "  {}", styled(style::FAINT, &tail));
        }
        out.push_str(row.trim_end());
        out.push('\n');
        for below in line.below {
            let indent = figures.min(8);
            let (below, _) = fit(&below, "", look.width.map(|width| width.saturating_sub(indent)));
            let _ = writeln!(out, "{}{}", " ".repeat(indent), styled(style::FAINT, &below));
        }
    }
}

/// Cuts a name at its end and what stands beside it at its start, so that both fit.
pub(super) fn fit(name: &str, tail: &str, room: Option<usize>) -> (String, String) {
    let (long, beside) = (name.chars().count(), tail.chars().count());
    let Some(room) = room.filter(|&room| long + beside + 2 > room) else { return (name.to_owned(), tail.to_owned()) };
    // Where something is can be told from its end; it gets what the name leaves, and a third at least.
    let for_tail = if beside == 0 { 0 } else { beside.min(room.saturating_sub(long + 2).max(room / 3)) };
    let for_name = if for_tail == 0 { room } else { room.saturating_sub(for_tail + 2) };
    (cut_end(name, for_name), cut_start(tail, for_tail))
}

pub(super) fn cut_end(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn cut_start(text: &str, most: usize) -> String {
    let long = text.chars().count();
    if long <= most {
        return text.to_owned();
    }
    if most == 0 {
        return String::new();
    }
    std::iter::once('…').chain(text.chars().skip(long - most + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_places_share_the_room() {
        assert_eq!(fit("name", "src/a.rs:1", None), ("name".to_owned(), "src/a.rs:1".to_owned()));
        assert_eq!(fit("name", "src/a.rs:1", Some(16)), ("name".to_owned(), "src/a.rs:1".to_owned()));
        let (name, place) = fit("a_name_that_is_long", "/srv/app/src/a.rs:1", Some(24));
        assert_eq!((name.as_str(), place.as_str()), ("a_name_that_i…", "…/a.rs:1"));
        assert_eq!(fit("long_name", "", Some(5)).0, "long…");
    }

    #[test]
    fn spreads_are_of_the_estimate() {
        let interval = |estimate, low, high| spread(Interval { estimate, low, high });
        assert_eq!(interval(100.0, 90.0, 120.0), "±20 %");
        assert_eq!(interval(100.0, 100.0, 100.0), "±0 %");
        assert_eq!(interval(100.0, 10.0, 500.0), "±4x");
        assert_eq!(interval(0.0, 0.0, 0.0), "");
    }
}
