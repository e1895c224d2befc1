//! `owners` as text, JSON and Graphviz.

use crate::analysis::ownership::cycles::{Cycle, Rank};
use crate::analysis::ownership::owners::{Owner, Owners, Root};
use crate::analysis::ownership::short;
use crate::origin::printable;
use serde::Serialize;
use std::fmt::Write as _;

/// What `owners` found, ready to print.
#[derive(Debug, Default)]
pub struct OwnersReport<'a> {
    /// The type as asked for; `None` when no type was.
    pub type_name: Option<&'a str>,
    /// Who holds it.
    pub owners: Option<&'a Owners>,
    /// Show owners (`--roots` alone leaves them out).
    pub show_owners: bool,
    /// Cycles, when they were asked for.
    pub cycles: Option<&'a [Cycle]>,
    /// Sentences about what the binary lets one see.
    pub notes: Vec<String>,
    /// Statics and thread-locals have types and could be looked at.
    pub sees_roots: bool,
    /// Owners shown at most.
    pub rows: usize,
}

#[derive(Serialize)]
struct Wire<'a> {
    schema: &'static str,
    r#type: Option<&'a str>,
    types: Vec<&'a str>,
    owners: Vec<WireOwner<'a>>,
    roots: Vec<WireRoot<'a>>,
    cycles: Vec<WireCycle<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct WireOwner<'a> {
    r#type: &'a str,
    path: &'a str,
    roots: &'a [String],
    instances: usize,
    strong_counts: usize,
}

#[derive(Serialize)]
struct WireRoot<'a> {
    r#static: &'a str,
    kind: &'static str,
    path: String,
    r#type: &'a str,
    strong_counts: usize,
}

#[derive(Serialize)]
struct WireCycle<'a> {
    types: &'a [String],
    path: &'a str,
    rank: &'static str,
    why: &'a str,
}

fn kind(root: &Root) -> &'static str {
    if root.thread_local { "thread_local" } else { "static" }
}

/// JSON, `heaptriage/owners/1`.
///
/// # Errors
/// Never for this data; serde's signature has it.
pub fn json(report: &OwnersReport<'_>) -> serde_json::Result<String> {
    let none = Owners::default();
    let owners = report.owners.unwrap_or(&none);
    let wire = Wire {
        schema: "heaptriage/owners/1",
        r#type: report.type_name,
        types: owners.targets.iter().map(String::as_str).collect(),
        owners: owners
            .owners
            .iter()
            .map(|owner| WireOwner {
                r#type: &owner.type_name,
                path: &owner.path,
                roots: &owner.roots,
                instances: owner.instances,
                strong_counts: owner.counts,
            })
            .collect(),
        roots: owners
            .roots
            .iter()
            .map(|root| WireRoot {
                r#static: &root.name,
                kind: kind(root),
                path: root.path.clone(),
                r#type: &root.type_name,
                strong_counts: root.counts,
            })
            .collect(),
        cycles: report
            .cycles
            .unwrap_or_default()
            .iter()
            .map(|cycle| WireCycle { types: &cycle.types, path: &cycle.path, rank: cycle.rank.word(), why: &cycle.why })
            .collect(),
        notes: &report.notes,
    };
    let mut text = serde_json::to_string_pretty(&wire)?;
    text.push('\n');
    Ok(text)
}

/// Text: roots first, because what they hold lives as long as the program; then owners; then cycles.
pub fn text(report: &OwnersReport<'_>) -> String {
    let mut out = String::new();
    match (report.type_name, report.owners) {
        (Some(name), Some(owners)) => text_owners(&mut out, name, owners, report),
        (None, Some(owners)) => text_roots(&mut out, owners, report),
        (_, None) => {}
    }
    if let Some(cycles) = report.cycles {
        text_cycles(&mut out, cycles);
    }
    for note in &report.notes {
        let _ = writeln!(out, "{}", printable(note));
    }
    out
}

/// All that hold heap memory: the nearest that they hold, because what lies behind it may be anything.
fn text_roots(out: &mut String, owners: &Owners, report: &OwnersReport<'_>) {
    if !report.sees_roots {
        let _ = writeln!(out, "Statics and thread-locals cannot be seen in this binary.");
    } else if owners.roots.is_empty() {
        let _ = writeln!(out, "No static or thread-local of this binary's crates holds heap memory.");
    } else {
        let _ = writeln!(out, "Statics and thread-locals that hold heap memory");
    }
    for root in owners.roots.iter().take(report.rows) {
        let _ = writeln!(out, "  {} ({})", printable(&root.name), kind(root).replace('_', "-"));
        let name = short(&root.type_name);
        let path = if root.path.is_empty() { &name } else { &root.path };
        let _ = writeln!(out, "    {}", printable(path));
    }
    if owners.roots.len() > report.rows {
        let _ = writeln!(out, "  and {} more (--top 0 shows all)", owners.roots.len() - report.rows);
    }
}

fn text_owners(out: &mut String, name: &str, owners: &Owners, report: &OwnersReport<'_>) {
    if owners.targets.is_empty() {
        let _ = writeln!(out, "No type named `{}` in this binary.", printable(name));
        return;
    }
    let named = match owners.targets.as_slice() {
        [one] => printable(one).into_owned(),
        [first, rest @ ..] => format!("{} and {} more", printable(first), rest.len()),
        [] => String::new(),
    };
    if !report.sees_roots {
        let _ = writeln!(out, "{named}: statics and thread-locals cannot be seen in this binary.");
    } else if owners.roots.is_empty() {
        let _ = writeln!(out, "{named}: no static or thread-local reaches it; whoever creates it decides how long it lives.");
    } else {
        let _ = writeln!(out, "{named}: held for the life of the program or of a thread by");
        for root in &owners.roots {
            let counts = match root.counts {
                0 => String::new(),
                1 => ", through one Rc/Arc".to_owned(),
                more => format!(", through {more} Rc/Arc"),
            };
            let _ = writeln!(out, "  {} ({}{counts})", printable(&root.name), kind(root).replace('_', "-"));
            let _ = writeln!(out, "    {}", printable(&root.path));
        }
    }
    if !report.show_owners {
        return;
    }
    let mine: Vec<&Owner> = owners.owners.iter().filter(|owner| !owner.is_library).collect();
    if mine.is_empty() {
        let _ = writeln!(out, "No type of a crate holds it by value, box, count or collection.");
        return;
    }
    let _ = writeln!(out, "\nOwners, nearest first");
    let width = mine.iter().take(report.rows).map(|owner| owner.type_name.chars().count()).max().unwrap_or(0).min(60);
    for owner in mine.iter().take(report.rows) {
        let folded = if owner.instances > 1 { format!("  ({} instances)", owner.instances) } else { String::new() };
        let _ = writeln!(out, "  {:width$}  {}{folded}", printable(&owner.type_name), printable(&owner.path));
        if !owner.roots.is_empty() {
            let _ = writeln!(out, "  {:width$}  held by {}", "", printable(&owner.roots.join(", ")));
        }
    }
    if mine.len() > report.rows {
        let _ = writeln!(out, "  and {} more (--top 0 shows all)", mine.len() - report.rows);
    }
    let library = owners.owners.len() - mine.len();
    if library > 0 {
        let _ = writeln!(out, "{library} types of the standard library hold it too.");
    }
}

fn text_cycles(out: &mut String, cycles: &[Cycle]) {
    let (library, mine): (Vec<&Cycle>, Vec<&Cycle>) = cycles.iter().partition(|cycle| cycle.is_library);
    if mine.is_empty() {
        let _ = writeln!(out, "No types of this binary's crates can form a strong reference cycle.");
    }
    for (rank, heading) in [
        (Rank::Suspect, "Types that can form strong reference cycles"),
        (Rank::Low, "Unlikely: cannot be tied after construction, or looks handled"),
    ] {
        let ranked: Vec<&&Cycle> = mine.iter().filter(|cycle| cycle.rank == rank).collect();
        if ranked.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{heading}");
        for cycle in ranked {
            let _ = writeln!(out, "  {}", printable(&cycle.types.join(", ")));
            let _ = writeln!(out, "    {}", printable(&cycle.path));
            let _ = writeln!(out, "    {}", printable(&cycle.why));
        }
    }
    if !library.is_empty() {
        let _ = writeln!(out, "{} inside the standard library, not shown.", library.len());
    }
}

/// Graphviz: owners and roots around the type, one node a type.
pub fn dot(report: &OwnersReport<'_>) -> String {
    let mut out = String::from("digraph owners {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n");
    if let Some(owners) = report.owners {
        let target = report.type_name.unwrap_or("heap memory");
        let _ = writeln!(out, "  {} [style=bold];", quoted(target));
        for root in &owners.roots {
            let _ = writeln!(
                out,
                "  {} [shape=ellipse, label={}];",
                quoted(&format!("root {}", root.name)),
                quoted(&format!("{}\n{}", root.name, kind(root)))
            );
            let _ = writeln!(out, "  {} -> {} [label={}];", quoted(&format!("root {}", root.name)), quoted(target), quoted(&root.path));
        }
        for owner in owners.owners.iter().filter(|owner| !owner.is_library && report.show_owners) {
            let _ = writeln!(out, "  {} -> {} [label={}];", quoted(&owner.type_name), quoted(target), quoted(&owner.path));
        }
    }
    for cycle in report.cycles.unwrap_or_default().iter().filter(|cycle| !cycle.is_library) {
        let style = if cycle.rank == Rank::Suspect { "solid" } else { "dashed" };
        for pair in cycle.types.windows(2) {
            let _ = writeln!(out, "  {} -> {} [style={style}];", quoted(&pair[0]), quoted(&pair[1]));
        }
        if let (Some(first), Some(last)) = (cycle.types.first(), cycle.types.last()) {
            let _ = writeln!(out, "  {} -> {} [style={style}, label={}];", quoted(last), quoted(first), quoted(&cycle.path));
        }
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(&text.replace('\\', "\\\\").replace('"', "\\\"")).replace("\\u{a}", "\\n"))
}
