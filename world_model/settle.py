"""Losses that are differentiated before the rest of the update begins, so that their graph can go.

An update then never holds the activations of the decoder beside those of imagination. The gradient is the
same up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

PIECE = 256
"""Rows that are differentiated at once on a CPU, where larger pieces are no faster."""

Found = dict[str, Tensor]
Compute = Callable[[Tensor, Mapping[str, Tensor]], tuple[Found, Found]]
"""Features (B, T, F) and rows (B, T, ...) to losses by name, and to what else is wanted, each (B, ...)."""


class _Settled(torch.autograd.Function):
    """A scalar that knows its gradients."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *inputs: Tensor) -> Tensor:
        """Loss, without gradient -> the same, with the gradient of each input."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The known gradients times that of the scalar; used once, so the memory is taken over."""
        gradients, ctx.gradients = ctx.gradients, ()
        return None, None, *(None if known is None else known.mul_(gradient) for known in gradients)


def settle(
    compute: Compute,
    features: Tensor,
    rows: Mapping[str, Tensor],
    parameters: Sequence[Tensor],
    at_once: int = PIECE,
) -> tuple[Tensor, Found, Found]:
    """Differentiate losses now and free their graph.

    Args:
        compute: losses of each sequence, which depend on nothing else that learns than `features` of that
            sequence and `parameters`.
        features: (B, T, F).
        rows: (B, T, ...) by key.
        parameters: leaves; those that are frozen stay so.
        at_once: rows of a piece on a CPU.

    Returns:
        The sum of the losses' means, a scalar that can be differentiated once; the losses and what else
        `compute` returns, (B, ...) by name, without gradient.
    """
    sequences = max(1, at_once // features.shape[1]) if features.device.type == "cpu" else len(features)
    learning = [p for p in parameters if p.requires_grad]
    gradients: list[Tensor | None] = [None] * len(learning)
    to_features: list[Tensor] = []
    found: list[tuple[Found, Found]] = []
    for begin in range(0, len(features), sequences):
        part = slice(begin, begin + sequences)
        piece = features[part].detach().requires_grad_(features.requires_grad)
        losses, others = compute(piece, {key: value[part] for key, value in rows.items()})
        share = len(piece) / len(features)
        total = share * torch.stack([loss.mean() for loss in losses.values()]).sum()
        inputs = [piece, *learning] if piece.requires_grad else learning
        new = list(_gradients(total, inputs))
        if piece.requires_grad:
            first = new.pop(0)
            to_features.append(torch.zeros_like(piece) if first is None else first)
        gradients = [_added(*pair) for pair in zip(gradients, new, strict=True)]
        found.append((losses, others))
    losses, others = (_joined([pair[i] for pair in found]) for i in (0, 1))
    total = torch.stack([loss.mean() for loss in losses.values()]).sum()
    leaves, known = list(learning), gradients
    if to_features:
        leaves, known = [features, *learning], [torch.cat(to_features), *gradients]
    return _Settled.apply(total, known, *leaves), losses, others


def _gradients(total: Tensor, inputs: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Gradients of a scalar, of which None is zero."""
    if not total.requires_grad:  # all is frozen
        return [None] * len(inputs)
    with torch.autocast(total.device.type, enabled=False):
        return torch.autograd.grad(total, inputs, allow_unused=True)


def _joined(pieces: Sequence[Found]) -> Found:
    """Put pieces together, without gradient."""
    return {name: torch.cat([piece[name].detach() for piece in pieces]) for name in pieces[0]}


def _added(total: Tensor | None, value: Tensor | None) -> Tensor | None:
    """Sum of gradients, of which None is zero; `total` is overwritten."""
    if total is None or value is None:
        return value if total is None else total
    return total.add_(value)
