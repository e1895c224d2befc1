//! Starting a command with heap profiling on: which variable its allocator reads, and what to put in it.
//!
//! Nothing of the command's own settings is lost: what the environment already says for the allocator
//! comes after the defaults given here (in jemalloc the last value counts), and only `prof_prefix` is ours,
//! because the dumps must come into the capture.

use crate::capture::describe::option;
use crate::capture::program::{Jemalloc, Libc, Program};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where distributions put jemalloc.
const LIBRARIES: [&str; 7] = [
    "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
    "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2",
    "/usr/lib64/libjemalloc.so.2",
    "/usr/lib/libjemalloc.so.2",
    "/usr/local/lib/libjemalloc.so.2",
    "/usr/local/lib64/libjemalloc.so.2",
    "/usr/lib/x86_64-linux-gnu/libjemalloc.so.1",
];

/// What to set for a command.
#[derive(Clone, Debug, Default)]
pub struct LaunchOptions {
    /// Put this jemalloc before the C library's allocator; an empty path looks in the usual places.
    pub preload: Option<PathBuf>,
    /// More settings, in the form of `MALLOC_CONF`: they win over the defaults and over the environment.
    pub settings: Option<String>,
    /// Allocated bytes between two dumps; 0 for none.
    pub dump_interval: u64,
}

/// A command ready to start.
#[derive(Debug)]
pub struct Launch {
    /// With its environment.
    pub command: Command,
    /// The variables that were set, with their values.
    pub variables: Vec<(String, String)>,
    /// What will not work, and why.
    pub doubts: Vec<String>,
}

/// Why a command cannot be started with profiling.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No command.
    #[error("no command given after `--`")]
    Empty,
    /// Not in PATH.
    #[error("no program `{}` is there, neither as a path nor in PATH", .0.display())]
    NotFound(PathBuf),
    /// A preload that does not exist.
    #[error("no libjemalloc.so.2 in the usual places: install it (Debian: libjemalloc2), or name it with --preload=PATH")]
    NoLibrary,
    /// There is one, and it cannot be loaded.
    #[error("{}: linked with {libc}, and no libjemalloc.so.2 for {libc} is in the usual places, so none can be put before it: build jemalloc in, or name one with --preload=PATH", program.display())]
    NoneFits {
        /// The program.
        program: PathBuf,
        /// Its C library.
        libc: Libc,
    },
    /// A preload that cannot help.
    #[error("{}: {reason}", path.display())]
    BadLibrary {
        /// The library.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The capture's path ends up in a setting, where a comma separates.
    #[error("the path of the capture has a comma in it, which jemalloc's settings cannot hold: {}", .0.display())]
    Comma(PathBuf),
    /// The user wants the dumps elsewhere.
    #[error("prof_prefix is set for the capture itself: leave it out, or record with --pid and --dumps")]
    Prefix,
}

/// Prepares a command so that it dumps into the folder `spool`, an absolute path.
pub fn prepare(command: &[OsString], spool: &Path, options: &LaunchOptions) -> Result<Launch, LaunchError> {
    let (program, arguments) = command.split_first().ok_or(LaunchError::Empty)?;
    let path = find(program).ok_or_else(|| LaunchError::NotFound(program.into()))?;
    if spool.as_os_str().as_bytes().contains(&b',') {
        return Err(LaunchError::Comma(spool.to_owned()));
    }
    if options.settings.as_deref().is_some_and(|settings| option(settings, "prof_prefix").is_some()) {
        return Err(LaunchError::Prefix);
    }
    let facts = Program::read(&path, true);
    let own = facts.as_ref().ok().and_then(|facts| facts.jemalloc.clone());
    let nothing = Program::default();
    let preload = options.preload.as_deref().map(|wanted| library(wanted, &path, facts.as_ref().unwrap_or(&nothing))).transpose()?;
    let mut doubts = Vec::new();
    let name = path.display();
    match (&own, &preload, &facts) {
        (Some(own), None, _) if !own.profiling => doubts.push(format!(
            "{name}: its jemalloc was built without profiling, so there will be no dumps: build it with --enable-prof (in Rust the feature `profiling` of tikv-jemallocator)"
        )),
        (Some(own), Some(_), _) => doubts.push(format!(
            "{name} has a jemalloc of its own, which reads {}: the preloaded one serves only what does not go through it (the C library's malloc)", own.variable
        )),
        (None, _, Ok(facts)) if facts.is_static => doubts.push(format!(
            "{name}: no jemalloc in it, and it is statically linked, so that none can be loaded before it: there will be no dumps, only its memory map; build jemalloc in"
        )),
        (None, None, Ok(facts)) if !facts.needs_jemalloc => doubts.push(format!(
            "{name}: no jemalloc in it, so there will be no dumps, only its memory map: --preload puts one before it"
        )),
        _ => {}
    }
    let mut variables = Vec::new();
    let mut set = |variable: &str| {
        let value = settings(variable, spool, options);
        variables.push((variable.to_owned(), value));
    };
    match (&own, &preload) {
        (Some(own), None) => set(&own.variable),
        (Some(own), Some((_, library))) => {
            set(&own.variable);
            if library.variable != own.variable {
                set(&library.variable);
            }
        }
        (None, Some((_, library))) => set(&library.variable),
        // A script, or a program with a shared jemalloc: whichever it starts finds its variable.
        (None, None) => {
            set("MALLOC_CONF");
            set("_RJEM_MALLOC_CONF");
        }
    }
    let mut command = Command::new(program);
    command.args(arguments);
    for (variable, value) in &variables {
        command.env(variable, value);
    }
    if let Some((path, _)) = &preload {
        let mut all = OsString::from(path);
        if let Some(earlier) = std::env::var_os("LD_PRELOAD").filter(|earlier| !earlier.is_empty()) {
            all.push(":");
            all.push(earlier);
        }
        command.env("LD_PRELOAD", all);
    }
    Ok(Launch { command, variables, doubts })
}

/// Defaults, then what the environment says, then what the user asks, then where dumps go.
fn settings(variable: &str, spool: &Path, options: &LaunchOptions) -> String {
    let mut value = String::from("prof:true,prof_active:true,prof_final:true");
    if options.dump_interval > 0 {
        value += &format!(",lg_prof_interval:{}", options.dump_interval.ilog2());
    }
    let environment = std::env::var(variable).ok();
    for more in [environment.as_deref(), options.settings.as_deref()].into_iter().flatten().filter(|more| !more.is_empty()) {
        value.push(',');
        value += more.trim_matches(',');
    }
    value += &format!(",prof_prefix:{}", spool.join("jeprof").display());
    value
}

/// Shared jemallocs of this machine that load into a process of `program`.
pub fn libraries(program: &Program) -> impl Iterator<Item = (PathBuf, Program)> {
    let read = |path: PathBuf| Program::read(&path, true).ok().map(|facts| (path, facts));
    LIBRARIES.iter().map(PathBuf::from).filter(|path| path.exists()).filter_map(read).filter(|(_, library)| program.takes(library))
}

/// A jemalloc to preload, checked.
fn library(wanted: &Path, program: &Path, facts: &Program) -> Result<(PathBuf, Jemalloc), LaunchError> {
    let path = match wanted.as_os_str().is_empty() {
        false => wanted.to_owned(),
        true => match (libraries(facts).next(), facts.libc) {
            (Some((path, _)), _) => path,
            (None, Some(libc)) if libraries(&Program::default()).next().is_some() => {
                return Err(LaunchError::NoneFits { program: program.to_owned(), libc });
            }
            (None, _) => return Err(LaunchError::NoLibrary),
        },
    };
    let bad = |reason: String| LaunchError::BadLibrary { path: path.clone(), reason };
    let found = Program::read(&path, true).map_err(|error| bad(format!("cannot be preloaded: {error}")))?;
    if let Some((own, other)) = facts.libc.zip(found.libc).filter(|_| !facts.takes(&found)) {
        return Err(bad(format!("cannot be preloaded: it is built for {other}, and {} is linked with {own}", program.display())));
    }
    let facts = found;
    let jemalloc = facts.jemalloc.ok_or_else(|| bad("no jemalloc is in it".into()))?;
    if !jemalloc.prefix().is_empty() {
        return Err(bad(format!("its functions have the prefix {}: it does not replace malloc", jemalloc.prefix())));
    }
    if !jemalloc.profiling {
        return Err(bad("this jemalloc was built without profiling (--enable-prof)".into()));
    }
    let path = path.canonicalize().map_err(|error| bad(error.to_string()))?;
    Ok((path, jemalloc))
}

/// The file that a command name means, as `execvp` finds it.
fn find(program: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return is_program(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<OsString> {
        command.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_program_that_cannot_profile_is_started_with_a_doubt() {
        let launch =
            prepare(&words("sleep 1"), Path::new("/c/.dumps"), &LaunchOptions { dump_interval: 1 << 30, ..Default::default() }).unwrap();
        assert_eq!(launch.doubts.len(), 1, "{:?}", launch.doubts);
        assert!(launch.doubts[0].contains("--preload"));
        let (variable, value) = &launch.variables[0];
        assert_eq!(variable, "MALLOC_CONF");
        assert!(value.starts_with("prof:true,") && value.contains(",lg_prof_interval:30"));
        assert!(value.ends_with(",prof_prefix:/c/.dumps/jeprof"));
    }

    #[test]
    fn what_the_user_sets_wins_but_for_the_place() {
        let options = LaunchOptions { settings: Some("lg_prof_sample:15,prof_final:false".into()), ..Default::default() };
        let launch = prepare(&words("sleep 1"), Path::new("/c/.dumps"), &options).unwrap();
        assert_eq!(option(&launch.variables[0].1, "prof_final"), Some("false"));
        let options = LaunchOptions { settings: Some("prof_prefix:/tmp/x".into()), ..Default::default() };
        assert!(matches!(prepare(&words("sleep 1"), Path::new("/c"), &options), Err(LaunchError::Prefix)));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let default = LaunchOptions::default();
        assert!(matches!(prepare(&[], Path::new("/c"), &default), Err(LaunchError::Empty)));
        assert!(matches!(prepare(&words("no-such-program-anywhere"), Path::new("/c"), &default), Err(LaunchError::NotFound(_))));
        assert!(matches!(prepare(&words("sleep 1"), Path::new("/a,b"), &default), Err(LaunchError::Comma(_))));
        let preload = |path: &str| LaunchOptions { preload: Some(path.into()), ..Default::default() };
        assert!(matches!(prepare(&words("sleep 1"), Path::new("/c"), &preload("/no/lib.so")), Err(LaunchError::BadLibrary { .. })));
        let shell = find(OsStr::new("sh")).unwrap();
        let error = prepare(&words("sleep 1"), Path::new("/c"), &preload(shell.to_str().unwrap())).unwrap_err();
        assert!(error.to_string().contains("no jemalloc"), "{error}");
    }
}
