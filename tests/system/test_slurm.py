"""Jobs that Slurm runs: a real one with two nodes, the coordinator on a third host; what Slurm does to jobs, and who is told.

This module runs as that third host: see cluster.py and slurm.py.
"""
import re
import unittest

import cluster

cluster.enter()

import slurm  # noqa: E402
from musher_testing import LIMIT, MusherTest, free_port, make_images, make_job  # noqa: E402

SECRET = "not-to-be-seen-anywhere"


@unittest.skipIf(slurm.why_not(), slurm.why_not())
class SlurmJobs(MusherTest):
    def setUp(self):
        super().setUp()
        state = self.folder / "state"
        state.mkdir(mode=0o700)
        # The nodes see neither the coordinator's state nor its temporary files, in whose place each has its own.
        self.hosts = self.enterContext(cluster.Cluster(self.folder / "cluster", 2, private=[state, self.temporary]))
        self.slurm = self.enterContext(slurm.Slurm(self.folder / "slurm", self.hosts))
        self.environment |= self.slurm.environment
        self.environment |= {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET}
        self.samples = make_images(self.folder / "images")
        self.certificates = self.folder / "certificates"
        self.musher("certs", self.certificates, code=0)
        self.tls = self.certificates / "client"
        self.shared = self.folder / "shared"
        self.port = free_port()
        # Its own processes: the hosts' are not its business.
        self.daemon_prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

    def serve(self, *arguments):
        return self.start_daemon(
            "--launcher", "slurm", "--slurm-folder", self.shared, "--slurm-interval", 0.2, "--tls", self.certificates,
            "--advertise", cluster.ADDRESS, *arguments, slots=None, address=f"{cluster.ADDRESS}:{self.port}",
            listen=f"0.0.0.0:{self.port}")

    def submit(self, name, retries=0, **options):
        options = {"workers": 2, "epochs": 2} | options
        job = make_job(name, f"file://{self.folder}/images", f"file://{self.folder}/jobs", **options)
        if retries:
            job["RetryStrategy"] = {"MaximumRetryAttempts": retries}
        self.musher("submit", self.write_job(job), code=0)

    def status(self, name):
        return self.musher("status", name, code=0).stdout

    def wait_for(self, name, text, what=None):
        try:
            self.wait_until(lambda: re.search(text, self.status(name)), LIMIT, what or text)
        except AssertionError as error:
            self.fail(f"{error}\n{self.status(name)}\n{self.slurm.run('scontrol', 'show', 'job')}\n{self.musher('logs', name).stdout[-3000:]}")

    def message_of(self, name, status):
        found = [step.get("StatusMessage", "") for step in self.describe(name)["SecondaryStatusTransitions"]
                 if step["Status"] == status]
        self.assertTrue(found, self.describe(name))
        return found[-1]

    def batch_jobs(self, name):
        """{id: state} of a job's attempts."""
        lines = self.slurm.run("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i %T %j").splitlines()
        return {words[0]: words[1] for words in map(str.split, lines) if words[2].startswith(f"{name}.")}

    def occupy(self, partition="main"):
        """Takes all nodes; returns the id of what does."""
        return self.slurm.run("sbatch", "--parsable", "--nodes=2", f"--partition={partition}", "--no-requeue",
                              "--output=/dev/null", "--chdir=/", "--wrap=sleep 600").strip()

    def assert_all_samples(self, name, epochs):
        self.assertIn(f"epoch {epochs}: {self.samples} of {self.samples} samples, each once", self.status(name))

    def stop_after_an_epoch(self, name):
        """One that the attempt which runs now has ended."""
        def epochs():
            return max(map(int, re.findall(r"epoch (\d+): \d+ of \d+ samples, each once", self.status(name))), default=0)

        before = epochs()
        self.wait_until(lambda: epochs() > before, LIMIT, "another epoch is over")
        self.musher("stop", name, code=0)
        self.musher("watch", name, code=3)

    def test_a_job_waits_in_slurms_queue_then_runs_on_two_nodes(self):
        self.serve("--slurm-partition", "main", "--slurm-gpus-per-node", "1", "--stop-grace", 60)
        blocker = self.occupy()
        self.submit("two")
        self.wait_for("two", r"Slurm's job \d+ waits: (Resources|Priority)")
        description = self.describe("two")
        self.assertEqual(description["SecondaryStatus"], "Pending")
        self.assertRegex(self.message_of("two", "Pending"), r"Slurm's job \d+ waits: ")
        self.assertRegex(self.musher("queue", code=0).stdout, r"two .*waits: ")
        (number,) = self.batch_jobs("two")
        asked = self.slurm.run("scontrol", "show", "job", number)
        self.assertIn("TresPerNode=gres:gpu:1", asked)
        # MaxRuntimeInSeconds, the grace to save the model, that of ending, and a minute.
        self.assertIn(f"TimeLimit=00:{-(-(LIMIT + 60 + 15 + 60) // 60):02}:00", asked)
        self.assertIn("NumNodes=2", asked)
        self.slurm.run("scancel", blocker)
        self.musher("watch", "two", code=0)
        self.assert_all_samples("two", 2)
        self.assertRegex(self.musher("logs", "two").stdout, f"attempt 1 is Slurm's job {number}")
        self.assertTrue((self.folder / "jobs" / "two" / "output" / "model.tar.gz").exists())
        self.assertEqual(self.batch_jobs("two"), {number: "COMPLETED"})
        self.assertEqual(list(self.shared.iterdir()), [], "the attempt's folder is gone")
        self.submit("three", workers=3)
        self.musher("watch", "three", code=1)
        self.assertIn("Slurm does not take the job: ", self.describe("three")["FailureReason"])

    def test_a_stop_saves_the_model_and_nothing_secret_is_seen(self):
        self.serve()
        self.submit("stopped", epochs=100_000)
        self.wait_for("stopped", "each once", "an epoch is over")
        folders = list(self.shared.iterdir())
        self.assertEqual(len(folders), 1)
        self.assertEqual([oct(path.stat().st_mode & 0o777) for path in [folders[0], folders[0] / "token"]], ["0o700", "0o600"])
        seen = (folders[0] / "batch.sh").read_text()
        seen += "".join(self.hosts.run(name, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'").stdout
                        for name in self.hosts.names)
        self.assertIn("musher-trainer", seen)
        seen += "".join(path.read_text(errors="replace") for path in (self.folder / "slurm" / "state").rglob("*") if path.is_file())
        seen += self.slurm.run("scontrol", "show", "job")
        for secret in (SECRET, (folders[0] / "token").read_text().strip(), (folders[0] / "key.pem").read_text().splitlines()[1]):
            self.assertNotIn(secret, seen)
        self.musher("stop", "stopped", code=0)
        self.musher("watch", "stopped", code=3)
        self.assertTrue((self.folder / "jobs" / "stopped" / "output" / "model.tar.gz").exists())
        self.assertEqual(list(self.batch_jobs("stopped").values()), ["COMPLETED"])
        for name in self.hosts.names:
            left = self.hosts.run(name, f"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; find {self.temporary} ! -type d").stdout
            self.assertNotRegex(left, "musher-trainer|prted|musher-[0-9a-f]{16}")

    def test_a_batch_job_that_somebody_cancels_stops_the_job(self):
        self.serve()
        blocker = self.occupy()
        self.submit("waiting")
        self.wait_for("waiting", "waits: ")
        self.slurm.run("scancel", *self.batch_jobs("waiting"))
        self.musher("watch", "waiting", code=3)
        self.assertRegex(self.message_of("waiting", "Stopping"), r"Slurm's job \d+ was cancelled while it waited")
        self.slurm.run("scancel", blocker)
        self.submit("running", epochs=100_000)
        self.wait_for("running", "each once", "an epoch is over")
        self.slurm.run("scancel", *self.batch_jobs("running"))
        self.musher("watch", "running", code=3)
        self.assertRegex(self.message_of("running", "Stopping"), r"Slurm's job \d+ was cancelled, and not by Musher")

    def test_a_job_whose_nodes_are_taken_back_goes_on_later_and_loses_no_attempt(self):
        self.serve()
        self.submit("taken", epochs=100_000, checkpoints=f"file://{self.folder}/checkpoints", checkpoint_every_steps=4)
        self.wait_for("taken", "each once", "an epoch is over")
        urgent = self.occupy("urgent")
        self.wait_for("taken", "Slurm took the nodes of its job .* back: PREEMPTED.*attempts left: 0")
        self.assertEqual(self.describe("taken")["TrainingJobStatus"], "InProgress")
        self.slurm.run("scancel", urgent)
        self.wait_until(lambda: list(self.batch_jobs("taken").values())[1:] == ["RUNNING"], LIMIT, "the second attempt runs")
        second = list(self.batch_jobs("taken"))[1]
        # To a coordinator that has not seen it run, one that is put back merely waits.
        self.wait_for("taken", "Starting attempt 2")
        # An administrator may have it put back into the queue, though Musher does not ask for that.
        self.slurm.run("scontrol", "update", f"JobId={second}", "Requeue=1")
        self.slurm.run("scontrol", "requeue", second)
        self.wait_for("taken", f"Slurm took the nodes of its job {second} back: ")
        self.wait_until(lambda: list(self.batch_jobs("taken").values())[2:] == ["RUNNING"], LIMIT, "the third attempt runs")
        self.stop_after_an_epoch("taken")
        self.assertEqual(list(self.batch_jobs("taken").values()), ["PREEMPTED", "CANCELLED", "COMPLETED"])

    def test_a_time_limit_that_comes_near_ends_the_job_with_its_model(self):
        self.serve("--stop-grace", 60)
        self.submit("limited", epochs=100_000)
        self.wait_for("limited", "each once", "an epoch is over")
        self.slurm.run("scontrol", "update", f"JobId={next(iter(self.batch_jobs('limited')))}", "TimeLimit=1")
        self.musher("watch", "limited", code=3)
        description = self.describe("limited")
        self.assertEqual(description["SecondaryStatus"], "MaxRuntimeExceeded")
        self.assertRegex(self.message_of("limited", "Stopping"), r"the time limit of Slurm's job \d+ ends in \d+ s")
        self.assertTrue((self.folder / "jobs" / "limited" / "output" / "model.tar.gz").exists())

    def test_attempts_shorter_than_the_job_follow_each_other(self):
        self.serve("--stop-grace", 30, "--slurm-time-limit", 60)
        self.submit("chained", epochs=100_000, checkpoints=f"file://{self.folder}/checkpoints")
        self.wait_for("chained", r"Attempt 1 was lost: the time limit of Slurm's job \d+ ends in \d+ s")
        self.wait_until(lambda: len(self.batch_jobs("chained")) > 1, LIMIT, "the next attempt")
        self.musher("stop", "chained", code=0)
        self.musher("watch", "chained", code=3)

    def test_a_node_that_fails_costs_an_attempt(self):
        self.serve()
        self.submit("struck", retries=1, epochs=100_000, checkpoints=f"file://{self.folder}/checkpoints", checkpoint_every_steps=4)
        self.wait_for("struck", "each once", "an epoch is over")
        self.slurm.run("scontrol", "update", "NodeName=h2", "State=DOWN", "Reason=test")
        self.wait_for("struck", r"Slurm's job \d+ on .*ended as NODE_FAIL.*attempts left: 0")
        self.wait_for("struck", r"Slurm's job \d+ waits: ")
        self.slurm.run("scontrol", "update", "NodeName=h2", "State=RESUME", check=False)  # it may be back by itself
        self.wait_until(lambda: list(self.batch_jobs("struck").values())[1:] == ["RUNNING"], LIMIT, "the second attempt runs")
        self.stop_after_an_epoch("struck")

    def test_a_coordinator_that_was_killed_finds_its_batch_jobs_again(self):
        daemon = self.serve()
        self.submit("long", epochs=100_000)
        self.wait_for("long", "each once", "an epoch is over")
        self.submit("behind")
        self.wait_for("behind", "waits: ")
        daemon.kill()
        daemon.wait()
        before = self.batch_jobs("long") | self.batch_jobs("behind")
        self.serve()
        self.wait_for("long", "The coordinator was restarted; the ranks went on.")
        self.assertEqual(self.batch_jobs("long") | self.batch_jobs("behind"), before)
        self.musher("stop", "long", code=0)
        self.musher("watch", "long", code=3)
        self.musher("watch", "behind", code=0)
        self.assert_all_samples("behind", 2)


if __name__ == "__main__":
    unittest.main()
