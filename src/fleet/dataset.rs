//! The files of the dataset: where rows go, and how they get there whole.
//!
//! - **Idempotent.** The same capture gives the same bytes under the same names; a file that has them already is not touched.
//! - **Nothing is lost.** A capture that was rotated or pruned is exported over what was exported before: snapshots that
//!   the file has and the capture no longer has stay.
//! - **Whole or absent.** Written beside the target, synced, renamed.
//! - **Many writers.** Incarnations have files of their own. Two exporters of one incarnation take turns by a lock in
//!   `ROOT/.locks`; where a file system has no locks, give each incarnation one exporter.

use crate::analysis::export::Amount;
use crate::analysis::finding::fingerprint;
use crate::fleet::columns::{Column, Values, decode, encode};
use crate::fleet::rows::{Batch, FIGURES, Incarnation, SampleRow, SnapshotRow, StackRow};
use crate::fleet::stack::stack_id;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The tables, by the name of their folders; in the order they are written: names are there before what refers to them.
pub const TABLES: [&str; 3] = ["stacks", "samples", "snapshots"];

/// A dataset on disk.
#[derive(Clone, Debug)]
pub struct Dataset {
    root: PathBuf,
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file or folder.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// A file of an earlier export that cannot be read: it would be lost if it were replaced.
    #[error("{} is not readable as Parquet: {error}\n  help: move it away, then export again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What the reader said.
        error: parquet::errors::ParquetError,
    },
    /// The rows cannot be encoded.
    #[error("cannot encode the rows: {0}")]
    Encode(#[from] parquet::errors::ParquetError),
}

/// What one export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Snapshots of the capture.
    pub snapshots: u64,
    /// Rows of `samples` in the files that the capture's snapshots are in.
    pub samples: u64,
    /// Rows of `stacks` in them.
    pub stacks: u64,
    /// Files whose content changed.
    pub files: u64,
    /// Files that had the content already.
    pub unchanged: u64,
    /// Bytes of these files together.
    pub bytes: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Written) {
        self.snapshots += other.snapshots;
        self.samples += other.samples;
        self.stacks += other.stacks;
        self.files += other.files;
        self.unchanged += other.unchanged;
        self.bytes += other.bytes;
    }
}

impl Dataset {
    /// The dataset below a folder, which is made when something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Dataset { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Adds what a process has to say.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a damaged file in the place of one to be written.
    pub fn write(&self, batch: &Batch) -> Result<Written, DatasetError> {
        let mut written = Written::default();
        let dates: BTreeSet<String> = batch.snapshots.iter().map(|snapshot| date(snapshot.ts_us)).collect();
        for day in dates {
            written += self.write_day(batch.only(|snapshot| date(snapshot.ts_us) == day), &day)?;
        }
        Ok(written)
    }

    fn write_day(&self, batch: Batch, day: &str) -> Result<Written, DatasetError> {
        let name = file_name(&batch.of);
        let path =
            |table: &str| self.root.join(table).join(format!("service={}", batch.of.service)).join(format!("date={day}")).join(&name);
        let paths = TABLES.map(path);
        for folder in paths.iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        let turn = self.lock(&paths[0])?;
        let mut written = Written { snapshots: batch.snapshots.len() as u64, ..Written::default() };
        let batch = match earlier(&paths, &batch)? {
            Some(earlier) => merged(earlier, batch),
            None => batch,
        };
        written.samples = batch.samples.len() as u64;
        written.stacks = batch.stacks.len() as u64;
        for ((table, columns), path) in TABLES.iter().zip(tables(&batch)).zip(&paths) {
            let bytes = encode(table, &columns)?;
            written.bytes += bytes.len() as u64;
            if fs::read(path).is_ok_and(|old| old == bytes) {
                written.unchanged += 1;
                continue;
            }
            put(path, &bytes, turn.is_alone).map_err(io(path))?;
            written.files += 1;
        }
        Ok(written)
    }

    /// Holds off other exporters of the same file; 256 locks for all files.
    fn lock(&self, path: &Path) -> Result<Turn, DatasetError> {
        let folder = self.root.join(".locks");
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy();
        let path = folder.join(&stack_id(&name)[..2]);
        let file = File::options().create(true).append(true).open(&path).map_err(io(&path))?;
        // A file system without locks: one exporter an incarnation is the user's own affair.
        let is_alone = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).is_ok();
        Ok(Turn { is_alone, _lock: file })
    }
}

/// The right to write the files of an incarnation and day; it ends when this is dropped, or the process is.
struct Turn {
    /// Whether the file system has locks.
    is_alone: bool,
    _lock: File,
}

fn io(path: &Path) -> impl Fn(io::Error) -> DatasetError + '_ {
    |error| DatasetError::Io { path: path.to_owned(), error }
}

/// Beside, synced, renamed. The name begins with a dot and ends otherwise: no engine takes it for a table's file.
///
/// Who is alone uses one name for it, so that what a killed exporter left is replaced by the next, which has the same to write.
fn put(path: &Path, bytes: &[u8], is_alone: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if is_alone {
        let beside = folder.join(format!(".heaptriage-{}.tmp", path.file_name().unwrap_or_default().to_string_lossy()));
        let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        return written;
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".heaptriage-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A file that was not there, or was left behind; never one that a link leads to.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Day in UTC, as the partition is called.
pub fn date(ts_us: i64) -> String {
    match jiff::Timestamp::from_microsecond(ts_us) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        // Outside of the years -9999 to 9999.
        Err(_) => "0000-00-00".into(),
    }
}

/// One file per incarnation: readable, and different where instances are.
fn file_name(of: &Incarnation) -> String {
    let safe: String = of.instance.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(80).collect();
    let hash = &stack_id(&of.instance)[..8];
    format!("{}-{}-{hash}.parquet", safe.trim_start_matches(['.', '_', '-']), of.start_us)
}

/// Id of a snapshot: the same wherever it is exported from.
pub fn snapshot_id(of: &Incarnation, ts_us: i64) -> String {
    fingerprint([of.service.as_str(), &of.instance, &of.start_us.to_string(), &ts_us.to_string()])
}

/// The columns of the three tables, in the order of [`TABLES`].
fn tables(batch: &Batch) -> [Vec<Column>; 3] {
    let of = &batch.of;
    let stacks = &batch.stacks;
    let text = |get: fn(&StackRow) -> &str, name: &str| Column::texts(name, stacks.iter().map(get));
    let stacks = vec![
        text(|s| &s.stack_id, "stack_id"),
        text(|s| &s.leaf, "leaf"),
        text(|s| &s.owner, "owner"),
        text(|s| &s.krate, "crate"),
        Column::new("frames", Values::Ints(stacks.iter().map(|s| s.frames).collect())),
        text(|s| &s.folded, "folded"),
    ];
    let ids: Vec<String> = batch.snapshots.iter().map(|snapshot| snapshot_id(of, snapshot.ts_us)).collect();
    let [samples, snapshots] = [batch.samples.len(), batch.snapshots.len()];
    let time = |sample: &SampleRow| batch.snapshots[sample.snapshot as usize].ts_us;
    let each = |get: &dyn Fn(&SampleRow) -> i64| batch.samples.iter().map(get).collect::<Vec<i64>>();
    let allocated = |get: fn(Amount) -> i64| batch.samples.iter().map(|sample| sample.allocated.map(get)).collect::<Vec<Option<i64>>>();
    let sample_columns = vec![
        Column::constant("instance", &of.instance, samples),
        Column::constant("build_id", &of.build_id, samples),
        Column::new("start_us", Values::Ints(vec![of.start_us; samples])),
        Column::new("snapshot_id", Values::Texts(ids.clone(), batch.samples.iter().map(|sample| sample.snapshot).collect())),
        Column::new("ts_us", Values::Ints(each(&time))),
        Column::new(
            "stack_id",
            Values::Texts(batch.stacks.iter().map(|s| s.stack_id.clone()).collect(), batch.samples.iter().map(|s| s.stack).collect()),
        ),
        Column::new("inuse_bytes", Values::Levels(each(&|sample| sample.live.bytes))),
        Column::new("inuse_objects", Values::Levels(each(&|sample| sample.live.objects))),
        Column::new("alloc_bytes", Values::Optional(allocated(|amount| amount.bytes))),
        Column::new("alloc_objects", Values::Optional(allocated(|amount| amount.objects))),
    ];
    let mut snapshot_columns = vec![
        Column::constant("instance", &of.instance, snapshots),
        Column::constant("build_id", &of.build_id, snapshots),
        Column::new("start_us", Values::Ints(vec![of.start_us; snapshots])),
        Column::constant("process", &of.process, snapshots),
        Column::texts("snapshot_id", ids.iter().map(String::as_str)),
        Column::new("ts_us", Values::Ints(batch.snapshots.iter().map(|snapshot| snapshot.ts_us).collect())),
        Column::texts("counters", batch.snapshots.iter().map(|snapshot| snapshot.counters.as_str())),
    ];
    for (at, name) in FIGURES.iter().enumerate() {
        let values = batch.snapshots.iter().map(|snapshot| snapshot.figures[at]).collect();
        snapshot_columns.push(Column::new(name, Values::Optional(values)));
    }
    [stacks, sample_columns, snapshot_columns]
}

/// What is in the files now, as far as the new rows do not say it all; `None` when nothing of it is needed.
fn earlier(paths: &[PathBuf; 3], new: &Batch) -> Result<Option<Batch>, DatasetError> {
    let [stacks, samples, snapshots] = paths;
    let Some(rows) = table(snapshots)? else { return Ok(None) };
    let rows = snapshot_rows(&rows);
    let known: HashMap<i64, &SnapshotRow> = new.snapshots.iter().map(|row| (row.ts_us, row)).collect();
    let says_all = |old: &SnapshotRow| {
        known.get(&old.ts_us).is_some_and(|new| {
            let figures = old.figures.iter().zip(&new.figures).all(|(old, new)| old.is_none() || new.is_some());
            figures && (old.counters.is_empty() || !new.counters.is_empty())
        })
    };
    if rows.iter().all(says_all) {
        return Ok(None);
    }
    let mut batch = Batch { of: new.of.clone(), snapshots: rows, ..Batch::default() };
    let (Some(stacks), Some(samples)) = (table(stacks)?, table(samples)?) else { return Ok(Some(batch)) };
    let column = |table: &HashMap<String, Column>, name: &str| table.get(name).cloned().unwrap_or_else(|| Column::constant(name, "", 0));
    let [id, leaf, owner, krate, frames, folded] =
        ["stack_id", "leaf", "owner", "crate", "frames", "folded"].map(|name| column(&stacks, name));
    for row in 0.. {
        let Some(stack_id) = id.text(row) else { break };
        let text = |column: &Column| column.text(row).unwrap_or_default().to_owned();
        batch.stacks.push(StackRow {
            stack_id: stack_id.to_owned(),
            leaf: text(&leaf),
            owner: text(&owner),
            krate: text(&krate),
            frames: frames.int(row).unwrap_or(0),
            folded: text(&folded),
        });
    }
    let places: HashMap<i64, u32> = batch.snapshots.iter().zip(0..).map(|(snapshot, at)| (snapshot.ts_us, at)).collect();
    let names: HashMap<String, u32> = batch.stacks.iter().zip(0..).map(|(stack, at)| (stack.stack_id.clone(), at)).collect();
    let [time, stack, bytes, objects, all_bytes, all_objects] =
        ["ts_us", "stack_id", "inuse_bytes", "inuse_objects", "alloc_bytes", "alloc_objects"].map(|name| column(&samples, name));
    for row in 0.. {
        let (Some(ts_us), Some(id)) = (time.int(row), stack.text(row)) else { break };
        let (Some(&snapshot), Some(&stack)) = (places.get(&ts_us), names.get(id)) else { continue };
        let live = Amount { bytes: bytes.int(row).unwrap_or(0), objects: objects.int(row).unwrap_or(0) };
        let allocated = all_bytes.int(row).map(|bytes| Amount { bytes, objects: all_objects.int(row).unwrap_or(0) });
        batch.samples.push(SampleRow { snapshot, stack, live, allocated });
    }
    Ok(Some(batch))
}

fn snapshot_rows(table: &HashMap<String, Column>) -> Vec<SnapshotRow> {
    let Some(times) = table.get("ts_us") else { return Vec::new() };
    let figures = FIGURES.map(|name| table.get(name));
    (0..)
        .map_while(|row| {
            let figures = figures.map(|column| column.and_then(|column| column.int(row)));
            let counters = table.get("counters").and_then(|column| column.text(row)).unwrap_or_default().to_owned();
            Some(SnapshotRow { ts_us: times.int(row)?, counters, figures })
        })
        .collect()
}

/// The columns of a file by name; `None` when there is none.
fn table(path: &Path) -> Result<Option<HashMap<String, Column>>, DatasetError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DatasetError::Io { path: path.to_owned(), error }),
    };
    let columns = decode(bytes).map_err(|error| DatasetError::Damaged { path: path.to_owned(), error })?;
    Ok(Some(columns.into_iter().map(|column| (column.name.clone(), column)).collect()))
}

/// Old rows with new ones over them: a snapshot that is in both is the new one, and keeps old figures that the new one
/// lacks; its samples are the new ones where there is a dump.
fn merged(old: Batch, new: Batch) -> Batch {
    let mut snapshots: BTreeMap<i64, SnapshotRow> = old.snapshots.iter().map(|row| (row.ts_us, row.clone())).collect();
    let mut replaced: BTreeSet<i64> = BTreeSet::new();
    for row in &new.snapshots {
        if row.has_heap() {
            replaced.insert(row.ts_us);
        }
        let known = snapshots.entry(row.ts_us).or_insert_with(|| row.clone());
        for (old, new) in known.figures.iter_mut().zip(&row.figures) {
            *old = new.or(*old);
        }
        if !row.counters.is_empty() {
            known.counters.clone_from(&row.counters);
        }
    }
    let kept = old.only(|row| !replaced.contains(&row.ts_us));
    let mut result = Batch { of: new.of.clone(), snapshots: snapshots.into_values().collect(), ..Batch::default() };
    let places: HashMap<i64, u32> = result.snapshots.iter().zip(0..).map(|(row, at)| (row.ts_us, at)).collect();
    let mut names: HashMap<String, u32> = HashMap::new();
    for part in [kept, new] {
        for sample in &part.samples {
            let stack = &part.stacks[sample.stack as usize];
            let Some(&snapshot) = places.get(&part.snapshots[sample.snapshot as usize].ts_us) else { continue };
            let stack = match names.get(&stack.stack_id) {
                Some(&at) => at,
                None => {
                    let at = result.stacks.len() as u32;
                    names.insert(stack.stack_id.clone(), at);
                    result.stacks.push(stack.clone());
                    at
                }
            };
            result.samples.push(SampleRow { snapshot, stack, ..*sample });
        }
    }
    result.sort();
    result
}
