//! A process's memory as Prometheus has it: what a service exposes (text), or what a query answers (JSON).
//!
//! ```text
//! # TYPE jemalloc_allocated_bytes gauge
//! jemalloc_allocated_bytes{instance="a:9000"} 2.1e+08 1763650000123
//! process_resident_memory_bytes 563200000
//!
//! {"status":"success","data":{"resultType":"matrix","result":[
//!   {"metric":{"__name__":"jemalloc_allocated_bytes","instance":"a:9000"},"values":[[1763650000.123,"210000000"],...]}]}}
//! ```
//!
//! Formats: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0 (times in seconds), and
//! prometheus.io/docs/prometheus/latest/querying/api; lines of VictoriaMetrics' export (`timestamps` beside `values`)
//! too. Several texts or answers may follow each other in one file. Names may carry a prefix
//! (`indexer_jemalloc_allocated_bytes`); other metrics are passed over. NaN, which marks a series that ended, is no value.

use crate::input::series::{self, SeriesTime};
use crate::input::{ParseError, Parsed};
use crate::origin::{Warning, quote};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is read; the position in [`Scrape::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "jemalloc's statistics by name, and the usual process collector's")]
pub enum Figure {
    Allocated,
    Active,
    Metadata,
    Resident,
    Mapped,
    Retained,
    /// `process_resident_memory_bytes`.
    Rss,
    /// `process_virtual_memory_bytes`.
    VirtualSize,
    /// `process_threads`.
    Threads,
    /// `process_start_time_seconds`: tells a restart.
    Start,
}

/// Number of figures.
const FIGURES: usize = 10;

/// The figures of one process at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrape {
    /// Unix milliseconds, where the input says it.
    pub unix_ms: Option<i64>,
    /// Labels that tell processes apart: `instance="a:9000", job="indexer"`. Empty when there are none.
    pub process: String,
    /// By [`Figure`], in bytes (seconds for the start).
    pub values: [Option<u64>; FIGURES],
}

impl Scrape {
    /// A figure.
    pub fn get(&self, figure: Figure) -> Option<u64> {
        self.values[figure as usize]
    }
}

/// Labels that tell one process from another; what else a metric is labelled with does not.
const IDENTITY: [&str; 11] =
    ["namespace", "pod", "container", "job", "instance", "host", "hostname", "service", "process", "pid", "replica"];
/// Later than any time in seconds and earlier than any in milliseconds.
const SECONDS_BELOW: f64 = 1e11;
/// Labels of one sample beyond which it is not what it seems.
const MOST_LABELS: usize = 256;

/// What a metric is, by its name.
fn figure(name: &str) -> Option<Figure> {
    let base = name.strip_suffix("_bytes").unwrap_or(name);
    let is = |whole: &str| base.strip_suffix(whole).is_some_and(|before| before.is_empty() || before.ends_with('_'));
    if let Some((before, statistic)) = base.rsplit_once("jemalloc_") {
        let statistic = statistic.strip_prefix("stats_").unwrap_or(statistic);
        return (before.is_empty() || before.ends_with('_')).then_some(match statistic {
            "allocated" => Figure::Allocated,
            "active" => Figure::Active,
            "metadata" => Figure::Metadata,
            "resident" => Figure::Resident,
            "mapped" => Figure::Mapped,
            "retained" => Figure::Retained,
            _ => return None,
        });
    }
    [
        ("process_resident_memory", Figure::Rss),
        ("process_virtual_memory", Figure::VirtualSize),
        ("process_threads", Figure::Threads),
        ("process_start_time_seconds", Figure::Start),
    ]
    .into_iter()
    .find_map(|(whole, figure)| is(whole).then_some(figure))
}

/// Whether `text` is metrics of a process's memory, in either form.
pub fn sniff(text: &[u8]) -> bool {
    is_answer(text) || sniff_exposition(text)
}

fn is_answer(text: &[u8]) -> bool {
    let head = &text[..text.len().min(64 << 10)];
    let has = |needle: &str| memchr::memmem::find(head, needle.as_bytes()).is_some();
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))
        && (has("\"resultType\"") || has("\"errorType\"") || has("\"metric\"") && (has("\"value\"") || has("\"values\"")))
}

fn sniff_exposition(text: &[u8]) -> bool {
    ["jemalloc_", "process_resident_memory"].iter().any(|needle| {
        memchr::memmem::find_iter(text, needle.as_bytes()).take(64).any(|at| {
            let start = memchr::memrchr(b'\n', &text[..at]).map_or(0, |newline| newline + 1);
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length);
            std::str::from_utf8(&text[start..end]).is_ok_and(|line| sample(line).is_some_and(|sample| figure(sample.name).is_some()))
        })
    })
}

/// Reads either form. Scrapes come out in the order of the input, those of an answer by process and time.
pub fn parse(text: &[u8]) -> Result<Parsed<Vec<Scrape>>, ParseError> {
    let parsed = if is_answer(text) { answers(text)? } else { exposition(text) };
    if parsed.value.is_empty() {
        return Err(ParseError::new(0, "these metrics have neither `jemalloc_*_bytes` nor `process_resident_memory_bytes`")
            .help("ask for both: `{__name__=~\"jemalloc_.*_bytes|process_resident_memory_bytes\",instance=\"...\"}`"));
    }
    Ok(parsed)
}

/// One line of the text form.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
    /// As written: milliseconds, or seconds in OpenMetrics.
    time: Option<f64>,
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            if labels.len() == MOST_LABELS {
                return None;
            }
            labels.push((key.trim(), value));
            rest = after;
        }
    }
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    // An exemplar of OpenMetrics follows a `#`.
    let time = words.next().filter(|word| *word != "#").map(str::parse::<f64>).transpose().ok()?;
    Some(Sample { name, labels, value, time })
}

/// A label's value up to its closing quote, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// Which process, by the labels that tell.
fn process<'a>(label: impl Fn(&str) -> Option<&'a str>) -> String {
    let known = IDENTITY.iter().filter_map(|key| Some(format!("{key}=\"{}\"", label(key)?)));
    known.collect::<Vec<_>>().join(", ")
}

/// Bytes, or nothing for NaN, infinities and what no memory can be.
fn whole(value: f64) -> Option<u64> {
    (value.is_finite() && (0.0..9.0e18).contains(&value)).then_some(value.round() as u64)
}

fn milliseconds(time: f64) -> Option<i64> {
    let ms = if time < SECONDS_BELOW { time * 1000.0 } else { time };
    (ms.is_finite() && ms.abs() < 9.0e15).then_some(ms.round() as i64)
}

/// Texts of `/metrics`, one or several: a figure that comes again begins the next one, as do `# EOF` and a time line.
fn exposition(text: &[u8]) -> Parsed<Vec<Scrape>> {
    let mut done: Vec<Scrape> = Vec::new();
    let mut open: Vec<Scrape> = Vec::new();
    let mut line_time: Option<i64> = None;
    let mut warnings = Vec::new();
    let mut offset = 0;
    for raw in text.split(|&byte| byte == b'\n') {
        let start = offset;
        offset += raw.len() + 1;
        let line = String::from_utf8_lossy(raw);
        let line = line.trim();
        if line.is_empty() || line.starts_with("# HELP") || line.starts_with("# TYPE") || line.starts_with("# UNIT") {
            continue;
        }
        let Some(sample) = sample(line).filter(|_| !line.starts_with('#')) else {
            let time = series::time(&[raw]);
            if line == "# EOF" || time.is_some() {
                done.append(&mut open);
                line_time = None;
            }
            if let Some(SeriesTime::Unix { ms, zoned }) = time {
                line_time = Some(ms);
                if !zoned && !warnings.iter().any(|warning: &Warning| warning.offset.is_none()) {
                    warnings.push(Warning::whole("the time lines name no time zone that is known: read as UTC"));
                }
            }
            continue;
        };
        let Some(figure) = figure(sample.name) else { continue };
        let Some(value) = whole(sample.value) else {
            if !sample.value.is_nan() && warnings.len() < 8 {
                warnings.push(Warning::at(start, format!("{} is no size: left out", quote(line.as_bytes()))));
            }
            continue;
        };
        let process = process(|key| sample.labels.iter().find(|(label, _)| *label == key).map(|(_, value)| value.as_str()));
        let unix_ms = sample.time.and_then(milliseconds).or(line_time);
        // Again: unless it is the same figure by another label, the next text has begun.
        let same = |scrape: &Scrape| scrape.process == process && scrape.get(figure).is_some();
        if open.iter().any(|scrape| same(scrape) && (scrape.unix_ms != unix_ms || unix_ms.is_none())) {
            done.append(&mut open);
        }
        let at = open.iter().position(|scrape| scrape.process == process).unwrap_or_else(|| {
            open.push(Scrape { unix_ms, process, ..Scrape::default() });
            open.len() - 1
        });
        open[at].unix_ms = open[at].unix_ms.or(unix_ms);
        open[at].values[figure as usize].get_or_insert(value);
    }
    done.append(&mut open);
    Parsed { value: done, warnings }
}

/// Answers of the query interface, one or several.
fn answers(text: &[u8]) -> Result<Parsed<Vec<Scrape>>, ParseError> {
    let mut scrapes: BTreeMap<(String, i64), Scrape> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let (mut nameless, mut repeated) = (0usize, 0usize);
    loop {
        let start = values.byte_offset().min(text.len());
        let answer = match values.next() {
            None => break,
            Some(Ok(answer)) => answer,
            Some(Err(_)) if scrapes.is_empty() => {
                return Err(ParseError::new(start, "this answer of Prometheus is no whole JSON")
                    .help("it was cut, or the server answered with a page of text: ask again and look at it with `jq .status`"));
            }
            Some(Err(_)) => {
                warnings.push(Warning::at(start, "what follows is no whole JSON: what stands before is used"));
                break;
            }
        };
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            return Err(ParseError::new(start, format!("Prometheus answered with an error: {}", quote(error.as_bytes())))
                .help("a long range needs a larger `step`; ask again"));
        }
        for series in list(&answer) {
            let Some(labels) = series.get("metric").and_then(Value::as_object) else { continue };
            let label = |key: &str| labels.get(key).and_then(Value::as_str);
            let Some(name) = label("__name__") else {
                nameless += 1;
                continue;
            };
            let Some(figure) = figure(name) else { continue };
            let process = process(label);
            for (time, value) in points(series) {
                let (Some(unix_ms), Some(value)) = (milliseconds(time), whole(value)) else { continue };
                let scrape = scrapes.entry((process.clone(), unix_ms)).or_insert_with(|| Scrape {
                    unix_ms: Some(unix_ms),
                    process: process.clone(),
                    ..Scrape::default()
                });
                match &mut scrape.values[figure as usize] {
                    empty @ None => *empty = Some(value),
                    Some(known) if *known == value => {}
                    Some(_) => repeated += 1,
                }
            }
        }
    }
    if nameless > 0 && scrapes.is_empty() {
        return Err(ParseError::new(0, "the series of this answer have no metric name: functions and sums drop it")
            .help("ask for the metric itself, without rate() or sum(): `jemalloc_allocated_bytes{instance=\"...\"}`"));
    }
    if nameless > 0 {
        let message = format!(
            "{nameless} series have no metric name (functions and sums drop it): left out; ask for the metric itself, without rate() or sum()"
        );
        warnings.push(Warning::whole(message));
    }
    if repeated > 0 {
        let message =
            format!("{repeated} values are there twice with different labels: the first are used; select one process by its labels");
        warnings.push(Warning::whole(message));
    }
    Ok(Parsed { value: scrapes.into_values().collect(), warnings })
}

/// The series of an answer, of its `result` alone, or one series.
fn list(answer: &Value) -> &[Value] {
    let result = answer.pointer("/data/result").or_else(|| answer.get("result"));
    match result.unwrap_or(answer) {
        Value::Array(list) => list,
        one @ Value::Object(_) => std::slice::from_ref(one),
        _ => &[],
    }
}

/// `values: [[1763650000.123,"1"],..]`, `value: [1763650000,"1"]`, or `values: [1,..], timestamps: [1763650000123,..]`.
fn points(series: &Value) -> Vec<(f64, f64)> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    let pair = |pair: &Value| Some((number(pair.get(0)?)?, number(pair.get(1)?)?));
    let of = |key: &str| series.as_object().and_then(|object: &Map<String, Value>| object.get(key)).and_then(Value::as_array);
    if let (Some(values), Some(times)) = (of("values"), of("timestamps")) {
        return times.iter().zip(values).filter_map(|(time, value)| Some((number(time)?, number(value)?))).collect();
    }
    match (of("values"), series.get("value")) {
        (Some(values), _) => values.iter().filter_map(pair).collect(),
        (None, Some(value)) => pair(value).into_iter().collect(),
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn scrapes(text: &str) -> Vec<Scrape> {
        assert!(sniff(text.as_bytes()), "{text}");
        parse(text.as_bytes()).unwrap().value
    }

    const TEXT: &str = "# HELP x y\n# TYPE jemalloc_allocated_bytes gauge\njemalloc_allocated_bytes{a=\"} 1\\\"\",instance=\"i\"} 2.5e+03\n\
                        jemalloc_arena_dirty_bytes 7\nhttp_requests_total{path=\"/\"} 12\nprocess_resident_memory_bytes{instance=\"i\"} 9000\n";

    #[test]
    fn names_may_have_a_prefix_and_no_unit() {
        for (name, expected) in [
            ("jemalloc_allocated_bytes", Some(Figure::Allocated)),
            ("indexer_jemalloc_resident_bytes", Some(Figure::Resident)),
            ("ClickHouseAsyncMetrics_jemalloc_retained", Some(Figure::Retained)),
            ("jemalloc_stats_active_bytes", Some(Figure::Active)),
            ("app_process_resident_memory_bytes", Some(Figure::Rss)),
            ("process_start_time_seconds", Some(Figure::Start)),
            ("myjemalloc_allocated_bytes", None),
            ("jemalloc_arena_active_bytes", None),
            ("subprocess_resident_memory_bytes", None),
        ] {
            assert_eq!(figure(name), expected, "{name}");
        }
    }

    #[test]
    fn one_text_without_a_time() {
        let all = scrapes(TEXT);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].get(Figure::Allocated), all[0].get(Figure::Rss), all[0].unix_ms), (Some(2500), Some(9000), None));
        assert_eq!(all[0].process, "instance=\"i\"");
    }

    #[test]
    fn texts_of_a_loop() {
        let all = scrapes(&format!("1763650000\n{TEXT}1763650010\n{TEXT}"));
        assert_eq!(all.iter().map(|s| s.unix_ms).collect::<Vec<_>>(), [Some(1_763_650_000_000), Some(1_763_650_010_000)]);
        // Without time lines a figure that comes again begins the next one.
        assert_eq!(scrapes(&TEXT.repeat(3)).len(), 3);
        // Times of the samples: milliseconds, or seconds in OpenMetrics.
        let stamped = "jemalloc_active_bytes 1 1763650000123\njemalloc_active_bytes 2 1763650001.5\n# EOF\n";
        assert_eq!(scrapes(stamped).iter().map(|s| s.unix_ms).collect::<Vec<_>>(), [Some(1_763_650_000_123), Some(1_763_650_001_500)]);
    }

    #[test]
    fn answers_of_the_query_interface() {
        let series = |name: &str, values: &str| format!(r#"{{"metric":{{"__name__":"{name}","instance":"i"}},{values}}}"#);
        let range = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{},{}]}}}}"#,
            series("jemalloc_allocated_bytes", r#""values":[[1763650000.5,"10"],[1763650010.5,"NaN"]]"#),
            series("process_resident_memory_bytes", r#""values":[[1763650000.5,"30"],[1763650010.5,"40"]]"#)
        );
        let all = scrapes(&range);
        assert_eq!(all.iter().map(|s| s.unix_ms).collect::<Vec<_>>(), [Some(1_763_650_000_500), Some(1_763_650_010_500)]);
        assert_eq!(
            all.iter().map(|s| (s.get(Figure::Allocated), s.get(Figure::Rss))).collect::<Vec<_>>(),
            [(Some(10), Some(30)), (None, Some(40))]
        );
        assert_eq!(scrapes(&format!("[{}]", series("jemalloc_active_bytes", r#""value":[1763650000,"7"]"#))).len(), 1);
        let exported = series("jemalloc_active_bytes", r#""values":[7,8],"timestamps":[1763650000000,1763650010000]"#);
        assert_eq!(scrapes(&format!("{exported}\n{exported}\n")).len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let error = |text: &str| {
            assert!(sniff(text.as_bytes()), "{text}");
            parse(text.as_bytes()).unwrap_err().message
        };
        assert!(error(r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution"}"#).contains("exceeded maximum"));
        assert!(error(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#).contains("neither"));
        assert!(error(r#"{"status":"success","data":{"resultType":"matr"#).contains("no whole JSON"));
        let nameless = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]},
            {"metric":{"__name__":"jemalloc_active_bytes","k":"1"},"value":[1,"2"]},{"metric":{"__name__":"jemalloc_active_bytes","k":"2"},"value":[1,"3"]}]}}"#;
        let parsed = parse(nameless.as_bytes()).unwrap();
        assert_eq!((parsed.value[0].get(Figure::Active), parsed.warnings.len()), (Some(2), 2));
        assert!(!sniff(b"process_resident_memory_bytes is a metric\n") && !sniff(b"{\"jemalloc\":{}}"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ -~\n]{0,300}", cut in 0usize..600) {
            let _ = (sniff(text.as_bytes()), parse(text.as_bytes()).is_ok());
            let _ = parse(&TEXT.as_bytes()[..cut.min(TEXT.len())]);
            let line = format!("jemalloc_active_bytes{text}");
            let _ = parse(line.as_bytes());
        }
    }
}
