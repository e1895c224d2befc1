//! pprof protobuf (`profile.proto`), plain or compressed: heap profiles of Go, of jemalloc_pprof, of our own.
//!
//! ```text
//! 0a 04 08 01 10 02 ..    sample_type {type: "inuse_space", unit: "bytes"}: a protobuf has no magic number
//! ```
//!
//! Its numbers are estimates already: nothing is left to unsample. A profile of something else (CPU time,
//! contention) is refused by what it measures.

use crate::input::{ParseError, Parsed};
use crate::origin::{Warning, printable};
use crate::pprof_proto as proto;
use prost::Message;
use std::collections::HashMap;

/// A heap profile in pprof's format, with indexes checked and texts in place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawPprof {
    /// One entry per stack.
    pub samples: Vec<RawSample>,
    /// Places in stacks.
    pub locations: Vec<RawLocation>,
    /// Mapped files.
    pub mappings: Vec<RawFile>,
    /// Whether live values are given (`inuse_*`).
    pub live: bool,
    /// Whether values since the start are given (`alloc_*`).
    pub accumulated: bool,
    /// When it was taken, Unix milliseconds.
    pub unix_ms: Option<i64>,
}

/// Objects and bytes of one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawSample {
    /// Indexes of locations, innermost first.
    pub stack: Vec<u32>,
    /// Live objects and bytes.
    pub live: (u64, u64),
    /// Objects and bytes since the start.
    pub accumulated: (u64, u64),
}

/// A place in a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawLocation {
    /// Index of its file.
    pub mapping: Option<u32>,
    /// Address inside the call; 0 where none is known.
    pub address: u64,
    /// Its frames, innermost (inlined) first; empty where it was not named.
    pub frames: Vec<RawFrame>,
}

/// One frame of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFrame {
    /// Function, as the profile names it.
    pub function: String,
    /// Linkage name; empty where none is given.
    pub system_name: String,
    /// Source file; empty where none is given.
    pub file: String,
    /// Line; 0 where none is given.
    pub line: u32,
}

/// A mapped file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFile {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Path.
    pub path: String,
    /// Build-id in hex; empty where none is given.
    pub build_id: String,
}

/// Whether `bytes` look like a profile: known fields of the right kind, one after the other.
pub fn sniff(bytes: &[u8]) -> bool {
    /// Fields looked at: enough to tell from text and other binary formats.
    const FIELDS: usize = 16;
    let mut rest = bytes;
    let mut types = 0;
    for _ in 0..FIELDS {
        if rest.is_empty() {
            break;
        }
        let Some((key, after)) = varint(rest) else { return false };
        let (field, wire) = (key >> 3, key & 7);
        rest = match (field, wire) {
            (1..=6 | 11, 2) | (13, 2) => match varint(after) {
                Some((len, content)) if len <= content.len() as u64 => content.get(len as usize..).unwrap_or_default(),
                _ => return false,
            },
            (7..=10 | 12..=14, 0) => match varint(after) {
                Some((_, next)) => next,
                None => return false,
            },
            _ => return false,
        };
        types += usize::from(field == 1);
    }
    types > 0
}

/// A base-128 number and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte < 0x80 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// Parses a profile. Fails when it is no protobuf of this kind, or measures something else than the heap.
pub fn parse(bytes: &[u8]) -> Result<Parsed<RawPprof>, ParseError> {
    let profile = proto::Profile::decode(bytes).map_err(|error| ParseError::new(0, format!("not a pprof profile: {error}")))?;
    let text = |index: i64| usize::try_from(index).ok().and_then(|i| profile.string_table.get(i)).map_or("", String::as_str);
    let columns = columns(&profile, &text)?;
    let mut warnings = Vec::new();
    let mut negative = 0usize;
    let mut dangling = 0usize;
    let mapping_ids: HashMap<u64, u32> = profile.mapping.iter().zip(0..).map(|(m, i)| (m.id, i)).collect();
    let functions: HashMap<u64, &proto::Function> = profile.function.iter().map(|f| (f.id, f)).collect();
    let location_ids: HashMap<u64, u32> = profile.location.iter().zip(0..).map(|(l, i)| (l.id, i)).collect();
    let locations = profile.location.iter().map(|location| RawLocation {
        mapping: mapping_ids.get(&location.mapping_id).copied(),
        address: location.address,
        frames: location
            .line
            .iter()
            .filter_map(|line| {
                let function = functions.get(&line.function_id)?;
                let (name, system_name) = (text(function.name), text(function.system_name));
                Some(RawFrame {
                    function: if name.is_empty() { system_name } else { name }.to_owned(),
                    system_name: system_name.to_owned(),
                    file: text(function.filename).to_owned(),
                    line: u32::try_from(line.line).unwrap_or(0),
                })
            })
            .filter(|frame| !frame.function.is_empty())
            .collect(),
    });
    let locations: Vec<RawLocation> = locations.collect();
    let mut value = |sample: &proto::Sample, column: Option<(usize, u64)>| -> u64 {
        let Some((column, unit)) = column else { return 0 };
        let value = sample.value.get(column).copied().unwrap_or(0);
        negative += usize::from(value < 0);
        u64::try_from(value).unwrap_or(0).saturating_mul(unit)
    };
    let samples = profile.sample.iter().map(|sample| {
        let stack: Vec<u32> = sample.location_id.iter().filter_map(|id| location_ids.get(id).copied()).collect();
        dangling += sample.location_id.len() - stack.len();
        RawSample {
            stack,
            live: (value(sample, columns.inuse_objects), value(sample, columns.inuse_space)),
            accumulated: (value(sample, columns.alloc_objects), value(sample, columns.alloc_space)),
        }
    });
    let mut samples: Vec<RawSample> = samples.collect();
    // Without a count nothing could be estimated or shown; the bytes are known, and they must not get lost.
    let mut uncounted = 0usize;
    for (objects, bytes) in samples.iter_mut().flat_map(|sample| [&mut sample.live, &mut sample.accumulated]) {
        if *objects == 0 && *bytes > 0 {
            *objects = 1;
            uncounted += 1;
        }
    }
    if uncounted > 0 {
        warnings.push(Warning::whole(format!("{uncounted} values have bytes and no number of objects: each counts as one object")));
    }
    if negative > 0 {
        warnings.push(Warning::whole(format!("{negative} values are negative, as in a difference of two profiles, and are taken as 0")));
    }
    if dangling > 0 {
        warnings.push(Warning::whole(format!("{dangling} frames refer to locations that are not in the profile and are left out")));
    }
    if samples.is_empty() {
        warnings.push(Warning::whole("no samples: the profile holds no stack"));
    }
    let mappings = profile.mapping.iter().map(|m| RawFile {
        start: m.memory_start,
        end: m.memory_limit,
        offset: m.file_offset,
        path: text(m.filename).to_owned(),
        build_id: text(m.build_id).to_owned(),
    });
    let value = RawPprof {
        samples,
        locations,
        mappings: mappings.collect(),
        live: columns.inuse_space.is_some() || columns.inuse_objects.is_some(),
        accumulated: columns.alloc_space.is_some() || columns.alloc_objects.is_some(),
        unix_ms: (profile.time_nanos > 0).then_some(profile.time_nanos / 1_000_000),
    };
    Ok(Parsed { value, warnings })
}

/// For each number of a heap profile, its column and what one unit of it is.
#[derive(Default)]
struct Columns {
    inuse_objects: Option<(usize, u64)>,
    inuse_space: Option<(usize, u64)>,
    alloc_objects: Option<(usize, u64)>,
    alloc_space: Option<(usize, u64)>,
}

fn columns<'a>(profile: &proto::Profile, text: &impl Fn(i64) -> &'a str) -> Result<Columns, ParseError> {
    let mut columns = Columns::default();
    for (i, kind) in profile.sample_type.iter().enumerate() {
        let column = match text(kind.r#type) {
            "inuse_objects" | "objects" => &mut columns.inuse_objects,
            "inuse_space" | "space" => &mut columns.inuse_space,
            "alloc_objects" => &mut columns.alloc_objects,
            "alloc_space" => &mut columns.alloc_space,
            _ => continue,
        };
        let unit = match text(kind.unit).to_ascii_lowercase().as_str() {
            "kilobytes" | "kb" | "kib" => 1 << 10,
            "megabytes" | "mb" | "mib" => 1 << 20,
            _ => 1,
        };
        *column = Some((i, unit));
    }
    if columns.inuse_space.is_some() || columns.alloc_space.is_some() || columns.inuse_objects.is_some() || columns.alloc_objects.is_some()
    {
        return Ok(columns);
    }
    let kinds: Vec<String> =
        profile.sample_type.iter().map(|kind| printable(&format!("{}/{}", text(kind.r#type), text(kind.unit))).into_owned()).collect();
    let what = match kinds.join(" ") {
        kinds if kinds.contains("cpu/") => "a CPU profile",
        kinds if kinds.contains("contentions/") || kinds.contains("delay/") => "a contention profile",
        kinds if kinds.contains("goroutine") => "a goroutine profile",
        _ => "a profile of something else",
    };
    Err(ParseError::new(
        0,
        format!(
            "this is {what} (pprof with {}), not a heap profile",
            if kinds.is_empty() { "no values".to_owned() } else { kinds.join(", ") }
        ),
    )
    .help("fetch the heap profile of the server instead (/debug/pprof/heap)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(types: &[(&str, &str)]) -> proto::Profile {
        let mut table = vec![String::new()];
        let mut text = |text: &str| {
            table.push(text.to_owned());
            table.len() as i64 - 1
        };
        let sample_type = types.iter().map(|(kind, unit)| proto::ValueType { r#type: text(kind), unit: text(unit) }).collect();
        let (name, file, module) = (text("f"), text("a.rs"), text("/bin/a"));
        proto::Profile {
            sample_type,
            sample: vec![proto::Sample { location_id: vec![7, 8, 9], value: vec![3; types.len()], label: vec![] }],
            mapping: vec![proto::Mapping { id: 1, memory_start: 0x1000, memory_limit: 0x2000, filename: module, ..Default::default() }],
            location: vec![
                proto::Location {
                    id: 7,
                    mapping_id: 1,
                    address: 0x1100,
                    line: vec![proto::Line { function_id: 5, line: 12, column: 0 }],
                    is_folded: false,
                },
                proto::Location { id: 8, ..Default::default() },
            ],
            function: vec![proto::Function { id: 5, name, filename: file, ..Default::default() }],
            string_table: table,
            ..Default::default()
        }
    }

    #[test]
    fn bytes_without_a_number_of_objects_are_kept() {
        let parsed = parse(&profile(&[("inuse_space", "bytes")]).encode_to_vec()).unwrap();
        assert_eq!(parsed.value.samples[0].live, (1, 3));
        assert!(parsed.warnings.iter().any(|w| w.message.contains("each counts as one object")), "{:?}", parsed.warnings);
    }

    #[test]
    fn a_heap_profile_is_read() {
        let bytes = profile(&[("inuse_objects", "count"), ("inuse_space", "bytes")]).encode_to_vec();
        assert!(sniff(&bytes));
        let parsed = parse(&bytes).unwrap();
        assert_eq!(parsed.warnings, [Warning::whole("1 frames refer to locations that are not in the profile and are left out")]);
        let raw = parsed.value;
        assert_eq!(raw.samples, [RawSample { stack: vec![0, 1], live: (3, 3), accumulated: (0, 0) }]);
        assert_eq!(raw.locations[0].frames[0].function, "f");
        assert_eq!(raw.locations[0].frames[0].line, 12);
        assert_eq!((raw.live, raw.accumulated), (true, false));
        assert_eq!(raw.mappings[0].path, "/bin/a");
    }

    #[test]
    fn other_profiles_are_named() {
        let error = parse(&profile(&[("samples", "count"), ("cpu", "nanoseconds")]).encode_to_vec()).unwrap_err();
        assert_eq!(error.message, "this is a CPU profile (pprof with samples/count, cpu/nanoseconds), not a heap profile");
        let error = parse(&profile(&[("contentions", "count")]).encode_to_vec()).unwrap_err();
        assert_eq!(error.message, "this is a contention profile (pprof with contentions/count), not a heap profile");
    }

    #[test]
    fn text_is_no_profile() {
        for text in ["heap_v2/524288\n  t*: 1: 2 [0: 0]\n", "{\"jemalloc\":{}}", "", "\n\n\n\n", "00400000-00fcb000 r-xp 0 0:0 0\n"] {
            assert!(!sniff(text.as_bytes()), "{text:?}");
        }
        assert!(!sniff(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            sniff(&bytes);
            let _ = parse(&bytes);
        }

        #[test]
        fn no_change_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = profile(&[("inuse_objects", "count"), ("inuse_space", "bytes")]).encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(parsed) = parse(&bytes) {
                let locations = parsed.value.locations.len() as u32;
                prop_assert!(parsed.value.samples.iter().all(|s| s.stack.iter().all(|&l| l < locations)));
            }
        }
    }
}
