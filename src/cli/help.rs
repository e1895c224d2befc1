//! `help`: of a command, or a page about an idea.

use super::output::{Format, Output};
use super::{Cli, Outcome};
use crate::report::topic::{self, TOPICS};
use clap::{Args, Command, CommandFactory};
use std::io::Write;

/// Arguments of `help`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage help diff
  heaptriage help sampling")]
pub struct HelpArgs {
    /// A command, or a topic; without one, all of both.
    #[arg(value_name = "COMMAND|TOPIC")]
    about: Vec<String>,
}

/// Runs `help`.
///
/// # Errors
/// What is asked for is neither a command nor a topic.
pub fn run(args: &HelpArgs) -> anyhow::Result<Outcome> {
    let mut cli = Cli::command();
    cli.build();
    if let Some(command) = find(&mut cli, &args.about) {
        command.print_long_help()?;
        return Ok(Outcome::Done);
    }
    let asked = args.about.join(" ");
    let Some(topic) = topic::find(&asked) else {
        let commands: Vec<&str> = cli.get_subcommands().map(Command::get_name).collect();
        let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        anyhow::bail!(
            "there is no help on `{}`\n  help: topics are {}\n  help: commands are {}",
            crate::origin::printable(&asked),
            topics.join(", "),
            commands.join(", ")
        );
    };
    let mut output = Output::create(None, Format::Text)?;
    let text = topic::text(topic.page, output.look());
    output.write_all(text.as_bytes())?;
    output.finish()?;
    Ok(Outcome::Done)
}

/// The command of a path of names.
fn find<'a>(command: &'a mut Command, path: &[String]) -> Option<&'a mut Command> {
    match path.split_first() {
        None => Some(command),
        Some((name, rest)) => find(command.find_subcommand_mut(name)?, rest),
    }
}

/// The list of topics for the end of the program's help.
pub fn topics() -> String {
    let width = TOPICS.iter().map(|topic| topic.name.len()).max().unwrap_or(0);
    let lines: Vec<String> = TOPICS.iter().map(|topic| format!("  {:<width$}  {}", topic.name, topic.about)).collect();
    format!("Topics (heaptriage help TOPIC):\n{}", lines.join("\n"))
}

/// What the program's own long help ends with.
pub fn examples() -> String {
    format!(
        "{}\n\nExamples:\n  heaptriage report capture/\n  heaptriage report before.heap after.heap --format html -o leak.html",
        topics()
    )
}
