//! Graphviz `dot` call graph: boxes are functions sized by their flat bytes, arrows carry bytes, as pprof and jeprof draw them.
//!
//! ```text
//! digraph "app" { n1 [label="app::parse\n1.9 KiB (75.0 %)\nof 2.5 KiB"]; n1 -> n2 [label="1.9 KiB"]; }
//! ```
//!
//! Only what is worth drawing is drawn, and how much is left out is said.

use crate::analysis::export::{Amount, Profile};
use crate::origin::printable;
use crate::units::{iec, percent};
use hashbrown::{HashMap, HashSet};
use std::io::Write;

/// Functions drawn, as pprof's `-nodecount` 80.
const MOST_NODES: usize = 80;
/// A function below this share of the total is left out: pprof's `-nodefraction`.
const LEAST_NODE: f64 = 0.005;
/// An arrow below this share of the total is left out: pprof's `-edgefraction`.
const LEAST_EDGE: f64 = 0.001;
/// Longer names are cut in the middle: a box wider than that moves everything else off the page.
const MOST_CHARS: usize = 80;

/// Writes the call graph of live bytes; in a difference of what grew.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, mut out: impl Write) -> std::io::Result<()> {
    let mut flat: HashMap<u32, Amount> = HashMap::new();
    let mut cumulative: HashMap<u32, Amount> = HashMap::new();
    let mut edges: HashMap<(u32, u32), Amount> = HashMap::new();
    let mut total = Amount::default();
    let (mut seen, mut seen_edges) = (HashSet::new(), HashSet::new());
    for sample in profile.samples.iter().filter(|sample| sample.live.bytes > 0) {
        total = total + sample.live;
        seen.clear();
        seen_edges.clear();
        let mut callee = None;
        for frame in profile.path(sample) {
            let function = profile.frames[frame as usize].function.0;
            if callee.is_none() {
                add(flat.entry(function).or_default(), sample.live);
            }
            if seen.insert(function) {
                add(cumulative.entry(function).or_default(), sample.live);
            }
            if let Some(callee) = callee
                && seen_edges.insert((function, callee))
            {
                add(edges.entry((function, callee)).or_default(), sample.live);
            }
            callee = Some(function);
        }
    }
    let whole = total.bytes as f64;
    let mut nodes: Vec<(u32, Amount)> = cumulative.into_iter().collect();
    nodes.sort_unstable_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then(a.0.cmp(&b.0)));
    let all = nodes.len();
    nodes.retain(|(_, amount)| amount.bytes as f64 >= LEAST_NODE * whole);
    nodes.truncate(MOST_NODES);
    let place: HashMap<u32, usize> = nodes.iter().enumerate().map(|(i, (function, _))| (*function, i)).collect();
    writeln!(out, "digraph \"{}\" {{", quoted(&profile.title))?;
    writeln!(out, "  node [shape=box, style=filled, fontname=\"Helvetica\"];")?;
    let mut legend = format!("{}\\l{} live", quoted(&profile.title), iec(whole));
    if nodes.len() < all {
        legend.push_str(&format!("\\l{} of {all} functions shown", nodes.len()));
    }
    for comment in &profile.comments {
        legend.push_str(&format!("\\l{}", quoted(comment)));
    }
    writeln!(out, "  legend [shape=note, fillcolor=\"#f6f6f6\", label=\"{legend}\\l\"];")?;
    for (i, (function, sum)) in nodes.iter().enumerate() {
        let own = flat.get(function).copied().unwrap_or_default();
        let name = printable(profile.names.get(crate::model::frame::NameId(*function))).into_owned();
        let mut label = format!("{}\\n{} ({})", quoted(&shortened(&name)), iec(own.bytes as f64), percent(own.bytes as f64, whole));
        if own != *sum {
            label.push_str(&format!("\\nof {} ({})", iec(sum.bytes as f64), percent(sum.bytes as f64, whole)));
        }
        let size = 8.0 + 32.0 * (own.bytes as f64 / whole.max(1.0)).sqrt();
        // From paper white to a warm red with the cumulative share, dark enough text on all of it.
        let share = sum.bytes as f64 / whole.max(1.0);
        let fill = format!("#{:02x}{:02x}{:02x}", 255, (250.0 - 90.0 * share) as u8, (245.0 - 120.0 * share) as u8);
        writeln!(out, "  n{i} [label=\"{label}\", fontsize={size:.1}, fillcolor=\"{fill}\", tooltip=\"{}\"];", quoted(&name))?;
    }
    let mut arrows: Vec<((usize, usize), Amount)> = edges
        .into_iter()
        .filter(|(_, amount)| amount.bytes as f64 >= LEAST_EDGE * whole)
        .filter_map(|((from, to), amount)| Some(((*place.get(&from)?, *place.get(&to)?), amount)))
        .collect();
    arrows.sort_unstable_by_key(|(ends, _)| *ends);
    for ((from, to), amount) in arrows {
        let share = amount.bytes as f64 / whole.max(1.0);
        writeln!(
            out,
            "  n{from} -> n{to} [label=\" {}\", weight={}, penwidth={:.1}];",
            iec(amount.bytes as f64),
            1 + (share * 100.0) as u32,
            1.0 + 4.0 * share
        )?;
    }
    writeln!(out, "}}")?;
    out.flush()
}

fn add(sum: &mut Amount, amount: Amount) {
    *sum = *sum + amount;
}

/// Escaped for a quoted string of the language.
fn quoted(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn shortened(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= MOST_CHARS {
        return name.to_owned();
    }
    let (head, tail) = (MOST_CHARS / 3, MOST_CHARS - MOST_CHARS / 3 - 1);
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::export::tests::profile;

    #[test]
    fn the_graph_says_flat_and_cumulative() {
        let mut bytes = Vec::new();
        write(&profile(false, false), &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(r#"label="malloc\n41.3 KiB (100.0 %)""#), "{text}");
        assert!(text.contains(r#"label="app::serve\n0 B (0.0 %)\nof 30.9 KiB (75.0 %)""#), "{text}");
        assert_eq!(text.matches(" -> ").count(), 5, "{text}");
    }

    #[test]
    fn names_are_harmless() {
        assert_eq!(quoted("a\"];\\x"), "a\\\"];\\\\x");
        assert_eq!(shortened(&"x".repeat(10_000)).chars().count(), MOST_CHARS);
    }
}
