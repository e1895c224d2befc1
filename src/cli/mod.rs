//! The thin top: arguments, one file per subcommand, exit codes, the terminal.
//!
//! Each subcommand is a file with its `Args` and `fn run(args: Args, context: &Context) -> anyhow::Result<Outcome>`,
//! and one line in `Command`. No library function sees clap.

pub mod args;
pub mod binaries;
pub mod cache;
pub mod check;
pub mod convert;
pub mod diff;
pub mod doctor;
mod draft;
pub mod executable;
pub mod export;
pub mod fleet;
pub mod gauges;
pub mod help;
mod html;
pub mod load;
pub mod meta;
pub mod open;
pub mod output;
pub mod owners;
mod progress;
pub mod push;
pub mod record;
pub mod report;
pub mod rss;
pub mod schema;
mod screen;
pub mod sites;
pub mod source;
pub mod suppress;
pub mod symbols;
pub mod top;
pub mod trend;
pub mod view;

use clap::{Args, Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: a gate of `check` failed.
    GateFailed,
}

/// Exit code for usage errors, unusable input and internal errors.
pub const EXIT_ERROR: u8 = 2;

/// Heap-profile analysis and leak triage: is it a leak, and whose?
#[derive(Debug, Parser)]
#[command(name = "heaptriage", version, about, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
#[command(disable_help_subcommand = true, after_help = help::topics(), after_long_help = help::examples())]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print results only: no warnings, notices or progress on standard error.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more on standard error; twice for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// When to use color: a terminal gets it by default (NO_COLOR and CLICOLOR are heeded).
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
    /// Worker threads; 0 is one per core. The output does not depend on it.
    #[arg(short = 'j', long, global = true, value_name = "N", default_value_t = 0)]
    pub jobs: usize,
}

/// When to color output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What every command gets besides its own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    /// The global options.
    pub global: Global,
}

impl Context {
    /// Prints warnings to standard error, each kind of message once per input, unless `--quiet`.
    pub fn notices<'a>(&self, notices: impl IntoIterator<Item = &'a crate::origin::Notice>) {
        progress::end();
        if self.global.quiet {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        for notice in notices {
            // Nothing can be said about a standard error that cannot be written.
            let _ = writeln!(stderr, "heaptriage: warning: {notice}");
        }
    }

    /// Whether progress bars may be drawn.
    pub fn shows_progress(&self) -> bool {
        !self.global.quiet && std::io::stderr().is_terminal()
    }
}

/// The subcommands, one line each.
#[derive(Debug, Subcommand)]
enum Command {
    Convert(Box<convert::ConvertArgs>),
    /// Show where the resident memory is, over time.
    Rss(rss::RssArgs),
    /// Is profiling on and useful? What to set, and what to capture next.
    Doctor(doctor::DoctorArgs),
    /// Make a capture directory of a live process, or of a command started with profiling on.
    Record(record::RecordArgs),
    /// Find places where drop glue is skipped for types that own heap memory.
    Sites(sites::SitesArgs),
    /// Show who holds a type: ownership paths, the statics and thread-locals at their roots, reference cycles.
    Owners(owners::OwnersArgs),
    /// Is it a leak, and whose? Verdict, ledger, suspects with evidence, growth that is no leak.
    Report(Box<report::ReportArgs>),
    /// Growth of every group of stacks over all dumps: rate, interval, shape.
    Trend(Box<trend::TrendArgs>),
    Check(Box<check::CheckArgs>),
    /// What grew and shrank between two dumps, captures, runs or builds.
    Diff(diff::DiffArgs),
    /// The heaviest owners of memory in a dump.
    Top(top::TopArgs),
    /// The call tree of a dump.
    Tree(view::TreeArgs),
    /// Callers and callees of functions.
    Peek(view::PeekArgs),
    /// Source lines of functions with their bytes.
    List(view::ListArgs),
    /// A flamegraph as SVG; with --base of what grew and shrank.
    Flamegraph(view::FlamegraphArgs),
    Fleet(fleet::FleetArgs),
    /// Look after the cache of symbols.
    Cache(cache::CacheArgs),
    Push(Box<push::PushArgs>),
    /// Print the JSON Schema of an output.
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell.
    Completions(meta::CompletionsArgs),
    /// Print the manual page of the program or of a command.
    Man(meta::ManArgs),
    /// Print the help of a command, or a page about an idea.
    Help(help::HelpArgs),
}

/// Parses the arguments, runs the command and turns the outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse(); // clap exits with 2 on bad usage, 0 on --help
    let context = Context { global: cli.global };
    crate::binary::file::say_when_cut();
    match context.global.color {
        ColorWhen::Auto => {}
        ColorWhen::Always => anstream::ColorChoice::Always.write_global(),
        ColorWhen::Never => anstream::ColorChoice::Never.write_global(),
    }
    if context.global.jobs > 0 {
        // Fails only when a pool exists already, and none does before this line.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(context.global.jobs).build_global();
    }
    // A recording has a line of its own, and so has the reading of debug information.
    if !matches!(cli.command, Command::Record(_) | Command::Sites(_) | Command::Owners(_)) {
        progress::start(&context);
    }
    let result = match cli.command {
        Command::Convert(args) => convert::run(&args, &context),
        Command::Rss(args) => rss::run(args, &context),
        Command::Doctor(args) => doctor::run(&args, &context),
        Command::Record(args) => record::run(args, &context),
        Command::Sites(args) => sites::run(args, &context),
        Command::Owners(args) => owners::run(args, &context),
        Command::Report(args) => report::run(&args, &context),
        Command::Check(args) => check::run(&args, &context),
        Command::Diff(args) => diff::run(&args, &context),
        Command::Trend(args) => trend::run(&args, &context),
        Command::Top(args) => top::run(&args, &context),
        Command::Tree(args) => view::tree(&args, &context),
        Command::Peek(args) => view::peek(&args, &context),
        Command::List(args) => view::list(&args, &context),
        Command::Flamegraph(args) => view::flamegraph(&args, &context),
        Command::Fleet(args) => fleet::run(&args, &context),
        Command::Cache(args) => cache::run(&args, &context),
        Command::Schema(args) => schema::run(&args, &context),
        Command::Completions(args) => meta::completions(&args),
        Command::Man(args) => meta::man(&args),
        Command::Push(args) => push::run(&args, &context),
        Command::Help(args) => help::run(&args),
    };
    progress::end();
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::GateFailed) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "heaptriage: {}", crate::origin::printable_lines(&error.to_string()));
            for cause in error.chain().skip(1) {
                let _ = writeln!(stderr, "  {}", crate::origin::printable_lines(&cause.to_string()));
            }
            ExitCode::from(EXIT_ERROR)
        }
    }
}

/// The reader of our output has gone: a quiet success, as for every filter.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Command lines below `Examples:` in a help text, without what a shell does beside them.
    fn examples(help: &str) -> Vec<String> {
        let after = help.split_once("Examples:").map_or("", |(_, after)| after);
        let lines = after
            .lines()
            .map(str::trim)
            .map(|line| line.strip_prefix("sudo ").unwrap_or(line))
            .filter(|line| line.starts_with("heaptriage "));
        lines
            .flat_map(|line| line.split(" && "))
            .filter(|part| part.starts_with("heaptriage "))
            .map(|part| {
                let part = part.split(" | ").next().unwrap_or(part);
                part.split(" > ").next().unwrap_or(part).to_owned()
            })
            .collect()
    }

    /// Words as a shell splits them.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in line.chars() {
            match (c, quote) {
                (c, Some(q)) if c == q => quote = None,
                (c, Some(_)) => word.push(c),
                ('\'' | '"', None) => quote = Some(c),
                (' ', None) if !word.is_empty() => words.push(std::mem::take(&mut word)),
                (' ', None) => {}
                (c, None) => word.push(c),
            }
        }
        words.extend((!word.is_empty()).then_some(word));
        words
    }

    #[test]
    fn every_help_ends_with_two_examples_that_are_taken() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands().cloned().chain([Cli::command()]) {
            let help = command.clone().render_long_help().to_string();
            let found = examples(&help);
            assert!(found.len() >= 2, "`{}` has {} examples:\n{help}", command.get_name(), found.len());
            for example in found {
                // What a shell fills in is a number here.
                let line = example.replace("$(pidof indexer)", "4121").replace("$(pidof quarryd)", "4121");
                if let Err(error) = Cli::try_parse_from(words(&line)) {
                    panic!("`{}`: {example}\n{error}", command.get_name());
                }
            }
        }
    }
}
