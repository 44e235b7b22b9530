"""Layers whose weight's gradient is one product over a loop, against autograd's sum over its calls."""

import pytest
import torch

from world_model.nets import MLP, BlockLinear, Linear
from world_model.unrolled import unrolled

LAYERS = {
    "linear": lambda: Linear(6, 6),
    "without bias": lambda: Linear(6, 6, bias=False),
    "blocks": lambda: BlockLinear(6, 6, 3),
    "parts": lambda: BlockLinear(6, 6, 3, parts=2),
    "mlp": lambda: MLP(6, 5, 2, outputs=6),
}


def run(layer, x, at_once):
    """Gradients of a loop of four calls, each reading the one before."""
    x = x.clone().requires_grad_()
    total, state = torch.zeros(()), x
    layers = [layer] if at_once else []
    with unrolled(layers, x):
        for _ in range(4):
            state = layer(state).tanh()
            total = total + state.square().sum()
    return total, torch.autograd.grad(total, [x, *layer.parameters()])


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_equals_autograd(make):
    torch.manual_seed(0)
    layer = make()
    x = torch.randn(5, 6)
    found, expected = run(layer, x, True), run(layer, x, False)
    torch.testing.assert_close(found, expected)
    assert all(gradient.abs().max() > 0 for gradient in found[1])


def test_products_are_made_once():
    layer, calls = Linear(6, 6), []
    layer.to_weight = lambda x, gradient: calls.append(len(x)) or gradient.t() @ x
    run(layer, torch.randn(5, 6), True)
    assert calls == [20]
    run(layer, torch.randn(5, 6), False)
    assert calls == [20]


def test_a_frozen_layer_passes_the_gradient_on():
    layer = Linear(6, 6).requires_grad_(False)
    x = torch.randn(5, 6, requires_grad=True)
    with unrolled([layer], x):
        y = layer(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, 6))
    assert layer.weight.grad is None


def test_a_failing_loop_leaves_plain_layers():
    layer = Linear(6, 6)
    with pytest.raises(RuntimeError, match="stop"), unrolled([layer], torch.ones(1)):
        raise RuntimeError("stop")
    assert layer.calls is None


@pytest.mark.parametrize("like", [torch.ones(1).double(), torch.ones(1, device="meta")])
def test_elsewhere_layers_stay_plain(like):
    layer = Linear(6, 6)
    with unrolled([layer], like):
        assert layer.calls is None
    with unrolled([layer], torch.ones(1)), torch.no_grad():
        assert layer.calls is not None
    with torch.no_grad(), unrolled([layer], torch.ones(1)):
        assert layer.calls is None
