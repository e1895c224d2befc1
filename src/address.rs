//! Addresses and identities that must not be mixed up.
//!
//! ```text
//!   process                      ELF file, as loaded            ELF file, as bytes
//!   ReturnAddress --lookup()-->  Avma  --through PT_LOAD-->  Svma   <--PT_LOAD-->  FileOffset
//!   (after the call)             (inside the call)        (what symbols and DWARF speak)
//! ```
//!
//! `addr - map_start + map_offset` is a [`FileOffset`], and only in simple binaries also the
//! [`Svma`]: the program headers give the second from the first (lld moves text segments by a page
//! for each segment before them).

use std::fmt;

/// Address after a call instruction, as found in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReturnAddress(u64);

impl ReturnAddress {
    /// The address as the dump prints it.
    pub const fn new(address: u64) -> Self {
        ReturnAddress(address)
    }

    /// The address as the dump prints it.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// An address inside the call, for symbol lookup: the return address itself may lie in the next
    /// line or the next function.
    pub const fn lookup(self) -> Avma {
        Avma(self.0.saturating_sub(1))
    }
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The bare number in this address space.
            pub const fn new(address: u64) -> Self {
                $name(address)
            }

            /// The bare number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address!(
    /// Actual virtual memory address: where something is in the process.
    Avma
);
address!(
    /// Stated virtual memory address: what the ELF file itself, its symbols and its DWARF say.
    Svma
);
address!(
    /// Byte position in a file.
    FileOffset
);

impl fmt::LowerHex for ReturnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A half-open range `[start, end)` in one address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrRange<A> {
    /// First address inside.
    pub start: A,
    /// First address after.
    pub end: A,
}

impl<A: Copy + PartialOrd> AddrRange<A> {
    /// `[start, end)`; empty when `end <= start`.
    pub const fn new(start: A, end: A) -> Self {
        AddrRange { start, end }
    }

    /// Whether `address` lies inside.
    pub fn contains(&self, address: A) -> bool {
        self.start <= address && address < self.end
    }
}

impl AddrRange<Avma> {
    /// Length in bytes; 0 for a reversed range.
    pub fn len(&self) -> u64 {
        self.end.get().saturating_sub(self.start.get())
    }

    /// Whether nothing lies inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The GNU build-id note of a binary: its identity. Printed as lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// From the bytes of the note; `None` when empty or longer than 64 bytes (SHA-512).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= 64).then(|| BuildId(bytes.to_vec()))
    }

    /// From hex digits of either case; `None` when they are not whole bytes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let nibble = |d: u8| (d as char).to_digit(16);
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8)).collect();
        BuildId::new(&bytes?)
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_is_inside_the_call() {
        assert_eq!(ReturnAddress::new(0x1001).lookup(), Avma::new(0x1000));
        assert_eq!(ReturnAddress::new(0).lookup(), Avma::new(0));
    }

    #[test]
    fn build_ids_round_trip() {
        let id = BuildId::from_hex("00ABcdef").unwrap();
        assert_eq!(id.to_string(), "00abcdef");
        assert_eq!(BuildId::from_hex("abc"), None);
        assert_eq!(BuildId::from_hex("zz"), None);
        assert_eq!(BuildId::from_hex(""), None);
    }
}
