//! Half-empty slabs and who holds them, as blocks and as JSON. Nothing is computed here.

use super::document::{Block, Table};
use crate::analysis::slabs::{Class, Holder, Slabs};
use crate::origin::printable;
use crate::units::{grouped, iec, percent, signed_iec};
use serde_json::{Value, json};

/// Classes in the sentence of `rss`.
const BRIEF: usize = 3;

/// One sentence about all of them: for `rss`, which names no stack.
pub fn summary(slabs: &Slabs) -> String {
    let classes: Vec<String> = slabs.classes.iter().take(BRIEF).map(brief).collect();
    let growth = slabs.growth.map(|growth| format!(" ({} since the first)", signed_iec(growth as f64))).unwrap_or_default();
    format!(
        "{} are free in half-empty slabs{growth}, most of it in those for objects of {}; `heaptriage report` names the live stacks that hold them",
        iec(slabs.free_bytes as f64),
        classes.join(", ")
    )
}

/// The section of a report; empty without half-empty slabs.
pub fn blocks(slabs: Option<&Slabs>) -> Vec<Block> {
    let Some(slabs) = slabs else { return Vec::new() };
    let growth = slabs.growth.map(|growth| format!(" ({} since the first snapshot)", signed_iec(growth as f64))).unwrap_or_default();
    let mut table = Table {
        head: ["Half-empty slabs, by size of object", "free", "of", "used", "objects", "held by"].map(str::to_owned).to_vec(),
        rows: slabs.classes.iter().map(|class| row(class, slabs.dump.is_some())).collect(),
        total: false,
    };
    if slabs.other_bytes > 0 {
        let other = ["other sizes".to_owned(), iec(slabs.other_bytes as f64)];
        table.rows.push(other.into_iter().chain(std::iter::repeat_n(String::new(), 4)).collect());
    }
    let mut blocks = vec![Block::Table(table)];
    if !slabs.mixed.is_empty() {
        let holders: Vec<String> = slabs.mixed.iter().map(mixed).collect();
        blocks.push(Block::Paragraph(format!(
            "and, with objects of several sizes, which are in several of these classes: {}",
            holders.join("; ")
        )));
    }
    let dump = slabs.dump.as_ref().map(|dump| format!("; live stacks of {dump}")).unwrap_or_default();
    blocks.push(Block::Labeled(
        "Why",
        vec![format!(
            "{} in slabs are used by no object{growth}: a slab is given back when its last object is freed [{}: bins{dump}]",
            iec(slabs.free_bytes as f64),
            slabs.file
        )],
    ));
    if slabs.dump.is_some() {
        blocks.push(Block::Labeled(
            "Fix",
            vec![
                "objects that stay share slabs with objects that came and went: allocate what stays in one go or in an arena of its own, or copy \
                 the survivors when the burst is over and free the old ones; it costs the copy, and no setting of the allocator does it"
                    .to_owned(),
            ],
        ));
    }
    blocks
}

fn row(class: &Class, joined: bool) -> Vec<String> {
    let used = class.slab_bytes.saturating_sub(class.free_bytes) as f64;
    let holders: Vec<String> = class
        .holders
        .iter()
        .map(|holder| {
            let share = holder.objects.min(class.live as f64);
            format!("{} ({})", named(holder), percent(share, class.live as f64))
        })
        .collect();
    let held = match (holders.is_empty(), joined) {
        (false, _) => holders.join(", "),
        (true, true) => "mixed sizes only".to_owned(),
        (true, false) => "no dump".to_owned(),
    };
    vec![
        format!("{} B", grouped(class.size)),
        iec(class.free_bytes as f64),
        iec(class.slab_bytes as f64),
        percent(used, class.slab_bytes as f64),
        grouped(class.live),
        held,
    ]
}

/// The function with its place.
fn named(holder: &Holder) -> String {
    let place = holder.file.as_ref().map(|file| {
        let file = file.rsplit('/').next().unwrap_or(file);
        format!(" {file}{}", line(holder.line))
    });
    printable(&format!("{}{}", holder.function, place.unwrap_or_default())).into_owned()
}

fn mixed(holder: &Holder) -> String {
    format!(
        "{}: about {} objects of {} on average",
        named(holder),
        grouped(holder.objects.round().max(0.0) as u64),
        iec(holder.bytes / holder.objects.max(1.0))
    )
}

fn line(line: Option<u32>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

/// `512 B (24.4 % used, 28.8 MiB free)`.
fn brief(class: &Class) -> String {
    let used = class.slab_bytes.saturating_sub(class.free_bytes);
    format!("{} B ({} used, {} free)", grouped(class.size), percent(used as f64, class.slab_bytes as f64), iec(class.free_bytes as f64))
}

/// The same for machines.
pub fn value(slabs: &Slabs) -> Value {
    let holder = |holder: &Holder| {
        json!({
            "function": holder.function,
            "file": holder.file,
            "line": holder.line,
            "objects": holder.objects.round() as i64,
            "bytes": holder.bytes.round() as i64,
            "stacks": holder.stacks,
        })
    };
    let class = |class: &Class| {
        json!({
            "size_bytes": class.size,
            "slabs": class.slabs,
            "slab_bytes": class.slab_bytes,
            "free_bytes": class.free_bytes,
            "live_objects": class.live,
            "fitting_objects": class.regions,
            "found": class.found,
            "held_by": class.holders.iter().map(holder).collect::<Vec<_>>(),
        })
    };
    json!({
        "free_bytes": slabs.free_bytes,
        "growth_bytes": slabs.growth,
        "other_bytes": slabs.other_bytes,
        "source": slabs.file,
        "dump": slabs.dump,
        "mixed": slabs.mixed.iter().map(holder).collect::<Vec<_>>(),
        "classes": slabs.classes.iter().map(class).collect::<Vec<_>>(),
    })
}
