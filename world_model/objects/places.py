"""Which row of a set an object stands in, as a code of one width for any number of rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.nets import MLP, Linear, RMSNorm

CODE = 16
"""Width Q of a code."""
SPREAD = 100.0
"""Longest wavelength over the shortest, which is 2 pi rows."""


def place_codes(count: int) -> Tensor:
    """Codes (count, Q) of the rows 0 to count - 1: sines, then cosines, of Q / 2 wavelengths.

    The position encoding of Vaswani et al. 2017 (arXiv 1706.03762, section 3.5), whose base is 10,000 for
    sentences. A row has the same code in every scene, however many rows follow.
    """
    speeds = SPREAD ** -(torch.arange(CODE // 2) / (CODE // 2))
    angles = torch.arange(count)[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], -1)


class PlacedMLP(nn.Module):
    """An MLP on [x, code] for the code of each place: one x to what stands in every row, for any number.

    The spatial broadcast decoder (Watters et al. 2019, arXiv 1901.07017), with rows for pixels. Codes weigh
    at the start as much as the whole of x.

    Args:
        inputs: width of x.
        units: of the hidden layers.
        layers: hidden layers, at least 1.
        outputs: of each place; None ends with the last hidden layer, as in an `MLP`.
    """

    def __init__(self, inputs: int, units: int, layers: int, outputs: int | None = None) -> None:
        super().__init__()
        # One layer on [x, code], written as two so that x is projected once.
        self.shared = Linear(inputs, units)
        self.own = Linear(CODE, units, bias=False)
        self.norm = RMSNorm(units)
        self.rest = MLP(units, units, layers - 1, outputs=outputs)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """`x` (..., inputs) and `codes` (n, Q) of places to (..., n, outputs)."""
        hidden = self.shared(x)[..., None, :] + self.own(codes)
        return self.rest(F.silu(self.norm(hidden)))
