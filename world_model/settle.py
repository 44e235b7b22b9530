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

Losses = Callable[[Tensor, Mapping[str, Tensor]], dict[str, Tensor]]
"""Features (B, T, F) and rows (B, T, ...) to losses (B, T) by name."""


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
    compute: Losses, features: Tensor, rows: Mapping[str, Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Differentiate losses now and free their graph.

    Args:
        compute: losses of each sequence, which depend on nothing else that learns than `features` of that
            sequence and `parameters`.
        features: (B, T, F).
        rows: (B, T, ...) by key.
        parameters: leaves; those that are frozen stay so.

    Returns:
        The sum of the losses' means, a scalar that can be differentiated once, and the losses (B, T) by name.
    """
    sequences = max(1, PIECE // features.shape[1]) if features.device.type == "cpu" else len(features)
    learning = [p for p in parameters if p.requires_grad]
    found: list[dict[str, Tensor]] = []
    to_features: list[Tensor] = []
    to_parameters: list[Tensor | None] = [None] * len(learning)
    for begin in range(0, len(features), sequences):
        part = slice(begin, begin + sequences)
        piece = features[part].detach().requires_grad_()
        losses = compute(piece, {key: value[part] for key, value in rows.items()})
        total = torch.stack([loss.sum() for loss in losses.values()]).sum() / features[..., 0].numel()
        with torch.autocast(total.device.type, enabled=False):
            gradients = torch.autograd.grad(total, [piece, *learning], allow_unused=True)
        to_features.append(gradients[0])
        to_parameters = [_added(*pair) for pair in zip(to_parameters, gradients[1:], strict=True)]
        found.append({name: loss.detach() for name, loss in losses.items()})
    whole = {name: torch.cat([losses[name] for losses in found]) for name in found[0]}
    total = torch.stack([loss.mean() for loss in whole.values()]).sum()
    settled = _Settled.apply(total, [torch.cat(to_features), *to_parameters], features, *learning)
    return settled, whole


def _added(total: Tensor | None, value: Tensor | None) -> Tensor | None:
    """Sum of gradients, of which None is zero; `total` is overwritten."""
    if total is None or value is None:
        return value if total is None else total
    return total.add_(value)
