#!/usr/bin/env python3
"""Random kills of everything that a job consists of, until as many were made as asked for; nothing may be lost.

tests/torture/torture.py [--seed S] [--kills N] [--minutes M] [--run R]

Each run is a small job from a real S3 server with checkpoints, 1 to 4 ranks, under a daemon. While it trains, ranks, mpirun, the
daemon and the S3 server get SIGKILL, SIGSTOP (with SIGCONT later, or for ranks without) and SIGTERM, and the job is resized. What is
done when is a pure function of the seed and the number of the run. Then the job must end as it should within a time limit, every
epoch must be in its history with all its samples, once (once for each attempt that had to train it again), and no process may be
left. The first run that is not so ends it, exit code 1, with what to type to have it again.
"""
import argparse
import collections
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import recovery  # noqa: E402
from musher_testing import BUCKET, MusherTest, S3Server, make_images, make_job, processes  # noqa: E402

QUIET_LIMIT_S = 180  # without an epoch or a change of status: it hangs
RETRIES = 30  # SageMaker's most
PER_CLASS = 66  # 201 samples
SLOTS = 4

# Who, signal, seconds until SIGCONT (or None), weight.
BLOWS = [
    ("rank", "KILL", None, 10),
    ("rank", "TERM", None, 1),
    ("rank", "STOP", None, 2),
    ("rank", "STOP", (0.2, 2.0), 3),
    ("two ranks", "KILL", None, 3),
    ("mpirun", "KILL", None, 2),
    ("mpirun", "TERM", None, 1),
    ("daemon", "KILL", None, 4),
    ("daemon", "TERM", None, 2),
    ("daemon", "STOP", (0.2, 3.0), 2),
    ("S3", "KILL", None, 2),
    ("S3", "STOP", (0.2, 3.0), 2),
    ("resize", "", None, 3),
]


class Failed(Exception):
    pass


def plan(seed, run):
    """What a run does: a pure function, so that it can be had again."""
    dice = random.Random(f"{seed}/{run}")
    blows = []
    for _ in range(dice.randint(6, 14)):
        who, number, pause, _ = dice.choices(BLOWS, [blow[3] for blow in BLOWS])[0]
        blows.append({"after": dice.choice([0.0, dice.uniform(0.1, 1), dice.uniform(0.5, 4)]), "who": who, "signal": number,
                      "pause": dice.uniform(*pause) if pause else None, "dice": dice.random(), "size": dice.randint(1, SLOTS)})
    ending = dice.choice(["stop", "complete"])
    return {"workers": dice.randint(1, SLOTS), "checkpoint_every_steps": dice.choice([0, 3, 10, 40]),
            "epochs": dice.randint(15, 60) if ending == "complete" else 100_000, "blows": blows, "ending": ending,
            "model": dice.choice(["convnet", "multilayer_perceptron"])}


class Run(MusherTest):
    """One job and what befalls it. Not a test case of its own: it borrows what those have."""

    def runTest(self):
        pass

    def prepare(self, chosen, counts, say):
        self.chosen, self.counts, self.say = chosen, counts, say
        self.start_s3()
        self.samples = make_images(self.folder / "images", per_class=PER_CLASS)
        self.upload(self.folder / "images", "data")
        self.daemon = self.start_daemon(slots=SLOTS)
        job = make_job("tortured", f"s3://{BUCKET}/data", f"s3://{BUCKET}/jobs", workers=chosen["workers"],
                       validation=f"s3://{BUCKET}/data", epochs=chosen["epochs"], virtual_workers=8, model=chosen["model"],
                       checkpoints=f"s3://{BUCKET}/checkpoints", heartbeat_timeout_seconds=5, learning_rate=0.005,
                       **({"checkpoint_every_steps": chosen["checkpoint_every_steps"]} if chosen["checkpoint_every_steps"] else {}))
        job["RetryStrategy"] = {"MaximumRetryAttempts": RETRIES}
        job["StoppingCondition"] = {"MaxRuntimeInSeconds": 3600}
        self.musher("submit", self.write_job(job), code=0)
        self.wait_until(lambda: "each once" in self.history(), 120, "an epoch is over")

    def history(self):
        return self.musher("status", "tortured").stdout

    def over(self):
        return re.search(r"^status +(Completed|Failed|Stopped)", self.history(), re.MULTILINE)

    def restart_daemon(self):
        self.daemon = self.processes.start(self.daemon.args, env=self.environment, log=self.folder / "daemon.log")
        self.wait_until(lambda: self.musher("list").returncode == 0 or self.daemon.poll() is not None, 60, "the daemon answers")
        if self.daemon.poll() is not None:
            raise Failed("the daemon did not start again")

    def restart_s3(self):
        old = self.s3
        port, keys, data = old.port, (old.access_key, old.secret_key), old.data_dir
        old.stop()
        self.s3 = S3Server(data, port, *keys)
        self.addCleanup(self.s3.stop)

    def pick(self, who, dice):
        if who == "mpirun":
            return recovery.mpiruns()[:1]
        members = sorted(recovery.ranks().values())
        if who == "two ranks":
            return members[int(dice * len(members)):][:1] + members[:int(dice * len(members))][-1:]
        return members[int(dice * len(members)):][:1]

    def strike(self, blow):
        who, name = blow["who"], blow["signal"]
        if who == "resize":
            done = self.musher("resize", "tortured", "--workers", blow["size"])
            if done.returncode == 0:
                self.counts["resize"] += 1
                self.say(f"resize to {blow['size']}")
            return
        number = signal.Signals[f"SIG{name}"]
        if who == "daemon":
            targets = [self.daemon.pid]
        elif who == "S3":
            targets = [-self.s3._process.pid]
        else:
            targets = self.pick(who, blow["dice"])
        for pid in targets:
            try:
                os.killpg(-pid, number) if pid < 0 else os.kill(pid, number)
            except ProcessLookupError:
                continue
            kind = f"{'rank' if who == 'two ranks' else who} SIG{name}" + (" and SIGCONT" if blow["pause"] else "")
            self.counts[kind] += 1
            self.say(f"{kind}: {abs(pid)}")
        if blow["pause"]:
            time.sleep(blow["pause"])
            for pid in targets:
                try:
                    os.killpg(-pid, signal.SIGCONT) if pid < 0 else os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        elif who == "daemon":
            self.daemon.wait(timeout=60)
            time.sleep(blow["dice"] * 2)
            self.restart_daemon()
        elif who == "S3":
            time.sleep(blow["dice"] * 2)
            self.restart_s3()

    def torture(self):
        for blow in self.chosen["blows"]:
            time.sleep(blow["after"])
            if self.chosen["ending"] == "complete" and self.over():
                break
            self.strike(blow)
        if self.chosen["ending"] == "stop":  # not while an attempt starts: there would be no model that could be saved
            before = len(recovery.epochs_in(self.history()))
            self.wait_for(lambda: len(recovery.epochs_in(self.history())) > before, "it trains on")
            self.wait_until(lambda: self.musher("stop", "tortured").returncode == 0, 30, "the stop is taken")
        self.wait_for(self.over, "the job ends")
        self.check()

    def wait_for(self, condition, what):
        """However long it takes on a busy machine, as long as something goes on."""
        seen, since = None, time.monotonic()
        while not condition():
            history = self.history()
            signs = (len(recovery.epochs_in(history)), history.count("\nhistory"))
            if signs != seen:
                seen, since = signs, time.monotonic()
            if time.monotonic() - since > QUIET_LIMIT_S:
                self.keep_stacks()
                raise Failed(f"it hangs: {what}: nothing for {QUIET_LIMIT_S} s")
            time.sleep(0.2)

    def check(self):
        history, ending = self.history(), self.chosen["ending"]
        status = self.over()[1]
        wanted = {"complete": "Completed", "stop": "Stopped"}[ending]
        if status != wanted:
            raise Failed(f"it is {status}, not {wanted}: {self.describe('tortured').get('FailureReason')}")
        attempts = int(re.search(r"^attempt +(\d+)", history, re.MULTILINE)[1])
        found = recovery.epochs_in(history)
        times = collections.Counter(epoch for epoch, _, _ in found)
        epochs = self.chosen["epochs"] if ending == "complete" else max(times)
        for epoch, got, whole in found:
            if got != self.samples or whole != self.samples:
                raise Failed(f"epoch {epoch} had {got} of {whole} samples, and there are {self.samples}")
        for epoch in range(1, epochs + 1):
            if not 1 <= times[epoch] <= attempts:
                raise Failed(f"epoch {epoch} is in the history {times[epoch]} times, after {attempts} attempts")
        if not any(key.endswith("output/model.tar.gz") for key in self.keys("jobs/")):
            raise Failed("there is no artifact")
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs(30)
        self.say(f"{status} after {max(times)} epochs, attempt {attempts}")

    def keep_stacks(self):
        """What everybody is at, for whoever looks into it."""
        if not shutil.which("gdb"):
            return
        for rank, pid in recovery.ranks().items():
            done = self.processes.run(["gdb", "-p", pid, "-batch", "-ex", "thread apply all bt 12"], timeout=60)
            self.say(f"rank {rank}:\n{done.stdout[-6000:]}")

    def evidence(self):
        try:
            self.say(self.history()[-6000:])
            self.say(self.musher("logs", "tortured").stdout[-6000:])
        except Exception as error:  # what is left may be little
            self.say(f"no history: {error}")
        self.say((self.folder / "daemon.log").read_text()[-2000:])


def one_run(seed, number, counts):
    """Whether all was well."""
    chosen = plan(seed, number)
    lines = []
    began = time.monotonic()

    def say(text):
        lines.append(f"  {time.monotonic() - began:6.1f} s  {text}")

    run = Run()
    run.setUp()
    try:
        run.prepare(chosen, counts, say)
        run.torture()
        print(f"run {number}: {chosen['workers']} ranks, {len(chosen['blows'])} blows, {chosen['ending']}; {lines[-1].strip()}",
              flush=True)
        return True
    except processes.Interrupted:
        processes.ignore_signals()
        raise
    except Exception as error:
        if not isinstance(error, Failed):
            say(traceback.format_exc())
        run.evidence()
        print(f"run {number} FAILED: {error}\n{chosen}\n" + "\n".join(lines), flush=True)
        return False
    finally:
        run.doCleanups()


def kills(counts):
    return sum(counts.values()) - counts["resize"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--kills", type=int, default=200, help="go on until so many were made")
    parser.add_argument("--minutes", type=float, default=600, help="start no run after so many")
    parser.add_argument("--run", type=int, help="this run alone")
    options = parser.parse_args()

    processes.raise_on_signals()
    counts = collections.Counter()
    began = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    number = 0 if options.run is None else options.run
    good = True
    try:
        while good:
            good = one_run(options.seed, number, counts)
            if not good:
                print(f"again: tests/torture/torture.py --seed {options.seed} --run {number}")
            number += 1
            if options.run is not None or kills(counts) >= options.kills or time.monotonic() - began > 60 * options.minutes:
                break
    finally:
        print(f"\n{number} runs in {(time.monotonic() - began) / 60:.1f} min\n")
        for kind, count in sorted(counts.items()):
            print(f"{count:6} {kind}")
        print(f"{kills(counts):6} kills in all", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
