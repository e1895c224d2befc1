//! glibc's `malloc_info(3)`: what its arenas hold and what of it is free.
//!
//! ```text
//! <malloc version="1">
//! <heap nr="0">
//! <total type="fast" count="0" size="0"/> <system type="current" size="135168"/>
//! </heap>
//! <total type="mmap" count="1" size="50003968"/> <system type="current" size="270336"/>
//! </malloc>
//! ```
//!
//! Written by glibc `malloc/malloc.c`. Only element names, `type`, `count` and `size` matter, so the
//! tags are read one by one; totals over all arenas are those after the last `</heap>`.

use crate::input::{ParseError, Parsed};
use crate::origin::Warning;

/// Sums over all arenas, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MallocInfo {
    /// Number of `<heap>` elements.
    pub arenas: u64,
    /// `<system type="current">`.
    pub system: u64,
    /// `<total type="fast">` and `<total type="rest">`.
    pub free: u64,
    /// `<total type="mmap">`: chunks with a mapping of their own.
    pub mmapped: u64,
}

/// Whether `text` is malloc_info.
pub fn sniff(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"<malloc")
}

/// Reads the XML.
pub fn parse(text: &[u8]) -> Result<Parsed<MallocInfo>, ParseError> {
    let Some(start) = memchr::memmem::find(text, b"<malloc") else {
        return Err(ParseError::new(0, "expected `<malloc version=\"1\">` of malloc_info(3)"));
    };
    let mut info = MallocInfo::default();
    let (mut in_heap, mut closed, mut totals) = (false, false, false);
    let mut heaps = MallocInfo::default();
    let mut at = start;
    while let Some(open) = memchr::memchr(b'<', &text[at..]) {
        let Some(close) = memchr::memchr(b'>', &text[at + open..]) else { break };
        let tag = &text[at + open + 1..at + open + close];
        at += open + close + 1;
        let name = tag.split(|b| b.is_ascii_whitespace() || *b == b'/').next().unwrap_or_default();
        match (name, tag.starts_with(b"/")) {
            (b"heap", _) => {
                in_heap = true;
                info.arenas += 1;
            }
            (b"", true) if tag.starts_with(b"/heap") => in_heap = false,
            (b"", true) if tag.starts_with(b"/malloc") => {
                closed = true;
                break;
            }
            (b"total" | b"system", _) => {
                let size = attribute(tag, b"size").and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok()).unwrap_or(0);
                let sums = if in_heap { &mut heaps } else { &mut info };
                totals |= !in_heap;
                match (name, attribute(tag, b"type").unwrap_or_default()) {
                    (b"total", b"fast" | b"rest") => sums.free = sums.free.saturating_add(size),
                    (b"total", b"mmap") => sums.mmapped = sums.mmapped.saturating_add(size),
                    (b"system", b"current") => sums.system = sums.system.saturating_add(size),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let mut warnings = Vec::new();
    if !closed {
        warnings.push(Warning::at(text.len(), "malloc_info ends before `</malloc>`: the arenas it has are added up"));
    }
    if !totals {
        info = MallocInfo { arenas: info.arenas, ..heaps };
    }
    Ok(Parsed { value: info, warnings })
}

/// The value of ` name="value"` in a tag.
fn attribute<'a>(tag: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pattern = [b" ", name, b"=\""].concat();
    let start = memchr::memmem::find(tag, &pattern)? + pattern.len();
    let end = memchr::memchr(b'"', &tag[start..])?;
    Some(&tag[start..start + end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n<total type=\"fast\" count=\"1\" size=\"32\"/>\n<total type=\"rest\" count=\"2\" size=\"1000\"/>\n<system type=\"current\" size=\"135168\"/>\n<system type=\"max\" size=\"200000\"/>\n</heap>\n<heap nr=\"1\">\n<system type=\"current\" size=\"135168\"/>\n</heap>\n<total type=\"fast\" count=\"1\" size=\"32\"/>\n<total type=\"rest\" count=\"2\" size=\"1000\"/>\n<total type=\"mmap\" count=\"1\" size=\"50003968\"/>\n<system type=\"current\" size=\"270336\"/>\n</malloc>\n";

    #[test]
    fn totals_of_all_arenas() {
        let parsed = parse(TEXT.as_bytes()).unwrap();
        assert_eq!(parsed.value, MallocInfo { arenas: 2, system: 270_336, free: 1032, mmapped: 50_003_968 });
        assert!(parsed.warnings.is_empty());
    }

    #[test]
    fn a_cut_text_adds_up_its_arenas() {
        let cut = TEXT.find("</heap>\n<total").unwrap();
        let parsed = parse(&TEXT.as_bytes()[..cut]).unwrap();
        assert_eq!(parsed.value, MallocInfo { arenas: 2, system: 270_336, free: 1032, mmapped: 0 });
        assert_eq!(parsed.warnings.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in "[ -~]{0,200}", cut in 0usize..900) {
            let _ = parse(text.as_bytes());
            let _ = parse(&TEXT.as_bytes()[..cut.min(TEXT.len())]);
        }
    }
}
