"""Ten steps of tasks other than classification beside PyTorch's own: pytorch_tasks_test.py TRAINING_PROBE [unittest's arguments]"""

import sys
import unittest
from typing import Dict, Tuple

import safetensors.torch
import torch
from torch import nn

import pytorch_training_test
from pytorch_training_test import BATCH, RATE, STEPS


class Regression(pytorch_training_test.TrainingTest):
    FEATURES, TARGETS = 5, 2

    def setUp(self):
        super().setUp()
        self.net = nn.Module()
        self.net.layers = nn.Sequential(nn.Linear(self.FEATURES, 16), nn.ReLU(), nn.Linear(16, self.TARGETS))
        self.rows = [(torch.randn(BATCH, self.FEATURES), 2 * torch.randn(BATCH, self.TARGETS)) for _ in range(STEPS)]
        # The chosen columns in the order in which a table's decoder gives them.
        self.batches = [(torch.cat([x, y], 1), torch.zeros(BATCH, dtype=torch.long)) for x, y in self.rows]

    def assert_same_training(self, reference, **hyperparameters):
        ours = self.probe("multilayer_perceptron:16", task="regression", num_classes=0, target_columns="5, 6", momentum=0.9,
                          **hyperparameters)
        optimizer = torch.optim.SGD(self.net.parameters(), RATE, 0.9)
        weights, losses, rmse, mae = [], [], [], []
        for inputs, targets in self.rows:
            optimizer.zero_grad()
            outputs = self.net.layers(inputs)
            value = reference(outputs, targets)
            value.backward()
            losses.append(value.item())
            rmse.append(nn.functional.mse_loss(outputs, targets).sqrt().item())
            mae.append(nn.functional.l1_loss(outputs, targets).item())
            optimizer.step()
            weights.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
        self.assert_same(ours, ([RATE] * STEPS, weights))
        for name, theirs in (("loss", losses), ("rmse", rmse), ("mae", mae)):
            torch.testing.assert_close(ours[f"metrics.{name}"].tolist(), theirs, rtol=1e-5, atol=1e-6)

    def test_mean_squared_error(self):
        self.assert_same_training(nn.MSELoss())

    def test_mean_absolute_error(self):
        self.assert_same_training(nn.L1Loss(), loss="l1")

    def test_huber(self):
        self.assert_same_training(nn.HuberLoss(delta=0.5), loss="huber", huber_delta=0.5)

    def test_accumulation_changes_no_number(self):
        self.assert_same_training(nn.MSELoss(), gradient_accumulation=5)


class Block(nn.Module):
    """Of a GPT-2, with nanoGPT's names."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x):
        samples, length, width = x.shape
        q, k, v = (part.view(samples, length, self.heads, -1).transpose(1, 2)
                   for part in self.attn["c_attn"](self.ln_1(x)).split(width, 2))
        scores = q @ k.transpose(2, 3) / (width / self.heads) ** 0.5
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        attended = scores.masked_fill(ahead, float("-inf")).softmax(3) @ v
        x = x + self.attn["c_proj"](attended.transpose(1, 2).reshape(x.shape))
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, context, layers, heads, width, tied):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(vocabulary, width), "wpe": nn.Embedding(context, width),
            "h": nn.ModuleList([Block(width, heads) for _ in range(layers)]), "ln_f": nn.LayerNorm(width)})
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, ids):
        parts = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for block in parts["h"]:
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


class LanguageModel(pytorch_training_test.TrainingTest):
    VOCABULARY, CONTEXT = 37, 12

    def assert_same_training(self, tied, rate=0.01, **hyperparameters):
        self.net = Gpt(self.VOCABULARY, self.CONTEXT, layers=2, heads=4, width=32, tied=tied)
        windows = [torch.randint(self.VOCABULARY, (BATCH, self.CONTEXT + 1)) for _ in range(STEPS)]
        self.batches = [(window.float(), torch.zeros(BATCH, dtype=torch.long)) for window in windows]
        if tied:  # one name for one tensor
            state = self.net.state_dict()
            del state["lm_head.weight"]
            safetensors.torch.save_file(state, self.folder / "own.safetensors")
        ours = self.probe("gpt:2,4,32" + ("" if tied else ",untied"), weights="own.safetensors" if tied else None,
                          task="language-modeling", num_classes=0, vocabulary_size=self.VOCABULARY, context_length=self.CONTEXT,
                          optimizer="adamw", learning_rate=rate, weight_decay=0.1, epsilon=1e-4, **hyperparameters)
        # The gradient of a key's bias is nothing but rounding, which a small epsilon would make much of.
        optimizer = torch.optim.AdamW(self.net.parameters(), rate, weight_decay=0.1, eps=1e-4)
        weights, losses = [], []
        for window in windows:
            optimizer.zero_grad()
            logits = self.net(window[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
            weights.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
        self.assertEqual({name for name in ours if name.startswith("9.")}, {f"9.{name}" for name in weights[-1]})
        start = {name: tensor for name, tensor in weights[0].items()}
        self.assert_same_way(ours, weights[-1], start, 1e-3)
        torch.testing.assert_close(ours["metrics.loss"].tolist(), losses, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours["metrics.perplexity"], ours["metrics.loss"].exp())

    def test_with_a_head_of_its_own(self):
        self.assert_same_training(tied=False)

    def test_with_a_tied_head(self):
        self.assert_same_training(tied=True)

    def test_in_several_passes(self):
        self.assert_same_training(tied=True, gradient_accumulation=4)


class CrossEntropy(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([1.0, 2.0, 0.5, 1.0]))

    def forward(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets, self.weight, reduction="none")


class Mean(nn.Module):
    def forward(self, outputs, targets):
        return nn.functional.mse_loss(outputs, targets)


class WithMetrics(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> Dict[str, torch.Tensor]:
        error = (outputs - targets).abs()
        return {"loss": error.square().mean(), "worst": error.amax(1), "bias": (outputs - targets).mean()}


class TupleOfThem(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        return (outputs - targets).square().mean(1), {"half": torch.full_like(outputs[:, 0], 0.5)}


class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, outputs, targets):
        return (outputs - targets).square().mean() * self.scale


class Deaf(nn.Module):
    def forward(self, outputs, targets):
        return targets.float().mean()


class Wide(nn.Module):
    def forward(self, outputs, targets):
        return (outputs - targets).square()


class TakenName(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> Dict[str, torch.Tensor]:
        loss = (outputs - targets).square().mean()
        return {"loss": loss, "rmse": loss}


class ManyMetrics(nn.Module):
    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        loss = (outputs - targets).square().mean()
        return loss, {"a": loss, "b": loss, "c": loss, "d": loss, "e": loss, "f": loss, "g": loss}


class Text(nn.Module):
    def forward(self, outputs, targets):
        return "a loss"


class WrongShape(nn.Module):
    def forward(self, outputs, targets):
        return nn.functional.mse_loss(outputs.view(3, 7), targets)


class OwnLoss(pytorch_training_test.TrainingTest):
    def script(self, module):
        path = self.folder / "loss.pt"
        torch.jit.script(module).save(str(path))
        return f"file://{path}"

    def regression(self, module, **hyperparameters):
        self.net = nn.Module()
        self.net.layers = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))
        torch.manual_seed(3)
        self.rows = [(torch.randn(BATCH, 5), torch.randn(BATCH, 2)) for _ in range(STEPS)]
        self.batches = [(torch.cat([x, y], 1), torch.zeros(BATCH, dtype=torch.long)) for x, y in self.rows]
        return self.probe("multilayer_perceptron:16", task="regression", num_classes=0, target_columns="5, 6", momentum=0.9,
                          loss_module=self.script(module), **hyperparameters)

    def assert_trains_as(self, ours, loss):
        optimizer = torch.optim.SGD(self.net.parameters(), RATE, 0.9)
        weights = []
        for inputs, targets in self.rows:
            optimizer.zero_grad()
            loss(self.net.layers(inputs), targets).backward()
            optimizer.step()
            weights.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
        self.assert_same(ours, ([RATE] * STEPS, weights))

    def test_a_classifiers_with_a_number_a_sample_and_a_buffer(self):
        ours = self.probe(loss_module=self.script(CrossEntropy()), momentum=0.9)
        module, optimizer, weights = CrossEntropy(), torch.optim.SGD(self.net.parameters(), RATE, 0.9), []
        for inputs, targets in self.batches:
            optimizer.zero_grad()
            module(self.net(inputs), targets).mean().backward()
            optimizer.step()
            weights.append({name: p.detach().clone() for name, p in self.net.named_parameters()})
        self.assert_same(ours, ([RATE] * STEPS, weights))
        self.assertIn("metrics.accuracy", ours)

    def test_a_mean_is_the_built_in_loss(self):
        for passes in (1, 5):
            ours = self.regression(Mean(), gradient_accumulation=passes)
            self.assert_trains_as(ours, nn.functional.mse_loss)

    def test_metrics_in_a_dict_and_in_a_tuple(self):
        ours = self.regression(WithMetrics(), gradient_accumulation=3)
        with torch.no_grad():
            error = self.net.layers(self.rows[0][0]) - self.rows[0][1]
        for name, theirs in (("worst", error.abs().amax(1).mean()), ("bias", error.mean()), ("rmse", error.square().mean().sqrt())):
            torch.testing.assert_close(ours[f"metrics.{name}"][0].item(), theirs.item(), rtol=1e-5, atol=1e-6)
        self.assert_trains_as(ours, nn.functional.mse_loss)
        ours = self.regression(TupleOfThem())
        self.assertEqual(ours["metrics.half"].tolist(), [0.5] * STEPS)
        self.assert_trains_as(ours, nn.functional.mse_loss)

    def test_what_can_not_be_used_is_one_clear_line(self):
        (self.folder / "text.pt").write_text("a loss")
        with self.assertRaisesRegex(AssertionError, "text.pt can't be used: it is no TorchScript file"):
            self.probe(loss_module=f"file://{self.folder}/text.pt")
        for module, words in ((Trained(), "it has parameters, which nothing would train"),
                              (Deaf(), "its loss does not follow from the outputs"),
                              (Wide(), r"the loss must be a scalar, .*, or have one number for each of the 2, and not the shape \[2, 2\]"),
                              (TakenName(), "the metric rmse is measured by Musher itself"),
                              (ManyMetrics(), "it returns 7 metrics, where at most 6 are kept"),
                              (Text(), "its forward must return the loss, a tuple of"),
                              (WrongShape(), r"its forward fails for outputs of shape \[2, 2\] and targets of shape \[2, 2\]: ")):
            with self.subTest(type(module).__name__):
                with self.assertRaisesRegex(AssertionError, rf"loss_module file://\S+/loss.pt can't be used: {words}"):
                    self.regression(module)


if __name__ == "__main__":
    pytorch_training_test.PROBE = sys.argv.pop(1)
    unittest.main()
