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
    blocks
}

/// The same for machines.
pub fn value(triage: &Triage) -> Value {
    let one = |(id, advice, variable): &(&str, crate::analysis::detect::setting::Advice, Option<String>)| {
        json!({
            "pattern": id,
            "setting": advice.setting,
            "variable": variable,
            "effect": advice.effect,
            "cost": advice.cost,
            "evidence": advice.evidence.iter().map(|e| json!({"claim": e.claim, "source": e.source})).collect::<Vec<_>>(),
        })
    };
    triage.advice.iter().map(one).collect()
}
