//! `fleet`: many processes as one dataset, and the questions to it.

use super::args::OutputArgs;
use super::{Context, Outcome};
use crate::fleet::engine::DuckDb;
use crate::fleet::queries::{self, Engine, QUERIES, Scope};
use crate::fleet::triage;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write;
use std::path::PathBuf;

#[cfg(feature = "parquet")]
mod export;

/// Rows of a table of the report unless asked for more.
const ROWS: usize = 5;

/// From one process to thousands: a Parquet dataset of many captures, and the queries for it.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  heaptriage fleet report --root /srv/fleet
  heaptriage fleet sql leaks > leaks.sql")]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Add captures to a Parquet dataset, reduced to the stacks that matter.
    #[cfg(feature = "parquet")]
    Export(Box<export::ExportArgs>),
    /// Print a query as plain SQL: the same text for DuckDB, DataFusion and Spark.
    Sql(SqlArgs),
    /// The triage of a dataset: leaks by vote of the instances, where RSS is, what to open. Needs DuckDB.
    Report(ReportArgs),
}

/// Arguments of `fleet sql`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heaptriage fleet sql
  heaptriage fleet sql leaks --engine duckdb --root /srv/fleet | duckdb
  heaptriage fleet sql leaks > leaks.sql")]
struct SqlArgs {
    /// Which query; without one all are listed, or with --engine the views alone are printed.
    name: Option<String>,
    /// Before the query print the definitions of the views that it reads, for this engine.
    #[arg(long, value_name = "ENGINE", requires = "root")]
    engine: Option<EngineName>,
    /// The dataset, for the definitions: a folder, or an address that the engine knows (s3://...).
    #[arg(long, value_name = "DIR", requires = "engine")]
    root: Option<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// An engine by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    /// duckdb.org
    Duckdb,
    /// datafusion.apache.org
    Datafusion,
    /// spark.apache.org
    Spark,
}

impl From<EngineName> for Engine {
    fn from(name: EngineName) -> Engine {
        match name {
            EngineName::Duckdb => Engine::DuckDb,
            EngineName::Datafusion => Engine::DataFusion,
            EngineName::Spark => Engine::Spark,
        }
    }
}

/// Which part of a dataset.
#[derive(Clone, Debug, Args)]
struct ScopeArgs {
    /// Look at one service only.
    #[arg(long, value_name = "NAME", value_parser = service)]
    service: Option<String>,
    /// Look at days from this one on: 2026-11-20 (UTC).
    #[arg(long, value_name = "DAY", value_parser = day)]
    since: Option<String>,
    /// Look at days up to this one.
    #[arg(long, value_name = "DAY", value_parser = day)]
    until: Option<String>,
}

impl ScopeArgs {
    fn scope(&self) -> Scope {
        Scope { service: self.service.clone(), since: self.since.clone(), until: self.until.clone() }
    }
}

/// Arguments of `fleet report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heaptriage fleet report --root /srv/fleet
  heaptriage fleet report --root /srv/fleet --service indexer --since 2026-11-20 --json")]
struct ReportArgs {
    /// The dataset.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    #[command(flatten)]
    scope: ScopeArgs,
    /// The program `duckdb`, or a Python that has the module; by default the first of `duckdb` and `python3` in the path that will do.
    #[arg(long, value_name = "PATH", env = "HEAPTRIAGE_DUCKDB", hide_env_values = true)]
    duckdb: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `fleet`.
pub fn run(args: &FleetArgs, context: &Context) -> anyhow::Result<Outcome> {
    match &args.command {
        #[cfg(feature = "parquet")]
        FleetCommand::Export(args) => export::run(args, context),
        FleetCommand::Sql(args) => sql(args),
        FleetCommand::Report(args) => report(args, context),
    }
}

fn sql(args: &SqlArgs) -> anyhow::Result<Outcome> {
    let mut text = String::new();
    if let (Some(engine), Some(root)) = (args.engine, &args.root) {
        text.push_str(&queries::views(engine.into(), root, &args.scope.scope()));
    } else if args.scope.scope() != Scope::default() {
        bail!("--service, --since and --until are part of the views\n  help: add --engine and --root, or a WHERE of your own");
    }
    match &args.name {
        Some(name) => {
            let query = queries::find(name).with_context(|| {
                let names: Vec<&str> = QUERIES.iter().map(|query| query.name).collect();
                format!("no query `{}`\n  help: there are {}", crate::origin::printable(name), names.join(", "))
            })?;
            text.push_str(&query.sql());
        }
        None if args.engine.is_none() => {
            let width = QUERIES.iter().map(|query| query.name.len()).max().unwrap_or(0);
            for query in QUERIES {
                text.push_str(&format!("{:width$}  {}\n", query.name, query.about));
            }
        }
        None => {}
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn report(args: &ReportArgs, _: &Context) -> anyhow::Result<Outcome> {
    let format = args.output.format("fleet")?;
    let mut output = args.output.create(format)?;
    let snapshots = args.root.join("snapshots");
    if !snapshots.is_dir() {
        bail!(
            "{} is no dataset: it has no folder `snapshots`\n  help: `heaptriage fleet export CAPTURE... --root {0} --service NAME` makes one",
            crate::origin::printable(&args.root.display().to_string())
        );
    }
    let engine = DuckDb::find(args.duckdb.as_deref())?;
    let scope = args.scope.scope();
    let setup = queries::views(Engine::DuckDb, &args.root, &scope);
    let texts: Vec<(&str, String)> = QUERIES.iter().map(|query| (query.name, query.sql())).collect();
    let queries: Vec<(&str, &str)> = texts.iter().map(|(name, sql)| (*name, sql.as_str())).collect();
    let answers = engine.query(&setup, &queries)?;
    let fleet = triage::Fleet::of(&args.root.display().to_string(), &scope, QUERIES.iter().map(|query| query.name).zip(answers));
    match format {
        super::output::Format::Json => writeln!(output, "{}", serde_json::to_string_pretty(&fleet.json())?)?,
        super::output::Format::Markdown => {
            output.write_all(crate::report::markdown::render(&fleet.blocks(args.output.rows(ROWS))).as_bytes())?;
        }
        _ => output.write_all(crate::report::text::render(&fleet.blocks(args.output.rows(ROWS))).as_bytes())?,
    }
    output.finish()?;
    Ok(Outcome::Done)
}

/// A word that is a folder's name in every engine and file system.
fn service(text: &str) -> Result<String, String> {
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fits && starts && text.len() <= 100 {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected a name of letters, digits, `-`, `_` and `.` that begins with a letter or digit, found `{}`",
            crate::origin::printable(text)
        ))
    }
}

/// `2026-11-20`.
fn day(text: &str) -> Result<String, String> {
    match text.parse::<jiff::civil::Date>() {
        Ok(date) => Ok(date.to_string()),
        Err(_) => Err(format!("expected a day such as 2026-11-20, found `{}`", crate::origin::printable(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_folders_and_days_are_days() {
        for good in ["web", "indexer-v2", "0", "a.b_c"] {
            assert_eq!(service(good).as_deref(), Ok(good));
        }
        for bad in ["", "..", ".hidden", "a/b", "a b", "ü", "a'b", "-x", &"x".repeat(101)] {
            assert!(service(bad).is_err(), "{bad}");
        }
        assert_eq!(day("2026-11-20").as_deref(), Ok("2026-11-20"));
        for bad in ["2026-13-01", "yesterday", "' OR 1=1", ""] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }
}
