//! SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format): findings where code review shows them.
//!
//! The parts of the format that we write, as wire structs of our own; validated against the official schema in tests.
//! A result's location is the first frame in the repository; its fingerprint has no line number, so that it stays the
//! same when code above it moves.

use crate::analysis::detect::{self, setting};
use crate::analysis::estimate::Interval;
use crate::analysis::finding::{Confidence, FrameView, SiteView, Suspect};
use crate::analysis::triage::singular;
use crate::model::frame::Role;
use crate::units::{iec, signed_iec};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where source files stand in the repository: path as in debug information to path relative to the root, with `/`.
pub type Places = BTreeMap<String, String>;

/// One thing to show in a review.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// The rule's word: a pattern, or a kind.
    pub rule: String,
    /// `error`, `warning` or `note`.
    pub level: &'static str,
    /// The sentences to show.
    pub message: String,
    /// Frames from the place it is about outwards; the first one with a place in the repository is the location.
    pub frames: Vec<FrameView>,
    /// Other places that explain it, each with what it is: where a drop is skipped.
    pub related: Vec<(FrameView, String)>,
    /// Stable identity, without line numbers.
    pub fingerprint: String,
    /// Why a suppression silences it.
    pub suppressed: Option<String>,
    /// `unchanged` or `new` against a baseline, where there is one.
    pub baseline: Option<&'static str>,
    /// Figures for machines.
    pub properties: Value,
}

/// A rule that findings refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its word.
    pub id: String,
    /// One line.
    pub summary: String,
    /// What to do, in general.
    pub help: String,
}

/// The whole log. Rules without a finding are left out.
pub fn log(findings: &[Finding], rules: &[Rule], places: &Places) -> Value {
    let mut used: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    used.sort_unstable();
    used.dedup();
    let rule = |id: &str| match rules.iter().find(|rule| rule.id == id) {
        Some(rule) => WireRule { id: id.into(), short_description: text(&rule.summary), help: Some(text(&rule.help)) },
        None => WireRule { id: id.into(), short_description: text(&id.replace('_', " ")), help: None },
    };
    let log = Log {
        schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                    information_uri: env!("CARGO_PKG_REPOSITORY"),
                    rules: used.iter().map(|id| rule(id)).collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            results: findings.iter().map(|finding| result(finding, &used, places)).collect(),
        }],
    };
    // Structs of texts and numbers: nothing in them can fail to be written.
    serde_json::to_value(log).unwrap_or(Value::Null)
}

/// The findings of suspects; positions in `known` are those that a baseline knows (`None` without one).
pub fn findings(suspects: &[Suspect], known: Option<&[usize]>) -> Vec<Finding> {
    suspects
        .iter()
        .enumerate()
        .map(|(index, suspect)| Finding {
            rule: suspect.pattern.map_or_else(|| suspect.kind.word().to_owned(), str::to_owned),
            level: level(suspect),
            message: message(suspect),
            frames: std::iter::once(&suspect.owner).chain(suspect.stack.iter().filter(|frame| !frame.hidden)).cloned().collect(),
            related: suspect.sites.iter().map(|site| (site_frame(site), format!("{} of `{}`", site.kind, site.type_name))).collect(),
            fingerprint: suspect.fingerprint.clone(),
            suppressed: suspect.suppressed.clone(),
            baseline: known.map(|known| if known.contains(&index) { "unchanged" } else { "new" }),
            properties: json!({
                "kind": suspect.kind.word(),
                "confidence": suspect.confidence.word(),
                "growth_bytes": whole(suspect.growth),
                "shape": suspect.shape.word(),
                "refuted_by": suspect.refuted_by,
                "keywords": suspect.keywords,
            }),
        })
        .collect()
}

/// Every frame that the findings of suspects refer to: those whose files are looked for in the repository.
pub fn frames(suspects: &[Suspect]) -> Vec<FrameView> {
    let own = |suspect: &Suspect| {
        let sites: Vec<FrameView> = suspect.sites.iter().map(site_frame).collect();
        suspect.stack.iter().chain([&suspect.owner]).cloned().chain(sites).collect::<Vec<_>>()
    };
    suspects.iter().flat_map(own).collect()
}

/// A place where a drop is skipped, as a frame of the program's own code.
fn site_frame(site: &SiteView) -> FrameView {
    FrameView { function: site.function.clone(), file: site.file.clone(), line: site.line, role: Some(Role::User), ..FrameView::default() }
}

/// The rules behind [`findings`]: every detector.
pub fn rules() -> Vec<Rule> {
    let of = |id: &str, summary: &str, help: &str| Rule { id: id.into(), summary: summary.into(), help: help.into() };
    let frames = detect::DETECTORS.iter().map(|d| of(d.id, d.summary, d.fix));
    frames.chain(setting::SETTING_DETECTORS.iter().map(|d| of(d.id, d.summary, d.fix))).collect()
}

fn level(suspect: &Suspect) -> &'static str {
    match (suspect.kind.is_leak(), suspect.confidence) {
        (true, Confidence::High) => "error",
        (true, Confidence::Medium) => "warning",
        _ => "note",
    }
}

/// What it is, how much, why, and what to do; a reviewer sees nothing else.
fn message(suspect: &Suspect) -> String {
    let growth = suspect.growth;
    let rate = suspect.rates.first().map_or_else(String::new, |rate| format!(", {} per {}", iec(rate.bytes.estimate), singular(&rate.per)));
    let mut text = format!(
        "{}, {} confidence: `{}` grows by {} (95 %: {} to {}){rate}.",
        suspect.kind.word().replace('_', " "),
        suspect.confidence,
        suspect.owner.function,
        signed_iec(growth.estimate),
        iec(growth.low),
        iec(growth.high)
    );
    for evidence in &suspect.evidence {
        text.push_str(&format!("\nWhy: {} ({}).", evidence.claim, evidence.source));
    }
    text.push_str(&format!("\nFix: {}.\nWrong if: {}.", suspect.remedy, suspect.refuted_by));
    text
}

fn whole(interval: Interval) -> Value {
    json!({"estimate": interval.estimate.round() as i64, "low": interval.low.round() as i64, "high": interval.high.round() as i64})
}

fn result(finding: &Finding, rules: &[&str], places: &Places) -> Wire {
    let place = |frame: &FrameView| frame.file.as_ref().and_then(|file| places.get(file)).cloned();
    let located = finding.frames.iter().find(|frame| place(frame).is_some());
    let first = located.or(finding.frames.first());
    // A hash and the number of its occurrence: the form that GitHub's code scanning expects.
    let hash = format!("{}:1", finding.fingerprint);
    Wire {
        rule_index: rules.iter().position(|id| *id == finding.rule),
        rule_id: finding.rule.clone(),
        level: finding.level,
        message: text(&finding.message),
        locations: first.map(|frame| location(frame, place(frame))).into_iter().collect(),
        related_locations: finding
            .related
            .iter()
            .map(|(frame, what)| Location { message: Some(text(what)), ..location(frame, place(frame)) })
            .collect(),
        stacks: vec![Stack {
            frames: finding
                .frames
                .iter()
                .skip(1)
                .map(|frame| StackFrame { location: location(frame, place(frame)), module: frame.module.clone() })
                .collect(),
        }],
        partial_fingerprints: BTreeMap::from([("primaryLocationLineHash", hash), ("heaptriage/v1", finding.fingerprint.clone())]),
        baseline_state: finding.baseline,
        suppressions: finding.suppressed.iter().map(|reason| Suppression { kind: "external", justification: reason.clone() }).collect(),
        properties: finding.properties.clone(),
    }
}

fn location(frame: &FrameView, place: Option<String>) -> Location {
    let physical = place.map(|path| Physical {
        artifact_location: Artifact { uri: uri(&path), uri_base_id: "%SRCROOT%" },
        region: frame.line.filter(|line| *line > 0).map(|start_line| Region { start_line }),
    });
    Location {
        physical_location: physical,
        logical_locations: [Logical { fully_qualified_name: frame.function.clone(), kind: "function" }],
        message: None,
    }
}

/// A relative path as a URI reference (RFC 3986): everything but unreserved characters and `/` as percent codes.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn text(text: &str) -> Message {
    Message { text: literal(text) }
}

/// A text without placeholders: `{0}` would be one, and a brace that is none is doubled (SARIF 2.1.0, section 3.11.5). Closures
/// are written with one brace, so that viewers that undouble and those that do not show names that exist.
fn literal(text: &str) -> String {
    text.replace("{{closure}}", "{closure}").replace('{', "{{").replace('}', "}}")
}

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    column_kind: &'static str,
    results: Vec<Wire>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    version: &'static str,
    information_uri: &'static str,
    rules: Vec<WireRule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireRule {
    id: String,
    short_description: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<Message>,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    rule_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    stacks: Vec<Stack>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
    properties: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<Physical>,
    logical_locations: [Logical; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    uri: String,
    uri_base_id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logical {
    fully_qualified_name: String,
    kind: &'static str,
}

#[derive(Serialize)]
struct Stack {
    frames: Vec<StackFrame>,
}

#[derive(Serialize)]
struct StackFrame {
    location: Location,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    justification: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::suppress::tests::suspect;

    fn places() -> Places {
        [("/srv/app/src/memo.rs", "src/memo.rs"), ("/srv/app/src/serve me.rs", "src/serve me.rs")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into()
    }

    #[test]
    fn braces_are_no_placeholders() {
        assert_eq!(literal("a::{{closure}} and {0}"), "a::{{closure}} and {{0}}");
        assert_eq!(literal("{impl#1}::run"), "{{impl#1}}::run");
    }

    fn one() -> Suspect {
        let mut one = suspect(
            "a malloc\nl alloc::string::String::clone | /rustc/5/library/alloc/src/string.rs\nd other::make | /c/other-1.0.0/src/lib.rs\nu app::remember | /srv/app/src/memo.rs\nu app::serve | /srv/app/src/serve me.rs",
        );
        one.stack[3].line = Some(40);
        one.owner = one.stack[2].clone();
        one
    }

    /// Validates a log against the official schema.
    #[track_caller]
    fn valid(log: &Value) {
        use std::io::Read;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/schemas/sarif-2.1.0.json.gz");
        let mut schema = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut schema).unwrap();
        let mut schema: Value = serde_json::from_str(&schema).unwrap();
        // The one pattern that is no regular expression by the standard: a bracket closes that was never opened.
        for object in ["run", "toolComponent"] {
            if let Some(language) = schema["definitions"][object]["properties"]["language"].as_object_mut() {
                language.remove("pattern");
            }
        }
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(log).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert_eq!(errors, Vec::<String>::new());
    }

    #[test]
    fn logs_satisfy_the_official_schema() {
        valid(&log(&[], &rules(), &Places::new()));
        let mut suppressed = one();
        suppressed.suppressed = Some("known (heaptriage.toml:3)".into());
        suppressed.pattern = None;
        let all = findings(&[one(), suppressed], Some(&[0]));
        let log = log(&all, &rules(), &places());
        valid(&log);
        let results = &log["runs"][0]["results"];
        assert_eq!(results[0]["baselineState"], "unchanged");
        assert_eq!(results[1]["suppressions"][0]["justification"], "known (heaptriage.toml:3)");
        assert_eq!((&results[0]["ruleId"], &results[1]["ruleId"]), (&json!("unbounded_map"), &json!("leak")));
        assert_eq!(
            log["runs"][0]["tool"]["driver"]["rules"][1]["shortDescription"]["text"],
            "a map is inserted into and nothing is removed"
        );
    }

    #[test]
    fn the_location_is_the_first_frame_in_the_repository() {
        let log = log(&findings(&[one()], None), &rules(), &places());
        let result = &log["runs"][0]["results"][0];
        let physical = &result["locations"][0]["physicalLocation"];
        assert_eq!(physical["artifactLocation"], json!({"uri": "src/memo.rs", "uriBaseId": "%SRCROOT%"}));
        assert_eq!(physical["region"], json!({"startLine": 40}));
        assert_eq!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "app::remember");
        let frames = result["stacks"][0]["frames"].as_array().unwrap();
        assert_eq!(frames.len(), 3); // hidden ones left out
        assert_eq!(frames[2]["location"]["physicalLocation"]["artifactLocation"]["uri"], "src/serve%20me.rs");
    }

    #[test]
    fn places_of_skipped_drops_are_related() {
        let mut one = one();
        one.sites.push(SiteView {
            kind: "arena-freeze".into(),
            skip: String::new(),
            type_name: "app::Doc".into(),
            owns_via: String::new(),
            function: "app::index".into(),
            file: Some("/srv/app/src/memo.rs".into()),
            line: Some(7),
            tier: 2,
            via: Vec::new(),
            addresses: Vec::new(),
            complete: true,
            binary: "app".into(),
            explains: true,
        });
        let log = log(&findings(&[one], None), &rules(), &places());
        valid(&log);
        let related = &log["runs"][0]["results"][0]["relatedLocations"];
        assert_eq!(related[0]["message"]["text"], "arena-freeze of `app::Doc`");
        assert_eq!(related[0]["physicalLocation"]["region"]["startLine"], 7);
        assert_eq!(related[0]["physicalLocation"]["artifactLocation"]["uri"], "src/memo.rs");
        assert_eq!(related[0]["logicalLocations"][0]["fullyQualifiedName"], "app::index");
    }

    #[test]
    fn without_a_repository_the_function_is_the_location() {
        let log = log(&findings(&[one()], None), &rules(), &Places::new());
        let location = &log["runs"][0]["results"][0]["locations"][0];
        assert_eq!(location["logicalLocations"][0]["fullyQualifiedName"], "other::make");
        assert!(location.get("physicalLocation").is_none());
    }

    #[test]
    fn fingerprints_have_no_lines() {
        let hash = |line: u32| {
            let mut one = one();
            one.stack[3].line = Some(line);
            log(&findings(&[one], None), &rules(), &places())["runs"][0]["results"][0]["partialFingerprints"].clone()
        };
        assert_eq!(hash(40), hash(41));
        assert_eq!(hash(40)["primaryLocationLineHash"], "a41f09c25b7e11d0:1");
    }
}
