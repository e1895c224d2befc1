//! Stacks, interned: each distinct return address once, each distinct stack once.
//!
//! A stack is a list of [`AddressId`], innermost first, as dumps print it. Four bytes a frame.

use crate::address::ReturnAddress;
use hashbrown::{HashMap, HashTable};
use rustc_hash::{FxBuildHasher, FxHasher};
use std::hash::Hasher;

/// A distinct return address of one [`StackTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(pub u32);

/// A distinct stack of one [`StackTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u32);

impl AddressId {
    /// Position in tables by address.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl StackId {
    /// Position in tables by stack.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The stacks of one process (one address space), over any number of dumps.
#[derive(Clone, Debug, Default)]
pub struct StackTable {
    addresses: Vec<ReturnAddress>,
    frames: Vec<u32>,
    ends: Vec<u32>,
    address_ids: HashMap<ReturnAddress, u32, FxBuildHasher>,
    /// Each stack with its hash: a table that grows would read all stacks again, in no order (a tenth of a diff of
    /// two million stacks).
    stack_ids: HashTable<(u32, u32)>,
}

impl StackTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stack with these addresses, innermost first, added where it is new.
    pub fn intern(&mut self, stack: &[ReturnAddress]) -> StackId {
        let ids: Vec<u32> = stack.iter().map(|&address| self.intern_address(address).0).collect();
        self.intern_ids(&ids)
    }

    /// The id of an address, added where it is new.
    pub fn intern_address(&mut self, address: ReturnAddress) -> AddressId {
        let next = self.addresses.len() as u32;
        let id = *self.address_ids.entry(address).or_insert(next);
        if id == next {
            self.addresses.push(address);
        }
        AddressId(id)
    }

    /// [`StackTable::intern`] for addresses that are interned already.
    pub fn intern_ids(&mut self, ids: &[u32]) -> StackId {
        let hash = hash_ids(ids);
        if let Some(found) = self.find_ids(hash, ids) {
            return found;
        }
        let new = self.ends.len() as u32;
        self.stack_ids.insert_unique(spread(hash), (new, hash), |&(_, hash)| spread(hash));
        self.frames.extend_from_slice(ids);
        self.ends.push(self.frames.len() as u32);
        StackId(new)
    }

    /// The stack with these addresses, where the table has it.
    pub fn find(&self, stack: &[ReturnAddress]) -> Option<StackId> {
        let ids: Option<Vec<u32>> = stack.iter().map(|address| self.address_ids.get(address).copied()).collect();
        let ids = ids?;
        self.find_ids(hash_ids(&ids), &ids)
    }

    fn find_ids(&self, hash: u32, ids: &[u32]) -> Option<StackId> {
        let slice = |stack: u32| &self.frames[start_of(&self.ends, stack)..self.ends[stack as usize] as usize];
        let found = self.stack_ids.find(spread(hash), |&(stack, known)| known == hash && slice(stack) == ids);
        found.map(|&(stack, _)| StackId(stack))
    }

    /// The addresses of a stack, innermost first.
    pub fn stack(&self, id: StackId) -> impl DoubleEndedIterator<Item = AddressId> + ExactSizeIterator + Clone + '_ {
        let start = start_of(&self.ends, id.0);
        self.frames[start..self.ends[id.index()] as usize].iter().map(|&frame| AddressId(frame))
    }

    /// The address behind an id.
    pub fn address(&self, id: AddressId) -> ReturnAddress {
        self.addresses[id.index()]
    }

    /// Every distinct address, by id.
    pub fn addresses(&self) -> &[ReturnAddress] {
        &self.addresses
    }

    /// The number of distinct stacks.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no stack.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Every stack id, ascending.
    pub fn ids(&self) -> impl Iterator<Item = StackId> + use<> {
        (0..self.ends.len() as u32).map(StackId)
    }
}

fn start_of(ends: &[u32], stack: u32) -> usize {
    match stack {
        0 => 0,
        _ => ends[stack as usize - 1] as usize,
    }
}

fn hash_ids(ids: &[u32]) -> u32 {
    let mut hasher = FxHasher::default();
    let (pairs, last) = ids.as_chunks::<2>();
    pairs.iter().for_each(|&[a, b]| hasher.write_u64(u64::from(a) | u64::from(b) << 32));
    last.iter().for_each(|&id| hasher.write_u32(id));
    (hasher.finish() >> 32) as u32
}

/// A stack's hash as the table wants it: it looks at the highest and the lowest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_share_an_id() {
        let mut table = StackTable::new();
        let addresses = |list: &[u64]| list.iter().map(|&a| ReturnAddress::new(a)).collect::<Vec<_>>();
        let a = table.intern(&addresses(&[1, 2, 3]));
        let b = table.intern(&addresses(&[1, 2]));
        let empty = table.intern(&[]);
        assert_eq!(table.intern(&addresses(&[1, 2, 3])), a);
        assert_eq!((table.find(&addresses(&[1, 2])), table.find(&addresses(&[2, 1])), table.find(&addresses(&[9]))), (Some(b), None, None));
        assert_ne!(a, b);
        assert_eq!(table.stack(empty).len(), 0);
        let back: Vec<u64> = table.stack(a).map(|id| table.address(id).get()).collect();
        assert_eq!(back, [1, 2, 3]);
        assert_eq!(table.addresses().len(), 3);
    }
}
