//! Source files at hand: which file of the repository a frame is about, and the lines around it.
//!
//! Paths in debug information are those of the machine that built the program, and may be anything in a hostile
//! binary. A file is read only below a root that was given (or, for places in SARIF, below the current directory):
//! paths with `..` are refused, and so is whatever leads outside through a link.

use crate::analysis::finding::FrameView;
use crate::analysis::sites::source::{SourceText, lines_of_interest, standing_functions};
use crate::binary::facts::FileLines;
use crate::binary::types::TypeTable;
use crate::model::frame::Role;
use crate::origin::printable;
use crate::report::sarif::Places;
use clap::Args;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Lines before and after the one a frame is about.
const AROUND: u32 = 1;
/// A source file larger than this is generated; its lines say nothing to people.
const MOST_BYTES: u64 = 4 << 20;
/// Bytes of source text that are kept for one binary.
const MOST_TEXT: usize = 256 << 20;
/// Functions on the right line for each on a wrong one, from which on a file that is newer than the binary is what was built.
const SURE: usize = 10;
/// Characters shown of a line.
const MOST_COLUMNS: usize = 120;

/// Where the sources are.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sources")]
pub struct SourceArgs {
    /// Look below DIR for the sources: for the lines of owners, for calls that skip a destructor. Places in SARIF are relative
    /// to it. A file that is not what was built, as the lines of its functions tell, is not used.
    #[arg(long, value_name = "DIR")]
    source_root: Vec<PathBuf>,
    /// Take what the debug information calls FROM as TO, which is relative to a --source-root (or absolute, below one).
    #[arg(long, value_name = "FROM=TO", value_parser = path_map)]
    path_map: Vec<(String, String)>,
}

/// Source lines of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// Position of the frame among those asked for.
    pub frame: usize,
    /// Path relative to the root it was found below.
    pub file: String,
    /// The line that the frame is about.
    pub line: u32,
    /// Number and text of the lines around it, safe to print.
    pub lines: Vec<(u32, String)>,
}

/// The lines around each frame whose file is below a root; nothing where no root was given.
pub fn snippets(frames: &[FrameView], args: &SourceArgs) -> Vec<Snippet> {
    let roots = args.roots();
    let one = |(index, frame): (usize, &FrameView)| {
        let (file, line) = (frame.file.as_deref()?, frame.line.filter(|&line| line > 0)?);
        let (root, relative) = roots.iter().find_map(|root| Some((root, args.find(root, file)?)))?;
        let lines = lines_around(&root.join(&relative), line)?;
        Some(Snippet { frame: index, file: printable(&relative).into_owned(), line, lines })
    };
    frames.iter().enumerate().filter_map(one).collect()
}

/// Where the files of these frames stand below the first root that has them; without `--source-root`, below the
/// current directory. Only the program's own code is looked for.
pub fn places<'a>(frames: impl Iterator<Item = &'a FrameView>, args: &SourceArgs) -> Places {
    let mut roots = args.roots();
    if roots.is_empty() {
        roots.extend(std::env::current_dir().and_then(|here| here.canonicalize()));
    }
    let mut places = Places::new();
    for file in frames.filter(|frame| frame.role == Some(Role::User)).filter_map(|frame| frame.file.as_deref()) {
        if !places.contains_key(file)
            && let Some(relative) = roots.iter().find_map(|root| args.find(root, file))
        {
            places.insert(file.to_owned(), relative);
        }
    }
    places
}

/// Sources of a binary, read for calls that skip a destructor.
#[derive(Debug, Default)]
pub struct BinarySources {
    /// The files that have such calls, or declare what those need.
    pub texts: Vec<SourceText>,
    /// The lines to read the binary's functions of.
    pub lines: Vec<FileLines>,
    /// Files that were looked at.
    pub read: usize,
    /// Files that are newer than the binary, with functions on other lines, and not used.
    pub newer: usize,
    /// Files that are newer than the binary and used, since their functions stand where the debug information says.
    pub undated: usize,
    /// Files whose functions do not stand where the debug information says.
    pub different: usize,
}

impl BinarySources {
    /// What people should know of it; empty where there is nothing to say.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.read == 0 && self.newer == 0 && self.different == 0 {
            notes.push("None of the binary's source files was found below --source-root.".to_owned());
        }
        if self.newer > 0 {
            notes.push(format!("Sources: {} newer than the binary and not used; rebuild, or check out what was built.", files(self.newer)));
        }
        if self.different > 0 {
            notes.push(format!(
                "Sources: {} not used, because functions stand on other lines than in the debug info: not what was built.",
                files(self.different)
            ));
        }
        notes
    }

    /// What was used though its time speaks against it.
    pub fn remark(&self) -> Option<String> {
        (self.undated > 0).then(|| {
            let file = files(self.undated);
            format!("Sources: {file} newer than the binary, used because the functions stand where the debug info says.")
        })
    }
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

impl SourceArgs {
    /// The sources of a binary below the roots, with the lines of functions that call what skips a destructor.
    pub fn of_binary(&self, types: &TypeTable, built: Option<SystemTime>) -> BinarySources {
        let mut found = BinarySources::default();
        let roots = self.roots();
        if roots.is_empty() {
            return found;
        }
        let mut bytes = 0;
        for (index, file) in (0u32..).zip(&types.files) {
            let path = if file.name.starts_with('/') { file.name.clone() } else { format!("{}/{}", file.directory, file.name) };
            // Code of others is below a root only where its whole path says so: many crates have a `src/lib.rs`.
            let foreign =
                ["/registry/src/", "/git/checkouts/", "/rustlib/"].iter().any(|part| path.contains(part)) || path.starts_with("/rustc/");
            let inside = |root: &PathBuf| {
                let relative = self.find(root, &path)?;
                (!foreign || Path::new(&path).starts_with(root)).then(|| root.join(relative))
            };
            let Some(real) = roots.iter().find_map(inside) else { continue };
            if real.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let Some(text) = read_text(&real).filter(|text| bytes + text.len() <= MOST_TEXT) else { continue };
            let (right, wrong) = standing_functions(types, index, &text);
            if right <= wrong {
                found.different += 1;
                continue;
            }
            // Copies and checkouts have any time: then the lines decide, and nearly all must agree.
            let changed = std::fs::metadata(&real).and_then(|metadata| metadata.modified()).ok();
            if changed.zip(built).is_none_or(|(changed, built)| changed > built) {
                if right < SURE * wrong {
                    found.newer += 1;
                    continue;
                }
                found.undated += 1;
            }
            found.read += 1;
            bytes += text.len();
            found.lines.extend(lines_of_interest(&text).into_iter().map(|(first, last)| (index, first, last)));
            found.texts.push(SourceText { file: index, text });
        }
        found
    }

    /// Whether source lines are wanted.
    pub fn is_wanted(&self) -> bool {
        !self.source_root.is_empty()
    }

    /// The roots that exist, without links in their paths.
    fn roots(&self) -> Vec<PathBuf> {
        self.source_root.iter().filter_map(|root| root.canonicalize().ok()).collect()
    }

    /// The path below `root` of the file that debug information calls `file`: by a path map, below the root itself, or
    /// the longest end of the path that exists there.
    fn find(&self, root: &Path, file: &str) -> Option<String> {
        let mapped = self.path_map.iter().find_map(|(from, to)| {
            let rest = file.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/') || from.ends_with('/'))
                .then(|| format!("{}/{}", to.trim_end_matches('/'), rest.trim_start_matches('/')))
        });
        let file = mapped.as_deref().unwrap_or(file);
        let path = Path::new(file);
        let plain: Option<Vec<&str>> = path
            .components()
            .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
            .map(|component| match component {
                Component::Normal(name) => name.to_str(),
                _ => None, // `..`: refused
            })
            .collect();
        let plain = plain?;
        // Below the root itself: the exact file, whatever else has the same end.
        let below = path.strip_prefix(root).ok().and_then(Path::to_str);
        let ends = (0..plain.len()).map(|start| plain[start..].join("/"));
        // A bare file name could be anybody's `main.rs`, unless that is all that is known.
        let ends = ends.filter(|end| plain.len() == 1 || mapped.is_some() || end.contains('/'));
        below.map(str::to_owned).into_iter().chain(ends).find(|relative| is_inside(root, relative))
    }
}

/// Whether a relative path is a file that really lies below the root.
fn is_inside(root: &Path, relative: &str) -> bool {
    !relative.is_empty() && root.join(relative).canonicalize().is_ok_and(|real| real.starts_with(root) && real.is_file())
}

fn lines_around(path: &Path, line: u32) -> Option<Vec<(u32, String)>> {
    let text = read_text(path)?;
    let first = line.saturating_sub(AROUND).max(1);
    let last = line.saturating_add(AROUND);
    let wanted = text.lines().enumerate().map(|(index, text)| (index as u64 + 1, text));
    let wanted = wanted.skip_while(|(number, _)| *number < u64::from(first)).take_while(|(number, _)| *number <= u64::from(last));
    let lines: Vec<(u32, String)> = wanted.map(|(number, text)| (number as u32, shown(text))).collect();
    // A file that ends before the line is not the one that was built.
    lines.iter().any(|(number, _)| *number == line).then_some(lines)
}

fn read_text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MOST_BYTES).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn shown(line: &str) -> String {
    let line = line.trim_end().replace('\t', "    ");
    let cut: String = line.chars().take(MOST_COLUMNS).collect();
    printable(&cut).into_owned()
}

fn path_map(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err(format!("expected FROM=TO, found `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str, line: u32) -> FrameView {
        FrameView { file: Some(file.into()), line: Some(line), role: Some(Role::User), ..FrameView::default() }
    }

    /// A root with `src/memo.rs` of five lines, beside a secret.
    fn root() -> (tempfile::TempDir, SourceArgs) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repo");
        std::fs::create_dir_all(root.join("src")).unwrap();
        std::fs::write(root.join("src/memo.rs"), "one\ntwo\n\tthree\u{1b}[31m\nfour\nfive\n").unwrap();
        std::fs::write(dir.path().join("secret.rs"), "a\nb\nc\n").unwrap();
        (dir, SourceArgs { source_root: vec![root], path_map: Vec::new() })
    }

    #[test]
    fn three_lines_around() {
        let (_dir, args) = root();
        let all = snippets(&[frame("/build/9/app/src/memo.rs", 3), frame("/build/9/app/src/other.rs", 3), frame("src/memo.rs", 1)], &args);
        assert_eq!((all.len(), all[0].frame, all[0].file.as_str(), all[0].line), (2, 0, "src/memo.rs", 3));
        assert_eq!(all[0].lines, [(2, "two".to_owned()), (3, "    three\\u{1b}[31m".to_owned()), (4, "four".to_owned())]);
        assert_eq!((all[1].frame, all[1].lines.len()), (2, 2));
    }

    #[test]
    fn nothing_outside_of_the_roots_is_read() {
        let (dir, args) = root();
        let secret = dir.path().join("secret.rs");
        let link = dir.path().join("repo/src/link.rs");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        for file in ["src/../../secret.rs", "/../secret.rs", secret.to_str().unwrap(), "src/link.rs", "/etc/passwd", "src", "", "/"] {
            assert_eq!(snippets(&[frame(file, 1)], &args), [], "{file}");
        }
        assert_eq!(snippets(&[frame("src/memo.rs", 1)], &SourceArgs::default()), []);
    }

    #[test]
    fn a_line_beyond_the_end_is_another_file() {
        let (_dir, args) = root();
        assert_eq!(snippets(&[frame("src/memo.rs", 6), frame("src/memo.rs", 0), frame("src/memo.rs", u32::MAX)], &args), []);
    }

    #[test]
    fn path_maps_come_first() {
        let (_dir, mut args) = root();
        args.path_map = vec![path_map("/crate=src").unwrap()];
        assert_eq!(snippets(&[frame("/crate/memo.rs", 1)], &args).len(), 1);
        assert_eq!(snippets(&[frame("/crates/memo.rs", 1)], &args).len(), 0);
        args.path_map = vec![path_map("/crate=../").unwrap()];
        assert_eq!(snippets(&[frame("/crate/secret.rs", 1)], &args).len(), 0);
        assert!(path_map("=x").is_err() && path_map("x").is_err());
    }

    #[test]
    fn places_are_relative_to_the_root() {
        let (dir, args) = root();
        let exact = dir.path().join("repo/src/memo.rs");
        let library = FrameView { role: Some(Role::Library), ..frame("src/memo.rs", 1) };
        let frames = [frame("/build/app/src/memo.rs", 1), frame(exact.to_str().unwrap(), 1), frame("/gone.rs", 1)];
        let places = places(frames.iter(), &args);
        assert_eq!(places.len(), 2);
        assert!(places.values().all(|place| place == "src/memo.rs"));
        assert_eq!(super::places([library].iter(), &args).len(), 0);
    }
}
