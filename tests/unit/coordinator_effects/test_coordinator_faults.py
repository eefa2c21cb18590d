"""What fails, dies, hangs or is stopped: ranks, mpirun, the coordinator itself."""

import os
import re
import signal
import subprocess
import unittest
from pathlib import Path

from coordinator_testing import WORKER, CoordinatorTest
from musher_testing import free_port


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


if __name__ == "__main__":
    unittest.main()
