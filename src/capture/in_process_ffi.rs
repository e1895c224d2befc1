//! The two calls into jemalloc that its safe wrapper does not have: `prof.dump` to a named file, `prof.active`.
//!
//! The second home of `unsafe` beside `binary/file.rs`, compiled only with the feature `in-process`.
#![allow(unsafe_code, reason = "prof.dump takes a C string by pointer, and tikv-jemalloc-ctl leaves that to its caller")]

use std::ffi::CStr;
use tikv_jemalloc_ctl::{Error, raw};

/// Writes a heap dump to `path`. An error when profiling is not compiled in or not on, or the file cannot be written.
pub(super) fn dump(path: &CStr) -> Result<(), Error> {
    // SAFETY: `prof.dump` takes one `const char *` that must point to a NUL-terminated string for the
    // length of the call (jemalloc(3)); `path` is one and outlives it. The value written has the size
    // of a pointer, which is what jemalloc checks.
    unsafe { raw::write(b"prof.dump\0", path.as_ptr()) }
}

/// Whether allocations are being sampled now; `None` when profiling is not compiled in.
pub(super) fn is_active() -> Option<bool> {
    // SAFETY: `prof.active` is a C `bool` (jemalloc(3)), which has the size and the values of Rust's.
    unsafe { raw::read::<bool>(b"prof.active\0") }.ok()
}
