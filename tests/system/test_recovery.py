"""Ranks, mpirun and the coordinator die or hang at named moments, and nothing is lost: every epoch has each sample once, the
loss is that of a run that nothing happened to, and the history says what was."""
import json
import os
import re
import signal
import unittest

import recovery
from musher_testing import LIMIT, TRAINER, MusherTest, make_images, make_job, metrics_of

PER_CLASS = 42  # 129 samples in 9 steps of 16
STEPS = 9
EPOCHS = 3
LAST = STEPS * EPOCHS
KILLED = r"rank {} on host \S+ was killed by signal 9 \(Killed\)"


class RecoveryTest(MusherTest):
    unbroken = {}  # final loss by what it depends on

    def setUp(self):
        super().setUp()
        self.samples = make_images(self.folder / "images", per_class=PER_CLASS)

    def job(self, name, **options):
        """Small, and with a loss that does not come near zero, where nothing could be compared."""
        options = {"epochs": EPOCHS, "workers": 3, "virtual_workers": 8, "learning_rate": 0.005, "label_smoothing": 0.2,
                   "checkpoints": f"file://{self.folder}/{name}-checkpoints", "heartbeat_timeout_seconds": 20} | options
        images = f"file://{self.folder}/images"
        return make_job(name, images, f"file://{self.folder}/jobs", validation=images, **options)

    def train_with(self, *faults, name="broken", **options):
        """A run to its end with these faults. Its description and history."""
        trainer = recovery.trainer_with_faults(self.folder, TRAINER, *faults)
        description, history = self.train(self.job(name, **options), "--trainer", trainer)
        self.assertEqual(description["TrainingJobStatus"], "Completed", history)
        self.assert_nothing_runs()
        return description, history

    def assert_each_once(self, history, epochs=EPOCHS, again=False):
        self.assertIsNone(recovery.check_epochs(history, self.samples, epochs, again), history)

    def assert_same_loss(self, description, epochs=EPOCHS):
        """As without any death. Its own run, once for all tests: one rank does, as losses do not depend on their number."""
        if epochs not in self.unbroken:
            whole, history = self.train_with(name="unbroken", workers=1, epochs=epochs)
            self.assert_each_once(history, epochs)
            self.unbroken[epochs] = metrics_of(whole)
        for metric in ("train:loss", "validation:loss"):
            ours, theirs = metrics_of(description)[metric], self.unbroken[epochs][metric]
            print(f"\n  {self.id().split('.')[-1]}: {metric} {ours:.9f}, unbroken {theirs:.9f} ", end="", flush=True)
            self.assertGreater(theirs, 0.05, "too small to be compared")
            self.assertAlmostEqual(ours / theirs, 1, delta=1e-3)

    def survives(self, *faults, said=None, epochs=EPOCHS, **options):
        """`said`: regular expressions for the history; by default the death of each member that has a fault."""
        description, history = self.train_with(*faults, epochs=epochs, **options)
        for line in said or [KILLED.format(fault.split(":")[0]) for fault in faults]:
            self.assertRegex(history, line)
        self.assertNotIn("FailureReason", description)
        self.assert_each_once(history, epochs)
        self.assert_same_loss(description, epochs)
        return history


class DeathsOfOne(RecoveryTest):
    """One of three ranks dies; the others go on in their processes."""

    def test_at_the_first_batch(self):
        self.survives("1:forward:1")

    def test_while_it_fetches(self):
        self.survives("1:fetch:any")

    def test_while_it_decodes(self):
        self.survives("1:decode:12")

    def test_between_forward_and_backward(self):
        self.survives("1:backward:12")

    def test_in_the_all_reduce(self):
        history = self.survives("1:all-reduce:12")
        self.assertRegex(history, "2 ranks went on with step 1[23] after")

    def test_in_the_sums_of_batch_norm(self):
        """sync_batch_norm has ranks wait for each other in the middle of forward and of backward, where one batch-norm has moved
        its running statistics on and the next has not. The loss is not compared: rounding in the order of ranks grows too fast."""
        description, history = self.train_with("1:batch-norm:3", "2:batch-norm-backward:6", epochs=1, model="resnet18",
                                               image_size=32, sync_batch_norm="true")
        for rank in (1, 2):
            self.assertRegex(history, KILLED.format(rank))
        self.assertNotIn("FailureReason", description)
        self.assert_each_once(history, 1)

    def test_before_the_optimizer_step(self):
        self.survives("2:optimizer:12")

    def test_after_the_optimizer_step(self):
        self.survives("2:commit:12")

    def test_while_a_checkpoint_is_written(self):
        self.survives(f"1:checkpoint:{STEPS}")

    def test_when_its_slice_is_written_and_the_coordinator_does_not_know(self):
        self.survives(f"1:checkpoint-told:{STEPS}")

    def test_in_validation(self):
        self.survives(f"1:validation:{STEPS}")

    def test_in_the_last_validation(self):
        self.survives(f"1:validation:{LAST}")

    def test_at_the_last_batch(self):
        self.survives(f"1:all-reduce:{LAST}")

    def test_by_an_abort(self):
        self.survives("1:forward:12:ABRT", said=[r"rank 1 on host \S+ was killed by signal 6 \(Aborted\)"])


class DeathsOfTheLeader(RecoveryTest):
    def test_in_the_all_reduce(self):
        self.survives("0:all-reduce:12")

    def test_in_validation(self):
        self.survives(f"0:validation:{STEPS}")

    def test_before_the_artifact_is_written(self):
        self.survives(f"0:upload:{LAST}")

    def test_when_the_artifact_stands_and_nobody_knows(self):
        self.survives(f"0:published:{LAST}")

    def test_before_it_says_who_goes_on(self):
        self.survives("2:all-reduce:12", "0:regroup:any")

    def test_when_it_knows_the_generation_and_the_others_do_not(self):
        self.survives("2:all-reduce:12", "0:regrouped:any")


class SeveralDeaths(RecoveryTest):
    def test_two_at_once(self):
        self.survives("1:all-reduce:12", "3:all-reduce:12", workers=4)

    def test_the_leader_and_another_at_once(self):
        self.survives("0:forward:12", "2:forward:12", workers=4)

    def test_a_second_one_before_the_others_have_found_together(self):
        self.survives("1:all-reduce:12", "2:failed:any", workers=4)

    def test_a_second_one_when_the_others_have_found_together(self):
        # Rank 2 may or may not have seen the step committed that rank 1 died in.
        self.survives("1:all-reduce:12", "2:agree:11", "2:agree:12", workers=4)

    def test_one_after_another_down_to_the_last(self):
        history = self.survives("0:all-reduce:4", "2:forward:12", "1:commit:20", workers=4)
        self.assertRegex(history, "; 1 rank went on")


class FullSize(RecoveryTest):
    """A replacement is started and taken in. The jobs here end by a stop, once what is waited for was seen."""

    def train_until(self, pattern, *faults, stop=True, **options):
        trainer = recovery.trainer_with_faults(self.folder, TRAINER, *faults)
        job = self.job("long", **({"epochs": 100_000, "checkpoints": None} | options))
        training = self.start_musher("train", self.write_job(job), "--json", "--trainer", trainer)
        history = training.stderr_path
        self.wait_until(lambda: re.search(pattern, history.read_text()) or training.poll() is not None, LIMIT, pattern)
        self.assertIsNone(training.poll(), history.read_text())
        training.send_signal(signal.SIGINT)
        self.assertEqual(training.wait(timeout=60), 3, history.read_text())
        self.assert_nothing_runs()
        self.assert_each_once(history.read_text(), None)
        return history.read_text()

    def test_a_replacement_joins(self):
        history = self.train_until("joined: 3 ranks from step", "1:all-reduce:12")
        self.assertRegex(history, r"rank 3 joined: 3 ranks from step \d+ on, training paused for [\d.]+ s")

    def test_a_survivor_dies_while_the_newcomer_is_given_the_state(self):
        self.train_until(r"rank [45] joined: 3 ranks from step|joined: 3 ranks[^$]*joined: 3 ranks|rank 4 joined; rank 5 joined",
                         "1:all-reduce:12", "2:level:any")

    def test_the_leader_dies_while_the_newcomer_is_given_the_state(self):
        self.train_until(r"rank \d joined: 3 ranks", "1:all-reduce:12", "0:level:any")

    def test_the_newcomer_dies_before_it_is_taken_in(self):
        self.train_until(r"rank [4-9] joined: 3 ranks from step", "1:all-reduce:12", "3:enter:any")

    def test_the_newcomer_dies_while_it_is_given_the_state(self):
        self.train_until(r"rank [4-9] joined: 3 ranks from step", "1:all-reduce:12", "3:level:any")


class Hangs(RecoveryTest):
    """Found within heartbeat_timeout_seconds, named, killed, and then a death like any other."""

    def hangs(self, fault, *said):
        return self.survives(fault, said=said, heartbeat_timeout_seconds=4)

    def test_a_stopped_process(self):
        self.hangs("1:forward:12:STOP", r"rank 1 .*hung: no heartbeat for \d+ s; it was \w+ at step")

    def test_a_stopped_leader(self):
        self.hangs("0:all-reduce:12:STOP", r"rank 0 .*hung: no heartbeat for \d+ s; it was \w+ at step")

    def test_a_data_thread_that_never_returns(self):
        self.hangs("1:decode:12:HANG",
                   r"rank 1 .*hung: its training thread showed no sign of life for \d+ s; it was \w+ at step \d+, "
                   "waiting for data")

    def test_a_collective_that_never_completes(self):
        history = self.hangs("1:collective:12", "a collective hung and was given up; 3 ranks went on with step 1[23]")
        self.assertNotIn("killed", history)


class MpirunAndCoordinator(RecoveryTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon(slots=3)

    def submit(self, name, retries=0, **options):
        job = self.job(name, **options)
        if retries:
            job["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        self.musher("submit", self.write_job(job), code=0)

    def history(self, name):
        return self.musher("status", name, code=0).stdout

    def wait_for(self, name, pattern):
        self.wait_until(lambda: re.search(pattern, self.history(name)), LIMIT, pattern)

    def restart_daemon(self):
        """On the same address, as a supervisor would."""
        self.daemon = self.processes.start(
            [*self.daemon.args], env=self.environment, log=self.folder / "daemon.log")
        self.wait_until(lambda: self.musher("list").returncode == 0, 30, "the daemon answers again")

    def completed(self, name, epochs, again=False):
        self.assertEqual(self.musher("watch", name).returncode, 0, self.history(name))
        history = self.history(name)
        self.assert_each_once(history, epochs, again)
        return history

    def test_mpirun_killed_and_resumed_ends_with_the_same_bits(self):
        options = {"epochs": 60, "workers": 2, "momentum": 0.9, "augmentation": "crop_flip", "checkpoint_every_steps": 7}
        self.submit("whole", **options)
        self.completed("whole", 60)
        self.submit("halves", retries=3, **options)
        self.wait_for("halves", "epoch 3:.*each once")
        for pid in recovery.mpiruns():
            os.kill(pid, signal.SIGKILL)
        self.wait_for("halves", "resumed at step")
        self.completed("halves", 60, again=True)
        self.assert_same_weights(self.weights(self.describe("whole")), self.weights(self.describe("halves")))
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs()

    def test_resized_up_and_down_while_it_runs(self):
        self.submit("sized", epochs=100_000, workers=1, checkpoints=None)
        self.wait_for("sized", "epoch 2:.*each once")
        self.musher("resize", "sized", "--workers", 3, code=0)
        self.wait_for("sized", r"joined: 3 ranks from step \d+ on, training paused")
        self.assertEqual(sorted(recovery.ranks()), [0, 1, 2])
        self.musher("resize", "sized", "--workers", 1, code=0)
        self.wait_for("sized", r"left: 1 rank from step \d+ on, training paused")
        self.wait_until(lambda: sorted(recovery.ranks()) == [0], 10, "who left ends")
        self.musher("stop", "sized", code=0)
        self.assertEqual(self.musher("watch", "sized").returncode, 3)
        self.assertNotIn("killed", self.history("sized"))
        self.assert_each_once(self.history("sized"), None)
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs()

    def test_the_coordinator_killed_and_back(self):
        self.submit("runs", epochs=300)
        self.submit("waits", epochs=1)
        self.wait_for("runs", "epoch 2:.*each once")
        before = recovery.ranks()
        log = self.musher("logs", "runs", code=0).stdout
        self.stop_daemon(self.daemon, signal.SIGKILL)
        self.restart_daemon()
        self.assertEqual(self.describe("runs")["TrainingJobStatus"], "InProgress")
        self.assertEqual(self.describe("waits")["SecondaryStatus"], "Pending")
        self.assertEqual(recovery.ranks(), before, "the same processes train on")
        self.completed("runs", 300)
        self.completed("waits", 1)
        self.assertTrue(self.musher("logs", "runs", code=0).stdout.startswith(log), "the log is whole")
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs()

    def test_a_worker_dies_while_the_coordinator_is_away(self):
        self.submit("runs", epochs=300)
        self.wait_for("runs", "epoch 2:.*each once")
        self.stop_daemon(self.daemon, signal.SIGKILL)
        os.kill(recovery.ranks()[1], signal.SIGKILL)
        self.wait_until(lambda: 1 not in recovery.ranks(), 10, "rank 1 is gone")
        self.restart_daemon()
        history = self.completed("runs", 300)
        self.assertRegex(history, r"rank 1 on host \S+ .*; 2 ranks went on")
        self.assertEqual(self.describe("runs")["TrainingJobStatus"], "Completed")
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs()


if __name__ == "__main__":
    unittest.main()
