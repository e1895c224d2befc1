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

        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        spark = builder.config("spark.sql.shuffle.partitions", "2").config("spark.log.level", "ERROR").getOrCreate()
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
