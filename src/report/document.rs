//! A report as blocks: what text, Markdown and HTML have in common. Blocks carry words and figures, never layout.

use crate::origin::printable;

/// One block.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// What this is a report of.
    Title(String),
    /// The conclusion.
    Lead(String),
    /// Starts a section.
    Heading(String),
    /// Running text.
    Paragraph(String),
    /// An amount with what it is.
    Item(String, String),
    /// Figures.
    Table(Table),
    /// A stack, innermost first.
    Stack(Vec<StackLine>),
    /// A short label with its text: `Why`, `Fix`, `Check`.
    Labeled(&'static str, Vec<String>),
    /// A command to copy, or source lines.
    Code(&'static str, Vec<String>),
}

/// A table with a header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Column heads; a column is right-aligned unless it is the first or the last.
    pub head: Vec<String>,
    /// Rows as wide as the head.
    pub rows: Vec<Vec<String>>,
    /// The last row is a total.
    pub total: bool,
}

/// A frame of a stack, or what stands in for hidden ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackLine {
    /// Function, or the count of hidden frames.
    pub text: String,
    /// `file:line`, where known.
    pub place: Option<String>,
    /// Said below the frame that the finding is about.
    pub mark: Option<String>,
}

/// The blocks with every text made safe for a terminal and for a line: sentences quote names from all layers, and each
/// renderer begins with this, so that none of them goes out raw.
pub fn harmless(blocks: &[Block]) -> Vec<Block> {
    let one = |text: &String| printable(text).into_owned();
    let all = |texts: &[String]| texts.iter().map(one).collect::<Vec<_>>();
    let line =
        |line: &StackLine| StackLine { text: one(&line.text), place: line.place.as_ref().map(one), mark: line.mark.as_ref().map(one) };
    let block = |block: &Block| match block {
        Block::Title(text) => Block::Title(one(text)),
        Block::Lead(text) => Block::Lead(one(text)),
        Block::Heading(text) => Block::Heading(one(text)),
        Block::Paragraph(text) => Block::Paragraph(one(text)),
        Block::Item(amount, text) => Block::Item(one(amount), one(text)),
        Block::Table(table) => {
            Block::Table(Table { head: all(&table.head), rows: table.rows.iter().map(|row| all(row)).collect(), total: table.total })
        }
        Block::Stack(lines) => Block::Stack(lines.iter().map(line).collect()),
        Block::Labeled(label, texts) => Block::Labeled(label, all(texts)),
        Block::Code(label, lines) => Block::Code(label, all(lines)),
    };
    blocks.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_goes_out_raw() {
        let bad = || "a\u{1b}[31m\nb\u{202e}".to_owned();
        let good = || "a\\u{1b}[31m\\u{a}b\\u{202e}".to_owned();
        let blocks = |text: &dyn Fn() -> String| {
            vec![
                Block::Lead(text()),
                Block::Item(text(), text()),
                Block::Table(Table { head: vec![text()], rows: vec![vec![text()]], total: false }),
                Block::Stack(vec![StackLine { text: text(), place: Some(text()), mark: Some(text()) }]),
                Block::Labeled("Why", vec![text()]),
                Block::Code("Check", vec![text()]),
            ]
        };
        assert_eq!(harmless(&blocks(&bad)), blocks(&good));
    }
}
