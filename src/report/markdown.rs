//! Blocks as Markdown: for a pull request or an issue.

use super::document::{Block, Table, harmless};

/// Renders blocks; every name is escaped or fenced, so that nothing in an input can become markup.
pub fn render(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in &harmless(blocks) {
        match block {
            Block::Title(text) => out.push_str(&format!("# {}\n\n", escape(text))),
            Block::Lead(text) => out.push_str(&format!("**{}**\n\n", escape(text))),
            Block::Heading(text) => out.push_str(&format!("## {}\n\n", escape(text))),
            Block::Paragraph(text) => out.push_str(&format!("{}\n\n", escape(text))),
            Block::Item(amount, text) => out.push_str(&format!("- {} {}\n\n", escape(amount), escape(text))),
            Block::Table(table) => self::table(&mut out, table),
            Block::Stack(lines) => {
                let lines: Vec<String> = lines
                    .iter()
                    .map(|line| {
                        let place = line.place.as_ref().map_or_else(String::new, |place| format!("  {place}"));
                        let mark = line.mark.as_ref().map_or_else(String::new, |mark| format!("   <- {mark}"));
                        format!("{}{place}{mark}", line.text)
                    })
                    .collect();
                fence(&mut out, &lines);
            }
            Block::Labeled(label, texts) => {
                for (i, text) in texts.iter().enumerate() {
                    let lead = if i == 0 { format!("- **{label}:** ") } else { "  - ".to_owned() };
                    out.push_str(&format!("{lead}{}\n", escape(text)));
                }
                out.push('\n');
            }
            Block::Code(label, lines) => {
                out.push_str(&format!("- **{label}:**\n\n"));
                fence(&mut out, lines);
            }
        }
    }
    out
}

/// A fence longer than any run of backticks inside.
fn fence(out: &mut String, lines: &[String]) {
    let longest = lines.iter().flat_map(|l| l.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    out.push_str(&format!("{fence}text\n"));
    for line in lines {
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(&format!("{fence}\n\n"));
}

fn table(out: &mut String, table: &Table) {
    let row = |cells: &[String]| format!("| {} |\n", cells.iter().map(|c| escape(c)).collect::<Vec<_>>().join(" | "));
    out.push_str(&row(&table.head));
    let last = table.head.len().saturating_sub(1);
    let rule: Vec<&str> = (0..table.head.len()).map(|c| if c == 0 || c == last { "---" } else { "---:" }).collect();
    out.push_str(&format!("| {} |\n", rule.join(" | ")));
    for cells in &table.rows {
        out.push_str(&row(cells));
    }
    out.push('\n');
}

/// Backslashes before everything that Markdown or inline HTML could read as markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '!' | '&' | '@') {
            out.push('\\');
        }
        out.push(if c == '\n' { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let text = render(&[Block::Paragraph("a::<b>[x](http://y) | `c`".into())]);
        assert_eq!(text, "a::\\<b\\>\\[x\\](http://y) \\| \\`c\\`\n\n");
        let mut out = String::new();
        fence(&mut out, &["```".into()]);
        assert!(out.starts_with("````text"));
    }
}
