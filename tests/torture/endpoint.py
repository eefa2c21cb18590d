#!/usr/bin/env python3
"""Load on an endpoint whose instances are killed one after the other: who asks must hardly notice.

tests/torture/endpoint.py [--seconds N] [--kill-every N] [--seed S] [--instances N] [--rate N]

A small model is served by `musher endpoint` with real instances behind a real HAProxy. Threads send it pictures of 1 to some 300 KB,
each with a request id of its own, and every answer is held against the one that its picture had before anything was killed. At
intervals an instance gets SIGKILL, SIGTERM or SIGSTOP for good; which one and what is a pure function of the seed. An instance is
spared while it is the only one that may answer. It must be that:

 - no answer is wrong: not another picture's, not another request's, not cut off;
 - what fails is a 5xx in JSON with Retry-After and the request's id, and no connection that breaks;
 - at least --success percent of the requests are answered with 200;
 - at the end there are as many healthy instances as at the beginning, none that was stopped among them, and after `delete` no process.

Otherwise the exit code is 1.
"""
import argparse
import collections
import http.client
import io
import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from background import UntilTold  # noqa: E402
from musher_testing import MusherTest, make_images, make_job, processes  # noqa: E402

START_S = 180  # for instances to start, on a machine that has other things to do
ANSWER_S = 60  # SageMaker's limit for an answer
KINDS = {"KILL": 3, "STOP": 1, "TERM": 1}  # signals and their weights


def pictures(dice):
    """{name: PNG}: noise around a colour, of 1 to 300 KB."""
    made = {}
    for number, size in enumerate((16, 24, 48, 96, 160, 224, 256, 320)):
        pixels = dice.integers(0, 120, (size, size, 3))
        pixels[..., number % 3] += 30 + 10 * number
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        made[f"{size} pixels"] = file.getvalue()
    return made


class Load(UntilTold):
    """Threads that ask until told, together `rate` times a second or as often as there are answers. Each has one connection."""

    def __init__(self, address, bodies, known, rate, threads, seed):
        super().__init__(threads)
        self.address, self.bodies, self.known, self.seed = address, bodies, known, seed
        self.pause = threads / rate
        self.lock = threading.Lock()
        self.counts, self.bad, self.seconds = collections.Counter(), [], []

    def go_on(self, number):
        dice = random.Random(f"{self.seed}/{number}")
        connection = http.client.HTTPConnection(self.address, timeout=ANSWER_S)
        due = time.monotonic() + dice.uniform(0, self.pause)
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.pause, time.monotonic() - self.pause)
            self.ask(connection, dice.choice(sorted(self.bodies)))
        connection.close()

    def ask(self, connection, name):
        request_id = str(uuid.uuid4())
        began = time.monotonic()
        try:
            connection.request("POST", "/invocations", self.bodies[name],
                               {"Content-Type": "image/png", "X-Amzn-RequestId": request_id})
            answer = connection.getresponse()
            body = answer.read()
            kind, bad = self.judge(answer, body, name, request_id)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            kind, bad = f"{type(error).__name__}", f"{name}: {error!r}"
        with self.lock:
            self.counts[kind] += 1
            self.seconds.append(time.monotonic() - began)
            if bad:
                self.bad.append(bad)

    def judge(self, answer, body, name, request_id):
        """What to count it as, and what is wrong with it."""
        kind = str(answer.status)
        if answer.headers["X-Amzn-RequestId"] != request_id:
            return kind, f"{kind} for {name} has the id of {answer.headers['X-Amzn-RequestId']}, not {request_id}"
        try:
            said = json.loads(body)
        except ValueError:
            return kind, f"{kind} for {name} is no JSON: {body[:200]!r}"
        if answer.status == 200:
            same = np.shape(said) == np.shape(self.known[name]) and np.allclose(said, self.known[name], atol=1e-4)
            return kind, None if same else f"200 for {name} says {said}, not {self.known[name]}"
        if answer.status < 500 or not answer.headers["Retry-After"] or not said.get("message"):
            return kind, f"{kind} for {name} is no clean failure: {dict(answer.headers)} {body[:200]!r}"
        return kind, None


class Torture(MusherTest):
    """Not a test case of its own: it borrows what those have."""

    def runTest(self):
        pass

    def describe_endpoint(self):
        return json.loads(self.musher("endpoint", "status", "dogs", "--json", code=0).stdout)

    def healthy(self):
        """{id: pid} of instances in service that nobody has stopped."""
        return {one["InstanceId"]: int(one["ProcessId"]) for one in self.describe_endpoint()["Instances"]
                if one["State"] == "InService" and int(one["ProcessId"]) not in self.struck}

    def prepare(self, options):
        self.struck = {}
        make_images(self.folder / "data")
        self.train(make_job("dogs", f"file://{self.folder}/data", f"file://{self.folder}", epochs=1, workers=1, virtual_workers=1))
        self.daemon = self.start_daemon()
        self.musher("endpoint", "create", "dogs", "--model", f"file://{self.folder}/dogs/output/model.tar.gz", "--min",
                    options.instances, "--max", options.instances, "--wait", timeout=START_S, code=0)
        self.bodies = pictures(np.random.default_rng(0))
        self.host = self.describe_endpoint()["Url"].removeprefix("http://")
        self.known = {name: self.known_answer(body) for name, body in self.bodies.items()}
        for left, one in self.known.items():
            for right, other in self.known.items():
                assert left == right or not np.allclose(one, other, atol=1e-3), f"{left} and {right} have one answer: of no use"

    def known_answer(self, body):
        connection = http.client.HTTPConnection(self.host, timeout=ANSWER_S)
        connection.request("POST", "/invocations", body, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert answer.status == 200, said
        return json.loads(said)

    def strike(self, dice, say):
        """One instance, once there are two that may answer."""
        kind, = dice.choices(list(KINDS), list(KINDS.values()))
        pick = dice.random()
        alive = self.wait_until(lambda: found if len(found := self.healthy()) > 1 else None, START_S, "two instances")
        name = sorted(alive)[int(pick * len(alive))]
        self.struck[alive[name]] = kind
        os.kill(alive[name], signal.Signals[f"SIG{kind}"])
        say(f"SIG{kind} to {name}, {len(alive) - 1} are left")

    def settle(self, options):
        """All instances are there again, and then none."""
        self.wait_until(lambda: len(self.healthy()) == options.instances, START_S, f"{options.instances} healthy instances")
        self.wait_until(lambda: not set(self.struck) & set(self.children()), START_S, "what was stopped is gone")
        self.musher("endpoint", "delete", "dogs", "--wait", code=0)
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs()


def torture(test, options):
    """The load and its counts; strikes as it goes."""
    dice = random.Random(options.seed)
    began = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    with Load(test.host, test.bodies, test.known, options.rate, options.threads, options.seed) as load:
        for number in range(1, int(options.seconds / options.kill_every) + 1):
            time.sleep(max(0.0, began + number * options.kill_every - time.monotonic()))
            if time.monotonic() - began < options.seconds:
                test.strike(dice, say)
        time.sleep(max(0.0, began + options.seconds - time.monotonic()))
    return load, time.monotonic() - began


def report(load, kills, seconds, load_average):
    """Percent of requests that were answered."""
    total = sum(load.counts.values())
    share = 100 * load.counts["200"] / total
    times = np.sort(load.seconds)
    failed = {kind: count for kind, count in sorted(load.counts.items()) if kind != "200"}
    print(f"\n{total} requests in {seconds:.0f} s, {total / seconds:.1f} a second; the machine's load was {load_average:.1f}")
    print(f"kills: {sum(kills.values())}: {', '.join(f'{count} SIG{kind}' for kind, count in sorted(kills.items()))}")
    print(f"failures: {sum(failed.values())}{': ' if failed else ''}{', '.join(f'{count} of {kind}' for kind, count in failed.items())}")
    print(f"wrong answers and failures that are not clean: {len(load.bad)}")
    print(f"success rate: {share:.3f} %")
    print(f"answers after: 50 % {times[total // 2]:.3f} s, 99 % {times[total * 99 // 100]:.3f} s, all {times[-1]:.3f} s")
    for line in load.bad[:10]:
        print(f"  {line}")
    return share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="of load (default: %(default)s)")
    parser.add_argument("--kill-every", type=float, default=20, help="seconds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--instances", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=40, help="requests a second (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=8, help="that ask (default: %(default)s)")
    parser.add_argument("--success", type=float, default=99.9, help="percent that must be answered (default: %(default)s)")
    options = parser.parse_args()
    if options.instances < 2:
        parser.error("--instances: at least 2, for one must be left to answer")

    processes.raise_on_signals()
    print(f"seed {options.seed}", flush=True)
    test = Torture()
    test.setUp()
    try:
        test.prepare(options)
        load, seconds = torture(test, options)
        share = report(load, collections.Counter(test.struck.values()), seconds, os.getloadavg()[1])
        test.settle(options)
        print("all instances were replaced, and nothing is left")
    finally:
        processes.ignore_signals()
        test.doCleanups()
    sys.exit(0 if not load.bad and share >= options.success else 1)


if __name__ == "__main__":
    main()
