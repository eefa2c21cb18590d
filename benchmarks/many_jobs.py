#!/usr/bin/env python3
"""How long listing takes with 100,000 jobs in the store.

    .venv/bin/python benchmarks/many_jobs.py [--build build] [--jobs 100000] [--runs 20] [--out BENCHMARKS.md]

A real job, stopped while it waited, is copied within the store under other names and times; a thousandth are said to have failed. Then the
daemon is started on it and asked for pages of 100, over gRPC and by `musher list`.
"""
import argparse
import os
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from coordinator_restart import Daemon, field, job, varint
from report import LIST, machine_line, put_section

ROOT = Path(__file__).resolve().parents[1]
# Fields of a ListTrainingJobsRequest, and values of its enums (proto/training_job.proto).
NEXT_TOKEN, NAME_CONTAINS, STATUS_EQUALS, SORT_BY = 1, 7, 8, 9
FAILED, BY_NAME, BY_STATUS = 3, 1, 3


def columns_of(database, table):
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def multiply(store, jobs):
    """Copies of the one job that is there, until there are `jobs`, a second apart."""
    database = sqlite3.connect(store)
    own = ("id", "name", "created", "modified", "status", "secondary", "client_token")

    def quoted(table, without):
        return ", ".join(f'"{name}"' for name in columns_of(database, table) if name not in without)

    columns, transitions = quoted("jobs", own), quoted("transitions", ("job",))
    template, created = database.execute("SELECT id, created FROM jobs").fetchone()
    with database:
        for number in range(1, jobs):
            status = "Failed" if number % 1000 == 0 else "Stopped"
            when = created - 1000 * (jobs - number)
            copy = database.execute(
                f"INSERT INTO jobs (name, created, modified, status, secondary, {columns}) SELECT ?, ?, ?, ?, ?, {columns} FROM jobs "
                "WHERE id = ?", (f"model-{number * 7919 % jobs:06}-run", when, when + 60_000, status, status, template)).lastrowid
            database.execute(f"INSERT INTO transitions (job, {transitions}) SELECT ?, {transitions} FROM transitions WHERE job = ?",
                             (copy, template))
    database.close()


def next_token(response):
    """Of a ListTrainingJobsResponse: its last field, a JSON list."""
    return response[response.rfind(b'["'):]


def questions(daemon):
    page = daemon.call("ListTrainingJobs", b"")
    return {"the newest": b"", "the page after them": field(NEXT_TOKEN, next_token(page)), "by name": varint(SORT_BY, BY_NAME),
            "by status": varint(SORT_BY, BY_STATUS), "those that failed": varint(STATUS_EQUALS, FAILED),
            "failed, by name": varint(STATUS_EQUALS, FAILED) + varint(SORT_BY, BY_NAME),
            "with a part of a name that ten have": field(NAME_CONTAINS, "-00042"),
            "with a part of a name that none has": field(NAME_CONTAINS, "nobody")}


def times_of(runs, call):
    result = []
    for _ in range(runs):
        begin = time.monotonic()
        call()
        result.append(1000 * (time.monotonic() - begin))
    return f"{statistics.median(result):.1f} ({min(result):.1f} to {max(result):.1f})"


def measure(options, folder):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    daemon = Daemon(options.build, folder, port)
    daemon.call("CreateTrainingJob", job("model", folder))
    daemon.call("StopTrainingJob", field(1, "model"))
    daemon.process.terminate()
    daemon.process.wait()
    store = folder / "state" / "jobs.sqlite"
    multiply(store, options.jobs)
    daemon = Daemon(options.build, folder, port)
    try:
        rows = {what: times_of(options.runs, lambda request=request: daemon.call("ListTrainingJobs", request))
                for what, request in questions(daemon).items()}
        command = [options.build / "bin" / "musher", "list", "--max-results", "100", "--coordinator", daemon.address]
        rows["`musher list --max-results 100`, the newest"] = times_of(
            options.runs, lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ))
    finally:
        daemon.kill()
    return rows, store.stat().st_size / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as folder:
        rows, mib = measure(options, Path(folder))
    table = "\n".join(f"| {what} | {times} |" for what, times in rows.items())
    body = (f"Pages of 100 of {options.jobs:,} jobs over gRPC, a new connection each time, and by the command "
            f"(`benchmarks/many_jobs.py`); the store has {mib:.0f} MiB.\n\n| | ms |\n|---|---|\n{table}\n\n{machine_line()}")
    if options.out:
        put_section(options.out, LIST, body)
    print(body)


if __name__ == "__main__":
    main()
