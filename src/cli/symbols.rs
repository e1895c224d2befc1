//! The options of every command that names addresses, as one group.

use crate::model::frame::{ModuleStatus, Symbols};
use crate::symbolize::{BinaryArg, SymbolOptions};
use anyhow::bail;
use clap::Args;
use std::path::PathBuf;

/// Where binaries and debug information are found.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Symbols")]
pub struct SymbolArgs {
    /// A binary that ran, for a module of the profile: needed when it has moved or runs elsewhere.
    /// Without MODULE= it serves the module whose build-id, else layout, else base name matches. Repeatable.
    #[arg(long = "binary", value_name = "[MODULE=]PATH")]
    pub binaries: Vec<String>,
    /// A root of debug files, as /usr/lib/debug is one, looked at first. Also for .dwo and .dwp files. Repeatable.
    #[arg(long = "debug-dir", value_name = "DIR")]
    pub debug_dirs: Vec<PathBuf>,
    /// Look up the paths of mappings below this directory, such as the unpacked image of a container.
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// One frame per address: inlined calls are not expanded. Owners are then coarser.
    #[arg(long)]
    pub no_inlines: bool,
    /// Fail (exit code 2) when the binary of a module is missing, or is not the one that ran.
    #[arg(long)]
    pub strict: bool,
    /// Neither read nor write the cache of symbols.
    #[arg(long)]
    pub no_cache: bool,
}

impl SymbolArgs {
    /// The options of the library; reads the environment (`PPROF_BINARY_PATH`, `DEBUGINFOD_CACHE_PATH`).
    pub fn options(&self) -> SymbolOptions {
        let mut options = SymbolOptions { inlines: !self.no_inlines, ..SymbolOptions::default() };
        options.binaries = self.binaries.iter().map(|argument| binary_arg(argument)).collect();
        if let Some(sysroot) = &self.sysroot {
            options.sysroot.clone_from(sysroot);
            options.debug_dirs.insert(0, sysroot.join("usr/lib/debug"));
        }
        options.debug_dirs.splice(0..0, self.debug_dirs.iter().cloned());
        let home = std::env::var_os("HOME").map(PathBuf::from);
        options.pprof_dirs = match std::env::var_os("PPROF_BINARY_PATH") {
            Some(paths) => std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => home.iter().map(|home| home.join("pprof/binaries")).collect(),
        };
        let debuginfod = std::env::var_os("DEBUGINFOD_CACHE_PATH").map(PathBuf::from);
        options.debuginfod_cache = debuginfod.or_else(|| Some(user_cache()?.join("debuginfod_client")));
        options.cache = cache_dir().filter(|_| !self.no_cache);
        options
    }

    /// With `--strict`, an error when a module's binary is missing or is another build.
    ///
    /// # Errors
    /// Names every such module and what to pass.
    pub fn check(&self, symbols: &Symbols) -> anyhow::Result<()> {
        if !self.strict {
            return Ok(());
        }
        let gaps: Vec<String> = symbols
            .modules
            .iter()
            .filter(|module| matches!(module.status, ModuleStatus::Missing | ModuleStatus::Mismatched))
            .map(|module| {
                format!("{} is {}: {}", crate::origin::printable(&module.name), module.status, module.remedy.as_deref().unwrap_or_default())
            })
            .collect();
        if !gaps.is_empty() {
            bail!("--strict: {}", gaps.join("; "));
        }
        Ok(())
    }
}

/// Where caches of the user go (XDG base directories); `None` without a home.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}

/// Where the cache of symbols is; `None` without a home.
pub fn cache_dir() -> Option<PathBuf> {
    Some(user_cache()?.join("heaptriage/symbols"))
}

/// `MODULE=PATH`, or a path; a file whose name holds `=` is passed as `./a=b`.
fn binary_arg(argument: &str) -> BinaryArg {
    match argument.split_once('=') {
        Some((module, path)) if !module.is_empty() && !module.starts_with('.') && !path.is_empty() => {
            BinaryArg { module: Some(module.to_owned()), path: PathBuf::from(path) }
        }
        _ => BinaryArg { module: None, path: PathBuf::from(argument) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_optional() {
        let check = |text: &str, module: Option<&str>, path: &str| {
            assert_eq!(binary_arg(text), BinaryArg { module: module.map(str::to_owned), path: PathBuf::from(path) });
        };
        check("/srv/app", None, "/srv/app");
        check("app=/srv/app.old", Some("app"), "/srv/app.old");
        check("/usr/bin/app=/srv/app", Some("/usr/bin/app"), "/srv/app");
        check("./a=b", None, "./a=b");
        check("=x", None, "=x");
    }
}
