//! Where results go: standard output, or a file that appears only when it is whole.
//!
//! Also the one table of which command writes which format.

use crate::report::views::Look;
use anyhow::Context as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

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
    ("fleet", &[Text, Json]),
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
}

#[derive(Debug)]
enum Target {
    Stdout(BufWriter<io::Stdout>),
    /// A device or a pipe with a name: written as it comes.
    Special(BufWriter<File>),
    Replace(BufWriter<NamedTempFile>, PathBuf),
}

impl Output {
    /// Opens `path`, or standard output for `None` and `-`. Called before the long work, so that a bad
    /// path fails early.
    pub fn create(path: Option<&Path>, format: Format) -> anyhow::Result<Output> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            let stdout = io::stdout();
            if format.is_binary() && stdout.is_terminal() {
                anyhow::bail!("{} is binary and standard output is a terminal\n  help: write it to a file with -o FILE", format.word());
            }
            let look = if format.is_text() { terminal_look(&stdout) } else { Look::default() };
            return Ok(Output { to: Target::Stdout(BufWriter::new(stdout)), look });
        };
        let to = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => anyhow::bail!("{}: it is a directory", cannot_write(path)),
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path).with_context(|| cannot_write(path))?;
                Target::Special(BufWriter::new(file))
            }
            found => {
                // Through a symbolic link the file behind it is replaced, not the link.
                let real = if found.is_ok() { std::fs::canonicalize(path).with_context(|| cannot_write(path))? } else { path.to_owned() };
                let directory = real.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let mut builder = tempfile::Builder::new();
                builder.prefix(".heaptriage-");
                #[cfg(unix)]
                builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
                let file = builder.tempfile_in(directory).with_context(|| cannot_write(path))?;
                Target::Replace(BufWriter::new(file), real)
            }
        };
        Ok(Output { to, look: Look::default() })
    }

    /// How text may look here.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Flushes, and puts the file in its place.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.to {
            Target::Stdout(mut out) => out.flush()?,
            Target::Special(mut out) => out.flush()?,
            Target::Replace(file, path) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(|| cannot_write(&path))?;
                file.persist(&path).map_err(|error| error.error).with_context(|| cannot_write(&path))?;
            }
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Target::Stdout(out) => out.write(bytes),
            Target::Special(out) => out.write(bytes),
            Target::Replace(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Target::Stdout(out) => out.flush(),
            Target::Special(out) => out.flush(),
            Target::Replace(file, _) => file.flush(),
        }
    }
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
