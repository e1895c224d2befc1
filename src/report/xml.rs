//! Text in XML: SVG and JUnit.

use crate::origin::is_unprintable;

/// For content and attributes. Line ends and tabs keep their place in an attribute; characters that XML 1.0 has no
/// way to write, or that reorder or hide text, become U+FFFD.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if is_unprintable(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_element() {
        assert_eq!(escaped("Vec<[u8; 32]> & \"x\" 'y'"), "Vec&lt;[u8; 32]&gt; &amp; &quot;x&quot; &#39;y&#39;");
        assert_eq!(escaped("a\u{1}b\u{ffff}\n\t\u{9f}"), "a\u{fffd}b\u{fffd}&#10;&#9;\u{fffd}");
    }
}
