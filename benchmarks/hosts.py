#!/usr/bin/env python3
"""How soon a job over four hosts takes its first step, and how soon hosts are checked.

    .venv/bin/python benchmarks/hosts.py [--build build] [--rounds 5] [--check 4,64] [--out BENCHMARKS.md]

The hosts are network namespaces of this machine with an sshd each (tests/support/cluster.py), the coordinator and the S3 server on
one more; all share its cores. Needs root.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "system")]

LIMIT_S = 120


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", default="4,64", help="numbers of hosts")
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    return parser.parse_args()


chosen = options()
os.environ["MUSHER_BUILD"] = str(chosen.build.resolve())

# From here on this is the fifth host: test_hosts starts the program anew there.
import cluster  # noqa: E402
import test_hosts  # noqa: E402
from musher_testing import MUSHER  # noqa: E402
from report import HOSTS, machine_line, put_section, spread  # noqa: E402


class Job(test_hosts.Hosts):
    """The four hosts of the tests, ready for jobs."""

    def runTest(self):
        """Nothing: main() calls the methods."""

    def seconds_to_first_step(self, name):
        begin = time.monotonic()
        self.submit(name, workers=4, epochs=100_000, virtual_workers=8)
        command = list(map(str, self.command(("watch", name))))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=self.environment) as watch:
            seconds = next((time.monotonic() - begin for line in watch.stdout if re.search(r"epoch \d+ of \d+, step [1-9]", line)),
                           None)
            watch.terminate()
        self.musher("stop", name, code=0)
        self.musher("watch", name, timeout=LIMIT_S)
        if seconds is None:
            sys.exit(f"the job came to no step: {self.status(name)}")
        return seconds


def first_steps(rounds):
    job = Job()
    job.setUp()
    try:
        job.serve({"h1": 1, "h2": 1, "h3": 1, "h4": 1})
        job.seconds_to_first_step("warm")
        return [job.seconds_to_first_step(f"round{number}") for number in range(rounds)]
    finally:
        job.doCleanups()


def seconds_of_ssh(reached):
    """Of nothing but ssh to all the hosts at once: key exchange and log-in, both ends on this machine."""
    begin = time.monotonic()
    processes = [subprocess.Popen([*reached.ssh(name), "true"]) for name in reached.names]
    if any([process.wait(timeout=LIMIT_S) for process in processes]):
        sys.exit("ssh failed")
    return time.monotonic() - begin


def checks(hosts, rounds, folder):
    """Seconds of `musher hosts check` with that many hosts, and of ssh to them."""
    with cluster.Cluster(folder, hosts) as reached:
        hostfile = folder / "hostfile"
        hostfile.write_text("".join(f"{name} slots=1\n" for name in reached.names))
        command = [MUSHER, "hosts", "check", "--hosts", hostfile, "--ssh-user", "root", "--ssh-key", reached.key,
                   "--ssh-known-hosts", reached.known_hosts, "--min-memory", "0.01", "--min-disk", "0.01"]
        times, ssh_times = [], []
        for _ in range(rounds):
            begin = time.monotonic()
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=LIMIT_S)
            times.append(time.monotonic() - begin)
            if done.returncode != 0:
                sys.exit(f"the hosts are not fit: {done.stdout}{done.stderr}")
            ssh_times.append(seconds_of_ssh(reached))
        return times, ssh_times


def main():
    lines = [f"Hosts are namespaces of one machine, with an sshd each, and share its cores (`benchmarks/hosts.py`). {machine_line()}", "",
             "| | s |", "|---|---|"]
    steps = first_steps(chosen.rounds)
    lines.append("| `musher submit` of a job on four hosts to its first committed step as `musher watch` shows it, which it does "
                 f"up to a second late | {spread(steps)} |")
    print(lines[-1], flush=True)
    for hosts in map(int, chosen.check.split(",")):
        with tempfile.TemporaryDirectory(prefix="musher-benchmark-") as folder:
            times, ssh_times = checks(hosts, chosen.rounds, Path(folder) / "cluster")
        lines += [f"| `musher hosts check` of {hosts} hosts | {spread(times)} |",
                  f"| of which ssh, `true` on {hosts} hosts at once, both ends on this machine | {spread(ssh_times)} |"]
        print("\n".join(lines[-2:]), flush=True)
    if chosen.out:
        put_section(chosen.out, HOSTS, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
