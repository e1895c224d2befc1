//! Where results go: standard output, or a file that appears only when it is whole.
//!
//! Also the one table of which command writes which format.

use super::draft::Draft;
use crate::report::views::Look;
use anyhow::Context as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Output formats of all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names are the formats")]
pub enum Format {
    Text,
    Json,
    Csv,
    Markdown,
    Html,
    Sarif,
    Junit,
    Folded,
    Svg,
    Pprof,
    /// Graphviz.
    Dot,
    /// The layout of `jeprof --text`, addresses and flooring included.
    Jeprof,
}

impl Format {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Markdown => "markdown",
            Format::Html => "html",
            Format::Sarif => "sarif",
            Format::Junit => "junit",
            Format::Folded => "folded",
            Format::Svg => "svg",
            Format::Pprof => "pprof",
            Format::Dot => "dot",
            Format::Jeprof => "jeprof",
        }
    }

    /// Whether it is for reading in a terminal: colored there, and fitted to its width.
    fn is_text(self) -> bool {
        matches!(self, Format::Text)
    }

    /// Whether it is JSON, in which any character of a string may be written as `\uXXXX`.
    fn is_json(self) -> bool {
        matches!(self, Format::Json | Format::Sarif)
    }

    /// Whether it would harm a terminal.
    fn is_binary(self) -> bool {
        matches!(self, Format::Pprof)
    }
}

use Format::{Csv, Dot, Folded, Html, Jeprof, Json, Junit, Markdown, Pprof, Sarif, Svg, Text};

/// Which command writes which formats; the first is its default.
pub const FORMATS: [(&str, &[Format]); 15] = [
    ("report", &[Text, Markdown, Json, Html, Sarif]),
    ("diff", &[Text, Json, Csv, Folded, Svg, Html, Pprof, Jeprof]),
    ("top", &[Text, Json, Csv, Jeprof]),
    ("tree", &[Text, Json]),
    ("peek", &[Text, Json]),
    ("list", &[Text, Json]),
    ("flamegraph", &[Svg, Folded, Html]),
    ("rss", &[Text, Json, Csv, Svg]),
    ("trend", &[Text, Json, Csv]),
    ("sites", &[Text, Json, Sarif]),
    ("owners", &[Text, Json, Dot]),
    ("check", &[Text, Json, Junit, Sarif]),
    ("doctor", &[Text, Json]),
    ("fleet", &[Text, Markdown, Json]),
    ("schema", &[Json]),
];

/// The format of `command`: the one asked for, else its default; an error where it does not write that one.
pub fn choose(command: &str, asked: Option<Format>) -> anyhow::Result<Format> {
    let formats = FORMATS.iter().find(|(name, _)| *name == command).map_or(&[Text][..], |(_, formats)| formats);
    let Some(asked) = asked else { return Ok(formats[0]) };
    if formats.contains(&asked) {
        return Ok(asked);
    }
    let own: Vec<&str> = formats.iter().map(|f| f.word()).collect();
    let others: Vec<&str> = FORMATS.iter().filter(|(_, formats)| formats.contains(&asked)).map(|(name, _)| *name).collect();
    anyhow::bail!(
        "`{command}` does not write {}: it writes {}\n  help: {} {} it",
        asked.word(),
        own.join(", "),
        others.join(", "),
        if others.len() == 1 { "writes" } else { "write" }
    )
}

/// An open output. Nothing is in the named file until [`Output::finish`].
#[derive(Debug)]
pub struct Output {
    to: Target,
    look: Look,
    /// For JSON: the start of a character that the last write cut.
    pending: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Target {
    Stdout(BufWriter<io::Stdout>),
    /// A device or a pipe with a name: written as it comes.
    Special(BufWriter<File>, PathBuf),
    Replace(BufWriter<Draft>, PathBuf),
}

impl Output {
    /// Opens `path`, or standard output for `None` and `-`. Called before the long work, so that a bad
    /// path fails early.
    pub fn create(path: Option<&Path>, format: Format) -> anyhow::Result<Output> {
        let pending = format.is_json().then(Vec::new);
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            let stdout = io::stdout();
            if format.is_binary() && stdout.is_terminal() {
                anyhow::bail!("{} is binary and standard output is a terminal\n  help: write it to a file with -o FILE", format.word());
            }
            let look = if format.is_text() { terminal_look(&stdout) } else { Look::default() };
            return Ok(Output { to: Target::Stdout(BufWriter::new(stdout)), look, pending });
        };
        let to = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => anyhow::bail!("{}: it is a directory", cannot_write(path)),
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path).with_context(|| cannot_write(path))?;
                Target::Special(BufWriter::new(file), path.to_owned())
            }
            found => {
                // Through a symbolic link the file behind it is replaced, not the link.
                let real = if found.is_ok() { std::fs::canonicalize(path).with_context(|| cannot_write(path))? } else { path.to_owned() };
                let directory = real.parent().unwrap_or(Path::new("."));
                let file = Draft::new_in(directory).with_context(|| cannot_write(path))?;
                Target::Replace(BufWriter::new(file), real)
            }
        };
        Ok(Output { to, look: Look::default(), pending })
    }

    /// How text may look here.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Flushes, and puts the file in its place.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if let Some(rest) = self.pending.take().filter(|rest| !rest.is_empty()) {
            self.to.write_all(&rest)?;
        }
        self.to.flush()?;
        if let Target::Replace(file, path) = self.to {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(|| cannot_write(&path))?;
            file.persist(&path).with_context(|| cannot_write(&path))?;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.pending {
            None => self.to.write(bytes),
            Some(pending) if pending.is_empty() && is_plain(bytes) => self.to.write(bytes),
            Some(pending) => {
                pending.extend_from_slice(bytes);
                let text = std::mem::take(pending);
                let whole = match std::str::from_utf8(&text) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => text.len(),
                };
                let (text, rest) = text.split_at(whole);
                pending.extend_from_slice(rest);
                self.to.write_all(escaped(text).as_bytes())?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Stdout(out) => {
                super::progress::end();
                out.write(bytes).map_err(|error| named("standard output", &error))
            }
            Target::Special(out, path) => out.write(bytes).map_err(|error| named(&path.to_string_lossy(), &error)),
            Target::Replace(file, path) => file.write(bytes).map_err(|error| named(&path.to_string_lossy(), &error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Stdout(out) => out.flush().map_err(|error| named("standard output", &error)),
            Target::Special(out, path) => out.flush().map_err(|error| named(&path.to_string_lossy(), &error)),
            Target::Replace(file, path) => file.flush().map_err(|error| named(&path.to_string_lossy(), &error)),
        }
    }
}

/// An error of the system with what could not be written; a reader that went away stays recognizable.
fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", crate::origin::printable(what)))
}

/// Whether nothing in `bytes` needs [`escaped`]: the usual case, told without decoding.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte < 0x7f)
}

/// JSON whose strings a terminal shows as they are. serde_json writes U+007F and above raw, and there are
/// control characters and marks that reorder text among them; outside strings JSON has none of these.
fn escaped(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_ascii() && c != '\u{7f}' || !crate::origin::is_unprintable(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", crate::origin::printable(&path.to_string_lossy()))
}

fn terminal_look(stdout: &io::Stdout) -> Look {
    let color = anstream::AutoStream::choice(stdout) != anstream::ColorChoice::Never;
    let width = if stdout.is_terminal() { rustix::termios::tcgetwinsize(stdout).ok().map(|size| usize::from(size.ws_col)) } else { None };
    Look { width: width.filter(|&columns| columns > 0), color }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_a_command_lacks_is_refused_by_name() {
        assert_eq!(choose("top", None).unwrap(), Text);
        assert_eq!(choose("flamegraph", None).unwrap(), Svg);
        assert_eq!(choose("top", Some(Csv)).unwrap(), Csv);
        let error = choose("top", Some(Svg)).unwrap_err().to_string();
        assert_eq!(error, "`top` does not write svg: it writes text, json, csv, jeprof\n  help: diff, flamegraph, rss write it");
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.json");
        let mut output = Output::create(Some(&path), Json).unwrap();
        output.write_all(b"{}").unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{}");
        let mut output = Output::create(Some(&path), Json).unwrap();
        output.write_all(b"[").unwrap();
        drop(output);
        assert_eq!(std::fs::read(&path).unwrap(), b"{}", "an unfinished output leaves the old file");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "and nothing beside it");
    }

    #[test]
    fn json_has_no_raw_control_characters_however_it_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.json");
        let json = "{\n  \"a\": \"r\u{202e}l \u{9b}2J \u{7f} \u{feff} ü …\"\n}".as_bytes();
        for step in 1..8 {
            let mut output = Output::create(Some(&path), Json).unwrap();
            json.chunks(step).for_each(|chunk| output.write_all(chunk).unwrap());
            output.finish().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, "{\n  \"a\": \"r\\u202el \\u009b2J \\u007f \\ufeff ü …\"\n}");
        }
    }

    #[test]
    fn bad_paths_fail_before_the_work() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Output::create(Some(directory.path()), Json).unwrap_err().to_string().ends_with("it is a directory"));
        let missing = directory.path().join("missing/out.json");
        assert!(Output::create(Some(&missing), Json).is_err());
        let mut device = Output::create(Some(Path::new("/dev/null")), Json).unwrap();
        device.write_all(b"x").unwrap();
        device.finish().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }
}
