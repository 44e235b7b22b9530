"""Layers shared by every network: RMSNorm, initialisation, block-diagonal layer, MLP."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from world_model.onehot import Codes, coded_linear
from world_model.plain import plain_fp32
from world_model.unrolled import Unrollable

NORM_EPS = 1e-4
PIECE = 1 << 18
"""Elements over which elementwise passes go at once, so that the next pass finds them in the cache."""


def init_truncated_(weight: Tensor, fan_in: int, scale: float = 1.0) -> Tensor:
    """Fill `weight` from a normal truncated at two deviations, variance `scale² / fan_in`.

    Source: DreamerV3's initialiser; 0.8796 is the deviation of the truncated unit normal.
    """
    if scale == 0.0:
        return nn.init.zeros_(weight)
    std = scale / math.sqrt(fan_in) / 0.87962566103423978
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Linear(Unrollable, nn.Linear):
    """`nn.Linear` with DreamerV3's initialisation; `fan_in` where the layer is a part of a wider one."""

    def __init__(
        self, inputs: int, outputs: int, bias: bool = True, scale: float = 1.0, fan_in: int | None = None
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        init_truncated_(self.weight, fan_in or inputs, scale)
        if bias:
            nn.init.zeros_(self.bias)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return F.linear(x, weight, bias)

    def to_inputs(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """(N, outputs) -> (N, inputs)."""
        return gradient @ weight

    def to_weight(self, x: Tensor, gradient: Tensor) -> Tensor:
        """(N, inputs), (N, outputs) -> (outputs, inputs)."""
        return gradient.t() @ x

    def to_bias(self, gradient: Tensor) -> Tensor:
        """(N, outputs) -> (outputs,)."""
        return gradient.sum(0)


class RMSNorm(nn.Module):
    """Root mean square normalisation over the last axis (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (..., width)."""
        return rms_norm(x, self.weight)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Normalise the last axis of `x` (..., M, C) and multiply it by `weight`, (C,) or (..., C)."""
    weight = weight.to(x.dtype)
    if weight.ndim == 1:
        return F.rms_norm(x, weight.shape, weight, NORM_EPS)
    return F.rms_norm(x, x.shape[-1:], eps=NORM_EPS) * weight.unsqueeze(-2)


class _NormSiLURows(torch.autograd.Function):
    """RMSNorm, then SiLU, over the rows of a matrix (M, C), with the gradient written out.

    Few elementwise passes: on a CPU two thirds of the time of the composed form, a third when C is small and
    M large, and less memory. Equal to it up to rounding.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """X (..., M, C), weight (..., C) -> (..., M, C), and what the root mean squares divide by."""
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = square.div_(weight.shape[-1]).add_(NORM_EPS).rsqrt_()  # (..., M, 1)
        return F.silu((x * inverse).mul_(weight.unsqueeze(-2)), inplace=True), inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        """Keep what the gradient needs."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and weight."""
        x, weight, inverse = ctx.saved_tensors
        row = weight.unsqueeze(-2)
        rows = max(1, PIECE // weight.shape[-1])
        to_x, to_weight = torch.empty_like(x), torch.zeros_like(weight)
        pieces = (each.split(rows, -2) for each in (x, gradient.contiguous(), inverse, to_x))
        for part, arrived, scale, result in zip(*pieces, strict=True):
            normed = (part * scale).mul_(row)  # made again: keeping it would cost as much memory as x
            torch.ops.aten.silu_backward.grad_input(arrived, normed, grad_input=result)
            product = torch.mul(result, part, out=normed)
            to_weight += (product.mT @ scale).squeeze(-1)
            shrink = (product @ row.mT) * scale.pow(3) / weight.shape[-1]  # (..., M, 1)
            result.mul_(scale).mul_(row).addcmul_(part, shrink, value=-1)
        return to_x, to_weight

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], x: Tensor, weight: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Batched over seeds: both have one more leading axis."""
        x, weight = (
            each.expand(info.batch_size, *each.shape) if axis is None else each.movedim(axis, 0)
            for each, axis in zip((x, weight), in_dims, strict=True)
        )
        return _NormSiLURows.apply(x, weight), (0, 0)


def norm_silu(x: Tensor, weight: Tensor) -> Tensor:
    """`rms_norm`, then SiLU."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return _NormSiLURows.apply(x, weight)[0]
    return F.silu(rms_norm(x, weight))


class NormSiLU(nn.Module):
    """RMSNorm over the last axis, then SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x` (..., width)."""
        return norm_silu(x.reshape(-1, x.shape[-1]), self.norm.weight).reshape(x.shape)


class ChannelNormSiLU(NormSiLU):
    """The same over the channels of an image batch (N, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to `x` (N, C, h, w); free of copies when `x` is channels-last."""
        rows = super().forward(rearrange(x, "n c h w -> n h w c"))
        return rearrange(rows, "n h w c -> n c h w")


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; without gradient on a CPU by the sigmoid, within 3e-7 in a quarter of the time."""
    if plain_fp32(x) and not torch.is_grad_enabled():
        return (2 * x).sigmoid_().mul_(2).sub_(1)
    return torch.tanh(x)


class BlockLinear(Unrollable):
    """Block-diagonal linear layer: `blocks` independent maps of `inputs / blocks` to `outputs / blocks`.

    Equal to a dense layer whose weight is zero off the blocks (DreamerV3 2024, recurrent core). With `parts`,
    the outputs are so many vectors side by side, to each of which every block gives an equal share.
    """

    def __init__(
        self, inputs: int, outputs: int, blocks: int, fan_in: int | None = None, parts: int = 1
    ) -> None:
        super().__init__()
        if inputs % blocks or outputs % (blocks * parts):
            raise ValueError(f"{inputs} inputs and {outputs} outputs do not split into {blocks} blocks")
        self.blocks, self.parts = blocks, parts
        # (blocks, inputs / blocks, outputs / blocks)
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs))
        init_truncated_(self.weight, fan_in or inputs // blocks)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        assert bias is not None
        y = torch.bmm(self._split(x), weight).add_(bias.view(self.blocks, 1, -1))
        return rearrange(y, "g n (p o) -> n (p g o)", p=self.parts)

    def to_inputs(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """(N, outputs) -> (N, inputs)."""
        return rearrange(torch.bmm(self._split(gradient, self.parts), weight.mT), "g n i -> n (g i)")

    def to_weight(self, x: Tensor, gradient: Tensor) -> Tensor:
        """(N, inputs), (N, outputs) -> (blocks, inputs / blocks, outputs / blocks)."""
        return torch.bmm(self._split(x).mT, self._split(gradient, self.parts))

    def to_bias(self, gradient: Tensor) -> Tensor:
        """(N, outputs) -> (outputs,)."""
        return rearrange(gradient.sum(0), "(p g o) -> (g p o)", p=self.parts, g=self.blocks)

    def _split(self, x: Tensor, parts: int = 1) -> Tensor:
        return rearrange(x, "n (p g i) -> g n (p i)", g=self.blocks, p=parts)


class MLP(nn.Sequential):
    """`layers` of Linear, RMSNorm, SiLU; with `outputs`, one more Linear scaled by `outscale`."""

    def __init__(
        self, inputs: int, units: int, layers: int, outputs: int | None = None, outscale: float = 1.0
    ) -> None:
        modules: list[nn.Module] = []
        for index in range(layers):
            modules += [Linear(inputs if index == 0 else units, units), NormSiLU(units)]
        if outputs is not None:
            modules.append(Linear(units if layers else inputs, outputs, scale=outscale))
        super().__init__(*modules)

    def forward(self, x: Tensor, codes: Codes | None = None) -> Tensor:
        """Map `x` (..., inputs).

        With `codes`, x holds the dense columns alone, the codes stand for the others, and neither gets a
        gradient.
        """
        if codes is None:
            return super().forward(x)
        first, *others = self
        assert isinstance(first, Linear)
        x = coded_linear(x, codes, first.weight, first.bias)
        for module in others:
            x = module(x)
        return x
