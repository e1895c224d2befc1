//! One file to the values it holds: read, decompress, tell by content, parse. Every trouble is a notice.

use crate::capture::source::{self, Source};
use crate::input::capture_json::About;
use crate::input::counters::Counters;
use crate::input::heap::RawDump;
use crate::input::leak_line::{self, LeakLine};
use crate::input::pprof::RawPprof;
use crate::input::prof_log::RawLives;
use crate::input::prometheus::Scrape;
use crate::input::series::{self, SeriesTime};
use crate::input::{self, Format, ParseError, compress, heap, smaps};
use crate::model::allocator::AllocatorStats;
use crate::model::ingest;
use crate::model::memory::{Cgroup, GlibcHeap, MemoryMap, ProcessStatus};
use crate::origin::{Notice, Warning};
use crate::units::Bytes;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// A heap dump, not yet interned.
    Heap(Box<RawDump>),
    /// A pprof profile, not yet interned.
    Pprof(Box<RawPprof>),
    /// One smaps text, or a series of them with the time line before each.
    Memory(Vec<(Option<SeriesTime>, MemoryMap)>),
    /// One print of the statistics, or all that a log holds.
    Stats(Vec<AllocatorStats>),
    /// /proc/PID/status.
    Status(ProcessStatus),
    /// Totals of pmap, and whose.
    Pmap(Option<u64>, MemoryMap),
    /// cgroup files.
    Cgroup(Cgroup),
    /// glibc malloc_info.
    Glibc(GlibcHeap),
    /// Workload counters.
    Counters(Counters),
    /// capture.json.
    About(Box<About>),
    /// Lives of sampled objects.
    Lives(RawLives),
    /// Metrics of a process, at one time or many.
    Metrics(Vec<Scrape>),
}

/// A file, read.
#[derive(Debug)]
pub struct Loaded {
    /// What it holds; `None` when nothing usable.
    pub content: Option<Content>,
    /// What there is to say.
    pub notices: Vec<Notice>,
    /// Nothing known is in it: worth a word only when it was asked for.
    pub unknown: bool,
}

/// Reads one file.
pub fn load(source: &Source, threads: bool) -> Loaded {
    let mut loaded = Loaded { content: None, notices: Vec::new(), unknown: false };
    if let Some(dump) = source.path.as_deref().and_then(|path| heap_in_blocks(path, threads)) {
        loaded.content = Some(Content::Heap(Box::new(dump)));
        return loaded;
    }
    let bytes = match source::read(source) {
        Ok(bytes) => bytes,
        Err(error) => {
            loaded.notices.push(Notice::new(&source.label, source::trouble(&error)));
            return loaded;
        }
    };
    if bytes.is_empty() {
        loaded
            .notices
            .push(Notice::new(&source.label, "is empty: the process had ended, the disk was full, or it was not written yet; left out"));
        return loaded;
    }
    let content = match compress::decompress(&bytes) {
        Ok(content) => content,
        Err(error) => {
            loaded.notices.push(failed(&source.label, &bytes, &error));
            return loaded;
        }
    };
    let text = content.value.as_ref();
    loaded.notices.extend(content.warnings.iter().map(|warning| Notice::place(&source.label, text, warning)));
    let Some(format) = input::sniff(text) else {
        loaded.unknown = true;
        if let Some((what, instead)) = heap::refusal(text) {
            loaded.notices.push(Notice::new(&source.label, format!("is {what}: not used; {instead}")));
            loaded.unknown = false;
        }
        return loaded;
    };
    match parse(format, text, threads) {
        Ok((content, warnings)) => {
            loaded.notices.extend(warnings.iter().map(|warning| Notice::place(&source.label, text, warning)));
            loaded.content = content;
            // Statistics printed at exit follow or precede it in the same log.
            if matches!(format, Format::StatsText | Format::StatsJson) {
                loaded.notices.extend(leak_line::parse(text).ok().map(|line| leak_notice(&source.label, text, &line.value)));
            }
        }
        Err(error) => loaded.notices.push(failed(&source.label, text, &error)),
    }
    loaded
}

/// Bytes read at once of a large dump; a smaller file is read whole.
const BLOCK: usize = 256 << 10;

/// A sound heap dump, read block by block: of two dumps of a million stacks the text alone is 1.2 GB, and filling
/// fresh memory with it costs more than the parsing of a quarter of it (5.9 s of processor time instead of 7.1 s for a
/// diff). `None` for anything else, and where there is something to say about the dump: then it is read whole, as a
/// position is told by the lines before it.
fn heap_in_blocks(path: &Path, threads: bool) -> Option<RawDump> {
    let mut file = File::open(path).ok()?;
    if !file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > BLOCK as u64 && meta.len() <= source::MOST_BYTES) {
        return None;
    }
    let mut parser = heap::Parser::new(heap::HeapOptions { threads });
    let mut block = vec![0; BLOCK];
    // How much of the block is filled: at its start, what the last one left of a line.
    let mut filled = 0;
    let mut is_first = true;
    loop {
        let read = match file.read(block.get_mut(filled..)?) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        if read == 0 {
            break;
        }
        filled += read;
        if std::mem::take(&mut is_first) && input::sniff(block.get(..filled)?) != Some(Format::Heap) {
            return None;
        }
        let taken = parser.feed(block.get(..filled)?);
        block.copy_within(taken..filled, 0);
        filled -= taken;
        if filled == block.len() {
            block.resize(2 * filled, 0);
        }
    }
    let parsed = parser.finish(block.get(..filled)?).ok()?;
    parsed.warnings.is_empty().then_some(parsed.value)
}

/// A parse error as a notice: the rest of the capture is used.
fn failed(label: &str, text: &[u8], error: &ParseError) -> Notice {
    let help = error.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    Notice {
        input: label.to_owned(),
        position: Some(error.position(text)),
        message: format!("{}{help}; the file was left out", error.message),
    }
}

fn parse(format: Format, text: &[u8], threads: bool) -> Result<(Option<Content>, Vec<Warning>), ParseError> {
    fn done<T>(parsed: input::Parsed<T>, content: impl FnOnce(T) -> Content) -> (Option<Content>, Vec<Warning>) {
        (Some(content(parsed.value)), parsed.warnings)
    }
    Ok(match format {
        Format::Heap => done(heap::parse(text, heap::HeapOptions { threads })?, |dump| Content::Heap(Box::new(dump))),
        Format::Pprof => done(input::pprof::parse(text)?, |raw| Content::Pprof(Box::new(raw))),
        Format::Smaps => memory(text)?,
        Format::Status => done(input::status::parse(text)?, |raw| Content::Status(ingest::status(&raw))),
        Format::StatsText => done(input::stats_text::parse(text)?, |raw| Content::Stats(raw.iter().map(ingest::stats).collect())),
        Format::StatsJson => done(input::stats_json::parse(text)?, |raw| Content::Stats(raw.iter().map(ingest::stats).collect())),
        Format::MallocInfo => done(input::malloc_info::parse(text)?, |raw| Content::Glibc(ingest::malloc_info(&raw))),
        Format::Counters => done(input::counters::parse(text)?, Content::Counters),
        Format::CaptureJson => done(input::capture_json::parse(text)?, |about| Content::About(Box::new(about))),
        Format::ProfLog => done(input::prof_log::parse(text)?, Content::Lives),
        Format::ProfRecent => done(input::prof_recent::parse(text)?, Content::Lives),
        Format::Prometheus => done(input::prometheus::parse(text)?, Content::Metrics),
        Format::LeakLine => {
            let line = leak_line::parse(text)?.value;
            (None, vec![Warning::at(line.offset, leak_words(&line))])
        }
        Format::Cgroup => done(input::cgroup::parse(text)?, |raw| Content::Cgroup(ingest::cgroup(&raw))),
        Format::Pmap => {
            let parsed = input::pmap::parse(text)?;
            let content = ingest::pmap(&parsed.value).map(|map| Content::Pmap(parsed.value.pid, map));
            let mut warnings = parsed.warnings;
            if content.is_none() {
                warnings.push(Warning::whole("this pmap has no resident sizes: left out; use `pmap -x PID`, or better /proc/PID/smaps"));
            }
            (content, warnings)
        }
    })
}

fn leak_notice(label: &str, text: &[u8], line: &LeakLine) -> Notice {
    Notice::place(label, text, &Warning::at(line.offset, leak_words(line)))
}

/// What the exit line is worth, and where the real answer is.
fn leak_words(line: &LeakLine) -> String {
    let figures = match line.raw {
        true => "sums over samples, not scaled",
        false => "one total scaled by one average size",
    };
    let dump = match &line.dump {
        Some(name) => format!("read {}", crate::origin::quote(name.as_bytes())),
        None => "read the final dump that was written with it (*.f.heap)".to_owned(),
    };
    format!(
        "jemalloc counted {} in {} objects of {} stacks live at exit ({figures}): that is not leaked memory yet, and no profile; {dump} with `heaptriage top`",
        Bytes::new(line.bytes),
        line.objects,
        line.contexts
    )
}

/// smaps texts, one at a time: the records of only one are in memory.
fn memory(text: &[u8]) -> Result<(Option<Content>, Vec<Warning>), ParseError> {
    let mut sections = smaps::sections(text);
    let maps: Vec<_> = sections.by_ref().map(|section| (series::time(&section.preamble), ingest::smaps(&section))).collect();
    if maps.is_empty() {
        return Err(smaps::nothing());
    }
    let mut warnings = sections.warnings();
    if maps.iter().any(|(time, _)| matches!(time, Some(SeriesTime::Unix { zoned: false, .. }))) {
        warnings
            .push(Warning::whole("the time lines name no time zone that is known: read as UTC (spans are right, stamps may be hours off)"));
    }
    Ok((Some(Content::Memory(maps)), warnings))
}
