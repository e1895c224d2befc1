//! `tree`, `peek` and `list`: calls, neighbors and lines, as text and as JSON.

use super::json::{ProfileWire, ViewWire, profile, view};
use super::text::{context, filters, fit, foot, level_words, plural, style};
use super::{About, Look, hidden_words, row_words, whole};
use crate::analysis::estimate::Estimated;
use crate::analysis::peek::{List, Listed, Peek, Peeked};
use crate::analysis::places::{By, Hidden, PlaceId, Places, Rows};
use crate::analysis::top::value;
use crate::analysis::tree::{Paths, Tree};
use crate::origin::printable;
use crate::report::wire::{SymbolWire, TOOL, Tool, WarningWire, print, symbol, warning};
use crate::units::percent;
use serde::Serialize;
use std::fmt::Write as _;

/// Lines of source shown around a line with bytes.
const AROUND: u32 = 2;
/// Columns of indentation beyond which a call tree goes no further to the right.
const DEEPEST_INDENT: usize = 60;

/// The source of a file by lines, for `list`.
pub type Source<'s> = dyn Fn(&str) -> Option<Vec<String>> + 's;

/// A call tree as text; `least` is the share below which branches were left out.
pub fn tree_text(about: &About<'_>, table: &Places, paths: &Paths, tree: &Tree, least: f64, hidden: &Hidden, look: Look) -> String {
    let mut out = String::new();
    let total = value(&paths.total.1, about.measure);
    let shown = tree.nodes.len().saturating_sub(1);
    let pruned = if tree.pruned > 0 {
        format!(", {} {} below {:.1} % left out", tree.pruned, plural(tree.pruned, "branch").replace("branchs", "branches"), 100.0 * least)
    } else {
        String::new()
    };
    head(&mut out, about, &paths.total.1, paths.stacks, hidden, &format!("showing {shown} {}{pruned}", plural(shown, "call")));
    context(&mut out, about);
    filters(&mut out, about, paths.left_out, None);
    if shown > 0 {
        let _ =
            write!(out, "\n{}\n", styled(look, style::HEAD, &format!("{:>11} {:>8} {:>11}  {}", "cum", "cum %", "flat", about.by.word())));
    }
    let rows = table.rows();
    let mut indents = vec![0usize; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate().skip(1) {
        let caller = &tree.nodes[node.parent as usize];
        // A chain of single calls stays in its column: only branches go to the right.
        let alone = node.parent as usize + 1 == index && node.next == caller.next;
        let depth = indents[node.parent as usize];
        indents[index] = if node.depth == 1 || alone { depth } else { depth + 2 };
        let flat = if node.own.current > 0.0 { about.number(node.own.current) } else { String::new() };
        let figures = format!(
            "{:>11} {:>8} {:>11}  {}",
            about.number(node.weight.current),
            percent(node.weight.current, total),
            flat,
            " ".repeat(indents[index].min(DEEPEST_INDENT)),
        );
        let Some(place) = node.place else { continue };
        named(&mut out, about, (table, &rows), place, &figures, look);
    }
    foot(&mut out, about);
    out
}

/// Callers and callees as text, at most `most` functions.
pub fn peek_text(about: &About<'_>, table: &Places, peek: &Peek, hidden: &Hidden, most: usize, look: Look) -> String {
    let mut out = String::new();
    let total = value(&peek.total, about.measure);
    let (listed, all) = (peek.functions.len().min(most), peek.functions.len());
    head(&mut out, about, &peek.total, peek.stacks, hidden, &matching(listed, all));
    context(&mut out, about);
    filters(&mut out, about, peek.left_out, None);
    let rows = table.rows();
    for function in peek.functions.iter().take(most) {
        let (flat, cum) = (value(&function.flat, about.measure), value(&function.cum, about.measure));
        out.push('\n');
        named(&mut out, about, (table, &rows), function.place, "", look);
        let _ =
            writeln!(out, "  flat {} ({}), cum {} ({})", about.number(flat), percent(flat, total), about.number(cum), percent(cum, total));
        for (title, neighbors, nobody) in
            [("called by", &function.callers, "nothing that is shown"), ("calls", &function.callees, "nothing that is shown: it allocates")]
        {
            let _ = writeln!(out, "  {title}");
            for (place, sum) in neighbors {
                let sum = value(sum, about.measure);
                let figures = format!("  {:>11} {:>8}  ", about.number(sum), percent(sum, cum));
                match place {
                    Some(place) => named(&mut out, about, (table, &rows), *place, &figures, look),
                    None => {
                        let _ = writeln!(out, "{figures}({nobody})");
                    }
                }
            }
        }
    }
    foot(&mut out, about);
    out
}

/// Lines of functions with their bytes, as text; at most `most` functions.
pub fn list_text(about: &About<'_>, table: &Places, list: &List, hidden: &Hidden, source: &Source<'_>, most: usize, look: Look) -> String {
    let mut out = String::new();
    let total = value(&list.total, about.measure);
    let (listed, all) = (list.functions.len().min(most), list.functions.len());
    head(&mut out, about, &list.total, list.stacks, hidden, &matching(listed, all));
    context(&mut out, about);
    filters(&mut out, about, list.left_out, None);
    for function in list.functions.iter().take(most) {
        let (flat, cum) = (value(&function.flat, about.measure), value(&function.cum, about.measure));
        let file = table.get(function.place).file.map(|file| table.text(file));
        let name = printable(table.function(function.place));
        let _ = writeln!(out, "\n{}  {}", styled(look, style::HEAD, &name), file.map_or_else(|| "(no file known)".into(), printable));
        let _ =
            writeln!(out, "  flat {} ({}), cum {} ({})", about.number(flat), percent(flat, total), about.number(cum), percent(cum, total));
        let text = file.and_then(source);
        if let (None, Some(file)) = (&text, file) {
            let _ = writeln!(out, "  source not found: pass --source-dir DIR, under which {} or its end lies", printable(file));
        }
        let _ = writeln!(out, "{:>11} {:>11} {:>6}", "flat", "cum", "line");
        for row in lines(function, text.as_deref()) {
            match row {
                Row::Gap => out.push_str("  ...\n"),
                Row::Line { line, sums, text } => {
                    let number = |get: fn(&(Estimated, Estimated)) -> &Estimated| {
                        sums.as_ref()
                            .map(|sums| value(get(sums), about.measure))
                            .filter(|v| *v > 0.0)
                            .map(|v| about.number(v))
                            .unwrap_or(".".to_owned())
                    };
                    let line = line.map_or("?".to_owned(), |line| line.to_string());
                    let figures = format!("{:>11} {:>11} {line:>6}  ", number(|s| &s.0), number(|s| &s.1));
                    let room = look.width.map(|width| width.saturating_sub(figures.chars().count()).max(20));
                    let (text, _) = fit(&printable(text.trim_end()).replace('\t', "    "), "", room);
                    let _ = writeln!(out, "{}", format!("{figures}{text}").trim_end());
                }
            }
        }
    }
    foot(&mut out, about);
    out
}

enum Row<'a> {
    Gap,
    Line { line: Option<u32>, sums: Option<(Estimated, Estimated)>, text: &'a str },
}

/// Lines with bytes, and where the source is known a few around each.
fn lines<'a>(function: &Listed, source: Option<&'a [String]>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let mut printed: Option<u32> = None;
    let text = |line: u32| {
        let index = (line as usize).checked_sub(1)?;
        source?.get(index).map(String::as_str)
    };
    for (at, sum) in function.lines.iter().enumerate() {
        let sums = Some((sum.flat, sum.cum));
        let Some(line) = sum.line else {
            rows.push(Row::Line { line: None, sums, text: "" });
            continue;
        };
        let next = function.lines.get(at + 1).and_then(|next| next.line).unwrap_or(u32::MAX);
        let from = line.saturating_sub(AROUND).max(printed.map_or(1, |p| p + 1));
        if printed.is_some_and(|p| from > p + 1) {
            rows.push(Row::Gap);
        }
        for around in from..line {
            if let Some(text) = text(around) {
                rows.push(Row::Line { line: Some(around), sums: None, text });
            }
        }
        rows.push(Row::Line { line: Some(line), sums, text: text(line).unwrap_or_default() });
        let mut last = line;
        for around in line.saturating_add(1)..line.saturating_add(AROUND + 1).min(next) {
            if let Some(text) = text(around) {
                rows.push(Row::Line { line: Some(around), sums: None, text });
                last = around;
            }
        }
        printed = Some(last);
    }
    rows
}

/// The first line: what is covered and what is not.
fn head(out: &mut String, about: &About<'_>, total: &Estimated, stacks: usize, hidden: &Hidden, showing: &str) {
    let _ = writeln!(
        out,
        "{}; {showing}{}",
        level_words(about, total, stacks),
        hidden_words(hidden).map(|words| format!("; {words}")).unwrap_or_default(),
    );
}

/// Figures, a name and where it is, within the room there is.
fn named(out: &mut String, about: &About<'_>, (table, rows): (&Places, &Rows), place: PlaceId, figures: &str, look: Look) {
    let room = look.width.map(|width| width.saturating_sub(figures.chars().count()).max(24));
    let at = if matches!(about.by, By::File | By::Crate) { None } else { row_words(table, rows, place) };
    let (name, at) = fit(&printable(table.label(place)), &at.unwrap_or_default(), room);
    let at = if at.is_empty() { at } else { format!("  {}", styled(look, style::FAINT, &at)) };
    let _ = writeln!(out, "{figures}{name}{at}");
}

fn styled(look: Look, style: &str, text: &str) -> String {
    if look.color { format!("{style}{text}{}", style::OFF) } else { text.to_owned() }
}

#[derive(Serialize)]
struct Head<'a> {
    schema: &'static str,
    tool: Tool,
    profile: ProfileWire<'a>,
    #[serde(flatten)]
    view: ViewWire<'a>,
    total_bytes: i64,
    total_objects: i64,
    stacks: usize,
}

#[derive(Serialize)]
struct Foot<'a> {
    symbols: Vec<SymbolWire<'a>>,
    warnings: Vec<WarningWire<'a>>,
}

#[derive(Serialize)]
struct FrameWire<'a> {
    name: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    #[serde(rename = "crate")]
    krate: Option<&'a str>,
    module: Option<&'a str>,
}

#[derive(Serialize)]
struct TreeWire<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    pruned_branches: usize,
    nodes: Vec<NodeWire<'a>>,
    #[serde(flatten)]
    foot: Foot<'a>,
}

#[derive(Serialize)]
struct NodeWire<'a> {
    id: usize,
    parent: Option<u32>,
    #[serde(flatten)]
    frame: FrameWire<'a>,
    #[serde(flatten)]
    sums: Sums,
}

/// The number that was asked for, with its unit in the key.
#[derive(Serialize)]
#[serde(untagged)]
enum Sums {
    Bytes { flat_bytes: i64, cum_bytes: i64 },
    Objects { flat_objects: i64, cum_objects: i64 },
}

#[derive(Serialize)]
struct PeekWire<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    omitted_functions: usize,
    functions: Vec<PeekedWire<'a>>,
    #[serde(flatten)]
    foot: Foot<'a>,
}

#[derive(Serialize)]
struct PeekedWire<'a> {
    #[serde(flatten)]
    frame: FrameWire<'a>,
    #[serde(flatten)]
    sums: Both,
    callers: Vec<NeighborWire<'a>>,
    callees: Vec<NeighborWire<'a>>,
}

#[derive(Serialize)]
struct Both {
    flat_bytes: i64,
    cum_bytes: i64,
    flat_objects: i64,
    cum_objects: i64,
}

#[derive(Serialize)]
struct NeighborWire<'a> {
    /// `null` where a stack begins or ends.
    frame: Option<FrameWire<'a>>,
    bytes: i64,
    objects: i64,
}

#[derive(Serialize)]
struct ListWire<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    omitted_functions: usize,
    functions: Vec<ListedWire<'a>>,
    #[serde(flatten)]
    foot: Foot<'a>,
}

#[derive(Serialize)]
struct ListedWire<'a> {
    #[serde(flatten)]
    frame: FrameWire<'a>,
    #[serde(flatten)]
    sums: Both,
    lines: Vec<LineWire>,
}

#[derive(Serialize)]
struct LineWire {
    line: Option<u32>,
    #[serde(flatten)]
    sums: Both,
    source: Option<String>,
}

/// A call tree as JSON.
pub fn tree_json(about: &About<'_>, table: &Places, paths: &Paths, tree: &Tree, hidden: &Hidden) -> String {
    let nodes = tree.nodes.iter().enumerate().skip(1).filter_map(|(id, node)| {
        let (flat, cum) = (whole(node.own.current.max(0.0)), whole(node.weight.current));
        Some(NodeWire {
            id,
            parent: (node.depth > 1).then_some(node.parent),
            frame: frame(table, node.place?),
            sums: if about.measure.is_objects() {
                Sums::Objects { flat_objects: flat, cum_objects: cum }
            } else {
                Sums::Bytes { flat_bytes: flat, cum_bytes: cum }
            },
        })
    });
    print(&TreeWire {
        head: json_head(about, "heaptriage/tree/1", &paths.total.1, paths.stacks, paths.left_out, hidden),
        pruned_branches: tree.pruned,
        nodes: nodes.collect(),
        foot: json_foot(about),
    })
}

/// Callers and callees as JSON, at most `most` functions.
pub fn peek_json(about: &About<'_>, table: &Places, peek: &Peek, hidden: &Hidden, most: usize) -> String {
    let neighbors = |list: &[(Option<PlaceId>, Estimated)]| {
        let one = |(place, sum): &(Option<PlaceId>, Estimated)| NeighborWire {
            frame: place.map(|place| frame(table, place)),
            bytes: whole(sum.bytes),
            objects: whole(sum.objects),
        };
        list.iter().map(one).collect()
    };
    let functions = peek.functions.iter().take(most).map(|function: &Peeked| PeekedWire {
        frame: frame(table, function.place),
        sums: both(&function.flat, &function.cum),
        callers: neighbors(&function.callers),
        callees: neighbors(&function.callees),
    });
    print(&PeekWire {
        head: json_head(about, "heaptriage/peek/1", &peek.total, peek.stacks, peek.left_out, hidden),
        omitted_functions: peek.functions.len().saturating_sub(most),
        functions: functions.collect(),
        foot: json_foot(about),
    })
}

/// Lines of functions as JSON, at most `most` functions.
pub fn list_json(about: &About<'_>, table: &Places, list: &List, hidden: &Hidden, source: &Source<'_>, most: usize) -> String {
    let functions = list.functions.iter().take(most).map(|function| {
        let text = table.get(function.place).file.and_then(|file| source(table.text(file)));
        let line = |sum: &crate::analysis::peek::LineSum| LineWire {
            line: sum.line,
            sums: both(&sum.flat, &sum.cum),
            source: sum.line.and_then(|line| text.as_ref()?.get((line as usize).checked_sub(1)?).cloned()),
        };
        ListedWire {
            // The line of a function that has many is that of none.
            frame: FrameWire { line: None, ..frame(table, function.place) },
            sums: both(&function.flat, &function.cum),
            lines: function.lines.iter().map(line).collect(),
        }
    });
    print(&ListWire {
        head: json_head(about, "heaptriage/list/1", &list.total, list.stacks, list.left_out, hidden),
        omitted_functions: list.functions.len().saturating_sub(most),
        functions: functions.collect(),
        foot: json_foot(about),
    })
}

fn json_head<'a>(
    about: &'a About<'_>,
    schema: &'static str,
    total: &Estimated,
    stacks: usize,
    left_out: usize,
    hidden: &Hidden,
) -> Head<'a> {
    Head {
        schema,
        tool: TOOL,
        profile: profile(&about.current),
        view: view(about, left_out, hidden),
        total_bytes: whole(total.bytes),
        total_objects: whole(total.objects),
        stacks,
    }
}

fn json_foot<'a>(about: &'a About<'_>) -> Foot<'a> {
    Foot { symbols: about.modules.iter().map(symbol).collect(), warnings: about.notices.iter().map(warning).collect() }
}

fn frame(table: &Places, id: PlaceId) -> FrameWire<'_> {
    let place = table.get(id);
    let text = |name| table.text(name);
    FrameWire {
        name: table.label(id),
        file: place.file.map(text),
        line: place.line,
        krate: place.krate.map(text),
        module: place.module.map(text),
    }
}

fn both(flat: &Estimated, cum: &Estimated) -> Both {
    Both { flat_bytes: whole(flat.bytes), cum_bytes: whole(cum.bytes), flat_objects: whole(flat.objects), cum_objects: whole(cum.objects) }
}

/// `showing 10 of 12 functions that match`.
fn matching(listed: usize, all: usize) -> String {
    if all == 1 { "showing the only function that matches".to_owned() } else { format!("showing {listed} of {all} functions that match") }
}
