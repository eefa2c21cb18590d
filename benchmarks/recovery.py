#!/usr/bin/env python3
"""SIGKILL of one of the ranks, and how long until the next step is committed; the same under torchrun --max-restarts.

benchmarks/recovery.py [--build DIR] [--ranks N] [--kills N] [--peer-kills N] [--out FILE]

Musher: one job under a daemon; after each kill of a random rank it is waited until the replacement trains, then comes the next. The
time of the kill is the killer's. The coordinator's log has the time at which it was told who goes on, and the ranks' own measure
from noticing the death to the next committed step; their sum is an upper bound of the time from kill to commit (what lies between
noticing and telling is counted twice). The replacement contributes from the time at which the coordinator was told of it plus the
pause. torchrun: a little DDP loop with a checkpoint every 10 steps; one worker is killed, and the next line of a step that new
processes write ends the time. Prints a section for BENCHMARKS.md, or puts it there with --out.
"""
import argparse
import os
import random
import re
import signal
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
LIMIT_S = 120


def options_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--peer-kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a page whose section is replaced")
    return parser.parse_args()


OPTIONS = options_of()
os.environ["MUSHER_BUILD"] = str(OPTIONS.build.resolve())
import recovery  # noqa: E402
from musher_testing import MusherTest, make_images, make_job  # noqa: E402
from report import RECOVERY, machine_line, put_section  # noqa: E402


class Bench(MusherTest):
    def runTest(self):
        pass

    def start_job(self):
        images = self.folder / "images"
        make_images(images, per_class=200)
        self.start_daemon(slots=OPTIONS.ranks)
        job = make_job("bench", f"file://{images}", f"file://{self.folder}/out", workers=OPTIONS.ranks, epochs=100_000,
                       batch_size=8 * OPTIONS.ranks, virtual_workers=2 * OPTIONS.ranks, model="multilayer_perceptron",
                       learning_rate=0.005)
        job["StoppingCondition"] = {"MaxRuntimeInSeconds": 24 * 3600}
        self.musher("submit", self.write_job(job), code=0)
        self.wait_until(lambda: "each once" in self.musher("status", "bench").stdout, LIMIT_S, "it trains")

    def log(self):
        """[(seconds, text)] of the coordinator's own lines."""
        lines = []
        for path in (self.folder / "state").rglob("*"):
            if not path.is_file() or path.suffix in (".db", ".sqlite") or "log" not in path.name:
                continue
            for line in path.read_text(errors="replace").splitlines():
                found = re.match(r"(\d+) \d+ \d+ -1 [oeOE] (.*)", line)
                if found:
                    lines.append((int(found[1]) / 1000, found[2]))
        return sorted(lines)

    def after(self, when, pattern):
        for seconds, text in self.log():
            found = seconds >= when - 0.001 and re.search(pattern, text)
            if found:
                return seconds, found
        return None

    def kill_one(self, dice):
        """Seconds from the kill to the commit, of the pause for the newcomer, and until it contributes."""
        members = recovery.ranks()
        victim = dice.choice(sorted(members))
        time.sleep(dice.random())  # not always at the same moment of a heartbeat
        killed = time.time()
        os.kill(members[victim], signal.SIGKILL)
        went_on = self.wait_until(lambda: self.after(killed, r"went on with step \d+ after ([\d.]+) s"), LIMIT_S, "they go on")
        told = self.after(killed, r"generation \d+: ranks")
        joined = self.wait_until(lambda: self.after(went_on[0], r"joined: \d+ ranks? from step \d+ on, training paused for ([\d.]+) s"),
                                 LIMIT_S, "the replacement trains")
        told_again = self.after(told[0] + 0.002, r"generation \d+: ranks")
        pause = float(joined[1][1])
        return told[0] - killed + float(went_on[1][1]), pause, told_again[0] + pause - killed

    def peer(self, kills, dice):
        folder = self.folder / "peer"
        folder.mkdir()
        command = [ROOT / ".venv/bin/torchrun", "--standalone", "--nproc-per-node", OPTIONS.ranks, "--max-restarts", kills + 5,
                   ROOT / "benchmarks/ddp_restart_peer.py", folder, 10]
        self.processes.start(command, log=folder / "log", env=self.environment | {"OMP_NUM_THREADS": "1"})
        times = []
        steps = folder / "steps"
        for _ in range(kills):
            self.wait_until(lambda: len(peer_steps(steps)) > 20, LIMIT_S, "torchrun's ranks train")
            before = peer_steps(steps)[-1][1]
            pid = int((folder / f"rank{dice.randrange(OPTIONS.ranks)}").read_text())
            killed = time.time()
            os.kill(pid, signal.SIGKILL)
            again = self.wait_until(lambda before=before: [one for one in peer_steps(steps) if one[1] != before], LIMIT_S,
                                    "torchrun's ranks train again")
            times.append(float(again[0][0]) - killed)
            print(f"torchrun: {times[-1]:.2f} s", file=sys.stderr, flush=True)
        return times



def peer_steps(path):
    """The lines of the process that wrote last."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    lines = [one for one in lines if len(one) == 3]
    return [one for one in lines if one[1] == lines[-1][1]]


def figures(values):
    return f"{statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} | {len(values)}"


def section(results, peer):
    lines = [
        f"SIGKILL of one of {OPTIONS.ranks} ranks that train a small perceptron (`benchmarks/recovery.py`), seconds. Musher's time to",
        "the next committed step is an upper bound, and its replacement is started anew each time. torchrun (`--max-restarts`, a",
        f"checkpoint every 10 steps) restarts all ranks. One side runs after the other. {machine_line()}", "",
        "| | median | least | most | kills |", "|---|---|---|---|---|"]
    if results:
        commit, pause, full = zip(*results)
        lines += [f"| Musher: kill to next committed step | {figures(commit)} |",
                  f"| Musher: pause when the replacement is taken in | {figures(pause)} |",
                  f"| Musher: kill to the replacement's first step | {figures(full)} |"]
    if peer:
        lines.append(f"| torchrun: kill to next step | {figures(peer)} |")
    return "\n".join(lines)


def main():
    bench, dice, results, peer = Bench(), random.Random(OPTIONS.seed), [], []
    bench.setUp()
    try:
        if OPTIONS.kills:
            bench.start_job()
        for number in range(OPTIONS.kills):
            results.append(bench.kill_one(dice))
            print(f"kill {number + 1}: {results[-1][0]:.2f} s, pause {results[-1][1]:.2f} s, full size after {results[-1][2]:.2f} s",
                  file=sys.stderr, flush=True)
        if OPTIONS.kills:
            bench.musher("stop", "bench")
            bench.musher("watch", "bench")
        if OPTIONS.peer_kills:
            peer = bench.peer(OPTIONS.peer_kills, dice)
    finally:
        bench.doCleanups()
    if OPTIONS.out:
        put_section(OPTIONS.out, RECOVERY, section(results, peer))
    else:
        print(section(results, peer))


if __name__ == "__main__":
    main()
