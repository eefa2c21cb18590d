"""The coordinator with real processes: `musher serve` and `musher train` start a worker that only talks, under real mpirun.

The worker misbehaves as the job's Environment says, and waits for a file (FAKE_GATE) where a test has to hold it.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import grpc

from musher_testing import BUILD, MusherTest, free_port, make_images, make_job

WORKER = BUILD / "tests" / "fake_worker"


class CoordinatorTest(MusherTest):
    def setUp(self):
        super().setUp()
        self.samples = make_images(self.folder / "data", classes=2, per_class=5, size=8)
        self.gate = self.folder / "gate"

    def serve(self, *arguments, slots=2):
        return self.start_daemon("--trainer", WORKER, *arguments, slots=slots)

    def job(self, name, environment=None, retries=0, checkpoints=False, **options):
        job = make_job(name, f"file://{self.folder}/data", f"file://{self.folder}/out",
                       checkpoints=f"file://{self.folder}/checkpoints-{name}" if checkpoints else None, **options)
        job["Environment"] = {key: str(value) for key, value in (environment or {}).items()}
        if retries:
            job["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        return job

    def submit(self, name, **options):
        self.assertEqual(self.musher("submit", self.write_job(self.job(name, **options)), code=0).stdout, f"{name}\n")

    def submit_held(self, name, **options):
        """Submits a job that trains one epoch and then waits for the gate; returns when it is there."""
        environment = {"FAKE_GATE": self.gate} | options.pop("environment", {})
        self.submit(name, environment=environment, **options)
        self.wait_until(lambda: "each once" in self.musher("status", name).stdout, 60, "the first epoch")

    def finished(self, name, status):
        """Watches the job to its end, which must be `status`; its description."""
        self.musher("watch", name, code={"Completed": 0, "Failed": 1, "Stopped": 3}[status])
        description = self.describe(name)
        self.assertEqual(description["TrainingJobStatus"], status)
        return description

    def restart(self, address):
        log = self.folder / "daemon2.log"
        again = self.processes.start(
            [self.command(["serve"])[0], "serve", "--state", self.folder / "state", "--listen", address, "--slots", "2",
             "--trainer", WORKER], env=self.environment, log=log)
        self.wait_until(lambda: again.poll() is None and self.musher("list").returncode == 0, 30, "the daemon is back")
        return again

    def mpi_sessions(self):
        """What the mpiruns of the daemon keep, each in a folder of its own."""
        return list(self.temporary.glob("musher-serve-*/*"))

    def failure(self, name, environment, **options):
        self.submit(name, environment=environment, **options)
        return self.finished(name, "Failed")["FailureReason"]


class Life(CoordinatorTest):
    def test_a_job_from_submit_to_delete(self):
        self.serve()
        self.submit("one", epochs=3)
        description = self.finished("one", "Completed")
        statuses = [transition["Status"] for transition in description["SecondaryStatusTransitions"]]
        self.assertEqual([statuses[0], statuses[-1]], ["Pending", "Completed"])
        self.assertEqual(description["ModelArtifacts"]["S3ModelArtifacts"],
                         f"file://{self.folder}/out/one/output/model.tar.gz")
        self.assertEqual(description["FinalMetricDataList"][0]["Value"], 0.25)
        status = self.musher("status", "one", code=0).stdout
        for epoch in (1, 2, 3):
            self.assertIn(f"epoch {epoch}: {self.samples} of {self.samples} samples, each once", status)
        self.assertEqual(self.musher("submit", self.write_job(self.job("one"))).returncode, 2, "the name is taken")
        self.musher("delete", "one", code=0)
        self.musher("status", "one", code=2)
        self.submit("one")
        self.finished("one", "Completed")

    def test_logs_by_rank_and_from_an_offset(self):
        self.serve()
        self.submit("logged")
        self.finished("logged", "Completed")
        everything = self.musher("logs", "logged", code=0).stdout
        self.assertIn("0 joined as 0 of 2", everything)
        one = self.musher("logs", "logged", "--rank", 1, code=0).stdout
        self.assertIn("joined as 1 of 2", one)
        self.assertIn("a word on stderr", one)
        self.assertNotIn("joined as 0", one)
        self.assertIn("Completed", self.musher("logs", "logged", "--rank", -1, code=0).stdout)
        self.assertNotIn("prterun", everything, "mpirun's chatter")
        size = (self.folder / "state" / "jobs" / "logged" / "log").stat().st_size
        self.assertEqual(self.musher("logs", "logged", "--offset", size, code=0).stdout, "")
        followed = self.musher("logs", "logged", "--follow", code=0).stdout
        self.assertEqual(followed, everything, "following a job that is over ends")

    def test_logs_followed_end_with_the_job(self):
        self.serve()
        self.submit_held("followed")
        follow = self.start_musher("logs", "followed", "--follow")
        self.wait_until(lambda: "joined as 1" in follow.stdout_path.read_text(), 30, "what is there already")
        self.gate.touch()
        self.assertEqual(follow.wait(timeout=60), 0)
        self.assertIn("Completed", follow.stdout_path.read_text().splitlines()[-1])

    def on_disk(self, job, pattern="*"):
        return sum(path.stat().st_blocks * 512 for path in (self.folder / "state/jobs" / job).rglob(pattern))

    def test_a_flood_of_output_fills_neither_memory_nor_disk(self):
        size = int(os.environ.get("MUSHER_TEST_FLOOD", 1 << 30))
        daemon = self.serve()
        before = self.most_memory(daemon.pid)
        begin = time.monotonic()
        self.submit_held("flood", environment={"FAKE_FLOOD": size, "FAKE_FLOOD_EPOCH": 1}, epochs=2)
        mpirun = [pid for pid, command in self.children().items() if "--with-ft" in command]
        self.assertEqual(len(mpirun), 1, self.children())
        launcher = disk = 0
        self.gate.touch()

        def over():
            nonlocal launcher, disk
            launcher = max(launcher, self.most_memory(mpirun[0]))
            disk = max(disk, self.on_disk("flood"))
            return self.most_memory(mpirun[0]) == 0

        self.wait_until(over, 120, "mpirun is gone")
        self.finished("flood", "Completed")
        more = self.most_memory(daemon.pid) - before
        print(f"{size >> 20} MiB of output in {time.monotonic() - begin:.1f} s: the coordinator took {more >> 20} MiB more memory, "
              f"mpirun {launcher >> 20} MiB in all, the disk {disk >> 20} MiB", file=sys.stderr)
        self.assertLess(more, 64 << 20)
        self.assertLess(launcher, 128 << 20)
        self.assertLess(disk, 640 << 20, "the log, and what is not in it yet")
        self.assertLess(self.on_disk("flood"), 320 << 20)
        log = self.musher("logs", "flood", code=0).stdout.splitlines()
        self.assertIn("joined as", "".join(log[:10]), "its beginning is kept")
        self.assertIn("the last of the flood", "".join(log[-10:]))

    def test_a_flood_while_the_coordinator_is_away(self):
        size = 256 << 20
        daemon = self.serve()
        self.submit_held("alone", environment={"FAKE_FLOOD": size, "FAKE_FLOOD_EPOCH": 1}, epochs=2)
        daemon.kill()
        daemon.wait(timeout=10)
        self.gate.touch()
        out = self.folder / "state/jobs/alone/attempt-1/rank-0.stdout"
        self.wait_until(lambda: out.stat().st_size >= size, 60, "the flood")
        self.wait_until(lambda: self.on_disk("alone", "rank-*") < 72 << 20, 30, "the rank frees what nobody reads")
        self.restart(self.address)
        self.finished("alone", "Completed")
        log = self.musher("logs", "alone").stdout
        self.assertEqual(log.count("joined as 0 of 2"), 1, "no line twice")
        self.assertEqual(log.count("the last of the flood"), 1)
        gone = re.findall(r" 0 (\d+) bytes that this rank printed are gone", log)
        self.assertEqual(len(gone), 1, log[:2000])
        read = log.count("x" * 99 + "\n") * 100
        self.assertAlmostEqual(int(gone[0]) + read, size, delta=1000, msg="every byte was read or is said to be gone")

    def test_a_worker_whose_output_comes_through_mpirun(self):
        self.serve()
        self.submit("old", environment={"FAKE_THROUGH_MPIRUN": 1, "FAKE_EXIT": 0})
        self.assertIn("out of luck", self.finished("old", "Failed")["FailureReason"])
        self.assertIn("joined as 0 of 2", self.musher("logs", "old", "--rank", 0).stdout)

    def test_list_filters(self):
        self.serve()
        self.submit("good-1")
        self.finished("good-1", "Completed")
        self.failure("bad-1", {"FAKE_THROW": 0})
        listed = lambda *words: [job["TrainingJobName"] for job in json.loads(
            self.musher("list", "--json", *words, code=0).stdout)["TrainingJobSummaries"]]
        self.assertEqual(sorted(listed()), ["bad-1", "good-1"])
        self.assertEqual(listed("--status", "Failed"), ["bad-1"])
        self.assertEqual(listed("--name-contains", "good"), ["good-1"])
        self.assertEqual(listed("--sort-by", "Name", "--sort-order", "Descending"), ["good-1", "bad-1"])
        self.assertEqual(len(listed("--max-results", 1)), 1)
        self.musher("list", "--status", "Nonsense", code=2)

    def test_the_queue_is_first_come_first_served(self):
        self.serve()
        self.submit_held("first")
        self.submit("second")
        self.submit("third", workers=1)
        self.assertEqual(self.describe("third")["SecondaryStatus"], "Pending", "it fits no more than the second does")
        self.assertRegex(self.musher("status", "third").stdout, r"queue +2")
        self.gate.touch()
        ends = [self.finished(name, "Completed") for name in ("first", "second", "third")]
        starts = [description["TrainingStartTime"] for description in ends]
        self.assertEqual(starts, sorted(starts))
        self.assertGreaterEqual(starts[1], ends[0]["TrainingEndTime"], "gang scheduling on two slots")

    def test_health_and_reflection(self):
        self.serve()
        raw = {"request_serializer": bytes, "response_deserializer": bytes}
        with grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            self.assertEqual(channel.unary_unary("/grpc.health.v1.Health/Check", **raw)(b"", timeout=10), b"\x08\x01")
            reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", **raw)
            answer = b"".join(reflect(iter([b"\x3a\x01*"]), timeout=10))
        self.assertIn(b"musher.v1.Jobs", answer)
        self.assertIn(b"musher.v1.Workers", answer)

    def test_a_state_folder_that_cannot_be_made(self):
        done = self.musher("serve", "--state", "/proc/none", "--listen", "127.0.0.1:0", code=2)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn("/proc/none", done.stderr)

    def test_addresses_that_are_refused(self):
        for listen, why in {"0.0.0.0:0": "TLS", "192.0.2.1:7077": "TLS", "nonsense": "HOST:PORT"}.items():
            with self.subTest(listen):
                done = self.musher("serve", "--state", self.folder / "x", "--listen", listen, "--trainer", WORKER, code=2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(why, done.stderr)


class Metrics(CoordinatorTest):
    def test_metrics_over_time_and_those_of_the_jobs_own_expressions(self):
        self.serve()
        job = self.job("measured", epochs=3)
        job["AlgorithmSpecification"]["MetricDefinitions"] = [
            {"Name": "world size", "Regex": r"joined as 1 of (\d+)"}, {"Name": "a,b", "Regex": r"joined as (\d) of"},
            {"Name": "never", "Regex": "no such (line)"}, {"Name": "word", "Regex": "joined (as)"},
            {"Name": "train:loss", "Regex": "loss (.*)"}]
        job["Tags"] = [{"Key": "team", "Value": "dogs"}]
        self.assertIn("MetricDefinitions[4]: train:loss is measured by Musher itself",
                      self.musher("submit", self.write_job(job), code=0).stderr)
        description = self.finished("measured", "Completed")
        final = {one["MetricName"]: one["Value"] for one in description["FinalMetricDataList"]}
        self.assertEqual(final["world size"], 2)
        self.assertIn(final["a,b"], (0, 1))
        self.assertEqual({"never", "word"} & set(final), set())
        self.assertEqual(description["ProgressInfo"]["CurrentEpoch"], 3)
        rows = list(csv.DictReader(self.musher("metrics", "measured", "--csv", code=0).stdout.splitlines()))
        self.assertEqual(list(rows[0]), ["Timestamp", "MetricName", "Value", "Epoch", "Step"])
        self.assertEqual([row["Value"] for row in rows if row["MetricName"] == "world size"], ["2"])
        self.assertIn("a,b", [row["MetricName"] for row in rows])
        self.assertEqual([row["Timestamp"] for row in rows], sorted(row["Timestamp"] for row in rows))
        only = self.musher("metrics", "measured", "--name", "world size", code=0).stdout.splitlines()
        self.assertEqual(len(only), 2, only)
        self.assertRegex(self.musher("status", "measured", code=0).stdout, "tag +team = dogs")
        self.musher("metrics", "nobody", code=2)

    def test_a_page_of_the_list_and_the_next(self):
        self.serve()
        for name in ("a", "b", "c"):
            self.submit(name, environment={"FAKE_GATE": self.gate})
        page = json.loads(self.musher("list", "--json", "--max-results", 2, code=0).stdout)
        rest = json.loads(self.musher("list", "--json", "--max-results", 2, "--next-token", page["NextToken"], code=0).stdout)
        names = lambda answer: [job["TrainingJobName"] for job in answer["TrainingJobSummaries"]]
        self.assertEqual((names(page), names(rest)), (["a", "b"], ["c"]))
        self.assertNotIn("NextToken", rest)
        created = rest["TrainingJobSummaries"][0]["CreationTime"]
        listed = lambda *words: names(json.loads(self.musher("list", "--json", *words, code=0).stdout))
        self.assertEqual(listed("--created-before", created), ["a", "b"])
        self.assertEqual(listed("--created-after", created), [])
        self.musher("list", "--created-after", "yesterday", code=2)
        self.gate.touch()
        for name in ("a", "b", "c"):
            self.finished(name, "Completed")


class Failures(CoordinatorTest):
    def test_the_reason_names_the_first_failing_rank(self):
        self.serve("--regroup-limit", 0.5)
        # The other rank waits at the gate, and never says that it goes on alone.
        with self.subTest("killed"):
            reason = self.failure("killed", {"FAKE_DIE": 1, "FAKE_GATE": self.gate})
            for piece in ("rank 1 on host localhost", "signal 9 (Killed)", "about to die", "did not go on within"):
                self.assertIn(piece, reason)
        with self.subTest("exited"):
            reason = self.failure("exited", {"FAKE_EXIT": 0, "FAKE_GATE": self.gate})
            for piece in ("rank 0", "code 7", "out of luck"):
                self.assertIn(piece, reason)
        with self.subTest("says it itself"):
            self.assertEqual(self.failure("says", {"FAKE_THROW": 1}), "rank 1: the fake's own failure")
        self.assertEqual(len(self.children()), 1, "the daemon and no worker")
        self.assertEqual(self.mpi_sessions(), [], "mpirun's own is removed for it")

    def test_a_digest_that_does_not_match_fails_the_job(self):
        self.serve()
        self.assertIn("epoch 1: ", self.failure("digest", {"FAKE_WRONG_DIGEST": 1}))

    def test_undecodable_samples_within_and_above_the_limit(self):
        self.serve()
        self.submit("within", environment={"FAKE_UNDECODABLE": 1}, undecodable_limit=0.2, epochs=1)
        self.finished("within", "Completed")
        self.assertIn(f"epoch 1: {self.samples - 1} of {self.samples} samples, each once; 1 could not be decoded",
                      self.musher("status", "within").stdout)
        self.assertIn("undecodable_limit", self.failure("above", {"FAKE_UNDECODABLE": 1}))

    def test_data_that_is_not_there(self):
        self.serve()
        job = self.job("nowhere")
        job["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = f"file://{self.folder}/nothing"
        self.musher("submit", self.write_job(job), "--wait", code=1)
        self.assertIn(f"file://{self.folder}/nothing", self.describe("nowhere")["FailureReason"])

    def test_another_attempt_goes_on_from_the_newest_checkpoint(self):
        self.serve()
        self.submit("retried", environment={"FAKE_DIE": 1, "FAKE_DIE_TOO": 0, "FAKE_AT_EPOCH": 2, "FAKE_ATTEMPT": 1},
                    retries=1, epochs=6, checkpoints=True)
        description = self.finished("retried", "Completed")
        self.assertIn("Interrupted", [one["Status"] for one in description["SecondaryStatusTransitions"]])
        # The ranks of the fake do not wait for each other: one may not have got as far.
        self.assertRegex(self.musher("status", "retried").stdout, "resumed at step [12]")
        kept = sorted(path.parent.name for path in (self.folder / "checkpoints-retried").glob("*/manifest.json"))
        self.assertEqual(kept, ["step-4.retried.2.1", "step-5.retried.2.1", "step-6.retried.2.1"], "the last three")

    def test_mpirun_killed_is_an_attempt_lost(self):
        self.serve()
        self.submit_held("orphans")
        mpirun = [pid for pid, command in self.children().items() if "prterun" in command or "mpirun" in command]
        os.kill(mpirun[0], signal.SIGKILL)
        self.assertIn("mpirun ended", self.finished("orphans", "Failed")["FailureReason"])
        self.assertEqual(len(self.children()), 1, "the daemon and no worker")


class Recovery(CoordinatorTest):
    """Ranks that wait for each other, as MPI's do, and go on without one that died."""

    def together(self, name, workers=3, epochs=3, **options):
        environment = {"FAKE_GROUP": self.folder / "group"} | options.pop("environment", {})
        self.submit_held(name, environment=environment, workers=workers, epochs=epochs, **options)

    def rank_pid(self, rank):
        """The process of a rank that mpirun started, or of a newcomer."""
        for pid, command in self.children().items():
            if "fake_worker" not in command.split(" ")[0]:
                continue
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            words = command.split(" ")
            own = int(words[words.index("--newcomer") + 1]) if "--newcomer" in words else None
            if own == rank or own is None and f"OMPI_COMM_WORLD_RANK={rank}".encode() in variables:
                return pid
        self.fail(f"rank {rank} does not run: {self.children()}")

    def kill_rank(self, rank, number=signal.SIGKILL):
        os.kill(self.rank_pid(rank), number)

    def status_has(self, name, pattern, seconds=60):
        return self.wait_until(lambda: re.search(pattern, self.musher("status", name).stdout), seconds, pattern)

    def done(self, name, epochs=3):
        self.gate.touch()
        description = self.finished(name, "Completed")
        status = self.musher("status", name).stdout
        for epoch in range(1, epochs + 1):
            self.assertEqual(status.count(f"epoch {epoch}: {self.samples} of {self.samples} samples, each once"), 1, status)
        self.assertEqual(description["ModelArtifacts"]["S3ModelArtifacts"],
                         f"file://{self.folder}/out/{name}/output/model.tar.gz")
        self.assertNotIn("Interrupted", str(description["SecondaryStatusTransitions"]))
        self.wait_until(lambda: len(self.children()) == 1, 15, "the daemon and no worker")
        return status

    def test_a_rank_is_killed_the_others_go_on_and_another_takes_its_place(self):
        self.serve(slots=3)
        self.together("one")
        self.kill_rank(1)
        self.status_has("one", r"rank 1 on host localhost was killed by signal 9 \(Killed\); 2 ranks went on with step 2 after "
                               r"0.10 s, which was run again")
        self.status_has("one", r"rank 3 joined: 3 ranks from step 2 on, training paused for 0.10 s")
        self.status_has("one", r"ranks +3")
        status = self.done("one")
        self.assertIn("attempt   1", status)

    def test_the_leader_is_killed(self):
        self.serve(slots=3)
        self.together("led")
        self.kill_rank(0)
        self.status_has("led", r"rank 0 on host localhost was killed by signal 9 \(Killed\); 2 ranks went on")
        self.status_has("led", r"rank 3 joined")
        self.done("led")
        self.assertEqual(self.describe("led")["FinalMetricDataList"][0]["Value"], 0.25)

    def test_two_are_killed_and_then_all_but_one(self):
        self.serve(slots=4)
        self.together("few", workers=4)
        pids = [self.rank_pid(rank) for rank in (1, 2)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.status_has("few", r"rank [12] on host localhost was killed.*ranks? went on")
        self.kill_rank(0)
        self.status_has("few", r"rank 0 on host localhost was killed.*ranks? went on")
        self.done("few")

    def test_all_are_killed_and_the_next_attempt_goes_on(self):
        self.serve()
        self.together("all", workers=2, retries=1, checkpoints=True)
        pids = [self.rank_pid(rank) for rank in (0, 1)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)  # so that neither goes on without the other
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.status_has("all", "Attempt 1 was lost: rank [01] on host localhost was killed by signal 9")
        self.gate.touch()
        self.finished("all", "Completed")
        self.assertIn("resumed at step", self.musher("status", "all").stdout)

    def test_a_rank_that_hangs_is_found_and_killed(self):
        self.serve(slots=3)
        self.together("hangs", heartbeat_timeout_seconds=2)
        self.kill_rank(2, signal.SIGSTOP)
        self.status_has("hangs", r"rank 2 on host localhost hung: no heartbeat for 2 s; it was training at step 1; 2 ranks went on")
        self.done("hangs")

    def test_the_coordinator_is_killed_between_a_regrouping_and_the_report_of_it(self):
        daemon = self.serve()
        hold = self.folder / "hold"
        self.together("away", workers=2, environment={"FAKE_HOLD_RECOVERY": hold})
        self.kill_rank(0)
        self.wait_until(lambda: "generation 2: ranks 1 go on" in self.musher("logs", "away").stdout, 30, "the regrouping")
        self.wait_until(lambda: "rank 0 was killed" in self.musher("logs", "away").stdout, 30, "mpirun tells")
        daemon.kill()
        daemon.wait(timeout=10)
        self.restart(self.address)
        hold.touch()
        self.status_has("away", r"rank 0 on host localhost was killed by signal 9 \(Killed\); 1 rank went on with step 2")
        self.status_has("away", "rank 2 joined: 2 ranks")
        self.done("away")

    def test_resized_while_it_runs(self):
        self.serve(slots=4)
        self.together("sized", workers=2)
        self.musher("resize", "sized", "--workers", 4, code=0)
        self.status_has("sized", r"ranks +4")
        self.submit("waits", workers=2)
        self.assertEqual(self.describe("waits")["SecondaryStatus"], "Pending", "its slots are taken")
        self.musher("resize", "sized", "--workers", 1, code=0)
        self.status_has("sized", r"rank 3 left")
        self.status_has("sized", r"ranks +1")
        self.finished("waits", "Completed")
        self.assertNotIn("killed", self.done("sized"))

    def test_a_resize_that_is_refused_changes_nothing(self):
        self.serve()
        self.together("small", workers=2)
        self.submit("queued", workers=2)
        refused = {("nobody", 2): "nobody", ("small", 0): "at least 1", ("small", -3): "at least 1", ("small", 5): "virtual_workers",
                   ("small", 3): "slot"}
        for (name, workers), why in refused.items():
            with self.subTest(f"{name} to {workers}"):
                done = self.musher("resize", name, f"--workers={workers}", code=1 if why == "slot" else 2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(why, done.stderr)
        self.musher("resize", "small", code=2)
        self.status_has("small", r"ranks +2")
        self.musher("resize", "queued", "--workers", 1, code=0)
        self.done("small")
        self.finished("queued", "Completed")
        self.assertIn("joined as 0 of 1", self.musher("logs", "queued").stdout)
        self.assertIn("over", self.musher("resize", "small", "--workers", 1, code=2).stderr)


class Stops(CoordinatorTest):
    def test_stop_is_heard_by_every_rank_and_may_be_repeated(self):
        self.serve()
        self.submit_held("stopped")
        self.musher("stop", "stopped", code=0)
        self.musher("stop", "stopped", code=0)
        description = self.finished("stopped", "Stopped")
        self.assertIn("Stopping", [one["Status"] for one in description["SecondaryStatusTransitions"]])
        self.musher("stop", "stopped", code=0)

    def test_ranks_that_do_not_end_are_killed_after_the_grace(self):
        self.serve("--stop-grace", 1)
        self.submit_held("deaf", environment={"FAKE_IGNORE_STOP": 1})
        self.musher("stop", "deaf", code=0)
        self.finished("deaf", "Stopped")
        self.assertEqual(len(self.children()), 1, "the daemon and no worker")

    def test_a_job_in_the_queue(self):
        self.serve()
        self.submit_held("runs")
        self.submit("waits")
        self.musher("stop", "waits", code=0)
        self.finished("waits", "Stopped")
        self.gate.touch()
        self.finished("runs", "Completed")

    def test_a_running_job_is_not_deleted(self):
        self.serve()
        self.submit_held("kept")
        self.assertIn("stop", self.musher("delete", "kept", code=2).stderr)
        self.gate.touch()
        self.finished("kept", "Completed")

    def test_max_runtime_ends_as_stopped(self):
        self.serve()
        job = self.job("long", environment={"FAKE_GATE": self.gate})
        job["StoppingCondition"] = {"MaxRuntimeInSeconds": 2}
        self.musher("submit", self.write_job(job), "--wait", code=3)
        self.assertEqual(self.describe("long")["SecondaryStatus"], "MaxRuntimeExceeded")


class Restarts(CoordinatorTest):
    def test_the_daemon_is_killed_with_a_job_running_and_one_queued(self):
        daemon = self.serve()
        self.submit_held("runs", epochs=3, checkpoints=True)
        self.submit("waits")
        address = self.address
        daemon.kill()
        daemon.wait(timeout=10)
        self.assertEqual(self.musher("list").returncode, 4)
        self.gate.touch()  # they go on, and find nobody to report to for a while
        self.restart(address)
        self.finished("runs", "Completed")
        self.finished("waits", "Completed")
        status, log = self.musher("status", "runs").stdout, self.musher("logs", "runs").stdout
        for epoch in (1, 2, 3):
            self.assertEqual(status.count(f"epoch {epoch}: {self.samples} of"), 1, status)
        for rank in (0, 1):
            self.assertEqual(len(re.findall(rf" {rank} epoch 0: ", log)), 1, "no line twice")
            self.assertEqual(len(re.findall(rf" {rank} epoch 2: ", log)), 1, "no line lost")
        self.assertEqual(self.describe("runs")["SecondaryStatusTransitions"][-1]["Status"], "Completed")
        self.assertNotIn("Interrupted", str(self.describe("runs")))

    def test_a_second_coordinator_on_the_same_state_is_refused_and_the_first_goes_on(self):
        self.serve()
        second = self.musher("serve", "--state", self.folder / "state", "--listen", f"127.0.0.1:{free_port()}", "--trainer",
                             WORKER, code=2)
        self.assertEqual(len(second.stderr.splitlines()), 1, second.stderr)
        self.assertIn("belongs to another coordinator", second.stderr)
        self.submit("first")
        self.finished("first", "Completed")

    def test_an_orderly_end_leaves_the_ranks_running(self):
        daemon = self.serve()
        self.submit_held("goes-on")
        self.assertEqual(self.stop_daemon(daemon), 0)
        self.assertTrue([command for command in self.children_of_anyone() if "goes-on" in command])
        self.gate.touch()
        self.restart(self.address)
        self.finished("goes-on", "Completed")

    def children_of_anyone(self):
        return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()

    def test_mpirun_died_while_the_daemon_was_away(self):
        daemon = self.serve()
        self.submit_held("lost", retries=1, checkpoints=True)
        mpirun = [pid for pid, command in self.children().items() if "prterun" in command or "mpirun" in command]
        daemon.kill()
        daemon.wait(timeout=10)
        os.kill(mpirun[0], signal.SIGKILL)
        self.gate.touch()
        self.restart(self.address)
        self.finished("lost", "Completed")
        self.assertIn("resumed at step", self.musher("status", "lost").stdout)
        self.assertEqual(self.mpi_sessions(), [])

    def test_a_rank_died_while_the_daemon_was_away(self):
        daemon = self.serve()
        self.submit_held("unseen", environment={"FAKE_EXIT": 1, "FAKE_AT_EPOCH": 1})
        daemon.kill()
        daemon.wait(timeout=10)
        self.gate.touch()
        self.wait_until(lambda: "exit code 7" in (self.folder / "state/jobs/unseen/attempt-1/output").read_text(), 30, "it dies")
        self.restart(self.address)
        reason = self.finished("unseen", "Failed")["FailureReason"]
        for piece in ("rank 1", "code 7", "out of luck"):
            self.assertIn(piece, reason)


class Train(CoordinatorTest):
    def train_held(self, *arguments):
        job = self.write_job(self.job("embedded", environment={"FAKE_GATE": self.gate}))
        training = self.start_musher("train", job, "--trainer", WORKER, *arguments)
        self.wait_until(lambda: "each once" in training.stderr_path.read_text(), 60, "the first epoch")
        return training

    def test_exit_codes_and_what_is_on_stdout(self):
        run = lambda job, *words: self.musher("train", self.write_job(job), "--trainer", WORKER, *words)
        done = run(self.job("good"))
        self.assertEqual((done.returncode, done.stdout),
                         (0, f"file://{self.folder}/out/good/output/model.tar.gz\n"), done.stderr)
        # The leader, without whom there is no artifact: one that is lost after that would spoil nothing.
        done = run(self.job("bad", environment={"FAKE_EXIT": 0}), "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["TrainingJobStatus"], "Failed")
        self.assertIn("out of luck", done.stderr)
        nameless = self.job("x")
        del nameless["TrainingJobName"]
        done = run(nameless, "--json", "--workers", 1)
        self.assertRegex(json.loads(done.stdout)["TrainingJobName"], r"^convnet-\d{8}-\d{6}$")
        self.assert_nothing_runs()

    def test_ctrl_c_stops_and_leaves_nothing(self):
        training = self.train_held()
        training.send_signal(signal.SIGINT)
        self.assertEqual(training.wait(timeout=60), 3)
        self.assert_nothing_runs()

    def test_a_second_ctrl_c_kills(self):
        job = self.job("embedded", environment={"FAKE_GATE": self.gate, "FAKE_IGNORE_STOP": 1})
        training = self.start_musher("train", self.write_job(job), "--trainer", WORKER)
        self.wait_until(lambda: "each once" in training.stderr_path.read_text(), 60, "the first epoch")
        training.send_signal(signal.SIGINT)
        self.wait_until(lambda: "Ctrl-C again" in training.stderr_path.read_text(), 30, "the first is heard")
        training.send_signal(signal.SIGINT)
        self.assertEqual(training.wait(timeout=60), 3)
        self.assert_nothing_runs()

    def test_killed_outright_no_worker_stays(self):
        training = self.train_held()
        training.kill()
        training.wait(timeout=10)
        self.assert_nothing_runs(30)


if __name__ == "__main__":
    unittest.main()
