//! `fleet`: what is planted in a fleet is found by the shipped queries, on every engine, from captures on disk.

mod generator;

use generator::{INSTANCES, MIB, NEW, OLD, Planted, REQUESTS, SNAPSHOTS, START_MS, STEP_MS, leaks, name, stem};
use heaptriage::fleet::columns::{Column, decode};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

type Answers = Map<String, Value>;

fn heaptriage(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(args)
        .env_remove("HEAPTRIAGE_DUCKDB")
        .env_remove("HEAPTRIAGE_INSTANCE")
        .env_remove("HEAPTRIAGE_BUILD")
        .output()
        .expect("the built program runs")
}

#[track_caller]
fn good(args: &[&str]) -> String {
    let output = heaptriage(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The Python with the engines. Its absence is a failure where `HEAPTRIAGE_REQUIRE_TOOLS` is set.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("HEAPTRIAGE_PYTHON").map(PathBuf::from);
    assert!(
        python.is_some() || std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(),
        "HEAPTRIAGE_PYTHON must name a Python with duckdb, datafusion and pyarrow"
    );
    if python.is_none() {
        eprintln!("did not run: HEAPTRIAGE_PYTHON names no Python with duckdb and datafusion");
    }
    python
}

fn queries() -> Vec<String> {
    good(&["fleet", "sql"]).lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// All shipped queries on one engine, as the program prints them.
fn ask(python: &Path, engine: &str, root: &Path, work: &Path) -> Answers {
    let setup = work.join(format!("{engine}.sql"));
    std::fs::write(&setup, good(&["fleet", "sql", "--engine", engine, "--root", text(root)])).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/fleet/run_queries.py");
    let mut command = Command::new(python);
    command.arg(script).arg(engine).arg(&setup);
    for query in queries() {
        let path = work.join(format!("{query}.sql"));
        std::fs::write(&path, good(&["fleet", "sql", &query])).unwrap();
        command.arg(format!("{query}={}", path.display()));
    }
    let output = command.output().expect("Python runs");
    assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{engine}: {error}"))
}

fn rows<'a>(answers: &'a Answers, query: &str) -> &'a [Value] {
    answers[query].as_array().unwrap_or_else(|| panic!("{query} has rows"))
}

fn float(row: &Value, column: &str) -> f64 {
    row[column].as_f64().unwrap_or_else(|| panic!("{column} of {row}"))
}

/// Equal but for the last digits of numbers.
#[track_caller]
fn same(left: &Answers, right: &Answers, engines: &str) {
    assert_eq!(left.len(), right.len());
    for (query, rows) in left {
        let (rows, others) = (rows.as_array().unwrap(), right[query].as_array().unwrap());
        assert_eq!(rows.len(), others.len(), "{engines}: rows of {query}");
        for (row, other) in rows.iter().zip(others) {
            let (row, other) = (row.as_object().unwrap(), other.as_object().unwrap());
            assert_eq!(row.keys().collect::<BTreeSet<_>>(), other.keys().collect::<BTreeSet<_>>(), "{engines}: columns of {query}");
            for (column, value) in row {
                let equal = match (value.as_f64(), other[column].as_f64()) {
                    (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 1e-3,
                    _ => *value == other[column],
                };
                assert!(equal, "{engines}: {query}.{column}: {value} and {}", other[column]);
            }
        }
    }
}

/// A fleet of captures and the dataset of it.
fn fleet(folder: &Path) -> (PathBuf, Planted) {
    let planted = generator::write(folder);
    let root = folder.join("dataset");
    for (part, instances) in [("first", 80), ("second", 1)] {
        let said = good(&["fleet", "export", text(&folder.join(part)), "--root", text(&root), "--service", "indexer"]);
        assert!(said.contains(&format!("of {instances} instance")), "{said}");
    }
    (root, planted)
}

#[test]
fn planted_answers_come_from_every_engine() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (root, planted) = fleet(folder.path());
    let duckdb = ask(&python, "duckdb", &root, folder.path());
    check(&duckdb, &planted);
    let datafusion = ask(&python, "datafusion", &root, folder.path());
    same(&duckdb, &datafusion, "DuckDB and DataFusion");
    // Spark takes minutes: .ci/spark asks for it.
    if let Some(spark) = std::env::var_os("HEAPTRIAGE_SPARK") {
        let spark = ask(Path::new(&spark), "spark", &root, folder.path());
        same(&duckdb, &spark, "DuckDB and Spark");
        eprintln!("Spark gave the same answers to {} queries", spark.len());
    }
    for engine in ["duckdb", "datafusion"] {
        per_request(&python, engine, &root, folder.path());
    }
    report(&python, &root, &duckdb);
    compacted(&python, &root, &duckdb, folder.path());
}

fn check(answers: &Answers, planted: &Planted) {
    let overview = rows(answers, "overview");
    assert_eq!(overview.len(), 2);
    let sum = |column: &str| overview.iter().map(|row| float(row, column)).sum::<f64>() as usize;
    assert_eq!((sum("instances"), sum("incarnations"), sum("snapshots")), (INSTANCES, INSTANCES + 1, INSTANCES * SNAPSHOTS));
    assert_eq!(sum("dumps"), INSTANCES * SNAPSHOTS);

    // The leak and nothing else: no vote for sawtooth, warm-up, retention, or the same stack in the old build.
    let leaks_found = rows(answers, "leaks");
    assert_eq!(leaks_found.len(), 1, "{leaks_found:?}");
    let leak = &leaks_found[0];
    assert_eq!((leak["verdict"].as_str(), leak["owner"].as_str()), (Some("leak"), Some("indexer::postings::push")));
    assert_eq!((float(leak, "growing"), float(leak, "falling"), float(leak, "instances")), (30.0, 0.0, 40.0));
    assert_eq!((leak["build_id"].as_str(), leak["since_build"].as_str()), (Some(NEW), Some(NEW)));
    assert_eq!(float(leak, "quiet_builds"), 1.0);
    let per_hour = 2.0 * MIB as f64 * 3_600_000.0 / STEP_MS as f64;
    assert!((float(leak, "bytes_per_hour") / per_hour - 1.0).abs() < 0.01, "{leak}");
    assert!(float(leak, "r2") > 0.99);
    assert_eq!(leak["folded"].as_str(), Some("indexer::main;indexer::serve;indexer::batch::index;indexer::postings::push"));

    let worst = rows(answers, "worst");
    assert_eq!(worst.len(), 20);
    assert_eq!(worst[0]["instance"].as_str(), Some("idx-050"));
    assert!((float(&worst[0], "bytes_per_hour") / (3.0 * per_hour) - 1.0).abs() < 0.01);
    assert!(worst.iter().all(|row| leaks(row["instance"].as_str().unwrap()[4..].parse().unwrap())));

    // Sums over the last snapshots, and the ledger adds up to them.
    let resident = rows(answers, "rss");
    assert_eq!(resident.len(), 2);
    for row in resident {
        let planted = planted.last_rss[usize::from(row["build_id"] == NEW)];
        assert_eq!((float(row, "rss_sum"), float(row, "instances")), (planted as f64, 40.0));
        let ledger: f64 = row
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| name.starts_with("ledger_") && *name != "ledger_rss_sum")
            .map(|(_, v)| v.as_f64().unwrap())
            .sum();
        assert_eq!(ledger, float(row, "ledger_rss_sum"));
        assert_eq!(ledger, planted as f64);
    }
    let retained: f64 = (4.0 * 10.0 + 40.0) * 11.0 * MIB as f64;
    let dirty = |build: &str| float(resident.iter().find(|row| row["build_id"] == build).unwrap(), "ledger_dirty");
    assert_eq!(dirty(OLD) - dirty(NEW), retained);

    let top = rows(answers, "top");
    let heap: f64 = top.iter().map(|row| float(row, "inuse_bytes")).sum();
    assert_eq!(heap, planted.last_heap as f64);
    assert_eq!(top[0]["leaf"].as_str(), Some("indexer::cache::fill"));
    assert!(top.iter().any(|row| row["stack_id"] == "other"), "small stacks are one row");

    let builds = rows(answers, "builds");
    assert_eq!((builds[0]["build_a"].as_str(), builds[0]["build_b"].as_str()), (Some(OLD), Some(NEW)));
    let changed: Vec<&str> = builds.iter().take(3).map(|row| row["leaf"].as_str().unwrap()).collect();
    assert_eq!(changed[..2], ["indexer::postings::push", "indexer::planner::plan"]);
    assert_eq!((float(&builds[1], "bytes_a"), float(&builds[1], "bytes_b")), (0.0, 3.0 * MIB as f64));

    let new: BTreeSet<&str> = rows(answers, "new-stacks").iter().map(|row| row["leaf"].as_str().unwrap()).collect();
    assert_eq!(new, BTreeSet::from(["indexer::planner::plan", "indexer::session::touch"]));

    let above: BTreeMap<&str, Option<&str>> = rows(answers, "outliers")
        .iter()
        .filter(|row| float(row, "score") > 0.0)
        .map(|row| (row["instance"].as_str().unwrap(), row["leaf"].as_str()))
        .collect();
    let expected = ["idx-035", "idx-036", "idx-037", "idx-038", "idx-039"].map(|instance| (instance, None));
    assert_eq!(above, expected.into_iter().chain([("idx-050", Some("indexer::postings::push"))]).collect());

    let retained = rows(answers, "outliers").iter().filter(|row| row["ledger_row"] == "dirty" && row["leaf"].is_null());
    assert_eq!(retained.map(|row| float(row, "row_excess")).sum::<f64>(), (4.0 * 10.0 + 40.0) * 11.0 * MIB as f64);

    let limits = rows(answers, "limits");
    assert_eq!(limits[0]["instance"].as_str(), Some("idx-039"));
    let near: BTreeSet<&str> = limits.iter().map(|row| row["instance"].as_str().unwrap()).collect();
    assert!((35..40).chain(50..80).all(|instance| near.contains(name(instance).as_str())));
}

/// Growth by work, as docs/fleet.md asks for it: the worst instance keeps 6 MiB of a thousand requests.
fn per_request(python: &Path, engine: &str, root: &Path, work: &Path) {
    let setup = work.join(format!("{engine}.sql"));
    let query = work.join("per_request.sql");
    std::fs::write(&query, documented("-- Live heap against work")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/fleet/run_queries.py");
    let output = Command::new(python).arg(script).args([engine, text(&setup)]).arg(format!("work={}", query.display())).output().unwrap();
    assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Answers = serde_json::from_slice(&output.stdout).unwrap();
    let rows = rows(&answers, "work");
    assert_eq!(rows.len(), INSTANCES + 1, "{engine} on {}", root.display());
    assert_eq!(rows[0]["instance"].as_str(), Some("idx-050"), "{engine}");
    let planted = 6.0 * MIB as f64 / REQUESTS as f64;
    assert!((float(&rows[0], "bytes_per_request") / planted - 1.0).abs() < 0.05, "{engine}: {}", rows[0]);
    assert!(float(&rows[0], "r2") > 0.99);
}

/// A block of SQL in docs/fleet.md, by its first line.
fn documented(first: &str) -> String {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet.md")).unwrap();
    let (_, block) = docs.split_once(&format!("```sql\n{first}")).unwrap_or_else(|| panic!("docs/fleet.md has `{first}`"));
    format!("{first}{}", block.split_once("```").unwrap().0)
}

/// `fleet report` says the same, with the program and with the module.
fn report(python: &Path, root: &Path, duckdb: &Answers) {
    let program = python.with_file_name("duckdb");
    assert!(program.is_file() || std::env::var_os("HEAPTRIAGE_REQUIRE_TOOLS").is_none(), "duckdb-cli is not installed");
    for engine in [Some(python), program.is_file().then_some(program.as_path())].into_iter().flatten() {
        let json: Value =
            serde_json::from_str(&good(&["fleet", "report", "--root", text(root), "--duckdb", text(engine), "--json"])).unwrap();
        crate::schemas::conforms("fleet", &json);
        assert_eq!((json["schema"].as_str(), json["verdict"]["kind"].as_str()), (Some("heaptriage/fleet/1"), Some("leak")));
        let answers: Answers = duckdb.keys().map(|query| (query.clone(), json[query.replace('-', "_")].clone())).collect();
        same(duckdb, &answers, &format!("the module and {}", engine.display()));
        let report = good(&["fleet", "report", "--root", text(root), "--duckdb", text(engine)]);
        for part in [
            "LEAK. indexer::postings::push of indexer grows in 30 of 40 instances of build beefbeef",
            "in the build before it no instance",
            "30 of 40",
            "idx-050",
            "heaptriage report idx-050.capture",
            "no leak, retention: freed, kept dirty",
        ] {
            assert!(report.replace('\n', " ").contains(part), "{part} in {report}");
        }
    }
    let none = good(&["fleet", "report", "--root", text(root), "--duckdb", text(python), "--since", "2026-11-21", "--json"]);
    let none: Value = serde_json::from_str(&none).unwrap();
    let snapshots: f64 = none["overview"].as_array().unwrap().iter().map(|row| float(row, "snapshots")).sum();
    let second_day = (0..INSTANCES).flat_map(|i| (0..SNAPSHOTS).map(move |s| stem(i, s))).filter(|ms| *ms >= START_MS + 1_800_000).count();
    assert_eq!(snapshots as usize, second_day, "only the second day");
}

/// The compaction of docs/fleet.md, run as printed: fewer files, the same answers.
fn compacted(python: &Path, root: &Path, duckdb: &Answers, work: &Path) {
    let compact = work.join("compact");
    std::fs::create_dir_all(&compact).unwrap();
    let sql = documented("-- Compaction, DuckDB").replace("/srv/fleet-compact", text(&compact)).replace("/srv/fleet", text(root));
    let script = "import sys, duckdb\nfor part in sys.argv[1].split(';\\n'):\n    part.strip() and duckdb.execute(part)";
    let output = Command::new(python).args(["-c", script, &sql]).output().unwrap();
    assert!(output.status.success(), "{}\n{sql}", String::from_utf8_lossy(&output.stderr));
    let count = |root: &Path| parquet_files(root).len();
    assert!(count(&compact) * 10 < count(root), "{} of {}", count(&compact), count(root));
    same(duckdb, &ask(python, "duckdb", &compact, work), "as exported and compacted");
}

/// All files of tables; nothing else may be there, but what an exporter that still runs has in hand.
fn parquet_files(root: &Path) -> Vec<PathBuf> {
    files(root, false)
}

fn files(root: &Path, running: bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false if entry.extension().is_some_and(|e| e == "parquet") => files.push(entry),
                false => assert!(running || entry.parent().unwrap().ends_with(".locks"), "left behind: {}", entry.display()),
            }
        }
    }
    files.sort();
    files
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    parquet_files(root).into_iter().map(|path| (path.strip_prefix(root).unwrap().to_owned(), std::fs::read(path).unwrap())).collect()
}

fn capture(name: &str) -> (PathBuf, PathBuf) {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    (captures.join(name), captures.join("bin/quarryd"))
}

fn export(inputs: &[&Path], root: &Path, more: &[&str]) -> Vec<String> {
    let (_, binary) = capture("segments");
    let mut args = vec!["-q".to_owned(), "fleet".into(), "export".into()];
    args.extend(inputs.iter().map(|path| text(path).to_owned()));
    args.extend(["--root", text(root), "--service", "quarry", "--binary", text(&binary), "--no-cache"].map(str::to_owned));
    args.extend(more.iter().map(|&word| word.to_owned()));
    args
}

fn run(args: &[String]) -> String {
    good(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn table(root: &Path, table: &str) -> BTreeMap<String, Column> {
    let files: Vec<PathBuf> = parquet_files(&root.join(table));
    assert_eq!(files.len(), 1);
    decode(std::fs::read(&files[0]).unwrap()).unwrap().into_iter().map(|column| (column.name.clone(), column)).collect()
}

/// Bytes and rows of each snapshot in `samples`, and `heap_bytes` of `snapshots`, by time.
fn totals(root: &Path) -> BTreeMap<i64, (i64, i64)> {
    let (samples, snapshots) = (table(root, "samples"), table(root, "snapshots"));
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for row in 0.. {
        let Some(time) = samples["ts_us"].int(row) else { break };
        *sums.entry(time).or_default() += samples["inuse_bytes"].int(row).unwrap();
    }
    (0..)
        .map_while(|row| Some((snapshots["ts_us"].int(row)?, snapshots["heap_bytes"].int(row)?)))
        .map(|(time, heap)| (time, (sums[&time], heap)))
        .collect()
}

#[test]
fn the_same_capture_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, _) = capture("segments");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    run(&export(&[&segments], &one, &[]));
    let first = contents(&one);
    assert_eq!(first.len(), 3);
    let said = run(&export(&[&segments], &one, &[]));
    assert!(said.contains("nothing new"), "{said}");
    run(&export(&[&segments], &two, &["--jobs", "1"]));
    assert_eq!(first, contents(&one));
    assert_eq!(first, contents(&two));
    // Totals add up, though most stacks are one row.
    let totals = totals(&one);
    assert_eq!(totals.len(), 10);
    assert!(totals.values().all(|(sum, heap)| sum == heap), "{totals:?}");
    assert!(first.values().map(Vec::len).sum::<usize>() < 40 << 10);
    let columns = table(&one, "samples");
    for name in [
        "instance",
        "build_id",
        "start_us",
        "snapshot_id",
        "ts_us",
        "stack_id",
        "inuse_bytes",
        "inuse_objects",
        "alloc_bytes",
        "alloc_objects",
    ] {
        assert!(columns.contains_key(name), "{name}");
    }
    assert_eq!(columns["build_id"].text(0).map(str::len), Some(40));
    assert_eq!(table(&one, "snapshots")["counters"].text(0), Some(";requests=5289;documents=2420;segments=251;"));
}

/// A capture that was pruned, or rotated into another directory, takes nothing back of what was exported.
#[test]
fn what_was_exported_stays_when_the_capture_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, _) = capture("segments");
    let (part, root) = (folder.path().join("segments"), folder.path().join("root"));
    std::fs::create_dir(&part).unwrap();
    let mut stems: Vec<String> = std::fs::read_dir(&segments)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".heap"))
        .map(|name| name.split('.').next().unwrap().to_owned())
        .collect();
    stems.sort();
    // With a start that is known, both halves are one incarnation.
    let about = std::fs::read_to_string(segments.join("capture.json")).unwrap();
    let about = about.replacen('{', &format!("{{\"start_unix_ms\": {},", stems[0].parse::<i64>().unwrap() - 5000), 1);
    std::fs::write(part.join("capture.json"), about).unwrap();
    let fill = |stems: &[String]| {
        for entry in std::fs::read_dir(&part).unwrap().map(|entry| entry.unwrap()) {
            if !entry.file_name().to_string_lossy().starts_with("capture") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        for stem in stems {
            for suffix in ["heap.gz", "smaps.gz", "stats.json.gz"] {
                std::fs::copy(segments.join(format!("{stem}.{suffix}")), part.join(format!("{stem}.{suffix}"))).unwrap();
            }
        }
    };
    fill(&stems[..6]);
    run(&export(&[&part], &root, &[]));
    let before = totals(&root);
    assert_eq!(before.len(), 6);
    fill(&stems[4..]);
    run(&export(&[&part], &root, &[]));
    let after = totals(&root);
    assert_eq!(after.len(), 10);
    assert!(after.values().all(|(sum, heap)| sum == heap), "{after:?}");
    assert!(before.iter().all(|(time, (_, heap))| after[time].1 == *heap));
    // And nothing changes when the first half is exported once more.
    let now = contents(&root);
    run(&export(&[&part], &root, &[]));
    assert_eq!(now, contents(&root));
    // A file that cannot be read is not replaced.
    let damaged = parquet_files(&root.join("snapshots")).remove(0);
    std::fs::write(&damaged, b"PAR1 no more").unwrap();
    let args = export(&[&part], &root, &[]);
    let output = heaptriage(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("move it away"));
    assert_eq!(std::fs::read(&damaged).unwrap(), b"PAR1 no more");
}

#[test]
fn exporters_at_the_same_time_leave_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, _) = capture("segments");
    let (feed, _) = capture("front");
    let root = folder.path().join("root");
    let start = |inputs: &[&Path]| {
        Command::new(env!("CARGO_BIN_EXE_heaptriage"))
            .args(export(inputs, &root, &[]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children = [start(&[&segments]), start(&[&segments]), start(&[&feed, &segments]), start(&[&feed])];
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let alone = folder.path().join("alone");
    run(&export(&[&segments, &feed], &alone, &[]));
    assert_eq!(contents(&root), contents(&alone));
}

/// Killed at any moment, beside another exporter of the same incarnations: files are whole or absent, the other is not
/// disturbed, and the next run writes what is missing and leaves nothing else behind. How often: as in the test of `record`.
#[test]
fn killed_exporters_leave_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, _) = capture("segments");
    let (front, _) = capture("front");
    let inputs: &[&Path] = &[&segments, &front];
    let alone = folder.path().join("alone");
    let started = Instant::now();
    run(&export(inputs, &alone, &[]));
    let whole_run = started.elapsed().as_micros() as u64;
    let expected = contents(&alone);
    let kills = std::env::var("HEAPTRIAGE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8_u64);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let (mut killed, mut unfinished) = (0, 0);
    for round in 0..kills {
        let root = folder.path().join(format!("root-{round}"));
        let start = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_heaptriage"));
            command.args(export(inputs, &root, &[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        // Every second round the killed one is alone.
        let other = (round % 2 == 0).then(start);
        let mut victim = start();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_micros(seed % (whole_run * 3 / 2)));
        victim.kill().unwrap();
        killed += u32::from(!victim.wait().unwrap().success());
        if let Some(mut other) = other {
            assert!(other.wait().unwrap().success(), "round {round}: the other exporter failed");
            assert_eq!(contents(&root), expected, "round {round}");
        } else if root.exists() {
            for file in files(&root, true) {
                let table = decode(std::fs::read(&file).unwrap());
                assert!(table.is_ok_and(|columns| !columns.is_empty()), "round {round}: {} is not whole", file.display());
            }
            unfinished += u32::from(files(&root, true).len() < expected.len());
        }
        run(&export(inputs, &root, &[]));
        assert_eq!(contents(&root), expected, "round {round}: after the next run");
        std::fs::remove_dir_all(&root).unwrap();
    }
    println!("{killed} of {kills} exporters were killed, {unfinished} of them with files still to write");
    assert!(killed > 0, "none was killed before it ended");
}

#[test]
fn following_exports_what_comes_and_ends_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, _) = capture("segments");
    let (grows, root) = (folder.path().join("captures"), folder.path().join("root"));
    std::fs::create_dir_all(&grows).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(export(&[&grows], &root, &["--follow", "--every", "100ms"]))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut parts: Vec<PathBuf> = std::fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    let inside = grows.join("pod-1.capture");
    std::fs::create_dir(&inside).unwrap();
    let mut last = 0;
    for half in parts.chunks(parts.len() / 2 + 1) {
        for file in half {
            std::fs::copy(file, inside.join(file.file_name().unwrap())).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let folder = root.join("snapshots");
            let now = match folder.is_dir().then(|| files(&folder, true)).as_deref() {
                Some([file]) => decode(std::fs::read(file).unwrap()).unwrap(),
                _ => Vec::new(),
            };
            let now = (0..).take_while(|&row| now.iter().any(|column| column.name == "ts_us" && column.int(row).is_some())).count();
            if now > last {
                last = now;
                break;
            }
            assert!(Instant::now() < deadline, "nothing was exported");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(totals(&root).len(), 10);
    assert_eq!(table(&root, "snapshots")["instance"].text(0), Some("pod-1"));
}

#[test]
fn one_capture_as_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, binary) = capture("segments");
    let out = folder.path().join("segments.parquet");
    let convert = |more: &[&str]| {
        let mut args = vec!["-q", "convert", text(&segments), "--binary", text(&binary), "--no-cache", "-o", text(&out)];
        args.extend(more);
        good(&args);
        let columns = decode(std::fs::read(&out).unwrap()).unwrap();
        columns.into_iter().map(|column| (column.name.clone(), column)).collect::<BTreeMap<_, _>>()
    };
    let all = convert(&[]);
    let count = |columns: &BTreeMap<String, Column>| (0..).take_while(|&row| columns["inuse_bytes"].int(row).is_some()).count();
    let mut times = BTreeSet::new();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in 0..count(&all) {
        times.insert(all["ts_us"].int(row).unwrap());
        *sums.entry(all["snapshot"].text(row).unwrap().to_owned()).or_default() += all["inuse_bytes"].int(row).unwrap();
        assert!(all["folded"].text(row).unwrap().ends_with(all["leaf"].text(row).unwrap()));
        assert_eq!(all["stack_id"].text(row).unwrap().len(), 32);
    }
    assert_eq!(times.len(), 10);
    // The same total as the JSON of the last dump.
    let json: Value = serde_json::from_str(&good(&[
        "-q",
        "convert",
        text(&segments),
        "--binary",
        text(&binary),
        "--no-cache",
        "--to",
        "json",
        "-o",
        "-",
    ]))
    .unwrap();
    assert_eq!(sums.values().next_back().copied(), json["total"]["inuse_bytes"].as_i64());
    let first = convert(&["--snapshot", "1"]);
    assert_eq!((0..count(&first)).map(|row| first["snapshot"].text(row).unwrap()).collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn what_cannot_be_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (segments, _) = capture("segments");
    let bad = |args: &[&str], expected: &str| {
        let output = heaptriage(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(expected), "{expected} in {said}");
    };
    let root = folder.path().join("root");
    bad(&["fleet", "export", text(&segments), "--root", text(&root), "--service", "../x"], "begins with a letter or digit");
    bad(&["fleet", "export", text(&folder.path().join("gone")), "--root", text(&root), "--service", "x"], "nothing was exported");
    assert!(!root.join("snapshots").exists());
    bad(&["fleet", "sql", "leeks"], "there are overview, leaks");
    bad(&["fleet", "sql", "leaks", "--service", "x"], "add --engine and --root");
    bad(&["fleet", "report", "--root", text(&root)], "is no dataset");
    std::fs::create_dir_all(root.join("snapshots")).unwrap();
    bad(&["fleet", "report", "--root", text(&root), "--duckdb", "/nonexistent/duckdb"], "is no DuckDB");
    let output = Command::new(env!("CARGO_BIN_EXE_heaptriage"))
        .args(["fleet", "report", "--root", text(&root)])
        .env_remove("HEAPTRIAGE_DUCKDB")
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("pip install duckdb"), "{said}");
}
