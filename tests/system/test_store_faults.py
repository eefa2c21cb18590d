"""The object store fails, answers half, goes away for a while: training ends with the same bits, or with the store's own error."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time
import unittest

from fault_proxy import FaultProxy, answer
from musher_testing import BUCKET, LIMIT, MusherTest, make_images, make_job

SEED = int(os.environ.get("MUSHER_TEST_SEED", "1"))
OUTAGE = float(os.environ.get("MUSHER_TEST_OUTAGE", "4"))  # seconds
RATES = {"error": 0.08, "slow_down": 0.08, "reset": 0.08, "lost_answer": 0.06, "cut": 0.08, "truncated": 0.08, "short": 0.05,
         "slow": 0.05}
FULL = answer(507, "Insufficient Storage", "InsufficientStorage")
DENIED = answer(403, "Forbidden", "AccessDenied", "Access Denied")


class StoreFaults(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")

    def job(self, name, **options):
        options = {"epochs": 6, "augmentation": "crop_flip", "checkpoints": f"s3://{BUCKET}/checkpoints/{name}"} | options
        return make_job(name, f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", **options)

    def start_proxy(self, **options):
        proxy = FaultProxy(self.s3.port, **options)
        self.addCleanup(proxy.stop)
        self.environment["AWS_ENDPOINT_URL"] = proxy.endpoint
        return proxy

    def start(self, job):
        # What is kept on this host would never be asked for.
        return self.start_musher("train", self.write_job(job), "--json", "--cache-limit", "0")

    def wait_for_epoch(self, training, epochs=1):
        def over():
            text = training.stderr_path.read_text()
            self.assertIsNone(training.poll(), text)
            return text.count("each once") >= epochs
        self.wait_until(over, LIMIT, f"{epochs} epochs are over")

    def stop_once_told(self, training, pattern):
        """The job's description and what it said, stopped when it has said that."""
        def told():
            text = training.stderr_path.read_text()
            self.assertIsNone(training.poll(), text)
            return re.search(pattern, text)
        self.wait_until(told, LIMIT, pattern)
        training.send_signal(signal.SIGTERM)
        description, said = self.result(training, 3)
        self.assertEqual(description["TrainingJobStatus"], "Stopped")
        self.assertTrue(self.weights(description), "it trained on, and the model is saved")
        return description, said

    def result(self, training, code):
        self.assertEqual(training.wait(timeout=LIMIT), code, training.stderr_path.read_text())
        return json.loads(training.stdout_path.read_text()), training.stderr_path.read_text()

    def test_the_same_bits_through_a_store_that_misbehaves_and_goes_away(self):
        print(f"seed {SEED}", flush=True)
        whole, _ = self.train(self.job("whole"))
        proxy = self.start_proxy(seed=SEED, rates=RATES)
        training = self.start(self.job("through", epochs=6))
        self.wait_for_epoch(training)
        with proxy.outage():
            time.sleep(OUTAGE)  # not to wait for something: this is the outage
        through, said = self.result(training, 0)
        self.assertEqual(through["TrainingJobStatus"], "Completed")
        self.assert_same_weights(self.weights(whole), self.weights(through))
        self.assertNotIn("could not decode", said)
        for fault in RATES:
            self.assertGreater(proxy.injected[fault], 0, f"{fault} never happened: {proxy.injected}")
        self.assertGreater(proxy.injected["away"], 0, "nobody came during the outage")
        print(f"faults: {dict(proxy.injected)} in {len(proxy.log)} requests", flush=True)
        self.assert_nothing_runs()

    def test_a_store_that_stays_away_fails_the_job_with_its_own_error(self):
        proxy = self.start_proxy()
        training = self.start(self.job("lost", epochs=100_000, storage_retry_seconds=2, prefetch_bytes=1 << 20))
        self.wait_for_epoch(training)
        proxy.go_away()
        description, _ = self.result(training, 1)
        self.assertEqual(description["TrainingJobStatus"], "Failed")
        self.assertRegex(description["FailureReason"], rf"read s3://{BUCKET}/train/\S+: the server can't be reached")
        self.assert_nothing_runs()

    def manifests(self):
        """Of the job's committed checkpoints."""
        return [key for key in self.keys("checkpoints/full/") if key.endswith("/manifest.json")]

    def test_a_store_that_takes_no_checkpoint_costs_no_more_than_the_checkpoints(self):
        refusal = {}
        proxy = self.start_proxy(script=lambda request: refusal.get("answer") if request.method in ("PUT", "POST")
                                 and "/checkpoints/" in request.path else None)
        training = self.start(self.job("full", epochs=100_000, learning_rate=0.001))
        self.wait_until(self.manifests, LIMIT, "a checkpoint stands")
        refusal["answer"] = FULL
        self.stop_once_told(training, r"checkpoint of step \d+: slice \d of 2 was not written, the checkpoint before stays: "
                                      r"write s3://\S+: the server is out of space")
        self.assertTrue(self.manifests(), "the last good one stays")
        self.assertGreater(proxy.injected["answer"], 0)

    def test_a_full_disk_costs_no_more_than_the_checkpoints(self):
        disk = self.folder / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True).returncode != 0:
            self.skipTest("only root may make a disk of its own")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        training = self.start(self.job("disk", epochs=100_000, learning_rate=0.001, checkpoints=f"file://{disk}"))

        def manifests():
            return sorted(disk.glob("*/manifest.json"))

        self.wait_until(manifests, LIMIT, "a checkpoint stands")
        with open(disk / "others", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        self.stop_once_told(training, r"checkpoint of step \d+: slice \d of 2 was not (written|committed), the checkpoint before "
                                      r"stays: write file://\S+: No space left")
        self.assertTrue(manifests(), "the last good one stays")
        for path in disk.glob("*/*"):
            self.assertRegex(path.name, r"^(manifest\.json|slice-\d{5}-of-00002\.safetensors)$", "half-written")

    def test_a_store_that_takes_no_manifest_is_not_mistaken_for_a_coordinator_that_is_away(self):
        slow_down = answer(503, "Slow Down", "SlowDown")
        self.start_proxy(script=lambda request: slow_down if request.method == "PUT" and "/manifest.json" in request.path
                         else None)
        training = self.start(self.job("uncommitted", epochs=20, storage_retry_seconds=1))
        description, said = self.result(training, 0)
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertRegex(said, r"checkpoint of step \d+: slice \d of 2 was not committed, the checkpoint before stays: write "
                               r"s3://\S+/manifest.json: ")
        self.assertEqual([key for key in self.keys("checkpoints/") if key.endswith("/manifest.json")], [])

    def test_an_artifact_that_the_store_refuses_fails_the_job_and_leaves_none(self):
        self.start_proxy(script=lambda request: DENIED if request.method in ("PUT", "POST") and "/jobs/" in request.path else None)
        training = self.start(self.job("refused", epochs=1))
        description, _ = self.result(training, 1)
        self.assertEqual(description["TrainingJobStatus"], "Failed")
        self.assertRegex(description["FailureReason"], rf"write s3://{BUCKET}/jobs/refused/output/model.tar.gz: ")
        self.assertEqual([key for key in self.keys("jobs/") if not key.endswith("/")], [])


if __name__ == "__main__":
    unittest.main()
