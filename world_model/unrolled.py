"""Layers that a loop calls once for each row: the weight's gradient is one product over all calls.

Autograd would make a product for each call and add them up: of 16 rows each, these cost more than the rest of
the loop's backward pass. The gradient is the same up to the order of sums.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from world_model.plain import plain_fp32


class Calls(NamedTuple):
    """What is known of the calls of one layer in one loop."""

    start: Tensor
    """Empty; in the graph it stands between the weight and every call."""
    seen: list[tuple[Tensor, Tensor]]
    """Inputs (N, I) and gradients (N, O) of the calls that were differentiated."""


class Unrollable(nn.Module, abc.ABC):
    """A linear layer that a loop may call within `unrolled`; a child has `weight` and `bias`."""

    weight: Tensor
    bias: Any
    calls: Calls | None = None

    @abc.abstractmethod
    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Inputs (N, I) -> (N, O)."""

    @abc.abstractmethod
    def to_inputs(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Gradient of the outputs (N, O) -> of the inputs (N, I)."""

    @abc.abstractmethod
    def to_weight(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Inputs (N, I) and gradient of the outputs (N, O) -> gradient of the weight."""

    @abc.abstractmethod
    def to_bias(self, gradient: Tensor) -> Tensor:
        """Gradient of the outputs (N, O) -> gradient of the bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (N, I) to (N, O)."""
        if self.calls is None:
            return self.product(x, self.weight, self.bias)
        return _Call.apply(x, self.calls.start, self)


class _Start(torch.autograd.Function):
    """Where the gradients of all calls have arrived, and become those of weight and bias."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, layer: Unrollable, seen: list) -> Tensor:
        """Weight and bias -> nothing."""
        ctx.layer, ctx.seen = layer, seen
        return weight.new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weight and bias."""
        x, gradient = (torch.cat(each) for each in zip(*ctx.seen, strict=True))
        ctx.seen.clear()
        to_bias = ctx.layer.to_bias(gradient) if ctx.needs_input_grad[1] else None
        return ctx.layer.to_weight(x, gradient), to_bias, None, None


class _Call(torch.autograd.Function):
    """A layer called once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, layer: Unrollable) -> Tensor:
        """X (N, I) -> (N, O); `start` carries the gradient on."""
        assert layer.calls is not None
        ctx.save_for_backward(x, layer.weight)
        ctx.layer, ctx.seen = layer, layer.calls.seen
        return layer.product(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of x; what the weight's needs is noted."""
        x, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.seen.append((x, gradient))
        to_x = ctx.layer.to_inputs(gradient, weight) if ctx.needs_input_grad[0] else None
        return to_x, gradient.new_empty(0), None


@contextlib.contextmanager
def unrolled(modules: Iterable[nn.Module], like: Tensor) -> Iterator[None]:
    """Let the layers of `modules` sum their gradients at once, where that helps: on a CPU, in fp32.

    Each call maps a matrix (N, I). What follows must be differentiated as a whole.

    Args:
        modules: whose `Unrollable` layers the loop calls.
        like: a tensor of the loop, which tells device, dtype and whether many seeds go side by side.
    """
    layers = []
    if plain_fp32(like) and torch.is_grad_enabled():
        layers = [each for module in modules for each in module.modules() if isinstance(each, Unrollable)]
    for layer in layers:
        seen: list[tuple[Tensor, Tensor]] = []
        layer.calls = Calls(_Start.apply(layer.weight, layer.bias, layer, seen), seen)
    try:
        yield
    finally:
        for layer in layers:
            layer.calls = None
