//! Stacks by name: the same id over address space randomisation, instances and builds.
//!
//! An id is a hash over the normalised names of the frames that are somebody's code. Addresses, lines, hash suffixes,
//! numbers of closures and generic arguments are not in it (`model::role::normalize`), nor are frames of the allocator,
//! the language's library and the runtime: which of them stand in a stack depends on what the compiler inlined.
//! Direct recursion counts once.
//!
//! A frame without a name goes by module and offset: the same for all instances of one build, not over builds.

use crate::analysis::owner::Owners;
use crate::fleet::rows::{OTHER, StackRow};
use crate::model::frame::{Frame, Role, Symbols, Unresolved};
use crate::model::role::normalize;
use crate::model::stack::{StackId, StackTable};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// The stacks of a table by name; several may have the same.
#[derive(Clone, Debug, Default)]
pub struct NamedStacks {
    /// Distinct stacks, in order of their first.
    pub rows: Vec<StackRow>,
    /// For each stack of the table its position in `rows`.
    pub row_of: Vec<u32>,
}

impl NamedStacks {
    /// Names every stack of a table.
    pub fn of(stacks: &StackTable, symbols: &Symbols) -> NamedStacks {
        let mut labels = Labels { symbols, known: HashMap::default() };
        let mut owners = Owners::new(symbols);
        let mut at: HashMap<String, u32, FxBuildHasher> = HashMap::default();
        let mut named = NamedStacks::default();
        for stack in stacks.ids() {
            let (folded, leaf, frames) = labels.fold(stacks, stack);
            let next = named.rows.len() as u32;
            let row = *at.entry(folded.clone()).or_insert(next);
            let owner = owners.of(stacks.stack(stack));
            let (owner, krate) = owner.map_or_else(Default::default, |owner| {
                (labels.of(owner.frame), owner.krate.map(|krate| clean(krate, "")).unwrap_or_default())
            });
            if row == next {
                named.rows.push(StackRow { stack_id: stack_id(&folded), leaf, owner, krate, frames, folded });
            } else {
                // Stacks that differ in hidden frames only: the same owner for all, whichever comes first.
                let known = &mut named.rows[row as usize];
                if (&owner, &krate) < (&known.owner, &known.krate) {
                    (known.owner, known.krate) = (owner, krate);
                }
            }
            named.row_of.push(row);
        }
        named
    }
}

/// The row that stands for all stacks that are not told apart.
pub fn other() -> StackRow {
    StackRow { stack_id: OTHER.into(), leaf: OTHER.into(), owner: OTHER.into(), krate: String::new(), frames: 0, folded: OTHER.into() }
}

/// 128-bit FNV-1a (Fowler, Noll, Vo) of a folded stack, as 32 hex digits.
pub fn stack_id(folded: &str) -> String {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in folded.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")
}

struct Labels<'a> {
    symbols: &'a Symbols,
    known: HashMap<(u32, Option<Unresolved>), String, FxBuildHasher>,
}

impl Labels<'_> {
    fn of(&mut self, frame: &Frame) -> String {
        let symbols = self.symbols;
        self.known
            .entry((frame.function.0, frame.unresolved))
            .or_insert_with(|| {
                let name = symbols.names.get(frame.function);
                match frame.unresolved {
                    None => {
                        let normal = normalize(name);
                        clean(if normal.is_empty() { name } else { &normal }, "[unnamed]")
                    }
                    // A bare address is another one in every process.
                    Some(_) if frame.module.is_none() => "[unknown]".to_owned(),
                    Some(_) => clean(name, "[unknown]"),
                }
            })
            .clone()
    }

    /// The folded stack, its innermost frame and the number of frames.
    fn fold(&mut self, stacks: &StackTable, stack: StackId) -> (String, String, i64) {
        let symbols = self.symbols;
        let frames = || stacks.stack(stack).rev().flat_map(|address| symbols.frames(address).iter().rev());
        let visible = frames().any(|frame| is_somebodys(frame.role));
        let mut folded = String::new();
        let (mut leaf, mut count) = (String::new(), 0);
        for frame in frames().filter(|frame| !visible || is_somebodys(frame.role)) {
            let label = self.of(frame);
            if label == leaf && count > 0 {
                continue;
            }
            if count > 0 {
                folded.push(';');
            }
            folded.push_str(&label);
            leaf = label;
            count += 1;
        }
        if count == 0 {
            return ("[no frames]".into(), "[no frames]".into(), 0);
        }
        (folded, leaf, count)
    }
}

fn is_somebodys(role: Role) -> bool {
    !role.is_hidden()
}

/// `;` separates frames, and control characters have no place in a table.
fn clean(name: &str, empty: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_control() => '?',
            c => c,
        })
        .collect();
    if name.is_empty() { empty.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ReturnAddress;
    use crate::model::frame::ModuleId;

    /// A table with one stack, innermost first; a name that starts with `+` has none but its module's.
    fn named(base: u64, frames: &[(&str, Role)]) -> StackRow {
        let mut stacks = StackTable::new();
        let mut symbols = Symbols::default();
        let addresses: Vec<ReturnAddress> = (0..frames.len() as u64).map(|i| ReturnAddress::new(base + 16 * i)).collect();
        stacks.intern(&addresses);
        for (name, role) in frames {
            let function = symbols.names.intern(name);
            symbols.push([Frame {
                function,
                linkage: None,
                file: None,
                line: Some(base as u32),
                module: name.contains('+').then_some(ModuleId(0)),
                svma: None,
                inlined: false,
                role: *role,
                unresolved: (name.contains('+') || name.starts_with("0x")).then_some(Unresolved::NoSymbol),
            }]);
        }
        NamedStacks::of(&stacks, &symbols).rows.remove(0)
    }

    use Role::{Allocator, Library, Runtime, User};

    #[test]
    fn ids_are_equal_over_addresses_hashes_inlining_and_generics() {
        let old = named(
            0x5500_0000,
            &[
                ("_rjem_malloc", Allocator),
                ("alloc::vec::Vec<T>::push", Library),
                ("app::index::push::h0123456789abcdef", User),
                ("app::index::run::{{closure}}", User),
                ("std::rt::lang_start", Runtime),
            ],
        );
        let new =
            named(0x7700_0000, &[("_rjem_malloc", Allocator), ("app::index::push", User), ("app[8fa3]::index::run::{closure#3}", User)]);
        assert_eq!(old.folded, new.folded);
        assert_eq!((&old.stack_id, old.frames), (&new.stack_id, 2));
        assert_eq!((old.leaf.as_str(), old.owner.as_str(), old.krate.as_str()), ("app::index::push", "app::index::push", "app"));
        assert_eq!(old.stack_id.len(), 32);
    }

    #[test]
    fn recursion_counts_once_and_separators_stay_apart() {
        let once = named(0x10, &[("walk", User), ("main_loop", User)]);
        let deep = named(0x10, &[("walk", User), ("walk", User), ("walk", User), ("main_loop", User)]);
        assert_eq!(once, deep);
        assert_eq!(named(0x10, &[("a;b\nc", User)]).folded, "a:b?c");
    }

    #[test]
    fn without_names_the_module_counts_and_never_the_address() {
        assert_eq!(named(0x10, &[("0x7f0011", User)]).folded, "[unknown]");
        assert_eq!(named(0x10, &[("app+0x1234", User)]).folded, "app+0x1234");
        // Nobody's code: all frames.
        assert_eq!(named(0x10, &[("malloc", Allocator), ("_start", Runtime)]).folded, "_start;malloc");
        assert_eq!(named(0x10, &[]).folded, "[no frames]");
    }

    #[test]
    fn the_hash_is_fnv() {
        // Published test vectors of FNV-1a 128.
        assert_eq!(stack_id(""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(stack_id("a"), "d228cb696f1a8caf78912b704e4a8964");
    }
}
