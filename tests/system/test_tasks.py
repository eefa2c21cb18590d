"""Tasks other than image classification: whole jobs on two ranks, from S3, with the same promises."""
import json
import unittest

import numpy as np
import torch

from musher_testing import BUCKET, MusherTest, make_job, metrics_of

IMAGES_ONLY = {"model": None, "image_size": None}


class Tasks(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        self.output = f"s3://{BUCKET}/jobs"

    def script(self, name, module):
        """The URI of a TorchScript file with it."""
        torch.jit.script(module).save(str(self.folder / name))
        self.s3.client().upload_file(str(self.folder / name), BUCKET, f"models/{name}")
        return f"s3://{BUCKET}/models/{name}"

    def make(self, name, task, prefix, **options):
        options = IMAGES_ONLY | {"validation": f"s3://{BUCKET}/{prefix}/validation"} | options
        job = make_job(name, f"s3://{BUCKET}/{prefix}/train", self.output, **options)
        job["AlgorithmSpecification"]["AlgorithmName"] = task
        return job


class Regression(Tasks):
    ROWS = 203  # which few batch sizes divide

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(5)
        self.rows = random.normal(size=(self.ROWS + 50, 4))
        self.rows[:, 2] = 3 * self.rows[:, 0] - self.rows[:, 1] + 0.5  # noise, noise, what is to be found, noise
        tables = self.folder / "table"
        for channel, rows in (("train", self.rows[:self.ROWS]), ("validation", self.rows[self.ROWS:])):
            (tables / channel).mkdir(parents=True)
            np.savetxt(tables / channel / "one.csv", rows[:30], delimiter=",", header="a,b,price,c", comments="")
            np.save(tables / channel / "two.npy", rows[30:])
        self.upload(tables, "table")

    def job(self, name="prices", **options):
        return self.make(name, "regression", "table", **({"csv_header": "true", "target_columns": "price", "hidden_widths": 16,
                                                          "optimizer": "adamw", "learning_rate": 0.02, "epochs": 12} | options))

    def predicted(self, w):
        """What a model with these weights says of the validation channel."""
        hidden = np.maximum(self.rows[self.ROWS:][:, [0, 1, 3]] @ w["layers.0.weight"].T + w["layers.0.bias"], 0)
        return (hidden @ w["layers.2.weight"].T + w["layers.2.bias"])[:, 0]

    def test_learns_from_csv_and_npy_with_each_row_once(self):
        description, progress = self.train(self.job())
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertEqual(progress.count(f"{self.ROWS} of {self.ROWS} samples, each once"), 12)
        metrics = metrics_of(description)
        self.assertLess(metrics["validation:rmse"], 0.6, "of numbers with a deviation of 3.2")
        self.assertLessEqual(metrics["validation:mae"], metrics["validation:rmse"])
        self.assertAlmostEqual(metrics["validation:loss"], metrics["validation:rmse"] ** 2, places=5)
        self.assertNotIn("train:accuracy", metrics)

        folder = self.artifact(description)
        self.assertEqual(json.loads((folder / "preprocessing.json").read_text()),
                         {"format": "table", "features": ["a", "b", "c"], "targets": ["price"]})
        self.assertEqual(json.loads((folder / "classes.json").read_text()), ["price"])
        w = self.weights(description)
        rmse = np.sqrt(np.mean((self.predicted(w) - self.rows[self.ROWS:, 2]) ** 2))
        self.assertAlmostEqual(metrics["validation:rmse"], rmse, places=4)

    def test_stopped_early_and_resumed_it_ends_with_the_same_bits(self):
        place = f"s3://{BUCKET}/checkpoints"
        stopping = {"early_stopping_metric": "validation:rmse", "early_stopping_patience": 2, "early_stopping_min_epochs": 2,
                    "early_stopping_tolerance": 0.9}
        whole, _ = self.train(self.job("whole", epochs=4))
        self.train(self.job("half", epochs=2, lr_schedule="constant", checkpoints=place))
        resumed, progress = self.train(self.job("resumed", epochs=4, lr_schedule="constant", checkpoints=place))
        constant, _ = self.train(self.job("constant", epochs=4, lr_schedule="constant"))
        self.assertIn("resumed at step", progress)
        self.assert_same_weights(self.weights(resumed), self.weights(constant))
        self.assert_other_weights(self.weights(resumed), self.weights(whole))
        _, progress = self.train(self.job("early", **stopping))
        self.assertRegex(progress, r"stopped early after epoch \d of 12: validation:rmse was best in epoch")

    def test_a_loss_of_ones_own_and_its_metric(self):
        class Quantile(torch.nn.Module):
            def forward(self, outputs: torch.Tensor, targets: torch.Tensor):
                error = targets - outputs
                loss = torch.maximum(0.9 * error, -0.1 * error).mean(dim=1)
                return loss, {"covered": (error <= 0).float().mean()}

        description, _ = self.train(self.job(loss_module=self.script("loss.pt", Quantile())))
        metrics = metrics_of(description)
        targets = self.rows[self.ROWS:, 2]
        error = targets - self.predicted(self.weights(description))
        self.assertAlmostEqual(metrics["validation:covered"], np.mean(error <= 0), places=6)
        self.assertGreater(metrics["validation:covered"], 0.7, "it learns the upper end")
        self.assertAlmostEqual(metrics["validation:loss"], np.mean(np.maximum(0.9 * error, -0.1 * error)), places=4)
        self.assertIn("validation:rmse", metrics)

    def test_stopped_early_by_a_metric_of_ones_own(self):
        class Seven(torch.nn.Module):
            def forward(self, outputs: torch.Tensor, targets: torch.Tensor):
                loss = (outputs - targets).square().mean(dim=1)
                return loss, {"seven": torch.full_like(loss, 7.0)}

        options = {"loss_module": self.script("seven.pt", Seven()), "early_stopping_patience": 2, "early_stopping_min_epochs": 2}
        description, progress = self.train(self.job("seven", early_stopping_metric="max validation:seven", **options))
        self.assertEqual(description["TrainingJobStatus"], "Completed")
        self.assertIn("stopped early after epoch 3 of 12: validation:seven was best in epoch 1, 7", progress)
        description, _ = self.train(self.job("eight", early_stopping_metric="max validation:eight", **options), code=1)
        self.assertRegex(description["FailureReason"],
                         r"early_stopping_metric: loss_module s3://\S+/seven.pt returns no metric eight; what there is: loss, rmse, mae, seven")

    def test_a_row_that_is_no_row_is_named_and_left_out(self):
        self.s3.client().put_object(Bucket=BUCKET, Key="table/train/three.csv", Body=b"a,b,price,c\n1,2,x,4\n")
        description, progress = self.train(self.job(epochs=1))
        self.assertIn(f"{self.ROWS} of {self.ROWS + 1} samples", progress)
        log = progress + json.dumps(description)
        self.assertIn("three.csv/2", log)

    def test_a_column_that_is_not_there_is_one_clear_line(self):
        description, _ = self.train(self.job(target_columns="prize"), code=1)
        self.assertIn('HyperParameters.target_columns: the train channel has no column "prize"', description["FailureReason"])


class LanguageModel(Tasks):
    VOCABULARY, CONTEXT = 17, 8

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(2)
        # Each token follows from the one before it, but for one time in ten.
        tokens = [0]
        for _ in range(6000):
            tokens.append(random.integers(self.VOCABULARY) if random.random() < 0.1 else (tokens[-1] * 3 + 5) % self.VOCABULARY)
        tokens = np.array(tokens)
        folder = self.folder / "tokens"
        for channel in ("train", "validation"):
            (folder / channel).mkdir(parents=True)
        tokens[:2001].astype("<u2").tofile(folder / "train" / "one.bin")
        np.save(folder / "train" / "two.npy", tokens[2000:4990].astype(np.int32))  # a tail of 5 that fills no window
        np.save(folder / "validation" / "held-out.npy", tokens[5000:].astype(np.uint16))
        self.windows = 2000 // self.CONTEXT + 2989 // self.CONTEXT
        self.upload(folder, "tokens")

    def job(self, name="words", **options):
        return self.make(name, "language-modeling", "tokens",
                         **({"vocabulary_size": self.VOCABULARY, "context_length": self.CONTEXT, "gpt_layers": 1, "gpt_heads": 2,
                             "gpt_width": 16, "optimizer": "adamw", "learning_rate": 0.01, "epochs": 3} | options))

    def test_a_gpt_learns_the_sequence(self):
        description, progress = self.train(self.job())
        self.assertIn(f"{self.windows} of {self.windows} samples, each once", progress)
        self.assertIn("5 tokens at the ends of files fill no window of 8", progress)
        metrics = metrics_of(description)
        self.assertLess(metrics["validation:perplexity"], 4, "at first it is the vocabulary, 17")
        self.assertAlmostEqual(np.log(metrics["validation:perplexity"]), metrics["validation:loss"], places=5)
        folder = self.artifact(description)
        about = json.loads((folder / "musher.json").read_text())
        self.assertEqual((about["model"], about["input_shape"], about["num_classes"]), ("gpt:1,2,16", [8], 17))
        self.assertEqual(json.loads((folder / "preprocessing.json").read_text())["format"], "tokens")
        self.assertNotIn("lm_head.weight", self.weights(description), "it is the token embedding")

    def test_resumed_it_ends_with_the_same_bits(self):
        place = f"s3://{BUCKET}/checkpoints"
        options = {"lr_schedule": "constant", "tied_embeddings": "false"}
        self.train(self.job("half", epochs=1, checkpoints=place, **options))
        resumed, _ = self.train(self.job("resumed", epochs=2, checkpoints=place, **options))
        whole, _ = self.train(self.job("whole", epochs=2, **options))
        self.assert_same_weights(self.weights(resumed), self.weights(whole))

    def test_a_model_of_ones_own_learns_the_sequence(self):
        class Bigram(torch.nn.Module):
            def __init__(self, vocabulary):
                super().__init__()
                self.embed = torch.nn.Embedding(vocabulary, 16)
                self.head = torch.nn.Linear(16, vocabulary)

            def forward(self, tokens: torch.Tensor):
                return self.head(self.embed(tokens))

        gpt = {"gpt_layers": None, "gpt_heads": None, "gpt_width": None}
        model = self.script("bigram.pt", Bigram(self.VOCABULARY))
        description, progress = self.train(self.job(model=model, learning_rate=0.03, **gpt))
        self.assertIn(f"{self.windows} of {self.windows} samples, each once", progress)
        metrics = metrics_of(description)
        self.assertLess(metrics["validation:perplexity"], 4, "at first it is the vocabulary, 17")
        trained = torch.jit.load(str(self.artifact(description) / "model.pt"))
        tokens = torch.from_numpy(np.load(self.folder / "tokens" / "validation" / "held-out.npy").astype(np.int64))
        windows = tokens.unfold(0, self.CONTEXT + 1, self.CONTEXT)
        loss = torch.nn.functional.cross_entropy(trained(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        self.assertAlmostEqual(metrics["validation:loss"], loss.item(), places=4)
        narrow = self.script("narrow.pt", Bigram(self.VOCABULARY - 1))
        description, _ = self.train(self.job("narrow", model=narrow, **gpt), code=1)
        self.assertIn("its forward must return [2, 8, 17], but returns [2, 8, 16]", description["FailureReason"])

    def test_a_vocabulary_that_is_too_small_is_said(self):
        description, _ = self.train(self.job(vocabulary_size=10), code=1)
        self.assertRegex(description["FailureReason"], r"token \d is 1\d, which is not below vocabulary_size, 10")


if __name__ == "__main__":
    unittest.main()
