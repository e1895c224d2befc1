//! Tokens of Rust source text: comments and the content of strings are taken out, brackets know their partners.
//!
//! Not a parser: what is no Rust (a file of another language, a macro's own syntax) gives tokens all the same, and whoever
//! reads them finds nothing. Identifiers outside ASCII are one token each.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier, a keyword, `r#name`.
    Word,
    /// A number.
    Number,
    /// A string, byte string or character.
    Literal,
    /// A lifetime or label.
    Lifetime,
    /// One character of punctuation.
    Punct,
}

/// A token with its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: u32,
    /// After the last byte.
    pub end: u32,
    /// Line, from 1.
    pub line: u32,
}

/// The tokens of a text.
#[derive(Debug)]
pub struct Tokens<'t> {
    text: &'t str,
    /// In order.
    pub list: Vec<Token>,
    /// For an opening bracket the index of the closing one and back; other tokens point to themselves.
    pub partner: Vec<usize>,
}

impl<'t> Tokens<'t> {
    /// Splits a text.
    pub fn new(text: &'t str) -> Self {
        let list = split(text.as_bytes());
        let mut partner: Vec<usize> = (0..list.len()).collect();
        let mut open: Vec<(u8, usize)> = Vec::new();
        for (index, token) in list.iter().enumerate().filter(|(_, token)| token.kind == Kind::Punct) {
            match text.as_bytes()[token.start as usize] {
                byte @ (b'(' | b'[' | b'{') => open.push((byte, index)),
                byte @ (b')' | b']' | b'}') => {
                    let wanted = match byte {
                        b')' => b'(',
                        b']' => b'[',
                        _ => b'{',
                    };
                    // A bracket without partner closes nothing.
                    if open.last().is_some_and(|&(opened, _)| opened == wanted)
                        && let Some((_, at)) = open.pop()
                    {
                        partner[at] = index;
                        partner[index] = at;
                    }
                }
                _ => {}
            }
        }
        Tokens { text, list, partner }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The text of a token; empty beyond the end.
    pub fn text(&self, index: usize) -> &'t str {
        self.list.get(index).map_or("", |token| &self.text[token.start as usize..token.end as usize])
    }

    /// Whether a token is this word or punctuation.
    pub fn is(&self, index: usize, text: &str) -> bool {
        self.list.get(index).is_some_and(|token| token.kind != Kind::Literal) && self.text(index) == text
    }

    /// Whether a token is an identifier or keyword.
    pub fn is_word(&self, index: usize) -> bool {
        self.list.get(index).is_some_and(|token| token.kind == Kind::Word)
    }

    /// Whether two colons stand at a token.
    pub fn is_path_sign(&self, index: usize) -> bool {
        self.is(index, ":") && self.is(index + 1, ":") && self.list[index].end == self.list[index + 1].start
    }

    /// Line of a token; 0 beyond the end.
    pub fn line(&self, index: usize) -> u32 {
        self.list.get(index).map_or(0, |token| token.line)
    }

    /// A range of tokens as one text without superfluous blanks.
    pub fn joined(&self, range: std::ops::Range<usize>) -> String {
        let mut out = String::new();
        for index in range.start..range.end.min(self.len()) {
            let wordy = |token: &Token| matches!(token.kind, Kind::Word | Kind::Number | Kind::Lifetime);
            if index > range.start && wordy(&self.list[index]) && wordy(&self.list[index - 1]) {
                out.push(' ');
            }
            out.push_str(self.text(index));
        }
        out
    }

    /// The index behind the `>` that closes the `<` at `open`; `open` itself where there is none.
    pub fn behind_angle(&self, open: usize) -> usize {
        /// Tokens of one list of arguments.
        const MOST: usize = 4096;
        let mut depth = 0usize;
        let mut at = open;
        if !self.is(open, "<") {
            return open;
        }
        while at < self.len() && at - open < MOST {
            match self.text(at) {
                "<" => depth += 1,
                // Not the arrow of a function type.
                ">" if at > 0 && self.is(at - 1, "-") && self.list[at - 1].end == self.list[at].start => {}
                ">" => {
                    depth -= 1;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                "(" | "[" if self.partner[at] > at => at = self.partner[at],
                ";" | "{" | "}" => return open,
                _ => {}
            }
            at += 1;
        }
        open
    }

    /// The opening bracket around a token, no further out than `floor`.
    pub fn enclosing(&self, index: usize, floor: usize) -> Option<usize> {
        let mut at = index;
        while at > floor {
            at -= 1;
            match self.text(at) {
                "(" | "[" | "{" if self.list[at].kind == Kind::Punct && self.partner[at] > index => return Some(at),
                ")" | "]" | "}" if self.list[at].kind == Kind::Punct && self.partner[at] < at => at = self.partner[at],
                _ => {}
            }
        }
        None
    }
}

fn split(bytes: &[u8]) -> Vec<Token> {
    let mut list = Vec::new();
    let (mut at, mut line) = (0usize, 1u32);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    while at < bytes.len() {
        let start = at;
        let first_line = line;
        let kind = match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += memchr::memchr(b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = behind_comment(bytes, at);
                line += lines(&bytes[start..at]);
                continue;
            }
            b'"' => {
                at = behind_string(bytes, at + 1);
                Kind::Literal
            }
            b'r' | b'b' | b'c' if behind_prefixed(bytes, at).is_some() => {
                at = behind_prefixed(bytes, at).unwrap_or(at + 1);
                Kind::Literal
            }
            b'\'' => match behind_character(bytes, at) {
                Some(end) => {
                    at = end;
                    Kind::Literal
                }
                None => {
                    at += 1;
                    while at < bytes.len() && is_word(bytes[at]) {
                        at += 1;
                    }
                    Kind::Lifetime
                }
            },
            byte if byte.is_ascii_digit() => {
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)) {
                    at += 1;
                }
                Kind::Number
            }
            byte if is_word(byte) => {
                at += 1;
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at] == b'#' && at == start + 1 && bytes[start] == b'r') {
                    at += 1;
                }
                Kind::Word
            }
            _ => {
                at += 1;
                Kind::Punct
            }
        };
        line += lines(&bytes[start..at]);
        list.push(Token { kind, start: start as u32, end: at as u32, line: first_line });
    }
    list
}

fn lines(bytes: &[u8]) -> u32 {
    memchr::memchr_iter(b'\n', bytes).count() as u32
}

/// Comments nest.
fn behind_comment(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn behind_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'x'`.
fn behind_prefixed(bytes: &[u8], start: usize) -> Option<usize> {
    let prefix = bytes[start..].iter().take(2).take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    let mut at = start + prefix;
    let raw = bytes[start..at].contains(&b'r');
    if bytes.get(at) == Some(&b'\'') && &bytes[start..at] == b"b" {
        return behind_character(bytes, at);
    }
    let hashes = if raw { bytes[at..].iter().take_while(|&&byte| byte == b'#').count() } else { 0 };
    at += hashes;
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    if !raw {
        return Some(behind_string(bytes, at + 1));
    }
    at += 1;
    while at < bytes.len() {
        if bytes[at] == b'"' && bytes[at + 1..].iter().take(hashes).filter(|&&byte| byte == b'#').count() == hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(bytes.len())
}

/// A character literal; `None` for a lifetime.
fn behind_character(bytes: &[u8], start: usize) -> Option<usize> {
    let at = start + 1;
    match *bytes.get(at)? {
        b'\\' => Some(at + 2 + memchr::memchr(b'\'', bytes.get(at + 2..)?)? + 1),
        // One character of any width, then the quote.
        first => {
            let width = match first {
                0..0x80 => 1,
                0xc0..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            (bytes.get(at + width) == Some(&b'\'')).then_some(at + width + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let tokens = Tokens::new(text);
        (0..tokens.len()).filter(|&index| tokens.list[index].kind == Kind::Word).map(|index| tokens.text(index)).collect()
    }

    #[test]
    fn comments_and_strings_hold_no_words() {
        assert_eq!(words("a /* forget(b /* c */ d) */ e // forget\nf"), ["a", "e", "f"]);
        assert_eq!(words(r##"a("forget \" (x)", r#"b " c"#, br"d", 'e', '\'', b'\n', c"x") f"##), ["a", "f"]);
        assert_eq!(words("fn f<'a>(x: &'a str) { 'outer: loop { break 'outer } }"), ["fn", "f", "x", "str", "loop", "break"]);
        assert_eq!(words("r#type rate brr"), ["r#type", "rate", "brr"]);
        assert_eq!(words("é ü1"), ["é", "ü1"]);
    }

    #[test]
    fn lines_and_partners() {
        let tokens = Tokens::new("a(\n[\"x\ny\"]\n) b");
        assert_eq!(tokens.line(tokens.len() - 1), 4);
        assert_eq!(tokens.partner[1], 5);
        assert_eq!(tokens.enclosing(3, 0), Some(2));
        assert_eq!(tokens.enclosing(6, 0), None);
        assert_eq!(tokens.joined(0..2), "a(");
        let generic = Tokens::new("X<Fn(u8) -> Y<Z>> w");
        assert_eq!(generic.text(generic.behind_angle(1)), "w");
    }

    proptest::proptest! {
        #[test]
        fn any_text_splits(text in "[a-z'\"#r/*{}()<>\\\\\n é]{0,80}") {
            let tokens = Tokens::new(&text);
            for index in 0..tokens.len() {
                tokens.text(index);
                tokens.enclosing(index, 0);
                tokens.behind_angle(index);
            }
        }
    }
}
