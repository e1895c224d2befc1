//! One self-contained page: the words of the text report, and below them charts, flame views and tables to look at any
//! pair of snapshots. No network, opens from disk.
//!
//! ```text
//! page.html   template: everything that is words, readable without the script
//! page.css    light, dark and print
//! page.js     chart, ledger, flame views, table; reads the data below
//! data.rs     columns of numbers, gzip and base64 in an element that is never executed
//! ```
//!
//! The template escapes whatever it is given; the content security policy names the script and the style sheet by
//! their hashes, so that nothing else runs or loads.

mod data;

pub use data::{Course, Data, Mark, Start};

use super::document::{Block, StackLine, Table, harmless};
use super::sha256::sha256;
use super::{base64, text};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How grave the conclusion is: the color of its banner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// No conclusion.
    #[default]
    Plain,
    /// Something is lost.
    Bad,
    /// Something grows, or the evidence does not suffice.
    Open,
    /// Growth with a harmless cause.
    Benign,
    /// Nothing to report.
    Good,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Bad => "bad",
            Tone::Open => "open",
            Tone::Benign => "benign",
            Tone::Good => "good",
        }
    }
}

/// A page's words and data.
#[derive(Debug)]
pub struct Page<'a> {
    /// The text report.
    pub blocks: &'a [Block],
    /// Color of the conclusion.
    pub tone: Tone,
    /// For the script.
    pub data: Data<'a>,
}

#[derive(Serialize)]
struct Context {
    title: String,
    policy: String,
    style: &'static str,
    script: &'static str,
    data: String,
    tone: &'static str,
    head: Head,
    ledger: Option<TableView>,
    notes: Vec<String>,
    sections: Vec<Section>,
    feet: Vec<String>,
    version: &'static str,
}

/// The conclusion: what stands before the first full stop is its headline.
#[derive(Serialize, Default)]
struct Head {
    verdict: String,
    summary: String,
}

#[derive(Serialize)]
struct Section {
    id: String,
    heading: String,
    badges: Vec<String>,
    /// Position among the suspects.
    suspect: Option<usize>,
    items: Vec<Item>,
    text: String,
}

#[derive(Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
enum Item {
    Paragraph {
        text: String,
    },
    Table {
        table: TableView,
    },
    Stack {
        lines: Vec<LineView>,
    },
    Labeled {
        label: &'static str,
        texts: Vec<String>,
    },
    Code {
        label: &'static str,
        lines: Vec<String>,
    },
    /// A figure and what it is of.
    Entry {
        figure: String,
        text: String,
    },
}

#[derive(Serialize)]
struct TableView {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    total: bool,
}

#[derive(Serialize)]
struct LineView {
    text: String,
    place: Option<String>,
    mark: Option<String>,
}

/// Renders the page.
///
/// # Errors
/// Those of the template, which a test renders: none is expected.
pub fn render(page: &Page<'_>) -> Result<String, minijinja::Error> {
    let context = context(page);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("prose", prose);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_template("page.html", TEMPLATE)?;
    environment.get_template("page.html")?.render(minijinja::value::Serde(context))
}

/// Running text: what stands in backticks is code. Text whose backticks do not pair stays as it is.
fn prose(text: &str) -> minijinja::Value {
    let parts: Vec<&str> = text.split('`').collect();
    let mut html = String::with_capacity(text.len() + 32);
    for (i, part) in parts.iter().enumerate() {
        let (open, close) = match (parts.len() % 2 == 1, i) {
            (true, i) if i % 2 == 1 => ("<code>", "</code>"),
            (false, 1..) => ("`", ""),
            _ => ("", ""),
        };
        html.push_str(open);
        escape(&mut html, part);
        html.push_str(close);
    }
    minijinja::Value::from_safe_string(html)
}

fn escape(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#x27;"),
            c => html.push(c),
        }
    }
}

fn context(page: &Page<'_>) -> Context {
    let mut context = Context {
        title: "heaptriage".to_owned(),
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        data: page.data.encode(),
        tone: page.tone.class(),
        head: Head::default(),
        ledger: None,
        notes: Vec::new(),
        sections: Vec::new(),
        feet: Vec::new(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let mut suspects = 0;
    let mut own: Vec<Vec<Block>> = Vec::new();
    for block in &harmless(page.blocks) {
        match block {
            Block::Title(text) => context.title.clone_from(text),
            Block::Lead(text) if context.head.verdict.is_empty() => {
                let (verdict, summary) = text.split_once(". ").unwrap_or((text, ""));
                context.head = Head { verdict: verdict.trim_end_matches('.').to_owned(), summary: summary.to_owned() };
            }
            Block::Lead(text) => context.feet.push(text.clone()),
            Block::Heading(text) => {
                // The parts of a suspect's heading stand three blanks apart.
                let mut parts = text.split("   ").map(str::to_owned);
                let heading = parts.next().unwrap_or_default();
                let suspect = heading.starts_with("Suspect ").then_some(suspects);
                suspects += usize::from(suspect.is_some());
                let id = format!("section-{}", context.sections.len() + 1);
                context.sections.push(Section { id, heading, badges: parts.collect(), suspect, items: Vec::new(), text: String::new() });
                own.push(vec![block.clone()]);
            }
            _ => match context.sections.last_mut() {
                Some(section) => {
                    section.items.push(item(block));
                    if let Some(blocks) = own.last_mut() {
                        blocks.push(block.clone());
                    }
                }
                None => match block {
                    Block::Table(table) if context.ledger.is_none() => context.ledger = Some(view(table)),
                    Block::Paragraph(text) => context.notes.push(text.clone()),
                    _ => {}
                },
            },
        }
    }
    for (section, blocks) in context.sections.iter_mut().zip(own) {
        section.text = ticket(&context.title, &context.head, &blocks);
    }
    context
}

/// A section as text for a ticket: with what it is a report of.
fn ticket(title: &str, head: &Head, blocks: &[Block]) -> String {
    let mut all = vec![Block::Title(title.to_owned())];
    if !head.verdict.is_empty() {
        all.push(Block::Lead(format!("{}. {}", head.verdict, head.summary)));
    }
    all.extend_from_slice(blocks);
    text::render(&all)
}

fn item(block: &Block) -> Item {
    match block {
        Block::Title(text) | Block::Lead(text) | Block::Heading(text) | Block::Paragraph(text) => Item::Paragraph { text: text.clone() },
        Block::Item(figure, text) => Item::Entry { figure: figure.clone(), text: text.clone() },
        Block::Table(table) => Item::Table { table: view(table) },
        Block::Stack(lines) => Item::Stack { lines: lines.iter().map(line).collect() },
        Block::Labeled(label, texts) => Item::Labeled { label, texts: texts.clone() },
        Block::Code(label, lines) => Item::Code { label, lines: lines.clone() },
    }
}

fn view(table: &Table) -> TableView {
    TableView { head: table.head.clone(), rows: table.rows.clone(), total: table.total }
}

fn line(line: &StackLine) -> LineView {
    LineView { text: line.text.clone(), place: line.place.clone(), mark: line.mark.clone() }
}

/// Nothing is loaded, and only our own script and style run.
fn policy() -> String {
    let hash = |content: &str| base64::encode(&sha256(content.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::explorer::tests::explorer;

    fn page(blocks: &[Block]) -> String {
        let explorer = explorer(false);
        let marks: Vec<Mark> = (0..2).map(|i| Mark { name: format!("{i}"), unix_ms: Some(i * 1000), dump: Some(i as usize) }).collect();
        let start = Start::default();
        let data = Data { explorer: &explorer, marks: &marks, ledger: None, courses: &[], start: &start };
        render(&Page { blocks, tone: Tone::Bad, data }).unwrap()
    }

    fn hostile() -> Vec<Block> {
        let name = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";
        vec![
            Block::Title(format!("report of {name}")),
            Block::Lead(format!("LEAK, high confidence. {name} grows.")),
            Block::Table(Table { head: vec!["where".into(), "first".into(), name.into()], rows: vec![vec![name.into(); 3]], total: true }),
            Block::Paragraph(name.to_owned()),
            Block::Heading(format!("Suspect 1 of 1   leak   {name}   high confidence")),
            Block::Stack(vec![StackLine { text: name.to_owned(), place: Some(name.to_owned()), mark: Some("owner".to_owned()) }]),
            Block::Labeled("Why", vec![name.to_owned()]),
            Block::Code("Check", vec![name.to_owned()]),
            Block::Heading("Other".to_owned()),
            Block::Item("+1 MiB".to_owned(), name.to_owned()),
            Block::Paragraph(name.to_owned()),
            Block::Lead(format!("Symbols: {name}")),
        ]
    }

    #[test]
    fn backticks_are_code_where_they_pair() {
        assert_eq!(prose("keep `a<b>` here").to_string(), "keep <code>a&lt;b&gt;</code> here");
        assert_eq!(prose("a ` b & c").to_string(), "a ` b &amp; c");
        assert_eq!(prose("a ` b ` c `").to_string(), "a ` b ` c `");
    }

    #[test]
    fn names_stay_names() {
        let html = page(&hostile());
        assert_eq!(html.matches("<script").count(), 2, "data and code");
        assert_eq!(html.matches("</script").count(), 2);
        assert!(!html.contains("<img"));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let html = page(&hostile());
        let outside: Vec<&str> = html.match_indices("http").map(|(at, _)| &html[at..(at + 40).min(html.len())]).collect();
        let harmless = |text: &&str| text.starts_with("http-equiv") || text.starts_with("http://www.w3.org/2000/svg");
        assert!(outside.iter().all(harmless), "{outside:?}");
        assert!(!html.contains("@import") && !html.contains("url("));
    }

    #[test]
    fn every_word_of_the_text_report_is_there() {
        let html = page(&hostile());
        let escaped = |text: &str| {
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#x27;")
        };
        for block in hostile() {
            let texts = match block {
                Block::Table(table) => table.head.into_iter().chain(table.rows.into_iter().flatten()).collect(),
                Block::Lead(text) | Block::Heading(text) => text.split(". ").flat_map(|t| t.split("   ")).map(str::to_owned).collect(),
                Block::Title(text) | Block::Paragraph(text) => vec![text],
                Block::Item(figure, text) => vec![figure, text],
                Block::Stack(lines) => lines.into_iter().flat_map(|l| [Some(l.text), l.place, l.mark]).flatten().collect(),
                Block::Labeled(label, texts) | Block::Code(label, texts) => [label.to_owned()].into_iter().chain(texts).collect::<Vec<_>>(),
            };
            for text in texts {
                // The template escapes the slash too, running text does not.
                let escaped = escaped(&text);
                assert!(html.contains(&escaped) || html.contains(&escaped.replace('/', "&#x2f;")), "{text}");
            }
        }
    }
}
