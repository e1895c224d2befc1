//! Frames of a function in the binary: the function itself and what was inlined into it, and whose code each is.

use crate::binary::bodies::{self, FunctionName};
use crate::binary::facts::{Function, OwnershipFacts};
use crate::binary::type_name;
use crate::model::role::{Role, crate_of, role_of};

/// Whose code a frame is, as far as sites are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The program's own crates.
    User,
    /// A dependency.
    Dependency,
    /// The standard library, the allocator, the arena crate itself: what they do inside is no site.
    Library,
}

/// A frame: the function itself, or a call inlined into it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'f> {
    /// Index of the inlined call; `None` for the function itself.
    pub inlined: Option<u32>,
    /// What it is called.
    pub name: &'f FunctionName,
    /// Index of the name.
    pub name_id: u32,
    /// Line of the call in the frame around it; 0 for the function itself.
    pub call_line: u32,
}

/// The standing of every function name of a binary, by index.
pub fn standings(facts: &OwnershipFacts) -> Vec<Standing> {
    facts.names.iter().map(standing).collect()
}

/// Whose code a function is.
pub fn standing(name: &FunctionName) -> Standing {
    let file = name.file.as_deref().map(|file| match &name.directory {
        Some(directory) if !file.starts_with('/') => format!("{directory}/{file}"),
        _ => file.to_owned(),
    });
    if file.is_none() && !name.path.contains("::") {
        return Standing::Library; // line tables name inlined calls `push` and `alloc`: nobody's
    }
    if name.path.contains("__rust_") || name.path.contains("__rg_") || name.path.contains("__rdl_") {
        return Standing::Library; // generated in the user's crate for `#[global_allocator]`
    }
    match role_of(&name.path, file.as_deref(), None) {
        // Without a file the crate's name is all there is to go by.
        Role::User if file.is_none() && crate_of(&name.path).is_some_and(bodies::is_library_crate) => Standing::Library,
        Role::User => Standing::User,
        Role::Dependency if crate_of(&name.path).is_some_and(bodies::is_library_crate) => Standing::Library,
        Role::Dependency => Standing::Dependency,
        Role::Library | Role::Allocator | Role::Runtime => Standing::Library,
    }
}

/// The frames around an inlined call, itself first, the function last.
pub fn chain<'f>(facts: &'f OwnershipFacts, function: &'f Function, inlined: Option<u32>) -> Vec<Frame<'f>> {
    let mut frames = Vec::new();
    let mut at = inlined;
    while let Some(index) = at {
        let Some(call) = function.body.inlined.get(index as usize) else { break };
        frames.push(Frame { inlined: at, name: &facts.names[call.name as usize], name_id: call.name, call_line: call.call_line });
        at = call.parent;
    }
    let name_id = function.body.name;
    frames.push(Frame { inlined: None, name: &facts.names[name_id as usize], name_id, call_line: 0 });
    frames
}

/// The innermost inlined call whose code holds an address; `None` for the function itself.
pub fn innermost(function: &Function, address: u64) -> Option<u32> {
    // Inner calls come after outer ones.
    (0..).zip(&function.body.inlined).filter(|(_, call)| super::super::walk::holds(call, address)).map(|(index, _)| index).last()
}

/// A function for people: closures folded into the function they stand in.
pub fn function_name(path: &str) -> String {
    let mut at = path;
    loop {
        let Some((front, last)) = type_name::split_path(at) else { return at.to_owned() };
        if !(last.starts_with("{{closure}}") || last.starts_with("{closure")) {
            return at.to_owned();
        }
        at = front;
    }
}

/// A wrapper for people: `Trait::method` for an implementation on a foreign type.
pub fn wrapper_name(path: &str) -> String {
    let name = function_name(path);
    let Some((front, method)) = type_name::split_path(&name) else { return name };
    match type_name::split_impl(front) {
        Some((subject, trait_name)) if crate_of(subject) != crate_of(trait_name) => format!("{}::{method}", type_name::base(trait_name)),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_people() {
        assert_eq!(function_name("a::b::{{closure}}::{{closure}}"), "a::b");
        assert_eq!(function_name("a::B::c"), "a::B::c");
        assert_eq!(wrapper_name("<bumpalo::collections::vec::Vec as a::Freeze>::frozen"), "a::Freeze::frozen");
        assert_eq!(wrapper_name("<a::V as a::Freeze>::frozen"), "<a::V as a::Freeze>::frozen");
    }
}
