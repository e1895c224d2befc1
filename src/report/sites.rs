//! `sites` as text, JSON and SARIF.

use crate::analysis::ownership::rule::Owns;
use crate::analysis::sites::frames::Standing;
use crate::analysis::sites::{LineOf, Site, SiteKind, Sites, type_name};
use crate::origin::printable;
use serde::Serialize;
use std::fmt::Write as _;

/// What `sites` found, ready to print.
#[derive(Debug)]
pub struct SitesReport<'a> {
    /// The binary as given.
    pub binary: &'a str,
    /// Its identity in hex.
    pub build_id: Option<String>,
    /// `full`, `lines`, `names` or `none`.
    pub debug_info: &'static str,
    /// What was found.
    pub sites: &'a Sites,
    /// Sentences about what the binary lets one see.
    pub notes: Vec<String>,
    /// Findings shown at most.
    pub rows: usize,
    /// Sites of dependencies are shown too.
    pub dependencies: bool,
}

#[derive(Serialize)]
struct Wire<'a> {
    schema: &'static str,
    binary: &'a str,
    build_id: Option<&'a str>,
    debug_info: &'static str,
    sites: Vec<WireSite<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct WireSite<'a> {
    kind: &'static str,
    r#type: String,
    owns_heap: &'static str,
    owns_via: Option<String>,
    function: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    line_of: &'static str,
    tier: u8,
    complete: bool,
    addresses: Vec<String>,
    via: &'a [String],
    user_code: bool,
    cleared: Option<&'a str>,
    clears_if: &'static str,
}

fn line_of(site: &Site) -> &'static str {
    match site.line_of {
        LineOf::Call => "call",
        LineOf::Variable => "variable",
        LineOf::Function => "function",
    }
}

fn owns_via(owns: &Owns) -> Option<String> {
    match owns {
        Owns::Yes(via) => Some(via.text()),
        Owns::Maybe(reason) => Some(reason.clone()),
        Owns::No => None,
    }
}

/// JSON, `heaptriage/sites/1`: every site, cleared ones with the reason.
///
/// # Errors
/// Never for this data; serde's signature has it.
pub fn json(report: &SitesReport<'_>) -> serde_json::Result<String> {
    let site = |site| {
        let site: &Site = site;
        WireSite {
            kind: site.kind.word(),
            r#type: type_name::display(&site.type_name).into_owned(),
            owns_heap: site.owns.word(),
            owns_via: owns_via(&site.owns),
            function: &site.function,
            file: site.file.as_deref(),
            line: site.line,
            line_of: line_of(site),
            tier: site.tier,
            complete: site.complete,
            addresses: site.addresses.iter().map(|address| format!("{address:#x}")).collect(),
            via: &site.via,
            user_code: site.standing == Standing::User,
            cleared: site.cleared.as_deref(),
            clears_if: site.clears_if(),
        }
    };
    let wire = Wire {
        schema: "heaptriage/sites/1",
        binary: report.binary,
        build_id: report.build_id.as_deref(),
        debug_info: report.debug_info,
        sites: report.sites.sites.iter().map(site).collect(),
        notes: &report.notes,
    };
    let mut text = serde_json::to_string_pretty(&wire)?;
    text.push('\n');
    Ok(text)
}

/// Findings in the order people should look at them: those sure to own memory, frozen containers, arenas, the rest.
fn findings<'a>(report: &SitesReport<'a>, standing: Standing) -> Vec<&'a Site> {
    let mut found: Vec<&Site> = report.sites.sites.iter().filter(|site| site.is_finding() && site.standing == standing).collect();
    let order = |site: &Site| {
        let sure = !site.owns.is_yes();
        let group = match site.kind {
            SiteKind::ArenaFreeze => 0,
            SiteKind::ArenaAlloc | SiteKind::ArenaAllocSlice | SiteKind::BumpBoxLeak => 1,
            _ => 2,
        };
        (sure, group)
    };
    found.sort_by_key(|site| order(site));
    found
}

/// Text: findings of user code, the rest counted.
pub fn text(report: &SitesReport<'_>) -> String {
    let mut out = String::new();
    let mine = findings(report, Standing::User);
    let others = findings(report, Standing::Dependency);
    let name = report.binary.rsplit('/').next().unwrap_or(report.binary);
    let _ = match mine.len() {
        0 => writeln!(out, "{}: no place found in user code where drop glue is skipped for a type that owns heap memory", printable(name)),
        1 => writeln!(out, "{}: 1 place in user code where drop glue is skipped for a type that owns heap memory", printable(name)),
        count => {
            writeln!(out, "{}: {count} places in user code where drop glue is skipped for types that own heap memory", printable(name))
        }
    };
    for site in mine.iter().take(report.rows) {
        one(&mut out, site, report);
    }
    if mine.len() > report.rows {
        let _ = writeln!(out, "and {} more (--top 0 shows all)", mine.len() - report.rows);
    }
    if report.dependencies {
        for site in &others {
            one(&mut out, site, report);
        }
    }
    counts(&mut out, report, &others);
    for note in &report.notes {
        let _ = writeln!(out, "{}", printable(note));
    }
    out
}

fn one(out: &mut String, site: &Site, report: &SitesReport<'_>) {
    let place = match (&site.file, site.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        (None, _) => "no source line".to_owned(),
    };
    let _ = writeln!(out, "\n{}  {}", printable(&site.function), printable(&place));
    let element = type_name::display(&site.type_name).into_owned();
    let what = match (site.kind, site.tier) {
        (SiteKind::ArenaFreeze, 2) => format!(
            "some normal path leaves without dropping a container of `{element}` in the arena: never dropped here; if it is frozen into the arena, its elements' heap memory is lost"
        ),
        (SiteKind::ArenaFreeze, _) => format!("a container of `{element}` becomes a slice of the arena: its elements are never dropped"),
        (SiteKind::ArenaAlloc, _) => format!("a `{element}` is placed in an arena, which never drops it"),
        (SiteKind::ArenaAllocSlice, _) => format!("a slice of `{element}` is placed in an arena, which never drops its elements"),
        (SiteKind::BumpBoxLeak, _) => format!("a box of `{element}` in the arena is never dropped"),
        (SiteKind::Forget, _) => format!("a `{element}` is forgotten: its destructor never runs"),
        (SiteKind::ManuallyDrop, _) => format!("a `{element}` in a `ManuallyDrop`: its destructor runs only by hand"),
        (SiteKind::ManuallyDropField, _) => {
            format!("a field holds a `{element}` in a `ManuallyDrop`, and its struct has no `Drop` implementation")
        }
        (SiteKind::BoxLeak, _) => format!("a `Box<{element}>` is given away: nothing frees it unless it is taken back"),
        (SiteKind::VecLeak, _) => format!("a `Vec<{element}>` is given away: nothing frees it unless it is taken back"),
        (SiteKind::StringLeak | SiteKind::CStringIntoRaw, _) => {
            format!("a `{element}` is given away: nothing frees it unless it is taken back")
        }
        (SiteKind::RcIntoRaw, _) => format!("an `Rc<{element}>` becomes a raw pointer: its count stays"),
        (SiteKind::ArcIntoRaw, _) => format!("an `Arc<{element}>` becomes a raw pointer: its count stays"),
        (SiteKind::ArenaStr | SiteKind::ArenaCopy, _) => format!("`{element}` in an arena"),
    };
    let _ = writeln!(out, "  {:<20}{}", site.kind.word(), printable(&what));
    if report.debug_info == "names" && site.tier == 2 {
        let _ = writeln!(out, "  {:<20}or a type of the same layout: linkers fold the glue of such types under one name", "its type");
    }
    match &site.owns {
        Owns::Yes(via) => drop(writeln!(out, "  {:<20}{}", "owns heap", printable(&via.text()))),
        Owns::Maybe(reason) => drop(writeln!(out, "  {:<20}maybe: {}", "owns heap", printable(reason))),
        Owns::No => {}
    }
    if !site.via.is_empty() {
        let _ = writeln!(out, "  {:<20}{}", "through", printable(&site.via.join(" -> ")));
    }
    let tier = match site.tier {
        1 => "a call in the debug info",
        3 => "the source text",
        _ => "a walk of the machine code",
    };
    let incomplete = if site.complete { "" } else { "; some jumps could not be followed" };
    let line = match (site.line_of, site.line) {
        (LineOf::Variable, Some(_)) => "; the line is that of the variable",
        (LineOf::Function, Some(_)) => "; the line is that of the function",
        _ => "",
    };
    let _ = writeln!(out, "  {:<20}{tier}{line}{incomplete}", "found by");
    let _ = writeln!(out, "  {:<20}{}", "harmless if", printable(site.clears_if()));
}

fn counts(out: &mut String, report: &SitesReport<'_>, others: &[&Site]) {
    let cleared: Vec<&Site> = report.sites.sites.iter().filter(|site| site.standing == Standing::User && !site.is_finding()).collect();
    let owning = cleared.iter().filter(|site| !matches!(site.owns, Owns::No)).count();
    let _ = writeln!(
        out,
        "\nLooked at and harmless: {} sites without heap memory, {owning} cleared, {} containers that every path drops. --json lists them with reasons.",
        cleared.len() - owning,
        report.sites.containers_dropped
    );
    if report.sites.containers_untold > 0 {
        let _ = writeln!(
            out,
            "Cannot tell: {} containers that leave a function without a drop that symbols or line tables show; it may be inlined. Rebuild with debug = 2.",
            report.sites.containers_untold
        );
    }
    if !others.is_empty() && !report.dependencies {
        let _ = writeln!(out, "{} more in dependencies (--dependencies shows them).", others.len());
    }
}

/// SARIF 2.1.0: one result for each finding.
///
/// # Errors
/// Never for this data; serde's signature has it.
pub fn sarif(report: &SitesReport<'_>) -> serde_json::Result<String> {
    let results: Vec<serde_json::Value> = findings(report, Standing::User)
        .into_iter()
        .map(|site| {
            let message = format!(
                "{}: drop glue is skipped for `{}`, which owns heap memory ({})",
                site.function,
                type_name::display(&site.type_name),
                owns_via(&site.owns).unwrap_or_default()
            );
            let locations = match (&site.file, site.line) {
                (Some(file), line) => serde_json::json!([{
                    "physicalLocation": {
                        "artifactLocation": {"uri": file},
                        "region": {"startLine": line.unwrap_or(1).max(1)}
                    }
                }]),
                (None, _) => serde_json::json!([]),
            };
            serde_json::json!({
                "ruleId": site.kind.word(),
                "level": if site.owns.is_yes() { "warning" } else { "note" },
                "message": {"text": message},
                "locations": locations,
            })
        })
        .collect();
    let mut rules: Vec<&str> = report.sites.sites.iter().filter(|site| site.is_finding()).map(|site| site.kind.word()).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<serde_json::Value> = rules.into_iter().map(|rule| serde_json::json!({"id": rule})).collect();
    let log = serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "heaptriage", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results,
        }]
    });
    let mut text = serde_json::to_string_pretty(&log)?;
    text.push('\n');
    Ok(text)
}
