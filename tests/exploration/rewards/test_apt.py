"""Particle entropy against scipy's nearest neighbours."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from agents.actor_critic import ActorCriticConfig
from exploration import APT, APTConfig
from exploration.rewards.apt import drawn, mean_distance
from training import TrainingConfig
from world_model import Latent


def scipy_distance(points, places, neighbours):
    """Mean distance to the nearest of the points at `places`, itself left out."""
    found = []
    for index, point in enumerate(points):
        others = points[places[places != index]]
        distances, _ = cKDTree(others).query(point, min(neighbours, len(others)))
        found.append(np.mean(distances))
    return np.array(found)


@pytest.mark.parametrize(("count", "particles"), [(60, 512), (60, 60), (61, 60), (100, 16)])
def test_against_scipy(count, particles):
    points = np.random.default_rng(0).normal(size=(count, 5))
    places = drawn(count, particles, torch.device("cpu")).numpy()
    assert len(set(places)) == min(count, particles)
    found = mean_distance(torch.tensor(points), particles, 4)
    np.testing.assert_allclose(found.numpy(), scipy_distance(points, places, 4), rtol=1e-4)


def test_every_imagined_step_has_its_particles_at_the_default_sizes():
    training, behaviour, config = TrainingConfig(), ActorCriticConfig(), APTConfig()
    rows = behaviour.imagination + 1
    count = training.batch * (behaviour.starts or training.length) * rows
    assert count > config.particles
    steps = drawn(count, config.particles, torch.device("cpu")) % rows
    share = config.particles / rows
    assert (steps.bincount(minlength=rows) > share / 2).all()
    assert (steps.bincount() < 2 * share).all()


def test_distances_are_to_imagined_states_too():
    # rollouts that leave one place: the state at each step is the same in all, so nothing is far away
    config, steps = APTConfig(neighbours=3), 16
    deter = torch.arange(float(steps)).expand(1024, steps)[..., None]
    latents = Latent(deter, torch.zeros(1024, steps, 1, 1))
    reward = APT(config).reward(latents, torch.zeros(1024, steps, 2))
    assert reward.max() < 0.05


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_works_compiled_and_batched():
    points = torch.randn(3, 97, 4, generator=torch.Generator().manual_seed(0))
    batched = torch.vmap(lambda x: mean_distance(x, 40, 3))
    compiled = torch.compile(batched, dynamic=False, fullgraph=True, backend="aot_eager")
    expected = torch.stack([mean_distance(each, 40, 3) for each in points])
    drawn.cache_clear()
    torch.testing.assert_close(compiled(points), expected)
    drawn.cache_clear()
    torch.testing.assert_close(batched(points), expected)


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
    rows = {"action": torch.zeros(1, 3, 2), "is_first": torch.zeros(1, 3, dtype=torch.bool)}
    assert module.loss(None, rows, None) == {}
    assert list(module.parameters()) == []
