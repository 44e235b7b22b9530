"""The rule by which rewards are scaled, against numpy."""

import numpy as np
import pytest
import torch

from exploration import IntrinsicReward, RewardScale, Sequences
from world_model import Latent


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


# The form of a reward


class Rowwise(IntrinsicReward):
    """Rewards and costs each row, or each transition, by a number that is known."""

    in_imagination = True

    def __init__(self, transitions):
        super().__init__()
        self.begin = int(transitions)
        self.weight = torch.nn.Parameter(torch.ones(()))

    def reward_of(self, x):
        return self.weight * (1 + x.actions[:, self.begin :, 0])

    def loss_of(self, x):
        return {"known": self.reward_of(x)}


def known():
    latents = Latent(torch.arange(8.0).view(2, 4, 1), torch.arange(8.0).view(2, 4, 1, 1) + 10)
    rows = {"action": torch.arange(8.0).view(2, 4, 1) / 10, "is_first": torch.zeros(2, 4, dtype=torch.bool)}
    rows["is_first"][0, 0] = rows["is_first"][1, 2] = True
    return latents, rows


def test_rows_are_rewarded_and_cost_as_they_are():
    module, (latents, rows) = Rowwise(transitions=False), known()
    reward = module.reward(latents, rows["action"], rows)
    assert not reward.requires_grad
    torch.testing.assert_close(reward, 1 + rows["action"][..., 0])
    torch.testing.assert_close(module.loss(latents, rows, None)["known"].detach(), reward)


def test_transitions_earn_nothing_in_row_0_and_cost_nothing_where_an_episode_begins():
    module, (latents, rows) = Rowwise(transitions=True), known()
    reward = module.reward(latents, rows["action"])
    torch.testing.assert_close(reward, torch.tensor([[0, 1.1, 1.2, 1.3], [0, 1.5, 1.6, 1.7]]))
    loss = module.loss(latents, rows, None)["known"]
    torch.testing.assert_close(loss, torch.tensor([[0, 1.1, 1.2, 1.3], [0, 1.5, 0, 1.7]]))
    assert loss.requires_grad


def test_what_leads_to_a_row_is_the_row_before_and_the_clipped_action():
    latents, rows = known()
    found = Sequences.of(latents, 20 * rows["action"] - 7).lead(latents.features)
    expected = [[[0, 10, -1], [1, 11, -1], [2, 12, -1]], [[4, 14, 1], [5, 15, 1], [6, 16, 1]]]
    assert found.tolist() == expected


def test_actions_within_the_box_stay():
    latents, rows = known()
    torch.testing.assert_close(Sequences.of(latents, rows["action"]).actions, rows["action"])


def test_a_single_row_is_a_sequence_without_transitions():
    latents, rows = known()
    cut = {key: value[:, :1] for key, value in rows.items()}
    module, first = Rowwise(transitions=True), latents.map(lambda x: x[:, :1])
    assert module.reward(first, cut["action"]).tolist() == [[0.0], [0.0]]
    assert module.loss(first, cut, None)["known"].tolist() == [[0.0], [0.0]]
