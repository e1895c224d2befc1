//! Interned texts: names of types and functions, each kept once in one buffer.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// An interned text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextId(pub u32);

/// Interned texts. The first one, [`TextId::default`], is empty.
#[derive(Clone, Debug)]
pub struct Texts {
    buffer: String,
    ends: Vec<u32>,
    table: HashTable<u32>,
}

/// Bytes of names that are kept at most: beyond it new names become the empty text. Debug information of 1 GB has some 200 MB.
const MOST_BYTES: usize = 2 << 30;

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Texts { buffer: String::new(), ends: Vec::new(), table: HashTable::new() };
        texts.intern("");
        texts
    }
}

impl Texts {
    /// The id of a text, added where it is new.
    pub fn intern(&mut self, text: &str) -> TextId {
        let hash = hash(text);
        let (buffer, ends) = (&self.buffer, &self.ends);
        if let Some(&found) = self.table.find(hash, |&id| slice(buffer, ends, id) == text) {
            return TextId(found);
        }
        if self.buffer.len() + text.len() > MOST_BYTES {
            return TextId(0);
        }
        let id = self.ends.len() as u32;
        self.buffer.push_str(text);
        self.ends.push(self.buffer.len() as u32);
        let (buffer, ends) = (&self.buffer, &self.ends);
        self.table.insert_unique(hash, id, |&id| self::hash(slice(buffer, ends, id)));
        TextId(id)
    }

    /// [`Texts::intern`] for bytes from a file: what is not UTF-8 becomes U+FFFD.
    pub fn intern_bytes(&mut self, bytes: &[u8]) -> TextId {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.intern(text),
            Err(_) => self.intern(&String::from_utf8_lossy(bytes)),
        }
    }

    /// The id of a text; `None` where it was never interned.
    pub fn find(&self, text: &str) -> Option<TextId> {
        self.table.find(hash(text), |&id| slice(&self.buffer, &self.ends, id) == text).map(|&id| TextId(id))
    }

    /// The text behind an id.
    pub fn get(&self, id: TextId) -> &str {
        slice(&self.buffer, &self.ends, id.0)
    }
}

fn slice<'a>(buffer: &'a str, ends: &[u32], id: u32) -> &'a str {
    let start = if id == 0 { 0 } else { ends[id as usize - 1] };
    &buffer[start as usize..ends[id as usize] as usize]
}

fn hash(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_an_id() {
        let mut texts = Texts::default();
        let a = texts.intern("alloc");
        assert_eq!(texts.intern("alloc"), a);
        assert_eq!(texts.intern(""), TextId::default());
        assert_eq!(texts.get(a), "alloc");
        assert_eq!(texts.intern_bytes(b"\xff"), texts.intern("\u{fffd}"));
        assert_eq!(texts.find("none"), None);
    }
}
