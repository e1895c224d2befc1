//! `malloc_stats_print` in its text form, 3.x to 5.3.x and later.
//!
//! ```text
//! ___ Begin jemalloc statistics ___
//! Version: "5.2.1-0-gea6b3e9..."
//!   opt.dirty_decay_ms: 10000 (arenas.dirty_decay_ms: 10000)
//! Allocated: 1795080, active: 1839104, metadata: 1318024 (n_thp 0), resident: 3186688, ...
//! --- End jemalloc statistics ---
//! ```
//!
//! Written by jemalloc `src/stats.c`. The text is put into the shape of the JSON form, so that one
//! reader (`model::ingest`) serves both; a table row carries its class's geometry with it. Tables are
//! read by the names in their heads: versions differ in columns.

use crate::input::stats_json::Statistics;
use crate::input::{ParseError, Parsed};
use crate::origin::Warning;
use serde_json::{Map, Value, json};

const BEGIN: &[u8] = b"___ Begin jemalloc statistics ___";
const END: &[u8] = b"--- End jemalloc statistics ---";

/// Whether statistics as text stand anywhere in `text`.
pub fn sniff(text: &[u8]) -> bool {
    memchr::memmem::find(text, BEGIN).is_some()
}

/// All prints in `text`.
pub fn parse(text: &[u8]) -> Result<Parsed<Vec<Statistics>>, ParseError> {
    let mut value = Vec::new();
    let mut warnings = Vec::new();
    let starts: Vec<usize> = memchr::memmem::find_iter(text, BEGIN).collect();
    for (nth, &start) in starts.iter().enumerate() {
        let limit = starts.get(nth + 1).copied().unwrap_or(text.len());
        let body = &text[start + BEGIN.len()..limit];
        let end = memchr::memmem::find(body, END);
        if end.is_none() {
            warnings.push(Warning::at(limit, "the statistics end before their end: what is there is used"));
        }
        let root = Reader::default().read(&body[..end.unwrap_or(body.len())]);
        value.push(Statistics { root, offset: start, truncated: end.is_none() });
    }
    if value.is_empty() {
        return Err(ParseError::new(0, "expected `___ Begin jemalloc statistics ___`, found none"));
    }
    Ok(Parsed { value, warnings })
}

/// Which table the lines belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    None,
    Bins,
    Large,
}

#[derive(Debug)]
struct Reader {
    root: Map<String, Value>,
    arenas: Map<String, Value>,
    /// Key in `stats.arenas` of the section and its figures; `None` before the first.
    arena: Option<(String, Map<String, Value>)>,
    /// Names of the columns of the allocated/nmalloc table, then of bins or large.
    columns: Vec<String>,
    table: Table,
    page: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { root: Map::new(), arenas: Map::new(), arena: None, columns: Vec::new(), table: Table::None, page: DEFAULT_PAGE }
    }
}

/// Used until the text names the page size, which all versions do before the first figure in pages.
const DEFAULT_PAGE: u64 = 4096;
/// A process has tens of arenas and a few hundred classes; a hostile text has no more room than this.
const MOST_ARENAS: usize = 65_536;
const MOST_ROWS: usize = 4_096;

impl Reader {
    fn read(mut self, body: &[u8]) -> Value {
        for line in body.split(|&b| b == b'\n') {
            self.line(&String::from_utf8_lossy(line));
        }
        self.close_arena();
        if !self.arenas.is_empty() {
            self.root.insert("stats.arenas".into(), Value::Object(self.arenas));
        }
        Value::Object(self.root)
    }

    fn close_arena(&mut self) {
        if let Some((key, figures)) = self.arena.take()
            && self.arenas.len() < MOST_ARENAS
        {
            self.arenas.insert(key, Value::Object(figures));
        }
        self.table = Table::None;
    }

    fn open_arena(&mut self, key: &str) {
        self.close_arena();
        self.arena = Some((key.to_owned(), Map::new()));
    }

    fn line(&mut self, line: &str) {
        let text = line.trim();
        if text.is_empty() || text == "---" || text.starts_with('[') {
            return;
        }
        // `Merged arenas stats:`, `Destroyed arenas stats:`, `arenas[0]:`
        if text == "Merged arenas stats:" {
            return self.open_arena("merged");
        }
        if text == "Destroyed arenas stats:" {
            return self.open_arena("destroyed");
        }
        if let Some(index) = text.strip_prefix("arenas[").and_then(|rest| rest.strip_suffix("]:")) {
            return self.open_arena(index);
        }
        match self.arena {
            None => self.global(text),
            Some(_) => self.in_arena(text),
        }
    }

    /// Lines above the first arena.
    fn global(&mut self, text: &str) {
        let Some((key, value)) = text.split_once(':') else { return };
        let value = value.trim();
        let plain = value.split(" (").next().unwrap_or(value).trim();
        if let Some((group @ ("opt" | "config" | "prof"), name)) = key.split_once('.') {
            member(&mut self.root, group).insert(name.to_owned(), scalar(plain));
            return;
        }
        match key {
            "Version" => {
                self.root.insert("version".into(), scalar(plain));
            }
            "Page size" => {
                self.page = plain.parse().ok().filter(|&page| page > 0).unwrap_or(self.page);
                member(&mut self.root, "arenas").insert("page".into(), json!(self.page));
            }
            "Arenas" => {
                member(&mut self.root, "arenas").insert("narenas".into(), scalar(plain));
            }
            "Maximum thread-cached size class" => {
                member(&mut self.root, "arenas").insert("tcache_max".into(), scalar(plain));
            }
            // `Allocated: A, active: B, metadata: M (n_thp 0, edata 1), resident: R, mapped: P, retained: T`
            "Allocated" => {
                let stats = member(&mut self.root, "stats");
                for (key, value) in pairs(text) {
                    stats.insert(key.to_ascii_lowercase(), json!(value));
                }
            }
            // `Background threads: 0, num_runs: 0, run_interval: 0 ns`
            "Background threads" => {
                if let Some((_, threads)) = pairs(text).first() {
                    member(&mut self.root, "stats").insert("background_thread".into(), json!({"num_threads": threads}));
                }
            }
            _ => {}
        }
    }

    fn in_arena(&mut self, text: &str) {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (first, rest) = (words[0], &words[1..]);
        // A head: `allocated nmalloc (#/sec) ...`, `bins: size ind ...`, `large: size ind ...`.
        match first {
            "allocated" => {
                self.columns = words.iter().map(|&word| word.to_owned()).collect();
                return;
            }
            "bins:" | "large:" | "huge:" if rest.first().is_some_and(|word| word.parse::<u64>().is_err()) => {
                self.columns = rest.iter().map(|&word| word.to_owned()).collect();
                self.table = if first == "bins:" { Table::Bins } else { Table::Large };
                return;
            }
            "extents:" => {
                self.table = Table::None;
                return;
            }
            _ => {}
        }
        if self.table != Table::None && first.parse::<u64>().is_ok() {
            return self.row(&words);
        }
        if self.table != Table::None {
            self.table = Table::None;
        }
        let page = self.page;
        let columns = std::mem::take(&mut self.columns);
        let Some((_, arena)) = &mut self.arena else { return };
        match first {
            "small:" | "large:" | "huge:" => {
                let name = first.trim_end_matches(':');
                let figures = columns.iter().zip(rest).filter(|(column, _)| !column.starts_with('('));
                let object = figures.filter_map(|(column, value)| Some((column.clone(), json!(value.parse::<u64>().ok()?)))).collect();
                arena.insert(name.to_owned(), Value::Object(object));
            }
            // `   dirty:   N/A   13   3   3   45`: time, pages, sweeps, madvises, purged
            "dirty:" | "muzzy:" if rest.len() >= 5 => {
                let name = first.trim_end_matches(':');
                if let Ok(time) = rest[0].parse::<i64>() {
                    arena.insert(format!("{name}_decay_ms"), json!(time));
                }
                for (key, value) in [format!("p{name}"), format!("{name}_npurge"), format!("{name}_nmadvise"), format!("{name}_purged")]
                    .into_iter()
                    .zip(&rest[1..])
                {
                    if let Ok(value) = value.parse::<u64>() {
                        arena.insert(key, json!(value));
                    }
                }
            }
            // 4.x: `purging: dirty: 15, sweeps: 0, madvises: 0, purged: 0`
            "purging:" => {
                for (key, value) in pairs(text.trim_start_matches("purging:")) {
                    let key = match key {
                        "dirty" => "pdirty",
                        "sweeps" => "dirty_npurge",
                        "madvises" => "dirty_nmadvise",
                        "purged" => "dirty_purged",
                        _ => continue,
                    };
                    arena.insert(key.into(), json!(value));
                }
            }
            // 4.x: `metadata: mapped: 106496, allocated: 102336`
            "metadata:" => {
                let mut object = Map::new();
                object.extend(pairs(text.trim_start_matches("metadata:")).into_iter().map(|(key, value)| (key.to_owned(), json!(value))));
                arena.insert("metadata".into(), Value::Object(object));
            }
            _ => named_line(arena, text, page),
        }
        self.columns = columns;
    }

    /// A row of the bins or large table, by the names of its head.
    fn row(&mut self, words: &[&str]) {
        let Some((_, arena)) = &mut self.arena else { return };
        let column = |name: &str| self.columns.iter().position(|column| column == name).and_then(|at| words.get(at)?.parse::<u64>().ok());
        let Some(size) = column("size").filter(|&size| size > 0) else { return };
        let counts = |object: &mut Map<String, Value>, live: &[(&str, &str)]| {
            for (from, to) in live {
                if let Some(value) = column(from) {
                    object.insert((*to).to_owned(), json!(value));
                }
            }
        };
        let mut object = Map::new();
        object.insert("size".into(), json!(size));
        counts(&mut object, &[("nmalloc", "nmalloc"), ("ndalloc", "ndalloc"), ("nrequests", "nrequests")]);
        let key = match self.table {
            Table::Bins => {
                counts(
                    &mut object,
                    &[
                        ("regs", "nregs"),
                        ("curregs", "curregs"),
                        ("curslabs", "curslabs"),
                        ("curruns", "curslabs"),
                        ("nonfull_slabs", "nonfull_slabs"),
                    ],
                );
                if let Some(pages) = column("pgs") {
                    object.insert("slab_size".into(), json!(pages.saturating_mul(self.page)));
                }
                // 3.x prints bytes only.
                if let (None, Some(allocated)) = (column("curregs"), column("allocated")) {
                    object.insert("curregs".into(), json!(allocated / size));
                }
                "bins"
            }
            Table::Large | Table::None => {
                counts(&mut object, &[("curlextents", "curlextents"), ("curruns", "curlextents"), ("curhchunks", "curlextents")]);
                "lextents"
            }
        };
        let rows = arena.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(rows) = rows
            && rows.len() < MOST_ROWS
        {
            rows.push(Value::Object(object));
        }
    }
}

/// `active:   1839104`, `assigned threads: 1`, `uptime: 63999998`, 3.x `dirty pages: 407:10 active:dirty, ...`.
fn named_line(arena: &mut Map<String, Value>, text: &str, page: u64) {
    let Some((key, value)) = text.split_once(':') else { return };
    let value = value.trim();
    if key == "dirty pages" {
        if let Some(dirty) = value.split([':', ' ']).nth(1).and_then(|pages| pages.parse::<u64>().ok()) {
            arena.insert("pdirty".into(), json!(dirty));
        }
        return;
    }
    let Ok(number) = value.parse::<u64>() else { return };
    let (key, number) = match key {
        "active" => ("pactive", number / page),
        "assigned threads" => ("nthreads", number),
        "uptime" => ("uptime_ns", number),
        other => (other, number),
    };
    arena.insert(key.to_owned(), json!(number));
}

/// `Allocated: 1, active: 2, metadata: 3 (n_thp 0), ...` without what stands in parentheses.
fn pairs(text: &str) -> Vec<(&str, u64)> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once(':') {
        let after = after.trim_start();
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if let Ok(value) = after[..digits].parse() {
            out.push((key.trim(), value));
        }
        let Some(comma) = after
            .bytes()
            .scan(0usize, |depth, b| {
                *depth = match b {
                    b'(' => *depth + 1,
                    b')' => depth.saturating_sub(1),
                    _ => *depth,
                };
                Some(b == b',' && *depth == 0)
            })
            .position(|found| found)
        else {
            break;
        };
        rest = &after[comma + 1..];
    }
    out
}

/// `true`, `10000`, `"secondary"`: as the JSON form has it.
fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            Ok(number) => json!(number),
            Err(_) => match text.parse::<u64>() {
                Ok(number) => json!(number),
                Err(_) => Value::String(text.trim_matches('"').to_owned()),
            },
        },
    }
}

/// The object under `key`, made where it is missing.
fn member<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("made an object above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root(body: &str) -> Value {
        let text = format!("noise\n___ Begin jemalloc statistics ___\n{body}\n--- End jemalloc statistics ---\n");
        parse(text.as_bytes()).unwrap().value.remove(0).root
    }

    #[test]
    fn the_first_line_of_every_version() {
        let line = "Allocated: 1754368, active: 1785856, metadata: 1640720 (n_thp 0, edata 6144, rtree 786432), resident: 3403776, mapped: 6045696, retained: 2342912, pinned: 0";
        let root = root(line);
        let stats = &root["stats"];
        assert_eq!(stats["allocated"], 1754368);
        assert_eq!(stats["metadata"], 1640720);
        assert_eq!(stats["resident"], 3403776);
        assert_eq!(stats["pinned"], 0);
        assert_eq!(super::tests::root("Allocated: 3, active: 4, mapped: 5")["stats"]["mapped"], 5);
    }

    #[test]
    fn options_are_typed() {
        let root = root(
            "Version: \"5.2.1-0-gabc\"\n  opt.dirty_decay_ms: 10000 (arenas.dirty_decay_ms: 10000)\n  opt.muzzy_decay_ms: -1 (arenas.muzzy_decay_ms: -1)\n  opt.thp: \"default\"\n  opt.retain: true\nPage size: 4096",
        );
        assert_eq!(root["version"], "5.2.1-0-gabc");
        assert_eq!(root["opt"]["dirty_decay_ms"], 10000);
        assert_eq!(root["opt"]["muzzy_decay_ms"], -1);
        assert_eq!(root["opt"]["thp"], "default");
        assert_eq!(root["opt"]["retain"], true);
        assert_eq!(root["arenas"]["page"], 4096);
    }

    #[test]
    fn arenas_and_tables() {
        let root = root(
            "Page size: 4096\nAllocated: 1, active: 2\nMerged arenas stats:\nassigned threads: 1\ndecaying:  time       npages       sweeps     madvises       purged\n   dirty:   N/A           13            3            3           45\n   muzzy:     0            2            0            0            0\n                            allocated         nmalloc (#/sec)         ndalloc (#/sec)\nsmall:   455688    8108  8108  33  33\nactive:    1839104\ntcache_bytes:  70720\nbins:  size ind allocated nmalloc (#/sec) curregs curslabs nonfull_slabs regs pgs util\n   ---\n 48 3 384000 8000 8000 8000 32 1 256 3 0.976\nlarge: size ind allocated nmalloc (#/sec) curlextents\n 28672 39 28672 4 4 1\nextents: size ind ndirty\n 20480 4 1\narenas[0]:\n   dirty: 10000 16 0 0 0\n",
        );
        let merged = &root["stats.arenas"]["merged"];
        assert_eq!((&merged["pdirty"], &merged["dirty_purged"], &merged["pmuzzy"]), (&json!(13), &json!(45), &json!(2)));
        assert_eq!(merged.get("dirty_decay_ms"), None);
        assert_eq!(merged["small"], json!({"allocated": 455688, "nmalloc": 8108, "ndalloc": 33}));
        assert_eq!(merged["pactive"], 449);
        assert_eq!(
            merged["bins"],
            json!([{"size": 48, "nmalloc": 8000, "nregs": 256, "curregs": 8000, "curslabs": 32, "nonfull_slabs": 1, "slab_size": 12288}])
        );
        assert_eq!(merged["lextents"], json!([{"size": 28672, "nmalloc": 4, "curlextents": 1}]));
        assert_eq!(root["stats.arenas"]["0"]["dirty_decay_ms"], 10000);
    }

    #[test]
    fn a_cut_text_keeps_what_it_has() {
        let parsed = parse(b"___ Begin jemalloc statistics ___\nAllocated: 7, active: 8").unwrap();
        assert!(parsed.value[0].truncated);
        assert_eq!(parsed.value[0].root["stats"]["active"], 8);
        assert!(parse(b"Allocated: 7").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(body in "[ -~\n]{0,300}") {
            let _ = root(&body);
        }

        #[test]
        fn any_words_of_the_format_are_survived(words in proptest::collection::vec(proptest::sample::select(vec![
            "Merged arenas stats:\n", "arenas[0]:\n", "bins:", "large:", "size", "ind", "48", "\n", "dirty:", "(#/sec)", "allocated", "0", "18446744073709551615",
            "Allocated:", ",", ":", "purging:", "metadata:", "dirty pages:", "opt.", "opt.x", "Page size: 0\n", "small:", " ",
        ]), 0..60)) {
            let _ = root(&words.concat());
        }
    }
}
