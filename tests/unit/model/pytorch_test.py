"""Musher's networks and files beside PyTorch's and torchvision's own: pytorch_test.py MODEL_PROBE [unittest's arguments]"""

import argparse
import copy
import datetime
import json
import os
import pathlib
import pickle
import statistics
import subprocess
import sys
import tarfile
import tempfile
import unittest

import numpy
import safetensors
import safetensors.torch
import torch
import torchvision
from torch import nn

PROBE = ""


def convnet():
    net = nn.Module()
    net.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
                                 nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
                                 nn.Conv2d(32, 64, 3, padding=1), nn.ReLU())
    net.classifier = nn.Sequential(nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))
    net.forward = lambda x: net.classifier(net.features(x).flatten(1))
    return net


def perceptron():
    net = nn.Module()
    net.layers = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    net.forward = lambda x: net.layers(x.flatten(1))
    return net


class Scripted(nn.Module):
    """A user's own, with batch-norm, dropout and a layer that two names share."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(784, 32)
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.0)
        self.again = nn.Linear(32, 32)
        self.shared = self.again
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x.flatten(1))))
        return self.last(self.shared(torch.relu(self.again(self.drop(x)))))


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))


def relative_error(ours, theirs):
    """Of the largest value."""
    return (ours - theirs).abs().max().item() / max(theirs.abs().max().item(), 1e-3)


class PyTorch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        torch.manual_seed(1)
        torch.set_num_threads(1)

    def probe(self, model, inputs, classes, weights=None):
        targets = torch.arange(len(inputs)) % classes
        safetensors.torch.save_file({"inputs": inputs, "targets": targets}, self.folder / "inputs.safetensors")
        command = [PROBE, model, str(classes), self.folder] + ([weights] if weights else [])
        self.done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                                   env={**os.environ, "OMP_NUM_THREADS": "1"})
        return targets

    def outputs(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        return safetensors.torch.load_file(self.folder / "outputs.safetensors")

    def assert_close(self, ours, theirs, what):
        """To 1e-4 of the largest value."""
        self.assertLess(relative_error(ours, theirs), 1e-4, what)

    def compare(self, name, net, inputs, classes):
        weights = self.folder / "weights.safetensors"
        safetensors.torch.save_model(net, str(weights))
        targets = self.probe(name, inputs, classes, weights)
        self.assert_same(self.outputs(), net, inputs, targets)

    def assert_same(self, ours, net, inputs, targets):
        net.eval()
        self.assert_close(ours["evaluation"], net(inputs).detach(), "logits in evaluation")
        net.train()
        logits = net(inputs)
        self.assert_close(ours["training"], logits.detach(), "logits in training")
        nn.functional.cross_entropy(logits, targets).backward()
        self.assertEqual({"parameter." + name for name, _ in net.named_parameters()},
                         {name for name in ours if name.startswith("parameter.")})
        self.assert_gradients_as_good(ours, net, inputs, targets)
        for name, buffer in net.named_buffers():
            self.assert_close(ours["buffer." + name], buffer, name)

    def assert_gradients_as_good(self, ours, net, inputs, targets):
        """Where PyTorch's gradient in float32 is itself far off the one in float64 (some per cent in a fresh ResNet-50, whose
        ReLUs turn at the last bit), ours may be as far off, but for a margin."""
        theirs = {name: parameter.grad for name, parameter in net.named_parameters()}
        far = [name for name in theirs if relative_error(ours["gradient." + name], theirs[name]) >= 1e-4]
        if not far:
            return
        self.assertIsInstance(net, torchvision.models.ResNet, f"gradients of {far} differ")
        exact_net = copy.deepcopy(net).double()
        exact_net.zero_grad()
        nn.functional.cross_entropy(exact_net(inputs.double()), targets).backward()
        exact = {name: parameter.grad for name, parameter in exact_net.named_parameters()}
        own = [relative_error(ours["gradient." + name], exact[name]) for name in exact]
        allowed = [relative_error(theirs[name], exact[name]) for name in exact]
        for summary in (statistics.median, max):
            self.assertLess(summary(own), max(1e-4, 3 * summary(allowed)), f"{summary.__name__} over gradients")

    def artifact(self):
        """The files of the artifact, and their tar entries."""
        with tarfile.open(self.folder / "model.tar.gz") as tar:
            return {entry.name: (entry, tar.extractfile(entry).read()) for entry in tar}

    def test_resnets_are_torchvisions(self):
        for name in ("resnet18", "resnet34", "resnet50"):
            with self.subTest(name):
                net = getattr(torchvision.models, name)(num_classes=7)
                for buffer in (b for n, b in net.named_buffers() if n.endswith(("running_mean", "running_var"))):
                    buffer.add_(torch.rand_like(buffer) * 0.1)
                self.compare(name, net, torch.randn(6, 3, 64, 64), 7)

    def test_convnet_and_perceptron_are_what_they_say(self):
        self.compare("convnet", convnet(), torch.randn(4, 1, 28, 28), 10)
        self.compare("multilayer_perceptron:64,32", perceptron(), torch.randn(4, 1, 28, 28), 10)

    def test_weights_come_as_torchscript_too(self):
        net, inputs = torchvision.models.resnet18(num_classes=5), torch.randn(4, 3, 32, 32)
        weights = self.folder / "weights.pt"
        torch.jit.script(net).save(str(weights))
        self.probe("resnet18", inputs, 5, weights)
        ours = self.outputs()
        for name, parameter in net.named_parameters():
            self.assertTrue(torch.equal(ours["parameter." + name], parameter), name)
        self.assert_close(ours["evaluation"], net.eval()(inputs).detach(), "logits, and so buffers")
        weights.write_bytes(weights.read_bytes()[:-200])
        self.probe("resnet18", inputs, 5, weights)
        self.assertIn(f"{weights} can't be read as weights", self.done.stderr)

    def assert_taken(self, weights, net, model="convnet", inputs=None):
        self.probe(model, torch.randn(2, 1, 28, 28) if inputs is None else inputs, 10, weights)
        ours = self.outputs()
        for name, parameter in net.named_parameters():
            self.assertTrue(torch.equal(ours["parameter." + name], parameter), name)

    def test_state_dicts_in_all_forms_that_torch_save_has(self):
        net, path = convnet(), self.folder / "weights.pth"
        plain = net.state_dict()
        wrapped = nn.ModuleDict({"module": net}).state_dict()
        adam = torch.optim.Adam(net.parameters())
        net(torch.randn(1, 1, 28, 28)).sum().backward()
        adam.step()
        checkpoint = {"epoch": 3, "state_dict": wrapped, "optimizer": adam.state_dict(), "best_acc1": torch.tensor(1.5),
                      "args": argparse.Namespace(lr=0.1, hosts=["a", ("b", {"c"})]), "when": datetime.datetime.now(),
                      "rng": torch.get_rng_state(), "noise": numpy.random.rand(3), "loss": numpy.float64(1), "big": 1 << 100}
        forms = {"plain": plain, "DistributedDataParallel's": wrapped, "a checkpoint": checkpoint, "another": {"model": plain},
                 "parameters": net.state_dict(keep_vars=True), "a bare dict": dict(plain)}
        files = [(name, 2, True) for name in forms] + [("a checkpoint", 5, True), ("a checkpoint", 2, False),
                                                       ("parameters", 5, False)]
        for name, protocol, zipped in files:
            with self.subTest(name, protocol=protocol, zipped=zipped):
                torch.save(forms[name], path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
                self.assert_taken(path, net)

    def test_state_dicts_views_and_dtypes(self):
        net, path = convnet(), self.folder / "weights.pt"
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(parameter.bfloat16())
        values = {}
        flat = torch.cat([p.detach().flatten() for p in net.parameters()]).repeat_interleave(2)
        offset = 0
        for name, parameter in net.named_parameters():
            values[name] = flat[offset:offset + 2 * parameter.numel():2].view(parameter.shape)
            offset += 2 * parameter.numel()
        values["features.0.weight"] = values["features.0.weight"].bfloat16()
        values["features.3.weight"] = values["features.3.weight"].contiguous(memory_format=torch.channels_last)
        values["classifier.0.weight"] = values["classifier.0.weight"].t().contiguous().t().double()
        for zipped in (True, False):
            torch.save(values, path, _use_new_zipfile_serialization=zipped)
            self.assert_taken(path, net)

    def test_torchvisions_resnet_with_its_buffers(self):
        net, path = torchvision.models.resnet18(num_classes=10), self.folder / "weights.pth"
        net.train()(torch.randn(4, 3, 32, 32))
        torch.save(net.state_dict(), path)
        inputs = torch.randn(3, 3, 32, 32)
        self.assert_taken(path, net, "resnet18", inputs)
        self.assert_close(self.outputs()["evaluation"], net.eval()(inputs).detach(), "buffers")

    def test_nothing_in_a_pickle_is_run(self):
        net, path, proof = convnet(), self.folder / "weights.pth", self.folder / "proof"

        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {proof}",)
        for zipped in (True, False):
            torch.save({"state_dict": net.state_dict(), "x": Evil()}, path, _use_new_zipfile_serialization=zipped)
            self.assert_taken(path, net)
        self.assertFalse(proof.exists())

    def assert_weights_refused(self, path, *parts):
        self.probe("convnet", torch.randn(2, 1, 28, 28), 10, path)
        self.assertEqual(self.done.returncode, 2, self.done.stderr)
        self.assertEqual(self.done.stderr.count("\n"), 1, self.done.stderr)
        for part in (str(path), *parts):
            self.assertIn(part, self.done.stderr)

    def test_what_is_no_state_dict_is_refused_in_one_line(self):
        path = self.folder / "weights.pth"
        torch.save(nn.Linear(2, 2), path)
        self.assert_weights_refused(path, "no state dict in it, but an object of torch.nn.modules.linear.Linear",
                                    "state_dict, model_state_dict, model")
        torch.save({"epoch": 3, "weights": {"a": torch.zeros(2)}}, path)
        self.assert_weights_refused(path, "a dict of epoch, weights without tensors")
        torch.save([1, 2], path)
        self.assert_weights_refused(path, "something else than a dict")
        with open(path, "wb") as file:
            pickle.dump({"a": 1}, file, protocol=2)
        self.assert_weights_refused(path, "a pickle that torch.save() has not written")
        torch.save({"a": torch.zeros(3, dtype=torch.complex64)}, path)
        self.assert_weights_refused(path, "tensor a is kept in a torch.ComplexFloatStorage")

    def test_damaged_state_dicts_are_refused_in_one_line(self):
        path = self.folder / "weights.pth"
        for zipped in (True, False):
            torch.save(convnet().state_dict(), path, _use_new_zipfile_serialization=zipped)
            whole = path.read_bytes()
            for share in (0.01, 0.5, 0.9, 0.999):
                path.write_bytes(whole[:int(len(whole) * share)])
                self.assert_weights_refused(path)
        for byte in range(60, 2000, 97):  # within the pickle
            path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 0x15]) + whole[byte + 1:])
            self.probe("convnet", torch.randn(2, 1, 28, 28), 10, path)
            self.assertIn(self.done.returncode, (0, 2), self.done.stderr)

    def test_initial_weights_are_distributed_as_torchvisions(self):
        self.probe("resnet50", torch.randn(2, 3, 32, 32), 1000)
        ours = self.outputs()
        for name, theirs in torchvision.models.resnet50(num_classes=1000).named_parameters():
            mine = ours["parameter." + name]
            self.assertEqual(mine.shape, theirs.shape)
            if theirs.numel() < 1000:
                continue
            self.assertAlmostEqual(mine.std().item() / max(theirs.std().item(), 1e-9), 1.0 if theirs.std() > 0 else 0.0,
                                   delta=0.1, msg=name)
            self.assertLess(mine.mean().abs().item(), 0.01 + theirs.mean().abs().item(), name)

    def test_artifact_opens_in_python(self):
        self.probe("resnet18", torch.randn(2, 1, 32, 32), 5)
        self.outputs()
        files = self.artifact()
        self.assertEqual(set(files), {"musher.json", "classes.json", "preprocessing.json", "metrics.json",
                                      "model.safetensors"})
        for entry, _ in files.values():
            self.assertEqual((entry.mtime, entry.uid, entry.gid, entry.mode), (0, 0, 0, 0o644))
        about = json.loads(files["musher.json"][1])
        self.assertEqual(about, {"format_version": 1, "model": "resnet18", "weights": "model.safetensors",
                                 "input_shape": [1, 32, 32], "classes": 5, "num_classes": 5, "head_widths": []})
        self.assertEqual(json.loads(files["classes.json"][1]), ["a class"] * 5)
        net = torchvision.models.resnet18(num_classes=5)
        net.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        net.load_state_dict(safetensors.torch.load(files["model.safetensors"][1]), strict=True)

    def test_written_safetensors_are_read_with_metadata(self):
        self.probe("convnet", torch.randn(2, 1, 28, 28), 3)
        self.outputs()
        with safetensors.safe_open(self.folder / "outputs.safetensors", "pt") as file:
            self.assertEqual(file.metadata(), {"made_by": "model_probe"})

    def test_torchscript_trains_and_comes_back(self):
        net = Scripted()
        path = self.folder / "user-net.pt"
        torch.jit.script(net).save(str(path))
        inputs = torch.randn(6, 1, 28, 28)
        targets = self.probe(str(path), inputs, 10)
        ours = self.outputs()
        self.assert_same(ours, net, inputs, targets)
        files = self.artifact()
        self.assertIn("model.pt", files)
        self.assertNotIn("model.safetensors", files)
        (self.folder / "back.pt").write_bytes(files["model.pt"][1])
        back = torch.jit.load(str(self.folder / "back.pt")).eval()
        self.assert_close(back(inputs).detach(), net.eval()(inputs).detach(), "the written TorchScript file")
        first = (self.folder / "model.tar.gz").read_bytes()
        self.probe(str(path), inputs, 10)
        self.assertEqual(first, (self.folder / "model.tar.gz").read_bytes(), "not byte-identical")

    def assert_refused(self, path, *parts):
        self.probe(str(path), torch.randn(2, 1, 28, 28), 10)
        self.assertEqual(self.done.returncode, 2, self.done.stderr)
        self.assertEqual(self.done.stderr.count("\n"), 1, self.done.stderr)
        for part in (str(path), *parts):
            self.assertIn(part, self.done.stderr)

    def test_torchscript_files_that_do_not_suit_are_refused_in_one_line(self):
        path = self.folder / "net.pt"
        torch.jit.script(Breaks()).save(str(path))
        self.assert_refused(path, "forward fails", "[2, 1, 28, 28]", "mat1 and mat2")
        torch.jit.script(nn.Flatten()).save(str(path))
        self.assert_refused(path, "no parameters")
        torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(784, 3))).save(str(path))
        self.assert_refused(path, "must return [2, 10]", "[2, 3]")
        path.write_bytes(b"PK not a zip at all")
        self.assert_refused(path, "no TorchScript file")
        torch.save(Breaks().state_dict(), path)
        self.assert_refused(path, "no TorchScript file")


if __name__ == "__main__":
    PROBE = sys.argv.pop(1)
    unittest.main()
