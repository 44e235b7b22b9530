"""Which row of a set an object stands in, as a code of one width for any number of rows."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.nets import MLP, Linear, RMSNorm

CODE = 32
"""Width Q of a code."""
GOLDEN = (math.sqrt(5) - 1) / 2


def place_codes(count: int) -> Tensor:
    """Codes (count, Q) of the rows 0 to count - 1: sines, then cosines, of the row at Q / 2 speeds.

    The position encoding of Vaswani et al. 2017 (arXiv 1706.03762, section 3.5) at other speeds: multiples of
    the golden ratio, which spread them evenly between 0 and pi a row. Neighbours in a set need not be alike,
    so rows are nearly orthogonal where they are few, and no two have one code. A row has the same code in
    every scene, however many rows follow.
    """
    speeds = math.pi * ((torch.arange(CODE // 2) + 1) * GOLDEN % 1)
    angles = torch.arange(count)[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], -1)


class PlacedMLP(nn.Module):
    """An MLP on [x, code of a place], whose first layer hears both alike, however wide each is.

    On one x beside every code it is the spatial broadcast decoder (Watters et al. 2019, arXiv 1901.07017),
    with rows for pixels: the same weights fill any number of rows.

    Args:
        inputs: width of x.
        units: of the hidden layers.
        layers: hidden layers, at least 1.
        outputs: of each place; None ends with the last hidden layer, as in an `MLP`.
    """

    def __init__(self, inputs: int, units: int, layers: int, outputs: int | None = None) -> None:
        super().__init__()
        self.shared = Linear(inputs, units)
        self.own = Linear(CODE, units, bias=False)
        self.norm = RMSNorm(units)
        self.rest = MLP(units, units, layers - 1, outputs=outputs)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """`x` (..., n, inputs), or (..., 1, inputs) for all, and `codes` (n, Q) to (..., n, outputs)."""
        return self.rest(F.silu(self.norm(self.shared(x) + self.own(codes))))
