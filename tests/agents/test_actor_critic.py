"""Losses of actor and critic written out plainly in numpy."""

import gymnasium
import numpy as np
import pytest
import torch

from agents import ActorCritic, ActorCriticConfig
from agents.learning.returns import lambda_returns
from world_model.distributions import twohot_loss, twohot_mean

FEATURES, UNITS, N, H = 10, 8, 6, 4


def make(discrete=True, seed=0, **settings):
    torch.manual_seed(seed)
    space = gymnasium.spaces.Discrete(3) if discrete else gymnasium.spaces.Box(-1, 1, (2,))
    behaviour = ActorCritic(FEATURES, UNITS, space, ActorCriticConfig(layers=2, **settings))
    with torch.no_grad():  # away from zero heads, under which every value is equal
        for net in (behaviour.actor, behaviour.critic, behaviour.slow_critic):
            for p in net[-1].parameters():
                p.add_(0.5 * torch.randn(p.shape))
        # unlikely outer bins, or values near 1e5 would drown the rewards
        for net in (behaviour.critic, behaviour.slow_critic):
            net[-1].bias.sub_(4 * torch.linspace(-20, 20, 255).abs())
    return behaviour


def imagined(discrete=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(N, H + 1, FEATURES, generator=generator)
    if discrete:
        actions = torch.eye(3)[torch.randint(3, (N, H + 1), generator=generator)]
    else:
        actions = torch.randn(N, H + 1, 2, generator=generator)
    rewards = 2 * torch.randn(N, H + 1, generator=generator)
    continues = 0.5 + 0.5 * torch.rand(N, H + 1, generator=generator)
    return features, actions, rewards, continues


@pytest.mark.parametrize("discrete", [True, False])
def test_imagination_losses_row_by_row(discrete):
    behaviour = make(discrete, entropy=0.1, slow_weight=0.7)
    features, actions, rewards, continues = imagined(discrete)
    losses, returns, _ = behaviour.imagination_loss(features, actions, rewards, continues)
    with torch.no_grad():
        values = twohot_mean(behaviour.critic(features)).numpy()
        slow = twohot_mean(behaviour.slow_critic(features))
        policy = behaviour.policy(features)
        entropy = policy.entropy().numpy()
    assert losses["actor"].shape == losses["critic"].shape == returns.shape == (N, H)
    spread = np.percentile(returns.numpy(), 95) - np.percentile(returns.numpy(), 5)
    for n in range(N):
        target, expected = values[n, H], []
        for h in reversed(range(H)):
            onward = 0.05 * values[n, h + 1] + 0.95 * target
            target = rewards[n, h + 1].item() + continues[n, h + 1].item() * onward
            expected.insert(0, target)
        np.testing.assert_allclose(returns[n].numpy(), expected, rtol=1e-4, atol=1e-4)
        for h in range(H):
            weight = np.prod(continues[n, : h + 1].numpy())
            advantage = (expected[h] - values[n, h]) / max(1.0, spread)
            # row h + 1 holds the action taken in row h
            log_prob = behaviour.policy(features[n, h]).log_prob(actions[n, h + 1]).item()
            actor = -weight * (log_prob * advantage + 0.1 * entropy[n, h])
            logits = behaviour.critic(features[n, h])
            critic = weight * twohot_loss(logits, torch.tensor(expected[h])).item()
            critic += weight * 0.7 * twohot_loss(logits, slow[n, h]).item()
            assert losses["actor"][n, h].item() == pytest.approx(actor, rel=1e-3, abs=1e-4)
            assert losses["critic"][n, h].item() == pytest.approx(critic, rel=1e-4)


def test_gradients_go_only_where_they_should():
    behaviour = make()
    inputs = imagined()
    losses, returns, _ = behaviour.imagination_loss(*inputs)
    assert not returns.requires_grad
    losses["actor"].sum().backward(retain_graph=True)
    assert all(p.grad is not None for p in behaviour.actor.parameters())
    assert all(p.grad is None for p in behaviour.critic.parameters())
    behaviour.zero_grad()
    losses["critic"].sum().backward()
    assert all(p.grad is None for p in behaviour.actor.parameters())
    assert all(p.grad is not None for p in behaviour.critic.parameters())
    assert all(p.grad is None for p in behaviour.slow_critic.parameters())


def test_a_better_action_becomes_more_likely():
    behaviour = make(entropy=0.0)
    features, actions, _, _ = imagined()
    rewards = 10 * actions[..., 1]  # the second action pays
    optimizer = torch.optim.Adam(behaviour.actor.parameters(), 1e-2)
    before = behaviour.policy(features).log_probs[..., 1].mean()
    for _ in range(20):
        losses, _, _ = behaviour.imagination_loss(features, actions, rewards, torch.full((N, H + 1), 0.1))
        optimizer.zero_grad()
        losses["actor"].mean().backward()
        optimizer.step()
    assert behaviour.policy(features).log_probs[..., 1].mean() > before + 0.1


class TestReplayLoss:
    def inputs(self, batch=3, time=6):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(batch, time, FEATURES, generator=generator)
        rewards, bootstrap = torch.randn(2, batch, time, generator=generator)
        is_last = torch.zeros(batch, time, dtype=torch.bool)
        is_terminal = is_last.clone()
        is_last[0, 2] = is_terminal[0, 2] = True  # death
        is_last[1, 3] = True  # cut off
        return features, rewards, is_last, is_terminal, bootstrap

    def test_row_by_row(self):
        behaviour = make(slow_weight=0.7)
        features, rewards, is_last, is_terminal, bootstrap = self.inputs()
        found = behaviour.replay_loss(features, rewards, is_last, is_terminal, bootstrap, 0.9)
        slow = twohot_mean(behaviour.slow_critic(features))
        assert found.shape == (3, 5)
        for b in range(3):
            for t in range(5):
                if is_last[b, t]:
                    assert found[b, t] == 0
                    continue
                target = self.target(rewards[b], bootstrap[b], is_last[b], is_terminal[b], t)
                logits = behaviour.critic(features[b, t])
                expected = twohot_loss(logits, torch.tensor(target)) + 0.7 * twohot_loss(logits, slow[b, t])
                assert found[b, t].item() == pytest.approx(0.3 * expected.item(), rel=1e-4)

    def target(self, rewards, bootstrap, is_last, is_terminal, t, lam=0.95, discount=0.9):
        reward = rewards[t + 1].item()
        if is_terminal[t + 1]:
            return reward
        if is_last[t + 1] or t + 2 == len(rewards):
            return reward + discount * bootstrap[t + 1].item()
        onward = self.target(rewards, bootstrap, is_last, is_terminal, t + 1)
        return reward + discount * ((1 - lam) * bootstrap[t + 1].item() + lam * onward)

    def test_the_gradient_reaches_the_features(self):
        behaviour = make()
        features, *rest = self.inputs()
        features.requires_grad_()
        behaviour.replay_loss(features, *rest, 0.9).sum().backward()
        reached = features.grad.abs().sum(-1) > 0
        assert reached.tolist()[2] == [True] * 5 + [False]
        assert reached.tolist()[0] == [True, True, False, True, True, False]


def test_slow_critic_follows():
    behaviour = make()
    fast = [p.clone() for p in behaviour.critic.parameters()]
    before = [p.clone() for p in behaviour.slow_critic.parameters()]
    behaviour.update_slow()
    for slow, old, new in zip(behaviour.slow_critic.parameters(), before, fast, strict=True):
        torch.testing.assert_close(slow, 0.98 * old + 0.02 * new)


def test_slow_critic_starts_equal():
    behaviour = ActorCritic(FEATURES, UNITS, gymnasium.spaces.Discrete(3), ActorCriticConfig())
    for slow, fast in zip(behaviour.slow_critic.parameters(), behaviour.critic.parameters(), strict=True):
        assert torch.equal(slow, fast)
        assert not slow.requires_grad


def test_returns_use_the_fast_critic():
    behaviour = make()
    features, actions, rewards, continues = imagined()
    _, returns, _ = behaviour.imagination_loss(features, actions, rewards, continues)
    values = twohot_mean(behaviour.critic(features)).detach()
    expected = lambda_returns(rewards, values, continues, torch.zeros(N, H + 1, dtype=torch.bool), 0.95)
    assert torch.equal(returns, expected)
