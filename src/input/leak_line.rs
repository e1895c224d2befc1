//! What jemalloc prints at exit with `prof_leak:true,prof_final:true`: a trigger, not a profile.
//!
//! ```text
//! <jemalloc>: Leak approximation summary: ~1423265 bytes, ~22 objects, >= 5 contexts
//! <jemalloc>: Run jeprof on "jeprof.1163.0.f.heap" for leak detail
//! ```
//!
//! Written by jemalloc `src/prof_data.c` since 4.2; up to 4.1 `Leak summary:` with raw samples. It scales one total with one
//! average size, which for mixed sizes is far off (formats differ by version; the dump beside it does not have that fault),
//! and what is live at exit is not leaked.

use crate::input::{ParseError, Parsed};

/// The line's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakLine {
    /// Live bytes, as scaled by jemalloc (raw samples up to 4.1).
    pub bytes: u64,
    /// Live objects, likewise.
    pub objects: u64,
    /// Stacks; at least.
    pub contexts: u64,
    /// Up to 4.1 the figures are sums over samples.
    pub raw: bool,
    /// The dump it names (up to 5.2.1).
    pub dump: Option<String>,
    /// Where it stands in the input.
    pub offset: usize,
}

const MARKS: [(&[u8], bool); 2] = [(b"Leak approximation summary: ", false), (b"Leak summary: ", true)];
const RUN: &[u8] = b"Run jeprof on \"";

/// Whether the line stands anywhere in `text`.
pub fn sniff(text: &[u8]) -> bool {
    find(text).is_some()
}

/// The last such line of `text`, a log.
pub fn parse(text: &[u8]) -> Result<Parsed<LeakLine>, ParseError> {
    find(text).map(Parsed::clean).ok_or_else(|| ParseError::new(0, "expected `<jemalloc>: Leak approximation summary: ...`"))
}

fn find(text: &[u8]) -> Option<LeakLine> {
    let mut at = text.len();
    // The last one is of the process itself; children that inherited its standard error end before it.
    while let Some(start) = memchr::memmem::rfind(&text[..at], b"<jemalloc>: Leak ") {
        if let Some(found) = read(text, start) {
            return Some(found);
        }
        at = start;
    }
    None
}

fn read(text: &[u8], start: usize) -> Option<LeakLine> {
    let rest = &text[start + b"<jemalloc>: ".len()..];
    let (mark, raw) = MARKS.into_iter().find(|(mark, _)| rest.starts_with(mark))?;
    let line = rest[mark.len()..].split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut numbers = line.split(',').map(|part| part.trim().trim_start_matches(['~', '>', '=', ' ']));
    let mut number = |unit: &str| numbers.next()?.strip_suffix(unit)?.strip_suffix(' ')?.parse::<u64>().ok();
    let plural = |text: &str, one: &str| if text.contains(&format!(" {one}s")) { format!("{one}s") } else { one.to_owned() };
    let (bytes, objects, contexts) =
        (number(&plural(line, "byte"))?, number(&plural(line, "object"))?, number(&plural(line.trim_end(), "context"))?);
    let after = &rest[..rest.len().min(8192)];
    let dump = memchr::memmem::find(after, RUN).and_then(|at| {
        let name = &after[at + RUN.len()..];
        Some(String::from_utf8_lossy(&name[..memchr::memchr2(b'"', b'\n', name)?]).into_owned())
    });
    Some(LeakLine { bytes, objects, contexts, raw, dump, offset: start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_both_kinds() {
        let new = b"server: bye\n<jemalloc>: Leak approximation summary: ~1423265 bytes, ~22 objects, >= 5 contexts\n<jemalloc>: Run jeprof on dump output for leak detail\n";
        let line = parse(new).unwrap().value;
        assert_eq!((line.bytes, line.objects, line.contexts, line.raw, line.dump, line.offset), (1_423_265, 22, 5, false, None, 12));
        let old = b"<jemalloc>: Leak summary: 1213568 bytes, 28 objects, 4 contexts\n<jemalloc>: Run jeprof on \"jeprof.7.0.f.heap\" for leak detail\n";
        let line = parse(old).unwrap().value;
        assert_eq!((line.bytes, line.raw, line.dump.as_deref()), (1_213_568, true, Some("jeprof.7.0.f.heap")));
        let one = b"<jemalloc>: Leak approximation summary: ~1 byte, ~1 object, >= 1 context\n";
        assert_eq!(parse(one).unwrap().value.objects, 1);
    }

    #[test]
    fn the_last_whole_line_counts() {
        let two = b"<jemalloc>: Leak approximation summary: ~5 bytes, ~2 objects, >= 2 contexts\n<jemalloc>: Leak approximation summ";
        assert_eq!(parse(two).unwrap().value.bytes, 5);
        assert!(!sniff(b"Leak approximation summary: none") && parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ -~\n]{0,80}") {
            let line = format!("<jemalloc>: Leak approximation summary: ~{text}");
            let _ = parse(line.as_bytes());
        }
    }
}
