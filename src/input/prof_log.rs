//! jemalloc's allocation log (`prof.log_start`, `prof.log_stop`; 5.2 and later): sampled objects that were freed while it ran.
//!
//! ```text
//! {"info":{"duration":515999983,"version":"5.3.0-0-g54eaed...","lg_sample_rate":12,"pid":1163},
//!  "threads":[{"thr_uid":0,"thr_name":""}],"stack_traces":[["0x7fb5088a2630",...]],
//!  "allocations":[{"alloc_thread":0,"free_thread":0,"alloc_trace":0,"free_trace":1,
//!                  "alloc_timestamp":2587369012210,"free_timestamp":2587369012210,"usize":5120}]}
//! ```
//!
//! Written by jemalloc `src/prof_log.c`; pretty-printed up to 5.2.1. Times are nanoseconds of one clock, as fine as
//! `prof_time_resolution`. Objects that outlive the log are not in it.

use crate::input::{ParseError, Parsed};
use crate::origin::Warning;
use serde::Deserialize;

/// Sampled objects with the times of their lives; also what [`super::prof_recent`] reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawLives {
    /// The process, where the input says it.
    pub pid: Option<u64>,
    /// How long the log ran, nanoseconds; `None` for a list of recent allocations.
    pub duration_ns: Option<u64>,
    /// Distinct stacks, innermost first.
    pub stacks: Vec<Vec<u64>>,
    /// The objects.
    pub objects: Vec<RawLife>,
}

/// One sampled object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLife {
    /// Index into [`RawLives::stacks`]: where it was allocated.
    pub stack: u32,
    /// Bytes handed out.
    pub usable_size: u64,
    /// Bytes asked for, where recorded.
    pub requested: Option<u64>,
    /// When it was allocated, ns.
    pub born_ns: u64,
    /// When it was freed, ns.
    pub freed_ns: Option<u64>,
    /// It is freed.
    pub released: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Log {
    info: Info,
    stack_traces: Vec<Vec<String>>,
    allocations: Vec<Allocation>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Info {
    duration: Option<u64>,
    pid: Option<u64>,
}

#[derive(Deserialize)]
struct Allocation {
    alloc_trace: u32,
    alloc_timestamp: u64,
    free_timestamp: u64,
    usize: u64,
}

/// Whether `text` is an allocation log.
pub fn sniff(text: &[u8]) -> bool {
    let head = &text[..text.len().min(4096)];
    let has = |text: &[u8], key: &[u8]| memchr::memmem::find(text, key).is_some();
    text.trim_ascii_start().starts_with(b"{")
        && has(head, b"\"info\"")
        && has(head, b"\"lg_sample_rate\"")
        && has(text, b"\"stack_traces\"")
}

/// Reads the log; one that was cut is read as far as it goes.
pub fn parse(text: &[u8]) -> Result<Parsed<RawLives>, ParseError> {
    let mut warnings = Vec::new();
    let log: Log = match serde_json::from_slice(text) {
        Ok(log) => log,
        Err(error) => {
            // Cut in the list of allocations, which is last: the whole ones are closed.
            let closed = memchr::memrchr(b'}', text).map(|end| [&text[..=end], b"]}"].concat());
            let log = closed.filter(|_| error.is_eof()).and_then(|closed| serde_json::from_slice(&closed).ok());
            let Some(log) = log else {
                return Err(ParseError::new(0, format!("this allocation log of jemalloc is broken: {error}"))
                    .help("write it anew: prof.log_start, and prof.log_stop before the process ends"));
            };
            warnings.push(Warning::at(text.len(), "the log ends before its end: the objects that are whole are used"));
            log
        }
    };
    let stacks: Vec<Vec<u64>> = log.stack_traces.iter().map(|stack| addresses(stack)).collect();
    let all = log.allocations.len();
    let known = log.allocations.into_iter().filter(|a| (a.alloc_trace as usize) < stacks.len());
    let objects: Vec<RawLife> = known
        .map(|a| RawLife {
            stack: a.alloc_trace,
            usable_size: a.usize,
            requested: None,
            born_ns: a.alloc_timestamp,
            freed_ns: Some(a.free_timestamp),
            released: true,
        })
        .collect();
    if objects.len() < all {
        warnings.push(Warning::whole(format!("{} objects name a stack that the log does not have: left out", all - objects.len())));
    }
    Ok(Parsed { value: RawLives { pid: log.info.pid, duration_ns: log.info.duration, stacks, objects }, warnings })
}

/// `["0x7fb5088a2630", ...]`; what is no address ends the stack.
pub(super) fn addresses(stack: &[String]) -> Vec<u64> {
    stack.iter().map_while(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = r#"{"info":{"duration":5000,"version":"5.3.0","lg_sample_rate":12,"pid":7},"threads":[],"stack_traces":[["0x10","0x2f"],["0x30"]],
        "allocations":[{"alloc_thread":0,"free_thread":0,"alloc_trace":0,"free_trace":1,"alloc_timestamp":100,"free_timestamp":400,"usize":64},
        {"alloc_trace":9,"alloc_timestamp":1,"free_timestamp":2,"usize":8},
        {"alloc_trace":1,"alloc_timestamp":200,"free_timestamp":200,"usize":128}]}"#;

    #[test]
    fn objects_with_their_stacks_and_times() {
        assert!(sniff(TEXT.as_bytes()) && crate::input::sniff(TEXT.as_bytes()) == Some(crate::input::Format::ProfLog));
        let parsed = parse(TEXT.as_bytes()).unwrap();
        let lives = parsed.value;
        assert_eq!(
            (lives.pid, lives.duration_ns, lives.stacks.as_slice()),
            (Some(7), Some(5000), [vec![0x10, 0x2f], vec![0x30]].as_slice())
        );
        assert_eq!(lives.objects.len(), 2);
        assert_eq!((lives.objects[0].born_ns, lives.objects[0].freed_ns, lives.objects[0].usable_size), (100, Some(400), 64));
        assert_eq!(parsed.warnings.len(), 1);
    }

    #[test]
    fn a_cut_log_is_read_as_far_as_it_goes() {
        let cut = TEXT.rfind("\"usize\"").unwrap();
        let parsed = parse(&TEXT.as_bytes()[..cut]).unwrap();
        assert_eq!((parsed.value.objects.len(), parsed.warnings.len()), (1, 2));
        assert!(parse(&TEXT.as_bytes()[..20]).is_err());
    }

    proptest! {
        #[test]
        fn any_cut_is_survived(cut in 0usize..600, text in "[ -~]{0,60}") {
            let _ = parse(&TEXT.as_bytes()[..cut.min(TEXT.len())]);
            let _ = parse(TEXT.replace("100", &text).as_bytes());
        }
    }
}
