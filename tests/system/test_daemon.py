"""The coordinator daemon over real S3: every command, the queue, restarts."""
import csv
import json
import signal
import unittest
import urllib.request

from musher_testing import BUCKET, LIMIT, MusherTest, free_port, make_images, make_job, metrics_of


class Daemon(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        self.samples = make_images(self.folder / "images")
        self.upload(self.folder / "images", "data/train")
        self.metrics_port = free_port()
        self.daemon = self.start_daemon("--metrics-listen", f"127.0.0.1:{self.metrics_port}")

    def job(self, name, **options):
        return make_job(name, f"s3://{BUCKET}/data/train", f"s3://{BUCKET}/jobs", **options)

    def submit(self, name, *arguments, **options):
        done = self.musher("submit", self.write_job(self.job(name, **options)), *arguments, code=0)
        self.assertEqual(done.stdout, f"{name}\n", "the job's name and nothing else")

    def wait_for_epoch(self, name):
        def an_epoch_is_over():
            return "each once" in (self.musher("status", name).stdout + self.musher("logs", name).stdout)
        self.wait_until(an_epoch_is_over, LIMIT, "an epoch is over")

    def test_a_job_from_submit_to_delete(self):
        self.submit("first", validation=f"s3://{BUCKET}/data/train")
        self.musher("watch", "first", code=0)
        description = self.describe("first")
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertEqual(description["ResourceConfig"]["InstanceCount"], 2)
        statuses = [transition["Status"] for transition in description["SecondaryStatusTransitions"]]
        self.assertEqual([status for status in statuses if status in ("Starting", "Downloading", "Training", "Uploading")],
                         ["Starting", "Downloading", "Training", "Uploading"])
        self.assertIn("validation:accuracy", metrics_of(description))
        for field in ("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime", "TrainingJobArn"):
            self.assertIn(field, description)
        self.assertTrue(self.weights(description))
        keys = self.keys("jobs/")
        self.assertEqual(keys[:2], ["jobs/first/output/model.tar.gz", "jobs/first/output/report.html"])
        self.assertRegex(" ".join(keys[2:]), r"^jobs/first/output/tensorboard/events\.out\.tfevents\.\d{10}\.musher$",
                         "nothing half-written beside them")
        page = self.s3.client().get_object(Bucket=BUCKET, Key=keys[1])["Body"].read().decode()
        for part in ("forward", "backward", "all-reduce", "optimizer", "waiting for data"):
            self.assertIn(f"<title>{part}: ", page)

        listed = json.loads(self.musher("list", "--json", code=0).stdout)
        self.assertEqual([one["TrainingJobName"] for one in listed["TrainingJobSummaries"]], ["first"])
        self.assertNotEqual(self.musher("logs", "first", code=0).stdout, "")
        self.assertRegex(self.musher("status", "first", code=0).stdout, "epoch 2 of 2, step 8 of 8")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60) as answer:
            page = answer.read().decode()
        for line in ('musher_jobs{status="Completed"} 1', "musher_attempts_started_total 1", "musher_recoveries_total 0",
                     "musher_free_slots 2"):
            self.assertIn(f"\n{line}\n", page)
        self.assertNotIn("\nmusher_heartbeats_total 0\n", page)

        self.musher("delete", "first", code=0)
        self.assertNotEqual(self.musher("status", "first").returncode, 0)

    def test_curves_have_points_within_epochs_where_they_are_asked_for(self):
        self.submit("curves", "--wait", validation=f"s3://{BUCKET}/data/train", epochs=2, metrics_every_steps=3)
        rows = list(csv.DictReader(self.musher("metrics", "curves", "--csv", code=0).stdout.splitlines()))

        def points(name):
            return {int(row["Step"]): float(row["Value"]) for row in rows if row["MetricName"] == name}

        # 63 samples in batches of 16: 4 steps an epoch, the last of 15.
        self.assertEqual(self.samples, 63)
        for name in ("train:loss", "train:samples_per_second"):
            self.assertEqual(sorted(points(name)), [3, 4, 6, 8], name)
        self.assertEqual(sorted(points("validation:loss")), [4, 8])
        final = metrics_of(self.describe("curves"))
        losses = points("train:loss")
        self.assertAlmostEqual(final["train:loss"], (32 * losses[6] + 31 * losses[8]) / 63, places=5, msg="the whole last epoch")

    def test_submit_wait_says_how_it_ended(self):
        done = self.musher("submit", self.write_job(self.job("waited")), "--wait", "--json", code=0)
        self.assertEqual(json.loads(done.stdout)["TrainingJobStatus"], "Completed")

    def test_a_second_job_waits_for_the_first_and_then_runs(self):
        self.submit("runs", epochs=100_000)
        self.wait_for_epoch("runs")
        self.submit("waits")
        self.assertEqual(self.describe("waits")["SecondaryStatus"], "Pending")
        self.musher("stop", "runs", code=0)
        self.musher("watch", "runs", code=3)
        self.musher("watch", "waits", code=0)

    def test_stop_saves_the_model_and_may_be_repeated(self):
        self.submit("endless", epochs=100_000)
        self.wait_for_epoch("endless")
        self.musher("stop", "endless", code=0)
        self.musher("stop", "endless", code=0)
        self.musher("watch", "endless", code=3)
        description = self.describe("endless")
        self.assertEqual(description["TrainingJobStatus"], "Stopped")
        self.assertTrue(self.weights(description))
        self.musher("stop", "endless", code=0)
        self.assertEqual(list(self.children()), [self.daemon.pid], "the daemon and no worker")

    def test_ctrl_c_on_watch_leaves_the_job_running(self):
        self.submit("watched", epochs=100_000)
        watch = self.start_musher("watch", "watched")
        self.wait_until(lambda: watch.stderr_path.read_text() + watch.stdout_path.read_text(), LIMIT, "progress")
        watch.send_signal(signal.SIGINT)
        watch.wait(timeout=30)
        self.assertEqual(self.describe("watched")["TrainingJobStatus"], "InProgress")

    def test_all_is_there_after_a_restart(self):
        self.submit("before")
        self.musher("watch", "before", code=0)
        described, logs = self.describe("before"), self.musher("logs", "before").stdout
        self.stop_daemon(self.daemon)
        self.assert_nothing_runs()
        self.assertEqual(self.musher("list").returncode, 4, "out of reach")
        self.daemon = self.start_daemon()
        self.assertEqual(self.describe("before"), described)
        self.assertEqual(self.musher("logs", "before").stdout, logs)

    def test_two_daemons_do_not_share_a_state_or_a_port(self):
        for what, arguments in {"state": ("--state", self.folder / "state", "--listen", "127.0.0.1:0"),
                                "port": ("--state", self.folder / "other", "--listen", self.address)}.items():
            with self.subTest(what):
                done = self.musher("serve", *arguments, timeout=30)
                self.assertEqual(done.returncode, 2 if what == "port" else done.returncode)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
