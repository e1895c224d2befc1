//! `capture.json`: what is known of a capture as a whole. Everything in it is optional.
//!
//! ```text
//! {"pid": 10285, "exe": "indexer", "page_size": 4096, "start_unix_ms": 1795219498000,
//!  "jemalloc_version": "5.3.0-1-g...", "malloc_conf": "prof:true", "counters": {"requests": "cumulative"},
//!  "modules": [{"path": "/srv/bin/indexer", "build_id": "5c1e..."}]}
//! ```
//!
//! Written by `heaptriage record`, or by hand. Unknown keys are passed over; a value of the wrong type is
//! said and left out. Opens nothing: `capture` decides what a path in here may name.

use crate::input::{ParseError, Parsed};
use crate::origin::{Warning, quote};
use serde_json::{Map, Value};

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys of the file")]
pub struct About {
    pub pid: Option<u64>,
    pub exe: Option<String>,
    pub cmdline: Option<String>,
    pub start_unix_ms: Option<i64>,
    pub page_size: Option<u64>,
    pub kernel: Option<String>,
    pub jemalloc_version: Option<String>,
    pub malloc_conf: Option<String>,
    /// The environment variable that its jemalloc reads.
    pub malloc_conf_variable: Option<String>,
    /// (path, build-id in hex).
    pub modules: Vec<(String, Option<String>)>,
    /// (name, `cumulative` or `gauge`).
    pub counters: Vec<(String, String)>,
    /// Stems of the dumps that were written as the process ended.
    pub exit_dumps: Vec<String>,
    /// `bin`: where the executable is.
    pub bin: Option<String>,
}

/// Keys of which at least one makes an object a capture.json.
const KEYS: [&str; 8] = ["pid", "exe", "cmdline", "start_unix_ms", "page_size", "jemalloc_version", "malloc_conf", "modules"];

/// Whether `text` is an object with one of the keys.
pub fn sniff(text: &[u8]) -> bool {
    let head = &text[..text.len().min(16 << 10)];
    head.trim_ascii_start().starts_with(b"{")
        && (KEYS.iter().any(|key| memchr::memmem::find(head, format!("\"{key}\"").as_bytes()).is_some()) || has_counters(head))
        && !["\"jemalloc\"", "\"recent_alloc\"", "\"stack_traces\"", "\"resultType\""]
            .iter()
            .any(|key| memchr::memmem::find(head, key.as_bytes()).is_some())
}

/// Kinds of counters: an object. Those of a Firefox profile are a list.
fn has_counters(head: &[u8]) -> bool {
    const KEY: &[u8] = b"\"counters\"";
    let Some(at) = memchr::memmem::find(head, KEY) else { return false };
    head[at + KEY.len()..].trim_ascii_start().strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"{"))
}

/// Reads the file.
pub fn parse(text: &[u8]) -> Result<Parsed<About>, ParseError> {
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        let lines_before = error.line().saturating_sub(1);
        let start = match lines_before {
            0 => 0,
            n => memchr::memchr_iter(b'\n', text).nth(n - 1).map_or(text.len(), |newline| newline + 1),
        };
        ParseError::new((start + error.column().saturating_sub(1)).min(text.len()), format!("expected JSON: {error}"))
    })?;
    let Value::Object(object) = value else { return Err(ParseError::new(0, "expected a JSON object (`{...}`)")) };
    let mut keys = Keys { object: &object, warnings: Vec::new() };
    let about = About {
        pid: keys.unsigned("pid"),
        exe: keys.text("exe"),
        cmdline: keys.words("cmdline"),
        start_unix_ms: keys.signed("start_unix_ms"),
        page_size: keys.unsigned("page_size"),
        kernel: keys.text("kernel"),
        jemalloc_version: keys.text("jemalloc_version"),
        malloc_conf: keys.text("malloc_conf"),
        malloc_conf_variable: keys.variable("malloc_conf_variable"),
        bin: keys.text("bin"),
        modules: keys.modules(),
        counters: keys.counters(),
        exit_dumps: keys.stems(),
    };
    Ok(Parsed { value: about, warnings: keys.warnings })
}

struct Keys<'a> {
    object: &'a Map<String, Value>,
    warnings: Vec<Warning>,
}

impl Keys<'_> {
    fn take<T>(&mut self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.object.get(key).filter(|value| !value.is_null())?;
        let taken = read(value);
        if taken.is_none() {
            self.warnings
                .push(Warning::whole(format!("`{key}` is not {expected}: left out, found {}", quote(value.to_string().as_bytes()))));
        }
        taken
    }

    fn unsigned(&mut self, key: &str) -> Option<u64> {
        self.take(key, "a number", |value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
    }

    fn signed(&mut self, key: &str) -> Option<i64> {
        self.take(key, "a number", |value| value.as_i64().or_else(|| Some(value.as_f64()? as i64)).or_else(|| value.as_str()?.parse().ok()))
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, "text", |value| value.as_str().map(str::to_owned))
    }

    /// The name of an environment variable: people paste it into a shell.
    fn variable(&mut self, key: &str) -> Option<String> {
        let legal = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.take(key, "the name of a variable", |value| value.as_str().filter(|name| legal(name)).map(str::to_owned))
    }

    /// Text, or a list of texts as in `/proc/PID/cmdline`.
    fn words(&mut self, key: &str) -> Option<String> {
        self.take(key, "text", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(words) => Some(words.iter().map(|word| word.as_str()).collect::<Option<Vec<_>>>()?.join(" ")),
            _ => None,
        })
    }

    fn modules(&mut self) -> Vec<(String, Option<String>)> {
        let read = |value: &Value| {
            let text = |module: &Value, key: &str| module.get(key)?.as_str().map(str::to_owned);
            value.as_array().map(|list| list.iter().filter_map(|module| Some((text(module, "path")?, text(module, "build_id")))).collect())
        };
        self.take("modules", "a list of {path, build_id}", read).unwrap_or_default()
    }

    fn stems(&mut self) -> Vec<String> {
        let read = |value: &Value| value.as_array()?.iter().map(|stem| Some(stem.as_str()?.to_owned())).collect();
        self.take("exit_dumps", "a list of names", read).unwrap_or_default()
    }

    fn counters(&mut self) -> Vec<(String, String)> {
        let read = |value: &Value| {
            value
                .as_object()
                .map(|object| object.iter().filter_map(|(name, kind)| Some((name.clone(), kind.as_str()?.to_owned()))).collect())
        };
        self.take("counters", "an object of `cumulative` or `gauge`", read).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_there_is_taken() {
        let text =
            br#"{"pid": 7, "exe": "indexer", "cmdline": ["a", "b"], "modules": [{"path": "/x", "build_id": "ab"}, {"path": "/y"}, 3],
            "counters": {"requests": "cumulative"}, "page_size": "4096", "kernel": 6, "future": {},
            "exit_dumps": ["1763650000123"]}"#;
        let parsed = parse(text).unwrap();
        let about = parsed.value;
        assert_eq!((about.pid, about.page_size, about.cmdline.as_deref()), (Some(7), Some(4096), Some("a b")));
        assert_eq!(about.modules, [("/x".to_owned(), Some("ab".to_owned())), ("/y".to_owned(), None)]);
        assert_eq!(about.counters, [("requests".to_owned(), "cumulative".to_owned())]);
        assert_eq!((about.kernel, about.exit_dumps), (None, vec!["1763650000123".to_owned()]));
        assert_eq!(parsed.warnings.len(), 1);
        assert!(sniff(text));
        assert!(sniff(br#"{ "counters" : {"queue": "gauge"} }"#) && !sniff(br#"{"counters": [], "threads": []}"#));
        assert_eq!(parse(b"{\n\"pid\": x}").unwrap_err().position(b"{\n\"pid\": x}").line, 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = sniff(&text);
            if let Err(error) = parse(&text) {
                prop_assert!(error.offset <= text.len());
            }
        }
    }
}
