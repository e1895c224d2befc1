//! A Prometheus text file about the process being recorded, for node_exporter's textfile collector.
//!
//! ```text
//! # HELP heaptriage_rss_bytes Resident memory of the process.
//! # TYPE heaptriage_rss_bytes gauge
//! heaptriage_rss_bytes{process="indexer",pid="4121"} 563200000
//! ```
//!
//! Replaced by rename at each snapshot, because the collector may read at any moment.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Figures of one snapshot, to be written as gauges.
#[derive(Clone, Debug)]
pub struct Gauges {
    labels: String,
    text: String,
    last: Option<String>,
}

impl Gauges {
    /// Of a process by name and number.
    pub fn new(process: &str, pid: u32) -> Gauges {
        Gauges { labels: format!("process=\"{}\",pid=\"{pid}\"", escaped(process)), text: String::new(), last: None }
    }

    /// A figure; those of one name follow each other.
    pub fn add(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        if self.last.as_deref() != Some(name) {
            // Writing to a String cannot fail.
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
            self.last = Some(name.to_owned());
        }
        let labels: String = labels.iter().map(|(key, value)| format!(",{key}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.text, "{name}{{{}{labels}}} {value}", self.labels);
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts the text into the file, whole at every moment.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}", std::process::id()));
        let partial = path.with_file_name(partial);
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(self.text.as_bytes())?;
            fs::rename(&partial, path)
        });
        written.inspect_err(|_| drop(fs::remove_file(&partial)))
    }
}

/// A label's value: backslash, quote and newline are escaped (Prometheus exposition format).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_help_once_and_labels_escaped() {
        let mut gauges = Gauges::new("a\"b", 7);
        gauges.add("heaptriage_rss_bytes", "Resident memory.", &[], 4096.0);
        gauges.add("heaptriage_ledger_bytes", "By owner.", &[("kind", "live")], 1.0);
        gauges.add("heaptriage_ledger_bytes", "By owner.", &[("kind", "untouched")], -2.0);
        insta::assert_snapshot!(gauges.text(), @r#"
        # HELP heaptriage_rss_bytes Resident memory.
        # TYPE heaptriage_rss_bytes gauge
        heaptriage_rss_bytes{process="a\"b",pid="7"} 4096
        # HELP heaptriage_ledger_bytes By owner.
        # TYPE heaptriage_ledger_bytes gauge
        heaptriage_ledger_bytes{process="a\"b",pid="7",kind="live"} 1
        heaptriage_ledger_bytes{process="a\"b",pid="7",kind="untouched"} -2
        "#);
    }

    #[test]
    fn the_file_is_replaced_whole_or_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heaptriage.prom");
        let mut gauges = Gauges::new("x", 1);
        gauges.add("a", "b", &[], 1.0);
        gauges.write(&path).unwrap();
        gauges.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), gauges.text());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(gauges.write(&folder.path().join("no/such.prom")).is_err());
    }
}
