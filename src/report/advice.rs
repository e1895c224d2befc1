//! Settings worth changing, as blocks and as JSON.

use super::document::Block;
use crate::analysis::triage::Triage;
use serde_json::{Value, json};

/// A section; empty where there is no advice.
pub fn blocks(triage: &Triage) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (id, advice, variable) in &triage.advice {
        if blocks.is_empty() {
            blocks.push(Block::Heading("Settings worth a look".to_owned()));
        }
        blocks.push(Block::Paragraph(format!("{id}: {} changes it: {}; costs {}", advice.setting, advice.effect, advice.cost)));
        blocks.push(Block::Labeled("Why", advice.evidence.iter().map(|e| format!("{} [{}]", e.claim, e.source)).collect()));
        blocks.push(Block::Code("Set", vec![variable.as_ref().map_or_else(|| advice.setting.clone(), |set| format!("export {set}"))]));
    }
    if let Some(all) = &triage.advice_together {
        blocks.push(Block::Code("Set all", vec![format!("export {all}")]));
    }
    if let Some(doubt) = doubt(triage) {
        blocks.push(Block::Paragraph(doubt));
    }
    blocks
}

/// What a line to paste cannot know where it was not recorded.
fn doubt(triage: &Triage) -> Option<String> {
    let known = &triage.summary.settings;
    triage.advice.iter().find(|(_, _, variable)| variable.is_some())?;
    let doubts: Vec<&str> = [
        (!known.variable, "which variable this jemalloc reads (_RJEM_MALLOC_CONF in a Rust program with tikv-jemallocator, unless it is built unprefixed)"),
        (!known.values, "what is set in it now: add to that"),
    ]
    .into_iter()
    .filter_map(|(unknown, what)| unknown.then_some(what))
    .collect();
    (!doubts.is_empty()).then(|| format!("not recorded: {}; `heaptriage doctor --pid N` tells", doubts.join("; ")))
}

/// The same for machines.
pub fn value(triage: &Triage) -> Value {
    let one = |(id, advice, variable): &(&str, crate::analysis::detect::setting::Advice, Option<String>)| {
        json!({
            "pattern": id,
            "setting": advice.setting,
            "variable": variable,
            "variable_known": variable.as_ref().map(|_| triage.summary.settings.variable),
            "effect": advice.effect,
            "cost": advice.cost,
            "evidence": advice.evidence.iter().map(|e| json!({"claim": e.claim, "source": e.source})).collect::<Vec<_>>(),
        })
    };
    triage.advice.iter().map(one).collect()
}
