//! The triage as a document: headings, order, what was left out. Claims were worded by the analysis.

use super::document::{Block, StackLine, Table};
use crate::analysis::finding::{Cleared, FrameView, Suspect, VerdictKind};
use crate::analysis::ledger::{Row, RowKind};
use crate::analysis::triage::{Summary, Triage, singular};
use crate::model::frame::{ModuleStatus, Symbols};
use crate::origin::{Notice, printable, shell_word};
use crate::units::{iec, percent, signed_iec};

/// What goes into the document.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Suspects shown.
    pub top: usize,
    /// Show allocator and runtime frames.
    pub all_frames: bool,
    /// Say how each number was derived.
    pub explain: bool,
}

/// Frames of a stack that are shown before the rest is counted.
const MOST_FRAMES: usize = 12;
/// A row below this share of RSS, and of its growth, is folded with its like.
const SMALL_ROW: f64 = 0.01;
/// Cleared growths shown before the rest is counted.
const MOST_CLEARED: usize = 6;
/// Warnings shown before the rest is counted.
const MOST_WARNINGS: usize = 5;

/// Composes the report.
pub fn compose(triage: &Triage, symbols: &Symbols, notices: &[Notice], options: Options) -> Vec<Block> {
    let mut blocks = vec![Block::Title(title(&triage.summary)), Block::Lead(lead(triage))];
    if !triage.ledger.rows.is_empty() {
        blocks.push(Block::Table(ledger(triage, options)));
        blocks.extend(beside(triage));
    }
    let shown: Vec<&Suspect> = triage.suspects.iter().filter(|s| s.suppressed.is_none()).collect();
    for (i, suspect) in shown.iter().take(options.top).enumerate() {
        self::suspect(&mut blocks, suspect, i + 1, shown.len(), triage, options);
    }
    if shown.len() > options.top {
        let rest = &shown[options.top..];
        let bytes: f64 = rest.iter().map(|s| s.growth.estimate).sum();
        blocks.push(Block::Paragraph(format!(
            "{} more suspects with {} are not shown: --top {}",
            rest.len(),
            signed_iec(bytes),
            shown.len()
        )));
    }
    suppressed(&mut blocks, triage);
    if !triage.cleared.is_empty() {
        blocks.push(Block::Heading("Looked at and not a leak".to_owned()));
        blocks.extend(triage.cleared.iter().take(MOST_CLEARED).map(cleared));
        if triage.cleared.len() > MOST_CLEARED {
            blocks.push(Block::Paragraph(format!("and {} smaller ones", triage.cleared.len() - MOST_CLEARED)));
        }
    }
    blocks.extend(super::slabs::blocks(triage.slabs.as_ref()));
    blocks.extend(super::advice::blocks(triage));
    if let Some(blind) = &triage.blind_spot {
        blocks.push(Block::Heading("What could not be seen".to_owned()));
        blocks.push(Block::Paragraph(blind.clone()));
    }
    if !triage.missing.is_empty() {
        blocks.push(Block::Heading("What would make this more certain".to_owned()));
        blocks.extend(triage.missing.iter().map(|m| Block::Paragraph(format!("{}: {}; {}", m.fact, m.consequence, m.remedy))));
    }
    if options.explain {
        explain(&mut blocks, triage);
    }
    if !notices.is_empty() {
        blocks.push(Block::Heading("Warnings".to_owned()));
        blocks.extend(notices.iter().take(MOST_WARNINGS).map(|notice| Block::Paragraph(notice.to_string())));
        if notices.len() > MOST_WARNINGS {
            blocks.push(Block::Paragraph(format!("and {} more", notices.len() - MOST_WARNINGS)));
        }
    }
    if !symbols.modules.is_empty() {
        blocks.push(Block::Lead(format!("Symbols: {}", modules(symbols))));
    }
    blocks
}

fn title(summary: &Summary) -> String {
    let mut text = format!("heaptriage report: {}", printable(summary.process.as_deref().unwrap_or("unnamed process")));
    if let Some(pid) = summary.pid {
        text.push_str(&format!(" (pid {pid})"));
    }
    text.push_str(&format!(", {} {}", summary.snapshots, if summary.snapshots == 1 { "snapshot" } else { "snapshots" }));
    if summary.timed && summary.snapshots > 1 {
        text.push_str(&format!(" over {}", span(summary.last_unix_ms - summary.first_unix_ms)));
    }
    if let Some(allocator) = &summary.allocator {
        text.push_str(&format!(", {allocator}"));
    }
    match summary.sampling_interval {
        Some(1) => text.push_str(", every allocation recorded"),
        Some(interval) => text.push_str(&format!(", 1 sample per {}", whole(interval))),
        None if summary.estimated_by_writer => text.push_str(", estimates of the profile's writer, error unknown"),
        None => {}
    }
    text
}

/// A size without decimals where it has none: sampling intervals are powers of two.
fn whole(bytes: u64) -> String {
    iec(bytes as f64).replace(".0 ", " ")
}

/// `5 min 2 s`.
pub fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

fn lead(triage: &Triage) -> String {
    let word = triage.verdict.kind.word().replace('_', " ").to_uppercase();
    format!("{word}, {} confidence. {}", triage.verdict.confidence, printable(&triage.verdict.summary))
}

fn ledger(triage: &Triage, options: Options) -> Table {
    let ledger = &triage.ledger;
    let rss = &ledger.rss;
    let (first, last) = (rss.first().copied().unwrap_or(0) as f64, rss.last().copied().unwrap_or(0) as f64);
    let growth = last - first;
    let mut table = Table {
        head: ["Where the memory is", "first", "last", "growth", "share of growth", ""].map(str::to_owned).to_vec(),
        rows: Vec::new(),
        total: true,
    };
    let line = |label: String, a: i64, b: i64, basis: String| {
        let d = b.saturating_sub(a);
        vec![label, iec(a as f64), iec(b as f64), signed_iec(d as f64), percent(d as f64, growth), basis]
    };
    let is_small = |row: &Row| {
        let largest = row.first().unsigned_abs().max(row.last().unsigned_abs()) as f64;
        largest < SMALL_ROW * first.max(last) && (row.growth().unsigned_abs() as f64) < SMALL_ROW * growth.abs().max(first.max(last))
    };
    let (mut small, mut small_first, mut small_last) = (0usize, 0i64, 0i64);
    for row in &ledger.rows {
        let (a, b) = (row.first(), row.last());
        let open = row.kind == RowKind::Unattributed;
        // A row of nothing says nothing, except the one that shows what is unexplained.
        if a == 0 && b == 0 && !open {
            continue;
        }
        if !options.explain && !open && !rss.is_empty() && is_small(row) {
            (small, small_first, small_last) = (small + 1, small_first.saturating_add(a), small_last.saturating_add(b));
            continue;
        }
        table.rows.push(line(printable(&row.label).into_owned(), a, b, row.basis.to_string()));
    }
    if small > 0 {
        let before_open = table.rows.len().saturating_sub(1);
        let label = format!("{small} small {} (--explain)", if small == 1 { "row" } else { "rows" });
        table.rows.insert(before_open, line(label, small_first, small_last, String::new()));
    }
    if !rss.is_empty() {
        let share = if growth == 0.0 { "-".to_owned() } else { "100 %".to_owned() };
        table.rows.push(vec!["RSS".to_owned(), iec(first), iec(last), signed_iec(growth), share, ledger.rss_source.to_string()]);
    }
    table
}

/// Figures beside the ledger: virtual, swap, limits, coverage.
fn beside(triage: &Triage) -> Vec<Block> {
    triage.ledger.notes.iter().cloned().map(Block::Paragraph).collect()
}

fn suspect(blocks: &mut Vec<Block>, suspect: &Suspect, number: usize, of: usize, triage: &Triage, options: Options) {
    blocks.push(Block::Heading(format!(
        "Suspect {number} of {of}   {}   {}{}   {} confidence",
        suspect.kind.word(),
        suspect.pattern.map_or_else(String::new, |p| format!("{p}   ")),
        &suspect.fingerprint[..8.min(suspect.fingerprint.len())],
        suspect.confidence
    )));
    let g = &suspect.growth;
    let mut facts = vec![format!("+{} ({} to {})", iec(g.estimate), iec(g.low), iec(g.high))];
    if let Some(rate) = suspect.rates.first() {
        facts.push(format!("{} per {} (r² {:.3})", iec(rate.bytes.estimate), singular(&rate.per), rate.r2));
    }
    facts.push(format!("grew in {} of {} intervals", suspect.rises.0, suspect.rises.1));
    if let Some(survival) = suspect.survival {
        facts.push(format!("{} of its objects are still live", percent(survival, 1.0)));
    }
    if let Some(operation) = &suspect.operation {
        facts.push(printable(operation).into_owned());
    }
    blocks.push(Block::Paragraph(facts.join(", ")));
    if !suspect.stack.is_empty() {
        blocks.push(Block::Stack(stack(suspect, options)));
    }
    if !suspect.source.is_empty() {
        let width = suspect.source.last().map_or(0, |(line, _)| line.to_string().len());
        blocks.push(Block::Code("Source", suspect.source.iter().map(|(line, text)| format!("{line:>width$} | {text}")).collect()));
    }
    blocks.push(Block::Labeled(
        "Why",
        suspect.evidence.iter().map(|e| printable(&format!("{} [{}]", e.claim, e.source)).into_owned()).collect(),
    ));
    if let (Some((first, last)), false) = (&triage.summary.dumps, suspect.stack.is_empty()) {
        let focus = suspect.owner.function.rsplit("::").find(|part| !part.starts_with('{')).unwrap_or_default();
        let focus: String = focus.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if first != last && !focus.is_empty() {
            blocks.push(Block::Code("Check", vec![format!("heaptriage diff {} {} --focus {focus}", shell_word(first), shell_word(last))]));
        }
    }
    blocks.push(Block::Labeled("Fix", vec![printable(&suspect.remedy).into_owned()]));
    blocks.push(Block::Labeled("Wrong if", vec![printable(&suspect.refuted_by).into_owned()]));
}

fn stack(suspect: &Suspect, options: Options) -> Vec<StackLine> {
    let is_owner = |f: &FrameView| f.function == suspect.owner.function && f.address == suspect.owner.address;
    // The place where the group meets may stand in another stack of it: then its name marks the frame.
    let exact = suspect.stack.iter().any(is_owner);
    let (mut lines, mut hidden, mut marked, mut beyond) = (Vec::new(), 0usize, false, 0usize);
    for frame in &suspect.stack {
        if frame.hidden && !options.all_frames {
            hidden += 1;
            continue;
        }
        let owner = !marked && (is_owner(frame) || (!exact && frame.function == suspect.owner.function));
        if lines.len() >= MOST_FRAMES && !owner {
            beyond += 1;
            continue;
        }
        marked |= owner;
        let place = frame
            .file
            .as_ref()
            .map(|file| format!("{}{}", printable(short_path(file)), frame.line.map_or_else(String::new, |line| format!(":{line}"))));
        lines.push(StackLine {
            text: printable(&frame.function).into_owned(),
            place: place.or_else(|| frame.module.as_ref().map(|m| printable(m).into_owned())),
            mark: owner.then(|| "owner: the growth comes together here".to_owned()),
        });
    }
    let mut rest = Vec::new();
    if hidden > 0 {
        rest.push(format!("{hidden} allocator, library and runtime frames hidden"));
    }
    if beyond > 0 {
        rest.push(format!("{beyond} outer frames not shown"));
    }
    if suspect.stacks > 1 {
        rest.push(format!("heaviest of {} stacks", suspect.stacks));
    }
    if !rest.is_empty() {
        lines.push(StackLine { text: rest.join(", "), place: None, mark: None });
    }
    lines
}

/// A path of a fetched package from its name on, of the toolchain's library from `library` on; others as they are.
fn short_path(path: &str) -> &str {
    if let Some((_, rest)) = path.split_once("/registry/src/") {
        return rest.split_once('/').map_or(path, |(_, package)| package);
    }
    match path.strip_prefix("/rustc/").and_then(|rest| rest.split_once('/')) {
        Some((_, library)) => library,
        None => path,
    }
}

fn cleared(cleared: &Cleared) -> Block {
    let owner =
        cleared.owner.as_ref().filter(|o| !o.function.is_empty()).map_or_else(String::new, |o| format!("  ({})", printable(&o.function)));
    let amount = match cleared.kind {
        // What comes and goes has no growth worth a number: how far it swings.
        VerdictKind::Sawtooth => {
            let (low, high) = cleared.levels.iter().fold((f64::MAX, f64::MIN), |(low, high), &l| (low.min(l), high.max(l)));
            format!("±{}", iec(high - low))
        }
        _ => signed_iec(cleared.growth.estimate),
    };
    Block::Item(amount, format!("{}: {}{owner}", cleared.kind.word().replace('_', " "), printable(&cleared.reason)))
}

fn suppressed(blocks: &mut Vec<Block>, triage: &Triage) {
    let silenced: Vec<&Suspect> = triage.suspects.iter().filter(|s| s.suppressed.is_some()).collect();
    let remarks = triage.suppression.remarks();
    if !remarks.is_empty() {
        blocks.push(Block::Heading("Suppressions to look at".to_owned()));
        blocks.extend(remarks.into_iter().map(|remark| Block::Paragraph(printable(&remark).into_owned())));
    }
    if silenced.is_empty() {
        return;
    }
    let bytes: f64 = silenced.iter().map(|s| s.growth.estimate).sum();
    blocks.push(Block::Heading(format!(
        "Suppressed: {} with {}",
        match silenced.len() {
            1 => "1 growth".to_owned(),
            n => format!("{n} growths"),
        },
        signed_iec(bytes)
    )));
    for suspect in silenced {
        let reason = suspect.suppressed.as_deref().unwrap_or_default();
        let text = format!("{}: {}", printable(&suspect.owner.function), printable(reason));
        blocks.push(Block::Item(signed_iec(suspect.growth.estimate), text));
    }
}

fn explain(blocks: &mut Vec<Block>, triage: &Triage) {
    blocks.push(Block::Heading("How these numbers were derived".to_owned()));
    let mut lines = vec![
        "live bytes per stack: the dump's counts divided by the sampling probability 1 - exp(-size/interval), per stack, then added".to_owned(),
        "intervals: 95 %; objects live in both dumps are sampled in both or in neither and add no error".to_owned(),
        "grouping: stacks meet at the lowest frame of user code below which their growth keeps its proportions (chi², 1 %)".to_owned(),
        "leak: significant at 1 % over all groups, rising (Mann-Kendall, 1 %), still growing in the last third, neither step nor saturation".to_owned(),
    ];
    for row in triage.ledger.rows.iter().filter(|row| row.first() != 0 || row.last() != 0) {
        lines.push(format!("{}: {}, {}", row.label, row.basis, row.source));
    }
    blocks.extend(lines.into_iter().map(Block::Paragraph));
}

/// `indexer 100 % (full debug info), libc.so.6 100 % (names only)`.
fn modules(symbols: &Symbols) -> String {
    let mut parts: Vec<String> = symbols
        .modules
        .iter()
        .filter(|m| m.addresses > 0)
        .map(|m| {
            let state = match m.status {
                ModuleStatus::Ok | ModuleStatus::FromInput => format!("{}", m.debug_info),
                status => format!("{status}, {}", m.debug_info),
            };
            format!("{} {} ({state})", printable(&m.name), percent(m.symbolized as f64, m.addresses as f64))
        })
        .collect();
    if parts.is_empty() {
        parts.push("no addresses".to_owned());
    }
    parts.join(", ")
}
