//! What was recorded, without what tells of the machine and its owner: paths, the command line, names of threads.
//!
//! A path becomes its file name. Source files of one name keep as many directories as tell them apart, since views add up
//! by file.

use crate::analysis::account::Accounting;
use crate::analysis::finding::{FrameView, Suspect};
use crate::analysis::ledger::Ledger;
use crate::analysis::slabs::Slabs;
use crate::analysis::triage::Triage;
use crate::model::frame::Symbols;
use crate::model::timeline::Timeline;
use crate::origin::{Notice, base_name, without_paths};
use hashbrown::{HashMap, HashSet};

/// One process with the names of its addresses and what there is to say of the reading.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// The process.
    pub timeline: &'a mut Timeline,
    /// Names of its addresses.
    pub symbols: &'a mut Symbols,
    /// What was left out or refused.
    pub notices: &'a mut [Notice],
}

/// Takes paths, command line and names out of everything that views print. What is compared is given together: one file has
/// one name on both sides.
pub fn redact(all: &mut [Recorded<'_>]) {
    let tails = tails(all.iter().flat_map(|recorded| recorded.symbols.files()));
    redact_with(all, &tails);
}

/// The same, and what was concluded from it.
pub fn redact_triage(mut recorded: Recorded<'_>, triage: &mut Triage) {
    let tails = tails(recorded.symbols.files());
    triage.summary.process = None;
    triage.summary.names.iter_mut().for_each(shorten);
    if let Some((first, last)) = &mut triage.summary.dumps {
        shorten(first);
        shorten(last);
    }
    triage.suspects.iter_mut().for_each(|suspect| redact_suspect(suspect, &tails));
    triage.cleared.iter_mut().filter_map(|cleared| cleared.owner.as_mut()).for_each(|owner| shorten_frame(owner, &tails));
    triage.slabs.iter_mut().for_each(|slabs| redact_slabs(slabs, &tails));
    redact_ledger(&mut triage.ledger);
    redact_with(std::slice::from_mut(&mut recorded), &tails);
}

/// The same for a ledger without names of functions.
pub fn redact_accounting(mut recorded: Recorded<'_>, accounting: &mut Accounting) {
    let none = HashMap::new();
    redact_ledger(&mut accounting.ledger);
    let paths = tails(accounting.files.iter().map(|file| file.path.as_str()));
    accounting.files.iter_mut().for_each(|file| file.path = renamed(&file.path, &paths));
    accounting.slabs.iter_mut().for_each(|slabs| redact_slabs(slabs, &none));
    redact_with(std::slice::from_mut(&mut recorded), &none);
}

/// Two files of one name stay two rows.
fn redact_ledger(ledger: &mut Ledger) {
    let labels = tails(ledger.rows.iter().map(|row| row.label.as_str()));
    for row in &mut ledger.rows {
        row.label = renamed(&row.label, &labels);
        row.source = names_in(&row.source);
    }
    ledger.notes.iter_mut().for_each(|note| *note = without_paths(note));
}

fn redact_suspect(suspect: &mut Suspect, tails: &HashMap<String, String>) {
    shorten_frame(&mut suspect.owner, tails);
    suspect.stack.iter_mut().for_each(|frame| shorten_frame(frame, tails));
    for site in &mut suspect.sites {
        site.file = site.file.as_deref().map(|file| renamed(file, tails));
        site.binary = names_in(&site.binary);
    }
    suspect.evidence.iter_mut().for_each(|evidence| evidence.source = names_in(&evidence.source));
    suspect.source.clear();
    suspect.suppressed = suspect.suppressed.as_deref().map(without_paths);
}

fn redact_slabs(slabs: &mut Slabs, tails: &HashMap<String, String>) {
    shorten(&mut slabs.file);
    slabs.dump.iter_mut().for_each(shorten);
    for holder in slabs.mixed.iter_mut().chain(slabs.classes.iter_mut().flat_map(|class| &mut class.holders)) {
        holder.file = holder.file.as_deref().map(|file| renamed(file, tails));
    }
}

fn shorten_frame(frame: &mut FrameView, tails: &HashMap<String, String>) {
    frame.file = frame.file.as_deref().map(|file| renamed(file, tails));
}

/// The name of a file that stays apart from the others, else its own.
fn renamed(file: &str, tails: &HashMap<String, String>) -> String {
    tails.get(file).map_or(base_name(file), String::as_str).to_owned()
}

/// What names its files as words of a sentence: `a/1.heap, frame 3` becomes `1.heap, frame 3`.
fn names_in(source: &str) -> String {
    source.split(' ').map(base_name).collect::<Vec<_>>().join(" ")
}

fn redact_with(all: &mut [Recorded<'_>], tails: &HashMap<String, String>) {
    for recorded in all {
        recorded.timeline.process.name = None;
        recorded.timeline.process.cmdline = None;
        for snapshot in &mut recorded.timeline.snapshots {
            shorten(&mut snapshot.name);
            snapshot.files.iter_mut().for_each(|(_, file)| shorten(file));
            for thread in snapshot.heap.iter_mut().flat_map(|heap| &mut heap.threads) {
                thread.name = None;
            }
        }
        recorded.symbols.rename_files(|file| renamed(file, tails));
        for module in &mut recorded.symbols.modules {
            shorten(&mut module.path);
            module.file.iter_mut().for_each(shorten);
            module.remedy = module.remedy.as_deref().map(without_paths);
        }
        for notice in recorded.notices.iter_mut() {
            shorten(&mut notice.input);
            notice.message = without_paths(&notice.message);
        }
    }
}

fn shorten(path: &mut String) {
    *path = base_name(path).to_owned();
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
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::{Frame, Role};

    #[test]
    fn files_stay_apart() {
        let files = ["/home/a/app/src/main.rs", "/home/a/app/src/net/mod.rs", "/home/a/app/src/disk/mod.rs", "main.c", "/x/main.c"];
        let tails = tails(files.into_iter());
        assert_eq!(files.map(|file| tails[file].as_str()), ["main.rs", "net/mod.rs", "disk/mod.rs", "main.c", "x/main.c"]);
    }

    fn symbols(files: &[&str]) -> Symbols {
        let mut symbols = Symbols::default();
        for file in files {
            let (function, file) = (symbols.names.intern("f"), Some(symbols.names.intern(file)));
            symbols.push([Frame { file, ..Frame::named(function, Role::User) }]);
        }
        symbols
    }

    #[test]
    fn a_file_has_one_name_on_both_sides() {
        let (mut base, mut current) = (symbols(&["/srv/app/net/mod.rs"]), symbols(&["/srv/app/disk/mod.rs", "/srv/app/net/mod.rs"]));
        let mut timelines = [Timeline::default(), Timeline::default()];
        timelines[0].process.cmdline = Some("app --token x".into());
        let mut notices = [Notice::new("/srv/app/1.heap", "`/srv/app/bin` is missing")];
        let [first, second] = &mut timelines;
        redact(&mut [
            Recorded { timeline: first, symbols: &mut base, notices: &mut notices },
            Recorded { timeline: second, symbols: &mut current, notices: &mut [] },
        ]);
        assert_eq!(base.files().collect::<Vec<_>>(), ["net/mod.rs"]);
        assert_eq!(current.files().collect::<Vec<_>>(), ["disk/mod.rs", "net/mod.rs"]);
        assert_eq!((notices[0].input.as_str(), notices[0].message.as_str()), ("1.heap", "`bin` is missing"));
        assert_eq!(timelines[0].process.cmdline, None);
    }
}
