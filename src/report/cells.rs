//! Cells of CSV: the one place that quotes them.

use crate::origin::printable;
use std::borrow::Cow;

/// A text as a cell: without control characters, harmless to a spreadsheet, quoted where it has to be.
pub fn cell(text: &str) -> Cow<'_, str> {
    let text = printable(text);
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !formula && !text.contains([',', '"', '\n', '\r']) {
        return text;
    }
    let guard = if formula { "'" } else { "" };
    Cow::Owned(format!("\"{guard}{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        assert_eq!(cell("plain::name"), "plain::name");
        assert_eq!(cell("a, b"), "\"a, b\"");
        assert_eq!(cell("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(cell("=HYPERLINK(\"http://x\")"), "\"'=HYPERLINK(\"\"http://x\"\")\"");
        assert_eq!(cell("-1+1"), "\"'-1+1\"");
        assert_eq!(cell("@SUM(1)"), "\"'@SUM(1)\"");
    }
}
