"""A job that was stopped and resumed ends with the same bits as one that never was."""
import json
import unittest

from musher_testing import BUCKET, LIMIT, MusherTest, make_images, make_job


class Resume(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images", per_class=60)
        self.upload(self.folder / "images", "train")
        self.start_daemon()

    def job(self, name, checkpoints, **options):
        options = {"epochs": 12, "augmentation": "crop_flip", "momentum": 0.9, "warmup_epochs": 1} | options
        return make_job(name, f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", checkpoints=checkpoints, **options)

    def run_to_end(self, job, code=0):
        self.musher("submit", self.write_job(job), "--wait", code=code)
        return self.describe(job["TrainingJobName"])

    def stop_midway(self, job):
        """Stops once some epochs are over, and returns whether it was in time."""
        name = job["TrainingJobName"]
        self.musher("submit", self.write_job(job), code=0)
        self.wait_until(lambda: self.musher("logs", name).stdout.count("each once") >= 2
                        or self.musher("status", name).stdout.count("each once") >= 2, LIMIT, "two epochs are over")
        self.musher("stop", name, code=0)
        return self.musher("watch", name).returncode == 3

    def test_stopped_and_resumed_is_bit_identical(self):
        model = {"model": "resnet18", "image_size": 32, "epochs": 6}  # batch-norm statistics, and steps long enough to stop in
        whole = self.run_to_end(self.job("whole", None, **model))
        halves = f"s3://{BUCKET}/checkpoints/halves"
        self.assertTrue(self.stop_midway(self.job("half", halves, **model)), "it was over before it could be stopped")
        self.assertTrue(any(key.startswith("checkpoints/halves/") for key in self.keys()))
        rest = self.run_to_end(self.job("rest", halves, **model))
        half = self.describe("half")
        self.assert_other_weights(self.weights(half), self.weights(whole))
        self.assert_same_weights(self.weights(whole), self.weights(rest))
        log = self.musher("logs", "rest").stdout + self.musher("status", "rest").stdout
        stopped_at = json.loads((self.artifact(half) / "metrics.json").read_text())["step"]
        self.assertGreater(stopped_at, 0)
        self.assertIn(f"resumed at step {stopped_at} from {halves}/", log)
        self.assertNotIn("epoch 1:", log, "the first epochs were not trained again")

    def test_with_an_average_and_norms_too(self):
        """All that a checkpoint has beside what the other test needs."""
        options = {"model": "resnet18", "image_size": 32, "epochs": 6, "optimizer": "lamb", "learning_rate": 0.01,
                   "lr_schedule": "one_cycle", "warmup_epochs": 0, "cycle_momentum": "true", "ema_decay": 0.9,
                   "clip_grad_norm": 1, "gradient_accumulation": 2, "exclude_from_weight_decay": "norms_and_biases",
                   "weight_decay": 0.01, "early_stopping_metric": "train:loss"}
        whole = self.run_to_end(self.job("whole", None, **options))
        place = f"s3://{BUCKET}/checkpoints/averages"
        self.assertTrue(self.stop_midway(self.job("half", place, **options)), "it was over before it could be stopped")
        rest = self.run_to_end(self.job("rest", place, **options))
        self.assert_other_weights(self.weights(self.describe("half")), self.weights(whole))
        self.assert_same_weights(self.weights(whole), self.weights(rest))

    def test_a_job_that_stopped_early_stays_so(self):
        place = f"s3://{BUCKET}/checkpoints/early"
        options = {"early_stopping_metric": "train:loss", "early_stopping_patience": 2, "early_stopping_min_epochs": 3,
                   "early_stopping_tolerance": 0.99, "learning_rate": 1e-9}
        for name in ("early", "again"):
            description = self.run_to_end(self.job(name, place, **options))
            self.assertEqual(description["TrainingJobStatus"], "Completed")
            about = json.loads((self.artifact(description) / "metrics.json").read_text())
            self.assertFalse(about["stopped"])
            log = self.musher("logs", name).stdout + self.musher("status", name).stdout
            self.assertIn("stopped early after epoch 3 of 12: train:loss was best in epoch 1,", log)
            self.assertNotIn("epoch 4:", log)

    def test_a_checkpoint_of_another_model_is_refused(self):
        place = f"s3://{BUCKET}/checkpoints/other"
        self.run_to_end(self.job("convnet", place, epochs=1))
        description = self.run_to_end(self.job("perceptron", place, model="multilayer_perceptron", epochs=1), code=1)
        self.assertEqual(description["TrainingJobStatus"], "Failed")
        self.assertRegex(description["FailureReason"], "checkpoint")
        self.assertEqual(len(description["FailureReason"].strip().splitlines()), 1, description["FailureReason"])


if __name__ == "__main__":
    unittest.main()
