"""Linear layers over features whose last columns are one-hot: rows of the weight are summed, not multiplied.

A stochastic state of S variables picks S of S * C rows, so a matrix product does C times the work that is
needed. On a CPU summing takes a sixth of its time; a GPU is better served by the product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from world_model.distributions import flatten_stoch


class Codes(NamedTuple):
    """Which classes are set in a state of S variables.

    `numbers` (..., S), int64: class c of variable s is 1 + s * C + c, a variable that is zero is 0.
    `width`: S * C.
    """

    numbers: Tensor
    width: int

    @classmethod
    def of(cls, stoch: Tensor) -> Codes | None:
        """Codes of `stoch` (..., S, C), one-hot or zero.

        Returns:
            None where the matrix product is the better: on a GPU, in another precision than fp32, compiled,
            or for many seeds at once.
        """
        plain = stoch.device.type == "cpu" and stoch.dtype == torch.float32
        if not plain or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return None
        if torch._C._functorch.is_batchedtensor(stoch):
            return None
        variables, classes = stoch.shape[-2:]
        width = variables * classes
        columns = torch.arange(1, width + 1, dtype=stoch.dtype).view(variables, classes, 1)
        # (..., S * C) @ (S * C, S): sums of one whole number and zeros, so exact
        return cls((flatten_stoch(stoch.detach()) @ torch.block_diag(*columns)).long(), width)


class _CodedLinear(torch.autograd.Function):
    """`F.linear` of x, whose last columns are given by codes; no gradient for x."""

    @staticmethod
    def forward(x: Tensor, codes: Tensor, weight: Tensor, bias: Tensor, coded: int) -> Tensor:
        """X (M, inputs), codes (M, S) of `coded` last columns, weight (outputs, inputs), bias (outputs,)."""
        plain = x.shape[1] - coded
        rows = F.pad(weight[:, plain:].t(), (0, 0, 1, 0))  # row 0 stands for a variable that is zero
        summed = F.embedding_bag(codes, rows, mode="sum").add_(bias)
        return summed.addmm_(x[:, :plain], weight[:, :plain].t()) if plain else summed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep x."""
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, Tensor, None]:
        """Gradients of weight and bias, where the product is the faster form."""
        (x,) = ctx.saved_tensors
        return None, None, gradient.t() @ x, gradient.sum(0), None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        codes: Tensor,
        weight: Tensor,
        bias: Tensor,
        _: int,
    ) -> tuple[Tensor, int]:
        """Many weights side by side: the product."""
        dims = (in_dims[0], in_dims[2], in_dims[3])
        return torch.vmap(F.linear, in_dims=dims)(x, weight, bias), 0


def coded_linear(x: Tensor, codes: Codes, weight: Tensor, bias: Tensor) -> Tensor:
    """Equal to `F.linear(x, weight, bias)` up to rounding, without gradient for `x`.

    Args:
        x: (..., inputs); its last columns are the flattened state.
        codes: of that state.
        weight: (outputs, inputs).
        bias: (outputs,).
    """
    flat = _CodedLinear.apply(x.flatten(0, -2), codes.numbers.flatten(0, -2), weight, bias, codes.width)
    return flat.unflatten(0, x.shape[:-1])
