"""Freezing for a while: what rests has no gradient and no moments, and thaws at its step."""

import torch
from torch import nn

from agents.learning.freezing import Freezer
from agents.learning.optimizer import LaProp


def pair():
    """Two equal linear layers, an optimiser over both, and their gradients 1."""
    layers = {name: nn.Linear(2, 1, bias=False) for name in ("one", "two")}
    for layer in layers.values():
        nn.init.ones_(layer.weight)
    return layers, LaProp([p for layer in layers.values() for p in layer.parameters()], lr=0.1, clip=0.0)


def learn(layers, optimizer):
    optimizer.zero_grad(set_to_none=True)
    sum(layer(torch.ones(2)) for layer in layers.values()).backward()
    optimizer.step()


def test_a_thawed_component_begins_anew_and_the_others_go_on():
    # Under a constant gradient LaProp's corrected step is exactly lr: a layer falls by 0.1 an update.
    layers, optimizer = pair()
    freezer = Freezer()
    freezer.freeze("one", layers["one"], until=30)
    for env_step in (10, 20, 29, 30, 40):
        freezer.thaw(env_step)
        learn(layers, optimizer)
    assert torch.allclose(layers["one"].weight, torch.full((1, 2), 0.8))
    assert torch.allclose(layers["two"].weight, torch.full((1, 2), 0.5))
    steps = [float(optimizer.state[layer.weight]["step"]) for layer in layers.values()]
    assert steps == [2, 5]


def test_without_a_step_it_never_thaws():
    layers, optimizer = pair()
    freezer = Freezer()
    freezer.freeze("one", layers["one"], until=None)
    freezer.thaw(10**9)
    learn(layers, optimizer)
    assert torch.equal(layers["one"].weight, torch.ones(1, 2))
    assert layers["one"].weight not in optimizer.state


def test_what_never_learns_stays_so():
    layer = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False))
    freezer = Freezer()
    freezer.freeze("layer", layer, until=5)
    assert not any(p.requires_grad for p in layer.parameters())
    freezer.thaw(4)
    assert not any(p.requires_grad for p in layer.parameters())
    freezer.thaw(5)
    assert [p.requires_grad for p in layer.parameters()] == [True, True, False, False]


def test_state_says_what_rests():
    states, layers = [], pair()[0]
    for env_step in (0, 50):
        freezer = Freezer()
        freezer.freeze("one", layers["one"], until=10)
        freezer.freeze("two", layers["two"], until=None)
        freezer.thaw(env_step)
        states.append(freezer.state_dict())
        for layer in layers.values():
            layer.requires_grad_(True)
    assert states == [{"resting": ["one", "two"]}, {"resting": ["two"]}]
    freezer = Freezer()
    freezer.freeze("one", layers["one"], until=10)
    freezer.freeze("two", layers["two"], until=None)
    freezer.load_state_dict(states[1])
    assert (layers["one"].weight.requires_grad, layers["two"].weight.requires_grad) == (True, False)
