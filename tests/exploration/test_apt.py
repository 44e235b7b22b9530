"""Particle entropy against scipy's nearest neighbours."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from exploration import APT, APTConfig, apt
from exploration.apt import mean_distance
from world_model import Latent


def scipy_distance(points, stride, neighbours):
    """Mean distance to the nearest of every `stride`-th point, itself left out."""
    places = np.arange(0, len(points), stride)
    found = []
    for index, point in enumerate(points):
        others = points[places[places != index]]
        distances, _ = cKDTree(others).query(point, min(neighbours, len(others)))
        found.append(np.mean(distances))
    return np.array(found)


@pytest.mark.parametrize(
    ("count", "particles", "stride"), [(60, 512, 1), (60, 60, 1), (61, 60, 2), (100, 16, 7)]
)
def test_against_scipy(count, particles, stride):
    points = np.random.default_rng(0).normal(size=(count, 5))
    found = mean_distance(torch.tensor(points), particles, 4)
    np.testing.assert_allclose(found.numpy(), scipy_distance(points, stride, 4), rtol=1e-4)


def test_chunks_change_nothing(monkeypatch):
    points = torch.randn(97, 4, generator=torch.Generator().manual_seed(0))
    whole = mean_distance(points, 40, 3)
    monkeypatch.setattr(apt, "CHUNK", 200)
    torch.testing.assert_close(mean_distance(points, 40, 3), whole)


def test_fewer_points_than_neighbours():
    points = torch.tensor([[0.0], [3.0], [7.0]])
    assert mean_distance(points, 512, 12).tolist() == [5.0, 3.5, 5.5]
    assert mean_distance(points[:1], 512, 12).tolist() == [0.0]


def test_reward_on_worked_numbers():
    # two rows at the same place, one at distance 5: means over the two others 2.5, 2.5, 5
    deter = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]])
    latents = Latent(deter, torch.zeros(1, 3, 1, 1))
    found = APT(APTConfig()).reward(latents, torch.zeros(1, 3, 2))
    torch.testing.assert_close(found, torch.tensor([[3.5, 3.5, 6.0]]).log())


def test_is_computed_in_imagination_and_learns_nothing():
    module = APT(APTConfig())
    assert module.in_imagination
    assert module.loss(None, {}, None) == {}
    assert list(module.parameters()) == []
