//! Help topics: the pages below `docs/`, as text for a terminal.
//!
//! The pages are Markdown for people who read the repository. Here the few elements that they use become plain text:
//! headings, paragraphs (reflowed), lists, tables, code. Links to another page become the command that shows it.

use super::views::Look;

/// A page: its name on the command line, what it is about, and its text.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// What `heaptriage help` takes.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Markdown.
    pub page: &'static str,
}

macro_rules! topic {
    ($name:literal, $file:literal, $about:literal) => {
        Topic { name: $name, about: $about, page: include_str!(concat!("../../docs/", $file, ".md")) }
    };
}

/// Every page, the concepts first. A test compares it with the folder.
pub const TOPICS: &[Topic] = &[
    topic!("concepts", "concepts/README", "the ideas behind the figures, one a page"),
    topic!("live-and-leaked", "concepts/live-and-leaked", "what one dump can say, and what only several can"),
    topic!("sampling", "concepts/sampling", "why every number has an interval"),
    topic!("frames-and-owners", "concepts/frames-and-owners", "from a return address to your line of code"),
    topic!("heap-and-rss", "concepts/heap-and-rss", "the ledger: every resident byte has a row"),
    topic!("dirty-muzzy-retained", "concepts/dirty-muzzy-retained", "memory that is freed and still counted"),
    topic!("fragmentation", "concepts/fragmentation", "memory that is in use and holds nothing"),
    topic!("skipped-drops", "concepts/skipped-drops", "why the memory stays, read from the binary"),
    topic!("ownership-graph", "concepts/ownership-graph", "who keeps a type alive, and which types can form cycles"),
    topic!("recording", "recording", "how to get dumps out of a live process"),
    topic!("detectors", "detectors", "the mistakes that are recognised, and what looks like them"),
    topic!("ci", "ci", "gates in continuous integration"),
    topic!("formats", "formats", "what other tools read and write, and how"),
    topic!("fleet", "fleet", "from one process to thousands"),
    topic!("json", "json", "the JSON outputs, and what may change in them"),
    topic!("security", "security", "what the program does with files it does not trust"),
];

/// The page of a name; a unique beginning suffices.
pub fn find(name: &str) -> Option<&'static Topic> {
    let name = name.to_lowercase().replace(['_', ' '], "-");
    let mut begins = TOPICS.iter().filter(|topic| topic.name.starts_with(&name));
    let exact = TOPICS.iter().find(|topic| topic.name == name);
    exact.or_else(|| begins.next().filter(|_| name.len() > 2 && begins.next().is_none()))
}

/// Widest text without a terminal: as the reports.
const WIDTH: usize = 100;

/// A page as text.
pub fn text(page: &str, look: Look) -> String {
    let width = look.width.map_or(WIDTH, |width| width.clamp(40, WIDTH));
    let mut out = Lines { out: String::new(), width, look };
    let mut paragraph: Vec<&str> = Vec::new();
    let mut code = false;
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in page.lines().chain([""]) {
        let trimmed = line.trim_start();
        if code {
            code = !trimmed.starts_with("```");
            if code {
                out.plain(&format!("    {line}"));
            }
            continue;
        }
        let begins = trimmed.starts_with("- ") || trimmed.starts_with('#') || trimmed.starts_with('|') || trimmed.starts_with("```");
        let indented = line.starts_with("    ") && paragraph.is_empty();
        if (trimmed.is_empty() || begins || indented) && !paragraph.is_empty() {
            out.paragraph(&paragraph.join(" "));
            paragraph.clear();
        }
        if !trimmed.starts_with('|') && !table.is_empty() {
            out.table(&std::mem::take(&mut table));
        }
        if trimmed.starts_with("```") {
            code = true;
        } else if let Some(heading) = trimmed.strip_prefix('#') {
            out.heading(heading.trim_start_matches('#').trim());
        } else if trimmed.starts_with('|') {
            let cells: Vec<String> = trimmed.trim_matches('|').split('|').map(|cell| inline(cell.trim())).collect();
            if !cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-: ".contains(c))) {
                table.push(cells);
            }
        } else if indented || trimmed.is_empty() {
            out.plain(line);
        } else {
            paragraph.push(trimmed);
        }
    }
    out.out.trim().to_owned() + "\n"
}

struct Lines {
    out: String,
    width: usize,
    look: Look,
}

impl Lines {
    fn plain(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let text = inline(text);
        let (on, off) = if self.look.color { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        self.out.push_str(&format!("{on}{text}{off}\n"));
        if !self.look.color {
            self.plain(&"=".repeat(text.chars().count()));
        }
    }

    /// A paragraph or an item of a list, wrapped.
    fn paragraph(&mut self, text: &str) {
        let text = inline(text);
        let (first, rest) = if text.starts_with("- ") { ("", "  ") } else { ("", "") };
        let mut line = first.to_owned();
        for word in text.split_whitespace() {
            let room = line.chars().count() + 1 + word.chars().count() <= self.width;
            if !line.trim().is_empty() && !room {
                self.plain(&line);
                line = rest.to_owned();
            }
            if !line.trim().is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.plain(&line);
    }

    fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> =
            (0..columns).map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
        let last = columns.saturating_sub(1);
        let left: usize = widths[..last].iter().map(|width| width + 2).sum::<usize>() + 2;
        for row in rows {
            let mut line = String::from("  ");
            for (cell, width) in row.iter().zip(&widths).take(last) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            // The last column is running text: it wraps below itself where there is room for that.
            let room = self.width.saturating_sub(left);
            for word in row.get(last).into_iter().flat_map(|cell| cell.split_whitespace()) {
                if room >= 20 && line.chars().count() + word.chars().count() > self.width {
                    self.plain(&line);
                    line = " ".repeat(left);
                }
                line.push_str(word);
                line.push(' ');
            }
            self.plain(&line);
        }
    }
}

/// Without emphasis; a link to another page becomes the command that shows it, any other its address.
fn inline(text: &str) -> String {
    let text = text.replace("**", "");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        let (before, link) = rest.split_at(open);
        out.push_str(before);
        let parts = link.find("](").and_then(|middle| Some((middle, link[middle..].find(')')? + middle)));
        let Some((middle, end)) = parts.filter(|(middle, _)| !link[1..*middle].contains('[')) else {
            out.push('[');
            rest = &link[1..];
            continue;
        };
        let (label, target) = (&link[1..middle], &link[middle + 2..end]);
        let page = target.split('#').next().unwrap_or(target).trim_end_matches(".md");
        let name = page.rsplit('/').next().unwrap_or(page);
        let known = TOPICS.iter().find(|topic| topic.name == name && target.contains(".md"));
        match known {
            Some(topic) => out.push_str(&format!("{label} (heaptriage help {})", topic.name)),
            None if target.starts_with("http") => out.push_str(&format!("{label} ({target})")),
            None => out.push_str(label),
        }
        rest = &link[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_concept_has_its_topic() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/concepts");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            let name = if name == "README" { "concepts".to_owned() } else { name };
            assert!(TOPICS.iter().any(|topic| topic.name == name), "`{name}` needs a line in TOPICS");
        }
        let mut names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TOPICS.len());
    }

    #[test]
    fn a_beginning_suffices_where_it_is_the_only_one() {
        assert_eq!(find("sampling").map(|t| t.name), Some("sampling"));
        assert_eq!(find("Dirty").map(|t| t.name), Some("dirty-muzzy-retained"));
        assert_eq!(find("heap and rss").map(|t| t.name), Some("heap-and-rss"));
        assert!(find("nothing").is_none() && find("").is_none() && find("s").is_none());
    }

    #[test]
    fn pages_are_plain_and_fit() {
        for topic in TOPICS {
            for width in [40, 72, 100] {
                let text = text(topic.page, Look { width: Some(width), color: false });
                assert!(!text.contains("**") && !text.contains("]("), "{}: {text}", topic.name);
                assert!(!text.contains('\u{1b}'));
            }
        }
        let sampling = text(find("sampling").unwrap().page, Look::default());
        assert!(sampling.starts_with("Sampling and its error\n======================\n\njemalloc does not"), "{sampling}");
        let most = sampling.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(most <= WIDTH, "{most}");
    }

    #[test]
    fn links_become_commands() {
        assert_eq!(
            inline("see [Heap and RSS](heap-and-rss.md), [x](https://x.org)"),
            "see Heap and RSS (heaptriage help heap-and-rss), x (https://x.org)"
        );
        assert_eq!(inline("`[u8; 32]` and [the code](../src/lib.rs)"), "`[u8; 32]` and the code");
    }

    #[test]
    fn lists_and_tables_keep_their_form() {
        let page =
            "# T\n\n- one item that is long enough to be wrapped at forty letters\n- two\n\n| a | b |\n|---|---|\n| 1 | two words |\n";
        let text = text(page, Look { width: Some(40), color: false });
        assert_eq!(text, "T\n=\n\n- one item that is long enough to be\n  wrapped at forty letters\n- two\n\n  a  b\n  1  two words\n");
    }
}
