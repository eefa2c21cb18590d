"""Training on 1 to 4 ranks is training in one process, and repeats itself bit by bit."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy

VENV = pathlib.Path(sys.prefix)
PROGRAM = sys.argv.pop(1) if len(sys.argv) > 1 else ""


def train(ranks, model, *shape):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "values")
        command = [VENV / "bin/mpirun", "--with-ft", "ulfm", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
                   "-n", str(ranks), PROGRAM, model, out, *map(str, shape)]
        subprocess.run(command, check=True, timeout=240, env={**os.environ, "TMPDIR": folder})
        return numpy.fromfile(out, dtype=numpy.float32)


class GradientCheck(unittest.TestCase):
    def assert_same_to_rounding(self, model, *shape, counts=(2, 3, 4)):
        one = train(1, model, *shape)
        self.assertTrue(numpy.isfinite(one).all())
        for ranks in counts:
            many = train(ranks, model, *shape)
            self.assertLess(abs(many - one).max(), 2e-5 * max(1.0, abs(one).max()), f"{ranks} ranks")

    def test_perceptron_does_not_depend_on_the_number_of_ranks(self):
        self.assert_same_to_rounding("multilayer_perceptron")

    def test_convnet_does_not_depend_on_the_number_of_ranks(self):
        self.assert_same_to_rounding("convnet")

    def test_norms_and_passes_do_not_depend_on_the_number_of_ranks(self):
        options = "gradient_accumulation=2", "clip_grad_norm=0.5", "exclude_from_weight_decay=norms_and_biases"
        for optimizer in ("sgd", "lars", "lamb"):
            with self.subTest(optimizer):
                self.assert_same_to_rounding("multilayer_perceptron", 1, 8, *options, f"optimizer={optimizer}", counts=(3,))

    def test_batch_norm_over_ranks_does_not_depend_on_their_number(self):
        """In the last step one of four ranks has no samples. With a rate so small that rounding is not made much of."""
        small = "lr_multipliers=head=0.0005,backbone=0.0005"
        for options in ((), ("activation_checkpointing=true",)):
            with self.subTest(options):
                self.assert_same_to_rounding("resnet18", 3, 32, "sync_batch_norm=true", small, *options, counts=(2, 4))
        alone, together = (train(2, "resnet18", 3, 32, f"sync_batch_norm={on}", small) for on in ("false", "true"))
        self.assertGreater(abs(alone - together).max(), 1e-3, "the test could not tell")

    def test_same_ranks_same_bits(self):
        for model, shape in (("convnet", ()), ("resnet18", (3, 64))):
            first, second = train(2, model, *shape), train(2, model, *shape)
            self.assertEqual(first.tobytes(), second.tobytes(), model)
        options = 1, 28, "gradient_accumulation=2", "clip_grad_norm=0.5", "optimizer=lamb"
        self.assertEqual(train(3, "convnet", *options).tobytes(), train(3, "convnet", *options).tobytes(), "lamb")
        self.assertEqual(train(3, "convnet").tobytes(), train(3, "convnet").tobytes())


if __name__ == "__main__":
    unittest.main()
