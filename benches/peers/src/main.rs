//! heaptriage beside its peers: `peers bench` makes the inputs, runs everything in turn and prints the table of goals.
//!
//! The other commands are its own children: the maker of inputs (`peers prepare`), libraries as processes (`peers
//! library`), and a process with many mappings (`peers mappings`). See README.md for what must be installed; `run`
//! installs it.

mod dumps;
mod goals;
mod inputs;
mod library;
mod mappings;
mod measure;

use std::process::ExitCode;

/// What goes wrong here is told and ends the run.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((command, rest)) if command == "library" => library::run(rest),
        Some((command, rest)) if command == "mappings" => mappings::run(rest),
        Some((command, rest)) if command == "prepare" => goals::prepare(rest),
        Some((command, rest)) if command == "bench" => goals::bench(rest),
        _ => Err("peers bench DIR [GOAL...] | peers library JOB FILE... | peers mappings COUNT GIB".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
