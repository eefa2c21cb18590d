"""Ten steps of training beside PyTorch's own: pytorch_training_test.py TRAINING_PROBE [unittest's arguments]"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import safetensors.torch
import torch
import torchvision
from torch import nn

PROBE = ""
STEPS = 10
STEPS_PER_EPOCH = 5
BATCH = 12
CLASSES = 4
RATE = 0.05


def perceptron():
    net = nn.Module()
    net.layers = nn.Sequential(nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    net.forward = lambda x: net.layers(x.flatten(1))
    return net


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
                                      nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
                                      nn.Conv2d(32, 64, 3, padding=1), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def state_of(net):
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


class Lars(torch.optim.Optimizer):
    """Algorithm 1 of arXiv 1708.03888, word by word."""

    def __init__(self, params, lr, momentum, weight_decay, trust=0.001):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "adapt": True})
        self.momentum, self.trust = momentum, trust

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                g, beta = w.grad, group["weight_decay"]
                local = 1.0
                if group["adapt"] and w.norm() > 0 and g.norm() > 0:
                    local = self.trust * w.norm() / (g.norm() + beta * w.norm())
                v = self.state[w].setdefault("v", torch.zeros_like(w))
                v.copy_(self.momentum * v + group["lr"] * local * (g + beta * w))
                w.sub_(v)


class Lamb(torch.optim.Optimizer):
    """Algorithm 2 of arXiv 1904.00962, word by word, with the identity as scaling function."""

    def __init__(self, params, lr, weight_decay, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "adapt": True})
        self.betas, self.eps, self.t = betas, eps, 0

    @torch.no_grad()
    def step(self):
        self.t += 1
        for group in self.param_groups:
            for x in group["params"]:
                m = self.state[x].setdefault("m", torch.zeros_like(x))
                v = self.state[x].setdefault("v", torch.zeros_like(x))
                m.copy_(self.betas[0] * m + (1 - self.betas[0]) * x.grad)
                v.copy_(self.betas[1] * v + (1 - self.betas[1]) * x.grad ** 2)
                r = m / (1 - self.betas[0] ** self.t) / ((v / (1 - self.betas[1] ** self.t)).sqrt() + self.eps)
                update = r + group["weight_decay"] * x
                ratio = 1.0
                if group["adapt"] and x.norm() > 0 and update.norm() > 0:
                    ratio = x.norm() / update.norm()
                x.sub_(group["lr"] * ratio * update)


class TrainingTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        torch.manual_seed(7)
        torch.set_num_threads(1)
        self.net = perceptron()
        self.batches = [(torch.randn(BATCH, 1, 6, 6), torch.randint(CLASSES, (BATCH,))) for _ in range(STEPS)]

    def probe(self, model="multilayer_perceptron:16,8", weights=None, **hyperparameters):
        if weights:  # a file of its own
            (self.folder / weights).rename(self.folder / "weights.safetensors")
        else:
            safetensors.torch.save_model(self.net, str(self.folder / "weights.safetensors"))
        tensors = {f"inputs.{i}": inputs for i, (inputs, _) in enumerate(self.batches)}
        tensors |= {f"targets.{i}": targets for i, (_, targets) in enumerate(self.batches)}
        safetensors.torch.save_file(tensors, self.folder / "batches.safetensors")
        values = {"num_classes": CLASSES, "epochs": STEPS // STEPS_PER_EPOCH, "learning_rate": RATE,
                  "lr_schedule": "constant", "momentum": 0} | hyperparameters
        done = subprocess.run([PROBE, model, self.folder, str(STEPS_PER_EPOCH), *(f"{k}={v}" for k, v in values.items())],
                              capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, 0, done.stderr)
        return safetensors.torch.load_file(self.folder / "trained.safetensors")

    def train(self, optimizer, scheduler=None, before_step=lambda: None, after_step=lambda: None, smoothing=0.0):
        """PyTorch's ten steps: for each its learning rate, and the weights after it."""
        rates, weights = [], []
        self.net.train()
        for inputs, targets in self.batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.net(inputs), targets, label_smoothing=smoothing).backward()
            before_step()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            after_step()
            if scheduler:
                scheduler.step()
            weights.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
        return rates, weights

    def assert_same_way(self, ours, theirs, start, limit):
        """Ten steps lead to the same place, but for a share of the way. For what rounding is made much of in."""
        for statistics in (False, True):
            names = [name for name, tensor in start.items()
                     if tensor.is_floating_point() and (".running_" in name) == statistics]
            if not names:
                continue
            apart = torch.cat([(ours[f"9.{name}"] - theirs[name]).flatten() for name in names]).norm()
            way = torch.cat([(theirs[name] - start[name]).flatten() for name in names]).norm()
            self.assertLess((apart / way).item(), limit, "statistics" if statistics else "weights")

    def assert_same(self, ours, theirs):
        rates, weights = theirs
        for step, rate in enumerate(rates):
            self.assertAlmostEqual(ours["rates"][step, 0].item(), rate, delta=1e-9, msg=f"learning rate of step {step}")
        for step, tensors in enumerate(weights):
            for name, theirs in tensors.items():
                error = (ours[f"{step}.{name}"] - theirs).abs().max().item() / theirs.abs().max().item()
                self.assertLess(error, 2e-5, f"{name} after step {step}")

    def groups(self, **without):
        """As exclude_from_weight_decay makes them."""
        return [{"params": [p for p in self.net.parameters() if p.dim() > 1]},
                {"params": [p for p in self.net.parameters() if p.dim() <= 1], "weight_decay": 0.0, **without}]


class Optimizers(TrainingTest):
    def test_the_test_can_tell_training_from_no_training(self):
        start = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        ours = self.probe(optimizer="sgd")
        for name, tensor in start.items():
            self.assertGreater((ours[f"9.{name}"] - tensor).abs().max().item(), 1e-3, name)

    def test_sgd(self):
        ours = self.probe(optimizer="sgd", momentum=0.9, weight_decay=0.01, label_smoothing=0.1)
        self.assert_same(ours, self.train(torch.optim.SGD(self.net.parameters(), RATE, 0.9, weight_decay=0.01), smoothing=0.1))

    def test_nesterov(self):
        ours = self.probe(optimizer="sgd", momentum=0.9, nesterov="true", weight_decay=0.01)
        sgd = torch.optim.SGD(self.net.parameters(), RATE, 0.9, weight_decay=0.01, nesterov=True)
        self.assert_same(ours, self.train(sgd))

    def test_adam(self):
        ours = self.probe(optimizer="adam", beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1, learning_rate=0.01)
        adam = torch.optim.Adam(self.net.parameters(), 0.01, (0.8, 0.95), 1e-6, weight_decay=0.1)
        self.assert_same(ours, self.train(adam))

    def test_adamw(self):
        ours = self.probe(optimizer="adamw", weight_decay=0.1, learning_rate=0.01)
        self.assert_same(ours, self.train(torch.optim.AdamW(self.net.parameters(), 0.01, weight_decay=0.1)))

    def test_lars(self):
        ours = self.probe(optimizer="lars", momentum=0.9, weight_decay=0.01, trust_coefficient=0.1, learning_rate=1)
        self.assert_same(ours, self.train(Lars(self.net.parameters(), 1, 0.9, 0.01, trust=0.1)))

    def test_lamb(self):
        ours = self.probe(optimizer="lamb", weight_decay=0.1, learning_rate=0.01, beta1=0.8, epsilon=1e-6)
        self.assert_same(ours, self.train(Lamb(self.net.parameters(), 0.01, 0.1, (0.8, 0.999), 1e-6)))

    def test_zero_weights_have_no_trust_ratio(self):
        with torch.no_grad():
            for parameter in self.net.parameters():
                if parameter.dim() == 1:
                    parameter.zero_()
        ours = self.probe(optimizer="lamb", learning_rate=0.01)
        self.assert_same(ours, self.train(Lamb(self.net.parameters(), 0.01, 0.0)))


class WeightDecay(TrainingTest):
    OPTION = {"weight_decay": 0.1, "exclude_from_weight_decay": "norms_and_biases", "learning_rate": 0.01}

    def test_sgd(self):
        ours = self.probe(optimizer="sgd", momentum=0.9, **self.OPTION)
        self.assert_same(ours, self.train(torch.optim.SGD(self.groups(), 0.01, 0.9, weight_decay=0.1)))

    def test_adam(self):
        ours = self.probe(optimizer="adam", **self.OPTION)
        self.assert_same(ours, self.train(torch.optim.Adam(self.groups(), 0.01, weight_decay=0.1)))

    def test_adamw(self):
        ours = self.probe(optimizer="adamw", **self.OPTION)
        self.assert_same(ours, self.train(torch.optim.AdamW(self.groups(), 0.01, weight_decay=0.1)))

    def test_lars_and_its_trust_ratio(self):
        ours = self.probe(optimizer="lars", momentum=0.9, **self.OPTION)
        self.assert_same(ours, self.train(Lars(self.groups(adapt=False), 0.01, 0.9, 0.1)))

    def test_lamb_and_its_trust_ratio(self):
        ours = self.probe(optimizer="lamb", **self.OPTION)
        self.assert_same(ours, self.train(Lamb(self.groups(adapt=False), 0.01, 0.1)))


class LearningRates(TrainingTest):
    """By parts of the model."""

    MULTIPLIERS = {"layers.4.": 1.0, "layers.2.": 0.1, "layers.0.weight": 3.0, "layers.0.bias": 0.0}

    def parts(self, rate, **weights_alone):
        """A group for each, weights and biases apart."""
        groups = []
        for prefix, multiplier in self.MULTIPLIERS.items():
            for name, parameter in self.net.named_parameters():
                if name.startswith(prefix):
                    groups.append({"params": [parameter], "lr": rate * multiplier})
                    if parameter.dim() == 1:
                        groups[-1] |= weights_alone
        return groups

    def compare(self, make, rate, scheduler=None, **hyperparameters):
        start = {key: tensor.clone() for key, tensor in self.net.state_dict().items()}
        ours = self.probe(lr_multipliers="backbone=3, layers.2=0.1, layers.0.bias=0", learning_rate=rate, **hyperparameters)
        optimizer = make()
        self.assert_same(ours, self.train(optimizer, scheduler and scheduler(optimizer)))
        self.net.load_state_dict(start)

    def test_of_each_optimizer(self):
        alone = {"weight_decay": 0.0}
        self.compare(lambda: torch.optim.SGD(self.parts(0.01, **alone), 0.01, 0.9, weight_decay=0.1), 0.01, optimizer="sgd",
                     momentum=0.9, weight_decay=0.1, exclude_from_weight_decay="norms_and_biases")
        self.compare(lambda: torch.optim.Adam(self.parts(0.01), 0.01), 0.01, optimizer="adam")
        self.compare(lambda: torch.optim.AdamW(self.parts(0.01), 0.01, weight_decay=0.1), 0.01, optimizer="adamw",
                     weight_decay=0.1)
        self.compare(lambda: Lars(self.parts(1), 1, 0.9, 0.01, trust=0.1), 1, optimizer="lars", momentum=0.9,
                     weight_decay=0.01, trust_coefficient=0.1)
        self.compare(lambda: Lamb(self.parts(0.01), 0.01, 0.1), 0.01, optimizer="lamb", weight_decay=0.1)

    def test_under_a_schedule(self):
        def make(sgd):
            return torch.optim.lr_scheduler.OneCycleLR(sgd, [max(g["lr"], 1e-30) for g in sgd.param_groups], STEPS,
                                                       cycle_momentum=False)
        self.compare(lambda: torch.optim.SGD(self.parts(RATE), RATE, 0.9), RATE, make, optimizer="sgd", momentum=0.9,
                     lr_schedule="one_cycle")

    def test_a_part_that_is_not_there_is_an_error(self):
        with self.assertRaisesRegex(AssertionError, r'HyperParameters.lr_multipliers: no parameter .* is in "fc"; .* layers'):
            self.probe(optimizer="sgd", lr_multipliers="fc=2")


class Precision(TrainingTest):
    """Beside torch.autocast. Batches of a power of two: dividing by it, which we do at the end, then rounds nothing."""

    def setUp(self):
        super().setUp()
        self.batches = [(torch.randn(16, 1, 6, 6), torch.randint(CLASSES, (16,))) for _ in range(STEPS)]

    def train_in(self, dtype, optimizer, scaler=None, clip=None):
        """PyTorch's steps; the loss scale after each."""
        weights, scales = [], []
        scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
        self.net.train()
        for inputs, targets in self.batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = nn.functional.cross_entropy(self.net(inputs), targets)
            scaler.scale(loss).backward()
            if clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(self.net.parameters(), clip)
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
            weights.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
        return ([RATE] * STEPS, weights), scales

    def assert_rounds(self, ours):
        """That it is not float32 which was compared."""
        exact = self.probe(optimizer="sgd", momentum=0.9)
        last = [name for name in exact if name.startswith("9.")]
        self.assertGreater(max((ours[name] - exact[name]).abs().max().item() for name in last), 1e-4)

    def test_bf16(self):
        ours = self.probe(optimizer="sgd", momentum=0.9, precision="bf16")
        self.assert_rounds(ours)
        self.assertEqual(ours["loss_scale"].tolist(), [0] * STEPS)
        self.assert_same(ours, self.train_in(torch.bfloat16, torch.optim.SGD(self.net.parameters(), RATE, 0.9))[0])

    def test_fp16_with_steps_that_overflow(self):
        options = {"batch_size": 16, "precision": "fp16", "loss_scale": 2.0 ** 22, "loss_scale_growth_interval": 3}
        for name, make in (("sgd", lambda: torch.optim.SGD(self.net.parameters(), RATE, 0.9)),
                           ("adam", lambda: torch.optim.Adam(self.net.parameters(), RATE))):
            with self.subTest(name):
                start = {key: tensor.clone() for key, tensor in self.net.state_dict().items()}
                ours = self.probe(optimizer=name, momentum=0.9, clip_grad_norm=0.5, **options)
                scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** 22, growth_interval=3)
                theirs, scales = self.train_in(torch.float16, make(), scaler, clip=0.5)
                self.assertEqual(ours["loss_scale"].tolist(), scales)
                moves = [after / before for before, after in zip([2.0 ** 22, *scales], scales)]
                self.assertTrue({0.5, 1.0, 2.0} <= set(moves), f"the scale takes no turns: {scales}")
                self.assert_same(ours, theirs)
                self.net.load_state_dict(start)
        self.assert_rounds(self.probe(optimizer="sgd", momentum=0.9, **options))

    def test_fp16_does_not_hang_on_the_batch_size(self):
        """The sum over a batch would overflow where its mean does not."""
        options = {"optimizer": "sgd", "precision": "fp16", "loss_scale": 65536}
        self.assertEqual(self.probe(batch_size=16, **options)["loss_scale"].tolist(), [65536] * STEPS)

    def test_what_never_becomes_finite_is_an_error(self):
        self.batches[3][0][0] = 3e38
        with self.assertRaisesRegex(AssertionError, "step 3 .*precision bf16"):
            self.probe(optimizer="sgd", precision="fp16", batch_size=16)

    def test_a_convnet_and_a_users_own(self):
        self.net = ConvNet()
        self.batches = [(torch.randn(8, 1, 28, 28), targets[:8]) for _, targets in self.batches]
        script = self.folder / "net.pt"
        torch.jit.script(self.net).save(str(script))
        builtin, own = (self.probe(model, optimizer="sgd", precision="bf16", learning_rate=0.01)
                        for model in ("convnet", str(script)))
        exact = self.probe("convnet", optimizer="sgd", learning_rate=0.01)
        start = state_of(self.net)
        self.train_in(torch.bfloat16, torch.optim.SGD(self.net.parameters(), 0.01))
        theirs = state_of(self.net)
        for ours in (builtin, own):
            self.assert_same_way(ours, theirs, start, 1e-2)
            self.assertFalse(torch.equal(ours["9.features.0.weight"], exact["9.features.0.weight"]), "it is float32")


class WaysToCompute(TrainingTest):
    """What changes how numbers come to be, and not the numbers."""

    def setUp(self):
        super().setUp()
        self.net = torchvision.models.resnet18(num_classes=CLASSES)
        self.batches = [(torch.randn(8, 3, 32, 32), targets[:8]) for _, targets in self.batches]

    def resnet(self, model="resnet18", **hyperparameters):
        return self.probe(model, **({"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9} | hyperparameters))

    def assert_equal(self, ours, theirs):
        self.assertEqual(ours.keys(), theirs.keys())
        for name, tensor in theirs.items():
            self.assertTrue(torch.equal(ours[name], tensor), name)

    def test_activation_checkpointing_changes_no_bit_of_weights_and_statistics(self):
        for options in ({}, {"gradient_accumulation": 2}, {"precision": "bf16"}, {"sync_batch_norm": "true"}):
            with self.subTest(options):
                self.assert_equal(self.resnet(activation_checkpointing="true", **options), self.resnet(**options))

    def test_sync_batch_norm_of_one_rank_is_pytorchs_batch_norm(self):
        ours, start = self.resnet(sync_batch_norm="true", learning_rate=0.0001), state_of(self.net)
        self.train(torch.optim.SGD(self.net.parameters(), 0.0001, 0.9))
        self.assert_same_way(ours, state_of(self.net), start, 1e-3)

    def test_channels_last_is_pytorchs(self):
        """Its kernels are others, which shows in the last bits: so PyTorch has them too."""
        self.assert_equal(self.resnet(channels_last="true"), self.resnet())
        self.net = ConvNet()
        script, start = self.folder / "net.pt", state_of(self.net)
        torch.jit.script(self.net).save(str(script))
        batches = [(torch.randn(8, 1, 28, 28), targets) for _, targets in self.batches]
        for precision, model, limit in (("float32", str(script), 1e-3), ("bf16", "convnet", 1e-2)):
            with self.subTest(precision):
                self.net.load_state_dict(start)
                self.batches = batches
                ours = self.resnet(model, channels_last="true", precision=precision)
                self.batches = [(inputs.contiguous(memory_format=torch.channels_last), targets) for inputs, targets in batches]
                sgd = torch.optim.SGD(self.net.parameters(), 0.01, 0.9)
                for inputs, targets in self.batches:
                    sgd.zero_grad()
                    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                        loss = nn.functional.cross_entropy(self.net(inputs), targets)
                    loss.backward()
                    sgd.step()
                self.assert_same_way(ours, state_of(self.net), start, limit)

    def test_what_has_no_batch_norm_is_an_error(self):
        self.net = perceptron()
        self.batches = [(torch.randn(8, 1, 6, 6), targets) for _, targets in self.batches]
        with self.assertRaisesRegex(AssertionError, "sync_batch_norm is for resnet18"):
            self.probe(sync_batch_norm="true")


class Gradients(TrainingTest):
    def clipped(self, most):
        norms = []
        sgd = torch.optim.SGD(self.net.parameters(), RATE, 0.9)
        theirs = self.train(sgd, before_step=lambda: norms.append(
            nn.utils.clip_grad_norm_(self.net.parameters(), most).item()))
        return theirs, norms

    def test_clip_grad_norm(self):
        ours = self.probe(optimizer="sgd", momentum=0.9, clip_grad_norm=0.5)
        theirs, norms = self.clipped(0.5)
        self.assertTrue(min(norms) < 0.5 < max(norms), f"the limit parts no steps: {norms}")
        self.assert_same(ours, theirs)

    def test_accumulation_is_one_step_over_the_whole_batch(self):
        for passes in (2, 5, BATCH):
            ours = self.probe(optimizer="sgd", momentum=0.9, gradient_accumulation=passes, clip_grad_norm=1)
            net, self.net = self.net, perceptron()
            self.net.load_state_dict(net.state_dict())
            self.assert_same(ours, self.clipped(1)[0])
            self.net = net


class Average(TrainingTest):
    def test_of_weights_and_of_batch_norms_statistics(self):
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES))
        script = self.folder / "net.pt"
        torch.jit.script(self.net).save(str(script))
        ours = self.probe(str(script), optimizer="sgd", ema_decay=0.8, momentum=0.9)
        average = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.8), use_buffers=True)
        averages = []

        def after_step():
            average.update_parameters(self.net)
            averages.append({name: tensor.clone() for name, tensor in average.module.state_dict().items()
                             if tensor.is_floating_point()})
        rates, weights = self.train(torch.optim.SGD(self.net.parameters(), RATE, 0.9), after_step=after_step)
        self.assert_same(ours, (rates, weights))
        self.assert_same(ours | {name.removeprefix("average."): tensor for name, tensor in ours.items()
                                 if name.startswith("average.")}, (rates, averages))
        self.assertGreater((averages[-1]["1.weight"] - weights[-1]["1.weight"]).abs().max().item(), 1e-2)


class FineTuning(TrainingTest):
    def test_with_a_cache_of_features(self):
        """Of all samples, and of some; the second epoch has the first one's in another order."""
        self.batches = self.batches[:STEPS_PER_EPOCH]
        inputs, targets = (torch.cat(tensors) for tensors in zip(*self.batches))
        again = torch.randperm(len(targets))
        self.batches += list(zip(inputs[again].split(BATCH), targets[again].split(BATCH)))
        for bytes_kept in (1 << 20, 16 * 512 * 4):
            with self.subTest(bytes_kept):
                self.the_head_alone_learns(feature_cache_bytes=bytes_kept)

    def test_the_head_alone_learns(self):
        self.the_head_alone_learns()

    def the_head_alone_learns(self, **options):
        self.net = torchvision.models.resnet18(num_classes=CLASSES)
        self.net.fc = nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        self.batches = [(inputs.expand(-1, 3, -1, -1).repeat_interleave(30 // inputs.shape[3], 3).contiguous(), targets)
                        for inputs, targets in self.batches]
        start = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        ours = self.probe("resnet18", optimizer="adam", learning_rate=0.001, head_widths=16, freeze_backbone="true", **options)
        self.net.eval()
        self.net.train = lambda: None
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith("fc."))
        rates, weights = self.train(torch.optim.Adam(self.net.fc.parameters(), 0.001))
        for step in range(STEPS):
            for name, tensor in start.items():
                if name.startswith("fc."):
                    error = (ours[f"{step}.{name}"] - weights[step][name]).abs().max().item()
                    self.assertLess(error, 1e-5, f"{name} after step {step}")
                else:
                    self.assertTrue(torch.equal(ours[f"{step}.{name}"], tensor), f"{name} after step {step}")
        self.assertGreater((ours["9.fc.2.weight"] - start["fc.2.weight"]).abs().max().item(), 1e-3)


class Schedules(TrainingTest):
    def compare(self, make, **hyperparameters):
        ours = self.probe(optimizer="sgd", momentum=0.9, **hyperparameters)
        sgd = torch.optim.SGD(self.net.parameters(), RATE, 0.9)
        self.assert_same(ours, self.train(sgd, make(sgd)))
        return ours

    def test_cosine(self):
        self.compare(lambda sgd: torch.optim.lr_scheduler.CosineAnnealingLR(sgd, STEPS, 0.01), lr_schedule="cosine",
                     lr_min=0.01)

    def test_linear(self):
        self.compare(lambda sgd: torch.optim.lr_scheduler.LinearLR(sgd, 1.0, 0.2, STEPS), lr_schedule="linear",
                     lr_min=RATE * 0.2)

    def test_step_by_size(self):
        self.compare(lambda sgd: torch.optim.lr_scheduler.StepLR(sgd, STEPS_PER_EPOCH, 0.3), lr_schedule="step",
                     lr_step_size=1, lr_gamma=0.3)

    def test_step_by_milestones(self):
        milestones = [STEPS_PER_EPOCH, 9 * STEPS_PER_EPOCH]
        self.compare(lambda sgd: torch.optim.lr_scheduler.MultiStepLR(sgd, milestones), lr_schedule="step",
                     lr_milestones="1, 9")

    def test_warm_up_then_linear(self):
        def make(sgd):
            rise = torch.optim.lr_scheduler.LinearLR(sgd, 1 / 6, 1.0, STEPS_PER_EPOCH)
            fall = torch.optim.lr_scheduler.LinearLR(sgd, 1.0, 0.0, STEPS_PER_EPOCH)
            return torch.optim.lr_scheduler.SequentialLR(sgd, [rise, fall], [STEPS_PER_EPOCH])
        self.compare(make, lr_schedule="linear", warmup_epochs=1)

    def test_one_cycle(self):
        self.compare(lambda sgd: torch.optim.lr_scheduler.OneCycleLR(sgd, RATE, STEPS, cycle_momentum=False),
                     lr_schedule="one_cycle")
        self.compare(lambda sgd: torch.optim.lr_scheduler.OneCycleLR(sgd, RATE, STEPS, pct_start=0.5, cycle_momentum=False,
                                                                     div_factor=10, final_div_factor=50),
                     lr_schedule="one_cycle", pct_start=0.5, div_factor=10, final_div_factor=50)

    def test_one_cycle_with_momentum(self):
        ours = self.compare(lambda sgd: torch.optim.lr_scheduler.OneCycleLR(sgd, RATE, STEPS), lr_schedule="one_cycle",
                            cycle_momentum="true")
        self.assertAlmostEqual(ours["rates"][0, 1].item(), 0.95)
        adam = torch.optim.Adam(self.net.parameters(), RATE)
        ours = self.probe(optimizer="adam", lr_schedule="one_cycle", cycle_momentum="true", base_momentum=0.8, max_momentum=0.9)
        cycle = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, STEPS, base_momentum=0.8, max_momentum=0.9)
        self.assert_same(ours, self.train(adam, cycle))


if __name__ == "__main__":
    PROBE = sys.argv.pop(1)
    unittest.main()
