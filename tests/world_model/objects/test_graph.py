"""Graphs of objects: by hand, by a loop, in any order and number, and blind to who is not there."""

import math

import pytest
import torch

from world_model.nets import NORM_EPS
from world_model.objects import Graph, place_codes
from world_model.objects.places import CODE

CODES = place_codes(5).double()
NONE = torch.zeros_like(CODES)


def silu(x):
    return x / (1 + math.exp(-x))


def normed(x):
    """RMSNorm of one number: its sign, but for epsilon."""
    return x / math.sqrt(x * x + NORM_EPS)


def made(inputs=3, width=4, rounds=2, outputs=5):
    torch.manual_seed(0)
    graph = Graph(inputs, width, rounds, outputs).double()
    for parameter in graph.parameters():
        parameter.data.normal_(std=0.5)
    return graph


def scene(count=5, batch=2):
    source = torch.Generator().manual_seed(1)
    return torch.randn(batch, count, 3, generator=source, dtype=torch.double)


def test_two_objects_by_hand():
    graph = Graph(1, 1, 1, 1).double()
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.fill_(0.0 if parameter.ndim == 1 else 1.0)
        for module in graph.modules():
            if hasattr(module, "weight") and module.weight.ndim == 1:
                module.weight.fill_(1.0)  # of the norms
    a, b = 2.0, -1.0
    found = graph(torch.tensor([[a], [b]]).double(), torch.zeros(2, CODE).double(), torch.ones(2).double())
    node_a, node_b = silu(normed(a)), silu(normed(b))
    edge = silu(normed(node_a + node_b))  # the same both ways, for both ends weigh 1
    after = [node + silu(normed(node + edge)) for node in (node_a, node_b)]
    assert found.item() == pytest.approx(silu(normed(sum(after))), rel=1e-9)


def by_loops(graph, objects, codes, exists):
    """The same from the definition, object by object and pair by pair."""

    def layer(mlp, x):
        x = mlp[0].weight @ x + mlp[0].bias
        return torch.nn.functional.silu(normal(mlp[1], x))

    def normal(norm, x):
        return x / (x.square().mean() + NORM_EPS).sqrt() * norm.weight

    there = [i for i in range(len(objects)) if exists[i]]
    nodes = {}
    for i in there:
        seen = graph.first.shared.weight @ objects[i] + graph.first.shared.bias
        seen = seen + graph.first.own.weight @ codes[i]
        nodes[i] = torch.nn.functional.silu(normal(graph.first.norm, seen))
    edges = {}
    for messages in graph.rounds:
        sent = {}
        for i in there:
            for j in there:
                if i != j:
                    seen = messages.sender.weight @ nodes[i] + messages.sender.bias
                    seen = seen + messages.receiver.weight @ nodes[j]
                    if edges:
                        seen = seen + messages.edge.weight @ edges[i, j]
                    sent[i, j] = torch.nn.functional.silu(normal(messages.norm, seen))
        edges, before = sent, nodes
        nodes = {}
        for j in there:
            arrived = sum((edges[i, j] for i in there if i != j), torch.zeros_like(before[j]))
            nodes[j] = before[j] + layer(messages.node, torch.cat([before[j], arrived]))
    bound = [node * (1 + graph.bound.weight @ codes[i]) for i, node in nodes.items()]
    total = sum(bound, torch.zeros(graph.whole[0].weight.shape[1], dtype=objects.dtype))
    return layer(graph.whole, total)


@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("exists", [[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
def test_as_loops_over_pairs_that_exist(rounds, exists):
    graph, objects = made(rounds=rounds), scene()
    exists = torch.tensor(exists).double()
    found = graph(objects, CODES, exists.expand(2, 5))
    for row, expected in zip(found, (by_loops(graph, x, CODES, exists) for x in objects), strict=True):
        torch.testing.assert_close(row, expected)


def test_order_does_not_matter():
    graph, objects = made(), scene()
    exists = torch.tensor([1, 0, 1, 1, 0]).double().expand(2, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    before = graph(objects, NONE, exists)
    torch.testing.assert_close(graph(objects[:, order], NONE, exists[:, order]), before)
    swapped = objects.clone()
    swapped[:, [0, 2], 0] = objects[:, [2, 0], 0]  # a part of two objects
    assert (graph(swapped, NONE, exists) - before).abs().max() > 1e-3


def test_order_does_not_matter_where_each_keeps_its_code():
    graph, objects = made(), scene()
    exists = torch.tensor([1, 0, 1, 1, 0]).double().expand(2, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    before = graph(objects, CODES, exists)
    torch.testing.assert_close(graph(objects[:, order], CODES[order], exists[:, order]), before)
    assert (graph(objects[:, order], CODES, exists[:, order]) - before).abs().max() > 1e-3


def test_weights_read_any_number_of_objects():
    graph, objects = made(), scene(3)
    more = torch.cat([objects, scene(4)], 1)
    exists = torch.tensor([1, 1, 1, 0, 0, 0, 0]).double().expand(2, 7)
    codes = place_codes(7).double()
    before = graph(more, codes, exists)
    torch.testing.assert_close(before, graph(objects, codes[:3], exists[:, :3]))
    assert (graph(more, codes, torch.ones_like(exists)) - before).abs().max() > 1e-3


def test_who_is_not_there_has_no_influence():
    graph, objects = made(), scene().requires_grad_()
    exists = torch.tensor([1, 0, 1, 1, 0]).double().expand(2, 5)
    graph(objects, CODES, exists).square().sum().backward()
    felt = objects.grad.abs().sum(-1) > 0
    assert felt.tolist() == [[True, False, True, True, False]] * 2
