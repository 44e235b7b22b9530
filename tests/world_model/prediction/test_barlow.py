"""Redundancy reduction: worked numbers, and numpy's correlation."""

import numpy as np
import pytest
import torch

from tests.world_model.prediction.test_ahead import losses, make, noises, rows
from world_model.prediction.barlow import barlow_loss

A, B = [1.0, -1, 1, -1], [1.0, 1, -1, -1]  # they do not correlate


def columns(*values):
    return torch.tensor(values).T


@pytest.mark.parametrize(
    ("right", "own", "others"),
    [
        (columns(A, B), 0, 0),  # C is the identity
        (7 * columns(A, B) + 3, 0, 0),  # scale and mean mean nothing
        (columns(B, A), 2, 2),
        (columns(A, A), 1, 1),
        (-columns(A, B), 8, 0),  # (1 - -1)^2 for each
        (columns(A, [5.0, 5, 5, 5]), 1, 0),  # what does not vary correlates with nothing
    ],
)
def test_distance_of_the_correlations_from_the_identity(right, own, others):
    found = barlow_loss(columns(A, B), right, 0.1)
    torch.testing.assert_close(found, torch.tensor(own + 0.1 * others), atol=1e-5, rtol=1e-5)


def test_correlations_are_numpys():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(50, 3)), rng.normal(size=(50, 3)) ** 3
    c = np.corrcoef(left, right, rowvar=False)[:3, 3:]
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.3 * (c**2).sum() - 0.3 * (np.diag(c) ** 2).sum()
    found = barlow_loss(torch.tensor(left), torch.tensor(right), 0.3)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_models_loss_is_that_of_its_features_and_embeddings():
    model, batch = make("barlow", redundancy=0.2), rows()
    latents, _, embeddings = model.observe(batch, model.initial(2), noises(model)[0])
    projected = latents.features.detach().numpy() @ model.decoder.projection.weight.detach().numpy().T
    width = model.encoder.width
    c = np.corrcoef(projected.reshape(16, width), embeddings.detach().reshape(16, width), rowvar=False)
    c = c[:width, width:]
    off = (c**2).sum() - (np.diag(c) ** 2).sum()
    expected = 0.05 * (((1 - np.diag(c)) ** 2).sum() + 0.2 * off)
    assert losses(model, batch)["barlow"].item() == pytest.approx(expected, rel=1e-3)
