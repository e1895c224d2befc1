//! `trend`: growth per group of stacks over all dumps, as rows. Nothing is computed here.

use super::cells::cell;
use super::document::{Block, Table};
use super::triage_json::interval;
use crate::analysis::finding::FrameView;
use crate::analysis::judge::{Call, Judged};
use crate::analysis::triage::{Triage, singular};
use crate::origin::printable;
use crate::units::{iec, signed_iec};
use serde_json::{Value, json};

/// The schema's name and version.
pub const SCHEMA: &str = "heaptriage/trend/1";

/// What the rules made of a growth, in a word.
fn call(judged: &Judged) -> String {
    match &judged.call {
        Call::Suspect(kind, confidence) => format!("{} ({confidence})", kind.word()),
        Call::Cleared(kind, _) => kind.word().to_owned(),
        Call::Open(_) => "open".to_owned(),
        Call::Nothing => "noise".to_owned(),
    }
}

/// Rows as blocks, at most `top` of them.
pub fn blocks(triage: &Triage, places: &[FrameView], top: usize) -> Vec<Block> {
    let mut table = Table {
        head: ["Where it comes together", "growth", "95 % low", "95 % high", "rate", "r²", "shape", "judged"].map(str::to_owned).to_vec(),
        rows: Vec::new(),
        total: false,
    };
    for (judged, place) in triage.judged.iter().zip(places).take(top) {
        let growth = judged.growth();
        let trend = judged.course.best_trend();
        table.rows.push(vec![
            printable(&place.function).into_owned(),
            signed_iec(growth.estimate),
            signed_iec(growth.low),
            signed_iec(growth.high),
            trend.map_or_else(|| "-".to_owned(), |t| format!("{} per {}", iec(t.rate.estimate), singular(&t.per))),
            trend.map_or_else(|| "-".to_owned(), |t| format!("{:.3}", t.r2)),
            judged.course.shape.word().to_owned(),
            call(judged),
        ]);
    }
    let shown = table.rows.len();
    let summary = &triage.summary;
    let title = format!(
        "{} of {} groups of stacks over {} snapshots of {}",
        shown,
        triage.judged.len(),
        summary.snapshots,
        printable(summary.process.as_deref().unwrap_or("one process"))
    );
    vec![Block::Title(title), Block::Table(table)]
}

/// Rows as JSON, all of them.
pub fn value(triage: &Triage, places: &[FrameView]) -> Value {
    let row = |(judged, place): (&Judged, &FrameView)| {
        json!({
            "function": place.function,
            "file": place.file,
            "line": place.line,
            "crate": place.krate,
            "stacks": judged.group.stacks.len(),
            "growth_bytes": interval(&judged.growth()),
            "z": judged.z().is_finite().then(|| judged.z()),
            "shape": judged.course.shape.word(),
            "judged": call(judged),
            "mann_kendall_p": judged.course.mann_kendall,
            "survival": judged.survival,
            "trends": judged.course.trends.iter().map(|t| json!({
                "per": t.per, "bytes": {"estimate": t.rate.estimate, "low": t.rate.low, "high": t.rate.high},
                "robust": {"estimate": t.robust.estimate, "low": t.robust.low, "high": t.robust.high},
                "r2": t.r2,
            })).collect::<Vec<_>>(),
            "live_bytes": judged.levels.iter().map(|l| l.bytes.round() as i64).collect::<Vec<_>>(),
        })
    };
    json!({"schema": SCHEMA, "rows": triage.judged.iter().zip(places).map(row).collect::<Vec<_>>()})
}

/// Rows as CSV: one a group, live bytes of every dump behind the figures. Text cells are safe in a spreadsheet.
pub fn csv(triage: &Triage, places: &[FrameView]) -> String {
    let dumps = triage.judged.first().map_or(0, |j| j.levels.len());
    let mut out = String::from("function,file,line,stacks,growth_bytes,low_bytes,high_bytes,rate_bytes,per,r2,shape,judged");
    for dump in 1..=dumps {
        out.push_str(&format!(",live_bytes_{dump}"));
    }
    out.push('\n');
    for (judged, place) in triage.judged.iter().zip(places) {
        let growth = judged.growth();
        let trend = judged.course.best_trend();
        let mut cells = vec![
            cell(&place.function).into_owned(),
            cell(place.file.as_deref().unwrap_or_default()).into_owned(),
            place.line.map_or_else(String::new, |line| line.to_string()),
            judged.group.stacks.len().to_string(),
            format!("{:.0}", growth.estimate),
            format!("{:.0}", growth.low),
            format!("{:.0}", growth.high),
            trend.map_or_else(String::new, |t| format!("{:.3}", t.rate.estimate)),
            trend.map_or_else(String::new, |t| cell(&t.per).into_owned()),
            trend.map_or_else(String::new, |t| format!("{:.4}", t.r2)),
            judged.course.shape.word().to_owned(),
            cell(&call(judged)).into_owned(),
        ];
        cells.extend(judged.levels.iter().map(|l| format!("{:.0}", l.bytes)));
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}
