//! jemalloc's list of recent sampled allocations (`experimental.prof_recent.alloc_dump`; 5.3 and later).
//!
//! ```text
//! {"sample_interval":4096,"recent_alloc_max":5,"recent_alloc":[{"size":1000,"usize":1024,"released":false,
//!   "alloc_thread_uid":6,"alloc_time":2587369012210,"alloc_trace":["0x7fb5088a2630",...]}]}
//! ```
//!
//! Written by jemalloc `src/prof_recent.c`. It is the only place that has the size asked for; `released` objects are freed,
//! and have `dalloc_time` and `dalloc_trace`.

use crate::input::prof_log::{RawLife, RawLives, addresses};
use crate::input::{ParseError, Parsed};
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Recent {
    recent_alloc: Vec<Allocation>,
}

#[derive(Deserialize)]
struct Allocation {
    size: Option<u64>,
    usize: u64,
    #[serde(default)]
    released: bool,
    alloc_time: u64,
    dalloc_time: Option<u64>,
    #[serde(default)]
    alloc_trace: Vec<String>,
}

/// Whether `text` is a list of recent allocations.
pub fn sniff(text: &[u8]) -> bool {
    let head = &text[..text.len().min(4096)];
    let has = |key: &[u8]| memchr::memmem::find(head, key).is_some();
    text.trim_ascii_start().starts_with(b"{") && has(b"\"sample_interval\"") && has(b"\"recent_alloc\"")
}

/// Reads the list.
pub fn parse(text: &[u8]) -> Result<Parsed<RawLives>, ParseError> {
    let recent: Recent = serde_json::from_slice(text).map_err(|error| {
        ParseError::new(0, format!("this list of recent allocations is broken: {error}"))
            .help("write every piece that the callback of experimental.prof_recent.alloc_dump gets")
    })?;
    let mut lives = RawLives::default();
    let mut known: HashMap<Vec<u64>, u32> = HashMap::new();
    for allocation in recent.recent_alloc {
        let stack = addresses(&allocation.alloc_trace);
        let next = lives.stacks.len() as u32;
        let at = *known.entry(stack.clone()).or_insert(next);
        if at == next {
            lives.stacks.push(stack);
        }
        lives.objects.push(RawLife {
            stack: at,
            usable_size: allocation.usize,
            requested: allocation.size,
            born_ns: allocation.alloc_time,
            freed_ns: allocation.dalloc_time,
            released: allocation.released || allocation.dalloc_time.is_some(),
        });
    }
    Ok(Parsed::clean(lives))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = r#"{"sample_interval":4096,"recent_alloc_max":5,"recent_alloc":[
        {"size":1000,"usize":1024,"released":false,"alloc_thread_uid":6,"alloc_time":50,"alloc_trace":["0x10","0x20"]},
        {"size":90,"usize":96,"released":true,"alloc_thread_uid":6,"alloc_time":20,"alloc_trace":["0x10","0x20"],"dalloc_time":60,"dalloc_trace":[]}]}"#;

    #[test]
    fn live_and_freed_objects() {
        assert_eq!(crate::input::sniff(TEXT.as_bytes()), Some(crate::input::Format::ProfRecent));
        let lives = parse(TEXT.as_bytes()).unwrap().value;
        assert_eq!((lives.stacks.as_slice(), lives.duration_ns), ([vec![0x10, 0x20]].as_slice(), None));
        assert_eq!(
            lives.objects.iter().map(|o| (o.requested, o.released, o.freed_ns)).collect::<Vec<_>>(),
            [(Some(1000), false, None), (Some(90), true, Some(60))]
        );
        assert!(parse(&TEXT.as_bytes()[..90]).is_err());
    }

    proptest! {
        #[test]
        fn any_cut_is_survived(cut in 0usize..500, text in "[ -~]{0,60}") {
            let _ = parse(&TEXT.as_bytes()[..cut.min(TEXT.len())]);
            let _ = parse(TEXT.replace("1000", &text).as_bytes());
        }
    }
}
