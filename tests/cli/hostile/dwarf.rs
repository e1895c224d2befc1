//! DWARF written by hand, to say what no compiler says: entries that refer to themselves, nest without end, or
//! share one list a hundred thousand times.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Attribute and form numbers are those of gimli's constants.
pub type Spec = (gimli::DwAt, gimli::DwForm);

/// A value of an entry, written as its form asks.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// `DW_FORM_string`
    Text(&'a str),
    /// `DW_FORM_ref4`, `DW_FORM_ref_addr`, `DW_FORM_data4`, `DW_FORM_sec_offset`, `DW_FORM_strp`
    Four(u32),
    /// `DW_FORM_addr`
    Address(u64),
    /// `DW_FORM_exprloc`: `DW_OP_addr` and an address.
    At(u64),
}

/// The sections of a file with DWARF 4, 32-bit.
#[derive(Clone, Debug, Default)]
pub struct Info {
    abbreviations: Vec<u8>,
    kinds: u8,
    /// `.debug_info`
    pub info: Vec<u8>,
    /// Other sections, by name.
    pub others: Vec<(&'static str, Vec<u8>)>,
    unit: usize,
}

impl Info {
    /// A kind of entry; its number.
    pub fn kind(&mut self, tag: gimli::DwTag, children: bool, specs: &[Spec]) -> u8 {
        self.kinds += 1;
        assert!(self.kinds < 0x80, "codes of one byte");
        self.abbreviations.push(self.kinds);
        uleb(&mut self.abbreviations, tag.0.into());
        self.abbreviations.push(children.into());
        for (name, form) in specs {
            uleb(&mut self.abbreviations, name.0.into());
            uleb(&mut self.abbreviations, form.0.into());
        }
        self.abbreviations.extend([0, 0]);
        self.kinds
    }

    /// So many kinds more, which no entry is of.
    pub fn more_abbreviations(&mut self, count: u64) {
        for code in 0..count {
            uleb(&mut self.abbreviations, 0x80 + code);
            self.abbreviations.extend([0x34, 0, 0, 0]);
        }
    }

    /// Opens a unit and its root entry, in Rust or C++, which covers the code of [`carrier`].
    pub fn open(&mut self, root: u8, language: gimli::DwLang) {
        self.unit = self.info.len();
        // Length (set when it is closed), version, abbreviations, size of addresses.
        self.info.extend([0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8]);
        self.entry(root, &[Value::Four(language.0.into()), Value::Text("bomb"), Value::Address(CODE), Value::Four(CODE_SIZE)]);
    }

    /// The kind of root entry that [`Info::open`] writes.
    pub fn root(&mut self) -> u8 {
        let code = [(gimli::DW_AT_low_pc, gimli::DW_FORM_addr), (gimli::DW_AT_high_pc, gimli::DW_FORM_data4)];
        let what = [(gimli::DW_AT_language, gimli::DW_FORM_data4), (gimli::DW_AT_name, gimli::DW_FORM_string)];
        self.kind(gimli::DW_TAG_compile_unit, true, &[what, code].concat())
    }

    /// Ends the unit.
    pub fn close(&mut self) {
        self.end();
        let length = (self.info.len() - self.unit - 4) as u32;
        self.info[self.unit..self.unit + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Where the next entry will stand in its unit: what a reference to it says.
    pub fn here(&self) -> u32 {
        (self.info.len() - self.unit) as u32
    }

    /// Writes an entry.
    pub fn entry(&mut self, kind: u8, values: &[Value<'_>]) {
        let out = &mut self.info;
        out.push(kind);
        for value in values {
            match *value {
                Value::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    out.push(0);
                }
                Value::Four(number) => out.extend(number.to_le_bytes()),
                Value::Address(address) => out.extend(address.to_le_bytes()),
                Value::At(address) => {
                    out.extend([9, gimli::DW_OP_addr.0]);
                    out.extend(address.to_le_bytes());
                }
            }
        }
    }

    /// Ends the children of an entry.
    pub fn end(&mut self) {
        self.info.push(0);
    }

    /// A program with these sections.
    pub fn link(&self, folder: &Path, name: &str) -> PathBuf {
        let (plain, out) = (carrier(folder), folder.join(name));
        let mut objcopy = Command::new("objcopy");
        let own = [(".debug_info", &self.info), (".debug_abbrev", &[&self.abbreviations[..], &[0]].concat())];
        let others = self.others.iter().map(|(name, bytes)| (*name, bytes));
        for (section, bytes) in own.into_iter().chain(others) {
            let file = folder.join(&section[1..]);
            std::fs::write(&file, bytes).expect("writable");
            let mut option = OsString::from(format!("{section}="));
            option.push(&file);
            objcopy.arg("--add-section").arg(option);
        }
        let status = objcopy.arg(&plain).arg(&out).status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy adds sections");
        out
    }
}

/// Where the code of [`carrier`] stands.
pub const CODE: u64 = 0x40_1000;
/// Bytes that units say they cover.
pub const CODE_SIZE: u32 = 4000;

/// A program without debug information.
fn carrier(folder: &Path) -> PathBuf {
    let out = folder.join("carrier");
    if !out.exists() {
        let source = folder.join("carrier.s");
        std::fs::write(&source, ".globl _start\n_start:\n.fill 4000, 1, 0x90\nret\n").expect("writable");
        let status = Command::new("cc").args(["-static", "-nostdlib", "-o"]).arg(&out).arg(&source).status();
        assert!(status.is_ok_and(|status| status.success()), "cc links a small program");
    }
    out
}

fn uleb(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
