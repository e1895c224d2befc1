//! What is bad in what was recorded, or cannot be recorded: each is a sentence that says what, where and what to do, with
//! its exit code; the rest is used. (Heap dumps by themselves: `families`.)

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

/// The stems of a capture, in order.
fn stems(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut stems: Vec<String> = names.filter_map(|name| name.split('.').next().map(str::to_owned)).collect();
    stems.retain(|stem| stem.parse::<u64>().is_ok());
    stems.sort();
    stems.dedup();
    stems
}

/// The file of this kind at a snapshot, whichever way it is compressed.
fn part(folder: &Path, stem: &str, kind: &str) -> PathBuf {
    let wanted = format!("{stem}.{kind}");
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&wanted)).unwrap_or_else(|| panic!("no {wanted}"))
}

fn copied(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(captures().join(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
    command.args(args).env("NO_COLOR", "1").output().unwrap()
}

/// A sound capture, spoiled; the report says these, is no error, and finds the leak in what is left.
#[track_caller]
fn spoiled(spoil: impl Fn(&Path, &[String]), snapshots: usize, said: &[&str]) {
    let folder = copied("segments");
    spoil(folder.path(), &stems(folder.path()));
    let binary = captures().join("bin/quarryd");
    let output = run(&["report", folder.path().to_str().unwrap(), "--binary", binary.to_str().unwrap(), "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings: Vec<&str> = report["warnings"].as_array().unwrap().iter().map(|w| w["message"].as_str().unwrap()).collect();
    for words in said {
        assert!(stderr.contains(words), "{words:?} is not in\n{stderr}");
        assert!(warnings.iter().any(|warning| words.contains(warning) || warning.contains(words)), "{words:?} is not in {warnings:?}");
    }
    assert_eq!(report["capture"]["snapshots"].as_u64(), Some(snapshots as u64), "{stderr}");
    assert_eq!(report["verdict"]["kind"], "leak", "the rest is used: {}", report["verdict"]);
    let owner = report["suspects"][0]["owner"]["function"].as_str().unwrap();
    assert!(owner.contains("SegmentBuilder::add_document"), "{owner}");
}

const EMPTY: &str = "is empty: the process had ended, the disk was full, or it was not written yet; left out";

#[test]
fn zero_length_files() {
    let truncate = |path: PathBuf| fs::write(path, b"").unwrap();
    spoiled(
        |folder, stems| {
            truncate(part(folder, &stems[4], "heap"));
            truncate(part(folder, &stems[6], "smaps"));
            truncate(part(folder, &stems[7], "stats"));
        },
        10,
        &[
            EMPTY,
            "has no heap dump: growth by stack is told from the others; write every kind at the same moment",
            "has no smaps: the ledger leaves it out; write every kind at the same moment",
            "has no allocator statistics: the ledger leaves it out; write every kind at the same moment",
        ],
    );
    spoiled(|folder, _| truncate(folder.join("counters.csv")), 10, &[EMPTY]);
}

#[test]
fn one_kind_is_missing_in_one_snapshot() {
    let (smaps, stats) = ("(1795219471606) has no smaps: the ledger leaves it out", "(1795219480765) has no allocator statistics");
    spoiled(
        |folder, stems| {
            fs::remove_file(part(folder, &stems[4], "smaps")).unwrap();
            fs::remove_file(part(folder, &stems[6], "stats")).unwrap();
        },
        10,
        &[smaps, stats],
    );
}

#[test]
fn smaps_of_another_process() {
    let other = captures().join("queries");
    let foreign = part(&other, &stems(&other)[4], "smaps");
    spoiled(
        |folder, stems| {
            let own = part(folder, &stems[4], "smaps");
            fs::remove_file(&own).unwrap();
            let extension = foreign.file_name().unwrap().to_string_lossy().split_once('.').unwrap().1.to_owned();
            fs::copy(&foreign, folder.join(format!("{}.{extension}", stems[4]))).unwrap();
        },
        10,
        &[
            "is of another process (quarryd at 0x55b2705a3000) than the dump of the same name (quarryd at 0x55a11ffec000): left out; copy /proc/PID/smaps of the process that dumps",
        ],
    );
}

#[test]
fn two_runs_of_a_program() {
    let other = captures().join("queries");
    spoiled(
        |folder, _| {
            for stem in stems(&other).iter().take(4) {
                for kind in ["heap", "smaps", "stats"] {
                    let file = part(&other, stem, kind);
                    fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
                }
            }
        },
        10,
        &[
            "are of another process or an earlier or later run of it (quarryd at 0x55b2705a3000): left out, because addresses moved; give these files alone to look at them",
        ],
    );
}

#[test]
fn a_clock_that_went_back() {
    spoiled(
        |folder, stems| {
            let (first, last) = (stems[0].parse::<u64>().unwrap(), stems.last().unwrap());
            for kind in ["heap", "smaps", "stats"] {
                let from = part(folder, last, kind);
                let to = from.file_name().unwrap().to_string_lossy().replacen(last.as_str(), &(first + 900).to_string(), 1);
                fs::rename(&from, folder.join(to)).unwrap();
            }
        },
        10,
        &[
            "the clock was set while the capture was made: the statistics' uptime falls while the names' times rise; snapshots are in the order of uptime",
        ],
    );
}

#[test]
fn a_program_among_the_inputs_names_their_stacks() {
    let (capture, binary) = (captures().join("segments"), captures().join("bin/quarryd"));
    let (capture, binary) = (capture.to_str().unwrap(), binary.to_str().unwrap());
    let as_option = run(&["report", capture, "--binary", binary, "--sysroot", "/nonexistent"]);
    let as_input = run(&["report", binary, capture, "--sysroot", "/nonexistent"]);
    assert_eq!(String::from_utf8_lossy(&as_option.stdout), String::from_utf8_lossy(&as_input.stdout));
    let rss = run(&["rss", binary, capture]);
    let stderr = String::from_utf8_lossy(&rss.stderr);
    assert!(stderr.contains("is a program: not needed here, `rss` names no stacks"), "{stderr}");
    // A program that prints statistics holds their words, and is no print of them.
    let folder = copied("segments");
    fs::copy(binary, folder.path().join("quarryd")).unwrap();
    let found = run(&["rss", folder.path().to_str().unwrap(), "--json"]);
    let rss: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(rss["capture"]["snapshots"], 10);
    assert!(String::from_utf8_lossy(&found.stderr).contains("quarryd: is an ELF binary: not used"));
}

/// The program as somebody who may not read everything: root becomes nobody, by a copy that nobody may run.
fn unprivileged(folder: &Path, args: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let program = folder.join("heaptriage");
    fs::copy(env!("CARGO_BIN_EXE_heaptriage"), &program).unwrap();
    [folder, &program].iter().for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap());
    let mut command = Command::new(program);
    if crate::record::is_root() {
        command.uid(65534).gid(65534);
    }
    command.args(args).current_dir("/").env("NO_COLOR", "1").env_remove("HOME").output().unwrap()
}

#[test]
fn files_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = copied("segments");
    let closed = part(folder.path(), &stems(folder.path())[4], "smaps");
    for entry in fs::read_dir(folder.path()).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = "no permission to read it: run as the user who owns it, or copy it with sudo";
    let rest = unprivileged(home.path(), &["rss", folder.path().to_str().unwrap(), "--json"]);
    let stderr = String::from_utf8_lossy(&rest.stderr);
    assert_eq!(rest.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains(&format!("1795219471606.smaps.gz: {said}")), "{stderr}");
    let rss: serde_json::Value = serde_json::from_slice(&rest.stdout).unwrap();
    assert_eq!((rss["ledger"]["rss"]["bytes"].as_array().unwrap().len(), rss["capture"]["snapshots"].as_u64()), (9, Some(10)));
    let alone = unprivileged(home.path(), &["rss", closed.to_str().unwrap()]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains(said));
}

/// A binary that did not run names nothing, whoever asks for it; with `--strict` that is an error.
#[test]
fn binaries_of_no_use() {
    let dump = part(&captures().join("segments"), "1795219494065", "heap").display().to_string();
    let other = captures().join("../leaky/release/leaky").display().to_string();
    let right = captures().join("bin/quarryd").display().to_string();
    let (as_quarryd, as_nginx) = (format!("quarryd={other}"), format!("nginx={right}"));
    let text = captures().join("README.md").display().to_string();
    let table: [(&str, &str); 5] = [
        (
            &as_quarryd,
            "is not the file that ran as quarryd: its segments do not match the mapping at 0x55a11ffec000 (offset 0x45000); not used",
        ),
        (&other, "serves no module of this profile, by build-id, layout or name; modules: quarryd, libc.so.6; use --binary MODULE=PATH"),
        (&as_nginx, "no module `nginx` has addresses in this profile; modules: quarryd, libc.so.6; use --binary MODULE=PATH"),
        ("/nowhere/app", "--binary: /nowhere/app: No such file or directory (os error 2): not used; give the ELF file that ran"),
        (&text, "not an ELF file: not used; give the ELF file that ran"),
    ];
    for (binary, said) in table {
        let args = ["top", &dump, "--binary", binary, "--sysroot", "/nonexistent", "--no-cache"];
        let output = run(&args);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains(said) && stderr.lines().count() == 1, "{binary}: {said:?} is not all of\n{stderr}");
        assert!(stdout.contains("quarryd+0x117262") && !stdout.contains("add_document"), "{stdout}");
        let strict = run(&[&args[..], &["--strict"]].concat());
        assert_eq!((strict.status.code(), strict.stdout.len()), (Some(2), 0));
        let stderr = String::from_utf8_lossy(&strict.stderr);
        assert!(stderr.contains("--strict: quarryd is m") && stderr.contains("--binary quarryd=PATH"), "{stderr}");
    }
}

/// Nothing usable, or nobody to record: exit code 2, and what to do.
#[test]
fn nothing_to_work_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("empty.heap"), b"").unwrap();
    fs::write(at("notes.txt"), b"hello\n").unwrap();
    fs::create_dir(at("nothing")).unwrap();
    let binary = captures().join("bin/quarryd").display().to_string();
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let gone = gone.id().to_string();
    let table: [(&[&str], &str); 9] = [
        (&["report", &at("empty.heap")], EMPTY),
        (&["rss", &at("empty.heap")], EMPTY),
        (&["report", &at("notes.txt")], "is nothing that is known (a heap dump, smaps, jemalloc statistics, ...): left out"),
        (&["report", &at("nothing")], "holds no snapshot: give a capture directory, heap dumps, smaps or jemalloc statistics"),
        (&["report", &at("none.heap")], "no such file: check the path"),
        (&["report", &at("*.dump")], "no file matches the pattern"),
        (
            &["top", &binary],
            "is a program (ELF) and no profile: give the heap dumps or the capture of it too; `heaptriage doctor PROGRAM` examines it",
        ),
        (&["record", "--pid", &gone], "it has ended, or runs in another pid namespace (a container); `ps -ef` lists those of here"),
        (&["doctor", "--pid", &gone], "it has ended, or runs in another pid namespace (a container); `ps -ef` lists those of here"),
    ];
    for (args, said) in table {
        let output = run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {said:?} is not in\n{stderr}");
    }
}
