//! Every way a binary is linked, stripped and stored: the names and lines of the source come out, or the reason why not.

use crate::programs::{Named, Workshop, has_tool, with_address};
use heaptriage::address::BuildId;
use heaptriage::binary::elf::ElfFile;
use heaptriage::model::frame::{DebugInfo, ModuleStatus, Unresolved};
use heaptriage::symbolize::{BinaryArg, RecordedModule, SymbolOptions};
use std::path::PathBuf;

/// The stack of layout.c with full debug information.
const FULL: [&str; 4] = ["print_profile layout.c:17", "inlined_call inlined layout.c:29", "outer_function layout.c:34", "main layout.c:42"];

/// The frames of the program itself from the second on: the first is where the profile was printed from.
#[track_caller]
fn check(named: &Named<'_>, module: &str, status: ModuleStatus, debug_info: DebugInfo, frames: &[&str]) {
    let found = named.module(module);
    assert_eq!((found.status, found.debug_info), (status, debug_info), "{found:?} {:?}", named.notices);
    let mut names = named.frames(module);
    names.retain(|name| !name.starts_with("print_profile") && !name.starts_with("_start"));
    let frames: Vec<&str> = frames.iter().copied().filter(|name| !name.starts_with("print_profile")).collect();
    assert_eq!(names, frames, "{:?}", named.notices);
}

#[test]
fn position_independent_and_fixed() {
    let shop = Workshop::new();
    for (name, flags) in [("pie", ["-fPIE", "-pie"]), ("fixed", ["-fno-pie", "-no-pie"])] {
        shop.cc("layout.c", name, &flags);
        let profile = shop.profile(name);
        check(&profile.named(&shop.with_binary(name)), name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        let file = ElfFile::open(&shop.path(name)).unwrap();
        assert_eq!(file.is_position_independent(), name == "pie");
    }
}

#[test]
fn one_frame_per_address_without_inlines() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    let options = SymbolOptions { inlines: false, ..shop.with_binary("app") };
    check(
        &shop.profile("app").named(&options),
        "app",
        ModuleStatus::Ok,
        DebugInfo::Full,
        &["outer_function layout.c:29", "main layout.c:42"],
    );
}

#[test]
fn shared_library() {
    let shop = Workshop::new();
    shop.cc("layout.c", "libshelf.so", &["-DLIBRARY", "-fPIC", "-shared"]);
    let library = shop.path("libshelf.so");
    shop.cc("layout_main.c", "app", &[library.to_str().unwrap()]);
    let profile = shop.profile("app");
    let given = |name: &str| BinaryArg { module: Some(name.to_owned()), path: shop.path(name) };
    let options = SymbolOptions { binaries: vec![given("app"), given("libshelf.so")], ..shop.nowhere() };
    let named = profile.named(&options);
    check(&named, "libshelf.so", ModuleStatus::Ok, DebugInfo::Full, &FULL[..3]);
    check(&named, "app", ModuleStatus::Ok, DebugInfo::Full, &["main layout_main.c:7"]);
    // Found by the path of the mapping, with nothing given.
    let options = SymbolOptions { sysroot: PathBuf::from("/"), ..shop.nowhere() };
    check(&profile.named(&options), "libshelf.so", ModuleStatus::Ok, DebugInfo::Full, &FULL[..3]);
}

/// The linker that Rust uses by default on Linux gives text segments an address that is not their offset.
#[test]
fn lld_moves_segments() {
    let shop = Workshop::new();
    shop.rustc("owners.rs", "app", &["-g"]);
    let file = ElfFile::open(&shop.path("app")).unwrap();
    let code = file.segments().iter().find(|segment| segment.executable).unwrap();
    assert_ne!(code.svma.get(), code.offset.get(), "the test needs a binary linked by lld");
    let profile = shop.profile("app");
    let named = profile.named(&shop.with_binary("app"));
    let owner = named.owner(1);
    assert_eq!(named.symbols.function(owner.frame), "owners::push_words");
    assert!(named.symbols.file(owner.frame).unwrap().ends_with("owners.rs"));
    assert_eq!(owner.frame.line, Some(61));
}

#[test]
fn vdso_and_memory_without_a_file() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    let profile = shop.profile("app");
    let mapping = profile.heap.mappings.mappings().iter().find(|m| m.display_name() == "[vdso]").unwrap();
    let start = mapping.range.start.get();
    let (profile, vdso) = with_address(profile, start + 0x124);
    let (profile, nowhere) = with_address(profile, 0x10);
    let named = profile.named(&shop.with_binary("app"));
    let frame = &named.symbols.frames(vdso)[0];
    assert_eq!((named.symbols.function(frame), frame.unresolved), ("[vdso]+0x123", Some(Unresolved::NotAFile)));
    assert_eq!(named.module("[vdso]").status, ModuleStatus::NotAFile);
    let frame = &named.symbols.frames(nowhere)[0];
    assert_eq!((named.symbols.function(frame), frame.unresolved), ("0xf", Some(Unresolved::Unmapped)));
}

#[test]
fn deleted_while_it_ran() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    std::fs::copy(shop.path("app"), shop.path("kept")).unwrap();
    let profile = shop.profile_with("app", &[("UNLINK", "1")]);
    assert!(!shop.path("app").exists());
    let here = SymbolOptions { sysroot: PathBuf::from("/"), ..shop.nowhere() };
    let named = profile.named(&here);
    let module = named.module("app");
    assert_eq!((module.status, module.symbolized), (ModuleStatus::Missing, 0));
    assert!(module.remedy.as_ref().unwrap().contains("--binary app=PATH"), "{module:?}");
    assert!(named.frames("app")[0].starts_with("app+0x"), "{:?}", named.frames("app"));
    // A copy under another name proves itself by its layout and its calls.
    check(&profile.named(&shop.with_binary("kept")), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
    // What has taken its place is another build: without a proof it is not even looked at twice.
    shop.cc("layout.c", "app", &["-O0", "-fno-omit-frame-pointer", "-DPADDING"]);
    let named = profile.named(&here);
    assert_eq!(named.module("app").status, ModuleStatus::Missing, "{:?}", named.notices);
    // The file itself has returned, say from a backup.
    std::fs::copy(shop.path("kept"), shop.path("app")).unwrap();
    check(&profile.named(&here), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
}

#[test]
fn another_build_is_refused() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    let profile = shop.profile("app");
    shop.cc("layout.c", "other", &["-O0", "-fno-inline"]);
    let named = profile.named(&shop.with_binary("other"));
    assert_eq!(named.module("app").status, ModuleStatus::Missing);
    // Named for the module, it is judged, refused and not used.
    let options = SymbolOptions { binaries: vec![BinaryArg { module: Some("app".into()), path: shop.path("other") }], ..shop.nowhere() };
    let named = profile.named(&options);
    assert_eq!(named.module("app").status, ModuleStatus::Mismatched);
    assert!(named.frames("app").iter().all(|name| name.starts_with("app+0x")), "{:?}", named.frames("app"));
    let notice = named.notice("/other").unwrap();
    assert!(notice.contains("is not the file that ran as app") && notice.ends_with("not used"), "{notice}");
    assert_eq!(
        named.symbols.frames(named.profile.stacks.stack(named.profile.stacks.ids().next().unwrap()).next().unwrap())[0].unresolved,
        Some(Unresolved::Mismatch)
    );
    // With the build-id recorded, that decides.
    let id = ElfFile::open(&shop.path("app")).unwrap().build_id().cloned();
    let Some(id) = id else { return };
    let recorded = vec![RecordedModule { path: "app".into(), build_id: id.clone() }];
    let options = SymbolOptions { recorded: recorded.clone(), ..options };
    let named = profile.named(&options);
    assert!(named.notice("/other").unwrap().contains("its build-id is"), "{:?}", named.notices);
    let options = SymbolOptions { recorded, ..shop.with_binary("app") };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
}

#[test]
fn a_file_that_serves_no_module_is_said() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    let profile = shop.profile("app");
    let options = SymbolOptions { binaries: vec![BinaryArg { module: Some("nginx".into()), path: shop.path("app") }], ..shop.nowhere() };
    let named = profile.named(&options);
    assert!(
        named.notice("/app").unwrap().starts_with("no module `nginx` has addresses in this profile; modules: app, libc"),
        "{:?}",
        named.notices
    );
    let options = SymbolOptions { binaries: vec![BinaryArg { module: None, path: shop.path("nothing") }], ..shop.nowhere() };
    let named = profile.named(&options);
    assert!(named.notices[0].message.contains("nothing: No such file"), "{:?}", named.notices);
}

fn build_id(path: &std::path::Path) -> BuildId {
    ElfFile::open(path).unwrap().build_id().cloned().expect("the linker writes build-ids")
}

#[test]
fn stripped_with_debug_files() {
    if !has_tool("objcopy") || !has_tool("strip") {
        return;
    }
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &["-Wl,--build-id"]);
    shop.run("objcopy", &["--only-keep-debug", "app", "app.debug"]);
    shop.run("strip", &["-s", "app"]);
    let profile = shop.profile("app");
    let stripped = profile.named(&shop.with_binary("app"));
    let module = stripped.module("app");
    assert_eq!((module.status, module.debug_info, module.symbolized), (ModuleStatus::Ok, DebugInfo::None, 0));
    assert!(module.remedy.as_ref().unwrap().starts_with("no debug information: install the debug package (build-id "), "{module:?}");
    assert!(stripped.frames("app").iter().all(|name| name.starts_with("app+0x")));

    // By build-id below a debug directory.
    let hex = build_id(&shop.path("app")).to_string();
    let store = shop.path("debug/.build-id").join(&hex[..2]);
    std::fs::create_dir_all(&store).unwrap();
    let stored = store.join(format!("{}.debug", &hex[2..]));
    std::fs::copy(shop.path("app.debug"), &stored).unwrap();
    let options = SymbolOptions { debug_dirs: vec![shop.path("debug")], ..shop.with_binary("app") };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);

    // The executable is gone; the recorded build-id leads to its debug file, which knows the addresses.
    let recorded = vec![RecordedModule { path: "app".into(), build_id: build_id(&shop.path("app")) }];
    let options = SymbolOptions { debug_dirs: vec![shop.path("debug")], recorded: recorded.clone(), ..shop.nowhere() };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);

    // In the debuginfod client's cache; in a directory of PPROF_BINARY_PATH; in a capture's bin/.
    let cache = shop.path("debuginfod").join(&hex);
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::copy(&stored, cache.join("debuginfo")).unwrap();
    std::fs::copy(shop.path("app"), cache.join("executable")).unwrap();
    let options = SymbolOptions { debuginfod_cache: Some(shop.path("debuginfod")), ..shop.with_binary("app") };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
    let options = SymbolOptions { debuginfod_cache: Some(shop.path("debuginfod")), recorded: recorded.clone(), ..shop.nowhere() };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
    let options = SymbolOptions { pprof_dirs: vec![shop.path("debuginfod")], recorded, ..shop.nowhere() };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
    let bin = shop.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy(shop.path("app"), bin.join("renamed")).unwrap();
    std::fs::copy(&stored, bin.join(format!("{hex}.debug"))).unwrap();
    let options = SymbolOptions { search_dirs: vec![bin], ..shop.nowhere() };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
}

#[test]
fn stripped_with_debug_link() {
    if !has_tool("objcopy") || !has_tool("strip") {
        return;
    }
    let shop = Workshop::new();
    // Without build-ids only the checksum proves the debug file.
    for (name, id) in [("numbered", "-Wl,--build-id"), ("plain", "-Wl,--build-id=none")] {
        shop.cc("layout.c", name, &[id]);
        let debug = format!("{name}.debug");
        shop.run("objcopy", &["--only-keep-debug", name, &debug]);
        shop.run("strip", &["-s", name]);
        shop.run("objcopy", &[&format!("--add-gnu-debuglink={debug}"), name]);
        let profile = shop.profile(name);
        check(&profile.named(&shop.with_binary(name)), name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        // Moved into `.debug` beside the binary.
        std::fs::create_dir_all(shop.path(".debug")).unwrap();
        std::fs::rename(shop.path(&debug), shop.path(".debug").join(&debug)).unwrap();
        check(&profile.named(&shop.with_binary(name)), name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        // One of another build under the same name is refused.
        shop.cc("layout.c", "other", &[id, "-O0"]);
        shop.run("objcopy", &["--only-keep-debug", "other", &format!(".debug/{debug}")]);
        let named = profile.named(&shop.with_binary(name));
        assert_eq!(named.module(name).debug_info, DebugInfo::None);
        assert!(named.notice(&debug).unwrap().contains("its build-id or checksum differs; not used"), "{:?}", named.notices);
    }
}

#[test]
fn split_debug_information() {
    let shop = Workshop::new();
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let name = format!("app{version}");
        shop.run(
            "cc",
            &["-O1", version, "-gsplit-dwarf", "-c", crate::programs::program("layout.c").to_str().unwrap(), "-o", &format!("{name}.o")],
        );
        shop.run("cc", &[&format!("{name}.o"), "-o", &name]);
        let profile = shop.profile(&name);
        let dwo = format!("{name}.dwo");
        assert!(shop.path(&dwo).exists());
        // Beside the binary; then gone.
        check(&profile.named(&shop.with_binary(&name)), &name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        std::fs::create_dir_all(shop.path("elsewhere")).unwrap();
        std::fs::rename(shop.path(&dwo), shop.path("elsewhere").join(&dwo)).unwrap();
        let named = profile.named(&shop.with_binary(&name));
        let module = named.module(&name);
        assert!(module.remedy.as_ref().unwrap().starts_with("debug information is split off: put "), "{module:?}");
        assert!(named.frames(&name)[0].starts_with("outer_function layout.c:"), "function from the symbol table, line from the skeleton");
        let options = SymbolOptions { debug_dirs: vec![shop.path("elsewhere")], ..shop.with_binary(&name) };
        check(&profile.named(&options), &name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        // In a package. LLVM 14, the oldest that has the tool, does not read what GCC writes in version 5.
        if version == "-gdwarf-4" && has_tool("llvm-dwp") {
            shop.run("llvm-dwp", &[&format!("elsewhere/{dwo}"), "-o", &format!("{name}.dwp")]);
            check(&profile.named(&shop.with_binary(&name)), &name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        }
    }
}

#[test]
fn split_debug_information_of_rust() {
    let shop = Workshop::new();
    for (name, how) in [("packed", "-Csplit-debuginfo=packed"), ("unpacked", "-Csplit-debuginfo=unpacked")] {
        shop.rustc("owners.rs", name, &["-g", how]);
        let profile = shop.profile(name);
        // The compiler's directory, where unpacked files stay, is looked up like any path of the debug information.
        let options = SymbolOptions { sysroot: PathBuf::from("/"), ..shop.with_binary(name) };
        let named = profile.named(&options);
        let owner = named.owner(9);
        assert_eq!(
            named.symbols.function(owner.frame),
            "<owners::Shelf<T> as core::iter::traits::collect::Extend<T>>::extend",
            "{name}: {:?}",
            named.notices
        );
        assert_eq!(owner.frame.line, Some(120), "{name}");
        assert_eq!(named.module(name).debug_info, DebugInfo::Full, "{name}");
    }
}

#[test]
fn dwz_shares_debug_information() {
    if !has_tool("dwz") || !has_tool("objcopy") {
        return;
    }
    let shop = Workshop::new();
    shop.run("cc", &["-gdwarf-4", "-O1", crate::programs::program("layout.c").to_str().unwrap(), "-o", "one"]);
    shop.run("cc", &["-gdwarf-4", "-O1", "-DTWO", crate::programs::program("layout.c").to_str().unwrap(), "-o", "two"]);
    shop.run("dwz", &["-m", "shared.debug", "-M", "shared.debug", "one", "two"]);
    let file = ElfFile::open(&shop.path("one")).unwrap();
    assert!(file.debug_alt_link().is_some(), "dwz found nothing to share");
    let profile = shop.profile("one");
    check(&profile.named(&shop.with_binary("one")), "one", ModuleStatus::Ok, DebugInfo::Full, &FULL);
    std::fs::remove_file(shop.path("shared.debug")).unwrap();
    let named = profile.named(&shop.with_binary("one"));
    assert!(named.notice("/one").unwrap().contains("alternate debug file shared.debug is missing"), "{:?}", named.notices);
    // The names of the shared file are gone; those of the symbol table are not.
    assert!(named.frames("one").iter().any(|frame| frame.starts_with("outer_function")), "{:?}", named.frames("one"));
}

#[test]
fn compressed_sections() {
    let shop = Workshop::new();
    if has_tool("objcopy") {
        shop.cc("layout.c", "app", &[]);
        for (name, how) in [("zlib", "zlib"), ("gnu", "zlib-gnu")] {
            shop.run("objcopy", &[&format!("--compress-debug-sections={how}"), "app", name]);
            let profile = shop.profile(name);
            check(&profile.named(&shop.with_binary(name)), name, ModuleStatus::Ok, DebugInfo::Full, &FULL);
        }
    }
    // The linker that comes with Rust knows zstd; that of older systems does not.
    shop.rustc("owners.rs", "zstd", &["-g", "-Clink-arg=-Wl,--compress-debug-sections=zstd"]);
    let profile = shop.profile("zstd");
    let named = profile.named(&shop.with_binary("zstd"));
    assert_eq!(named.symbols.function(named.owner(2).frame), "owners::remember");
    assert_eq!(named.owner(2).frame.line, Some(68));
}

#[test]
fn names_of_cpp() {
    if !has_tool("c++") {
        return;
    }
    let shop = Workshop::new();
    shop.run("c++", &["-g", "-O1", crate::programs::program("layout.cc").to_str().unwrap(), "-o", "app"]);
    let profile = shop.profile("app");
    let frames = [
        "inlined_call inlined layout.c:29",
        "outer_function layout.c:34",
        "shop::Shelf<long>::operator()(long) layout.cc:11",
        "main layout.cc:19",
    ];
    check(&profile.named(&shop.with_binary("app")), "app", ModuleStatus::Ok, DebugInfo::Full, &frames);
    // From the symbol table alone.
    shop.run("c++", &["-O1", crate::programs::program("layout.cc").to_str().unwrap(), "-o", "bare"]);
    let profile = shop.profile("bare");
    let frames = ["outer_function", "shop::Shelf<long>::operator()(long)", "main"];
    check(&profile.named(&shop.with_binary("bare")), "bare", ModuleStatus::Ok, DebugInfo::Names, &frames);
}

#[test]
fn below_a_sysroot() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    let profile = shop.profile("app");
    let path = shop.path("app");
    let inside = shop.path("root").join(path.strip_prefix("/").unwrap());
    std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
    std::fs::rename(&path, &inside).unwrap();
    let options = SymbolOptions { sysroot: shop.path("root"), ..shop.nowhere() };
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
}

/// What a capture holds cannot make the tool read outside of it.
#[test]
fn captures_do_not_lead_outside() {
    let shop = Workshop::new();
    shop.cc("layout.c", "app", &[]);
    let profile = shop.profile("app");
    std::fs::create_dir_all(shop.path("bin")).unwrap();
    std::os::unix::fs::symlink(shop.path("app"), shop.path("bin/app")).unwrap();
    let options = SymbolOptions { search_dirs: vec![shop.path("bin")], ..shop.nowhere() };
    assert_eq!(profile.named(&options).module("app").status, ModuleStatus::Missing);
    std::fs::remove_file(shop.path("bin/app")).unwrap();
    std::fs::copy(shop.path("app"), shop.path("bin/app")).unwrap();
    check(&profile.named(&options), "app", ModuleStatus::Ok, DebugInfo::Full, &FULL);
}
