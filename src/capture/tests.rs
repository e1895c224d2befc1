//! Captures made by hand in a temporary directory.

use super::*;
use crate::model::snapshot::TimeSource;
use crate::units::Bytes;
use std::fs;
use std::path::Path;

fn smaps(base: u64, rss: u64) -> String {
    format!(
        "{base:x}000-{:x}000 r-xp 00000000 fe:00 5    /srv/app\nSize: 4 kB\nRss: 4 kB\nVmFlags: rd ex\n7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \nSize: 4096 kB\nRss: {rss} kB\nVmFlags: rd wr nr\n",
        base + 1
    )
}

fn dump(base: u64, objects: u64) -> String {
    let address = base * 0x1000 + 0x10;
    format!(
        "heap_v2/65536\n  t*: {objects}: {0} [0: 0]\n@ {address:#x}\n  t*: {objects}: {0} [0: 0]\n\nMAPPED_LIBRARIES:\n{base:x}000-{1:x}000 r-xp 00000000 fe:00 5    /srv/app\n",
        objects * 64,
        base + 1
    )
}

fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn opened(inputs: &[PathBuf]) -> Opened {
    open(inputs, &OpenOptions::default()).unwrap()
}

#[track_caller]
fn says(opened: &Opened, words: &str) {
    assert!(opened.notices.iter().any(|n| n.to_string().contains(words)), "{words} not in {:#?}", opened.notices);
}

const T: i64 = 1_763_650_000_000;

#[test]
fn parts_with_one_stem_are_one_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &format!("{T}.heap"), dump(0x5500, 3));
    write(dir.path(), &format!("{T}.smaps"), smaps(0x5500, 100));
    write(dir.path(), &format!("{T}.stats.json"), r#"{"jemalloc":{"version":"5.3.0-0-gx","stats":{"allocated":7}}}"#);
    write(dir.path(), &format!("{T}.cgroup"), "memory.current 5\nmemory.max max\n");
    write(dir.path(), &format!("{}.heap", T + 1000), dump(0x5500, 5));
    write(dir.path(), "counters.csv", format!("unix_ms,requests\n{T},1\n{},2\n", T + 1000));
    write(dir.path(), "capture.json", r#"{"pid": 7, "exe": "/srv/app", "bin": "../bin/app"}"#);
    write(dir.path(), "README", "notes");
    let opened = opened(&[dir.path().to_owned()]);
    let [first, second] = opened.timeline.snapshots.as_slice() else { panic!("{:#?}", opened.timeline.snapshots) };
    assert_eq!(first.memory.as_ref().unwrap().total.rss, Bytes::from_kib(104));
    assert_eq!(first.stats.as_ref().unwrap().allocated, Some(Bytes::new(7)));
    assert_eq!((first.unix_ms, first.time_source, first.name.as_str()), (T, TimeSource::Name, "1763650000000"));
    assert_eq!((first.counters.as_slice(), second.counters.as_slice()), (&[Some(1.0)][..], &[Some(2.0)][..]));
    assert_eq!(second.heap.as_ref().unwrap().samples[0].stack, first.heap.as_ref().unwrap().samples[0].stack);
    assert!(second.memory.is_none());
    assert_eq!(opened.timeline.process.name.as_deref(), Some("app"));
    says(&opened, "1 file is of no known kind and passed over: README");
    says(&opened, "not inside the capture");
}

#[test]
fn loose_files_in_any_order_and_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let later = write(dir.path(), &format!("b-{}.heap", T + 5000), dump(0x5500, 9));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, dump(0x5500, 3).as_bytes()).unwrap();
    let first = write(dir.path(), &format!("a-{T}.heap.gz"), gzip.finish().unwrap());
    let opened = opened(&[later, first]);
    let objects: Vec<u64> = opened.timeline.snapshots.iter().map(|s| s.heap.as_ref().unwrap().samples[0].live.objects).collect();
    assert_eq!(objects, [3, 9]);
    assert!(opened.notices.is_empty(), "{:?}", opened.notices);
}

#[test]
fn patterns_find_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "p.7.10.m1.heap", dump(0x5500, 10));
    write(dir.path(), "p.7.9.m0.heap", dump(0x5500, 9));
    let opened = opened(&[dir.path().join("p.*.heap")]);
    let names: Vec<&str> = opened.timeline.snapshots.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["p.7.9.m0", "p.7.10.m1"]);
    assert_eq!(opened.timeline.snapshots[0].time_source, TimeSource::Sequence);
    assert_eq!(opened.timeline.process.pid, Some(7));
    says(&opened, "sequence number");
}

#[test]
fn a_series_is_many_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..4).map(|i| format!("{}\n{}\n", T / 1000 + i * 10, smaps(0x5500, 100 + i as u64))).collect();
    let opened = opened(&[write(dir.path(), "series.txt", &text)]);
    let rss: Vec<u64> = opened.timeline.snapshots.iter().map(|s| s.memory.as_ref().unwrap().total.rss.get() >> 10).collect();
    assert_eq!(rss, [104, 105, 106, 107]);
    assert_eq!(opened.timeline.snapshots[3].unix_ms, T + 30_000);
    let text: String = (0..3).map(|i| smaps(0x5500, 100 + i)).collect();
    let opened = super::open(&[write(dir.path(), "bare.txt", &text)], &OpenOptions::default()).unwrap();
    assert_eq!(opened.timeline.snapshots.len(), 3);
    assert_eq!(opened.timeline.snapshots[0].time_source, TimeSource::ArgumentOrder);
    says(&opened, "carry no times");
}

#[test]
fn a_clock_that_goes_back_keeps_the_order_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let times = [0, 10, -3580, -3570];
    let text: String = times.iter().enumerate().map(|(i, t)| format!("{}\n{}\n", T / 1000 + t, smaps(0x5500, 100 + i as u64))).collect();
    let opened = opened(&[write(dir.path(), "series.txt", &text)]);
    let times: Vec<i64> = opened.timeline.snapshots.iter().map(|s| s.unix_ms - T).collect();
    assert_eq!(times, [0, 10_000, 20_000, 30_000]);
    says(&opened, "the clock goes back by 3590.0 s before text 3");
}

#[test]
fn another_run_of_the_program_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    for (i, base) in [0x5500, 0x5500, 0x5600].into_iter().enumerate() {
        write(dir.path(), &format!("{}.heap", T + 1000 * i as i64), dump(base, 3));
    }
    let opened = opened(&[dir.path().to_owned()]);
    assert_eq!(opened.timeline.snapshots.len(), 2);
    assert_eq!(opened.timeline.stacks.len(), 1);
    says(&opened, "1 snapshot (1763650002000.heap) is of another process or an earlier or later run");
}

#[test]
fn smaps_of_another_process_under_the_same_stem_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &format!("{T}.heap"), dump(0x5500, 3));
    write(dir.path(), &format!("{T}.smaps"), smaps(0x5600, 3));
    let opened = opened(&[dir.path().to_owned()]);
    assert!(opened.timeline.snapshots[0].memory.is_none());
    says(&opened, "is of another process (app at 0x5600000) than the dump");
}

#[test]
fn bad_files_do_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &format!("{T}.heap"), "");
    write(dir.path(), &format!("{}.heap", T + 1), dump(0x5500, 3));
    write(dir.path(), &format!("{}.smaps", T + 1), "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n");
    let missing = dir.path().join("missing.heap");
    let opened = opened(&[dir.path().to_owned(), missing.clone()]);
    assert_eq!(opened.timeline.snapshots.len(), 1);
    says(&opened, "1763650000000.heap: is empty");
    says(&opened, "no such file");
    let error = open(&[missing], &OpenOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with("no such file: check the path"), "{error}");
}

#[test]
fn links_out_of_a_capture_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = write(dir.path(), "secret.heap", dump(0x5500, 3));
    let capture = dir.path().join("capture");
    fs::create_dir(&capture).unwrap();
    std::os::unix::fs::symlink(&outside, capture.join(format!("{T}.heap"))).unwrap();
    std::os::unix::fs::symlink("/", capture.join("bin")).unwrap();
    write(&capture, &format!("{}.heap", T + 1), dump(0x5500, 3));
    std::os::unix::fs::symlink(format!("{}.heap", T + 1), capture.join(format!("{}.heap", T + 2))).unwrap();
    let opened = opened(&[capture]);
    assert_eq!(opened.timeline.snapshots.len(), 2);
    assert!(opened.bin_dirs.is_empty());
    says(&opened, "link to outside of the capture");
}
