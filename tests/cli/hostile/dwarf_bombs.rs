//! Debug information that never ends when it is followed: it is left where the limits are, whatever is asked of it.

use super::dwarf::{CODE, CODE_SIZE, Info, Value};
use super::mutation::memory;
use super::program::{Ran, Run};
use gimli::constants::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Dumps of a process that leaks at every other address of the program.
fn dumps(folder: &Path) -> Vec<PathBuf> {
    (1..=5_u64)
        .map(|at| {
            let path = folder.join(format!("176365{at}000123.heap"));
            let addresses: Vec<u64> = (CODE + 1..CODE + u64::from(CODE_SIZE)).step_by(2).collect();
            let (objects, bytes) = (at * 40, at * 400_000);
            let count = addresses.len() as u64;
            let mut text = format!("heap_v2/1\n  t*: {}: {} [0: 0]\n", objects * count, bytes * count);
            for address in addresses {
                text.push_str(&format!("@ {:#x}\n  t*: {objects}: {bytes} [0: 0]\n", address + 1));
            }
            text.push_str("\nMAPPED_LIBRARIES:\n400000-401000 r--p 00000000 08:01 7    /srv/app\n");
            text.push_str("401000-402000 r-xp 00001000 08:01 7    /srv/app\n");
            std::fs::write(&path, text).expect("writable");
            path
        })
        .collect()
}

/// Everything that is asked about a binary.
pub fn ask_all(binary: &Path, what: &str) -> Vec<(Vec<String>, Ran)> {
    let folder = binary.parent().expect("a file in a folder");
    let dumps = dumps(folder);
    let mut given = OsString::from("app=");
    given.push(binary);
    let of_binary: [&[&str]; 9] = [
        &["doctor"],
        &["sites"],
        &["owners", "--type", "Node"],
        &["owners", "--cycles"],
        &["owners", "--roots"],
        &["sites", "--format", "json"],
        &["sites", "--format", "sarif"],
        &["owners", "--type", "Node", "--format", "json"],
        &["owners", "--type", "Node", "--format", "dot"],
    ];
    let of_dump: [&[&str]; 7] = [
        &["top"],
        &["diff"],
        &["list", "."],
        &["flamegraph"],
        &["report", "--explain"],
        &["report", "--format", "html"],
        &["report", "--format", "markdown"],
    ];
    let mut calls: Vec<Vec<OsString>> = Vec::new();
    for args in of_binary {
        let mut call: Vec<OsString> = args.iter().map(OsString::from).collect();
        call.insert(1, binary.into());
        calls.push(call);
    }
    for args in of_dump {
        let mut call: Vec<OsString> = args.iter().map(OsString::from).collect();
        let inputs = match args[0] {
            "report" => &dumps[..],
            "diff" => &dumps[..2],
            _ => &dumps[..1],
        };
        call.splice(1..1, inputs.iter().map(OsString::from));
        call.extend(["--binary".into(), given.clone()]);
        calls.push(call);
    }
    let size = binary.metadata().expect("linked").len() as usize;
    let mut answers = Vec::new();
    for mut call in calls {
        call.push("--no-cache".into());
        let started = Instant::now();
        let ran = Run::new(&call, memory(size)).go();
        // Shown with --nocapture.
        eprintln!("{what}: {call:?}: {:.2} s", started.elapsed().as_secs_f64());
        ran.is_sound(&format!("{call:?} on {what}"), &[0, 2]);
        // JSON lists every owner: as much as the input has types.
        assert!(ran.stdout.len() < (1 << 20) + 4 * size, "{call:?} on {what}: {} bytes of output", ran.stdout.len());
        answers.push((call.iter().map(|arg| arg.to_string_lossy().into_owned()).collect(), ran));
    }
    answers
}

/// The kinds of entries that the bombs are made of.
struct Kinds {
    namespace: u8,
    structure: u8,
    parameter: u8,
    member: u8,
    pointer: u8,
    typedef: u8,
    constant: u8,
    array: u8,
    count: u8,
    function: u8,
    function_of_ranges: u8,
    abstract_function: u8,
    reference_only: u8,
    specification: u8,
    inlined: u8,
    inlined_of_ranges: u8,
    block_of_ranges: u8,
    variable: u8,
    fixed: u8,
    import: u8,
    partial: u8,
}

impl Kinds {
    fn new(info: &mut Info) -> Self {
        let name = (DW_AT_name, DW_FORM_string);
        let type_of = (DW_AT_type, DW_FORM_ref4);
        let code = [(DW_AT_low_pc, DW_FORM_addr), (DW_AT_high_pc, DW_FORM_data4)];
        let ranges = (DW_AT_ranges, DW_FORM_sec_offset);
        let origin = (DW_AT_abstract_origin, DW_FORM_ref4);
        Kinds {
            namespace: info.kind(DW_TAG_namespace, true, &[name]),
            structure: info.kind(DW_TAG_structure_type, true, &[name]),
            parameter: info.kind(DW_TAG_template_type_parameter, false, &[name, type_of]),
            member: info.kind(DW_TAG_member, false, &[name, type_of]),
            pointer: info.kind(DW_TAG_pointer_type, false, &[type_of]),
            typedef: info.kind(DW_TAG_typedef, false, &[name, type_of]),
            constant: info.kind(DW_TAG_const_type, false, &[type_of]),
            array: info.kind(DW_TAG_array_type, true, &[type_of]),
            count: info.kind(DW_TAG_subrange_type, false, &[(DW_AT_count, DW_FORM_data4)]),
            function: info.kind(DW_TAG_subprogram, true, &[name, code[0], code[1]]),
            function_of_ranges: info.kind(DW_TAG_subprogram, true, &[name, ranges]),
            abstract_function: info.kind(DW_TAG_subprogram, true, &[name]),
            reference_only: info.kind(DW_TAG_subprogram, true, &[origin, code[0], code[1]]),
            specification: info.kind(DW_TAG_subprogram, true, &[(DW_AT_specification, DW_FORM_ref4), code[0], code[1]]),
            inlined: info.kind(DW_TAG_inlined_subroutine, true, &[origin, code[0], code[1]]),
            inlined_of_ranges: info.kind(DW_TAG_inlined_subroutine, true, &[origin, ranges]),
            block_of_ranges: info.kind(DW_TAG_lexical_block, true, &[ranges]),
            variable: info.kind(DW_TAG_variable, false, &[name, type_of]),
            fixed: info.kind(DW_TAG_variable, false, &[name, type_of, (DW_AT_location, DW_FORM_exprloc)]),
            import: info.kind(DW_TAG_imported_unit, false, &[(DW_AT_import, DW_FORM_ref_addr)]),
            partial: info.kind(DW_TAG_partial_unit, true, &[]),
        }
    }
}

/// One unit, and what `fill` puts in it.
fn unit(language: gimli::DwLang, fill: impl FnOnce(&mut Info, &Kinds)) -> Info {
    let mut info = Info::default();
    let root = info.root();
    let kinds = Kinds::new(&mut info);
    info.open(root, language);
    fill(&mut info, &kinds);
    info.close();
    info
}

const CODE_OF_ALL: [Value<'static>; 2] = [Value::Address(CODE), Value::Four(CODE_SIZE)];

fn with_code<'a>(first: Value<'a>) -> [Value<'a>; 3] {
    [first, CODE_OF_ALL[0], CODE_OF_ALL[1]]
}

/// `f`, so that the address of the dump has a name.
fn plain_function(info: &mut Info, kinds: &Kinds) {
    info.entry(kinds.function, &with_code(Value::Text("f")));
    info.end();
}

/// Debug information in which everything has this name.
pub fn with_names(name: &str) -> Info {
    unit(DW_LANG_Rust, |info, kinds| {
        info.entry(kinds.namespace, &[Value::Text(name)]);
        let node = info.here();
        info.entry(kinds.structure, &[Value::Text("Node")]);
        info.end();
        let held = info.here();
        info.entry(kinds.structure, &[Value::Text("alloc::sync::Arc<Node>")]);
        info.entry(kinds.parameter, &[Value::Text("T"), Value::Four(node)]);
        info.end();
        let odd = info.here();
        info.entry(kinds.structure, &[Value::Text(name)]);
        info.entry(kinds.member, &[Value::Text(name), Value::Four(held)]);
        info.entry(kinds.member, &[Value::Text(name), Value::Four(node)]);
        info.end();
        info.entry(kinds.fixed, &[Value::Text(name), Value::Four(odd), Value::At(CODE)]);
        info.entry(kinds.function, &with_code(Value::Text(name)));
        info.end();
        info.end();
    })
}

#[test]
fn types_that_contain_themselves() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for language in [DW_LANG_Rust, DW_LANG_C_plus_plus_14] {
        let info = unit(language, |info, kinds| {
            // By value, through an alias of an alias of itself.
            let alias = info.here();
            info.entry(kinds.typedef, &[Value::Text("Alias"), Value::Four(alias + 11)]);
            assert_eq!(info.here(), alias + 11);
            info.entry(kinds.constant, &[Value::Four(alias)]);
            let node = info.here();
            info.entry(kinds.structure, &[Value::Text("Node")]);
            info.entry(kinds.member, &[Value::Text("itself"), Value::Four(node)]);
            info.entry(kinds.member, &[Value::Text("alias"), Value::Four(alias)]);
            let pointer = info.here() + 10;
            info.entry(kinds.member, &[Value::Text("ptr"), Value::Four(pointer)]);
            info.end();
            // Pointers and arrays of themselves and of one another.
            assert_eq!(info.here(), pointer);
            info.entry(kinds.pointer, &[Value::Four(pointer)]);
            let array = info.here();
            info.entry(kinds.array, &[Value::Four(array)]);
            info.entry(kinds.count, &[Value::Four(7)]);
            info.end();
            // Three that hold one another, generic over one another.
            let names = ["alloc::sync::Arc<Node>", "alloc::vec::Vec<Node>", "core::cell::RefCell<Node>"];
            let size = |name: &str| (1 + name.len() + 1 + 1 + 2 + 4 + 1 + 2 + 4 + 1) as u32;
            let starts = [info.here(), info.here() + size(names[0]), info.here() + size(names[0]) + size(names[1])];
            for (index, name) in names.iter().enumerate() {
                assert_eq!(info.here(), starts[index]);
                info.entry(kinds.structure, &[Value::Text(name)]);
                info.entry(kinds.parameter, &[Value::Text("T"), Value::Four(starts[(index + 1) % 3])]);
                info.entry(kinds.member, &[Value::Text("m"), Value::Four(starts[(index + 2) % 3])]);
                info.end();
            }
            for (name, target) in [("ROOT", node), ("ALIAS", alias), ("POINTER", pointer), ("ARRAY", array), ("ARC", starts[0])] {
                info.entry(kinds.fixed, &[Value::Text(name), Value::Four(target), Value::At(CODE)]);
            }
            plain_function(info, kinds);
        });
        ask_all(&info.link(folder.path(), "app"), &format!("cyclic types in {language}"));
    }
}

#[test]
fn origins_that_lead_back() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let info = unit(DW_LANG_Rust, |info, kinds| {
        let own = info.here();
        info.entry(kinds.reference_only, &with_code(Value::Four(own)));
        let inlined = info.here();
        info.entry(kinds.inlined, &with_code(Value::Four(inlined)));
        info.end();
        info.end();
        // Two that complete one another, and a chain that only ends after a hundred thousand.
        let first = info.here();
        info.entry(kinds.specification, &with_code(Value::Four(first + 18)));
        info.end();
        assert_eq!(info.here(), first + 18);
        info.entry(kinds.reference_only, &with_code(Value::Four(first)));
        info.end();
        for _ in 0..100_000 {
            let next = info.here() + 18;
            info.entry(kinds.reference_only, &with_code(Value::Four(next)));
            info.end();
        }
        plain_function(info, kinds);
    });
    ask_all(&info.link(folder.path(), "app"), "origins that lead back");
}

#[test]
fn inlining_without_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (what, blocks) in [("calls", false), ("calls in blocks", true)] {
        let mut info = unit(DW_LANG_Rust, |info, kinds| {
            let origin = info.here();
            info.entry(kinds.abstract_function, &[Value::Text("deep")]);
            info.end();
            info.entry(kinds.function, &with_code(Value::Text("f")));
            for _ in 0..100_000 {
                info.entry(kinds.inlined, &with_code(Value::Four(origin)));
                if blocks {
                    info.entry(kinds.block_of_ranges, &[Value::Four(0)]);
                }
            }
            for _ in 0..100_000 * (1 + usize::from(blocks)) {
                info.end();
            }
            info.end();
        });
        info.others.push((".debug_ranges", list_of_ranges(1000)));
        ask_all(&info.link(folder.path(), "app"), &format!("inlined {what}"));
    }
}

/// A list of so many ranges of the code.
fn list_of_ranges(count: usize) -> Vec<u8> {
    // Offsets from the start of the unit, of which the last pair ends the list.
    let mut list = [1_u64.to_le_bytes(), 9_u64.to_le_bytes()].concat().repeat(count);
    list.extend([0; 16]);
    list
}

#[test]
fn nesting_without_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    type Open = fn(&mut Info, &Kinds, u32);
    let kinds_of: [(&str, Open); 4] = [
        ("namespaces", |info, kinds, _| info.entry(kinds.namespace, &[Value::Text("a_namespace_with_a_name")])),
        ("types", |info, kinds, _| info.entry(kinds.structure, &[Value::Text("Node")])),
        ("functions", |info, kinds, _| info.entry(kinds.function, &with_code(Value::Text("f")))),
        ("blocks", |info, kinds, first| {
            if info.here() == first {
                info.entry(kinds.function, &with_code(Value::Text("f")));
            } else {
                info.entry(kinds.block_of_ranges, &[Value::Four(0)]);
                info.entry(kinds.variable, &[Value::Text("v"), Value::Four(0)]);
            }
        }),
    ];
    for language in [DW_LANG_Rust, DW_LANG_C_plus_plus_14] {
        for (what, open) in kinds_of {
            let mut info = unit(language, |info, kinds| {
                plain_function(info, kinds);
                let first = info.here();
                for _ in 0..100_000 {
                    open(info, kinds, first);
                }
                // A static and a type at the bottom.
                let node = info.here();
                info.entry(kinds.structure, &[Value::Text("Node")]);
                info.entry(kinds.member, &[Value::Text("m"), Value::Four(node)]);
                info.end();
                info.entry(kinds.fixed, &[Value::Text("ROOT"), Value::Four(node), Value::At(CODE)]);
                for _ in 0..100_000 {
                    info.end();
                }
            });
            info.others.push((".debug_ranges", list_of_ranges(1000)));
            ask_all(&info.link(folder.path(), "app"), &format!("nested {what} in {language}"));
        }
    }
}

#[test]
fn imports_that_lead_back() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut info = Info::default();
    let root = info.root();
    let kinds = Kinds::new(&mut info);
    let first = info.info.len() as u32 + 11;
    info.open(root, DW_LANG_Rust);
    let import = info.info.len();
    info.entry(kinds.import, &[Value::Four(0)]);
    info.entry(kinds.import, &[Value::Four(first)]);
    plain_function(&mut info, &kinds);
    info.close();
    // A partial unit that imports the first and itself.
    let start = info.info.len();
    let partial = start as u32 + 11;
    let body = [&[kinds.partial][..], &[kinds.import], &first.to_le_bytes(), &[kinds.import], &partial.to_le_bytes(), &[0]].concat();
    info.info.extend((body.len() as u32 + 7).to_le_bytes());
    info.info.extend([4, 0, 0, 0, 0, 0, 8]);
    info.info.extend(body);
    info.info[import + 1..import + 5].copy_from_slice(&partial.to_le_bytes());
    ask_all(&info.link(folder.path(), "app"), "imports that lead back");
}

#[test]
fn types_with_more_members_than_can_be_followed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let info = unit(DW_LANG_Rust, |info, kinds| {
        // Each of the members is again of the type, and so on; or of one of twenty thousand others.
        let node = info.here();
        info.entry(kinds.structure, &[Value::Text("Node")]);
        for _ in 0..20_000 {
            info.entry(kinds.member, &[Value::Text("m"), Value::Four(node)]);
        }
        let size = 1 + 7 + 1 + 7 + 7 + 1;
        let first = info.here() + 20_000 * 7 + 1;
        for index in 0..20_000 {
            info.entry(kinds.member, &[Value::Text("n"), Value::Four(first + index * size)]);
        }
        info.end();
        assert_eq!(info.here(), first);
        for index in 0..20_000 {
            info.entry(kinds.structure, &[Value::Text(&format!("T{index:05}"))]);
            info.entry(kinds.member, &[Value::Text("a"), Value::Four(node)]);
            info.entry(kinds.member, &[Value::Text("b"), Value::Four(first + index * 7 % 20_000 * size)]);
            info.end();
        }
        info.entry(kinds.fixed, &[Value::Text("ROOT"), Value::Four(first), Value::At(CODE)]);
        plain_function(info, kinds);
    });
    ask_all(&info.link(folder.path(), "app"), "types with twenty thousand members");
}

#[test]
fn chains_of_types_without_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // The last type owns, or the first again; in a count where it says so.
    for (what, ring) in [("chain", false), ("ring", true)] {
        const COUNT: u32 = 30_000;
        let info = unit(DW_LANG_Rust, |info, kinds| {
            let first = info.here();
            let size = 1 + 7 + 1 + 6 + 4 + 1;
            for index in 0..COUNT {
                info.entry(kinds.structure, &[Value::Text(&format!("T{index:05}"))]);
                let next = first + (index + 1) * size;
                info.entry(kinds.member, &[Value::Text("field"), Value::Four(next)]);
                info.end();
            }
            let node = info.here();
            let name = if ring { "alloc::sync::Arc<T00000>" } else { "Node" };
            info.entry(kinds.structure, &[Value::Text(name)]);
            info.entry(kinds.parameter, &[Value::Text("T"), Value::Four(if ring { first } else { node })]);
            info.end();
            assert_eq!(node, first + COUNT * size);
            for index in 0..200 {
                info.entry(kinds.fixed, &[Value::Text(&format!("ROOT{index}")), Value::Four(first + index * 100 * size), Value::At(CODE)]);
            }
            plain_function(info, kinds);
        });
        let binary = info.link(folder.path(), "app");
        ask_all(&binary, &format!("a {what} of types"));
    }
}

#[test]
fn names_that_hold_names_without_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (what, open, close) in
        [("generics", "V<", ">"), ("tuples", "(u8, ", ")"), ("arrays", "[", "; 4]"), ("containers", "alloc::vec::Vec<", ">")]
    {
        let info = unit(DW_LANG_Rust, |info, kinds| {
            let node = info.here();
            info.entry(kinds.structure, &[Value::Text(&format!("{}Node{}", open.repeat(40_000), close.repeat(40_000)))]);
            info.end();
            info.entry(kinds.fixed, &[Value::Text("ROOT"), Value::Four(node), Value::At(CODE)]);
            plain_function(info, kinds);
        });
        ask_all(&info.link(folder.path(), "app"), &format!("nested {what}"));
    }
}

/// Functions in functions that all forget something, each with a thousand variables in a block of a thousand ranges.
#[test]
fn bodies_that_hold_one_another() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut info = unit(DW_LANG_Rust, |info, kinds| {
        let vector = info.here();
        info.entry(kinds.structure, &[Value::Text("alloc::vec::Vec<u8, alloc::alloc::Global>")]);
        info.end();
        info.entry(kinds.namespace, &[Value::Text("core")]);
        info.entry(kinds.namespace, &[Value::Text("mem")]);
        let forget = info.here();
        info.entry(kinds.abstract_function, &[Value::Text("forget<alloc::vec::Vec<u8, alloc::alloc::Global>>")]);
        info.entry(kinds.parameter, &[Value::Text("T"), Value::Four(vector)]);
        info.end();
        info.end();
        info.end();
        for index in 0..3_000 {
            info.entry(kinds.function, &with_code(Value::Text(&format!("f{index}"))));
            info.entry(kinds.inlined, &with_code(Value::Four(forget)));
            info.end();
        }
        info.entry(kinds.block_of_ranges, &[Value::Four(0)]);
        for _ in 0..20_000 {
            info.entry(kinds.variable, &[Value::Text("v"), Value::Four(vector)]);
        }
        for _ in 0..3_001 {
            info.end();
        }
    });
    info.others.push((".debug_ranges", list_of_ranges(4000)));
    ask_all(&info.link(folder.path(), "app"), "bodies in bodies");
}

/// Names of unnamed types follow from those of their targets.
#[test]
fn names_that_grow_with_every_type() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for language in [DW_LANG_Rust, DW_LANG_C_plus_plus_14] {
        let info = unit(language, |info, kinds| {
            let node = info.here();
            info.entry(kinds.structure, &[Value::Text("Node")]);
            info.end();
            // A pointer to a pointer to a pointer, and an array of arrays.
            let mut target = node;
            for _ in 0..10_000 {
                let here = info.here();
                info.entry(kinds.pointer, &[Value::Four(target)]);
                target = here;
            }
            for _ in 0..10_000 {
                let here = info.here();
                info.entry(kinds.array, &[Value::Four(target)]);
                info.entry(kinds.count, &[Value::Four(1)]);
                info.end();
                target = here;
            }
            // Arrays of something with a long name.
            let long = info.here();
            let name = format!("Node<{}>", "a::b".repeat(100_000));
            info.entry(kinds.structure, &[Value::Text(&name)]);
            info.end();
            for length in 0..10_000 {
                info.entry(kinds.array, &[Value::Four(long)]);
                info.entry(kinds.count, &[Value::Four(length)]);
                info.end();
            }
            info.entry(kinds.fixed, &[Value::Text("ROOT"), Value::Four(target), Value::At(CODE)]);
            plain_function(info, kinds);
        });
        ask_all(&info.link(folder.path(), "app"), &format!("growing names in {language}"));
    }
}

#[test]
fn one_list_of_ranges_for_every_entry() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (what, inlined) in [("functions", false), ("inlined calls", true)] {
        let mut info = unit(DW_LANG_Rust, |info, kinds| {
            let origin = info.here();
            info.entry(kinds.abstract_function, &[Value::Text("shared")]);
            info.end();
            if inlined {
                info.entry(kinds.function, &with_code(Value::Text("f")));
            }
            for _ in 0..100_000 {
                if inlined {
                    info.entry(kinds.inlined_of_ranges, &[Value::Four(origin), Value::Four(0)]);
                } else {
                    info.entry(kinds.function_of_ranges, &[Value::Text("f"), Value::Four(0)]);
                }
                info.end();
            }
            if inlined {
                info.end();
            }
        });
        info.others.push((".debug_ranges", list_of_ranges(50_000)));
        ask_all(&info.link(folder.path(), "app"), &format!("{what} with one list of ranges"));
    }
}

/// Ten thousand units of a few bytes that all refer to one table: of abbreviations, of lines.
#[test]
fn one_table_for_every_unit() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut info = Info::default();
    let lines = [(DW_AT_stmt_list, DW_FORM_sec_offset), (DW_AT_name, DW_FORM_string), (DW_AT_language, DW_FORM_data4)];
    let code = [(DW_AT_low_pc, DW_FORM_addr), (DW_AT_high_pc, DW_FORM_data4)];
    let root = info.kind(DW_TAG_compile_unit, true, &[&lines[..], &code].concat());
    let function = info.kind(DW_TAG_subprogram, false, &[(DW_AT_name, DW_FORM_string), code[0], code[1]]);
    info.more_abbreviations(200_000);
    for index in 0..10_000 {
        let start = info.info.len();
        info.info.extend([0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8]);
        let language = u32::from(DW_LANG_Rust.0);
        let code = [Value::Address(CODE + index % u64::from(CODE_SIZE)), Value::Four(1)];
        info.entry(root, &[Value::Four(0), Value::Text("u"), Value::Four(language), code[0], code[1]]);
        info.entry(function, &[Value::Text("f"), code[0], code[1]]);
        info.end();
        let length = (info.info.len() - start - 4) as u32;
        info.info[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    info.others.push((".debug_line", line_program(100_000, 1 << 20)));
    ask_all(&info.link(folder.path(), "app"), "one table for every unit");
}

/// Ten thousand units that share one abbreviation of a root with attributes that cost no byte.
#[test]
fn roots_of_attributes_without_bytes() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut info = Info::default();
    let code = [(DW_AT_low_pc, DW_FORM_addr), (DW_AT_high_pc, DW_FORM_data4)];
    let flags = vec![(DW_AT_declaration, DW_FORM_flag_present); 100_000];
    let root = info.kind(DW_TAG_compile_unit, false, &[&[(DW_AT_language, DW_FORM_data4)][..], &code, &flags].concat());
    for index in 0..10_000 {
        let start = info.info.len();
        info.info.extend([0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8]);
        let code = [Value::Address(CODE + index % u64::from(CODE_SIZE)), Value::Four(1)];
        info.entry(root, &[Value::Four(u32::from(DW_LANG_Rust.0)), code[0], code[1]]);
        let length = (info.info.len() - start - 4) as u32;
        info.info[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    ask_all(&info.link(folder.path(), "app"), "roots of many attributes");
}

/// Sections that promise to unfold to more than they could, or do.
#[test]
fn compressed_sections_that_unfold() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let info = unit(DW_LANG_Rust, |info, kinds| {
        plain_function(info, kinds);
        // Two hundred megabytes of nothing.
        info.info.resize(info.info.len() + (200 << 20), 0);
    });
    let plain = info.link(folder.path(), "plain");
    for kind in ["zlib", "zstd"] {
        let binary = folder.path().join(kind);
        let option = format!("--compress-debug-sections={kind}");
        let status = std::process::Command::new("objcopy").arg(option).args([&plain, &binary]).status();
        assert!(status.is_ok_and(|status| status.success()), "objcopy compresses");
        assert!(binary.metadata().expect("compressed").len() < 4 << 20);
        for (args, ran) in ask_all(&binary, &format!("a section compressed by {kind}")) {
            let said = (ran.stderr.clone() + &String::from_utf8_lossy(&ran.stdout)).to_lowercase();
            let tells = matches!(&*args[0], "top" | "sites") && !args.contains(&"sarif".to_owned());
            assert!(!tells || said.contains("compressed"), "{args:?}, {kind}: {said}");
        }
    }
}

/// A line program (version 4) of so many files and so many rows.
fn line_program(files: usize, rows: usize) -> Vec<u8> {
    // Shortest instruction, operations in one, is_stmt, line base and range, first special opcode, operands of the standard ones.
    let mut header = vec![1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    // No directories; then files: name, directory, time, size.
    header.push(0);
    header.extend(b"a.rs\0\0\0\0".repeat(files));
    header.push(0);
    // DW_LNE_set_address, then special opcodes that go one line on.
    let mut program = vec![0, 9, 2];
    program.extend(CODE.to_le_bytes());
    program.extend(std::iter::repeat_n(19, rows));
    program.extend([2, 16, 0, 1, 1]);
    let mut out = vec![0; 4];
    out.extend(4_u16.to_le_bytes());
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(header);
    out.extend(program);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}
