//! Resolved addresses kept on disk by build-id, for binaries whose debug information takes long to read.
//!
//! One file per binary, with every address ever asked for. A file is believed only when it is whole
//! (length and checksum), of this version, and made from the same files (sizes and times of change);
//! anything else is as good as none, and is written anew. Files appear by rename, so two processes
//! never see half of one; where both write, the last one stays and the other's addresses are looked up again.
//!
//! ```text
//!   magic, version | length, CRC-32 of the rest | stamp of the files | names, files | addresses, frames
//! ```
//!
//! Numbers are little-endian; texts have their length in front.

use super::locate::Located;
use super::resolve::{Resolved, ResolvedFrame};
use crate::address::Svma;
use crate::binary::elf::ElfFile;
use crate::binary::lookup::Origin;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Start of every file; the version goes up with every change of the format or of what is resolved.
const MAGIC: &[u8; 8] = b"htsyms\0\x01";
/// Extension of the files.
const EXTENSION: &str = "syms";
/// Bytes of `.debug_info` from which on a cache is kept. A pass over this much takes some 40 ms at 400 MB/s; the threshold itself has not been tuned.
const WORTHWHILE: u64 = 16 << 20;
/// The same for a whole result: finding one out costs some 45 ms of processor time a MiB, reading it back less than 1 ms.
const RESULT_WORTHWHILE: u64 = 1 << 20;
/// Largest file that is written or read.
const LARGEST_FILE: u64 = 64 << 20;
/// Bytes of all files together; the longest unused go first.
const LARGEST_CACHE: u64 = 512 << 20;
/// A file that is used again is marked as used unless it was within this time: its time of change is that of its use.
const STALE: Duration = Duration::from_secs(3600);
/// Bytes in front of the checked part.
const HEADER: usize = MAGIC.len() + 8 + 4;

/// What was known of a binary, and where to keep it.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    stamp: Vec<u8>,
    known: Option<Known>,
}

/// The content of a file.
#[derive(Debug)]
struct Known {
    resolved: Resolved,
    /// Position of each address in `resolved`.
    positions: HashMap<Svma, u32, FxBuildHasher>,
    addresses: Vec<Svma>,
}

impl Cache {
    /// The cache of a binary in a directory; `None` where it would not pay, or nothing identifies the binary.
    pub fn open(dir: &Path, found: &Located, inlines: bool) -> Option<Self> {
        if !found.proven || found.debug_file().section_size(".debug_info") < WORTHWHILE {
            return None;
        }
        let name = format!("{}{}.{EXTENSION}", found.build_id.as_ref()?, if inlines { "" } else { "-flat" });
        let path = dir.join(name);
        let stamp = stamp(found);
        let known = read(&path).and_then(|bytes| decode(&bytes, &stamp));
        if known.is_some() {
            mark_used(&path);
        }
        Some(Cache { path, stamp, known })
    }

    /// The addresses that are not known yet.
    pub fn missing(&self, addresses: &[Svma]) -> Vec<Svma> {
        let known = |address: &&Svma| self.known.as_ref().is_some_and(|known| known.positions.contains_key(*address));
        addresses.iter().filter(|address| !known(address)).copied().collect()
    }

    /// The addresses in their order, from what was known and from `new`, which holds those that were missing.
    pub fn merge(&self, addresses: &[Svma], missing: &[Svma], new: Resolved) -> Resolved {
        let Some(known) = &self.known else { return new };
        // What is said of the file is said of these addresses alone, whatever was asked for before.
        let fresh: HashMap<Svma, u32, FxBuildHasher> = missing.iter().zip(0..).map(|(&address, at)| (address, at)).collect();
        let mut merged = Resolved::default();
        let mut from_known = Translation::default();
        let mut from_new = Translation::default();
        for address in addresses {
            match (known.positions.get(address), fresh.get(address)) {
                (Some(&at), _) => from_known.append(&known.resolved, at as usize, &mut merged),
                (None, Some(&at)) => from_new.append(&new, at as usize, &mut merged),
                (None, None) => merged.end(Origin::default()),
            }
        }
        merged
    }

    /// Keeps everything that is known now. A cache that cannot be written is no trouble: the next run looks up again.
    pub fn store(&self, addresses: &[Svma], merged: &Resolved) {
        let mut all = Resolved::default();
        let mut listed = Vec::new();
        if let Some(known) = &self.known {
            let now: HashMap<Svma, (), FxBuildHasher> = addresses.iter().map(|&address| (address, ())).collect();
            let mut translation = Translation::default();
            for (at, &address) in known.addresses.iter().enumerate().filter(|(_, address)| !now.contains_key(*address)) {
                translation.append(&known.resolved, at, &mut all);
                listed.push(address);
            }
        }
        let mut translation = Translation::default();
        for (at, &address) in addresses.iter().enumerate() {
            translation.append(merged, at, &mut all);
            listed.push(address);
        }
        let _ = write(&self.path, &encode(&self.stamp, &listed, &all));
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if bytes.len() as u64 > LARGEST_FILE {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    make_room(dir, bytes.len() as u64);
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// A result of one binary, kept whole: an answer to `question`, which includes the version of the program.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// What the answer depends on: the question, sizes and times of change of the files.
    stamp: Vec<u8>,
}

/// Start of files with a whole result.
const KEPT_MAGIC: &[u8; 8] = b"htkept\0\x01";

impl Kept {
    /// Where the answer for a binary is kept; `None` where it would not pay, or nothing identifies the binary. `files` are
    /// those that the answer is read from: the binary first, others where they are there.
    pub fn open(dir: &Path, files: &[&Path], question: &[&str]) -> Option<Self> {
        let opened: Vec<ElfFile> = files.iter().filter_map(|file| ElfFile::open(file).ok()).collect();
        let id = opened.first()?.build_id()?.clone();
        if opened.iter().map(|file| file.section_size(".debug_info").max(file.section_size(".debug_info.dwo"))).max()? < RESULT_WORTHWHILE {
            return None;
        }
        let mut stamp = Vec::new();
        for text in question {
            stamp.extend((text.len() as u64).to_le_bytes());
            stamp.extend(text.as_bytes());
        }
        let asked = checksum(&stamp);
        for file in opened.iter().map(ElfFile::file) {
            stamp.extend((file.bytes().len() as u64).to_le_bytes());
            stamp.extend(nanoseconds(file.modified()).to_le_bytes());
        }
        Some(Kept { path: dir.join(format!("{id}-{asked:08x}.{EXTENSION}")), stamp })
    }

    /// The answer, where it is known.
    pub fn read(&self) -> Option<Vec<u8>> {
        let bytes = read(&self.path)?;
        let mut header = Reader(&bytes);
        let whole = header.take(KEPT_MAGIC.len())? == KEPT_MAGIC && header.number()? == bytes.len().checked_sub(HEADER)? as u64;
        if !whole || header.short()? != checksum(header.0) || header.text()? != self.stamp {
            return None;
        }
        mark_used(&self.path);
        Some(header.0.to_vec())
    }

    /// Keeps an answer. One that cannot be written is no trouble: the next run finds it out again.
    pub fn store(&self, answer: &[u8]) {
        let mut body = (self.stamp.len() as u64).to_le_bytes().to_vec();
        body.extend(&self.stamp);
        body.extend(answer);
        let mut bytes = KEPT_MAGIC.to_vec();
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(checksum(&body).to_le_bytes());
        bytes.extend(body);
        let _ = write(&self.path, &bytes);
    }
}

/// Removes every file of the cache; how many there were, and how many bytes.
///
/// # Errors
/// When the directory or a file cannot be removed; a directory that is not there is empty.
pub fn clear(dir: &Path) -> std::io::Result<(usize, u64)> {
    let files = match files(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        files => files?,
    };
    let mut bytes = 0;
    for (path, len, _) in &files {
        std::fs::remove_file(path)?;
        bytes += len;
    }
    Ok((files.len(), bytes))
}

/// The files of the cache with their size and time of change, the oldest first.
fn files(dir: &Path) -> std::io::Result<Vec<(PathBuf, u64, u128)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let metadata = entry.metadata()?;
        if metadata.is_file() && path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push((path, metadata.len(), nanoseconds(metadata.modified().ok())));
        }
    }
    found.sort_by_key(|(path, _, modified)| (*modified, path.clone()));
    Ok(found)
}

fn make_room(dir: &Path, wanted: u64) {
    let Ok(files) = files(dir) else { return };
    let mut total = files.iter().fold(wanted, |total, (_, len, _)| total.saturating_add(*len));
    for (path, len, _) in files {
        if total <= LARGEST_CACHE {
            break;
        }
        if std::fs::remove_file(path).is_ok() {
            total -= len;
        }
    }
}

fn nanoseconds(time: Option<SystemTime>) -> u128 {
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos())
}

/// Sizes and times of change of the files that names come from: a debug file that is installed later changes it.
fn stamp(found: &Located) -> Vec<u8> {
    let mut stamp = Vec::new();
    let fixed = [Some(&found.binary), found.debug.as_ref(), found.alternate.as_ref(), found.package.as_ref()];
    let mut add = |file: Option<&ElfFile>| {
        let file = file.map(ElfFile::file);
        stamp.extend(file.map_or(0, |file| file.bytes().len() as u64).to_le_bytes());
        stamp.extend(nanoseconds(file.and_then(|file| file.modified())).to_le_bytes());
    };
    fixed.into_iter().for_each(&mut add);
    found.split.values().for_each(|file| add(Some(file)));
    stamp
}

/// Keeps a file that is read and never written from being the first to go. Where it cannot be marked it goes by its age.
fn mark_used(path: &Path) {
    let now = SystemTime::now();
    let is_stale = |modified: SystemTime| now.duration_since(modified).is_ok_and(|since| since > STALE);
    if std::fs::metadata(path).and_then(|metadata| metadata.modified()).is_ok_and(is_stale) {
        let _ = std::fs::File::options().append(true).open(path).and_then(|file| file.set_modified(now));
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = std::fs::File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Carries names and files of one result over to another, each once.
#[derive(Default)]
struct Translation {
    names: HashMap<u32, u32, FxBuildHasher>,
    files: HashMap<u32, u32, FxBuildHasher>,
}

impl Translation {
    fn append(&mut self, from: &Resolved, position: usize, to: &mut Resolved) {
        for frame in from.frames(position) {
            let name = *self.names.entry(frame.name).or_insert_with(|| to.intern_name(from.name(frame.name)));
            let file = frame.file.map(|file| *self.files.entry(file).or_insert_with(|| to.intern_file(from.file(file))));
            to.push(ResolvedFrame { name, file, line: frame.line });
        }
        to.end(from.origin(position));
    }
}

fn encode(stamp: &[u8], addresses: &[Svma], resolved: &Resolved) -> Vec<u8> {
    let mut body = Vec::new();
    let put = |body: &mut Vec<u8>, number: u64| body.extend(number.to_le_bytes());
    let put_text = |body: &mut Vec<u8>, text: &[u8]| {
        body.extend((text.len() as u64).to_le_bytes());
        body.extend(text);
    };
    put_text(&mut body, stamp);
    for (count, text) in [(resolved.name_count(), Resolved::name as fn(&Resolved, u32) -> &str), (resolved.file_count(), Resolved::file)] {
        put(&mut body, count as u64);
        (0..count as u32).for_each(|index| put_text(&mut body, text(resolved, index).as_bytes()));
    }
    put(&mut body, addresses.len() as u64);
    for (position, address) in addresses.iter().enumerate() {
        let frames = resolved.frames(position);
        put(&mut body, address.get());
        put(&mut body, frames.len() as u64);
        body.push(resolved.origin(position).bits());
        for frame in frames {
            // One more than the index or line; 0 is none.
            let numbers = [frame.name, frame.file.map_or(0, |file| file + 1), frame.line.map_or(0, |line| line.saturating_add(1))];
            numbers.iter().for_each(|number| body.extend(number.to_le_bytes()));
        }
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(checksum(&body).to_le_bytes());
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8], stamp: &[u8]) -> Option<Known> {
    let mut header = Reader(bytes);
    let whole = header.take(MAGIC.len())? == MAGIC && header.number()? == bytes.len().checked_sub(HEADER)? as u64;
    if !whole || header.short()? != checksum(header.0) {
        return None;
    }
    let mut body = header;
    if body.text()? != stamp {
        return None;
    }
    let mut resolved = Resolved::default();
    let names = body.number()?;
    for index in 0..names {
        let name = std::str::from_utf8(body.text()?).ok()?;
        (u64::from(resolved.intern_name(name)) == index).then_some(())?;
    }
    let files = body.number()?;
    for index in 0..files {
        let file = std::str::from_utf8(body.text()?).ok()?;
        (u64::from(resolved.intern_file(file)) == index).then_some(())?;
    }
    let count = body.number()?;
    let (mut positions, mut addresses) = (HashMap::default(), Vec::new());
    for position in 0..count {
        let address = Svma::new(body.number()?);
        let count = body.number()?;
        let origin = Origin::from_bits(*body.take(1)?.first()?)?;
        for _ in 0..count {
            let (name, file, line) = (body.short()?, body.short()?, body.short()?);
            if u64::from(name) >= names || u64::from(file) > files {
                return None;
            }
            resolved.push(ResolvedFrame { name, file: file.checked_sub(1), line: line.checked_sub(1) });
        }
        resolved.end(origin);
        positions.insert(address, u32::try_from(position).ok()?);
        addresses.push(address);
    }
    body.0.is_empty().then_some(Known { resolved, positions, addresses })
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn short(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &[u8] = b"stamp";

    /// Name, file and line of a frame.
    type Named<'a> = (&'a str, Option<&'a str>, Option<u32>);

    /// Each address with its frames.
    fn resolved(addresses: &[(u64, &[Named<'_>])]) -> (Vec<Svma>, Resolved) {
        let mut resolved = Resolved::default();
        for (_, frames) in addresses {
            for (name, file, line) in *frames {
                let frame =
                    ResolvedFrame { name: resolved.intern_name(name), file: file.map(|file| resolved.intern_file(file)), line: *line };
                resolved.push(frame);
            }
            resolved.end(Origin::FOUND.with(Origin::RUST, !frames.is_empty()));
        }
        (addresses.iter().map(|(address, _)| Svma::new(*address)).collect(), resolved)
    }

    fn sample() -> (Vec<Svma>, Resolved) {
        resolved(&[
            (0x10, &[("g", Some("a.rs"), Some(1)), ("f", Some("b.rs"), Some(2))]),
            (0x20, &[]),
            (0x30, &[("f", None, None), ("h", Some("a.rs"), Some(u32::MAX - 1))]),
        ])
    }

    fn cache(dir: &Path) -> Cache {
        let path = dir.join("id.syms");
        let known = read(&path).and_then(|bytes| decode(&bytes, STAMP));
        Cache { path, stamp: STAMP.to_vec(), known }
    }

    #[test]
    fn a_whole_result_is_kept_for_one_question_and_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let kept = |stamp: &[u8]| Kept { path: dir.path().join("id-1.syms"), stamp: stamp.to_vec() };
        assert_eq!(kept(STAMP).read(), None);
        kept(STAMP).store(b"the answer");
        assert_eq!(kept(STAMP).read().as_deref(), Some(&b"the answer"[..]));
        assert_eq!(kept(b"other").read(), None);
        let whole = std::fs::read(dir.path().join("id-1.syms")).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(dir.path().join("id-1.syms"), &changed).unwrap();
            assert_eq!(kept(STAMP).read(), None, "byte {at}");
            std::fs::write(dir.path().join("id-1.syms"), &whole[..at]).unwrap();
            assert_eq!(kept(STAMP).read(), None, "cut at {at}");
        }
        assert_eq!(clear(dir.path()).unwrap().0, 1);
    }

    #[test]
    fn what_is_stored_is_known() {
        let (addresses, resolved) = sample();
        let known = decode(&encode(STAMP, &addresses, &resolved), STAMP).unwrap();
        assert_eq!(known.resolved, resolved);
        assert_eq!(known.addresses, addresses);
    }

    #[test]
    fn nothing_cut_changed_or_foreign_is_believed() {
        let (addresses, resolved) = sample();
        let bytes = encode(STAMP, &addresses, &resolved);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], STAMP).is_none(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                assert!(decode(&bytes, STAMP).is_none(), "flipped at {at}");
            }
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(decode(&longer, STAMP).is_none());
        assert!(decode(&bytes, b"other").is_none(), "made from other files");
        // A right checksum over wrong content.
        let mut forged = MAGIC.to_vec();
        let body = [&5u64.to_le_bytes()[..], STAMP, &[0xff; 200]].concat();
        forged.extend((body.len() as u64).to_le_bytes());
        forged.extend(checksum(&body).to_le_bytes());
        forged.extend(body);
        assert!(decode(&forged, STAMP).is_none());
    }

    #[test]
    fn known_and_new_addresses_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let (first, found) = sample();
        let empty = cache(dir.path());
        assert_eq!(empty.missing(&first), first);
        let merged = empty.merge(&first, &first, found);
        empty.store(&first, &merged);

        let wanted: Vec<Svma> = [0x40, 0x30, 0x20].map(Svma::new).to_vec();
        let warm = cache(dir.path());
        let missing = warm.missing(&wanted);
        assert_eq!(missing, [Svma::new(0x40)]);
        let (_, new) = resolved(&[(0x40, &[("new", Some("a.rs"), Some(7))])]);
        let merged = warm.merge(&wanted, &missing, new);
        let names = |position| merged.frames(position).iter().map(|f| merged.name(f.name)).collect::<Vec<_>>();
        assert_eq!([names(0), names(1), names(2)], [vec!["new"], vec!["f", "h"], vec![]]);
        assert_eq!(merged.file(merged.frames(0)[0].file.unwrap()), "a.rs");
        warm.store(&wanted, &merged);
        // What was known before and not asked for now is kept.
        let all: Vec<Svma> = [0x10, 0x20, 0x30, 0x40].map(Svma::new).to_vec();
        assert!(cache(dir.path()).missing(&all).is_empty());
    }

    #[test]
    fn two_writers_leave_a_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let dir = dir.path();
                scope.spawn(move || {
                    for round in 0..50 {
                        let (addresses, found) = resolved(&[(thread * 100 + round, &[("f", None, None)])]);
                        let cache = cache(dir);
                        let missing = cache.missing(&addresses);
                        let found = if missing.is_empty() { resolved(&[]).1 } else { found };
                        let merged = cache.merge(&addresses, &missing, found);
                        assert_eq!(merged.name(merged.frames(0)[0].name), "f");
                        cache.store(&addresses, &merged);
                        assert!(read(&cache.path).and_then(|bytes| decode(&bytes, STAMP)).is_some());
                    }
                });
            }
        });
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["id.syms"], "no temporary file stays");
    }

    #[test]
    fn the_cache_is_cleared_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(clear(&dir.path().join("none")).unwrap(), (0, 0));
        std::fs::write(dir.path().join("a.syms"), "12345").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        assert_eq!(clear(dir.path()).unwrap(), (1, 5));
        assert!(dir.path().join("notes.txt").exists());
    }

    #[test]
    fn the_longest_unused_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 10 * STALE;
        for name in ["a.syms", "b.syms"] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_len(LARGEST_CACHE / 2).unwrap();
            file.set_modified(old).unwrap();
        }
        mark_used(&dir.path().join("a.syms"));
        make_room(dir.path(), 1);
        assert!(dir.path().join("a.syms").exists());
        assert!(!dir.path().join("b.syms").exists());
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (addresses, found) = sample();
        cache(&file.join("below")).store(&addresses, &found);
    }
}
