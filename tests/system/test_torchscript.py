"""A user's own model: exported from Python by one call, trained here, and loaded again by Python."""
import unittest

import torch

from musher_testing import BUCKET, LIMIT, MusherTest, make_images, make_job, metrics_of


class Network(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(), torch.nn.Linear(8, classes))

    def forward(self, x):
        return self.body(x)


class Loud(Network):
    def __init__(self, classes):
        super().__init__(classes)
        self.text = "x" * 1_000_000

    def forward(self, x):
        for _ in range(16):
            print(self.text)
        print("a batch of", x.size(0))
        return self.body(x)


class TorchScript(MusherTest):
    def setUp(self):
        super().setUp()
        self.start_s3()
        make_images(self.folder / "images")
        self.upload(self.folder / "images", "train")
        self.network = Network(3)
        torch.jit.script(self.network).save(str(self.folder / "net.pt"))
        self.s3.client().upload_file(str(self.folder / "net.pt"), BUCKET, "models/net.pt")

    def job(self, name, model, **options):
        return make_job(name, f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", validation=f"s3://{BUCKET}/train", model=model,
                        **({"optimizer": "adamw", "learning_rate": 0.02, "epochs": 8} | options))

    def test_it_trains_with_two_workers_and_torch_loads_the_result(self):
        description, _ = self.train(self.job("script", f"s3://{BUCKET}/models/net.pt"))
        self.assertGreaterEqual(metrics_of(description)["validation:accuracy"], 0.8)
        folder = self.artifact(description)
        trained = torch.jit.load(str(folder / "model.pt"))
        trained.eval()
        self.assertEqual(trained(torch.zeros(1, 3, 16, 16)).shape, (1, 3))
        before = dict(self.network.named_parameters())
        self.assertTrue(any(not torch.equal(parameter, before[name]) for name, parameter in trained.named_parameters()))
        self.assertIn("body.1.running_mean", dict(trained.named_buffers()))

    def test_what_a_model_prints_fills_no_memory_and_its_end_is_in_the_log(self):
        torch.jit.script(Loud(3)).save(str(self.folder / "loud.pt"))
        daemon = self.start_daemon()
        before = self.most_memory(daemon.pid)
        job = make_job("loud", f"s3://{BUCKET}/train", f"s3://{BUCKET}/jobs", model=f"file://{self.folder}/loud.pt", epochs=4)
        waiting = self.start_musher("submit", self.write_job(job), "--wait")
        find = lambda: [pid for pid, command in self.children().items() if "--with-ft" in command]
        mpirun = self.wait_until(find, 60, "mpirun")[0]
        most = 0

        def over():
            nonlocal most
            most = max(most, self.most_memory(mpirun))
            return self.most_memory(mpirun) == 0

        self.wait_until(over, LIMIT, "mpirun ends")
        self.assertEqual(waiting.wait(timeout=60), 0, waiting.stderr_path.read_text())
        # 4 epochs of 4 steps on 2 ranks, 16 MB each: 512 MB.
        self.assertLess(most, 128 << 20)
        self.assertLess(self.most_memory(daemon.pid) - before, 96 << 20)
        for rank in (0, 1):
            lines = self.musher("logs", "loud", "--rank", rank, code=0).stdout.splitlines()
            self.assertRegex("\n".join(line[-60:] for line in lines[-3:]), r"a batch of \d+")

    def test_a_file_that_is_no_torchscript_is_one_clear_line(self):
        self.s3.client().put_object(Bucket=BUCKET, Key="models/text.pt", Body=b"not a model")
        description, _ = self.train(self.job("text", f"s3://{BUCKET}/models/text.pt"), code=1)
        self.assertIn(f"s3://{BUCKET}/models/text.pt", description["FailureReason"])


if __name__ == "__main__":
    unittest.main()
