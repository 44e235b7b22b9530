"""The inverse model against its equations."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from exploration import NetworkConfig, Sequences, Sizes
from exploration.rewards.inverse import InverseModel

DISCRETE, BOX = Sizes(0, 0, 5, 3, factors=(3,), units=6), Sizes(0, 0, 5, 2, factors=(), units=6)
FACTORED = Sizes(0, 0, 5, 5, factors=(3, 2), units=6)


def make(sizes, outputs=4):
    torch.manual_seed(0)
    return InverseModel(sizes, outputs, NetworkConfig())


@pytest.mark.parametrize("sizes", [DISCRETE, BOX], ids=["discrete", "box"])
def test_error_by_hand(sizes):
    module, rng = make(sizes), np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(2, 4, 4)).astype("f4"))
    actions = rng.uniform(-1, 1, (2, 4, 2)) if sizes is BOX else np.eye(3)[rng.integers(3, size=(2, 4))]
    found = module.error(features, Sequences.of(None, torch.tensor(actions).float())).detach().numpy()
    assert found.shape == (2, 3)
    for b in range(2):
        for t in range(1, 4):
            both = torch.cat([features[b, t - 1], features[b, t]])
            output = module.action(both).detach().numpy().astype(np.float64)
            if sizes is BOX:
                expected = ((output - actions[b, t]) ** 2).sum() / 2
            else:
                expected = -log_softmax(output)[actions[b, t].argmax()]
            assert found[b, t - 1] == pytest.approx(expected, rel=1e-5)


def test_error_of_factors_is_the_sum_of_their_cross_entropies():
    module, rng = make(FACTORED), np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(1, 2, 4)).astype("f4"))
    actions = torch.tensor([[[0.0, 0, 0, 0, 0], [0, 1, 0, 1, 0]]])  # 1 of three, 0 of two
    found = module.error(features, Sequences.of(None, actions)).item()
    output = module.action(features.flatten()).detach().numpy().astype(np.float64)
    assert found == pytest.approx(-log_softmax(output[:3])[1] - log_softmax(output[3:])[0], rel=1e-5)


def test_what_the_action_changes_is_found_and_chance_is_left_out():
    # one element counts the action, the other is noise of the same size: only the first moves the features
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = InverseModel(Sizes(0, 0, 2, 2, factors=(2,), units=32), 2, NetworkConfig())
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(200):
        taken = torch.randint(2, (32, 6), generator=generator)
        position = (2 * taken - 1).cumsum(1) / 3
        noise = torch.randn(32, 6, generator=generator)
        features = module(torch.stack([position, noise], -1))
        loss = module.error(features, Sequences.of(None, torch.nn.functional.one_hot(taken, 2).float()))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert loss.mean() < 0.1 * np.log(2)
    base = torch.randn(200, 2, generator=generator)
    moved = [(module(base + 0.5 * torch.eye(2)[i]) - module(base)).norm(dim=-1).mean() for i in (0, 1)]
    assert moved[0] > 2 * moved[1]
