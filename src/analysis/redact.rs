//! What was recorded, without what tells of the machine and its owner: paths, the command line, names of threads.
//!
//! A path becomes its file name. Source files of one name keep as many directories as tell them apart, since views add up
//! by file.

use crate::model::frame::Symbols;
use crate::model::timeline::Timeline;
use crate::origin::{Notice, without_paths};
use hashbrown::{HashMap, HashSet};

/// Takes paths, command line and names out of everything that views print.
pub fn redact(timeline: &mut Timeline, symbols: &mut Symbols, notices: &mut [Notice]) {
    timeline.process.name = None;
    timeline.process.cmdline = None;
    for snapshot in &mut timeline.snapshots {
        snapshot.name = base_name(&snapshot.name).to_owned();
        for (_, file) in &mut snapshot.files {
            *file = base_name(file).to_owned();
        }
        for thread in snapshot.heap.iter_mut().flat_map(|heap| &mut heap.threads) {
            thread.name = None;
        }
    }
    let tails = tails(symbols.files());
    symbols.rename_files(|file| tails.get(file).cloned().unwrap_or_default());
    for module in &mut symbols.modules {
        module.path = base_name(&module.path).to_owned();
        module.file = module.file.as_deref().map(|file| base_name(file).to_owned());
        module.remedy = module.remedy.as_deref().map(without_paths);
    }
    for notice in notices {
        notice.input = base_name(&notice.input).to_owned();
        notice.message = without_paths(&notice.message);
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The last parts of a path.
fn tail(path: &str, parts: usize) -> &str {
    let cut = path.rmatch_indices('/').nth(parts.saturating_sub(1));
    cut.map_or(path, |(at, _)| &path[at + 1..])
}

/// The shortest end of each path that no other one has.
fn tails<'a>(files: impl Iterator<Item = &'a str>) -> HashMap<String, String> {
    let distinct: HashSet<&str> = files.collect();
    let deepest = distinct.iter().map(|file| file.matches('/').count() + 1).max().unwrap_or(1);
    let mut left: Vec<&str> = distinct.into_iter().collect();
    let mut found = HashMap::new();
    for parts in 1..=deepest {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for file in &left {
            *times.entry(tail(file, parts)).or_default() += 1;
        }
        let (alone, shared): (Vec<&str>, Vec<&str>) = left.iter().partition(|file| times.get(tail(file, parts)) == Some(&1));
        found.extend(alone.into_iter().map(|file| (file.to_owned(), tail(file, parts).to_owned())));
        left = shared;
    }
    // What is the end of another one whole.
    found.extend(left.into_iter().map(|file| (file.to_owned(), file.to_owned())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_apart() {
        let files = ["/home/a/app/src/main.rs", "/home/a/app/src/net/mod.rs", "/home/a/app/src/disk/mod.rs", "main.c", "/x/main.c"];
        let tails = tails(files.into_iter());
        assert_eq!(files.map(|file| tails[file].as_str()), ["main.rs", "net/mod.rs", "disk/mod.rs", "main.c", "x/main.c"]);
    }
}
