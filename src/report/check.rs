//! The outcome of `check` as blocks and as JSON (`heaptriage/check/1`).

use super::document::{Block, Table};
use super::triage_json;
use crate::analysis::finding::Suspect;
use crate::analysis::gate::{Checked, Gate, State};
use crate::analysis::triage::Triage;
use crate::origin::printable;
use crate::units::signed_iec;
use serde_json::{Value, json};

/// The schema's name and version.
pub const SCHEMA: &str = "heaptriage/check/1";

/// Composes the outcome: the answer, each gate, the suspects that count, what does not count.
pub fn compose(triage: &Triage, checked: &Checked, top: usize) -> Vec<Block> {
    let process = printable(triage.summary.process.as_deref().unwrap_or("unnamed process")).into_owned();
    let snapshots = triage.summary.snapshots;
    let mut blocks = vec![
        Block::Title(format!("heaptriage check: {process}, {snapshots} {}", if snapshots == 1 { "snapshot" } else { "snapshots" })),
        Block::Lead(answer(checked)),
    ];
    let mut table = Table { head: ["Gate", "outcome", "what was seen"].map(str::to_owned).to_vec(), ..Table::default() };
    table.rows = checked.gates.iter().map(|gate| vec![gate.label.clone(), word(gate).to_owned(), gate.message.clone()]).collect();
    blocks.push(Block::Table(table));
    suspects(&mut blocks, triage, checked, top);
    let sum = |indices: &[usize]| indices.iter().map(|&i| triage.suspects[i].growth.estimate).sum::<f64>();
    if !checked.known.is_empty() {
        blocks.push(Block::Paragraph(format!(
            "known from the baseline, not counted: {} with {}",
            checked.known.len(),
            signed_iec(sum(&checked.known))
        )));
    }
    if triage.suppression.suspects > 0 {
        blocks.push(Block::Paragraph(format!(
            "suppressed, not counted: {} with {}",
            triage.suppression.suspects,
            signed_iec(triage.suppression.growth.estimate)
        )));
    }
    if !checked.gone.is_empty() {
        blocks.push(Block::Paragraph(format!("in the baseline and not seen any more: {}", checked.gone.join(", "))));
    }
    blocks.extend(triage.suppression.remarks().into_iter().map(|remark| Block::Paragraph(printable(&remark).into_owned())));
    blocks
}

fn answer(checked: &Checked) -> String {
    let count = |state: State| checked.gates.iter().filter(|gate| gate.state == state).count();
    let gates = checked.gates.len();
    match (count(State::Failed), count(State::NotJudged)) {
        (0, 0) => format!("PASSED: {gates} of {gates} gates hold."),
        (0, n) => format!("NOT JUDGED: the capture does not tell about {n} of {gates} gates."),
        (n, _) => format!("FAILED: {n} of {gates} gates."),
    }
}

fn word(gate: &Gate) -> &'static str {
    match gate.state {
        State::Passed => "passed",
        State::Failed => "FAILED",
        State::NotJudged => "not judged",
    }
}

fn suspects(blocks: &mut Vec<Block>, triage: &Triage, checked: &Checked, top: usize) {
    if checked.counted.is_empty() {
        return;
    }
    blocks.push(Block::Heading("Suspects that count".to_owned()));
    for &index in checked.counted.iter().take(top) {
        let suspect = &triage.suspects[index];
        let place = match (&suspect.owner.file, suspect.owner.line) {
            (Some(file), Some(line)) => format!(", {}:{line}", printable(file)),
            _ => String::new(),
        };
        let text = format!(
            "{} {}, {} confidence, {}: {}{place}",
            &suspect.fingerprint[..8.min(suspect.fingerprint.len())],
            suspect.pattern.unwrap_or(suspect.kind.word()),
            suspect.confidence,
            suspect.shape.word(),
            printable(&suspect.owner.function)
        );
        blocks.push(Block::Item(signed_iec(suspect.growth.estimate), text));
    }
    if checked.counted.len() > top {
        blocks.push(Block::Paragraph(format!("and {} more: --top {}", checked.counted.len() - top, checked.counted.len())));
    }
}

/// The outcome for machines.
pub fn value(triage: &Triage, checked: &Checked) -> Value {
    let fingerprints = |indices: &[usize]| indices.iter().map(|&i| triage.suspects[i].fingerprint.clone()).collect::<Vec<_>>();
    let gate = |gate: &Gate| {
        json!({
            "gate": gate.id,
            "label": gate.label,
            "limit_bytes": gate.limit,
            "per": gate.per,
            "observed_bytes": gate.observed.as_ref().map(triage_json::fractional),
            "outcome": gate.state.word(),
            "message": gate.message,
            "suspects": fingerprints(&gate.suspects),
        })
    };
    let all: Vec<&Suspect> = triage.suspects.iter().filter(|s| s.suppressed.is_none()).collect();
    json!({
        "schema": SCHEMA,
        "tool": super::wire::TOOL,
        "passed": !checked.failed() && !checked.not_judged(),
        "verdict": triage.verdict.kind.word(),
        "gates": checked.gates.iter().map(gate).collect::<Vec<_>>(),
        "suspects": all.iter().map(|s| triage_json::suspect(s)).collect::<Vec<_>>(),
        "counted": fingerprints(&checked.counted),
        "known": fingerprints(&checked.known),
        "gone": checked.gone,
        "suppressed": {
            "suspects": triage.suppression.suspects,
            "growth_bytes": triage_json::interval(&triage.suppression.growth),
            "remarks": triage.suppression.remarks(),
        },
    })
}
