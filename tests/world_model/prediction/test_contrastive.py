"""Contrastive prediction: worked numbers."""

import math

import pytest
import torch

from tests.world_model.prediction.test_ahead import make


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_nats_of_the_own_target_among_all(temperature):
    """The prediction points at the first key, at right angles to the second, and away from the third."""
    keys = torch.tensor([[2.0, 0], [0, 3], [-1, 0]]).reshape(1, 3, 2)
    prediction, own = torch.tensor([0.5, 0]).expand(1, 1, 3, 2), keys[None]
    found = make("contrastive", temperature=temperature).decoder.compare(prediction, own, keys)
    scores = [math.exp(cosine / temperature) for cosine in (1, 0, -1)]
    expected = torch.tensor([-math.log(score / sum(scores)) for score in scores]).reshape(1, 1, 3)
    torch.testing.assert_close(found, expected)
