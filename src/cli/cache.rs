//! `cache`: the symbols kept on disk.

use super::symbols::cache_dir;
use super::{Context, Outcome};
use crate::symbolize::cache::clear;
use crate::units::Bytes;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::io::Write;

/// Look after the cache of symbols.
///
/// Names of large binaries are kept by build-id below $XDG_CACHE_HOME (else ~/.cache), at most 512 MiB,
/// so that a second look is quick. It is never needed: --no-cache does without.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage cache clear
  heaptriage report capture/ --no-cache")]
pub struct CacheArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove every file of the cache.
    Clear,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be removed.
pub fn run(args: &CacheArgs, _context: &Context) -> anyhow::Result<Outcome> {
    let Action::Clear = args.action;
    let mut out = std::io::stdout().lock();
    match cache_dir() {
        Some(dir) => {
            let (files, bytes) = clear(&dir).with_context(|| format!("{}: cannot be cleared", dir.display()))?;
            let noun = if files == 1 { "file" } else { "files" };
            writeln!(out, "{}: {files} {noun} removed, {}", dir.display(), Bytes::new(bytes))?;
        }
        None => writeln!(out, "there is no cache: neither XDG_CACHE_HOME nor HOME is set")?,
    }
    Ok(Outcome::Done)
}
