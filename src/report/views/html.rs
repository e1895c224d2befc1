//! A flamegraph as one HTML file without anything from outside.

use super::svg::escaped;

/// The page, with the drawing inline.
pub fn page(title: &str, svg: &str) -> String {
    // Inside HTML the drawing is an element, not a document of its own.
    let drawing = svg.find("<svg").and_then(|start| svg.get(start..)).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>body{{margin:8px;background:#fdfdfb}}</style>\n</head>\n<body>\n{drawing}</body>\n</html>\n",
        escaped(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_page_is_markup_by_accident() {
        let page = page("a < b", "<?xml?>\n<svg></svg>\n");
        assert!(page.contains("<title>a &lt; b</title>"));
        assert!(page.contains("<body>\n<svg></svg>\n</body>"));
        assert!(!page.contains("<?xml"));
    }
}
