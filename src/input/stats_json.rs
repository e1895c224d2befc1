//! `malloc_stats_print` with the option `J`: jemalloc's statistics as JSON.
//!
//! ```text
//! <jemalloc>: Leak approximation summary: ...
//! {"jemalloc":{"version":"5.3.0-0-g54eaed...","config":{...},"opt":{...},"arenas":{...},
//!  "stats":{"allocated":1942528,...},"stats.arenas":{"merged":{...},"0":{...}}}}
//! ```
//!
//! Written by jemalloc `src/stats.c` since 4.3; with tabs up to 5.2.1, on one line since 5.3.0. It goes
//! to standard error among other text, repeats keys (5.3.0: `opt.stats_print`, `nactive_huge`) and may
//! be cut: a tree of values is read, the last of equal keys wins, and what a cut leaves open is closed.
//! What the keys mean in which version is `model::ingest`'s.

use crate::input::{ParseError, Parsed};
use crate::origin::Warning;
use serde_json::Value;

/// One print of the statistics, in the shape of the JSON form whichever form it had.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The object behind the key `jemalloc`.
    pub root: Value,
    /// Where it starts in the input.
    pub offset: usize,
    /// The input ends before the statistics do.
    pub truncated: bool,
}

/// Deeper than any statistics; serde_json itself refuses at 128.
const MOST_DEPTH: usize = 128;

/// Whether statistics as JSON stand anywhere in `text`.
pub fn sniff(text: &[u8]) -> bool {
    locate(text, 0).is_some() || is_bare(text)
}

/// The object alone, as `jq .jemalloc` leaves it.
fn is_bare(text: &[u8]) -> bool {
    let head = &text[..text.len().min(256 << 10)];
    let object = text.trim_ascii_start().starts_with(b"{");
    object && find(head, b"\"stats\"").is_some() && find(head, b"\"arenas\"").is_some() && find(head, b"\"opt\"").is_some()
}

/// All prints in `text` (a log of a process with `stats_interval` holds many).
pub fn parse(text: &[u8]) -> Result<Parsed<Vec<Statistics>>, ParseError> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    let mut at = 0;
    while let Some(start) = locate(text, at) {
        let (value, end, trouble) = read(text, start);
        at = end.max(start + 1);
        if let Some(message) = &trouble {
            warnings.push(Warning::at(end.min(text.len()), message.clone()));
        }
        if let Some(Value::Object(mut object)) = value
            && let Some(root @ Value::Object(_)) = object.remove("jemalloc")
        {
            found.push(Statistics { root, offset: start, truncated: trouble.is_some() });
        }
    }
    if found.is_empty() && is_bare(text) {
        let start = text.len() - text.trim_ascii_start().len();
        if let (Some(root @ Value::Object(_)), end, trouble) = read(text, start) {
            warnings.extend(trouble.as_ref().map(|message| Warning::at(end.min(text.len()), message.clone())));
            found.push(Statistics { root, offset: start, truncated: trouble.is_some() });
        }
    }
    if found.is_empty() {
        return Err(ParseError::new(0, "expected jemalloc statistics (`{\"jemalloc\":{...}}`), found none that can be read")
            .help("write them with malloc_stats_print and the option `J`, or set `stats_print:true,stats_print_opts:J`"));
    }
    Ok(Parsed { value: found, warnings })
}

/// The value at `start`, where it ends, and what was wrong with it.
fn read(text: &[u8], start: usize) -> (Option<Value>, usize, Option<String>) {
    let rest = &text[start..];
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
    let error = match values.next() {
        Some(Ok(value)) => return (Some(value), start + values.byte_offset(), None),
        Some(Err(error)) => error,
        None => return (None, text.len(), Some("the statistics are empty".into())),
    };
    let bad = if error.is_eof() { rest.len() } else { offset_of(rest, error.line(), error.column()) };
    let message = if error.is_eof() {
        "the statistics end before their end: what is there is used".to_owned()
    } else {
        "the statistics are broken here (other output in between?): what stands before is used".to_owned()
    };
    (close(&rest[..bad]), start + bad, Some(message))
}

/// Line and column of serde_json, both from 1, to a byte offset.
fn offset_of(text: &[u8], line: usize, column: usize) -> usize {
    let before = match line.checked_sub(2) {
        None => 0,
        Some(nth) => memchr::memchr_iter(b'\n', text).nth(nth).map_or(text.len(), |newline| newline + 1),
    };
    (before + column.saturating_sub(1)).min(text.len())
}

/// The longest sound beginning of a cut JSON text, with its brackets closed.
fn close(text: &[u8]) -> Option<Value> {
    let mut open: Vec<u8> = Vec::new();
    let mut sound = 0;
    let (mut in_string, mut escaped) = (false, false);
    for (i, &byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                open.push(if byte == b'{' { b'}' } else { b']' });
                if open.len() > MOST_DEPTH {
                    return None;
                }
                sound = i + 1;
            }
            b'}' | b']' => {
                open.pop();
                sound = i + 1;
            }
            b',' => sound = i,
            _ => {}
        }
    }
    let mut whole = text[..sound].to_vec();
    whole.extend(open.iter().rev());
    serde_json::from_slice(&whole).ok()
}

/// The next `{"jemalloc":`, whatever blanks stand in it.
fn locate(text: &[u8], from: usize) -> Option<usize> {
    const KEY: &[u8] = b"\"jemalloc\"";
    let rest = text.get(from..)?;
    memchr::memmem::find_iter(rest, KEY).find_map(|key| {
        let before = rest[..key].trim_ascii_end();
        let after = rest[key + KEY.len()..].trim_ascii_start();
        (before.ends_with(b"{") && after.starts_with(b":")).then(|| from + before.len() - 1)
    })
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn allocated(text: &str, expected: Option<u64>, truncated: bool) {
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.value[0].root["stats"]["allocated"].as_u64(), expected);
        assert_eq!((parsed.value[0].truncated, !parsed.warnings.is_empty()), (truncated, truncated));
    }

    #[test]
    fn either_layout_after_other_text() {
        allocated(r#"{"jemalloc":{"stats":{"allocated":7}}}"#, Some(7), false);
        allocated("log: x\n{\n\t\"jemalloc\": {\n\t\t\"stats\": {\n\t\t\t\"allocated\": 7\n\t\t}\n\t}\n}\nbye", Some(7), false);
        allocated(r#"{"stats":{"allocated":7},"opt":{},"arenas":{}}"#, Some(7), false);
    }

    #[test]
    fn the_last_of_equal_keys_wins() {
        allocated(r#"{"jemalloc":{"stats":{"allocated":1,"allocated":7}}}"#, Some(7), false);
    }

    #[test]
    fn what_a_cut_leaves_is_used() {
        allocated(r#"{"jemalloc":{"stats":{"allocated":7,"active":12"#, Some(7), true);
        allocated(r#"{"jemalloc":{"stats":{"allocated":7},"x":[1,{"y"#, Some(7), true);
        allocated(r#"{"jemalloc":{"stats":{"alloc"#, None, true);
        allocated("{\"jemalloc\":{\"stats\":{\"allocated\":7,\nTHREAD PANIC\n\"active\":9}}}", Some(7), true);
    }

    #[test]
    fn a_log_may_hold_many() {
        let one = r#"{"jemalloc":{"stats":{"allocated":7}}}"#;
        assert_eq!(parse(format!("{one}\n{one}\n{one}").as_bytes()).unwrap().value.len(), 3);
        assert!(parse(b"{}").is_err());
        assert!(!sniff(br#"{"jemalloc_version":"5.3.0"}"#));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }

        #[test]
        fn any_cut_is_survived(cut in 0usize..120, byte in any::<u8>(), at in 0usize..120) {
            let mut text = br#"{"jemalloc":{"version":"5.3.0","stats":{"allocated":7,"a":[1,2,{"b":"c\"d"}]},"stats.arenas":{"merged":{"pdirty":1}}}}"#.to_vec();
            let end = text.len();
            text[at.min(end - 1)] = byte;
            text.truncate(cut);
            if let Ok(parsed) = parse(&text) {
                prop_assert!(parsed.value.iter().all(|s| s.offset < text.len()));
            }
        }
    }
}
