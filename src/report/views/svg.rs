//! Flamegraphs: one SVG file that opens alone in a browser, can be searched and zoomed into.
//!
//! The root is at the bottom (of an icicle graph at the top); what stands on a frame is what it calls. Width is memory; of a difference the
//! larger amount of both sides, so that what has gone is still seen. Nothing in the file refers to anything outside.

use super::palette::Palette;
use super::{About, Profiled, hidden_words};
use crate::analysis::diff::Match;
use crate::analysis::places::{By, Hidden, Places, Rows};
use crate::analysis::tree::{Node, Tree};
use crate::origin::printable;
use crate::report::xml::escaped;
use std::fmt::Write as _;

/// Pixels of the drawing's width.
const WIDTH: f64 = 1200.0;
/// Pixels left and right of it.
const MARGIN: f64 = 10.0;
/// Pixels of a frame's height.
const ROW: f64 = 17.0;
/// Pixels of one letter of the font at its size.
const LETTER: f64 = 6.7;
/// A frame narrower than this has no label.
const LABELED: f64 = 3.0 * LETTER;
/// Most letters of a name: longer ones are cut, in the details too.
const LONGEST_NAME: usize = 2_000;
/// Pixels of a branch that is still drawn, unless asked otherwise.
pub const LEAST_WIDTH: f64 = 0.6;

/// The share of the whole that a width in pixels stands for.
pub fn share(pixels: f64) -> f64 {
    pixels / (WIDTH - 2.0 * MARGIN)
}

/// What a flamegraph says beside its frames.
#[derive(Debug)]
pub struct Caption<'a> {
    /// What it is of: `162.9 MiB live in 27 stacks`, `+25.4 MiB (95 %: 24.1 to 26.6), 15.0 -> 40.4 MiB live`.
    pub what: String,
    /// Functions that are not shown.
    pub hidden: &'a Hidden,
    /// How stacks were matched, for a difference.
    pub matched: Option<Match>,
    /// How it is drawn.
    pub look: &'a Drawing,
}

/// How a flamegraph is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// Stands at the top instead of what it is of.
    pub title: Option<String>,
    /// Colors.
    pub palette: Palette,
    /// Root at the top.
    pub icicle: bool,
    /// Stacks were turned round: allocating functions at the root, callers upon them.
    pub reverse: bool,
}

/// Draws a call tree.
pub fn flamegraph(about: &About<'_>, table: &Places, tree: &Tree, caption: &Caption<'_>) -> String {
    let deepest = tree.nodes.iter().map(|node| node.depth).max().unwrap_or(0);
    let head = heading(about, caption);
    let top = 30.0 + 15.0 * head.len() as f64 + 12.0;
    let bottom = 44.0;
    let height = top + f64::from(deepest + 1) * ROW + bottom;
    let mut out = String::with_capacity(tree.nodes.len() * 300 + SCRIPT.len() + 4_000);
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <style>text{{font-family:monospace;font-size:11px;fill:#111}}#title{{font-size:15px;font-weight:bold}}\
         .note{{fill:#555}}.f{{cursor:pointer}}.f:hover rect{{stroke:#000}}.link{{cursor:pointer;fill:#0645ad}}.gone{{display:none}}.dim{{opacity:.45}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fdfdfb\"/>\n"
    );
    let title = escaped(&title(about, caption));
    let _ = writeln!(out, "<title>{title}</title>\n<text id=\"title\" x=\"{MARGIN}\" y=\"24\">{title}</text>");
    for (i, line) in head.iter().enumerate() {
        let _ = writeln!(out, "<text class=\"note\" x=\"{MARGIN}\" y=\"{}\">{}</text>", 42 + 15 * i, escaped(line));
    }
    legend(&mut out, &caption.look.palette.legend(about.base.is_some()), height - 12.0);
    let _ = writeln!(out, "<text id=\"details\" x=\"{MARGIN}\" y=\"{}\"> </text>", height - 28.0);
    let _ = writeln!(out, "<text id=\"reset\" class=\"link gone\" x=\"{}\" y=\"24\">Reset zoom</text>", WIDTH - 190.0);
    let _ = writeln!(out, "<text id=\"search\" class=\"link\" x=\"{}\" y=\"24\">Search</text>", WIDTH - 60.0);
    let _ = writeln!(out, "<text id=\"matched\" x=\"{}\" y=\"{}\" text-anchor=\"end\"> </text>", WIDTH - MARGIN, height - 28.0);
    let whole = tree.nodes.first().map_or(0.0, |root| root.width);
    if whole > 0.0 {
        let root_y = if caption.look.icicle { top } else { height - bottom - ROW };
        frames(&mut out, about, table, tree, (root_y, caption.look));
    } else {
        let _ = writeln!(out, "<text x=\"{MARGIN}\" y=\"{}\">No samples: nothing to draw.</text>", height - bottom);
    }
    out.push_str("<script type=\"text/ecmascript\"><![CDATA[");
    out.push_str(SCRIPT);
    out.push_str("]]></script>\n</svg>\n");
    out
}

fn frames(out: &mut String, about: &About<'_>, table: &Places, tree: &Tree, (root_y, look): (f64, &Drawing)) {
    let step = if look.icicle { ROW } else { -ROW };
    let whole = tree.nodes[0].width;
    let scale = (WIDTH - 2.0 * MARGIN) / whole;
    let steepest = tree.nodes.iter().map(|node| node.weight.delta().abs()).fold(0.0, f64::max);
    let rows = table.rows();
    let mut starts = vec![0.0; tree.nodes.len()];
    out.push_str("<g id=\"frames\">\n");
    for (index, node) in tree.nodes.iter().enumerate() {
        // Callees stand side by side from the left edge of their caller.
        let x = if node.depth == 0 { 0.0 } else { starts[node.parent as usize] };
        starts[index] = x;
        if node.depth > 0 {
            starts[node.parent as usize] = x + node.width;
        }
        let name = node.place.map_or("all".into(), |place| shortened(table.label(place)));
        let wide = node.width * scale;
        let y = root_y + f64::from(node.depth) * step;
        let _ = write!(
            out,
            "<g class=\"f\" data-x=\"{:.7}\" data-w=\"{:.7}\" data-d=\"{}\"><title>{}</title>\
             <rect x=\"{:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"{}\" rx=\"1\" fill=\"{}\"/>",
            x / whole,
            node.width / whole,
            node.depth,
            details(about, (table, &rows), tree, node, &name),
            MARGIN + x * scale,
            wide.max(0.3),
            ROW - 1.0,
            match about.base {
                Some(_) => look.palette.change(node.weight.delta(), steepest),
                None => look.palette.frame(table, node),
            },
        );
        if wide >= LABELED {
            let _ = write!(out, "<text x=\"{:.2}\" y=\"{}\">{}</text>", MARGIN + x * scale + 3.0, y + 12.0, escaped(&label(&name, wide)));
        }
        out.push_str("</g>\n");
    }
    out.push_str("</g>\n");
}

/// `quarryd (pid 1): 162.9 MiB live in 27 stacks, 2026-11-20T12:00:00Z`.
pub fn title(about: &About<'_>, caption: &Caption<'_>) -> String {
    if let Some(title) = &caption.look.title {
        return printable(title).into_owned();
    }
    let process = about.current.process.as_deref().map(|p| format!("{p}: ")).unwrap_or_default();
    let when = match &about.base {
        None => when(&about.current),
        Some(base) => match (when(base), when(&about.current)) {
            (Some(from), Some(to)) => Some(format!("{from} to {to}")),
            _ => None,
        },
    };
    format!("{process}{}{}", caption.what, when.map(|when| format!(", {when}")).unwrap_or_default())
}

fn when(profile: &Profiled) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(profile.unix_ms?).ok()?;
    let time = time.strftime("%Y-%m-%d %H:%M:%S UTC");
    Some(if profile.of_file { format!("file of {time}") } else { time.to_string() })
}

fn heading(about: &About<'_>, caption: &Caption<'_>) -> Vec<String> {
    let name = |profile: &Profiled| profile.file.clone().unwrap_or_else(|| profile.name.clone());
    let mut source = match &about.base {
        None => format!("{}; {}", name(&about.current), about.current.sampling_words()),
        Some(base) => format!("{} to {}; {}", name(base), name(&about.current), about.current.sampling_words()),
    };
    if let Some(matched) = caption.matched {
        let _ = write!(source, "; {}", matched.sentence());
    }
    let mut lines = vec![source];
    if !about.filters.is_empty() {
        lines.push(format!("Filters: {}", about.filters.join(" ")));
    }
    // A title of the reader's own leaves no room for it there.
    if caption.look.title.is_some() {
        lines.insert(0, caption.what.clone());
    }
    let mut shown = format!("by {}, {}", about.by.word(), about.measure.word());
    if caption.look.reverse {
        shown.push_str(", reversed: what allocates at the root, its callers upon it");
    }
    if let Some(words) = hidden_words(caption.hidden) {
        let _ = write!(shown, "; {words}");
    }
    lines.push(shown);
    lines.extend(about.notes().into_iter().map(|note| format!("Note: {note}")));
    lines
}

/// What the colors mean, in a line at the foot.
fn legend(out: &mut String, colors: &[(&str, &str)], y: f64) {
    let mut x = MARGIN;
    for (color, words) in colors {
        if !color.is_empty() {
            let _ = write!(out, "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{color}\"/>", y - 9.0);
            x += 14.0;
        }
        let _ = writeln!(out, "<text class=\"note\" x=\"{x}\" y=\"{y}\">{words}</text>");
        x += words.len() as f64 * LETTER + 18.0;
    }
}

/// What a frame tells when it is pointed at.
fn details(about: &About<'_>, (table, rows): (&Places, &Rows), tree: &Tree, node: &Node, name: &str) -> String {
    let root = &tree.nodes[0].weight;
    let mut text = format!("{name}\n");
    let place = node.place.filter(|_| !matches!(about.by, By::File | By::Crate));
    if let Some(words) = place.and_then(|place| super::row_words(table, rows, place)) {
        let _ = writeln!(text, "{words}");
    }
    let unit = if about.measure.is_objects() { " objects" } else { "" };
    match about.base {
        None => {
            let share = crate::units::percent(node.weight.current, root.current);
            let _ = write!(text, "{}{unit}, {share} of all", about.number(node.weight.current));
            if node.own.current > 0.0 && node.own.current < node.weight.current {
                let _ = write!(text, "; {} here", about.number(node.own.current));
            }
        }
        Some(_) => {
            let _ = write!(
                text,
                "{}{unit}, {} -> {}",
                about.change(node.weight.delta()),
                about.number(node.weight.base),
                about.number(node.weight.current)
            );
        }
    }
    escaped(&text)
}

/// As much of a name as fits: its last segments rather than its first, which a whole row has in common.
fn label(name: &str, wide: f64) -> String {
    let letters = ((wide - 4.0) / LETTER) as usize;
    let mut name = name;
    while name.chars().count() > letters
        && let Some(at) = segment(name)
    {
        name = &name[at..];
    }
    if name.chars().count() <= letters {
        return name.to_owned();
    }
    name.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// Where the second segment of a path of names begins; what stands in brackets is not split.
fn segment(name: &str) -> Option<usize> {
    let mut depth = 0i32;
    let mut before = ' ';
    for (at, c) in name.char_indices() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if before != '-' => depth -= 1,
            ')' | ']' | '}' => depth -= 1,
            ':' if before == ':' && depth == 0 => return Some(at + 1),
            _ => {}
        }
        before = c;
    }
    None
}

fn shortened(name: &str) -> String {
    let name = printable(name);
    if name.chars().count() <= LONGEST_NAME { name.into_owned() } else { name.chars().take(LONGEST_NAME).chain(['…']).collect() }
}

/// Pointing shows details, a click zooms, Search (or Ctrl-F) marks what matches and adds it up.
const SCRIPT: &str = include_str!("flamegraph.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_harmless_in_xml() {
        assert!(!SCRIPT.contains("]]>"), "the script stands in a CDATA section");
    }

    #[test]
    fn labels_fit_their_frame() {
        assert_eq!(label("abcdef", 100.0), "abcdef");
        assert_eq!(label("abcdef", 31.0), "abc…");
        assert_eq!(label("quarryd::engine::score", 60.0), "score");
        assert_eq!(label("<a::B as c::D>::run::{{closure}}", 120.0), "run::{{closure}}");
    }
}
