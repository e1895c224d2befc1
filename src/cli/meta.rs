//! `completions` and `man`: made from the same clap definition as the help.

use super::output::{Format, Output};
use super::{Cli, Outcome};
use anyhow::Context as _;
use clap::{Args, Command, CommandFactory};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage completions bash > ~/.local/share/bash-completion/completions/heaptriage
  heaptriage completions fish > ~/.config/fish/completions/heaptriage.fish")]
pub struct CompletionsArgs {
    /// Shell to write the script for.
    shell: clap_complete::Shell,
    /// Write to FILE instead of standard output; it is replaced only once it is complete.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage man diff | man -l -
  heaptriage man --dir ~/.local/share/man/man1")]
pub struct ManArgs {
    /// A command; without one the page of the program.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write the pages of the program and of all its commands into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
    /// Write to FILE instead of standard output; it is replaced only once it is complete.
    #[arg(short, long, value_name = "FILE", conflicts_with = "dir")]
    output: Option<PathBuf>,
}

/// Prints a completion script.
///
/// # Errors
/// Those of standard output.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "heaptriage", &mut script);
    write(args.output.as_deref(), &script)?;
    Ok(Outcome::Done)
}

/// Prints a manual page in roff, or writes all of them.
///
/// # Errors
/// No such command, or a file that cannot be written.
pub fn man(args: &ManArgs) -> anyhow::Result<Outcome> {
    let mut cli = Cli::command();
    cli.build();
    if let Some(directory) = &args.dir {
        let shown = || crate::origin::printable(&directory.to_string_lossy()).into_owned();
        std::fs::create_dir_all(directory).with_context(|| format!("cannot write to {}", shown()))?;
        let mut written = 0;
        for command in [&cli].into_iter().chain(cli.get_subcommands()) {
            let path = directory.join(format!("{}.1", name(command)));
            std::fs::write(&path, page(command)?).with_context(|| format!("cannot write to {}", shown()))?;
            written += 1;
        }
        writeln!(std::io::stdout(), "{written} pages written to {}", shown())?;
        return Ok(Outcome::Done);
    }
    let command = match &args.command {
        None => &cli,
        Some(asked) => cli.find_subcommand(asked).with_context(|| {
            let names: Vec<&str> = cli.get_subcommands().map(Command::get_name).collect();
            format!("there is no command `{}`\n  help: commands are {}", crate::origin::printable(asked), names.join(", "))
        })?,
    };
    write(args.output.as_deref(), &page(command)?)?;
    Ok(Outcome::Done)
}

/// Writes bytes to a file, else to standard output.
fn write(path: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    let mut output = Output::create(path, Format::Text)?;
    output.write_all(bytes)?;
    output.finish()
}

/// `heaptriage-diff`; the program itself `heaptriage`.
fn name(command: &Command) -> String {
    if command.get_name() == "heaptriage" { "heaptriage".to_owned() } else { format!("heaptriage-{}", command.get_name()) }
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let title = name(command);
    let command = command.clone().display_name(title.clone());
    clap_mangen::Man::new(command).title(title.to_uppercase()).section("1").render(&mut page)?;
    Ok(page)
}
