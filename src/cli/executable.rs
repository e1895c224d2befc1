//! One binary that `sites` and `owners` read: its debug files, how far the reading is, and results kept from before.

use super::Context;
use super::symbols::{SymbolArgs, cache_dir};
use crate::binary::facts::Options;
use crate::binary::progress::Progress;
use crate::symbolize::cache::Kept;
use crate::symbolize::locate;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// The binary, and where its debug information is.
#[derive(Debug, Args)]
pub struct ExecutableArgs {
    /// The executable or library, with its debug information.
    #[arg(value_name = "BINARY")]
    pub binary: PathBuf,
    /// The file with the debug information, where it is kept apart from the binary: needed when neither a link in the binary nor
    /// its build-id leads there.
    #[arg(long, value_name = "FILE")]
    pub debug_file: Option<PathBuf>,
    /// A root of debug files, as /usr/lib/debug is one, looked at first. Also for .dwo and .dwp files. Repeatable.
    #[arg(long = "debug-dir", value_name = "DIR")]
    pub debug_dirs: Vec<PathBuf>,
    /// Neither read nor write the cache: the result for a large binary is kept by its build-id.
    #[arg(long)]
    pub no_cache: bool,
}

impl ExecutableArgs {
    /// What to read, with a progress bar where there is a terminal.
    ///
    /// # Errors
    /// When the binary cannot be opened or is no ELF file.
    pub fn options(&self, context: &Context) -> anyhow::Result<Options> {
        let symbols = SymbolArgs { debug_dirs: self.debug_dirs.clone(), no_cache: true, ..SymbolArgs::default() };
        let (beside, notices) = locate::debug_files(&self.binary, &symbols.options())?;
        if self.debug_file.is_none() {
            context.notices(&notices);
        }
        Ok(Options {
            debug_file: self.debug_file.clone().or(beside.debug),
            alternate: beside.alternate,
            package: beside.package,
            split: beside.split,
            progress: progress(context),
            ..Options::default()
        })
    }

    /// Where the result is kept; `None` where it is not.
    pub fn kept(&self, options: &Options, question: &[&str]) -> Option<Kept> {
        let keeps = !self.no_cache;
        keeps.then(|| kept(&self.binary, options, question)).flatten()
    }
}

/// Where an answer of a binary is kept; `None` where it is not: small binaries, split files one by one.
pub fn kept(binary: &Path, options: &Options, question: &[&str]) -> Option<Kept> {
    let dir = cache_dir().filter(|_| options.split.is_empty())?;
    let mut files: Vec<&Path> = vec![binary];
    files.extend([&options.debug_file, &options.alternate, &options.package].into_iter().flatten().map(PathBuf::as_path));
    let binary = binary.to_string_lossy();
    // A build of the same version may say something else.
    let this = std::env::current_exe().and_then(std::fs::metadata).ok();
    let this = format!("{:?}", this.map(|this| (this.len(), this.modified().ok())));
    let question: Vec<&str> = [env!("CARGO_PKG_VERSION"), &this, &binary].into_iter().chain(question.iter().copied()).collect();
    Kept::open(&dir, &files, &question)
}

/// A bar on standard error, gone when the reading is done.
fn progress(context: &Context) -> Progress {
    if !context.shows_progress() {
        return Progress::default();
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("reading debug info {wide_bar} {bytes} of {total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    Progress::to(move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    })
}
