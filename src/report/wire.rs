//! What all JSON outputs have in common: who wrote them, the symbols table, warnings.

use crate::model::frame::ModuleSymbols;
use crate::origin::Notice;
use serde::Serialize;

/// Who wrote it.
#[derive(Debug, Serialize)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
}

/// This program.
pub const TOOL: Tool = Tool { name: "heaptriage", version: env!("CARGO_PKG_VERSION") };

/// A module, and how well its addresses are named.
#[derive(Debug, Serialize)]
pub struct SymbolWire<'a> {
    module: &'a str,
    build_id: Option<String>,
    status: String,
    debug_info: String,
    addresses: u64,
    symbolized: u64,
    remedy: Option<&'a str>,
}

/// What was left out or is odd, with its place.
#[derive(Debug, Serialize)]
pub struct WarningWire<'a> {
    input: &'a str,
    line: Option<u64>,
    column: Option<u64>,
    message: &'a str,
}

/// The document, pretty, with a line end.
pub fn print(wire: &impl Serialize) -> String {
    // Nothing here fails to serialize: no map with keys that are not text, no failing implementation.
    let mut text = serde_json::to_string_pretty(wire).unwrap_or_default();
    text.push('\n');
    text
}

/// A row of the symbols table.
pub fn symbol(module: &ModuleSymbols) -> SymbolWire<'_> {
    SymbolWire {
        module: &module.name,
        build_id: module.build_id.as_ref().map(ToString::to_string),
        status: module.status.to_string(),
        debug_info: module.debug_info.to_string(),
        addresses: module.addresses,
        symbolized: module.symbolized,
        remedy: module.remedy.as_deref(),
    }
}

/// A warning.
pub fn warning(notice: &Notice) -> WarningWire<'_> {
    WarningWire {
        input: &notice.input,
        line: notice.position.map(|p| p.line),
        column: notice.position.map(|p| p.column),
        message: &notice.message,
    }
}
