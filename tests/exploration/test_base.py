"""The rule by which rewards are scaled, against numpy."""

import numpy as np
import pytest
import torch

from exploration import RewardScale


def test_deviation_against_numpy():
    rng = np.random.default_rng(0)
    scale, spread = RewardScale(), 0.0
    for step in range(1, 40):
        rewards = rng.gamma(2.0, 0.1 * step, size=(4, 9)).astype(np.float32)
        scale.update(torch.tensor(rewards))
        spread = 0.97 * spread + 0.03 * rewards.astype(np.float64).std()
        expected = spread / (1 - 0.97**step)
        assert scale.deviation().item() == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(scale(torch.tensor(rewards)).numpy(), rewards / expected, rtol=1e-4)


@pytest.mark.parametrize("clip", [False, True])
def test_before_any_reward_nothing_changes(clip):
    assert RewardScale(clip)(torch.tensor([0.0, 3.0])).tolist() == [0.0, 3.0]


def test_clipping_against_numpy():
    rng = np.random.default_rng(0)
    scale, mean, spread = RewardScale(clip=True), 0.0, 0.0
    for step in range(1, 20):
        rewards = rng.normal(0.1 * step, 2.0, size=(4, 9)).astype(np.float32)
        scale.update(torch.tensor(rewards))
        mean = 0.97 * mean + 0.03 * rewards.astype(np.float64).mean()
        spread = 0.97 * spread + 0.03 * rewards.astype(np.float64).std()
        start = 1 - 0.97**step
        expected = np.maximum(rewards - mean / start, 0) / (spread / start)
        np.testing.assert_allclose(scale(torch.tensor(rewards)).numpy(), expected, rtol=1e-3, atol=1e-5)
        assert (expected == 0).any()


def test_rewards_that_never_vary_are_left_as_they_are():
    scale = RewardScale()
    for _ in range(5):
        scale.update(torch.full((4, 4), 0.25))
    assert scale(torch.tensor([0.25])).item() == 0.25


def test_tiny_rewards_are_scaled_up():
    scale, rewards = RewardScale(), 1e-5 * torch.arange(100.0)
    scale.update(rewards)
    assert scale(rewards).std(unbiased=False).item() == pytest.approx(1.0, rel=1e-4)


def test_state_round_trip():
    one, two = RewardScale(), RewardScale()
    one.update(torch.arange(10.0))
    two.load_state_dict(one.state_dict())
    for scale in (one, two):
        scale.update(torch.arange(4.0))
    assert one.deviation() == two.deviation()


def test_scale_counts_only_what_it_is_told_to():
    rewards = torch.tensor([[0.0, 2.0, 4.0], [9.0, 6.0, 0.0]])
    counted = torch.tensor([[False, True, True], [False, True, False]])
    scale = RewardScale()
    scale.update(rewards, counted)
    torch.testing.assert_close(scale.deviation(), torch.tensor([2.0, 4.0, 6.0]).std(unbiased=False))


def test_an_untrained_network_is_soon_forgotten():
    # rewards of deviation 1 for 20 updates, then of a hundredth of it
    scale, rewards = RewardScale(), torch.tensor([-1.0, 1.0])
    for update in range(220):
        scale.update(rewards if update < 20 else 0.01 * rewards)
    early, start = 0.97**200 - 0.97**220, 1 - 0.97**220
    expected = (early + 0.01 * (start - early)) / start
    assert scale.deviation().item() == pytest.approx(expected, rel=1e-4)
    assert expected < 0.012
