//! The queries: plain SQL in files, the same text for DuckDB, DataFusion and Spark.
//!
//! They read three views, `samples`, `snapshots` and `stacks`, each with the partition columns `service` and `date` as
//! texts. Only the definition of these views differs between the engines; [`views`] writes it.
//!
//! What keeps the text one: `STRING` and `DOUBLE` for types, `1e0` for numbers that are no integers (`1.0` is a decimal
//! in two of the three), no `/` on integers (one of the three cuts), no time types, no `date` arithmetic, `MEDIAN` and
//! `regr_*` over `DOUBLE` only. A `;` ends the text and stands nowhere else.

use std::path::Path;

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// Its file, with a line [`SHARED`] where text that queries have in common belongs.
    source: &'static str,
}

const fn query(name: &'static str, about: &'static str, source: &'static str) -> Query {
    Query { name, about, source }
}

/// How growth is judged: by the votes of the instances. SQL has no way to share text that all engines take, so it is
/// put in here; what is printed is complete.
const GROWTH: &str = include_str!("sql/shared/growth.sql");
/// The line of a query's file that stands for [`GROWTH`].
const SHARED: &str = "-- shared/growth.sql\n";

impl Query {
    /// Its text: one statement, complete, the same for every engine.
    pub fn sql(self) -> String {
        self.source.replace(SHARED, GROWTH)
    }
}

/// All queries; adding one is a file and a line here.
pub const QUERIES: [Query; 9] = [
    query("overview", "what the dataset covers: services, builds, instances, span", include_str!("sql/overview.sql")),
    query("leaks", "leaks by vote of the fleet: instances that grow, rate, r2, since which build", include_str!("sql/leaks.sql")),
    query("worst", "the instances in which the leaks are worst: which to open", include_str!("sql/worst.sql")),
    query("rss", "where RSS is, by service and build", include_str!("sql/rss.sql")),
    query("top", "the heaviest stacks of the fleet", include_str!("sql/top.sql")),
    query("builds", "the newest build against the one before it", include_str!("sql/builds.sql")),
    query("new-stacks", "stacks that the newest build brought", include_str!("sql/new_stacks.sql")),
    query("outliers", "instances far from the others of their build", include_str!("sql/outliers.sql")),
    query("limits", "when instances reach their memory limit", include_str!("sql/limits.sql")),
];

/// The query of a name.
pub fn find(name: &str) -> Option<Query> {
    QUERIES.into_iter().find(|query| query.name == name)
}

/// An engine, for the definition of the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// duckdb.org.
    DuckDb,
    /// datafusion.apache.org.
    DataFusion,
    /// spark.apache.org.
    Spark,
}

/// What of a dataset is looked at. Words of services and days are checked where they come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// One service only.
    pub service: Option<String>,
    /// Days from this one on, `2026-11-20`.
    pub since: Option<String>,
    /// Days up to this one.
    pub until: Option<String>,
}

impl Scope {
    /// As a condition; engines skip the files of other partitions by it.
    fn condition(&self) -> String {
        // No quote and no backslash is in what is allowed there.
        let one = |column: &str, comparison: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{column} {comparison} {}", quoted(value)))
        };
        let parts = [one("service", "=", &self.service), one("date", ">=", &self.since), one("date", "<=", &self.until)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
    }
}

/// Statements that define the three views over a dataset.
pub fn views(engine: Engine, root: &Path, scope: &Scope) -> String {
    let root = root.to_string_lossy();
    let root = root.trim_end_matches('/');
    let condition = scope.condition();
    let mut sql = String::new();
    if engine == Engine::Spark {
        sql.push_str("SET spark.sql.sources.partitionColumnTypeInference.enabled=false;\n");
    }
    for table in ["samples", "snapshots", "stacks"] {
        sql.push_str(&match engine {
            Engine::DuckDb => format!(
                "CREATE OR REPLACE TEMP VIEW {table} AS SELECT * FROM read_parquet({}, hive_partitioning = true, \
                 hive_types = {{'service': VARCHAR, 'date': VARCHAR}}){condition};\n",
                quoted(&format!("{}/{table}/*/*/*.parquet", literal_glob(root)))
            ),
            Engine::DataFusion => {
                let files = format!("CREATE EXTERNAL TABLE {table}_files STORED AS PARQUET PARTITIONED BY (service, date) LOCATION");
                let columns = "CAST(service AS STRING) AS service, CAST(date AS STRING) AS date";
                format!(
                    "{files} {};\nCREATE OR REPLACE VIEW {table} AS SELECT * EXCEPT (service, date), {columns} FROM {table}_files{condition};\n",
                    quoted(&format!("{root}/{table}/"))
                )
            }
            Engine::Spark => format!(
                "CREATE OR REPLACE TEMPORARY VIEW {table}_files USING parquet OPTIONS (path {});\n\
                 CREATE OR REPLACE TEMPORARY VIEW {table} AS SELECT * FROM {table}_files{condition};\n",
                quoted_for_spark(&format!("{root}/{table}"))
            ),
        });
    }
    sql
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Spark reads a backslash in a string as an escape, and two quotes as one only since version 4.
fn quoted_for_spark(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A path that may hold what DuckDB takes for wildcards.
fn literal_glob(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_files_are_one_statement() {
        let mut names: Vec<&str> = QUERIES.iter().map(|query| query.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), QUERIES.len());
        for query in QUERIES {
            let sql = query.sql();
            assert!(sql.starts_with("-- "), "{} says what it is", query.name);
            assert_eq!(sql.matches(';').count(), 1, "{}", query.name);
            assert!(sql.ends_with(";\n"), "{}", query.name);
            assert_eq!(find(query.name), Some(query));
        }
    }

    #[test]
    fn every_query_is_listed() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/fleet/sql")).unwrap();
        let files = files.filter(|file| file.as_ref().unwrap().path().is_file());
        assert_eq!(files.count(), QUERIES.len());
    }

    #[test]
    fn what_queries_share_is_in_them_once() {
        for query in QUERIES {
            let shares = query.source.contains(SHARED);
            assert_eq!(shares, ["leaks", "worst"].contains(&query.name), "{}", query.name);
            let sql = query.sql();
            assert!(!sql.contains("shared/"), "{} refers to a file", query.name);
            for part in ["courses AS (", "growth AS (", "verdicts AS ("] {
                assert_eq!(sql.matches(part).count(), usize::from(shares), "{part} in {}", query.name);
            }
        }
    }

    #[test]
    fn roots_are_quoted() {
        let scope = Scope { service: Some("web".into()), since: Some("2026-11-20".into()), until: None };
        let sql = views(Engine::DuckDb, Path::new("/data/o'b*/"), &scope);
        assert!(sql.contains("'/data/o''b[*]/samples/*/*/*.parquet'"), "{sql}");
        assert!(sql.contains("WHERE service = 'web' AND date >= '2026-11-20'"), "{sql}");
        assert_eq!(sql.matches(';').count(), 3);
        let odd = views(Engine::Spark, Path::new(r"/data/o'b\"), &Scope::default());
        assert!(odd.contains(r"'/data/o\'b\\/samples'"), "{odd}");
        assert!(views(Engine::Spark, Path::new("s3a://bucket/heap"), &Scope::default()).contains("'s3a://bucket/heap/stacks'"));
    }
}
