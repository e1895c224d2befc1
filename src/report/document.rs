//! A report as blocks: what text, Markdown and HTML have in common. Blocks carry words and figures, never layout.

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
