//! `rss` over the committed captures: every format, and a ledger that closes in every snapshot.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_dir() && !path.ends_with("bin") && !path.ends_with("truth"));
    found.sort();
    assert!(found.len() > 10, "captures are missing");
    found
}

fn rss(args: &[&str], input: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage")).arg("rss").arg(input).args(args).output().unwrap()
}

fn text(args: &[&str], input: &Path) -> String {
    let output = rss(args, input);
    assert!(output.status.success(), "{}: {}", input.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rows_add_up_in_every_snapshot_of_every_capture() {
    for capture in captures() {
        let json: serde_json::Value = serde_json::from_str(&text(&["--json"], &capture)).unwrap();
        assert_eq!(json["schema"], "heaptriage/rss/1");
        let rows = json["ledger"]["rows"].as_array().unwrap();
        let rss = json["ledger"]["rss"]["bytes"].as_array().unwrap();
        assert!(!rss.is_empty(), "{}", capture.display());
        for (at, total) in rss.iter().enumerate() {
            let sum: i64 = rows.iter().map(|row| row["bytes"][at].as_i64().unwrap()).sum();
            assert_eq!(Some(sum), total.as_i64(), "{} snapshot {at}", capture.display());
        }
        let open =
            rows.iter().filter(|row| row["kind"] == "unattributed").map(|row| row["last_bytes"].as_i64().unwrap().abs()).sum::<i64>();
        assert!(open * 100 <= rss.last().unwrap().as_i64().unwrap(), "{}: {open} bytes unattributed", capture.display());
    }
}

#[test]
fn every_format_is_written() {
    let capture = &captures()[0];
    let csv = text(&["--format", "csv"], capture);
    // Labels may hold commas and are quoted then; figures never do.
    let columns = csv.lines().nth(1).unwrap().split(',').count();
    assert!(csv.starts_with("unix_ms,snapshot,rss_bytes,live: live heap,"), "{csv}");
    assert!(csv.lines().count() > 2 && csv.lines().skip(1).all(|line| line.split(',').count() == columns), "{csv}");
    let svg = text(&["--format", "svg"], capture);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("class=\"rss\"") && svg.contains(">live heap ") && svg.contains("MiB") && svg.contains("<title>dump "));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    let table = text(&[], capture);
    assert!(table.contains("Where the memory is") && table.contains("\n  RSS ") && table.contains("unattributed"), "{table}");
    let refused = rss(&["--format", "html"], capture);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`rss` does not write html"));
}

#[test]
fn nothing_usable_is_an_error_with_the_reason() {
    let missing = rss(&[], Path::new("no/such/capture"));
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no such file: check the path"));
}

#[test]
fn half_empty_slabs_are_joined_with_the_stacks_that_hold_them() {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/nightly-reindex");
    let beside = text(&[], &capture);
    assert!(beside.contains("50.4 MiB are free in half-empty slabs (+49.6 MiB since the first)"), "{beside}");
    let rss: serde_json::Value = serde_json::from_str(&text(&["--json"], &capture)).unwrap();
    // By hand from the statistics: 312 slabs of 28,672 bytes, 3510 objects of 224.
    let class = &rss["slabs"]["classes"][0];
    assert_eq!((class["size_bytes"].as_u64(), class["free_bytes"].as_u64()), (Some(224), Some(312 * 28_672 - 3510 * 224)));
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/bin/quarryd");
    let output =
        Command::new(env!("CARGO_BIN_EXE_heaptriage")).args(["report", "--json", "--binary"]).args([&binary, &capture]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let slabs = &report["slabs"];
    let holds =
        |list: &serde_json::Value, name: &str| list.as_array().unwrap().iter().any(|h| h["function"].as_str().unwrap().contains(name));
    // What requests keep lies between what the burst freed: sessions are of one size, log records of several.
    let of_192 = slabs["classes"].as_array().unwrap().iter().find(|class| class["size_bytes"] == 192).unwrap();
    assert!(holds(&of_192["held_by"], "touch_session") && of_192["found"].as_f64().unwrap() > 0.5, "{of_192}");
    assert!(holds(&slabs["mixed"], "log_access"), "{}", slabs["mixed"]);
}

/// Rows of one smaps fixture as (kind, label, MiB, confidence), the small ones left out.
fn owners(name: &str) -> Vec<(String, String, f64, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smaps").join(format!("6.18_{name}.smaps.gz"));
    let rss: serde_json::Value = serde_json::from_str(&text(&["--json"], &path)).unwrap();
    let rows = rss["ledger"]["rows"].as_array().unwrap();
    let total: i64 = rows.iter().map(|row| row["last_bytes"].as_i64().unwrap()).sum();
    assert_eq!(rss["ledger"]["rss"]["last_bytes"], total, "{name}");
    let word = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    let mib = |row: &serde_json::Value| row["last_bytes"].as_f64().unwrap() / f64::from(1 << 20);
    let shown = rows.iter().map(|row| (word(row, "kind"), word(row, "label"), mib(row), word(row, "confidence")));
    shown.filter(|(kind, _, mib, _)| kind != "file_mapped" && *mib > 0.25).collect()
}

#[track_caller]
fn check_owners(name: &str, expected: &[(&str, &str, std::ops::Range<f64>, &str)]) {
    let found = owners(name);
    let fits = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|((kind, label, mib, confidence), (k, l, range, c))| kind == k && label == l && range.contains(mib) && confidence == c);
    assert!(fits, "{name}: {found:#?}");
}

#[test]
fn owners_of_memory_are_known_by_their_mappings() {
    // What the programs hold: 3 x 20,000 x 1000 + 30,000 x 500 + 40,000,000 bytes, and 30 MiB mapped by themselves.
    let held = 3.0 * 20_000.0 * 1024.0 + 30_000.0 * 512.0 + 4e7;
    let held = held / f64::from(1 << 20);
    check_owners(
        "jemalloc-5.3.0_preload_30MiB-mmap",
        &[
            ("other_anonymous", "anonymous mmap", 30.0..30.1, "medium"),
            ("unattributed", "in jemalloc's mappings, not split", held..held * 1.06, "high"),
        ],
    );
    check_owners(
        "mimalloc-2.0_preload",
        &[("foreign_heap", "mimalloc", held..held * 1.06, "medium"), ("other_anonymous", "anonymous mmap", 30.0..30.1, "medium")],
    );
    // tcmalloc maps its spans as any program does: its own and the program's cannot be told apart.
    check_owners("tcmalloc-2.10_preload", &[("foreign_heap", "tcmalloc", held + 30.0..(held + 30.0) * 1.06, "medium")]);
    let glibc = owners("glibc_2threads");
    assert!(glibc.iter().any(|(_, label, ..)| label == "C library malloc, thread arenas"), "{glibc:#?}");
    // 4000 slices of 10,240 bytes, and the runtime's tables.
    check_owners("go-1.19", &[("foreign_heap", "Go runtime", 39.1..43.0, "medium")]);
    let java = owners("java-17");
    assert!(java.iter().any(|(_, label, mib, _)| label == "Java virtual machine" && *mib > 50.0), "{java:#?}");
    assert!(java.iter().filter(|(kind, ..)| kind == "other_anonymous").all(|(_, _, mib, _)| *mib < 4.0), "{java:#?}");
}

/// One smaps of a heap of which so much is resident and so much is swapped out, MiB, and the cgroup's use of 64 MiB.
fn swapping(folder: &Path, second: u64, resident: u64, swapped: u64) {
    let (rss, swap) = (resident << 10, swapped << 10);
    let smaps = format!(
        "55d0c0000000-55d0d0000000 rw-p 00000000 00:00 0                          [heap]\nSize:             262144 kB\nRss:              {rss} kB\nPss:              {rss} kB\nPrivate_Dirty:    {rss} kB\nAnonymous:        {rss} kB\nSwap:             {swap} kB\nVmFlags: rd wr mr mw me ac sd\n"
    );
    let stem = format!("17636500{second:02}000");
    std::fs::write(folder.join(format!("{stem}.smaps")), smaps).unwrap();
    let used = resident << 20;
    let cgroup = format!("memory.usage_in_bytes:{used}\nmemory.limit_in_bytes:{}\n", 64u64 << 20);
    std::fs::write(folder.join(format!("{stem}.cgroup")), cgroup).unwrap();
}

/// Memory that went to swap is not gone, and what came back from there is not new.
#[test]
fn swap_is_beside_rss_and_never_makes_a_process_steady() {
    let said = |steps: &[(u64, u64)]| {
        let folder = tempfile::tempdir().unwrap();
        steps.iter().zip(10..).for_each(|((resident, swapped), second)| swapping(folder.path(), second, *resident, *swapped));
        let report = Command::new(env!("CARGO_BIN_EXE_heaptriage")).arg("report").arg(folder.path()).output().unwrap();
        (text(&[], folder.path()), String::from_utf8(report.stdout).unwrap().replace("\n", " "))
    };
    let (rss, report) = said(&[(60, 0), (60, 20), (60, 40)]);
    assert!(rss.contains("swapped out 40.0 MiB (+40.0 MiB): not in RSS"), "{rss}");
    assert!(rss.lines().any(|line| line.contains(" 1.0 s  60.0 MiB") && line.contains("  20.0 MiB   no dump, statistics")), "{rss}");
    assert!(report.contains("INCONCLUSIVE") && report.contains("while 40.0 MiB went to swap: the process has 40.0 MiB more"), "{report}");
    let (_, report) = said(&[(20, 40), (40, 20), (60, 0)]);
    assert!(report.contains("STEADY") && report.contains("RSS grew by 40.0 MiB, and 40.0 MiB came back from swap"), "{report}");
    let (rss, _) = said(&[(20, 0), (30, 0), (40, 0)]);
    assert!(rss.contains("cgroup uses 40.0 MiB of 64.0 MiB; at this pace it is reached in 2 s"), "{rss}");
    let (rss, _) = said(&[(20, 0), (30, 0), (64, 0)]);
    assert!(rss.contains("cgroup uses 64.0 MiB of 64.0 MiB: it is reached"), "{rss}");
}

/// Poorer evidence is called what it is, and says what it lacks.
#[test]
fn totals_of_other_tools_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&[], &path)
    };
    let pmap = of(
        "pmap.txt",
        "4121:   indexer\nAddress           Kbytes     RSS   Dirty Mode  Mapping\n000055d0c0000000    9000    4000    4000 rw---   [ anon ]\n---------------- ------- ------- ------- \ntotal kB            9000    4000    4000\n",
    );
    assert!(pmap.contains("(pid 4121), 1 snapshot, RSS from pmap"), "{pmap}");
    assert!(pmap.contains("RSS                  3.9 MiB"), "{pmap}");
    let cgroup = of("c.cgroup", "memory.usage_in_bytes:41943040\nmemory.limit_in_bytes:67108864\n");
    assert!(cgroup.contains("RSS not recorded") && cgroup.contains("cgroup uses 40.0 MiB of 64.0 MiB\n"), "{cgroup}");
    assert!(cgroup.contains("how much of the process is resident is not among the inputs"), "{cgroup}");
}

/// Before the first dump nothing counts the live heap: what the dumps say later bounds it, and so does what was resident.
#[test]
fn a_live_heap_before_the_first_dump_is_at_most_what_was_resident() {
    let segments = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/segments");
    let folder = tempfile::tempdir().unwrap();
    for (at, time) in [1795219454001i64, 1795219480765, 1795219485105, 1795219489769, 1795219494065].into_iter().enumerate() {
        let parts: &[&str] = if at == 0 { &["smaps"] } else { &["smaps", "heap"] };
        for part in parts {
            let name = format!("{time}.{part}.gz");
            // The first stands close before the dumps: they span most of the time.
            let to = if at == 0 { format!("1795219476000.{part}.gz") } else { name.clone() };
            std::fs::copy(segments.join(name), folder.path().join(to)).unwrap();
        }
    }
    let json: serde_json::Value = serde_json::from_str(&text(&["--json"], folder.path())).unwrap();
    let rows = json["ledger"]["rows"].as_array().unwrap();
    let first = |kind: &str| rows.iter().find(|row| row["kind"] == kind).and_then(|row| row["bytes"][0].as_i64());
    let live = first("live").unwrap();
    assert!(live > 0 && live <= json["ledger"]["rss"]["bytes"][0].as_i64().unwrap(), "{json}");
    assert_eq!(first("untouched").unwrap_or(0), 0, "nothing counted is missing from what was resident: {json}");
}
