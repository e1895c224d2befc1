//! `doctor` on a real program, on live processes and on captures.

use super::record::{fails, heaptriage};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A service on a prefixed jemalloc 5.3.0 with profiling.
fn quarryd() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/bin/quarryd")
}

fn capture(name: &str) -> String {
    format!("{}/fixtures/captures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn text(args: &[&str]) -> String {
    let output = heaptriage(&["doctor"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The states by check, in order; several checks of one name are all there.
#[track_caller]
fn checks(args: &[&str]) -> (Vec<(String, String)>, Value) {
    let output = heaptriage(&["doctor", "--json"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "heaptriage/doctor/1");
    let word = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let list = report["checks"].as_array().unwrap().iter().map(|c| (word(c, "id"), word(c, "state"))).collect();
    (list, report)
}

#[track_caller]
fn has(list: &[(String, String)], id: &str, state: &str) {
    assert!(list.iter().any(|(i, s)| i == id && s == state), "no {id} {state} in {list:?}");
}

/// The fixture running one of its scenarios for a minute, until the test ends.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    fn start(folder: &Path, variable: &str, conf: &str) -> Service {
        let child = Command::new(quarryd())
            .args(["segments", "--first", "60", "--seconds", "60", "--snaps", "2", "--out"])
            .arg(folder.join("out"))
            .arg("--notes")
            .arg(folder.join("notes"))
            .env(variable, conf)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Its threads are up when it begins to note things.
        let since = Instant::now();
        while !folder.join("out/capture.json").exists() {
            assert!(since.elapsed() < Duration::from_secs(20), "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Service(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

#[test]
fn a_program_is_told_what_to_set() {
    let path = quarryd();
    let (list, report) = checks(&[path.to_str().unwrap()]);
    let expected = [("jemalloc", "ok"), ("profiling_built", "ok"), ("profiling_on", "doubt"), ("debug_info", "ok")];
    expected.iter().for_each(|(id, state)| has(&list, id, state));
    assert_eq!(report["target"]["kind"], "program");
    assert_eq!(report["ready"], true);
    assert_eq!(report["set"]["variable"], "_RJEM_MALLOC_CONF");
    assert_eq!(report["set"]["value"], "prof:true,prof_active:true,lg_prof_sample:19");
    let text = text(&[path.to_str().unwrap()]);
    assert!(
        text.contains("jemalloc 5.3.0") && text.ends_with("\n  export _RJEM_MALLOC_CONF=prof:true,prof_active:true,lg_prof_sample:19\n"),
        "{text}"
    );
}

#[test]
fn a_program_without_jemalloc_or_names_is_not_ready() {
    let (list, report) = checks(&["/bin/sh"]);
    has(&list, "jemalloc", "bad");
    assert_eq!(report["ready"], false);
    assert!(report["to_do"][0].as_str().unwrap().contains("--preload"), "{report}");
    assert_eq!(report["set"], Value::Null);
}

#[test]
fn a_program_without_build_id_is_read_all_the_same() {
    let packed = fs::read(format!("{}/fixtures/leaky/debug/leaky.zst", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut program = heaptriage::input::compress::decompress(&packed).unwrap().value.into_owned();
    // The note's type (3, NT_GNU_BUILD_ID) and name: of another type it is no build-id.
    let note = b"\x03\0\0\0GNU\0";
    let at = program.windows(note.len()).position(|bytes| bytes == note).unwrap();
    program[at] = 99;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leaky");
    fs::write(&path, program).unwrap();
    let (list, report) = checks(&[path.to_str().unwrap()]);
    has(&list, "build_id", "doubt");
    has(&list, "debug_info", "ok");
    has(&list, "unwinding", "ok");
    assert!(report.to_string().contains("full debug information"), "{report}");
}

#[test]
fn a_process_is_asked_itself() {
    let folder = tempfile::tempdir().unwrap();
    let conf = format!("prof:true,lg_prof_sample:17,prof_accum:true,lg_prof_interval:28,prof_prefix:{}/je", folder.path().display());
    let service = Service::start(folder.path(), "_RJEM_MALLOC_CONF", &conf);
    let (list, report) = checks(&["--pid", &service.pid()]);
    for id in ["jemalloc", "profiling_built", "profiling_on", "sampling", "accumulated", "dumping", "dump_place", "debug_info"] {
        has(&list, id, "ok");
    }
    assert!(report["ready"].as_bool().unwrap());
    let finding =
        |id: &str| report["checks"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap()["finding"].as_str().unwrap().to_owned();
    assert!(finding("sampling").contains("128.0 KiB"), "{}", finding("sampling"));
    assert!(finding("dumping").contains("after each 256.0 MiB"), "{}", finding("dumping"));
    assert!(finding("dump_place").contains(&format!("/je.{}.*.heap", service.pid())), "{}", finding("dump_place"));
    assert_eq!(report["target"]["pid"].to_string(), service.pid());
}

#[test]
fn the_wrong_variable_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), "MALLOC_CONF", "prof:true,lg_prof_sample:15");
    let (list, report) = checks(&["--pid", &service.pid()]);
    has(&list, "variable", "doubt");
    has(&list, "profiling_on", "bad");
    assert_eq!(report["set"]["variable"], "_RJEM_MALLOC_CONF");
    let text = text(&["--pid", &service.pid()]);
    assert!(text.contains("this jemalloc reads _RJEM_MALLOC_CONF") && text.contains("Not ready"), "{text}");
}

#[test]
fn a_folder_for_dumps_that_is_not_there_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), "_RJEM_MALLOC_CONF", "prof:true,prof_active:false,prof_prefix:/no/such/folder/je");
    let (list, _) = checks(&["--pid", &service.pid()]);
    has(&list, "dump_place", "bad");
    has(&list, "dumping", "doubt");
    has(&list, "sampling_active", "bad");
}

#[test]
fn a_capture_is_told_what_is_missing() {
    let bin = quarryd();
    let (list, report) = checks(&[&capture("uploads"), "--binary", bin.to_str().unwrap()]);
    for id in ["snapshots", "sampling", "stacks", "symbols"] {
        has(&list, id, "ok");
    }
    assert_eq!(report["ready"], true, "{report}");
    let (list, report) = checks(&[&capture("uploads")]);
    has(&list, "symbols", "bad");
    assert!(report["to_do"][0].as_str().unwrap().contains("--binary"), "{report}");
    // Only smaps: what is missing is said, with what to do.
    let smaps: Vec<String> = fs::read_dir(capture("uploads"))
        .unwrap()
        .map(|e| e.unwrap().path().to_str().unwrap().to_owned())
        .filter(|path| path.contains(".smaps"))
        .collect();
    let (list, report) = checks(&smaps.iter().map(String::as_str).collect::<Vec<_>>());
    has(&list, "missing", "doubt");
    assert!(report.to_string().contains("without heap dumps"), "{report}");
}

#[test]
fn one_frame_stacks_and_stray_files_are_bad_findings_not_errors() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("1763650000123.heap");
    let stack = |n: u32| format!("@ 0x7f000000{n:04x} 0x7f0000001000\n  t*: 3: 65536 [0: 0]\n  t0: 3: 65536 [0: 0]\n");
    let stacks: String = (1..9).map(stack).collect();
    let maps = "\nMAPPED_LIBRARIES:\n7f0000000000-7f0000100000 r-xp 00000000 fe:00 7    /srv/musl-service\n";
    fs::write(&dump, format!("heap_v2/524288\n  t*: 24: 524288 [0: 0]\n  t0: 24: 524288 [0: 0]\n{stacks}{maps}")).unwrap();
    let (list, report) = checks(&[dump.to_str().unwrap()]);
    has(&list, "stacks", "bad");
    assert!(report.to_string().contains("--enable-prof-libunwind"), "{report}");

    let stray = folder.path().join("notes.txt");
    fs::write(&stray, "hello\n").unwrap();
    let (list, report) = checks(&[stray.to_str().unwrap()]);
    has(&list, "input", "bad");
    assert_eq!(report["ready"], false);
    fs::write(&stray, b"\x7fELF but no more").unwrap();
    has(&checks(&[stray.to_str().unwrap()]).0, "file", "bad");
}

/// Compiles a source without start-up files, linked as the flags say.
fn link(folder: &Path, source: &str, flags: &[&str]) {
    fs::write(folder.join("it.c"), source).unwrap();
    let status = Command::new("cc").current_dir(folder).args(["-O1", "-g", "it.c", "-Wl,--build-id"]).args(flags).status().unwrap();
    assert!(status.success(), "{flags:?}");
}

/// A jemalloc for glibc does not load into a program that is linked with musl: neither advised nor tried.
#[test]
fn a_musl_program_is_not_told_to_preload_a_library_for_glibc() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    link(folder.path(), "int end(void) { return 1; }", &["-shared", "-nostdlib", "-Wl,-soname,libc.musl-x86_64.so.1", "-o", "libstub.so"]);
    link(folder.path(), "int end(void); int _start(void) { return end(); }", &["-nostdlib", "-o", "service", "-L.", "-l:libstub.so"]);
    let jemalloc =
        "const char words[] = \"x\\0MALLOC_CONF\\0heap_v2/%u\\0\"; int puts(const char *); int say(void) { return puts(words); }";
    link(folder.path(), jemalloc, &["-shared", "-fPIC", "-Wl,--no-as-needed", "-o", "libjemalloc.so.2"]);

    let (list, report) = checks(&[&at("service")]);
    has(&list, "jemalloc", "bad");
    assert!(report.to_string().contains("it is linked with musl, and no jemalloc for musl is installed here"), "{report}");
    assert!(!report.to_string().contains("--preload"), "{report}");
    let preload = format!("--preload={}", at("libjemalloc.so.2"));
    let refused = heaptriage(&["record", &preload, "-o", &at("capture"), "--", &at("service")]).output().unwrap();
    let reason = format!("cannot be preloaded: it is built for glibc, and {} is linked with musl", at("service"));
    fails(&refused, &[&reason]);
    assert!(!folder.path().join("capture").exists(), "nothing is left of a recording that did not begin");
}

#[test]
fn the_machine_is_examined_without_arguments() {
    let (list, report) = checks(&[]);
    assert_eq!(report["target"]["kind"], "machine");
    assert!(list.iter().any(|(id, _)| id == "preload") && list.iter().any(|(id, _)| id == "gdb"), "{list:?}");
}

#[test]
fn what_is_not_there_is_a_usage_error() {
    fails(&heaptriage(&["doctor", "/no/such/file"]).output().unwrap(), &["cannot read /no/such/file"]);
    fails(&heaptriage(&["doctor", "--pid", "4194305"]).output().unwrap(), &["no process has the pid"]);
    fails(&heaptriage(&["doctor", "--pid", "1", "/bin/sh"]).output().unwrap(), &["--pid"]);
}
