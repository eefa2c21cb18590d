"""Jobs that go well, and what the coordinator says of them."""

import csv
import json
import os
import re
import signal
import sys
import time
import unittest

import grpc

from coordinator_testing import WORKER, CoordinatorTest


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
