//! `counters.csv`: what the program had done by when.
//!
//! ```text
//! unix_ms,requests,page_reads
//! 1795219498623,5426,10877
//! 1795219503425,11724,24676
//! ```
//!
//! Written by whoever makes the capture. The first column is the time: `unix_ms`, or seconds when its
//! name says so or its numbers are that small. Cells may be empty; rows may be in any order.

use crate::input::{ParseError, Parsed};
use crate::origin::{Warning, quote};

/// A table of counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Column names without the time.
    pub names: Vec<String>,
    /// Unix milliseconds and one cell for each name, by time; `None` where the cell is empty or no number.
    pub rows: Vec<(i64, Vec<Option<f64>>)>,
}

/// Names of the time column.
const TIMES: [&str; 8] = ["unix_ms", "unix_s", "timestamp", "timestamp_ms", "time", "time_ms", "ts", "unix"];
/// Later than any time in seconds and earlier than any in milliseconds: 1e11 s is the year 5138, 1e11 ms is 1973.
const SECONDS_BELOW: f64 = 1e11;
/// Columns of a table that a person reads.
const MOST_COLUMNS: usize = 1024;
const MOST_WARNINGS: usize = 10;

/// Whether `text` opens with a head whose first column is a time.
pub fn sniff(text: &[u8]) -> bool {
    let line = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).split(|&b| b == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let mut cells = line.trim().split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"').to_ascii_lowercase());
    cells.next().is_some_and(|first| TIMES.contains(&first.as_str())) && cells.next().is_some()
}

/// Reads the table.
pub fn parse(text: &[u8]) -> Result<Parsed<Counters>, ParseError> {
    let whole = String::from_utf8_lossy(text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text));
    let head = whole.lines().next().unwrap_or_default();
    let separator = [',', ';', '\t'].into_iter().max_by_key(|&c| head.matches(c).count()).unwrap_or(',');
    let cells = |line: &str| -> Vec<String> { line.split(separator).map(|cell| cell.trim().trim_matches('"').to_owned()).collect() };
    let names = cells(head);
    if names.len() < 2 || !TIMES.contains(&names[0].to_ascii_lowercase().as_str()) {
        return Err(ParseError::new(0, format!("expected a head `unix_ms,<name>,...`, found {}", quote(head.as_bytes()))));
    }
    let names: Vec<String> = names.into_iter().skip(1).take(MOST_COLUMNS).collect();
    let mut warnings = Vec::new();
    let mut counters = Counters { names, rows: Vec::new() };
    let mut offset = head.len() + 1;
    let mut sorted = true;
    for line in whole.lines().skip(1) {
        let start = offset;
        offset += line.len() + 1;
        if line.trim().is_empty() {
            continue;
        }
        let row = cells(line);
        let time = row[0].parse::<f64>().ok().filter(|time| time.is_finite());
        let Some(time) = time else {
            if warnings.len() < MOST_WARNINGS {
                warnings
                    .push(Warning::at(start.min(text.len()), format!("{} is not a time: the row was left out", quote(row[0].as_bytes()))));
            }
            continue;
        };
        let unix_ms = (if time < SECONDS_BELOW { time * 1000.0 } else { time }).round() as i64;
        let cell = |i: usize| row.get(i + 1).and_then(|cell| cell.parse::<f64>().ok()).filter(|value| value.is_finite());
        sorted &= counters.rows.last().is_none_or(|(last, _)| *last <= unix_ms);
        counters.rows.push((unix_ms, (0..counters.names.len()).map(cell).collect()));
    }
    if counters.rows.is_empty() {
        return Err(ParseError::new(0, "the table of counters has no row"));
    }
    if !sorted {
        warnings.push(Warning::whole("rows are not in the order of time: sorted"));
        counters.rows.sort_by_key(|(time, _)| *time);
    }
    Ok(Parsed { value: counters, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_by_time_in_milliseconds() {
        let parsed = parse(b"unix_ms,requests,depth\n1795219503425,11,\n1795219498623,5,2.5\r\n\nx,1,2\n").unwrap();
        assert_eq!(parsed.value.names, ["requests", "depth"]);
        assert_eq!(parsed.value.rows, vec![(1795219498623, vec![Some(5.0), Some(2.5)]), (1795219503425, vec![Some(11.0), None])]);
        assert_eq!(parsed.warnings.len(), 2);
        assert_eq!(parse(b"time,a\n1795219498.623,1\n").unwrap().value.rows[0].0, 1_795_219_498_623);
    }

    #[test]
    fn other_tables_are_refused() {
        assert!(parse(b"a,b\n1,2\n").is_err());
        assert!(parse(b"unix_ms,a\n").is_err());
        assert!(sniff(b"unix_ms,a\n") && !sniff(b"a,b\n") && !sniff(b"unix_ms\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..200), good in any::<bool>()) {
            let text = if good { [b"unix_ms,a\n", &text[..]].concat() } else { text };
            let _ = parse(&text);
        }
    }
}
