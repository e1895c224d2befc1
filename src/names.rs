//! Names of functions: demangling with bounds.
//!
//! Rust (legacy and v0) and C++ occur in one binary, and link-time optimization inlines across
//! languages, so the scheme is told by the name itself and not by the unit that it stands in.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Longest linkage name that is demangled, in bytes. A bound against hostile files.
const LONGEST_LINKAGE: usize = 64 << 10;
/// Longest name that is kept, in bytes: longer ones end in `…`. A v0 name of a few bytes can expand without bound.
const LONGEST_NAME: usize = 16 << 10;
/// Depth of what is printed of nested C++ names: a bound against hostile files.
const DEEPEST_NESTING: u32 = 256;
/// A C++ name may take two to this power steps, some tenths of a second, before it is given up.
const MOST_STEPS: u32 = 20;
/// What the parser of C++ names counts for one template argument inside another.
const ONE_LEVEL: u32 = 5;

/// The name for people: demangled, without the hash suffix (`::h0123456789abcdef`), crate
/// disambiguators and the marks that optimizers append (`.llvm.123`, `.cold`). Names of C stay as they are.
pub fn demangle(linkage: &str) -> Cow<'_, str> {
    demangled(linkage).map_or_else(|| shorten(strip_clone_marks(linkage)), Cow::Owned)
}

/// As [`demangle`]; `None` where the name is of no known scheme, or not a sound one.
pub fn demangled(linkage: &str) -> Option<String> {
    if linkage.len() > LONGEST_LINKAGE {
        return None;
    }
    demangle_rust(linkage).or_else(|| demangle_cpp(linkage))
}

fn demangle_rust(linkage: &str) -> Option<String> {
    let symbol = rustc_demangle::try_demangle(linkage).ok()?;
    // A legacy name without its hash is a C++ name that happens to be simple.
    if !is_v0(linkage) && !has_rust_hash(linkage) {
        return None;
    }
    bounded(|out| write!(out, "{symbol:#}"))
}

fn is_v0(linkage: &str) -> bool {
    linkage.starts_with("_R") || linkage.starts_with("__R")
}

/// `17h` and 16 hex digits before the closing `E` of a legacy name.
fn has_rust_hash(linkage: &str) -> bool {
    let Some(at) = linkage.rfind("17h") else { return false };
    let rest = &linkage.as_bytes()[at + 3..];
    rest.len() > 16 && rest[..16].iter().all(u8::is_ascii_hexdigit) && rest[16] == b'E'
}

fn demangle_cpp(linkage: &str) -> Option<String> {
    let name = strip_clone_marks(linkage);
    if !name.starts_with("_Z") && !name.starts_with("__Z") {
        return None;
    }
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(deepest_template(name.len()));
    let symbol = cpp_demangle::Symbol::new_with_options(name, &parse).ok()?;
    let options = cpp_demangle::DemangleOptions::default().recursion_limit(DEEPEST_NESTING);
    bounded(|out| symbol.structured_demangle(out, &options))
}

/// How deep a C++ name of this length is followed. The parser tries what is in template arguments once more, as another
/// production, when it turns out to be unsound: twice the steps for each level, four trillion in a name of 300 bytes.
/// Of 265,345 names of LLVM, Clang and the C++ library 468 are deeper, and stay as they are.
fn deepest_template(length: usize) -> u32 {
    let once = usize::BITS - length.leading_zeros();
    MOST_STEPS.saturating_sub(once).max(2) * ONE_LEVEL + ONE_LEVEL - 1
}

/// `f.cold`, `f.constprop.0`, `f.part.3`, `f.isra.0`, `f.llvm.123`, `f.lto_priv.0`: parts and copies
/// of `f` that the optimizer made. `f@@GLIBC_2.34`: a version.
pub fn strip_clone_marks(linkage: &str) -> &str {
    let name = linkage.split_once('@').map_or(linkage, |(name, _)| if name.is_empty() { linkage } else { name });
    const MARKS: [&str; 7] = [".llvm.", ".cold", ".constprop.", ".part.", ".isra.", ".lto_priv.", ".localalias"];
    let cut = MARKS.iter().filter_map(|mark| name.find(mark)).min().unwrap_or(name.len());
    if cut == 0 { name } else { &name[..cut] }
}

fn shorten(name: &str) -> Cow<'_, str> {
    if name.len() <= LONGEST_NAME {
        return Cow::Borrowed(name);
    }
    let end = (0..=LONGEST_NAME).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    Cow::Owned(format!("{}…", &name[..end]))
}

/// Runs a demangler into a string of bounded length; `None` when it fails for another reason than length.
fn bounded(print: impl FnOnce(&mut Bounded) -> fmt::Result) -> Option<String> {
    let mut out = Bounded { text: String::new(), full: false };
    match print(&mut out) {
        Ok(()) => Some(out.text),
        Err(fmt::Error) if out.full => {
            out.text.push('…');
            Some(out.text)
        }
        Err(fmt::Error) => None,
    }
}

struct Bounded {
    text: String,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > LONGEST_NAME {
            self.full = true;
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(linkage: &str, expected: &str) {
        assert_eq!(demangle(linkage), expected);
    }

    #[test]
    fn each_scheme() {
        check("_ZN5alloc7raw_vec19RawVec$LT$T$C$A$GT$8grow_one17h0123456789abcdefE", "alloc::raw_vec::RawVec<T,A>::grow_one");
        check("_ZN5alloc7raw_vec19RawVec$LT$T$C$A$GT$8grow_one17h0123456789abcdefE.llvm.8", "alloc::raw_vec::RawVec<T,A>::grow_one");
        check("_RNvC6_123foo3bar", "123foo::bar");
        check("_RNCNvC4main4main0", "main::main::{closure#0}");
        check("_ZN3foo3barEv", "foo::bar()");
        check("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)");
        check("_Znwm", "operator new(unsigned long)");
        check("malloc", "malloc");
        check("malloc@@GLIBC_2.2.5", "malloc");
        check("do_work.constprop.0", "do_work");
        check("tok_scan.part.0.cold", "tok_scan");
        check(".cold", ".cold");
        check("", "");
        check("_Z", "_Z");
        check("_R", "_R");
    }

    #[test]
    fn expansion_is_bounded() {
        // A tuple of two back references to itself, nested: doubles with every level.
        let mut name = String::from("_RIC0");
        for _ in 0..24 {
            name.push_str("TB1_");
        }
        for _ in 0..24 {
            name.push('E');
        }
        name.push('E');
        assert!(demangle(&name).len() <= LONGEST_NAME + 3);
        let long = "x".repeat(1 << 20);
        assert_eq!(demangle(&long).len(), LONGEST_NAME + "…".len());
        let wide = "é".repeat(1 << 20);
        assert!(demangle(&wide).len() <= LONGEST_NAME + 3);
        let deep = format!("_Z1f{}i", "P".repeat(10_000));
        assert!(!demangle(&deep).is_empty());
        // Each template has the one before it twice: 2^n of the first.
        let mut doubling = String::from("_Z1f1AIiiE");
        for at in 0..60_u32 {
            let last = match at {
                0 => "S_".to_owned(),
                at => format!("S{}_", char::from_digit((at - 1) % 36, 36).unwrap().to_ascii_uppercase()),
            };
            doubling.push_str(&format!("1BI{last}{last}E"));
        }
        let started = std::time::Instant::now();
        assert!(demangle(&doubling).len() <= LONGEST_NAME + 3);
        // A function whose arguments are functions of functions, each of the one before.
        let nested = format!("_Z1f{}{}", "PFvS_".repeat(200), "E".repeat(200));
        assert!(demangle(&nested).len() <= LONGEST_NAME + 3);
        let conditions = format!("_Z1fIiEDT{}{}E", "cl".repeat(5000), "L_Z1gE".repeat(5000));
        assert!(demangle(&conditions).len() <= LONGEST_NAME + 3);
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    }

    /// Found by the fuzzer: template arguments in template arguments, and no name at the end.
    #[test]
    fn unsound_names_are_given_up() {
        let found = "_ZNSt6wectirIoSaIilonallSaIlldrwwllllSaIilonallSaIlldrllllSaIililonallSaIlldrwwwllllSaIilonallSaIlldrllllSaIil\
                     ilonallSaIlldrwwllllSaIilonallSaIlldrllllSaIilonadrllllSaIilonallSaIlldrlllllrllllSaIlldrlllllrlllllSaIilonall\
                     SaIlldrllllSaIilonadrllllSaIilonallSaIlldrlllllrllllSaIlldrlllllrlllllrei";
        let started = std::time::Instant::now();
        check(found, found);
        for (level, depth, arguments) in [("SaI", 12, 10), ("SaI", 40, 1), ("St1aI", 100, 1), ("SaI", 9, 1000), ("SaI", 5, 60_000)] {
            let name = format!("_Z1fI{}{}!", level.repeat(depth), "i".repeat(arguments));
            assert_eq!(demangle(&name), shorten(&name));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
        // As deep as names of real libraries are.
        check(
            &format!("_Z1fI{}i{}Evv", "SaI".repeat(9), "E".repeat(9)),
            &format!("void f<{}int{}>()", "std::allocator<".repeat(9), "> ".repeat(9)),
        );
    }

    proptest::proptest! {
        #[test]
        fn any_name_demangles(name in "(_R|_ZN|_Z|__ZN)?[A-Za-z0-9_$.@]{0,200}") {
            assert!(demangle(&name).len() <= LONGEST_NAME + 3);
        }

        #[test]
        fn any_text_demangles(name in ".*") {
            demangle(&name);
        }
    }
}
