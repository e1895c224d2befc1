//! The JSON Schemas of the outputs, by name. Keys may be added to an output, never renamed or removed.

/// Name of an output and its schema.
pub const SCHEMAS: [(&str, &str); 5] = [
    ("top", include_str!("top.json")),
    ("diff", include_str!("diff.json")),
    ("tree", include_str!("tree.json")),
    ("peek", include_str!("peek.json")),
    ("list", include_str!("list.json")),
];
