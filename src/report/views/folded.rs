//! Folded stacks: root first, `;` between frames, a whole number after a blank; of a difference two numbers.
//!
//! ```text
//! main;load;parse 10485760
//! main;load;parse 10485760 20971520      with a base: before and after, as inferno's differential reads them
//! ```

use super::whole;
use crate::analysis::places::{PlaceId, Places};
use crate::analysis::tree::Paths;
use crate::origin::printable;
use std::io::{self, Write};

/// Writes every stack that the filter keeps; equal ones are one line. Nothing is written for nothing.
///
/// # Errors
/// Those of the writer.
pub fn write(table: &Places, paths: &Paths, difference: bool, out: &mut impl Write) -> io::Result<()> {
    let names: Vec<String> = (0..table.len() as u32).map(|i| frame(table.label(PlaceId(i)))).collect();
    for (path, weight) in paths.folded(table) {
        let (base, current) = (whole(weight.base), whole(weight.current));
        if base == 0 && current == 0 {
            continue;
        }
        for (i, place) in path.iter().enumerate() {
            if i > 0 {
                out.write_all(b";")?;
            }
            out.write_all(names[place.index()].as_bytes())?;
        }
        if difference { writeln!(out, " {base} {current}")? } else { writeln!(out, " {current}")? }
    }
    Ok(())
}

/// A name as one frame: Rust's `[u8; 32]` holds the separator, and readers copy control characters into XML.
fn frame(name: &str) -> String {
    let name = printable(name).replace(';', ":");
    if name.trim().is_empty() { "?".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_frame() {
        assert_eq!(frame("f::<[u8; 32]>"), "f::<[u8: 32]>");
        assert_eq!(frame("a\nb"), "a\\u{a}b");
        assert_eq!(frame(" "), "?");
    }
}
