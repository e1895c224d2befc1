"""Runs the shipped queries unchanged: run_queries.py ENGINE SETUP.sql NAME=QUERY.sql... prints {NAME: [rows]}.

ENGINE is duckdb, datafusion or spark. The setup is what `heaptriage fleet sql --engine ENGINE --root DIR` prints.
"""

import json
import sys


def engine(name):
    if name == "duckdb":
        import duckdb

        con = duckdb.connect()

        def rows(sql):
            result = con.execute(sql)
            names = [column[0] for column in result.description or []]
            return [dict(zip(names, row)) for row in result.fetchall()]

        return rows
    if name == "datafusion":
        from datafusion import SessionContext

        context = SessionContext()
        return lambda sql: [row for batch in context.sql(sql).collect() for row in batch.to_pylist()]
    if name == "spark":
        from pyspark.sql import SparkSession

        # The queries are small here and their plans are not: what costs is planning, compiling and starting tasks.
        # Two of these at a time, no broadcasts, no replanning between stages, the JVM's quick compiler.
        settings = {
            "spark.ui.enabled": "false",
            "spark.log.level": "ERROR",
            "spark.driver.memory": "1g",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.default.parallelism": "2",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.autoBroadcastJoinThreshold": "-1",
            "spark.sql.adaptive.enabled": "false",
        }
        builder = SparkSession.builder.master("local[2]")
        for name, value in settings.items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        return lambda sql: [row.asDict() for row in spark.sql(sql).collect()]
    raise SystemExit(f"no engine {name}")


def main():
    run = engine(sys.argv[1])
    with open(sys.argv[2]) as setup:
        for statement in setup.read().split(";\n"):
            if statement.strip():
                run(statement)
    answers = {}
    for argument in sys.argv[3:]:
        name, path = argument.split("=", 1)
        with open(path) as query:
            answers[name] = run(query.read())
    json.dump(answers, sys.stdout, default=float)


main()
