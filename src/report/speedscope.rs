//! speedscope JSON (github.com/jlfwong/speedscope, `src/lib/file-format-spec.ts`, schema at
//! `https://www.speedscope.app/file-format-schema.json`): one `sampled` profile a value, root first.
//!
//! ```text
//! {"$schema": "...", "shared": {"frames": [{"name": "main", "file": "src/main.rs", "line": 3}]},
//!  "profiles": [{"type": "sampled", "name": "inuse_space", "unit": "bytes", "startValue": 0, "endValue": 64,
//!                "samples": [[0, 1]], "weights": [64]}]}
//! ```
//!
//! Weights cannot be negative there: a difference becomes two profiles, what grew and what shrank.

use crate::analysis::export::{ExportSample, Profile};
use serde::Serialize;
use std::io::Write;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: &'a str,
    exporter: String,
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<Sampled>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<Frame<'a>>,
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: i64,
    end_value: i64,
    samples: Vec<Vec<u32>>,
    weights: Vec<i64>,
}

/// The number of a sample that a profile shows.
type Value = fn(&ExportSample) -> i64;

/// Writes every value that the profile has; bytes in use are shown first.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, out: impl Write) -> std::io::Result<()> {
    let mut values: Vec<(&str, &'static str, Value)> =
        vec![("inuse_space", "bytes", |s| s.live.bytes), ("inuse_objects", "none", |s| s.live.objects)];
    if profile.accumulated {
        values.push(("alloc_space", "bytes", |s| s.accumulated.bytes));
        values.push(("alloc_objects", "none", |s| s.accumulated.objects));
    }
    let signs: &[(&str, i64)] = if profile.difference { &[(" that grew", 1), (" that shrank", -1)] } else { &[("", 1)] };
    let mut profiles = Vec::new();
    for &(name, unit, value) in &values {
        for &(what, sign) in signs {
            profiles.push(sampled(profile, format!("{name}{what}"), unit, &|sample| value(sample).saturating_mul(sign)));
        }
    }
    let frames = profile.frames.iter().map(|frame| Frame {
        name: profile.names.get(frame.function),
        file: profile.text(frame.file),
        line: frame.line.filter(|&line| line > 0),
    });
    let file = File {
        schema: SCHEMA,
        name: &profile.title,
        exporter: format!("heaptriage {}", env!("CARGO_PKG_VERSION")),
        active_profile_index: 0,
        shared: Shared { frames: frames.collect() },
        profiles,
    };
    Ok(serde_json::to_writer(out, &file)?)
}

fn sampled(profile: &Profile, name: String, unit: &'static str, value: &dyn Fn(&ExportSample) -> i64) -> Sampled {
    let (mut samples, mut weights, mut end_value) = (Vec::new(), Vec::new(), 0i64);
    for sample in &profile.samples {
        let weight = value(sample);
        if weight > 0 {
            samples.push(profile.path(sample).rev().collect());
            weights.push(weight);
            end_value = end_value.saturating_add(weight);
        }
    }
    Sampled { r#type: "sampled", name, unit, start_value: 0, end_value, samples, weights }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::export::tests::profile;
    use serde_json::Value as Json;

    #[test]
    fn stacks_are_root_first() {
        let profile = profile(false, false);
        let mut bytes = Vec::new();
        write(&profile, &mut bytes).unwrap();
        let json: Json = serde_json::from_slice(&bytes).unwrap();
        let frames = json["shared"]["frames"].as_array().unwrap();
        let first = &json["profiles"][0];
        let names: Vec<&str> = first["samples"][0]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| frames[i.as_u64().unwrap() as usize]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["main", "app::serve", "app::parse", "malloc"]);
        assert_eq!(first["unit"], "bytes");
        assert_eq!(first["endValue"].as_i64().unwrap(), profile.total().0.bytes);
        assert_eq!(json["profiles"].as_array().unwrap().len(), 4);
    }
}
