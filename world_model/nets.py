"""Layers shared by every network: initialisation, RMSNorm, block-diagonal layer, MLP."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

NORM_EPS = 1e-4


def init_truncated_(weight: Tensor, fan_in: int, scale: float = 1.0) -> Tensor:
    """Fill `weight` from a normal truncated at two deviations, variance `scale² / fan_in`.

    Source: DreamerV3's initialiser; 0.8796 is the deviation of the truncated unit normal.
    """
    if scale == 0.0:
        return nn.init.zeros_(weight)
    std = scale / math.sqrt(fan_in) / 0.87962566103423978
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Linear(nn.Linear):
    """`nn.Linear` with DreamerV3's initialisation; `fan_in` where the layer is a part of a wider one."""

    def __init__(
        self, inputs: int, outputs: int, bias: bool = True, scale: float = 1.0, fan_in: int | None = None
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        init_truncated_(self.weight, fan_in or inputs, scale)
        if bias:
            nn.init.zeros_(self.bias)


class RMSNorm(nn.Module):
    """Root mean square normalisation over the last axis (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (..., width)."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), NORM_EPS)


class ChannelNorm(RMSNorm):
    """The same over the channels of an image batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, C, h, w); free of copies when `x` is channels-last."""
        rows = super().forward(rearrange(x, "n c h w -> n h w c"))
        return rearrange(rows, "n h w c -> n c h w")


class BlockLinear(nn.Module):
    """Block-diagonal linear layer: `blocks` independent maps of `inputs / blocks` to `outputs / blocks`.

    Equal to a dense layer whose weight is zero off the blocks (DreamerV3 2024, recurrent core).
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, fan_in: int | None = None) -> None:
        super().__init__()
        if inputs % blocks or outputs % blocks:
            raise ValueError(f"{inputs} inputs and {outputs} outputs do not split into {blocks} blocks")
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs))
        init_truncated_(self.weight, fan_in or inputs // blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        split = rearrange(x, "n (g i) -> g n i", g=self.blocks)
        return rearrange(torch.bmm(split, self.weight), "g n o -> n (g o)") + self.bias


class MLP(nn.Sequential):
    """`layers` of Linear, RMSNorm, SiLU; with `outputs`, one more Linear scaled by `outscale`."""

    def __init__(
        self, inputs: int, units: int, layers: int, outputs: int | None = None, outscale: float = 1.0
    ) -> None:
        modules: list[nn.Module] = []
        for index in range(layers):
            modules += [Linear(inputs if index == 0 else units, units), RMSNorm(units), nn.SiLU()]
        if outputs is not None:
            modules.append(Linear(units if layers else inputs, outputs, scale=outscale))
        super().__init__(*modules)
