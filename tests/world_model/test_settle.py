"""Losses that are differentiated early, against one backward pass."""

import pytest
import torch

from world_model.settle import settle


def parts(frozen=False):
    """Features with a graph behind them, and a network with a part that is not used."""
    torch.manual_seed(0)
    source = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=not frozen)
    net = torch.nn.Linear(4, 2).double()
    unused = torch.nn.Parameter(torch.ones(2))
    return source, source * 2, net, [*net.parameters(), unused]


def losses(net):
    def compute(features, rows):
        out = net(features)
        return {"one": (out[..., 0] - rows["x"]).square(), "two": out[..., 1].tanh()}, {"sum": out.sum(-1)}

    return compute


@pytest.mark.parametrize("piece", [1, 6, 1000])  # one sequence, two with a shorter last piece, all
@pytest.mark.parametrize("frozen", [False, True])
def test_value_and_gradients(piece, frozen):
    source, features, net, parameters = parts(frozen)
    rows = {"x": torch.randn(5, 3, dtype=torch.float64)}
    inputs = [p for p in (source, *parameters) if p.requires_grad]
    expected, others = losses(net)(features, rows)
    total = expected["one"].mean() + expected["two"].mean()
    rest = 0 if frozen else features.square().sum()  # what the rest of the update makes of the features
    gradients = torch.autograd.grad(3 * total + rest, inputs, allow_unused=True)
    source, features, net, parameters = parts(frozen)
    inputs = [p for p in (source, *parameters) if p.requires_grad]
    found, by_name, kept = settle(losses(net), features, rows, parameters, piece)
    rest = 0 if frozen else features.square().sum()
    torch.testing.assert_close(found, total)
    torch.testing.assert_close(by_name, {k: v.detach() for k, v in expected.items()})
    torch.testing.assert_close(kept, {k: v.detach() for k, v in others.items()})
    again = torch.autograd.grad(3 * found + rest, inputs, allow_unused=True)
    assert again[-1] is None
    torch.testing.assert_close(again[:-1], gradients[:-1])


def test_a_frozen_network_stays_frozen():
    _, features, net, _ = parts()
    net.requires_grad_(False)
    found, *_ = settle(losses(net), features, {"x": torch.zeros(5, 3)}, list(net.parameters()))
    found.backward()
    assert all(p.grad is None for p in net.parameters())
