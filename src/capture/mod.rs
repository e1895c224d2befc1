//! Captures on disk: open and group files, record a live process. Touches the outside.
