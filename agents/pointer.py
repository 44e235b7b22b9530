"""An actor some of whose factors point at objects, with the same weights for any number of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from world_model.nets import MLP, Linear
from world_model.objects import PlacedMLP, place_codes

OUTSCALE = 0.01
"""Of the last layers: an actor begins all but uniform (DreamerV3)."""


class PointerActor(nn.Module):
    """Logits of a MultiDiscrete from features: of each object where a factor points, else as a dense layer's.

    A pointer network (Vinyals et al. 2015, arXiv 1506.03134, eq. 3) that scores objects in the place of the
    words of a sentence: u_j = v . f([q, object j]), with q what the features ask for. An actor sees latents
    alone, imagined ones among them, so its objects are what it makes out in the features for each row by that
    row's code, as the decoder does; a model-free agent, which has no decoder, points in the same way.

    Factors are independent given the features. Bapst, Sanchez-Gonzalez et al. 2019 (arXiv 1904.03177) score
    pairs of objects, the edges of their graph: a pair is more than its two ends where several are good.

    Args:
        features: width F.
        units: of the hidden layers.
        layers: hidden layers before those that are each object's own.
        factors: how many values each factor has.
        pointed: which of them point.
    """

    codes: Tensor

    def __init__(
        self, features: int, units: int, layers: int, factors: Sequence[int], pointed: Sequence[bool]
    ) -> None:
        super().__init__()
        self.factors, self.pointed = tuple(factors), tuple(pointed)
        self.register_buffer("codes", place_codes(max(factors)), persistent=False)  # (n, Q)
        self.trunk = MLP(features, units, layers)
        self.heads = nn.ModuleList()
        for n, points in zip(factors, pointed, strict=True):
            head = PlacedMLP(units, units, 2, 1, OUTSCALE) if points else Linear(units, n, scale=OUTSCALE)
            self.heads.append(head)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., A) for `features` (..., F)."""
        asked = self.trunk(features)
        parts = []
        for head, n, pointed in zip(self.heads, self.factors, self.pointed, strict=True):
            parts.append(head(asked, self.codes[:n]).squeeze(-1) if pointed else head(asked))
        return torch.cat(parts, -1)
