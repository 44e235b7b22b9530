"""Linear layers over features whose last columns are one-hot: rows of the weight are summed, not multiplied.

A stochastic state of S variables picks S of S * C rows, so a matrix product does C times the work that is
needed. On a CPU summing takes a sixth of its time, and a third for the weight's gradient; a GPU is better
served by the product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from world_model.distributions import flatten_stoch
from world_model.plain import plain_cpu, plain_fp32

ROWS_AT_ONCE = 1024
"""Rows of features that `by_pieces` hands on at once."""


class Codes(NamedTuple):
    """Which classes are set in a state of S variables.

    `numbers` (..., S), int64: class c of variable s is 1 + s * C + c, a variable that is zero is 0.
    `width`: S * C.
    """

    numbers: Tensor
    width: int

    @staticmethod
    def stack(codes: Sequence[Codes | None], axis: int) -> Codes | None:
        """Put codes of equal shape side by side along a new axis; None where one is missing."""
        known = [each for each in codes if each is not None]
        if len(known) < len(codes):
            return None
        return Codes(torch.stack([each.numbers for each in known], axis), known[0].width)

    @classmethod
    def of(cls, stoch: Tensor) -> Codes | None:
        """Codes of `stoch` (..., S, C), one-hot or zero.

        Returns:
            None where the matrix product is the better: on a GPU, in another precision than fp32, compiled,
            or for many seeds at once.
        """
        if not plain_fp32(stoch):
            return None
        variables, classes = stoch.shape[-2:]
        width = variables * classes
        columns = torch.arange(1, width + 1, dtype=stoch.dtype).view(variables, classes, 1)
        # (..., S * C) @ (S * C, S): sums of one whole number and zeros, so exact
        return cls((flatten_stoch(stoch.detach()) @ torch.block_diag(*columns)).long(), width)


class _CodedLinear(torch.autograd.Function):
    """`F.linear` of dense columns and of one-hot columns that are given by codes; no gradient for either."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """X (M, D), codes (M, S) of the other columns, weight (outputs, inputs), bias (outputs,)."""
        ctx.save_for_backward(x, codes)
        ctx.coded = weight.shape[1] - x.shape[1]
        dense = x.shape[1]
        coded = weight[:, dense:].contiguous()  # a whole matrix is transposed four times faster
        rows = F.pad(coded.t(), (0, 0, 1, 0))  # row 0 stands for a variable that is zero
        summed = F.embedding_bag(codes, rows, mode="sum").add_(bias)
        return summed.addmm_(x, weight[:, :dense].t()) if dense else summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, Tensor]:
        """Gradients of weight and bias."""
        x, codes = ctx.saved_tensors
        dense = x.shape[1]
        to_weight = gradient.new_empty(gradient.shape[1], dense + ctx.coded)
        to_weight[:, dense:] = _summed_by_class(gradient, codes, ctx.coded).t()
        if dense:
            to_weight[:, :dense] = gradient.t() @ x
        return None, None, to_weight, gradient.sum(0)


def by_pieces(
    function: Callable[[Tensor, Codes | None], Tensor], features: Tensor, codes: Codes | None
) -> Tensor:
    """`function` of features (..., F), or of dense ones (..., D) and codes (..., S), in pieces on a CPU.

    What one layer writes, the next then finds in the cache. Elsewhere it is called once.
    """
    if not plain_cpu(features):
        return function(features, codes)
    flat = features.flatten(0, -2)
    numbers = None if codes is None else codes.numbers.flatten(0, -2).split(ROWS_AT_ONCE)
    found = []
    for index, piece in enumerate(flat.split(ROWS_AT_ONCE)):
        part = None if codes is None or numbers is None else Codes(numbers[index], codes.width)
        found.append(function(piece, part))
    return torch.cat(found).unflatten(0, features.shape[:-1])


def _summed_by_class(rows: Tensor, codes: Tensor, classes: int) -> Tensor:
    """Sum of those `rows` (M, O) in which a class is set, for every class: (classes, O)."""
    flat = codes.flatten()
    small = torch.int16 if classes < 2**15 else torch.int32  # sorted several times faster than int64
    holders = flat.to(small).argsort() // codes.shape[1]
    counts = flat.bincount(minlength=classes + 1)
    return F.embedding_bag(holders, rows, counts.cumsum(0) - counts, mode="sum")[1:]


def coded_linear(x: Tensor, codes: Codes, weight: Tensor, bias: Tensor) -> Tensor:
    """Equal to `F.linear` up to rounding, without gradient for the inputs.

    Args:
        x: dense columns of the inputs, which come first, (..., D).
        codes: of the one-hot columns, which follow, (..., S).
        weight: (outputs, inputs).
        bias: (outputs,).
    """
    flat = _CodedLinear.apply(x.flatten(0, -2), codes.numbers.flatten(0, -2), weight, bias)
    return flat.unflatten(0, x.shape[:-1])
