//! Blocks as plain text, 100 columns: for a terminal, a ticket, a language model. Never colored here.

use super::document::{Block, StackLine, Table, harmless};

/// Columns of running text.
const WIDTH: usize = 100;
/// Columns of a function name before its place.
const NAME_WIDTH: usize = 60;
/// Characters of a last cell that is not worth a line of its own.
const SHORT_CELL: usize = 16;

/// Renders blocks; ends with a newline.
pub fn render(blocks: &[Block]) -> String {
    let mut out = String::new();
    let mut previous: Option<&Block> = None;
    let blocks = harmless(blocks);
    for block in &blocks {
        let tight = matches!(
            (previous, block),
            (None, _)
                | (Some(Block::Heading(_)), Block::Paragraph(_) | Block::Stack(_) | Block::Table(_) | Block::Labeled(..) | Block::Item(..))
                | (Some(Block::Paragraph(_)), Block::Stack(_) | Block::Paragraph(_))
                | (Some(Block::Item(..)), Block::Item(..) | Block::Paragraph(_))
                | (Some(Block::Stack(_) | Block::Labeled(..) | Block::Code(..)), Block::Labeled(..) | Block::Code(..))
        );
        if !tight {
            out.push('\n');
        }
        match block {
            Block::Title(text) | Block::Lead(text) => wrap(&mut out, text, "", ""),
            Block::Heading(text) => out.push_str(&format!("{text}\n")),
            Block::Item(amount, text) => wrap(&mut out, text, &format!("  {amount:>11}   "), &" ".repeat(16)),
            Block::Paragraph(text) => wrap(&mut out, text, "  ", "  "),
            Block::Table(table) => self::table(&mut out, table),
            Block::Stack(lines) => stack(&mut out, lines),
            Block::Labeled(label, texts) => {
                for (i, text) in texts.iter().enumerate() {
                    let lead = if i == 0 { format!("  {label:<9}") } else { " ".repeat(11) };
                    wrap(&mut out, text, &lead, &" ".repeat(11));
                }
            }
            Block::Code(label, lines) => {
                // Not wrapped: it is there to be copied.
                for (i, line) in lines.iter().enumerate() {
                    let lead = if i == 0 { format!("  {label:<9}") } else { " ".repeat(11) };
                    out.push_str(&format!("{lead}{line}\n"));
                }
            }
        }
        previous = Some(block);
    }
    out
}

/// Breaks at blanks; a longer word stays whole.
fn wrap(out: &mut String, text: &str, first: &str, rest: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let width = line.chars().count() + usize::from(!empty) + word.chars().count();
        if !empty && width > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = rest.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn table(out: &mut String, table: &Table) {
    let columns = table.head.len();
    let width = |c: usize| {
        let cells = std::iter::once(&table.head).chain(&table.rows).filter_map(|row| row.get(c));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (i, row) in std::iter::once(&table.head).chain(&table.rows).enumerate() {
        let mut line = String::from(if i == 0 { "" } else { "  " });
        let mut last = None;
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c].saturating_sub(cell.chars().count()));
            match c {
                // The head of the first column is the section's title and stands two columns further left.
                0 if i == 0 => line.push_str(&format!("{cell}{pad}  ")),
                0 => line.push_str(&format!("{cell}{pad}")),
                _ if c + 1 == columns => last = Some(cell),
                _ => line.push_str(&format!("  {pad}{cell}")),
            }
        }
        let Some(cell) = last else {
            out.push_str(line.trim_end());
            out.push('\n');
            continue;
        };
        let column = line.chars().count() + 3;
        let longest = cell.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        match column + cell.chars().count() <= WIDTH || cell.chars().count() <= SHORT_CELL {
            true => out.push_str(&format!("{}\n", format!("{line}   {cell}").trim_end())),
            // Names are long: below the figures where a word does not fit beside them.
            false if column + longest <= WIDTH => wrap(out, cell, &format!("{line}   "), &" ".repeat(column)),
            false => {
                out.push_str(&format!("{}\n", line.trim_end()));
                wrap(out, cell, &" ".repeat(6), &" ".repeat(6));
            }
        }
    }
}

fn stack(out: &mut String, lines: &[StackLine]) {
    for line in lines {
        let name = &line.text;
        match &line.place {
            Some(place) => {
                // Places start in one column; a long one moves left, and below its name where both do not fit.
                let (name_width, place_width) = (name.chars().count(), place.chars().count());
                let column = NAME_WIDTH.min((WIDTH - 4).saturating_sub(place_width)).max(name_width + 2);
                if 4 + column + place_width <= WIDTH {
                    out.push_str(&format!("    {name}{}{place}\n", " ".repeat(column - name_width)));
                } else {
                    out.push_str(&format!(
                        "    {name}\n{}{place}\n",
                        " ".repeat((WIDTH.saturating_sub(place_width)).clamp(6, 4 + NAME_WIDTH))
                    ));
                }
            }
            None => out.push_str(&format!("    {name}\n")),
        }
        if let Some(mark) = &line.mark {
            out.push_str(&format!("    {} {mark}\n", "~".repeat(name.chars().count().clamp(3, WIDTH - 50))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_blanks() {
        let long = "word ".repeat(60);
        let text = render(&[Block::Paragraph(long)]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH && line.starts_with("  word")));
    }

    #[test]
    fn tables_align() {
        let cell = |s: &str| s.to_owned();
        let table = Table {
            head: vec![cell("Where"), cell("last"), cell("basis")],
            rows: vec![vec![cell("live heap"), cell("1.0 MiB"), cell("measured")], vec![cell("RSS"), cell("12.0 MiB"), cell("")]],
            total: true,
        };
        assert_eq!(
            render(&[Block::Table(table)]),
            "Where            last   basis\n  live heap   1.0 MiB   measured\n  RSS        12.0 MiB\n"
        );
    }
}
