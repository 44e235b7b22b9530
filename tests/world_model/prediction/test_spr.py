"""Self-predictive representations: worked numbers."""

import torch

from tests.world_model.prediction.test_ahead import make


def test_only_the_direction_counts():
    predictions = torch.tensor([[3.0, 0], [1, 1], [0, 0.1], [-5, 0]]).reshape(1, 1, 4, 2)
    targets = torch.tensor([2.0, 0]).expand(1, 1, 4, 2)
    found = make("spr").decoder.compare(predictions, targets, targets[0])
    expected = 10 * torch.tensor([0.0, 2 - 2**0.5, 2.0, 4.0]).reshape(1, 1, 4)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
