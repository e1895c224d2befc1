//! Return addresses to named frames.
