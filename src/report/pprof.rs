//! pprof protobuf, gzip compressed, by the conventions of github.com/google/pprof for heap profiles.
//!
//! ```text
//! sample types   alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes  (alloc_* only where known)
//! default        inuse_space          period_type space/bytes, period the sampling interval
//! labels         thread (text), bytes (mean size of an object)
//! ```
//!
//! Values are estimates: a reader has nothing left to unsample. Addresses lie inside the call. A frame without a
//! name has no line, so that a viewer that knows the binary by its build-id may still name it.

use crate::analysis::export::{Amount, ExportFrame, ExportSample, Profile};
use crate::analysis::filter::Measure;
use crate::model::frame::Role;
use crate::pprof_proto as proto;
use flate2::{Compression, GzBuilder};
use hashbrown::HashMap;
use prost::Message;
use rustc_hash::FxBuildHasher;
use std::io::Write;

/// Writes the profile; `measure` is what a viewer shows first. The same profile gives the same bytes.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, measure: Measure, out: impl Write) -> std::io::Result<()> {
    let mut gzip = GzBuilder::new().write(out, Compression::default());
    gzip.write_all(&message(profile, measure).encode_to_vec())?;
    gzip.finish()?.flush()
}

/// The uncompressed message.
fn message(profile: &Profile, measure: Measure) -> proto::Profile {
    let mut texts = Texts::default();
    texts.id("");
    let kinds: &[(&str, &str)] = match profile.accumulated {
        true => &[("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")],
        false => &[("inuse_objects", "count"), ("inuse_space", "bytes")],
    };
    let mut functions = Functions { ids: HashMap::default(), list: Vec::new() };
    let location: Vec<proto::Location> =
        (0..profile.locations.len() as u32).map(|at| self::location(profile, at, &mut functions, &mut texts)).collect();
    let mut out = proto::Profile {
        sample_type: kinds.iter().map(|&(kind, unit)| proto::ValueType { r#type: texts.id(kind), unit: texts.id(unit) }).collect(),
        location,
        mapping: mappings(profile, &mut texts),
        function: functions.list,
        period_type: Some(proto::ValueType { r#type: texts.id("space"), unit: texts.id("bytes") }),
        period: i64::try_from(profile.interval).unwrap_or(i64::MAX),
        time_nanos: profile.unix_ms.map_or(0, |ms| ms.saturating_mul(1_000_000)),
        default_sample_type: texts.id(if measure.is_accumulated() && !profile.accumulated { "inuse_space" } else { measure.word() }),
        drop_frames: drop_frames(profile).map_or(0, |frames| texts.id(&frames)),
        comment: profile.comments.iter().map(|comment| texts.id(comment)).collect(),
        ..proto::Profile::default()
    };
    out.sample = profile.samples.iter().map(|sample| self::sample(profile, sample, &mut texts)).collect();
    out.string_table = texts.list;
    out
}

/// A regular expression for the allocator's own functions: pprof leaves them out, and what they called, so that bytes
/// stand with who asked for them. It compares names without their arguments.
fn drop_frames(profile: &Profile) -> Option<String> {
    let mut names: Vec<String> = profile
        .frames
        .iter()
        .filter(|frame| frame.named && frame.role == Role::Allocator)
        .filter_map(|frame| profile.names.get(frame.function).split('(').next())
        .filter(|name| !name.is_empty())
        .map(regex::escape)
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("^(?:{})$", names.join("|")))
}

fn sample(profile: &Profile, sample: &ExportSample, texts: &mut Texts) -> proto::Sample {
    let live = [sample.live.objects, sample.live.bytes];
    let value = match profile.accumulated {
        true => vec![sample.accumulated.objects, sample.accumulated.bytes, live[0], live[1]],
        false => live.to_vec(),
    };
    let mut label = Vec::new();
    if let Some(thread) = sample.thread.and_then(|thread| profile.threads.get(thread as usize)) {
        label.push(proto::Label { key: texts.id("thread"), str: texts.id(thread), ..proto::Label::default() });
    }
    if let Some(size) = mean_size(sample.live).or_else(|| mean_size(sample.accumulated)) {
        label.push(proto::Label { key: texts.id("bytes"), num: size, num_unit: texts.id("bytes"), ..proto::Label::default() });
    }
    proto::Sample { location_id: profile.stack(sample).map(|at| u64::from(at) + 1).collect(), value, label }
}

/// Bytes of the mean object, as the readers of text dumps in pprof label their samples (`-tagfocus=4kb:`).
fn mean_size(amount: Amount) -> Option<i64> {
    (amount.objects > 0 && amount.bytes > 0).then(|| (amount.bytes as f64 / amount.objects as f64).round() as i64)
}

fn mappings(profile: &Profile, texts: &mut Texts) -> Vec<proto::Mapping> {
    let mut known = vec![Known::default(); profile.mappings.len()];
    for at in 0..profile.locations.len() as u32 {
        let Some(mapping) = profile.locations[at as usize].mapping else { continue };
        let known = &mut known[mapping as usize];
        let frames = || profile.lines(at).iter().map(|&frame| &profile.frames[frame as usize]);
        known.functions |= frames().any(|frame| frame.named);
        known.files |= frames().any(|frame| frame.file.is_some());
        known.lines |= frames().any(|frame| frame.line.is_some());
        known.inlines |= frames().any(|frame| frame.inlined);
    }
    let mapping = |(i, (file, known)): (usize, (&crate::analysis::export::MappedFile, Known))| proto::Mapping {
        id: i as u64 + 1,
        memory_start: file.start,
        memory_limit: file.end,
        file_offset: file.offset,
        filename: texts.id(&file.path),
        build_id: file.build_id.as_deref().map_or(0, |id| texts.id(id)),
        has_functions: known.functions,
        has_filenames: known.files,
        has_line_numbers: known.lines,
        has_inline_frames: known.inlines,
    };
    profile.mappings.iter().zip(known).enumerate().map(mapping).collect()
}

/// What the names of a mapped file tell.
#[derive(Clone, Copy, Default)]
struct Known {
    functions: bool,
    files: bool,
    lines: bool,
    inlines: bool,
}

fn location(profile: &Profile, at: u32, functions: &mut Functions, texts: &mut Texts) -> proto::Location {
    let location = &profile.locations[at as usize];
    let lines = profile.lines(at).iter().map(|&frame| &profile.frames[frame as usize]).filter(|frame| frame.named);
    proto::Location {
        id: u64::from(at) + 1,
        mapping_id: location.mapping.map_or(0, |mapping| u64::from(mapping) + 1),
        address: location.address,
        line: lines
            .map(|frame| proto::Line { function_id: functions.id(profile, frame, texts), line: frame.line.map_or(0, i64::from), column: 0 })
            .collect(),
        is_folded: false,
    }
}

/// Functions by name and file: two of one name in two files are two.
struct Functions {
    ids: HashMap<(i64, i64, i64), u64, FxBuildHasher>,
    list: Vec<proto::Function>,
}

impl Functions {
    fn id(&mut self, profile: &Profile, frame: &ExportFrame, texts: &mut Texts) -> u64 {
        let name = texts.id(profile.names.get(frame.function));
        let system_name = profile.text(frame.linkage).map_or(name, |linkage| texts.id(linkage));
        let filename = profile.text(frame.file).map_or(0, |file| texts.id(file));
        let next = self.list.len() as u64 + 1;
        let id = *self.ids.entry((name, system_name, filename)).or_insert(next);
        if id == next {
            self.list.push(proto::Function { id, name, system_name, filename, start_line: 0 });
        }
        id
    }
}

#[derive(Default)]
struct Texts {
    ids: HashMap<String, i64, FxBuildHasher>,
    list: Vec<String>,
}

impl Texts {
    fn id(&mut self, text: &str) -> i64 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.list.len() as i64;
        self.list.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::export::tests::profile;
    use std::io::Read;

    fn written(threads: bool) -> proto::Profile {
        let mut bytes = Vec::new();
        write(&profile(threads, false), Measure::InuseSpace, &mut bytes).unwrap();
        let mut again = Vec::new();
        write(&profile(threads, false), Measure::InuseSpace, &mut again).unwrap();
        assert_eq!(bytes, again, "no clock in it");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        proto::Profile::decode(&plain[..]).unwrap()
    }

    #[test]
    fn conventions() {
        let out = written(false);
        let text = |id: i64| out.string_table[id as usize].as_str();
        assert_eq!(text(0), "");
        let kinds: Vec<String> = out.sample_type.iter().map(|t| format!("{}/{}", text(t.r#type), text(t.unit))).collect();
        assert_eq!(kinds, ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"]);
        assert_eq!(text(out.default_sample_type), "inuse_space");
        let period = out.period_type.clone().unwrap();
        assert_eq!((text(period.r#type), text(period.unit), out.period), ("space", "bytes", 1024));
        assert_eq!(text(out.drop_frames), "^(?:malloc)$");
        assert_eq!(out.time_nanos, 1_763_650_000_123_000_000);
        assert_eq!(out.comment.iter().map(|&c| text(c)).collect::<Vec<_>>(), ["made by a test"]);
        let mapping = &out.mapping[0];
        assert_eq!((text(mapping.filename), text(mapping.build_id)), ("/srv/app", "0123abcd"));
        assert!(mapping.has_functions && mapping.has_filenames && mapping.has_line_numbers && mapping.has_inline_frames);
        assert!(!out.mapping[1].has_functions);
    }

    #[test]
    fn inlined_frames_share_a_location() {
        let out = written(false);
        let inner = out.sample[0].location_id[1];
        let location = &out.location[inner as usize - 1];
        let name = |line: &proto::Line| out.string_table[out.function[line.function_id as usize - 1].name as usize].clone();
        let lines: Vec<(String, i64)> = location.line.iter().map(|l| (name(l), l.line)).collect();
        assert_eq!(lines, [("app::parse".to_owned(), 7), ("app::serve".to_owned(), 20)]);
        assert_eq!(location.address, 0x1200, "inside the call");
        assert_eq!(location.mapping_id, 1);
    }

    #[test]
    fn threads_and_sizes_are_labels() {
        let out = written(true);
        let text = |id: i64| out.string_table[id as usize].as_str();
        let labels: Vec<Vec<(&str, &str, i64)>> =
            out.sample.iter().map(|s| s.label.iter().map(|l| (text(l.key), text(l.str), l.num)).collect()).collect();
        assert_eq!(labels[0], [("thread", "worker", 0), ("bytes", "", 64)]);
        assert_eq!(labels[1][0], ("thread", "t1", 0));
    }
}
