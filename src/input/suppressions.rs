//! Suppressions: what is known not to be a leak, or not to be one's own. Three formats, told apart by content.
//!
//! Ours, in `heaptriage.toml`:
//!
//! ```toml
//! [[suppress]]
//! frames = ["app::Memo::remember", "...", "app::serve"]   # innermost first; `...` is any number of frames
//! pattern = "unbounded_map"                               # optional: a detector's word
//! fingerprint = "a41f09c25b7e11d0"                        # optional: of one suspect, or its first eight digits
//! reason = "bounded by the number of tenants"
//! expires = 2027-01-31                                    # optional
//! ```
//!
//! LeakSanitizer (`compiler-rt/lib/lsan`, `LSAN_OPTIONS=suppressions=FILE`): one `leak:SUBSTRING` a line, matched in
//! function, source file and module of any frame.
//!
//! Valgrind (`--suppressions=FILE`, manual section 2.5): blocks in braces with a name, `Memcheck:Leak`, and frames
//! `fun:`, `obj:`, `src:` or `...`, innermost first.

use super::{ParseError, Parsed};
use crate::names;
use crate::origin::{Position, Warning, quote};
use serde::Deserialize;

/// One suppression, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawSuppression {
    /// Line on which it begins, from 1.
    pub line: u64,
    /// Its name, where the format has one.
    pub name: Option<String>,
    /// Frames, innermost first; empty when it does not look at frames.
    pub frames: Vec<RawFrame>,
    /// A detector's word.
    pub pattern: Option<String>,
    /// Fingerprint of a suspect, 8 to 16 hex digits.
    pub fingerprint: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Last day on which it holds.
    pub expires: Option<jiff::civil::Date>,
}

/// One line of a suppression's frames. `*` is any text, `?` any character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawFrame {
    /// `...`: any number of frames, none included.
    Rest,
    /// A function's name.
    Function(String),
    /// A module's path or base name.
    Module(String),
    /// A source file, with `:line` where that was written.
    File(String),
    /// Any of the three, anywhere in the stack, as a substring unless anchored by `^` or `$` (LeakSanitizer).
    Anything(String),
}

/// Fewer digits of a fingerprint could name two suspects.
const LEAST_FINGERPRINT: usize = 8;

/// Known non-leaks of common libraries, shipped with the program in its own format.
pub const KNOWN_NON_LEAKS: &str = include_str!("known_non_leaks.toml");

/// Reads suppressions of any of the three formats.
pub fn parse(bytes: &[u8]) -> Result<Parsed<Vec<RawSuppression>>, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ParseError::new(error.valid_up_to(), "expected text in UTF-8")
            .help("a suppressions file is text: heaptriage.toml, `leak:` lines or a Valgrind .supp file")
    })?;
    let first = lines(text).find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    match first {
        None => Ok(Parsed::clean(Vec::new())),
        Some((_, line)) if line.starts_with('{') => valgrind(text),
        Some((_, line)) if line.starts_with('[') || is_assignment(line) => toml(text),
        Some((_, line)) if line.split_once(':').is_some_and(|(kind, _)| is_word(kind)) => Ok(lsan(text)),
        Some((offset, line)) => {
            Err(ParseError::new(offset, format!("expected `[[suppress]]`, `leak:...` or `{{`, found {}", quote(line.as_bytes())))
                .help("three formats are read: heaptriage.toml, LeakSanitizer's `leak:` lines, Valgrind's .supp blocks"))
        }
    }
}

/// Trimmed lines with the offset of their first byte.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |next, line| {
        let offset = *next + (line.len() - line.trim_start().len());
        *next += line.len();
        Some((offset.min(*next), line.trim()))
    })
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_assignment(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, _)| is_word(key.trim()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    suppress: Vec<toml::Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    frames: Option<Vec<String>>,
    pattern: Option<String>,
    fingerprint: Option<String>,
    reason: Option<String>,
    expires: Option<toml::value::Datetime>,
}

fn toml(text: &str) -> Result<Parsed<Vec<RawSuppression>>, ParseError> {
    let file: File = ::toml::from_str(text).map_err(|error| {
        ParseError::new(error.span().map_or(0, |span| span.start), error.message().trim().to_owned())
            .help("a suppression has frames, pattern or fingerprint, a reason, and optionally name and expires (a date without quotes: expires = 2027-01-31)")
    })?;
    let mut found = Vec::with_capacity(file.suppress.len());
    for entry in file.suppress {
        let offset = entry.span().start;
        found.push(entry_to_raw(text, offset, entry.into_inner())?);
    }
    Ok(Parsed::clean(found))
}

fn entry_to_raw(text: &str, offset: usize, entry: Entry) -> Result<RawSuppression, ParseError> {
    let bad = |message: String, help: &str| Err(ParseError::new(offset, message).help(help));
    let frames: Vec<RawFrame> = entry.frames.unwrap_or_default().iter().map(|frame| frame_of(frame)).collect();
    if frames.is_empty() && entry.pattern.is_none() && entry.fingerprint.is_none() {
        return bad("a suppression needs frames, pattern or fingerprint".into(), "without one of them it would silence everything");
    }
    if !frames.is_empty()
        && frames.iter().all(|frame| matches!(frame, RawFrame::Rest) || matches!(frame, RawFrame::Function(f) if f == "*"))
    {
        return bad("these frames match every stack".into(), "name at least one function");
    }
    if entry.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
        return bad("a suppression needs a reason".into(), "write why this is not a leak, or who knows of it: the report shows it");
    }
    if let Some(digits) = &entry.fingerprint
        && !((LEAST_FINGERPRINT..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return bad(format!("expected 8 to 16 hex digits as fingerprint, found {}", quote(digits.as_bytes())), "copy it from the report");
    }
    let expires = match &entry.expires {
        None => None,
        Some(moment) => {
            match moment.date.and_then(|date| jiff::civil::Date::new(i16::try_from(date.year).ok()?, date.month as i8, date.day as i8).ok())
            {
                Some(date) => Some(date),
                None => return bad(format!("expected a date as expires, found {moment}"), "write it as 2027-01-31, without quotes"),
            }
        }
    };
    Ok(RawSuppression {
        line: Position::of(text.as_bytes(), offset).line,
        name: entry.name,
        frames,
        pattern: entry.pattern,
        fingerprint: entry.fingerprint.map(|digits| digits.to_ascii_lowercase()),
        reason: entry.reason,
        expires,
    })
}

/// A frame of our own format: `...`, `obj:MODULE`, `src:FILE`, else a function (with or without `fun:`).
fn frame_of(text: &str) -> RawFrame {
    let text = text.trim();
    if text == "..." {
        RawFrame::Rest
    } else if let Some(module) = text.strip_prefix("obj:") {
        RawFrame::Module(module.into())
    } else if let Some(file) = text.strip_prefix("src:") {
        RawFrame::File(file.into())
    } else {
        RawFrame::Function(text.strip_prefix("fun:").unwrap_or(text).into())
    }
}

fn lsan(text: &str) -> Parsed<Vec<RawSuppression>> {
    let mut parsed = Parsed::clean(Vec::new());
    for (number, (offset, line)) in lines(text).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some(("leak", what)) if !what.trim().trim_matches('*').is_empty() => parsed.value.push(RawSuppression {
                line: number as u64 + 1,
                frames: vec![RawFrame::Anything(what.trim().into())],
                ..RawSuppression::default()
            }),
            Some(("leak", _)) => parsed.warnings.push(Warning::at(offset, "`leak:` without a name would match every stack: ignored")),
            Some((kind, _)) if is_word(kind) => {
                parsed.warnings.push(Warning::at(offset, format!("{} is not about leaks: ignored", quote(format!("{kind}:").as_bytes()))));
            }
            _ => parsed.warnings.push(Warning::at(offset, format!("expected `leak:...`, found {}: ignored", quote(line.as_bytes())))),
        }
    }
    parsed
}

fn valgrind(text: &str) -> Result<Parsed<Vec<RawSuppression>>, ParseError> {
    let mut parsed = Parsed::clean(Vec::new());
    let mut rows = lines(text).enumerate().filter(|(_, (_, line))| !line.is_empty() && !line.starts_with('#'));
    let mut others = 0usize;
    while let Some((number, (offset, line))) = rows.next() {
        if line != "{" {
            return Err(ParseError::new(offset, format!("expected `{{` where a suppression begins, found {}", quote(line.as_bytes()))));
        }
        let mut body = Vec::new();
        loop {
            match rows.next() {
                Some((_, (_, "}"))) => break,
                Some((_, row)) => body.push(row),
                None => {
                    return Err(ParseError::new(offset, "expected `}` after this `{`")
                        .help("the file may be cut: every block ends with a brace on a line of its own"));
                }
            }
        }
        let (Some((_, name)), Some((_, kind))) = (body.first(), body.get(1)) else {
            return Err(ParseError::new(offset, "expected a name and a kind (`Memcheck:Leak`) in this block"));
        };
        if kind.split_once(':').is_none_or(|(_, kind)| kind != "Leak") {
            others += 1;
            continue;
        }
        let mut frames = Vec::new();
        for (offset, line) in &body[2..] {
            match valgrind_frame(line) {
                Some(Ok(frame)) => frames.push(frame),
                Some(Err(message)) => parsed.warnings.push(Warning::at(*offset, message)),
                None => {} // match-leak-kinds and other extra lines
            }
        }
        // The allocation function itself: our stacks hold the allocator's inner frames there.
        while matches!(frames.first(), Some(RawFrame::Function(name)) if is_allocation(name)) {
            frames.remove(0);
        }
        if frames.iter().all(|frame| *frame == RawFrame::Rest) {
            parsed.warnings.push(Warning::at(offset, format!("the block {} would match every stack: ignored", quote(name.as_bytes()))));
            continue;
        }
        parsed.value.push(RawSuppression { line: number as u64 + 1, name: Some((*name).into()), frames, ..RawSuppression::default() });
    }
    if others > 0 {
        parsed.warnings.push(Warning::whole(format!("{others} blocks are not of kind Leak: ignored")));
    }
    Ok(parsed)
}

/// A frame line; `None` for lines that are none.
fn valgrind_frame(line: &str) -> Option<Result<RawFrame, String>> {
    if line == "..." {
        return Some(Ok(RawFrame::Rest));
    }
    match line.split_once(':')? {
        ("fun", name) => Some(demangled(name).map(RawFrame::Function)),
        ("obj", module) => Some(Ok(RawFrame::Module(module.into()))),
        ("src", file) => Some(Ok(RawFrame::File(file.into()))),
        _ => None,
    }
}

/// Valgrind matches linkage names unless told otherwise; reports have demangled ones.
fn demangled(name: &str) -> Result<String, String> {
    if !(name.starts_with("_Z") || name.starts_with("_R")) {
        return Ok(name.to_owned());
    }
    let (stem, open) = match name.strip_suffix('*') {
        Some(stem) => (stem, "*"),
        None => (name, ""),
    };
    // A nested name that was cut at a component lacks nothing but its end mark.
    let text = if stem.contains(['*', '?']) { None } else { names::demangled(stem).or_else(|| names::demangled(&format!("{stem}E"))) };
    text.map(|text| format!("{text}{open}")).ok_or_else(|| {
        format!(
            "{} is a mangled name with wildcards, which cannot be compared with demangled ones: the frame is left out; write it demangled",
            quote(name.as_bytes())
        )
    })
}

fn is_allocation(name: &str) -> bool {
    const NAMES: [&str; 10] =
        ["malloc", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc", "valloc", "reallocarray", "*alloc", "operator new"];
    NAMES.contains(&name)
        || name.starts_with("operator new")
        || name.starts_with("__rust_")
        || name.starts_with("_Znw")
        || name.starts_with("_Zna")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(names: &[&str]) -> Vec<RawFrame> {
        names.iter().map(|name| frame_of(name)).collect()
    }

    #[track_caller]
    fn read(text: &str) -> Parsed<Vec<RawSuppression>> {
        parse(text.as_bytes()).expect("suppressions")
    }

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        let error = parse(text.as_bytes()).expect_err("refused");
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(error.offset <= text.len());
    }

    #[test]
    fn our_own_format() {
        let parsed = read(
            "# known\n[[suppress]]\nframes = [\"app::Memo::remember\", \"...\", \"obj:libfoo.so*\", \"src:*/serve.rs\"]\npattern = \"unbounded_map\"\nfingerprint = \"A41F09C2\"\nreason = \"bounded\"\nexpires = 2027-01-31\n",
        );
        assert_eq!(parsed.warnings, []);
        let [one] = parsed.value.as_slice() else { panic!("{parsed:?}") };
        assert_eq!(
            one.frames,
            [
                RawFrame::Function("app::Memo::remember".into()),
                RawFrame::Rest,
                RawFrame::Module("libfoo.so*".into()),
                RawFrame::File("*/serve.rs".into())
            ]
        );
        assert_eq!((one.line, one.fingerprint.as_deref()), (2, Some("a41f09c2")));
        assert_eq!(one.expires, Some(jiff::civil::date(2027, 1, 31)));
    }

    #[test]
    fn refusals_say_what_is_missing() {
        refuse("[[suppress]]\nreason = \"x\"\n", "needs frames, pattern or fingerprint");
        refuse("[[suppress]]\nframes = [\"f\"]\n", "needs a reason");
        refuse("[[suppress]]\nframes = [\"...\", \"*\"]\nreason = \"x\"\n", "match every stack");
        refuse("[[suppress]]\nfingerprint = \"a41\"\nreason = \"x\"\n", "8 to 16 hex digits");
        refuse("[[suppress]]\nframes = [\"f\"]\nreason = \"x\"\nexpires = 12:00:00\n", "expected a date");
        refuse("[[suppress]]\nframe = [\"f\"]\n", "unknown field `frame`");
        refuse("[[suppress]\n", "");
        refuse("hello\n", "expected `[[suppress]]`");
        refuse("{\n name\n Memcheck:Leak\n", "expected `}`");
        refuse("{\n}\n", "expected a name and a kind");
        assert!(parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(read("").value, []);
        assert_eq!(read("# only a comment\n\n").value, []);
    }

    #[test]
    fn leak_sanitizer() {
        let parsed = read("# LSan\nleak:libfontconfig.so\nleak:^app::cache*$\nleak:\nrace:foo\n");
        assert_eq!(parsed.value.len(), 2);
        assert_eq!(parsed.value[1].frames, [RawFrame::Anything("^app::cache*$".into())]);
        assert_eq!(parsed.value[1].line, 3);
        assert_eq!(parsed.warnings.len(), 2);
    }

    #[test]
    fn valgrind_blocks() {
        let parsed = read(
            "# made by --gen-suppressions=all\n{\n   <font cache>\n   Memcheck:Leak\n   match-leak-kinds: definite\n   fun:malloc\n   fun:FcPatternObject*\n   ...\n   obj:/usr/lib/libfontconfig.so.1*\n}\n{\n   other\n   Memcheck:Cond\n   fun:foo\n}\n",
        );
        let [one] = parsed.value.as_slice() else { panic!("{parsed:?}") };
        assert_eq!(one.name.as_deref(), Some("<font cache>"));
        assert_eq!(one.line, 2);
        assert_eq!(one.frames, functions(&["FcPatternObject*", "...", "obj:/usr/lib/libfontconfig.so.1*"]));
        assert_eq!(parsed.warnings[0].message, "1 blocks are not of kind Leak: ignored");
    }

    #[test]
    fn mangled_names_are_demangled() {
        assert_eq!(demangled("_ZN3app4Memo8remember17h0123456789abcdefE"), Ok("app::Memo::remember".into()));
        assert_eq!(demangled("_ZN3app4Memo8rememberE*"), Ok("app::Memo::remember*".into()));
        assert_eq!(demangled("_ZN3app4Memo8remember*"), Ok("app::Memo::remember*".into()));
        assert!(demangled("_ZN3app*8remember*").is_err());
        assert_eq!(demangled("tok_scan"), Ok("tok_scan".into()));
    }

    #[test]
    fn the_shipped_list_is_sound() {
        let parsed = read(KNOWN_NON_LEAKS);
        assert!(parsed.value.len() >= 10);
        assert_eq!(parsed.warnings, []);
        let mut names: Vec<&str> = parsed.value.iter().map(|one| one.name.as_deref().expect("a name")).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), parsed.value.len(), "names are unique");
        assert!(parsed.value.iter().all(|one| one.expires.is_none() && !one.frames.is_empty()));
    }
}

#[cfg(test)]
mod properties {
    use super::parse;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = parse(&bytes) {
                prop_assert!(error.offset <= bytes.len());
            }
        }

        #[test]
        fn any_lines_are_read_or_refused(text in "([{}#. a-z:*\\[\\]=\"_Z0-9]{0,20}\n){0,8}") {
            match parse(text.as_bytes()) {
                Ok(parsed) => prop_assert!(parsed.warnings.iter().all(|w| w.offset.is_none_or(|o| o <= text.len()))),
                Err(error) => prop_assert!(error.offset <= text.len()),
            }
        }
    }
}
