"""Latent disagreement against its equations, written in numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from exploration import Disagreement, DisagreementConfig, Sizes
from exploration.rewards import disagreement
from exploration.rewards.disagreement import ensemble_variance
from world_model import Latent

DETER, STOCH, CLASSES, EMBEDDING, ACTIONS, UNITS = 6, 2, 3, 5, 4, 8
FEATURES = DETER + STOCH * CLASSES
SIZES = Sizes(FEATURES, STOCH * CLASSES, EMBEDDING, ACTIONS, factors=(ACTIONS,), units=UNITS)


def make(target="stoch", networks=4, layers=2, seed=0, units=UNITS):
    torch.manual_seed(seed)
    config = DisagreementConfig(networks=networks, layers=layers, target=target, units=units)
    return Disagreement(SIZES, config)


def rows(batch=3, time=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    deter = torch.randn(batch, time, DETER, generator=generator)
    index = torch.randint(CLASSES, (batch, time, STOCH), generator=generator)
    actions = F.one_hot(torch.randint(ACTIONS, (batch, time), generator=generator), ACTIONS).float()
    embeddings = torch.randn(batch, time, EMBEDDING, generator=generator)
    return Latent(deter, F.one_hot(index, CLASSES).float()), actions, embeddings


def numpy_predictions(module, features, action):
    """Every network's prediction (K, outputs) for one row, layer by layer."""
    ensemble = module.ensemble
    outputs = []
    for k in range(len(ensemble.biases[0])):
        x = np.concatenate([features, action])
        for layer in range(len(ensemble.norms)):
            x = (
                x @ ensemble.weights[layer][k].detach().numpy()
                + ensemble.biases[layer][k, 0].detach().numpy()
            )
            x = x / np.sqrt((x**2).mean() + 1e-4) * ensemble.norms[layer][k, 0].detach().numpy()
            x = x / (1 + np.exp(-x))
        outputs.append(
            x @ ensemble.weights[-1][k].detach().numpy() + ensemble.biases[-1][k, 0].detach().numpy()
        )
    return np.stack(outputs)


@pytest.fixture(params=["stoch", "embedding"])
def target(request):
    return request.param


class TestReward:
    def test_against_numpy_and_aligned(self, target):
        module = make(target)
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.3 * torch.randn(p.shape))
        latents, actions, _ = rows()
        found = module.reward(latents, actions).numpy()
        features = latents.features.numpy()
        assert (found[:, 0] == 0).all()
        for b in range(3):
            for t in range(1, 5):
                # row t is paid for where the action of row t led from row t - 1
                predictions = numpy_predictions(module, features[b, t - 1], actions[b, t].numpy())
                assert found[b, t] == pytest.approx(predictions.var(0).mean(), rel=1e-4)

    def test_reads_no_later_row(self):
        module = make()
        latents, actions, _ = rows()
        before = module.reward(latents, actions)
        changed = Latent(latents.deter.clone(), latents.stoch)
        changed.deter[:, 3] += 1
        after = module.reward(changed, actions)
        assert torch.equal(before[:, :4], after[:, :4])
        assert (before[:, 4] != after[:, 4]).all()

    def test_actions_beyond_one_count_as_one(self):
        module, (latents, actions, _) = make(), rows()
        torch.testing.assert_close(module.reward(latents, 7 * actions), module.reward(latents, actions))

    def test_variance_over_networks(self):
        predictions = torch.randn(7, 60, 1, generator=torch.Generator().manual_seed(0)) + 100
        expected = predictions.double().numpy().var(0)
        np.testing.assert_allclose(ensemble_variance(predictions).numpy(), expected[:, 0], rtol=1e-3)
        found = ensemble_variance(predictions.view(7, 20, 3)).numpy()
        np.testing.assert_allclose(found, expected.reshape(20, 3).mean(-1), rtol=1e-3)

    def test_equal_networks_agree(self):
        module, (latents, actions, _) = make(networks=3), rows()
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(p[:1].expand_as(p).clone())
        assert module.reward(latents, actions).abs().max() < 1e-12

    def test_no_gradient(self):
        latents, actions, _ = rows()
        assert not make().reward(Latent(latents.deter.requires_grad_(), latents.stoch), actions).requires_grad


class TestLoss:
    def test_against_numpy(self, target):
        module, (latents, actions, embeddings) = make(target), rows()
        is_first = torch.zeros(3, 5, dtype=torch.bool)
        is_first[0, 0] = is_first[1, 2] = is_first[2, 4] = True
        loss = module.loss(latents, {"action": actions, "is_first": is_first}, embeddings)
        found = loss["disagreement"].detach().numpy()
        features = latents.features.numpy()
        truth = embeddings.numpy() if target == "embedding" else latents.stoch.flatten(2).numpy()
        for b in range(3):
            for t in range(5):
                if t == 0 or is_first[b, t]:
                    assert found[b, t] == 0
                    continue
                predictions = numpy_predictions(module, features[b, t - 1], actions[b, t].numpy())
                expected = ((predictions - truth[b, t]) ** 2).mean(-1).sum(0)
                assert found[b, t] == pytest.approx(expected, rel=1e-4)

    def test_first_rows_teach_nothing(self):
        module, (latents, actions, embeddings) = make(), rows()
        batch = {"action": actions, "is_first": torch.ones(3, 5, dtype=torch.bool)}
        module.loss(latents, batch, embeddings)["disagreement"].sum().backward()
        assert all((p.grad == 0).all() for p in module.parameters())

    def test_networks_learn_apart(self):
        # the gradient of one network does not depend on the others
        module, (latents, actions, embeddings) = make(), rows()
        batch = {"action": actions, "is_first": torch.zeros(3, 5, dtype=torch.bool)}

        def first_gradient():
            module.zero_grad()
            module.loss(latents, batch, embeddings)["disagreement"].sum().backward()
            return module.ensemble.weights[0].grad[0].clone()

        before = first_gradient()
        with torch.no_grad():
            module.ensemble.weights[1][1:] += 1
        torch.testing.assert_close(first_gradient(), before)

    def test_nothing_flows_into_the_target(self):
        module, (latents, actions, embeddings) = make("embedding"), rows()
        embeddings.requires_grad_()
        batch = {"action": actions, "is_first": torch.zeros(3, 5, dtype=torch.bool)}
        module.loss(latents, batch, embeddings)["disagreement"].sum().backward()
        assert embeddings.grad is None


def test_reward_falls_where_it_learned_and_stays_elsewhere():
    module, (latents, actions, embeddings) = make(networks=6, units=64), rows(8, 6)
    # a region that is never trained on: far from the first, with one action that is not seen there
    strange = Latent(latents.deter + 4, latents.stoch.roll(1, -1))
    batch = {"action": actions, "is_first": torch.zeros(8, 6, dtype=torch.bool)}
    known, unknown = module.reward(latents, actions).mean(), module.reward(strange, actions).mean()
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(150):
        loss = module.loss(latents, batch, embeddings)["disagreement"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert module.reward(latents, actions).mean() < 0.05 * known
    assert module.reward(strange, actions).mean() > 0.1 * unknown
    assert module.reward(strange, actions).mean() > 5 * module.reward(latents, actions).mean()


@pytest.mark.parametrize("count", [1, 5, 100])
def test_how_many_rows_are_rewarded_at_once_changes_nothing(monkeypatch, count):
    module, (latents, actions, _) = make(), rows()
    whole = module.reward(latents, actions)
    monkeypatch.setattr(disagreement, "ROWS", count)
    torch.testing.assert_close(module.reward(latents, actions), whole)
