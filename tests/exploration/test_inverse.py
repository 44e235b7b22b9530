"""The inverse model against its equations."""

import gymnasium
import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from exploration.inverse import InverseModel

DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))


def make(space, outputs=4):
    torch.manual_seed(0)
    return InverseModel(5, space, 6, outputs)


@pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])
def test_loss_by_hand(space):
    module, rng = make(space), np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(2, 4, 4)).astype("f4"))
    actions = rng.uniform(-1, 1, (2, 4, 2)) if space is BOX else np.eye(3)[rng.integers(3, size=(2, 4))]
    is_first = torch.zeros(2, 4, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 2] = True
    found = module.loss(features, torch.tensor(actions).float(), is_first).detach().numpy()
    for b in range(2):
        for t in range(4):
            if t == 0 or (b, t) == (1, 2):
                assert found[b, t] == 0
                continue
            both = torch.cat([features[b, t - 1], features[b, t]])
            output = module.action(both).detach().numpy().astype(np.float64)
            if space is BOX:
                expected = ((output - actions[b, t]) ** 2).sum() / 2
            else:
                expected = -log_softmax(output)[actions[b, t].argmax()]
            assert found[b, t] == pytest.approx(expected, rel=1e-5)


def test_what_the_action_changes_is_found_and_chance_is_left_out():
    # one element counts the action, the other is noise of the same size: only the first moves the features
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = InverseModel(2, gymnasium.spaces.Discrete(2), 32, 2)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    is_first = torch.zeros(32, 6, dtype=torch.bool)
    for _ in range(200):
        taken = torch.randint(2, (32, 6), generator=generator)
        position = (2 * taken - 1).cumsum(1) / 3
        noise = torch.randn(32, 6, generator=generator)
        features = module(torch.stack([position, noise], -1))
        loss = module.loss(features, torch.nn.functional.one_hot(taken, 2).float(), is_first)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert loss[:, 1:].mean() < 0.1 * np.log(2)
    base = torch.randn(200, 2, generator=generator)
    moved = [(module(base + 0.5 * torch.eye(2)[i]) - module(base)).norm(dim=-1).mean() for i in (0, 1)]
    assert moved[0] > 2 * moved[1]
