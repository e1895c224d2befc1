//! The option group of suppressions, and where their files are found.

use crate::analysis::suppress::{FramePattern, Rule, Suppressions};
use crate::input::suppressions::{self, KNOWN_NON_LEAKS, RawFrame, RawSuppression};
use crate::origin::Notice;
use clap::Args;
use jiff::civil::Date;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the project's own file, looked for upward from the current directory.
const CONFIG: &str = "heaptriage.toml";
/// A suppressions file is written by hand or by a tool for people to read; more than this is something else.
const MOST_BYTES: u64 = 16 << 20;

/// What is known not to be a leak.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Suppressions")]
pub struct SuppressArgs {
    /// Suspects that match a suppression in FILE are counted and not shown: heaptriage.toml, LeakSanitizer's
    /// `leak:` lines, or a Valgrind .supp file.
    #[arg(long, value_name = "FILE")]
    suppress: Vec<PathBuf>,
    /// Do not look for heaptriage.toml in this directory and those above it.
    #[arg(long)]
    no_config: bool,
}

impl SuppressArgs {
    /// Reads the files: those named first, then heaptriage.toml, then the list that comes with the program.
    /// Nothing expires before [`Suppressions::today`] is set.
    pub fn load(&self) -> anyhow::Result<(Suppressions, Vec<Notice>)> {
        let mut rules = Vec::new();
        let mut notices = Vec::new();
        let config = if self.no_config { None } else { std::env::current_dir().ok().and_then(|here| find_config(&here)) };
        for path in self.suppress.iter().chain(&config) {
            let bytes = read(path)?;
            let shown = shown(path);
            let parsed = suppressions::parse(&bytes).map_err(|error| {
                let help = error.help.as_deref().map_or_else(String::new, |help| format!("\n  help: {help}"));
                anyhow::anyhow!("{shown}:{}: {error}{help}", error.position(&bytes))
            })?;
            notices.extend(parsed.warnings.iter().map(|warning| Notice::place(&shown, &bytes, warning)));
            rules.extend(parsed.value.into_iter().map(|raw| rule(raw, &shown, false)));
        }
        // Proven sound by a test of its parser.
        let known = suppressions::parse(KNOWN_NON_LEAKS.as_bytes()).map(|parsed| parsed.value).unwrap_or_default();
        rules.extend(known.into_iter().map(|raw| rule(raw, "known non-leaks", true)));
        Ok((Suppressions { rules, today: None }, notices))
    }
}

/// The day of a moment, in UTC.
pub fn day(unix_ms: i64) -> Option<Date> {
    Some(jiff::Timestamp::from_millisecond(unix_ms).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date())
}

fn rule(raw: RawSuppression, file: &str, builtin: bool) -> Rule {
    let place = if builtin { file.to_owned() } else { format!("{file}:{}", raw.line) };
    Rule {
        label: match &raw.name {
            Some(name) => format!("{place}, {name}"),
            None => place,
        },
        frames: raw.frames.into_iter().map(frame).collect(),
        pattern: raw.pattern,
        fingerprint: raw.fingerprint,
        reason: raw.reason,
        expires: raw.expires,
        builtin,
    }
}

fn frame(raw: RawFrame) -> FramePattern {
    match raw {
        RawFrame::Rest => FramePattern::Rest,
        RawFrame::Function(text) => FramePattern::Function(text),
        RawFrame::Module(text) => FramePattern::Module(text),
        RawFrame::File(text) => FramePattern::File(text),
        RawFrame::Anything(text) => FramePattern::Anything(text),
    }
}

/// The project's file: in this directory or one above it, not beyond the root of a repository.
fn find_config(here: &Path) -> Option<PathBuf> {
    for folder in here.ancestors() {
        let path = folder.join(CONFIG);
        if path.is_file() {
            return Some(path);
        }
        if folder.join(".git").exists() {
            return None;
        }
    }
    None
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = |error: std::io::Error| anyhow::anyhow!("cannot read suppressions {}: {error}", shown(path));
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    anyhow::ensure!(bytes.len() as u64 <= MOST_BYTES, "{} has more than 16 MiB: not a suppressions file", shown(path));
    Ok(bytes)
}

/// A path as messages show it.
fn shown(path: &Path) -> String {
    crate::origin::printable(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_file_is_found_upward_within_its_repository() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        assert_eq!(find_config(&deep).filter(|found| found.starts_with(root.path())), None);
        std::fs::write(root.path().join(CONFIG), "").unwrap();
        assert_eq!(find_config(&deep), Some(root.path().join(CONFIG)));
        std::fs::create_dir(root.path().join("a/.git")).unwrap();
        assert_eq!(find_config(&deep), None);
    }

    #[test]
    fn files_come_before_the_shipped_list() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lsan.txt");
        std::fs::write(&path, "leak:foo\nrace:bar\n").unwrap();
        let args = SuppressArgs { suppress: vec![path.clone()], no_config: true };
        let (all, notices) = args.load().unwrap();
        assert!(all.rules[0].label.ends_with("lsan.txt:1") && !all.rules[0].builtin);
        assert!(all.rules[1..].iter().all(|rule| rule.builtin));
        assert_eq!(notices[0].position.map(|p| p.line), Some(2));
        assert_eq!(day(86_400_000), Some(jiff::civil::date(1970, 1, 2)));
        std::fs::write(&path, "[[suppress]]\nframes = [\"f\"]\n").unwrap();
        let error = args.load().unwrap_err().to_string();
        assert!(error.contains("lsan.txt:1:1: a suppression needs a reason") && error.contains("help:"), "{error}");
    }
}
