"""`musher train` and a run by hand: no daemon, no server, files only."""
import json
import re
import signal
import tarfile
import unittest

from musher_testing import LIMIT, MPIRUN, TRAINER, MusherTest, make_images, make_job, metrics_of


class Embedded(MusherTest):
    def setUp(self):
        super().setUp()
        self.samples = make_images(self.folder / "data" / "train")
        self.held_out = make_images(self.folder / "data" / "validation", per_class=7, seed=1)
        self.train_uri = f"file://{self.folder}/data/train"
        self.validation_uri = f"file://{self.folder}/data/validation"
        self.output = f"file://{self.folder}/jobs"

    def job(self, name="tiny", **options):
        return make_job(name, self.train_uri, self.output, **options)

    def test_trains_and_writes_an_artifact_that_python_reads(self):
        job = self.job(validation=self.validation_uri, epochs=6)
        description, progress = self.train(job)
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertEqual(description["SecondaryStatus"], "Completed")
        self.assertEqual(description["HyperParameters"], job["HyperParameters"])
        self.assertEqual(description["ModelArtifacts"]["S3ModelArtifacts"], f"{self.output}/tiny/output/model.tar.gz")
        self.assertIn(f"{self.samples} of {self.samples} samples, each once", progress)
        metrics = metrics_of(description)
        self.assertGreaterEqual(metrics["validation:accuracy"], 0.9, "colours are easily told apart")
        self.assertIn("train:loss", metrics)

        folder = self.artifact(description)
        self.assertEqual(json.loads((folder / "classes.json").read_text()), ["class0", "class1", "class2"])
        for name in ("preprocessing.json", "metrics.json", "musher.json"):
            json.loads((folder / name).read_text())
        shapes = [array.shape for array in self.weights(description).values()]
        self.assertIn((3,), shapes, "the bias of the last layer: one number a class")
        self.assert_nothing_runs()

    def test_the_same_seed_ends_with_the_same_bits_and_another_does_not(self):
        first, _ = self.train(self.job("first", augmentation="crop_flip"))
        again, _ = self.train(self.job("again", augmentation="crop_flip"))
        other, _ = self.train(self.job("other", augmentation="crop_flip", seed=2))
        self.assert_same_weights(self.weights(first), self.weights(again))
        self.assert_other_weights(self.weights(first), self.weights(other))

    def test_fine_tunes_a_head_on_a_frozen_backbone(self):
        model = {"model": "resnet18", "image_size": 32}
        first, _ = self.train(self.job("first", epochs=1, **model))
        backbone = self.artifact(first) / "model.safetensors"
        job = self.job("tuned", epochs=2, **model, initial_weights=f"file://{backbone}", initial_weights_match="by_name",
                       head_widths=16, freeze_backbone="true", optimizer="adam", learning_rate=0.01)
        second, progress = self.train(job, "--workers", 2)
        self.assertRegex(progress, r"initial weights file://\S+: 120 of the model's 124 tensors taken; missing: fc.0.weight, "
                                   r"fc.0.bias, fc.2.weight, fc.2.bias; superfluous: fc.bias, fc.weight")
        before, after = self.weights(first), self.weights(second)
        for name in before:
            if not name.startswith("fc."):
                self.assertEqual(before[name].tobytes(), after[name].tobytes(), name)
        self.assertEqual(after["fc.0.weight"].shape, (16, 512))
        strict = self.job("strict", **model, initial_weights=f"file://{backbone}", head_widths=16)
        description, _ = self.train(strict, code=1)
        self.assertIn("missing: fc.0.weight", description["FailureReason"])

    def test_another_number_of_workers_differs_by_rounding_alone(self):
        one, _ = self.train(self.job("one"), "--workers", 1)
        four, _ = self.train(self.job("four"), "--workers", 4)
        left, right = self.weights(one), self.weights(four)
        for name, array in left.items():
            difference = abs(array.astype("f8") - right[name]).max()
            self.assertLess(difference, 1e-3 * max(1, abs(array).max()), name)

    def test_webdataset_tars_beside_the_job_file(self):
        for number in range(2):
            with tarfile.open(self.folder / f"shard-{number}.tar", "w") as tar:
                for label in range(3):
                    for path in sorted((self.folder / "data" / "train" / f"class{label}").iterdir())[number::2]:
                        tar.add(path, f"{label}-{path.name}")
                        label_file = self.folder / "label"
                        label_file.write_text(str(label))
                        tar.add(label_file, f"{label}-{path.stem}.cls")
        (self.folder / "tars").mkdir()
        for tar in self.folder.glob("*.tar"):
            tar.rename(self.folder / "tars" / tar.name)
        description, progress = self.train(make_job("tars", "file://./tars", "file://./jobs"))
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertIn(f"{self.samples} of {self.samples} samples, each once", progress)
        self.assertTrue((self.folder / "jobs" / "tars" / "output" / "model.tar.gz").is_file())

    def test_ctrl_c_stops_the_job_saves_the_model_and_leaves_no_process(self):
        training = self.start_musher("train", self.write_job(self.job(epochs=100_000)), "--json")
        self.wait_until(lambda: re.search(r"each once", training.stderr_path.read_text()), LIMIT, "an epoch is over")
        training.send_signal(signal.SIGINT)
        self.assertEqual(training.wait(timeout=LIMIT), 3, training.stderr_path.read_text())
        description = json.loads(training.stdout_path.read_text())
        self.assertEqual(description["TrainingJobStatus"], "Stopped")
        self.assertTrue(self.weights(description), "the model so far is saved")
        self.assert_nothing_runs()

    def test_killed_outright_the_workers_end_too_and_the_next_start_removes_what_it_left(self):
        training = self.start_musher("train", self.write_job(self.job(epochs=100_000)))
        self.wait_until(lambda: re.search(r"each once", training.stderr_path.read_text()), LIMIT, "an epoch is over")
        training.kill()
        training.wait(timeout=10)
        self.assert_nothing_runs(60)
        self.assertEqual(len(list(self.temporary.iterdir())), 1, "the state of the job that was killed")
        self.train(self.job("next", epochs=1))
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_by_hand_with_three_ranks(self):
        path = self.write_job(self.job("by-hand"))
        command = [MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", "3", TRAINER, "--job", path]
        done = self.processes.run(command, env=self.environment, cwd=self.folder, timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue((self.folder / "jobs" / "by-hand" / "output" / "model.tar.gz").is_file())
        self.assert_nothing_runs()


if __name__ == "__main__":
    unittest.main()
