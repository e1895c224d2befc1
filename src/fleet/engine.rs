//! Runs queries in the DuckDB that is installed: its program, or a Python that has its module.
//!
//! One process answers all queries: statements go in, and after a line that names the query its rows come out as JSON.

use serde_json::{Map, Value};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A row of a result: columns by name.
pub type Row = Map<String, Value>;

/// A DuckDB that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuckDb {
    program: PathBuf,
    python: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing to run.
    #[error(
        "no DuckDB is installed: neither the program `duckdb` nor a python3 with the module `duckdb` was found\n  \
         help: install the program (https://duckdb.org/install, or `pip install duckdb-cli`), or `pip install duckdb`, or name it with --duckdb PATH;\n  \
         `heaptriage fleet sql` prints the same queries for any engine"
    )]
    None,
    /// The program that was named is none.
    #[error("{} is no DuckDB: {why}\n  help: name the program `duckdb`, or a python that has the module `duckdb`", program.display())]
    Unusable {
        /// Which.
        program: PathBuf,
        /// What it said.
        why: String,
    },
    /// It ran and failed.
    #[error("{} failed: {why}", program.display())]
    Failed {
        /// Which.
        program: PathBuf,
        /// What it said.
        why: String,
    },
}

/// Before the rows of a query.
const MARK: &str = "@@heaptriage ";

/// Answers as the program does, with the module. Statements are told apart by the line that follows each.
const SCRIPT: &str = r#"
import sys, json, duckdb
MARK = "@@heaptriage "
con = duckdb.connect()
for part in sys.stdin.read().split("\n" + MARK):
    name, _, sql = part.partition("\n")
    if name:
        print(MARK + name)
    rows = con.execute(sql) if sql.strip() else None
    if name and rows is not None:
        names = [column[0] for column in rows.description]
        print(json.dumps([dict(zip(names, row)) for row in rows.fetchall()], default=float))
"#;

impl DuckDb {
    /// The one that was named, else `duckdb` in the path, else `python3` with the module.
    ///
    /// # Errors
    /// There is none; the one that was named is not usable.
    pub fn find(named: Option<&Path>) -> Result<DuckDb, EngineError> {
        if let Some(program) = named {
            return DuckDb::probe(program).map_err(|why| EngineError::Unusable { program: program.to_owned(), why });
        }
        ["duckdb", "python3"].iter().find_map(|program| DuckDb::probe(Path::new(program)).ok()).ok_or(EngineError::None)
    }

    /// What it is run with.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn probe(program: &Path) -> Result<DuckDb, String> {
        let version = run(program, &["--version".into()], "").map_err(|error| error.to_string())?;
        let said = text(&version);
        let python = said.starts_with("Python ");
        if python {
            let module = run(program, &["-c".into(), "import duckdb; duckdb.connect()".into()], "").map_err(|error| error.to_string())?;
            if !module.status.success() {
                return Err("this Python has no module `duckdb`".into());
            }
        } else if !version.status.success() || !said.starts_with('v') {
            return Err(format!("`--version` says `{}`", crate::origin::printable(said.lines().next().unwrap_or_default())));
        }
        Ok(DuckDb { program: program.to_owned(), python })
    }

    /// Runs `setup`, then each query; the rows of each, in the order of the queries.
    ///
    /// # Errors
    /// The engine fails, or its answer is not understood.
    pub fn query(&self, setup: &str, queries: &[(&str, &str)]) -> Result<Vec<Vec<Row>>, EngineError> {
        let failed = |why: String| EngineError::Failed { program: self.program.clone(), why };
        let (arguments, input) = if self.python { self.python_input(setup, queries) } else { self.program_input(setup, queries) };
        let output = run(&self.program, &arguments, &input).map_err(|error| failed(error.to_string()))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let why: Vec<&str> = complaint.trim().lines().rev().take(4).collect();
            let why: Vec<&str> = why.into_iter().rev().collect();
            return Err(failed(if why.is_empty() {
                output.status.to_string()
            } else {
                crate::origin::printable_lines(&why.join("\n  ")).into_owned()
            }));
        }
        let said = text(&output);
        let mut answers: Vec<Vec<Row>> = Vec::new();
        for part in said.split(MARK).skip(1) {
            let (_, json) = part.split_once('\n').unwrap_or((part, ""));
            answers.push(rows(json).map_err(|error| failed(format!("its answer is not understood: {error}")))?);
        }
        if answers.len() != queries.len() {
            let first: String = complaint.lines().take(3).collect::<Vec<_>>().join("\n  ");
            return Err(failed(format!(
                "{} of {} queries were answered {}",
                answers.len(),
                queries.len(),
                crate::origin::printable_lines(&first)
            )));
        }
        Ok(answers)
    }

    fn program_input(&self, setup: &str, queries: &[(&str, &str)]) -> (Vec<OsString>, String) {
        let mut input = format!(".bail on\n.mode json\n{setup}\n");
        for (name, sql) in queries {
            input.push_str(&format!(".print {MARK}{name}\n{sql}\n"));
        }
        // Not the user's own start-up file: it may set another mode.
        let arguments = ["-batch", "-init", "/dev/null"].map(OsString::from);
        (arguments.to_vec(), input)
    }

    fn python_input(&self, setup: &str, queries: &[(&str, &str)]) -> (Vec<OsString>, String) {
        let mut input = format!("\n{setup}\n");
        for (name, sql) in queries {
            input.push_str(&format!("\n{MARK}{name}\n{sql}"));
        }
        (vec!["-c".into(), SCRIPT.into()], input)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program's JSON: an array of objects, or nothing for no rows.
fn rows(json: &str) -> Result<Vec<Row>, serde_json::Error> {
    let json = json.trim();
    // Without rows, versions print nothing, `[]`, or an empty object in the array.
    if json.is_empty() || json == "[{]" {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = serde_json::from_str(json)?;
    Ok(rows.into_iter().filter(|row| !row.is_empty()).collect())
}

/// Runs a program to its end; input is written while output is read.
fn run(program: &Path, arguments: &[OsString], input: &str) -> io::Result<Output> {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that has ended says why on its other streams.
            stdin.map(|mut stdin| stdin.write_all(input.as_bytes()))
        });
        let complaint = scope.spawn(move || {
            let mut bytes = Vec::new();
            stderr.map(|mut stderr| stderr.read_to_end(&mut bytes)).transpose().map(|_| bytes)
        });
        let stdout = drain(&mut child)?;
        let status = child.wait()?;
        let stderr = complaint.join().unwrap_or_else(|_| Ok(Vec::new()))?;
        Ok(Output { status, stdout, stderr })
    })
}

fn drain(child: &mut Child) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(folder: &Path, body: &str) -> PathBuf {
        let path = folder.join("duckdb");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_program_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = DuckDb::find(Some(&folder.path().join("gone"))).unwrap_err().to_string();
        assert!(error.contains("gone is no DuckDB") && error.contains("help:"), "{error}");
        let other = script(folder.path(), "echo 'GNU ed 1.19'");
        assert!(DuckDb::find(Some(&other)).unwrap_err().to_string().contains("`--version` says `GNU ed 1.19`"));
    }

    #[test]
    fn answers_are_told_apart_and_failures_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let version = "[ \"$1\" = --version ] && echo v1.5.6 && exit 0; cat >/dev/null;";
        let good =
            script(folder.path(), &format!("{version} echo noise; echo '{MARK}a'; echo '[{{\"x\":1}},\n{{\"x\":2}}]'; echo '{MARK}b'"));
        let answers = DuckDb::find(Some(&good)).unwrap().query("", &[("a", ""), ("b", "")]).unwrap();
        assert_eq!((answers[0].len(), answers[0][1]["x"].as_i64(), answers[1].len()), (2, Some(2), 0));
        let bad = script(folder.path(), &format!("{version} echo 'Catalog Error: no such view' >&2; exit 1"));
        let error = DuckDb::find(Some(&bad)).unwrap().query("", &[("a", "")]).unwrap_err().to_string();
        assert!(error.ends_with("failed: Catalog Error: no such view"), "{error}");
        let short = script(folder.path(), &format!("{version} echo '{MARK}a'"));
        assert!(DuckDb::find(Some(&short)).unwrap().query("", &[("a", ""), ("b", "")]).is_err());
    }
}
