//! The triage of a fleet: answers of the queries as a conclusion, tables, and what to open. Words and figures, no layout.

use crate::analysis::finding::VerdictKind;
use crate::fleet::engine::Row;
use crate::fleet::queries::Scope;
use crate::origin::{printable, shell_word};
use crate::report::document::{Block, StackLine, Table};
use crate::report::triage_document::span;
use crate::units::{grouped, iec, percent, signed_iec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The schema of the JSON.
pub const SCHEMA: &str = "heaptriage/fleet/1";

/// Frames of a leak's stack that are shown, from the inside.
const FRAMES: usize = 6;
/// Leaks that are shown with stack and instances.
const SHOWN: usize = 3;
/// Instances of a leak that are named.
const WORST: usize = 3;
/// Limits further away than this are not worth a line, in hours.
const FAR: f64 = 24.0 * 7.0;

/// Answers of all queries.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    root: String,
    scope: Scope,
    answers: BTreeMap<&'static str, Vec<Row>>,
}

impl Fleet {
    /// The answers by the name of their query.
    pub fn of(root: &str, scope: &Scope, answers: impl Iterator<Item = (&'static str, Vec<Row>)>) -> Fleet {
        Fleet { root: root.to_owned(), scope: scope.clone(), answers: answers.collect() }
    }

    fn rows(&self, query: &str) -> &[Row] {
        self.answers.get(query).map_or(&[], Vec::as_slice)
    }

    fn leaks(&self) -> impl Iterator<Item = &Row> {
        self.rows("leaks").iter().filter(|row| text(row, "verdict") == "leak")
    }

    /// What it is, in the words of a single report, and why.
    pub fn verdict(&self) -> (VerdictKind, String) {
        let dumps: f64 = self.rows("overview").iter().map(|row| number(row, "dumps")).sum();
        if let Some(leak) = self.leaks().next() {
            let more = self
                .leaks()
                .filter(|row| (text(row, "service"), text(row, "stack_id")) != (text(leak, "service"), text(leak, "stack_id")))
                .count();
            let since = self.since(leak);
            let others = match more {
                0 => String::new(),
                1 => " One more stack leaks.".to_owned(),
                n => format!(" {n} more stacks leak."),
            };
            let summary = format!(
                "{} of {} grows in {} of {} instances of build {}, by {} an hour each (median, r² {:.3}), {} together.{since}{others}",
                name(leak),
                text(leak, "service"),
                count(leak, "growing"),
                count(leak, "instances"),
                short(text(leak, "build_id")),
                iec(number(leak, "bytes_per_hour")),
                number(leak, "r2"),
                iec(number(leak, "grown_bytes")),
            );
            return (VerdictKind::Leak, summary);
        }
        let suspicions = self.rows("leaks").len();
        if suspicions > 0 {
            let are = if suspicions == 1 { "one stack grows".to_owned() } else { format!("{suspicions} stacks grow") };
            return (VerdictKind::Growth, format!("{are} steadily, in too few instances for a vote: look at those instances."));
        }
        if dumps < 8.0 {
            let why = match dumps as u64 {
                0 => "the dataset has no heap dump".to_owned(),
                n => format!("the dataset has {n} heap dumps, and an instance shows a course from 8 on"),
            };
            return (VerdictKind::Inconclusive, format!("{why}: record with profiling on, and export again."));
        }
        (VerdictKind::Steady, "no stack grows steadily in any instance that was watched for 8 dumps or more; growth below 1 MiB an instance over its span is not counted.".to_owned())
    }

    fn since(&self, leak: &Row) -> String {
        let (since, quiet) = (text(leak, "since_build"), number(leak, "quiet_builds"));
        let builds = self.rows("overview").iter().filter(|row| row.get("service") == leak.get("service")).count();
        match quiet as u64 {
            _ if since.is_empty() || builds < 2 => String::new(),
            0 => format!(" The first build here that has it is {}; no earlier one was watched.", short(since)),
            1 => format!(" Since build {}: in the build before it no instance grows there.", short(since)),
            n => format!(" Since build {}: in the {n} builds before it no instance grows there.", short(since)),
        }
    }

    /// JSON; keys may be added, never renamed or removed.
    pub fn json(&self) -> Value {
        let (kind, summary) = self.verdict();
        let answers: serde_json::Map<String, Value> =
            self.answers.iter().map(|(name, rows)| (name.replace('-', "_"), json!(rows))).collect();
        let mut value = json!({
            "schema": SCHEMA,
            "tool": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
            "root": self.root,
            "scope": {"service": self.scope.service, "since": self.scope.since, "until": self.scope.until},
            "verdict": {"kind": kind.word(), "summary": sentence(&summary)},
        });
        if let Some(object) = value.as_object_mut() {
            object.extend(answers);
        }
        value
    }

    /// The report; of each table `top` rows.
    pub fn blocks(&self, top: usize) -> Vec<Block> {
        let mut blocks = vec![Block::Title(self.title())];
        let (kind, summary) = self.verdict();
        let word = kind.word().to_uppercase();
        blocks.push(Block::Lead(format!("{word}{}{}", if kind == VerdictKind::Leak { ". " } else { ": " }, summary_after(kind, &summary))));
        self.votes(top, &mut blocks);
        for (nth, leak) in self.to_show().into_iter().take(top.min(SHOWN)).enumerate() {
            self.leak(nth + 1, leak, &mut blocks);
        }
        self.resident(top, &mut blocks);
        self.limits(top, &mut blocks);
        self.outliers(top, &mut blocks);
        self.builds(top, &mut blocks);
        self.heaviest(top, &mut blocks);
        let scope = self.options();
        blocks.push(Block::Code(
            "Queries",
            vec![
                format!("heaptriage fleet sql leaks --engine duckdb --root {}{scope} | duckdb", shell_word(&self.root)),
                "heaptriage fleet sql   # lists them all".into(),
            ],
        ));
        blocks
    }

    fn options(&self) -> String {
        let one = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!(" {name} {value}")).unwrap_or_default();
        [one("--service", &self.scope.service), one("--since", &self.scope.since), one("--until", &self.scope.until)].concat()
    }

    fn title(&self) -> String {
        let overview = self.rows("overview");
        let services: std::collections::BTreeSet<&str> = overview.iter().map(|row| text(row, "service")).collect();
        let sum = |column: &str| overview.iter().map(|row| number(row, column)).sum::<f64>() as u64;
        let first = overview.iter().map(|row| number(row, "first_us")).fold(f64::INFINITY, f64::min);
        let last = overview.iter().map(|row| number(row, "last_us")).fold(f64::NEG_INFINITY, f64::max);
        let services = match services.len() {
            1 => format!("service {}", services.first().copied().unwrap_or_default()),
            n => plural(n as u64, "service"),
        };
        let span = if first.is_finite() { format!(", {} to {}", time(first), time(last)) } else { String::new() };
        format!(
            "heaptriage fleet report: {}, {services}, {} of {}, {}, {}{span}",
            printable(&self.root),
            plural(sum("incarnations"), "process"),
            plural(overview.len() as u64, "build"),
            plural(sum("snapshots"), "snapshot"),
            plural(sum("dumps"), "heap dump"),
        )
    }

    /// Leaks, else suspicions; one row a service and stack, the build where it is worst.
    fn to_show(&self) -> Vec<&Row> {
        let mut seen = std::collections::BTreeSet::new();
        let wanted = if self.leaks().next().is_some() { "leak" } else { "suspicion" };
        let rows = self.rows("leaks").iter().filter(|row| text(row, "verdict") == wanted);
        rows.filter(|row| seen.insert((text(row, "service").to_owned(), text(row, "stack_id").to_owned()))).collect()
    }

    fn votes(&self, top: usize, blocks: &mut Vec<Block>) {
        let rows = self.rows("leaks");
        if rows.is_empty() {
            return;
        }
        let head = ["Growth by vote of the instances", "growing", "per hour", "r²", "together", "build", "verdict"];
        let rows_of = |row: &Row| {
            vec![
                name(row),
                format!("{} of {}", count(row, "growing"), count(row, "instances")),
                signed_iec(number(row, "bytes_per_hour")),
                format!("{:.3}", number(row, "r2")),
                signed_iec(number(row, "grown_bytes")),
                short(text(row, "build_id")),
                text(row, "verdict").to_owned(),
            ]
        };
        blocks.push(table(&head, rows.iter().take(top).map(rows_of)));
        more(rows.len(), top, blocks);
    }

    fn leak(&self, nth: usize, leak: &Row, blocks: &mut Vec<Block>) {
        let what = if text(leak, "verdict") == "leak" { "Leak" } else { "Suspicion" };
        blocks.push(Block::Heading(format!("{what} {nth}   {}   {}", text(leak, "service"), text(leak, "stack_id"))));
        let frames: Vec<&str> = text(leak, "folded").split(';').rev().collect();
        let owner = text(leak, "owner");
        let mut marked = false;
        let mut lines: Vec<StackLine> = Vec::new();
        for frame in frames.iter().take(FRAMES) {
            let is_owner = !marked && *frame == owner;
            marked |= is_owner;
            lines.push(StackLine { text: printable(frame).into_owned(), place: None, mark: is_owner.then(|| mark(owner).to_owned()) });
        }
        if frames.len() > FRAMES {
            lines.push(StackLine { text: format!("{} outer frames", frames.len() - FRAMES), place: None, mark: None });
        }
        blocks.push(Block::Stack(lines));
        let worst =
            self.rows("worst").iter().filter(|row| ["service", "stack_id"].iter().all(|column| row.get(*column) == leak.get(*column)));
        let worst: Vec<&Row> = worst.take(WORST).collect();
        let say = |row: &&Row| {
            format!(
                "{}: {} in {}, {} per hour, holds {} (started {})",
                printable(text(row, "instance")),
                signed_iec(number(row, "grown_bytes")),
                span((number(row, "hours") * 3_600_000.0) as i64),
                signed_iec(number(row, "bytes_per_hour")),
                iec(number(row, "last_bytes")),
                time(number(row, "start_us")),
            )
        };
        blocks.push(Block::Labeled("Worst", worst.iter().map(say).collect()));
        if let Some(first) = worst.first() {
            let focus = shell_word(&regex::escape(text(leak, "owner").rsplit("::").next().unwrap_or_default()));
            blocks.push(Block::Code(
                "Open",
                vec![
                    format!(
                        "heaptriage report {}.capture   # the capture of that instance, or its copy",
                        shell_word(text(first, "instance"))
                    ),
                    format!("heaptriage flamegraph {}.capture --focus {focus} -o leak.svg", shell_word(text(first, "instance"))),
                ],
            ));
        }
    }

    fn resident(&self, top: usize, blocks: &mut Vec<Block>) {
        let rows = self.rows("rss");
        if rows.is_empty() {
            return;
        }
        let head = ["Where RSS is (last snapshots)", "instances", "median", "most", "together", "live", "allocator", "other", "build"];
        let row_of = |row: &Row| {
            let sum = |columns: &[&str]| columns.iter().map(|column| number(row, &format!("ledger_{column}"))).sum::<f64>();
            let total = number(row, "ledger_rss_sum");
            let live = sum(&["live"]);
            let allocator =
                sum(&["sampling_overhead", "tcache", "fragmentation", "metadata", "dirty", "lazy_free", "untouched", "huge_pages"]);
            vec![
                text(row, "service").to_owned(),
                grouped(number(row, "instances") as u64),
                iec(number(row, "rss_median")),
                iec(number(row, "rss_max")),
                iec(number(row, "rss_sum")),
                percent(live, total),
                percent(allocator, total),
                percent(total - live - allocator, total),
                short(text(row, "build_id")),
            ]
        };
        blocks.push(table(&head, rows.iter().take(top).map(row_of)));
        more(rows.len(), top, blocks);
    }

    fn limits(&self, top: usize, blocks: &mut Vec<Block>) {
        let near: Vec<&Row> = self.rows("limits").iter().filter(|row| number(row, "hours_left") <= FAR).collect();
        if near.is_empty() {
            return;
        }
        let head = ["Reach their memory limit within a week", "hours left", "RSS", "limit", "per hour", "r²", "build"];
        let row_of = |row: &&Row| {
            vec![
                format!("{} {}", text(row, "service"), printable(text(row, "instance"))),
                format!("{:.1}", number(row, "hours_left")),
                iec(number(row, "rss")),
                iec(number(row, "limit_bytes")),
                signed_iec(number(row, "bytes_per_hour")),
                format!("{:.3}", number(row, "r2")),
                short(text(row, "build_id")),
            ]
        };
        blocks.push(table(&head, near.iter().take(top).map(row_of)));
        more(near.len(), top, blocks);
    }

    fn outliers(&self, top: usize, blocks: &mut Vec<Block>) {
        let rows = self.rows("outliers");
        if rows.is_empty() {
            return;
        }
        let head = ["Far from the others of their build", "RSS", "median", "deviations", "above its median", "by"];
        let row_of = |row: &Row| {
            let (what, by) = match (row.get("excess_bytes"), text(row, "ledger_row")) {
                (Some(Value::Number(_) | Value::String(_)), _) => (name(row), signed_iec(number(row, "excess_bytes"))),
                (_, "") => (String::new(), "not live heap".to_owned()),
                (_, row_word) => (ledger_words(row_word), signed_iec(number(row, "row_excess"))),
            };
            vec![
                format!("{} {}", text(row, "service"), printable(text(row, "instance"))),
                iec(number(row, "rss")),
                iec(number(row, "median_rss")),
                format!("{:+.1}", number(row, "score")),
                what,
                by,
            ]
        };
        blocks.push(table(&head, rows.iter().take(top).map(row_of)));
        more(rows.len(), top, blocks);
    }

    fn builds(&self, top: usize, blocks: &mut Vec<Block>) {
        let rows = self.rows("builds");
        if let Some(first) = rows.first() {
            let title = format!("Build {} against {}, at the same age", short(text(first, "build_b")), short(text(first, "build_a")));
            let several = rows.iter().any(|row| row.get("service") != first.get("service"));
            let title = if several { "Newest build against the one before, at the same age".to_owned() } else { title };
            let head = [title.as_str(), "before", "now", "change", "an instance, of"];
            let row_of = |row: &Row| {
                vec![
                    name(row),
                    iec(number(row, "bytes_a")),
                    iec(number(row, "bytes_b")),
                    signed_iec(number(row, "delta_bytes")),
                    text(row, "service").to_owned(),
                ]
            };
            blocks.push(table(&head, rows.iter().take(top).map(row_of)));
            more(rows.len(), top, blocks);
        }
        let rows = self.rows("new-stacks");
        if rows.is_empty() {
            return;
        }
        let head = ["Stacks that the newest build brought", "an instance", "most", "instances", "build"];
        let row_of = |row: &Row| {
            vec![
                name(row),
                iec(number(row, "bytes_per_instance")),
                iec(number(row, "most_bytes")),
                count(row, "instances"),
                short(text(row, "since_build")),
            ]
        };
        blocks.push(table(&head, rows.iter().take(top).map(row_of)));
        more(rows.len(), top, blocks);
    }

    fn heaviest(&self, top: usize, blocks: &mut Vec<Block>) {
        let rows = self.rows("top");
        if rows.is_empty() {
            return;
        }
        let head = ["Heaviest stacks (last dumps)", "together", "share", "instances", "most", "service"];
        let row_of = |row: &Row| {
            vec![
                name(row),
                iec(number(row, "inuse_bytes")),
                percent(number(row, "share"), 1.0),
                count(row, "instances"),
                iec(number(row, "most_bytes")),
                text(row, "service").to_owned(),
            ]
        };
        blocks.push(table(&head, rows.iter().take(top).map(row_of)));
        more(rows.len(), top, blocks);
    }
}

fn summary_after(kind: VerdictKind, summary: &str) -> String {
    if kind == VerdictKind::Leak { sentence(summary) } else { summary.to_owned() }
}

/// The first letter large.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    // A function's name stays as it is written.
    match chars.next() {
        Some(first) if !text.split(' ').next().unwrap_or_default().contains("::") => first.to_uppercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Block {
    Block::Table(Table { head: head.iter().map(|&head| head.to_owned()).collect(), rows: rows.collect(), total: false })
}

/// What a row of the ledger means for one that looks for a leak.
fn ledger_words(row: &str) -> String {
    match row {
        "dirty" => "no leak, retention: freed, kept dirty".to_owned(),
        "lazy_free" => "no leak, retention: freed (MADV_FREE)".to_owned(),
        "fragmentation" => "no leak, retention: fragmentation".to_owned(),
        "tcache" => "no leak, retention: thread caches".to_owned(),
        "huge_pages" => "not live heap: huge pages".to_owned(),
        "metadata" => "not live heap: allocator's metadata".to_owned(),
        "foreign_heap" => "another allocator's heap".to_owned(),
        other => format!("not live heap: {}", other.replace('_', " ")),
    }
}

/// Says what a table leaves out.
fn more(rows: usize, shown: usize, blocks: &mut Vec<Block>) {
    if rows > shown {
        blocks.push(Block::Paragraph(format!("and {} more (--top 0 shows all)", grouped((rows - shown) as u64))));
    }
}

/// The frame a row is known by: the owner, else the innermost.
fn name(row: &Row) -> String {
    const WIDEST: usize = 56;
    let name = match text(row, "owner") {
        "" => text(row, "leaf"),
        owner => owner,
    };
    let name = if name == "other" { "(stacks that were not told apart)" } else { name };
    let name = printable(name);
    let length = name.chars().count();
    if length <= WIDEST {
        return name.into_owned();
    }
    let tail: String = name.chars().skip(length - WIDEST + 3).collect();
    format!("...{tail}")
}

fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// A number; engines print large ones as text.
fn number(row: &Row, column: &str) -> f64 {
    let number = match row.get(column) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).unwrap_or(0.0)
}

fn count(row: &Row, column: &str) -> String {
    grouped(number(row, column).max(0.0) as u64)
}

fn plural(count: u64, one: &str) -> String {
    let s = if one.ends_with('s') { "es" } else { "s" };
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { s })
}

/// What is known of the frame that stands for a stack.
fn mark(owner: &str) -> &'static str {
    let offset = owner.rsplit_once("+0x").is_some_and(|(_, offset)| offset.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if offset {
        "innermost frame: the export had no names, so whose code it is cannot be told"
    } else {
        "owner: innermost frame of the program's own code"
    }
}

/// The beginning of a build-id.
fn short(build: &str) -> String {
    let hex = build.len() >= 16 && build.bytes().all(|byte| byte.is_ascii_hexdigit());
    printable(if hex { &build[..8] } else { build }).into_owned()
}

fn time(us: f64) -> String {
    jiff::Timestamp::from_second((us / 1e6) as i64).map_or_else(|_| format!("{us} us"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    fn fleet(answers: &[(&'static str, Value)]) -> Fleet {
        let answers = answers.iter().map(|(name, rows)| (*name, rows.as_array().unwrap().iter().cloned().map(row).collect()));
        Fleet::of("/srv/fleet", &Scope::default(), answers)
    }

    fn leak() -> Value {
        json!({"service": "web", "build_id": "0123456789abcdef0123", "stack_id": "f00d", "verdict": "leak", "growing": 30, "instances": 40,
               "bytes_per_hour": 2097152.0, "r2": 0.9991, "grown_bytes": 1e9, "since_build": "0123456789abcdef0123", "quiet_builds": 1,
               "owner": "app::push", "leaf": "app::push", "folded": "main;app::run;app::push"})
    }

    #[test]
    fn a_leak_is_said_with_its_vote() {
        let overview = json!([{"service": "web", "build_id": "a", "incarnations": 40, "snapshots": 400, "dumps": 400, "first_us": 0, "last_us": 3.6e9},
                              {"service": "web", "build_id": "b", "incarnations": 40, "snapshots": 400, "dumps": 400, "first_us": 0, "last_us": 3.6e9}]);
        let worst =
            json!([{"service": "web", "stack_id": "f00d", "instance": "pod 7", "grown_bytes": 1e8, "bytes_per_hour": 1e7, "hours": 10.0}]);
        let fleet = fleet(&[("overview", overview), ("leaks", json!([leak()])), ("worst", worst)]);
        let (kind, summary) = fleet.verdict();
        assert_eq!(kind, VerdictKind::Leak);
        assert_eq!(
            summary,
            "app::push of web grows in 30 of 40 instances of build 01234567, by 2.0 MiB an hour each (median, r² 0.999), 953.7 MiB together. \
             Since build 01234567: in the build before it no instance grows there."
        );
        let text = crate::report::text::render(&fleet.blocks(5));
        for part in [
            "30 of 40",
            "owner: innermost",
            "in 10 h 0 min",
            "heaptriage report 'pod 7'.capture",
            "80 processes of 2 builds",
            "1970-01-01T01:00:00Z",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(fleet.json()["leaks"][0]["growing"], 30);
    }

    #[test]
    fn without_votes_it_says_what_was_watched() {
        let mut one = leak();
        one["verdict"] = "suspicion".into();
        assert_eq!(fleet(&[("leaks", json!([one]))]).verdict().0, VerdictKind::Growth);
        assert_eq!(fleet(&[("overview", json!([{"dumps": 3}]))]).verdict().0, VerdictKind::Inconclusive);
        assert_eq!(fleet(&[("overview", json!([{"dumps": "800"}]))]).verdict().0, VerdictKind::Steady);
        assert_eq!(fleet(&[]).verdict().0, VerdictKind::Inconclusive);
    }

    #[test]
    fn a_frame_without_a_name_is_nobody_s() {
        assert!(mark("indexer+0x117262").starts_with("innermost frame: the export had no names"));
        assert!(mark("app::push").starts_with("owner:"));
        assert!(mark("ops::add+0xyz").starts_with("owner:"));
    }

    #[test]
    fn an_instance_that_keeps_freed_memory_is_no_leak() {
        let outlier = |row: Value, excess: Value| {
            json!({"service": "web", "instance": "pod-7", "rss": 5e8, "median_rss": 1e8, "score": 70.0, "stack_id": null, "excess_bytes": null,
                   "ledger_row": row, "row_excess": excess})
        };
        let outliers =
            json!([outlier("dirty".into(), 4e8.into()), outlier("thread_stacks".into(), 4e8.into()), outlier(Value::Null, Value::Null)]);
        let text = crate::report::text::render(&fleet(&[("outliers", outliers)]).blocks(5));
        for part in ["no leak, retention: freed, kept dirty", "+381.5 MiB\n", "not live heap: thread stacks", "not live heap\n"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
