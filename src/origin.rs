//! Where something stands in an input: byte offset to line and column, and the trouble found there.
//!
//! A parser knows a byte offset, what it expected and what it found. It never words a position;
//! [`Position`] is computed when, and only when, something is printed.

use std::fmt;

/// Line and column in a text input, both from 1; the column counts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in bytes, from 1.
    pub column: u64,
}

impl Position {
    /// The position of byte `offset` of `text`; an offset past the end is the end.
    pub fn of(text: &[u8], offset: usize) -> Position {
        let before = &text[..offset.min(text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
        let column = match memchr::memrchr(b'\n', before) {
            Some(newline) => before.len() - newline,
            None => before.len() + 1,
        };
        Position { line, column: column as u64 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Text from an input that goes into a message: escaped and shortened, so that it can be neither
/// a terminal escape nor a screenful.
pub fn quote(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MOST)]);
    let mut out = String::from("`");
    for (i, c) in text.chars().enumerate() {
        if i == MOST {
            out.push('…');
            break;
        }
        push_visible(&mut out, c);
    }
    out.push('`');
    out
}

/// A name from an input (symbol, path, thread name) made safe for a terminal: control characters
/// and bidirectional overrides become `\u{..}`, everything else stays.
pub fn printable(name: &str) -> std::borrow::Cow<'_, str> {
    if !name.chars().any(is_unprintable) {
        return name.into();
    }
    let mut out = String::with_capacity(name.len() + 8);
    name.chars().for_each(|c| push_visible(&mut out, c));
    out.into()
}

/// A word as a shell takes it, in a command that a person may paste: a module may be called `$(reboot)`.
pub fn shell_word(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:/,=+%@".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", printable(word).replace('\'', r"'\''")) }
}

/// What follows the last slash of a path.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A message in which every path is its file name: `/srv/app/bin/x is` becomes `x is`. A slash inside of a word that does
/// not begin a path (`read/write`) stays.
pub fn without_paths(message: &str) -> String {
    let word = |word: &str| {
        let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '~');
        let start = word.find(['/', '~', '.']).filter(|&at| !word[..at].ends_with(name) && word[at..].contains('/'));
        match (start, word.rfind('/')) {
            (Some(start), Some(last)) if last + 1 < word.len() => format!("{}{}", &word[..start], &word[last + 1..]),
            _ => word.to_owned(),
        }
    };
    message.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// [`printable`] for text of several lines that is ours but quotes names from outside: line breaks stay.
pub fn printable_lines(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_unprintable(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    text.chars().for_each(|c| if c == '\n' { out.push(c) } else { push_visible(&mut out, c) });
    out.into()
}

fn push_visible(out: &mut String, c: char) {
    if is_unprintable(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// Control characters, and the format characters that reorder or hide text (Unicode UAX #9 and
/// zero-width ones): a name could use them to look like another.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Something found at a place in an input that does not stop the reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Byte offset in the (decompressed) input; `None` when the whole input is meant.
    pub offset: Option<usize>,
    /// What happened and what was done about it; lower case, no full stop.
    pub message: String,
}

impl Warning {
    /// A warning about the byte at `offset`.
    pub fn at(offset: usize, message: impl Into<String>) -> Self {
        Warning { offset: Some(offset), message: message.into() }
    }

    /// A warning about the whole input.
    pub fn whole(message: impl Into<String>) -> Self {
        Warning { offset: None, message: message.into() }
    }
}

/// A [`Warning`] with the input it belongs to and its position, ready to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The input's name: a path or `<stdin>`. Empty when no single input is meant.
    pub input: String,
    /// Line and column, where the warning has a place.
    pub position: Option<Position>,
    /// What happened and what was done about it.
    pub message: String,
}

impl Notice {
    /// A notice about an input as a whole.
    pub fn new(input: impl Into<String>, message: impl Into<String>) -> Self {
        Notice { input: input.into(), position: None, message: safe(message.into()) }
    }

    /// Places `warning` in `text`, the content of `input`.
    pub fn place(input: &str, text: &[u8], warning: &Warning) -> Self {
        Notice {
            input: input.to_owned(),
            position: warning.offset.map(|offset| Position::of(text, offset)),
            message: safe(warning.message.clone()),
        }
    }
}

/// A message that may quote a name from outside: harmless in every output, whoever made it.
fn safe(message: String) -> String {
    match printable_lines(&message) {
        std::borrow::Cow::Borrowed(_) => message,
        std::borrow::Cow::Owned(escaped) => escaped,
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = printable(&self.input);
        match (&self.position, input.is_empty()) {
            (Some(position), false) => write!(f, "{input}:{position}: {}", self.message),
            (None, false) => write!(f, "{input}: {}", self.message),
            (_, true) => f.write_str(&self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_a_message_become_file_names() {
        let check = |message: &str, expected: &str| assert_eq!(without_paths(message), expected);
        check("`/srv/app/bin/indexer` is another build", "`indexer` is another build");
        check("pass it with --binary=/home/me/x, or ../y/z", "pass it with --binary=x, or z");
        check("read/write 3 KiB/s, and/or a . / b", "read/write 3 KiB/s, and/or a . / b");
    }

    #[test]
    fn positions_count_lines_and_bytes() {
        let text = b"ab\ncd\n";
        assert_eq!(Position::of(text, 0).to_string(), "1:1");
        assert_eq!(Position::of(text, 3).to_string(), "2:1");
        assert_eq!(Position::of(text, 4).to_string(), "2:2");
        assert_eq!(Position::of(text, 99).to_string(), "3:1");
    }

    #[test]
    fn quotes_are_harmless() {
        assert_eq!(quote(b"4x"), "`4x`");
        assert_eq!(quote(b"\x1b[31m"), "`\\u{1b}[31m`");
        assert_eq!(quote(&[b'a'; 100]).chars().count(), 63);
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable_lines("a\u{1b}\n  help: b"), "a\\u{1b}\n  help: b");
        assert_eq!(Notice::new("", "passed over: \u{1b}[2J").to_string(), "passed over: \\u{1b}[2J");
    }

    #[test]
    fn words_are_safe_for_a_shell() {
        assert_eq!(shell_word("pod-7"), "pod-7");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("$(reboot)"), "'$(reboot)'");
    }
}
