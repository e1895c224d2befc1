//! The direction of imports, which the compiler does not check inside one crate.
//!
//! Every `crate::`, `super::` and `self::` path of every source file is resolved to the top module it names and compared
//! with the table below. The same walk keeps the world (files, network, processes, environment, clock) out of the
//! folders that promise to do without it, and `unsafe` in its homes. Code under `#[cfg(test)]` may do as it likes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Top module, and the modules it may import. `docs/architecture.md` draws the same table.
const LAYERS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("address", &[]),
    ("origin", &[]),
    ("names", &[]),
    ("pprof_proto", &[]),
    ("input", &["units", "address", "origin", "names", "pprof_proto"]),
    ("model", &["units", "address", "origin"]),
    ("binary", &["units", "address", "origin", "names"]),
    ("symbolize", &["units", "address", "origin", "names", "model", "binary"]),
    ("analysis", &["units", "address", "origin", "model", "binary"]),
    ("report", &["units", "address", "origin", "pprof_proto", "model", "analysis"]),
    ("capture", &["units", "address", "origin", "input", "model", "binary", "symbolize", "analysis"]),
    ("fleet", &["units", "address", "origin", "input", "model", "binary", "symbolize", "analysis", "report", "capture"]),
    ("cli", &["units", "address", "origin", "input", "model", "binary", "symbolize", "analysis", "report", "capture", "fleet"]),
];

/// Single files that may import more than their folder: raw records become the model in one place.
const MORE: &[(&str, &str)] = &[("model/ingest", "input")];

/// Modules that no other layer may name: the file, its module, and who may.
/// Analyses take facts, never open files.
const PRIVATE: &[(&str, &str, &[&str])] = &[("binary", "file", &["binary", "symbolize", "capture", "cli", "fleet"])];

/// Folders that take bytes and values and give values: no files, network, processes, environment or clock.
const PURE: &[&str] = &["units", "address", "origin", "names", "input", "model", "analysis", "report"];

/// In these folders only these files touch the world.
const DOORS: &[(&str, &[&str])] = &[("binary", &["binary/file.rs"]), ("symbolize", &["symbolize/locate.rs", "symbolize/cache.rs"])];

/// What pure code may not name, as a path. (`std::path::Path` is a value and allowed, its methods that look are not.)
const WORLD: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["SystemTime", "now"],
    &["Instant", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
];

/// Methods of `Path` that ask the file system.
const LOOKING: &[&str] =
    &["exists", "try_exists", "canonicalize", "read_link", "read_dir", "symlink_metadata", "is_file", "is_dir", "is_symlink"];

/// The files that may contain `unsafe`, each for its own reason, said there.
const UNSAFE: &[&str] = &["binary/file.rs", "capture/in_process_ffi.rs"];

/// Macros with no place in the program: output goes through writers, and nothing is left to be done later.
const BANNED_MACROS: &[&str] = &["println", "print", "eprintln", "eprint", "dbg", "todo", "unimplemented"];

#[test]
fn imports_point_one_way() {
    let mut wrong = String::new();
    let mut seen = BTreeSet::new();
    for file in sources() {
        let layer = file.layer();
        if layer == "lib" || layer == "main" {
            continue; // The root declares and re-exports; the program calls `cli`.
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            let _ = writeln!(wrong, "src/{}: no row in the table of layers for `{layer}`", file.name);
            continue;
        };
        for path in file.paths() {
            let Some(target) = path.segments.first() else { continue };
            if target == layer {
                continue;
            }
            seen.insert((layer.to_owned(), target.clone()));
            let more = MORE.iter().any(|(prefix, extra)| file.name.starts_with(prefix) && extra == target);
            if !allowed.contains(&target.as_str()) && !more {
                let _ = writeln!(wrong, "src/{}:{}: `{layer}` may not import `crate::{}`", file.name, path.line, path.segments.join("::"));
            }
            for (owner, module, users) in PRIVATE {
                if target == owner && path.segments.get(1).is_some_and(|s| s == module) && !users.contains(&layer) {
                    let _ = writeln!(wrong, "src/{}:{}: `{layer}` may not name `{owner}::{module}`", file.name, path.line);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // The walk itself works: imports that are certainly there were found.
    for (from, to) in [("model", "input"), ("symbolize", "binary"), ("analysis", "model"), ("cli", "symbolize")] {
        assert!(seen.contains(&(from.to_owned(), to.to_owned())), "the walk missed `{from}` importing `{to}`");
    }
}

#[test]
fn pure_folders_do_not_touch_the_world() {
    let mut wrong = String::new();
    for file in sources() {
        let doors = DOORS.iter().find(|(folder, _)| *folder == file.layer());
        let pure = PURE.contains(&file.layer()) || doors.is_some_and(|(_, files)| !files.contains(&file.name.as_str()));
        if !pure {
            continue;
        }
        for path in file.all_paths() {
            for banned in WORLD {
                if contains_run(&path.segments, banned) {
                    let _ = writeln!(wrong, "src/{}:{}: `{}` in a folder without I/O", file.name, path.line, path.segments.join("::"));
                }
            }
        }
        for window in file.tokens.windows(3) {
            if let [dot, Token { text, line }, open] = window
                && dot.text == "."
                && open.text == "("
                && LOOKING.contains(&text.as_str())
            {
                let _ = writeln!(wrong, "src/{}:{line}: `.{text}()` asks the file system", file.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn unsafe_has_one_home() {
    let mut wrong = String::new();
    let mut homes = BTreeSet::new();
    for file in sources() {
        for token in file.tokens.iter().filter(|token| token.text == "unsafe") {
            if UNSAFE.contains(&file.name.as_str()) {
                homes.insert(file.name.clone());
            } else {
                let _ = writeln!(wrong, "src/{}:{}: `unsafe` outside its home", file.name, token.line);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(homes.contains("binary/file.rs"), "the walk missed the `unsafe` of binary/file.rs");
}

#[test]
fn nothing_is_printed_around_the_writers_or_left_undone() {
    let mut wrong = String::new();
    for file in sources() {
        for window in file.tokens.windows(2) {
            if let [Token { text, line }, bang] = window
                && bang.text == "!"
                && BANNED_MACROS.contains(&text.as_str())
            {
                let _ = writeln!(wrong, "src/{}:{line}: `{text}!`", file.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// One token: an identifier, `::`, or a single character. Literals and comments are gone.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

/// A path as used in a file, with the line it starts on.
#[derive(Debug)]
struct UsedPath {
    segments: Vec<String>,
    line: usize,
}

/// One source file without its comments, literals and test modules.
struct Source {
    /// Path under `src`, with `/`.
    name: String,
    tokens: Vec<Token>,
}

/// All source files but those declared as `#[cfg(test)] mod name;`.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(files.len() > 20, "the walk over src found too little");
    let mut test_files = BTreeSet::new();
    let mut sources = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("under src").to_str().expect("names of sources are UTF-8").to_owned();
        let text = std::fs::read_to_string(&path).expect("a source file is readable");
        let (tokens, outside) = without_tests(tokenize(&text));
        let folder = module_of(&name).join("/");
        for module in outside {
            let base = if folder.is_empty() { module.clone() } else { format!("{folder}/{module}") };
            test_files.insert(format!("{base}.rs"));
            test_files.insert(format!("{base}/mod.rs"));
        }
        sources.push(Source { name, tokens });
    }
    sources.retain(|source| !test_files.contains(&source.name));
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The module a file defines: `cli/top.rs` is `cli::top`, `cli/mod.rs` is `cli`.
fn module_of(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        parts.pop();
    }
    parts
}

impl Source {
    fn layer(&self) -> &str {
        self.name.split(['/', '.']).next().expect("split gives at least one part")
    }

    /// Paths into this crate, from its root.
    fn paths(&self) -> Vec<UsedPath> {
        let home = module_of(&self.name);
        let mut result = Vec::new();
        for path in self.all_paths() {
            // Inline modules are rare outside tests, so `super` starts from the module of the file: one level too high
            // would only be stricter.
            let mut at = home.clone();
            let mut rest = path.segments.iter().peekable();
            match rest.peek().map(|s| s.as_str()) {
                Some("crate") => {
                    rest.next();
                    at.clear();
                }
                Some("super" | "self") => {
                    while let Some(step) = rest.peek() {
                        match step.as_str() {
                            "super" => drop(at.pop()),
                            "self" => {}
                            _ => break,
                        }
                        rest.next();
                    }
                }
                _ => continue,
            }
            at.extend(rest.cloned());
            result.push(UsedPath { segments: at, line: path.line });
        }
        result
    }

    /// Every path with at least two segments, use trees spread out.
    fn all_paths(&self) -> Vec<UsedPath> {
        let mut result = Vec::new();
        let mut index = 0;
        while index < self.tokens.len() {
            let continues = index > 0 && self.tokens[index - 1].text == "::";
            if !continues && is_identifier(&self.tokens[index].text) && self.text(index + 1) == "::" {
                index = self.tree(index, &[], &mut result);
            } else {
                index += 1;
            }
        }
        result
    }

    fn text(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| token.text.as_str())
    }

    /// Reads one path or use tree that starts at `index`; returns where it ends.
    fn tree(&self, mut index: usize, prefix: &[String], result: &mut Vec<UsedPath>) -> usize {
        let line = self.tokens.get(index).map_or(0, |token| token.line);
        let mut segments = prefix.to_vec();
        loop {
            if is_identifier(self.text(index)) {
                segments.push(self.text(index).to_owned());
                index += 1;
                if self.text(index) == "::" {
                    index += 1;
                    continue;
                }
            } else if self.text(index) == "{" && index > 0 && self.text(index - 1) == "::" {
                index += 1;
                while index < self.tokens.len() && self.text(index) != "}" {
                    let after = self.tree(index, &segments, result);
                    index = after.max(index + 1);
                    while index < self.tokens.len() && !matches!(self.text(index), "," | "}") {
                        index += 1; // `as name`
                    }
                    if self.text(index) == "," {
                        index += 1;
                    }
                }
                return index + 1;
            } else if self.text(index) == "*" {
                index += 1;
            }
            result.push(UsedPath { segments, line });
            return index;
        }
    }
}

fn contains_run(segments: &[String], run: &[&str]) -> bool {
    segments.windows(run.len()).any(|window| window.iter().zip(run).all(|(a, b)| a == b))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Drops items under `#[cfg(test)]`; returns what is left and the names of test modules that are files of their own.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut outside = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let here = &tokens[index..];
        if here.len() < attribute.len() || !here.iter().zip(attribute).all(|(token, text)| token.text == text) {
            kept.push(tokens[index].clone());
            index += 1;
            continue;
        }
        index += attribute.len();
        // To the end of the item: `;` or the brace that closes its first one, outside brackets.
        let (mut braces, mut brackets, start) = (0_usize, 0_usize, index);
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token.text.as_str() {
                "[" | "(" => brackets += 1,
                "]" | ")" => brackets = brackets.saturating_sub(1),
                "{" => braces += 1,
                "}" => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 && brackets == 0 {
                        break;
                    }
                }
                ";" if braces == 0 && brackets == 0 => break,
                _ => {}
            }
        }
        let item: Vec<&str> = tokens[start..index].iter().map(|token| token.text.as_str()).collect();
        if let Some(at) = item.iter().position(|text| *text == "mod")
            && item.last() == Some(&";")
            && let Some(module) = item.get(at + 1)
        {
            outside.push((*module).to_owned());
        }
    }
    (kept, outside)
}

/// Splits Rust source into identifiers, `::` and single characters, without comments, literals and lifetimes.
fn tokenize(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let (mut tokens, mut index, mut line) = (Vec::new(), 0, 1);
    while index < bytes.len() {
        let start = index;
        match bytes[index] {
            b'/' if at(index + 1) == b'/' => {
                while index < bytes.len() && bytes[index] != b'\n' {
                    index += 1;
                }
            }
            b'/' if at(index + 1) == b'*' => {
                let mut depth = 0_usize;
                while index < bytes.len() {
                    match (bytes[index], at(index + 1)) {
                        (b'/', b'*') => (depth, index) = (depth + 1, index + 2),
                        (b'*', b'/') => (depth, index) = (depth - 1, index + 2),
                        _ => index += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            b'r' | b'b' if raw_string_end(bytes, index).is_some() => index = raw_string_end(bytes, index).unwrap_or(index + 1),
            b'b' if at(index + 1) == b'"' => index = string_end(bytes, index + 1),
            b'b' if at(index + 1) == b'\'' => index = char_end(bytes, index + 1).unwrap_or(index + 2),
            b'"' => index = string_end(bytes, index),
            b'\'' => index = char_end(bytes, index).unwrap_or(index + 1), // else a lifetime
            b':' if at(index + 1) == b':' => {
                tokens.push(Token { text: "::".to_owned(), line });
                index += 2;
            }
            byte if byte == b'_' || byte.is_ascii_alphanumeric() => {
                while at(index) == b'_' || at(index).is_ascii_alphanumeric() {
                    index += 1;
                }
                tokens.push(Token { text: text[start..index].to_owned(), line });
            }
            byte => {
                if byte.is_ascii_graphic() {
                    tokens.push(Token { text: char::from(byte).to_string(), line });
                }
                index += 1;
            }
        }
        line += bytes[start..index].iter().filter(|byte| **byte == b'\n').count();
    }
    tokens
}

/// End of `r"…"`, `r#"…"#`, `br"…"`; `None` when none starts here.
fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut index = start + usize::from(bytes[start] == b'b');
    if bytes.get(index) != Some(&b'r') {
        return None;
    }
    index += 1;
    let hashes = bytes[index..].iter().take_while(|byte| **byte == b'#').count();
    index += hashes;
    if bytes.get(index) != Some(&b'"') {
        return None;
    }
    index += 1;
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let length = bytes[index..].windows(close.len()).position(|window| window == close)?;
    Some(index + length + close.len())
}

fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut index = quote + 1;
    while index < bytes.len() {
        match bytes[index] {
            b'\\' => index += 2,
            b'"' => return index + 1,
            _ => index += 1,
        }
    }
    bytes.len()
}

/// End of a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], quote: usize) -> Option<usize> {
    if bytes.get(quote + 1) == Some(&b'\\') {
        let close = bytes[quote + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(quote + 3 + close + 1);
    }
    // One character of up to four bytes.
    (2..=5)
        .find(|length| bytes.get(quote + length) == Some(&b'\''))
        .filter(|length| std::str::from_utf8(&bytes[quote + 1..quote + length]).is_ok_and(|inner| inner.chars().count() == 1))
        .map(|length| quote + length + 1)
}

#[test]
fn the_tokenizer_reads_rust() {
    let source = r##"
        use crate::{units::Bytes, model::{self, Stack as S}}; // crate::cli
        /* super::cli /* nested */ */ fn f<'a>(x: &'a str) -> char { let _ = "crate::cli"; let _ = r#"crate::"cli"#; '\'' }
        const Q: (char, u8) = ('"', b'"'); pub(in crate::report) fn g() { super::super::origin::h() }
        #[cfg(test)] mod tests { use crate::cli; fn t() { { } } }
        #[cfg(test)] mod elsewhere;
        fn k() { crate::address::x() }
    "##;
    let (tokens, outside) = without_tests(tokenize(source));
    assert_eq!(outside, ["elsewhere"]);
    let file = Source { name: "analysis/detect/one.rs".to_owned(), tokens };
    let found: Vec<String> = file.paths().iter().map(|path| path.segments.join("::")).collect();
    assert_eq!(found, ["units::Bytes", "model::self", "model::Stack", "report", "analysis::origin::h", "address::x"]);
}
