//! What a page carries for its script: columns of numbers and a table of texts, as JSON, gzip and base64.
//!
//! Names are hostile input. In base64 nothing can end the script element; what could reorder or hide text is made
//! visible before it gets here.

use crate::analysis::estimate::Interval;
use crate::analysis::explorer::{DumpCounts, Explorer};
use crate::analysis::ledger::{Ledger, RowKind};
use crate::model::frame::Role;
use crate::origin::printable;
use crate::report::base64;
use flate2::{Compression, GzBuilder};
use hashbrown::HashMap;
use serde_json::{Map, Value, json};
use std::io::Write;

/// An instant that can be marked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// Name people know it by.
    pub name: String,
    /// Unix milliseconds; `None` where only the order is known.
    pub unix_ms: Option<i64>,
    /// Index of its dump in the explorer.
    pub dump: Option<usize>,
}

/// The course of a suspect, for its chart: live bytes at every dump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Stable name of the suspect.
    pub fingerprint: String,
    /// Function of its owner frame.
    pub owner: String,
    /// One a dump.
    pub levels: Vec<Interval>,
}

/// What the page starts with, as its controls would say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// `live`, `growth`, `difference` or `allocated`.
    pub mode: &'static str,
    /// `bytes` or `objects`.
    pub unit: &'static str,
    /// `function`, `line`, `crate` or `thread`.
    pub by: &'static str,
    /// Regular expressions of the filters, empty for none.
    pub focus: String,
    /// As above.
    pub ignore: String,
    /// As above.
    pub hide: String,
    /// Owner crate, empty for all.
    pub krate: String,
    /// Show hidden frames.
    pub all_frames: bool,
    /// Callers on top.
    pub icicle: bool,
    /// Stacks turned round: the innermost frame is the root.
    pub reverse: bool,
    /// Differences in colors that are told apart with any color vision.
    pub safe_colors: bool,
}

/// Everything for the script.
#[derive(Debug)]
pub struct Data<'a> {
    /// Stacks and counts.
    pub explorer: &'a Explorer,
    /// Instants, by time.
    pub marks: &'a [Mark],
    /// The ledger over the instants; `None` where there is none.
    pub ledger: Option<&'a Ledger>,
    /// Suspects in the order of the page.
    pub courses: &'a [Course],
    /// First state.
    pub start: &'a Start,
}

impl Data<'_> {
    /// As the page carries it.
    pub fn encode(&self) -> String {
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(&mut gzip, &self.value());
        let _ = gzip.flush();
        base64::encode(&gzip.finish().unwrap_or_default())
    }

    /// The JSON value.
    pub fn value(&self) -> Value {
        let profile = &self.explorer.profile;
        let mut texts = Texts::default();
        let mut text = |name| profile.text(name).map_or(-1, |text| texts.id(text));
        let frames = &profile.frames;
        let functions: Vec<i64> = frames.iter().map(|f| text(Some(f.function))).collect();
        let files: Vec<i64> = frames.iter().map(|f| text(f.file)).collect();
        let crates: Vec<i64> = frames.iter().map(|f| text(f.krate.or(f.module))).collect();
        let modules: Vec<i64> = frames.iter().map(|f| text(f.module)).collect();
        let lines: Vec<u32> = frames.iter().map(|f| f.line.unwrap_or(0)).collect();
        let roles: Vec<u8> = frames.iter().map(|f| role(f.role) | u8::from(f.inlined) << 3).collect();
        let threads: Vec<i64> = profile.threads.iter().map(|thread| texts.id(thread)).collect();
        json!({
            "texts": texts.list,
            "frames": {"function": functions, "file": files, "line": lines, "crate": crates, "module": modules, "role": roles},
            "threads": threads,
            "nodes": {
                "parent": self.explorer.nodes.iter().map(|n| n.parent).collect::<Vec<_>>(),
                "frame": self.explorer.nodes.iter().map(|n| n.frame).collect::<Vec<_>>(),
            },
            "stacks": {
                "leaf": self.explorer.stacks.iter().map(|s| s.leaf).collect::<Vec<_>>(),
                "owner": self.explorer.stacks.iter().map(|s| s.owner).collect::<Vec<_>>(),
            },
            "dumps": self.explorer.dumps.iter().map(dump).collect::<Vec<_>>(),
            "marks": self.marks.iter().map(|m| json!({"name": printable(&m.name), "ms": m.unix_ms, "dump": m.dump})).collect::<Vec<_>>(),
            "ledger": self.ledger.filter(|ledger| !ledger.rows.is_empty()).map(ledger),
            "suspects": self.courses.iter().map(course).collect::<Vec<_>>(),
            "start": start(self.start),
        })
    }
}

fn role(role: Role) -> u8 {
    match role {
        Role::Allocator => 0,
        Role::Library => 1,
        Role::Runtime => 2,
        Role::Dependency => 3,
        Role::User => 4,
    }
}

/// Columns: stack (as distance from the one before), live objects and bytes, accumulated ones where recorded.
fn dump(dump: &DumpCounts) -> Value {
    let mut value = Map::new();
    value.insert("interval".to_owned(), dump.interval.into());
    value.insert("process".to_owned(), dump.process.into());
    value.insert("stack".to_owned(), json!(steps(dump.counts.iter().map(|c| c.stack))));
    value.insert("objects".to_owned(), json!(dump.counts.iter().map(|c| c.live.objects).collect::<Vec<_>>()));
    value.insert("bytes".to_owned(), json!(dump.counts.iter().map(|c| c.live.bytes).collect::<Vec<_>>()));
    if dump.accumulated {
        value.insert("all_objects".to_owned(), json!(dump.counts.iter().map(|c| c.accumulated.objects).collect::<Vec<_>>()));
        value.insert("all_bytes".to_owned(), json!(dump.counts.iter().map(|c| c.accumulated.bytes).collect::<Vec<_>>()));
    }
    if !dump.threads.is_empty() {
        let column = |of: fn(&crate::analysis::explorer::ThreadCounts) -> u64| json!(dump.threads.iter().map(of).collect::<Vec<_>>());
        value.insert(
            "threads".to_owned(),
            json!({
                "stack": steps(dump.threads.iter().map(|t| t.stack)),
                "thread": column(|t| t.thread.into()),
                "objects": column(|t| t.live.objects),
                "bytes": column(|t| t.live.bytes),
            }),
        );
    }
    Value::Object(value)
}

fn steps(ascending: impl Iterator<Item = u32>) -> Vec<u32> {
    ascending
        .scan(0, |before, now| {
            let step = now - *before;
            *before = now;
            Some(step)
        })
        .collect()
}

fn ledger(ledger: &Ledger) -> Value {
    json!({
        "at": ledger.snapshots,
        "rss": ledger.rss,
        "rows": ledger.rows.iter().filter(|row| row.kind == RowKind::Unattributed || row.bytes.iter().any(|&b| b != 0)).map(|row| json!({
            "kind": row.kind.word(), "label": printable(&row.label), "basis": row.basis.to_string(), "bytes": row.bytes,
        })).collect::<Vec<_>>(),
    })
}

fn course(course: &Course) -> Value {
    let whole = |v: f64| v.round() as i64;
    json!({
        "fingerprint": course.fingerprint,
        "owner": printable(&course.owner),
        "levels": course.levels.iter().map(|l| whole(l.estimate)).collect::<Vec<_>>(),
        "low": course.levels.iter().map(|l| whole(l.low)).collect::<Vec<_>>(),
        "high": course.levels.iter().map(|l| whole(l.high)).collect::<Vec<_>>(),
    })
}

fn start(start: &Start) -> Value {
    json!({
        "mode": start.mode, "unit": start.unit, "by": start.by, "focus": start.focus, "ignore": start.ignore, "hide": start.hide,
        "crate": start.krate, "frames": if start.all_frames { "all" } else { "" }, "flip": if start.icicle { "" } else { "1" },
        "turn": if start.reverse { "1" } else { "" }, "colors": if start.safe_colors { "safe" } else { "" },
    })
}

/// Distinct texts, made printable.
#[derive(Default)]
struct Texts {
    ids: HashMap<String, i64>,
    list: Vec<String>,
}

impl Texts {
    fn id(&mut self, text: &str) -> i64 {
        let text = printable(text);
        if let Some(&id) = self.ids.get(text.as_ref()) {
            return id;
        }
        let id = self.list.len() as i64;
        self.list.push(text.as_ref().to_owned());
        self.ids.insert(text.into_owned(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::explorer::tests::explorer;

    #[test]
    fn columns_are_as_long_as_what_they_describe() {
        let explorer = explorer(true);
        let (start, marks) = (Start::default(), [Mark::default(), Mark::default()]);
        let data = Data { explorer: &explorer, marks: &marks, ledger: None, courses: &[], start: &start };
        let value = data.value();
        let len = |pointer: &str| value.pointer(pointer).and_then(Value::as_array).map(Vec::len);
        assert_eq!(len("/nodes/parent"), Some(explorer.nodes.len()));
        assert_eq!(len("/frames/function"), len("/frames/role"));
        assert_eq!(value.pointer("/dumps/1/stack"), Some(&json!([0, 1])), "distances");
        assert_eq!(value.pointer("/dumps/1/objects"), Some(&json!([40, 10])));
        assert_eq!(value.pointer("/dumps/0/threads/stack"), Some(&json!([0, 0, 1])));
        assert_eq!(value.pointer("/threads"), Some(&json!([9, 10])));
        assert_eq!(data.encode(), data.encode());
    }
}
