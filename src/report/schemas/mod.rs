//! The JSON Schemas of the outputs, by name. Keys may be added to an output, never renamed or removed.

/// Name of an output and its schema.
pub const SCHEMAS: [(&str, &str); 15] = [
    ("report", include_str!("report.json")),
    ("diff", include_str!("diff.json")),
    ("top", include_str!("top.json")),
    ("tree", include_str!("tree.json")),
    ("peek", include_str!("peek.json")),
    ("list", include_str!("list.json")),
    ("rss", include_str!("rss.json")),
    ("trend", include_str!("trend.json")),
    ("sites", include_str!("sites.json")),
    ("owners", include_str!("owners.json")),
    ("check", include_str!("check.json")),
    ("baseline", include_str!("baseline.json")),
    ("doctor", include_str!("doctor.json")),
    ("profile", include_str!("profile.json")),
    ("fleet", include_str!("fleet.json")),
];
