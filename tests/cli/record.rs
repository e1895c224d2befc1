//! `record` against real processes: what it writes, and that nothing it writes is ever half a file.
//!
//! The targets are `sleep` and a shell script that writes heap dumps the way jemalloc does: under the final
//! name, in pieces, the memory map last.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when the test ends, however it ends.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Target {
    fn sleep() -> Target {
        Target(Command::new("sleep").arg("600").spawn().unwrap())
    }

    /// Writes a whole dump `je.PID.N.m0.heap` into the folder at each SIGUSR2, in two pieces.
    fn dumper(folder: &Path) -> Target {
        let script = r#"
            n=0
            dump() {
                trap '' USR2 # One at a time, as under jemalloc's lock.
                file="$0/je.$$.$n.m$n.heap"; n=$((n + 1))
                printf 'heap_v2/524288\n  t*: 3: 65536 [0: 0]\n@ 0x1000 0x2000\n  t*: 3: 65536 [0: 0]\n' > "$file"
                sleep 0.05
                { printf '\nMAPPED_LIBRARIES:\n'; cat /proc/$$/maps; } >> "$file"
                trap dump USR2
            }
            trap dump USR2
            touch "$0/ready"
            while :; do sleep 0.05; done"#;
        let conf = format!("prof:true,prof_prefix:{}/je", folder.display());
        let child = Command::new("sh").args(["-c", script]).arg(folder).env("MALLOC_CONF", conf).spawn().unwrap();
        let target = Target(child);
        wait_for("the handler", || folder.join("ready").exists());
        target
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn signal(&self, signal: &str) {
        kill(self.0.id(), signal);
    }
}

fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap().success());
}

pub fn heaptriage(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names in a capture, by stem, with what lies outside of snapshots under an empty stem.
fn content(capture: &Path) -> BTreeMap<String, Vec<String>> {
    let mut stems: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(capture).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (stem, rest) = match name.split_once('.') {
            Some((stem, rest)) if stem.parse::<u64>().is_ok() => (stem.to_owned(), rest.to_owned()),
            _ => (String::new(), name),
        };
        stems.entry(stem).or_default().push(rest);
    }
    stems.values_mut().for_each(|names| names.sort());
    stems
}

fn snapshots(capture: &Path) -> usize {
    if capture.exists() { content(capture).keys().filter(|stem| !stem.is_empty()).count() } else { 0 }
}

/// Every file under a final name is whole: it ends as its kind ends.
#[track_caller]
fn assert_whole(capture: &Path) {
    for (stem, names) in content(capture) {
        for name in names {
            if stem.is_empty() {
                match name.as_str() {
                    "capture.json" => drop(serde_json_of(&capture.join(name))),
                    ".partial" | ".dumps" | "bin" => {}
                    _ => panic!("{name} has no business in a capture"),
                }
                continue;
            }
            let path = capture.join(format!("{stem}.{name}"));
            let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
            let last = text.strip_suffix('\n').and_then(|body| body.lines().last()).unwrap_or_else(|| panic!("{path:?} is cut"));
            let whole = match name.as_str() {
                "smaps" => last.starts_with("VmFlags:"),
                "smaps_rollup" => last.starts_with("Locked:"),
                "status" => last.starts_with("nonvoluntary_ctxt_switches:"),
                "cgroup" => text.lines().all(|line| line.starts_with("memory.") && line.contains(':')),
                "heap" => text.starts_with("heap_v2/") && last.contains("[v"),
                _ => panic!("{path:?} has no business in a capture"),
            };
            assert!(whole, "{path:?} is cut: it ends with {last:?}");
        }
    }
}

fn serde_json_of(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

#[track_caller]
fn text_of(output: &Output) -> String {
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub fn fails(output: &Output, words: &[&str]) {
    let text = text_of(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn a_recording_is_a_capture_and_is_continued_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let run = || {
        heaptriage(&["record", "--pid", &target.pid(), "--every", "100ms", "--for", "450ms"]).current_dir(folder.path()).output().unwrap()
    };
    let output = run();
    assert!(output.status.success(), "{}", text_of(&output));
    let capture = folder.path().join(format!("sleep-{}.capture", target.pid()));
    assert_whole(&capture);
    let first = content(&capture);
    assert!((3..=7).contains(&(first.len() - 1)), "{first:?}");
    assert_eq!(first[""], ["capture.json"]);
    assert!(
        first
            .iter()
            .filter(|(stem, _)| !stem.is_empty())
            .all(|(_, names)| names.contains(&"smaps".to_owned()) && names.contains(&"status".to_owned()))
    );
    let about = serde_json_of(&capture.join("capture.json"));
    assert_eq!(about["pid"].to_string(), target.pid());
    assert_eq!(about["cmdline"], "sleep 600");
    assert!(about["modules"].as_array().unwrap().iter().any(|m| m["path"].as_str().unwrap().ends_with("/sleep")));
    let text = text_of(&output);
    assert!(text.contains("the time is over") && text.contains("% of a core") && text.contains("heaptriage report sleep-"), "{text}");

    assert!(run().status.success());
    assert_whole(&capture);
    let second = content(&capture);
    assert!(second.len() > first.len() && first.keys().all(|stem| second.contains_key(stem)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the same directory");
}

#[test]
fn the_death_of_the_target_ends_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Target::sleep();
    let capture = folder.path().join("c");
    let recorder = heaptriage(&["record", "--pid", &target.pid(), "--every", "50ms", "-o", capture.to_str().unwrap()]).spawn().unwrap();
    wait_for("snapshots", || snapshots(&capture) > 2);
    target.0.kill().unwrap();
    // A zombie: nobody has waited for it yet.
    let output = recorder.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(text_of(&output).contains("the process ended"), "{}", text_of(&output));
    assert_whole(&capture);
    assert_eq!(content(&capture)[""], ["capture.json"]);
    target.0.wait().unwrap();
}

#[test]
fn signals_end_it_in_order_with_a_last_snapshot() {
    for signal in ["INT", "TERM", "HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::sleep();
        let capture = folder.path().join("c");
        let recorder = heaptriage(&["record", "--pid", &target.pid(), "--every", "1h", "-o", capture.to_str().unwrap()]).spawn().unwrap();
        wait_for("a snapshot", || snapshots(&capture) == 1);
        kill(recorder.id(), signal);
        let output = recorder.wait_with_output().unwrap();
        assert!(output.status.success(), "SIG{signal}: {}", text_of(&output));
        assert!(text_of(&output).contains("it was stopped"));
        assert_whole(&capture);
        assert_eq!(snapshots(&capture), 2, "SIG{signal}");
    }
}

/// How often; the full run of 200 is `HEAPTRIAGE_KILLS=200 cargo test --test cli killed`.
fn kills() -> u64 {
    std::env::var("HEAPTRIAGE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn killed_at_any_moment_it_leaves_whole_files_and_the_next_run_continues() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::dumper(folder.path());
    let capture = folder.path().join("c");
    let args = ["record", "--pid", &target.pid(), "--every", "50ms", "--signal", "USR2", "-o", capture.to_str().unwrap()];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut before = 0;
    let mut left_partial = 0;
    for round in 0..kills() {
        // xorshift: some kills fall into the start, some between files, some into a file.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut recorder = heaptriage(&args).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(seed % 150_000));
        recorder.kill().unwrap();
        recorder.wait().unwrap();
        if capture.exists() {
            assert_whole(&capture);
            left_partial += u32::from(fs::read_dir(capture.join(".partial")).is_ok_and(|mut entries| entries.next().is_some()));
            let now = snapshots(&capture);
            assert!(now >= before, "round {round}: a snapshot is gone");
            before = now;
        }
    }
    println!("{} kills, {before} snapshots, {left_partial} of the kills left a partial file behind for the next run to clear", kills());
    let output = heaptriage(&args).args(["--for", "300ms"]).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert_whole(&capture);
    let after = content(&capture);
    assert_eq!(after[""], ["capture.json"], "what was left unfinished is cleared");
    assert!(after.len() > before, "it went on");
    let dumps = after.values().flatten().filter(|name| *name == "heap").count();
    let written =
        fs::read_dir(folder.path()).unwrap().filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".heap")).count();
    // The last one may still be in the writing.
    assert!((written.saturating_sub(1)..=written).contains(&dumps), "{dumps} of {written} dumps, those from between two runs as well");
}

#[test]
fn dumps_get_the_smaps_of_their_moment_and_cut_ones_stay_out() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::dumper(folder.path());
    let capture = folder.path().join("c");
    let foreign = folder.path().join("je.1.0.m0.heap");
    fs::write(&foreign, "heap_v2/524288\n  t*: 0: 0 [0: 0]\n").unwrap();
    let cut = folder.path().join(format!("je.{}.99.i9.heap", target.pid()));
    fs::write(&cut, "heap_v2/524288\n  t*: 3: 65536 [0: 0]\n@ 0x1000 0x2000\n").unwrap();
    let recorder = heaptriage(&["record", "--pid", &target.pid(), "--every", "1h", "-o", capture.to_str().unwrap()]).spawn().unwrap();
    wait_for("the first snapshot", || snapshots(&capture) == 1);
    for count in 1..=3 {
        target.signal("USR2");
        wait_for("a dump", || {
            content(&capture).values().filter(|names| names.contains(&"heap".into()) && names.contains(&"smaps".into())).count() == count
        });
    }
    kill(recorder.id(), "TERM");
    let output = recorder.wait_with_output().unwrap();
    let text = text_of(&output);
    assert!(text.contains("3 with a heap dump"), "{text}");
    assert!(text.contains(&format!("{}: not taken", cut.display())) && !text.contains(foreign.to_str().unwrap()), "{text}");
    assert_whole(&capture);
    assert!(cut.exists(), "dumps of the process are copied, not taken away");
}

#[test]
fn a_glob_names_dumps_wherever_the_program_puts_them() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::dumper(folder.path());
    let capture = folder.path().join("c");
    let glob = format!("{}/je.*.m?.heap", folder.path().display());
    let args = [
        "record",
        "--pid",
        &target.pid(),
        "--every",
        "200ms",
        "--for",
        "900ms",
        "--signal",
        "USR2",
        "--dumps",
        &glob,
        "-o",
        capture.to_str().unwrap(),
    ];
    let output = heaptriage(&args).output().unwrap();
    assert!(output.status.success());
    assert_whole(&capture);
    let dumps = content(&capture).values().flatten().filter(|name| *name == "heap").count();
    assert!((2..=6).contains(&dumps), "{dumps}: {}", text_of(&output));

    fails(
        &heaptriage(&["record", "--pid", &target.pid(), "--dumps", "/no/such/folder/*.heap", "-o", capture.to_str().unwrap()])
            .output()
            .unwrap(),
        &["no folder /no/such/folder"],
    );
    fails(
        &heaptriage(&["record", "--pid", &target.pid(), "--dumps", "/tmp/*/x.heap", "-o", capture.to_str().unwrap()]).output().unwrap(),
        &["only the file name"],
    );
}

#[test]
fn a_signal_that_would_end_the_process_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Target::sleep();
    let capture = folder.path().join("c");
    let output = heaptriage(&["record", "--pid", &target.pid(), "--signal", "USR2", "--for", "200ms", "-o", capture.to_str().unwrap()])
        .output()
        .unwrap();
    fails(&output, &["no handler for signal 12", "--gdb"]);
    assert!(target.0.try_wait().unwrap().is_none(), "it lives");
}

#[test]
fn a_capture_of_another_process_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let capture = folder.path().join("c");
    let run = |more: &[&str]| {
        heaptriage(&["record", "--pid", &target.pid(), "--every", "100ms", "--for", "150ms"])
            .args(more)
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    assert!(run(&["-o", "c"]).status.success());
    // The same pid, started at another time: the number was used again.
    let path = capture.join("capture.json");
    let mut about = serde_json_of(&path);
    about["start_ticks"] = 1.into();
    fs::write(&path, about.to_string()).unwrap();
    let before = content(&capture);
    fails(&run(&["-o", "c"]), &["is the capture of pid", "another process", "-o"]);
    assert_eq!(content(&capture), before);
    // Without -o the next free name is taken.
    let own = folder.path().join(format!("sleep-{}.capture", target.pid()));
    fs::rename(&capture, &own).unwrap();
    assert!(run(&[]).status.success());
    assert!(folder.path().join(format!("sleep-{}-2.capture", target.pid())).join("capture.json").exists());
    assert_eq!(content(&own), before);
}

#[test]
fn two_recordings_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let capture = folder.path().join("c");
    let args = ["record", "--pid", &target.pid(), "--every", "50ms", "-o", capture.to_str().unwrap()];
    let mut first = heaptriage(&args).spawn().unwrap();
    wait_for("a snapshot", || snapshots(&capture) > 0);
    fails(&heaptriage(&args).output().unwrap(), &["another recording is writing"]);
    kill(first.id(), "TERM");
    assert!(first.wait().unwrap().success());
    assert_whole(&capture);
}

#[test]
fn what_cannot_be_recorded_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |pid: &str| heaptriage(&["record", "--pid", pid, "--for", "200ms"]).current_dir(folder.path()).output().unwrap();
    let mut gone = Command::new("true").spawn().unwrap();
    wait_for("its end", || fs::read_to_string(format!("/proc/{}/stat", gone.id())).is_ok_and(|stat| stat.contains(") Z ")));
    fails(&run(&gone.id().to_string()), &["zombie"]);
    gone.wait().unwrap();
    fails(&run(&gone.id().to_string()), &["no process has the pid"]);
    fails(&run("0"), &["0"]);
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        fails(&run("2"), &["kernel thread"]);
    }
    fails(&heaptriage(&["record"]).output().unwrap(), &["--pid"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_process_of_another_user_is_refused_with_advice() {
    if !is_root() {
        println!("did not run: only root can become another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("heaptriage");
    fs::copy(env!("CARGO_BIN_EXE_heaptriage"), &program).unwrap();
    open_to_all(folder.path());
    open_to_all(&program);
    let target = Target::sleep();
    let output = Command::new(program).args(["record", "--pid", &target.pid()]).uid(65534).gid(65534).current_dir("/").output().unwrap();
    fails(&output, &["(sleep) may not be read", "uid 0", "sudo"]);
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn is_root() -> bool {
    String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim() == "0"
}

#[test]
fn a_file_size_limit_costs_snapshots_and_leaves_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let capture = folder.path().join("c");
    // 8 blocks of 512 bytes: capture.json and status fit, smaps does not.
    let script = format!(
        "ulimit -f 8; exec {} record --pid {} --every 300ms --for 700ms -o {}",
        env!("CARGO_BIN_EXE_heaptriage"),
        target.pid(),
        capture.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    fails(&output, &["could not be written", "File too large", "no snapshot was recorded"]);
    assert_eq!(text_of(&output).matches("File too large").count(), 1, "once, not at each snapshot");
    assert_whole(&capture);
    assert_eq!(content(&capture).len(), 1);
}

/// A file system of 200 KiB; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=200k", "tmpfs"])
                .arg(folder.path())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success());
        mounted.then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_snapshots_and_room_again_brings_them_back() {
    let Some(disk) = SmallDisk::mount() else {
        println!("did not run: no permission to mount a small file system");
        return;
    };
    let target = Target::sleep();
    let capture = disk.0.path().join("c");
    let recorder = heaptriage(&["record", "--pid", &target.pid(), "--every", "50ms", "-o", capture.to_str().unwrap()]).spawn().unwrap();
    let mut last = 0;
    wait_for("the disk to be full", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = snapshots(&capture);
        std::mem::replace(&mut last, now) == now && now > 2
    });
    assert_whole(&capture);
    // Room: an old snapshot goes.
    let (oldest, names) = content(&capture).into_iter().find(|(stem, _)| !stem.is_empty()).unwrap();
    names.iter().for_each(|name| fs::remove_file(capture.join(format!("{oldest}.{name}"))).unwrap());
    let newest = content(&capture).into_keys().next_back().unwrap();
    wait_for("a snapshot in the new room", || content(&capture).into_keys().next_back().unwrap() > newest);
    kill(recorder.id(), "TERM");
    let output = recorder.wait_with_output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("No space left on device") && text.contains("could not be written"), "{text}");
    assert_whole(&capture);
    assert_eq!(content(&capture)[""], ["capture.json"]);
}

#[test]
fn a_directory_that_cannot_be_made_fails_at_once() {
    let target = Target::sleep();
    fails(
        &heaptriage(&["record", "--pid", &target.pid(), "-o", "/proc/no/such"]).output().unwrap(),
        &["cannot write the capture directory /proc/no/such"],
    );
}

#[test]
fn a_capture_from_the_future_is_continued_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    fs::write(folder.path().join("9999999999999.status"), "Name:\tx\nnonvoluntary_ctxt_switches:\t1\n").unwrap();
    let output =
        heaptriage(&["record", "--pid", &target.pid(), "--every", "100ms", "--for", "250ms", "-o", folder.path().to_str().unwrap()])
            .output()
            .unwrap();
    assert!(output.status.success());
    assert!(text_of(&output).contains("the clock is"), "{}", text_of(&output));
    assert_whole(folder.path());
    let stems: Vec<String> = content(folder.path()).into_keys().collect();
    assert!(stems.len() > 3 && stems.iter().filter(|stem| stem.len() == 14).count() >= 2, "{stems:?}");
}

#[test]
fn a_command_is_started_with_profiling_on_and_its_dumps_come_into_the_capture() {
    let folder = tempfile::tempdir().unwrap();
    // What jemalloc does at the end with prof_final, and what a child process might leave.
    let script = r#"
        prefix=${MALLOC_CONF##*prof_prefix:}
        { printf 'heap_v2/524288\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n'; cat /proc/$$/maps; } > "$prefix.$$.0.i0.heap"
        echo half > "$prefix.1.0.f.heap"
        sleep 0.5
        { printf 'heap_v2/524288\n  t*: 0: 0 [0: 0]\n\nMAPPED_LIBRARIES:\n'; cat /proc/$$/maps; } > "$prefix.$$.1.f.heap"
        exit 3"#;
    let output = heaptriage(&["record", "-o", "c", "--every", "100ms", "--conf", "lg_prof_sample:17", "--", "sh", "-c", script])
        .env("MALLOC_CONF", "narenas:2")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let capture = folder.path().join("c");
    assert_whole(&capture);
    assert!(
        text.contains(
            "MALLOC_CONF=prof:true,prof_active:true,prof_final:true,lg_prof_interval:30,narenas:2,lg_prof_sample:17,prof_prefix:/"
        ),
        "{text}"
    );
    assert!(text.contains("2 with a heap dump") && text.contains("exit status: 3"), "{text}");
    assert!(text.contains("no jemalloc in it") && text.contains("--preload"), "{text}");
    let left: Vec<_> = fs::read_dir(capture.join(".dumps")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["jeprof.1.0.f.heap"], "not of the command itself");
    assert!(text.contains("dumps of other processes"), "{text}");
    let conf = serde_json_of(&capture.join("capture.json"))["malloc_conf"].clone();
    assert!(conf.as_str().unwrap().contains("lg_prof_sample:17"), "{conf}");

    fails(
        &heaptriage(&["record", "-o", "c", "--", "true"]).current_dir(folder.path()).output().unwrap(),
        &["c is the capture of another process"],
    );
    fails(&heaptriage(&["record", "-o", "d", "--", "no-such-program"]).current_dir(folder.path()).output().unwrap(), &["no-such-program"]);
    fails(
        &heaptriage(&["record", "-o", "d", "--preload=/bin/sh", "--", "true"]).current_dir(folder.path()).output().unwrap(),
        &["no jemalloc is in it"],
    );
}

#[test]
fn a_command_is_ended_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let ended = |output: &Output| {
        let text = text_of(output);
        assert!(output.status.success(), "{text}");
        assert_whole(&folder.path().join("c"));
        fs::remove_dir_all(folder.path().join("c")).unwrap();
        text
    };
    let script = "trap 'echo asked > asked; exit 0' TERM; while :; do sleep 0.02; done";
    let command = |more: &[&str]| {
        let mut command = heaptriage(&["record", "-o", "c", "--every", "50ms"]);
        command.args(more).args(["--", "sh", "-c", script]).current_dir(folder.path());
        command
    };
    let text = ended(&command(&["--for", "300ms"]).output().unwrap());
    assert!(text.contains("the time is over"), "{text}");
    assert!(folder.path().join("asked").exists());
    fs::remove_file(folder.path().join("asked")).unwrap();

    // SIGTERM goes on to the command, and the recording ends with it.
    let recorder = command(&[]).spawn().unwrap();
    wait_for("snapshots", || snapshots(&folder.path().join("c")) > 1);
    kill(recorder.id(), "TERM");
    let text = ended(&recorder.wait_with_output().unwrap());
    assert!(text.contains("the process ended"), "{text}");
    assert!(folder.path().join("asked").exists());
}

#[test]
fn figures_for_prometheus_are_kept_beside() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let file = folder.path().join("heaptriage.prom");
    let output =
        heaptriage(&["record", "--pid", &target.pid(), "--every", "100ms", "--for", "250ms", "--prometheus", file.to_str().unwrap(), "-o"])
            .arg(folder.path().join("c"))
            .output()
            .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let text = fs::read_to_string(&file).unwrap();
    let rss = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("heaptriage_rss_bytes{{process=\"sleep\",pid=\"{}\"}} ", target.pid())))
        .unwrap_or_else(|| panic!("{text}"));
    let rss: f64 = rss.parse().unwrap();
    assert!((4096.0..1e8).contains(&rss), "{rss}");
}

#[test]
fn the_ledger_and_the_suspects_are_among_the_figures() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::dumper(folder.path());
    let file = folder.path().join("heaptriage.prom");
    let pattern = folder.path().join("je.*.heap");
    let output = heaptriage(&["record", "--pid", &target.pid(), "--every", "300ms", "--for", "1500ms", "--signal", "USR2"])
        .args(["--dumps", pattern.to_str().unwrap(), "--prometheus", file.to_str().unwrap(), "-o"])
        .arg(folder.path().join("c"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let text = fs::read_to_string(&file).unwrap();
    let figure = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let rows: Vec<f64> = text.lines().filter(|line| line.starts_with("heaptriage_ledger_bytes{")).map(figure).collect();
    assert!(rows.len() > 2 && text.contains("kind=\"file_mapped\",label=\"libc.so.6 (file mapping)\""), "{text}");
    // `stat` and smaps are read one after the other, and count a little differently.
    let rss = text.lines().find(|line| line.starts_with("heaptriage_rss_bytes{")).map(figure).unwrap();
    assert!((rows.iter().sum::<f64>() - rss).abs() < 512.0 * 1024.0, "{text}");
    // The dumps are all alike: none of their stacks grows.
    assert!(text.lines().any(|line| line.starts_with("heaptriage_suspects{") && line.ends_with(" 0")), "{text}");
}

#[test]
fn the_programs_go_with_the_capture_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let output = heaptriage(&["record", "--pid", &target.pid(), "--for", "100ms", "--with-binary", "-o", "c"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let exe = fs::read_link(format!("/proc/{}/exe", target.pid())).unwrap();
    let copy: PathBuf = folder.path().join("c/bin").join(exe.file_name().unwrap());
    assert_eq!(fs::read(copy).unwrap(), fs::read(exe).unwrap());
}

#[test]
fn gdb_dumps_where_it_is_there_and_says_what_is_missing() {
    let status: Option<ExitStatus> = Command::new("gdb").arg("--version").stdout(Stdio::null()).status().ok();
    if status.is_none() {
        assert!(std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "gdb is not installed");
        println!("did not run: gdb is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let target = Target::sleep();
    let output = heaptriage(&["record", "--pid", &target.pid(), "--gdb", "--for", "100ms"]).current_dir(folder.path()).output().unwrap();
    fails(&output, &["no jemalloc was found"]);
}
