//! Odd files, changing files, missing directories, closed pipes, interrupts.

use super::program::{CALLS, Run, calls};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/heap/jemalloc-5.3.0_unbias-on.heap")
}

fn report(args: &[&OsStr]) -> super::program::Ran {
    Run::new(std::iter::once(OsStr::new("report")).chain(args.iter().copied()), Some(256 << 20)).go()
}

fn pipe_at(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo works");
}

/// Opening a pipe without a writer waits for ever: a pipe in the wrong place shows that something was opened.
#[test]
fn a_capture_leads_nowhere_outside() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (outside, capture) = (folder.path().join("outside"), folder.path().join("capture"));
    fs::create_dir_all(capture.join("bin")).expect("writable");
    fs::create_dir_all(&outside).expect("writable");
    pipe_at(&outside.join("pipe"));
    let secret = fs::read_to_string(fixture())
        .expect("a fixture")
        .replace("MAPPED_LIBRARIES:", "MAPPED_LIBRARIES:\n1000-2000 r-xp 0 00:00 1 /secret/name");
    fs::write(outside.join("1763650060123.heap"), secret).expect("writable");
    fs::copy(fixture(), capture.join("1763650000123.heap")).expect("writable");
    // Links out of the capture, by every kind of path.
    symlink(outside.join("pipe"), capture.join("1763650010123.heap")).expect("writable");
    symlink("../outside/1763650060123.heap", capture.join("1763650060123.heap")).expect("writable");
    symlink(&outside, capture.join("deeper")).expect("writable");
    symlink(outside.join("pipe"), capture.join("bin/mini")).expect("writable");
    symlink("loop", capture.join("loop")).expect("writable");
    symlink("nowhere", capture.join("1763650020123.heap")).expect("writable");
    let paths = ["../outside/pipe", "/proc/self/mem", "bin/../../outside/pipe", "..", "/"];
    for path in paths {
        let about = serde_json::json!({ "pid": 7, "exe": path, "bin": path, "modules": [{ "path": path, "build_id": "00ff00ff" }] });
        fs::write(capture.join("capture.json"), about.to_string()).expect("writable");
        for call in calls() {
            let ran = Run::new(call.args(&capture, &fixture()), Some(256 << 20)).go();
            let what = format!("{} {:?} with `{path}` in capture.json", call.command, call.args);
            ran.is_sound(&what, call.codes);
            let said = ran.stderr.clone() + &String::from_utf8_lossy(&ran.stdout);
            assert!(!said.contains("/secret/name"), "{what}: a file outside the capture was read");
        }
    }
}

/// A binary in a capture names files elsewhere: its debug file, its split debug information, its sources.
#[test]
fn a_binary_of_a_capture_leads_nowhere_outside() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (outside, capture) = (folder.path().join("outside"), folder.path().join("capture"));
    fs::create_dir_all(capture.join("bin")).expect("writable");
    fs::create_dir_all(&outside).expect("writable");
    let source = "int inner_of_mine(int n) { return n + 1; }\n\
                  int secret_of_mine(void) { return inner_of_mine(1); }\n\
                  void _start(void) { for (;;) secret_of_mine(); }\n";
    fs::write(outside.join("secret.c"), source).expect("writable");
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).current_dir(&outside).status();
        assert!(status.is_ok_and(|status| status.success()), "{program} {args:?}");
    };
    // Split debug information where the compiler wrote it, and the source beside it, both outside.
    run("cc", &["-g", "-gsplit-dwarf", "-O0", "-c", "secret.c", "-o", "secret.o"]);
    run("cc", &["-static", "-nostdlib", "-Wl,--build-id", "secret.o", "-o", "app"]);
    // The same without: its debug file is a link away, by each kind of path.
    run("cc", &["-g", "-O0", "-static", "-nostdlib", "-Wl,--build-id", "secret.c", "-o", "whole"]);
    run("objcopy", &["--only-keep-debug", "whole", "whole.debug"]);
    run("objcopy", &["--strip-all", "whole", "bare"]);
    let (up, full) = ("../../outside/whole.debug".to_owned(), outside.join("whole.debug").to_string_lossy().into_owned());
    let mut crc = flate2::Crc::new();
    crc.update(&fs::read(outside.join("whole.debug")).expect("made"));
    let crc = crc.sum();
    let mut binaries = vec![("split", fs::read(outside.join("app")).expect("linked"))];
    for (what, link) in [("link upwards", &up), ("link from the root", &full)] {
        let mut section = link.clone().into_bytes();
        section.push(0);
        section.resize(section.len().next_multiple_of(4), 0);
        section.extend(crc.to_le_bytes());
        fs::write(outside.join("link"), section).expect("writable");
        run("objcopy", &["--add-section", ".gnu_debuglink=link", "bare", "linked"]);
        binaries.push((what, fs::read(outside.join("linked")).expect("made")));
    }
    // Behind the first call, that of the inner function.
    let code = &fs::read(outside.join("whole")).expect("linked")[0x1000..0x1100];
    let called = code.windows(5).position(|bytes| bytes[0] == 0xe8 && bytes[2..] == [0xff; 3]).expect("a call backwards");
    let after = 0x40_1000 + called + 5;
    for at in 1..=5_u64 {
        let stack = format!("  t*: {at}: {at}000000 [0: 0]\n");
        let text = format!(
            "heap_v2/1\n{stack}@ {after:#x}\n{stack}\nMAPPED_LIBRARIES:\n400000-401000 r--p 00000000 08:01 7 /srv/app\n401000-402000 r-xp 00001000 08:01 7 /srv/app\n"
        );
        fs::write(capture.join(format!("176365{at}000123.heap")), text).expect("writable");
    }
    let single = capture.join("1763651000123.heap");
    // Where a person names the binary, its split debug information is read where it was written.
    let mut given = OsString::from("app=");
    given.push(outside.join("app"));
    let words = ["top".as_ref(), single.as_os_str(), "--by".as_ref(), "line".as_ref(), "--binary".as_ref(), &given];
    let named = Run::new(words, None).go();
    assert!(named.text().contains("secret.c"), "{}{}", named.text(), named.stderr);
    for (what, bytes) in binaries {
        fs::write(capture.join("bin/app"), bytes).expect("writable");
        for call in calls() {
            for input in [&capture, &single] {
                let ran = Run::new(call.args(input, &fixture()), Some(256 << 20)).go();
                let what = format!("{what}: {} {:?}", call.command, call.args);
                ran.is_sound(&what, call.codes);
                let said = ran.stderr.clone() + &String::from_utf8_lossy(&ran.stdout);
                assert!(!said.contains("return inner_of_mine"), "{what}: read outside the capture\n{said}");
                // Symbols and lines stay in the binary when the rest is split off.
                if what.starts_with("split") {
                    let is_text = call.command == "report" && call.args == ["INPUT"] && input == &capture;
                    assert!(!is_text || said.contains("split debug information of app"), "{what}: read outside the capture\n{said}");
                } else {
                    assert!(!said.contains("secret"), "{what}: read outside the capture\n{said}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_plain_file_is_said() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("1763650000123.heap")).expect("writable");
    fs::write(at("empty.heap"), "").expect("writable");
    fs::create_dir(at("capture")).expect("writable");
    pipe_at(&at("capture/1763650000123.heap"));
    fs::create_dir(at("capture/1763650010123.heap")).expect("writable");
    for input in ["1763650000123.heap", "empty.heap", "missing.heap", "*.none", "capture"] {
        let ran = report(&[at(input).as_os_str()]);
        ran.is_sound(input, &[2]);
        assert!(ran.stderr.contains(input.trim_start_matches('*')), "{input}: the message does not name it: {}", ran.stderr);
    }
    for device in ["/dev/null", "/dev/zero", "/proc/self/mem", "/dev/full"] {
        let ran = report(&[OsStr::new(device)]);
        ran.is_sound(device, &[2]);
        assert!(ran.stderr.contains(device), "{device}: {}", ran.stderr);
    }
    // One bad file among good ones is left out and named.
    let ran = report(&[fixture().as_os_str(), at("missing.heap").as_os_str()]);
    ran.is_sound("a missing file among others", &[0]);
    assert!(ran.stderr.contains("missing.heap"), "{}", ran.stderr);
}

#[test]
fn names_of_files_need_not_be_text() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let odd = OsString::from_vec(b"odd\xff\x1b[31m\n name".to_vec());
    let capture = folder.path().join(&odd);
    fs::create_dir(&capture).expect("writable");
    fs::copy(fixture(), capture.join("1763650000123.heap")).expect("writable");
    fs::copy(fixture(), capture.join(OsString::from_vec(b"1763650001123\xfe.heap".to_vec()))).expect("writable");
    fs::write(capture.join(OsString::from_vec(b"\x1b]0;x\x07.txt".to_vec())), "nothing known").expect("writable");
    let loose = folder.path().join(OsString::from_vec(b"\xff\xfe.heap".to_vec()));
    fs::copy(fixture(), &loose).expect("writable");
    for call in calls() {
        for input in [&capture, &loose] {
            let ran = Run::new(call.args(input, &fixture()), None).go();
            ran.is_sound(&format!("{} {:?} on {}", call.command, call.args, input.display()), call.codes);
            let compressed = ran.stdout.starts_with(b"\x1f\x8b"); // pprof: not for a terminal
            if !compressed {
                super::program::assert_harmless(call.command, &ran.stdout);
            }
        }
    }
    report(&[capture.as_os_str()]).is_sound("a capture with an odd name", &[0]);
    report(&[loose.as_os_str()]).is_sound("a dump with an odd name", &[0]);
}

/// A core beside the dumps, the database of the program, a dump without end: none is read into memory.
#[test]
fn files_larger_than_memory_lie_beside_the_dumps() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let sparse = |name: &str, head: &[u8]| {
        let mut file = fs::File::create(folder.path().join(name)).expect("writable");
        file.write_all(head).expect("writable");
        file.set_len(40 << 30).expect("a file with holes");
    };
    fs::copy(fixture(), folder.path().join("1763650000123.heap")).expect("writable");
    sparse("core.4121", b"\x7fELF\x02\x01\x01");
    sparse("data.mdb", b"");
    for call in calls() {
        let ran = Run::new(call.args(folder.path(), &fixture()), Some(256 << 20)).go();
        ran.is_sound(&format!("{} {:?} beside large files", call.command, call.args), call.codes);
    }
    let ran = report(&[folder.path().as_os_str()]);
    ran.is_sound("beside large files", &[0]);
    assert!(ran.stderr.contains("core.4121") && ran.stderr.contains("data.mdb"), "{}", ran.stderr);
    sparse("1763650010123.heap", b"heap_v2/524288\n  t*: 1: 100 [0: 0]\n");
    sparse("app.log", &[b'x'; 100_000]);
    let ran = report(&[folder.path().as_os_str()]);
    ran.is_sound("a dump larger than any", &[0]);
    for name in ["1763650010123.heap: is larger than 16 GiB", "app.log: is larger than 16 GiB"] {
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
    }
    report(&[folder.path().join("1763650010123.heap").as_os_str()]).is_sound("it alone", &[2]);
}

#[test]
fn twenty_thousand_files_and_few_descriptors() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for index in 0..20_000_u64 {
        let objects = 100 + index;
        let text = format!(
            "heap_v2/524288\n  t*: {objects}: {} [0: 0]\n@ 0x1000 0x2000\n  t*: {objects}: {} [0: 0]\n\nMAPPED_LIBRARIES:\n",
            objects * 4096,
            objects * 4096
        );
        fs::write(folder.path().join(format!("{}.heap", 1_763_650_000_000 + index * 1000)), text).expect("writable");
    }
    let shell = "ulimit -n 40 && exec \"$0\" report --jobs 16 \"$1\"";
    let output = Command::new("sh").args(["-c", shell, env!("CARGO_BIN_EXE_heaptriage")]).arg(folder.path()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("20000 snapshots"), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A file that cannot be opened for want of descriptors is not said to be missing.
#[test]
fn binaries_that_cannot_be_opened_for_want_of_descriptors_are_said() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let dump = folder.path().join("1763650000123.heap");
    let stack = "  t*: 9: 9000 [0: 0]\n";
    let text = format!(
        "heap_v2/1\n{stack}@ 0x401005 0x601005\n{stack}\nMAPPED_LIBRARIES:\n401000-402000 r-xp 00001000 08:01 7 /srv/one\n601000-602000 r-xp 00001000 08:01 8 /srv/two\n"
    );
    fs::write(&dump, text).expect("writable");
    // Both fit where they are mapped, and stay open.
    fs::write(folder.path().join("a.c"), "void f(void) {}\nvoid _start(void) { for (;;) f(); }\n").expect("writable");
    for (name, base) in [("one", "0x400000"), ("two", "0x600000")] {
        let place = format!("-Wl,-Ttext-segment={base}");
        let status = Command::new("cc").args(["-g", "-static", "-nostdlib", &place, "-o", name, "a.c"]).current_dir(&folder).status();
        assert!(status.is_ok_and(|status| status.success()), "cc links a small program");
    }
    let shell = "ulimit -n 4 && exec \"$0\" top --no-cache \"$1\" --binary one=\"$2\" --binary two=\"$3\"";
    let output = Command::new("sh")
        .args(["-c", shell, env!("CARGO_BIN_EXE_heaptriage")])
        .args([dump, folder.path().join("one"), folder.path().join("two")])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("ulimit -n"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for call in CALLS.iter().filter(|call| calls().iter().any(|known| known.command == call.command)) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
            .args(call.args(&fixture(), &fixture()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("{} {:?}", call.command, call.args);
        assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{what}: {said}");
        assert!(output.status.code().is_some_and(|code| call.codes.contains(&code)), "{what}: {:?} {said}", output.status);
    }
}

#[test]
fn outputs_that_cannot_be_written_are_errors() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).expect("writable");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("own directory");
    let kept = folder.path().join("kept");
    fs::write(&kept, "before").expect("writable");
    let missing = folder.path().join("no/such/folder/out");
    let ran = report(&[fixture().as_os_str(), OsStr::new("-o"), missing.as_os_str()]);
    ran.is_sound("-o in a folder that is missing", &[2]);
    assert!(ran.stderr.contains("no/such/folder"), "{}", ran.stderr);
    let ran = report(&[fixture().as_os_str(), OsStr::new("-o"), folder.path().as_os_str()]);
    ran.is_sound("-o on a folder", &[2]);
    let ran = report(&[fixture().as_os_str(), OsStr::new("-o"), OsStr::new("/dev/full")]);
    ran.is_sound("-o on a full disk", &[2]);
    assert!(ran.stderr.contains("/dev/full"), "{}", ran.stderr);
    // Where nobody can create a file, root neither.
    let ran = report(&[fixture().as_os_str(), OsStr::new("-o"), OsStr::new("/proc/out")]);
    ran.is_sound("-o where nothing can be written", &[2]);
    assert!(ran.stderr.contains("/proc"), "{}", ran.stderr);
    // Standard output on a full disk.
    for call in calls() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the full device");
        let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
            .args(call.args(&fixture(), &fixture()))
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("{} {:?}", call.command, call.args);
        assert!(!said.contains("panicked"), "{what}: {said}");
        assert_eq!(output.status.code(), Some(2), "{what}: an output that was lost was not said: {said}");
    }
    // Root may write anywhere; for others a closed folder is one more case.
    if fs::write(closed.join("probe"), "").is_err() {
        report(&[fixture().as_os_str(), OsStr::new("-o"), closed.join("out").as_os_str()]).is_sound("-o in a closed folder", &[2]);
    }
    // A failing run leaves what was there.
    report(&[OsStr::new("/dev/null"), OsStr::new("-o"), kept.as_os_str()]).is_sound("nothing usable", &[2]);
    assert_eq!(fs::read_to_string(&kept).expect("kept"), "before");
}

#[test]
fn a_bare_environment_is_enough() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let out = folder.path().join("out");
    // HOME is unset in every run here; TMPDIR and XDG directories lead nowhere.
    let ran = Run::new([OsStr::new("report"), fixture().as_os_str(), OsStr::new("-o"), out.as_os_str()], None)
        .env("TMPDIR", "/no/such/folder")
        .env("XDG_CACHE_HOME", "/no/such/folder")
        .env("XDG_CONFIG_HOME", "/no/such/folder")
        .go();
    ran.is_sound("TMPDIR that is missing", &[0]);
    assert!(fs::read_to_string(&out).expect("written").contains("heaptriage report"));
    let ran = Run::new(["report", "-"], None).env("TMPDIR", "/no/such/folder").input(fs::read(fixture()).expect("a fixture")).go();
    ran.is_sound("standard input", &[0]);
    let ran = Run::new([OsStr::new("report"), OsStr::new("unbias.heap")], None).directory(folder.path()).go();
    ran.is_sound("a relative name that is missing", &[2]);
}

#[test]
fn files_that_change_while_they_are_read() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let capture = folder.path().join("capture");
    fs::create_dir(&capture).expect("writable");
    let bytes = fs::read(fixture()).expect("a fixture");
    fs::write(capture.join("1763650000000.heap"), &bytes).expect("writable");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (writer_stop, writer_capture) = (stop.clone(), capture.clone());
    // As jemalloc does: created under its final name, filled in steps; some vanish again, one is cut in place.
    let writer = std::thread::spawn(move || {
        let mut index = 1_u64;
        while !writer_stop.load(std::sync::atomic::Ordering::Relaxed) {
            let path = writer_capture.join(format!("{}.heap", 1_763_650_000_000 + index * 1000));
            let mut file = fs::File::create(&path).expect("writable");
            for part in bytes.chunks(4096) {
                file.write_all(part).expect("writable");
                std::thread::sleep(Duration::from_micros(200));
            }
            if index.is_multiple_of(3) {
                let _ = fs::remove_file(&path);
            } else if index.is_multiple_of(5) {
                file.set_len(1000).expect("writable");
            }
            index += 1;
            if index > 30 {
                index = 1;
            }
        }
    });
    for _ in 0..15 {
        for call in calls().iter().filter(|call| matches!(call.command, "report" | "rss" | "trend" | "check")) {
            let ran = Run::new(call.args(&capture, &fixture()), Some(256 << 20)).go();
            ran.is_sound(&format!("{} {:?} while the capture grows", call.command, call.args), call.codes);
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("the writer ends");
}

/// Whether the file system has files without a name, which vanish with their process.
fn has_unnamed_files(folder: &Path) -> bool {
    use rustix::fs::{Mode, OFlags, open};
    open(folder, OFlags::TMPFILE | OFlags::RDWR, Mode::from_raw_mode(0o600)).is_ok()
}

/// Interrupted at any moment, a file is whole or not there.
#[test]
fn an_interrupt_leaves_no_partial_output() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let out = folder.path().join("out.json");
    let capture = folder.path().join("capture");
    fs::create_dir(&capture).expect("writable");
    for index in 0..200 {
        fs::copy(fixture(), capture.join(format!("{}.heap", 1_763_650_000_000_u64 + index * 1000))).expect("writable");
    }
    let mut interrupted = 0;
    for round in 0..12 {
        let _ = fs::remove_file(&out);
        // A test runner in the background of a shell ignores SIGINT, and its children inherit that.
        let mut child = Command::new("env")
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_heaptriage"), "report", "--format", "json", "-o"])
            .arg(&out)
            .arg(&capture)
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        std::thread::sleep(Duration::from_millis(round * 40));
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let status = child.wait().expect("ends");
        if !status.success() {
            interrupted += 1;
        }
        if let Ok(text) = fs::read_to_string(&out) {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            assert!(parsed.is_ok(), "round {round}: half an output under its final name");
        }
        let left = fs::read_dir(&folder).expect("ours").filter(|entry| {
            let name = entry.as_ref().expect("ours").file_name();
            name != "out.json" && name != "capture"
        });
        assert!(left.count() == 0 || !has_unnamed_files(folder.path()), "round {round}: something is left beside the output");
    }
    assert!(interrupted > 0, "no run was interrupted");
}
