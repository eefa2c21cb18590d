"""Ten steps of tasks other than classification beside PyTorch's own: pytorch_tasks_test.py TRAINING_PROBE [unittest's arguments]"""

import sys
import unittest

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

    def assert_same_training(self, loss, **hyperparameters):
        ours = self.probe("multilayer_perceptron:16", task="regression", num_classes=0, target_columns="5, 6", momentum=0.9,
                          **hyperparameters)
        optimizer = torch.optim.SGD(self.net.parameters(), RATE, 0.9)
        weights, losses, rmse, mae = [], [], [], []
        for inputs, targets in self.rows:
            optimizer.zero_grad()
            outputs = self.net.layers(inputs)
            value = loss(outputs, targets)
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


if __name__ == "__main__":
    pytorch_training_test.PROBE = sys.argv.pop(1)
    unittest.main()
