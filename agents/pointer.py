"""An actor some of whose factors point at objects, with the same weights for any number of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from world_model.nets import MLP, Linear
from world_model.objects import PlacedMLP, place_codes

OUTSCALE = 0.01
"""Of the last layers: an actor begins all but uniform (DreamerV3)."""


class Pointer(nn.Module):
    """Scores each object by u_j = v . f([q, object j]) (Vinyals et al. 2015, arXiv 1506.03134, eq. 3).

    An actor sees latents alone, imagined ones among them. Its objects are what it makes out in them for each
    row by the row's code, as the decoder does; so a model-free agent, which has none, points in the same way.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.objects = PlacedMLP(units, units, 2)
        self.score = Linear(units, 1, bias=False, scale=OUTSCALE)  # one for all would change no choice

    def forward(self, asked: Tensor, codes: Tensor) -> Tensor:
        """Logits (..., n) of the rows with `codes` (n, Q), from what is asked for, (..., units)."""
        return self.score(self.objects(asked, codes)).squeeze(-1)


class PointerActor(nn.Module):
    """Logits of a MultiDiscrete: a pointer's where a factor chooses an object, a dense layer's elsewhere.

    Factors are independent given the features. Bapst, Sanchez-Gonzalez et al. 2019 (arXiv 1904.03177) score
    pairs of objects, the edges of their graph: more can be said of a pair than of its two ends apart.

    Args:
        features: width F.
        units: of the hidden layers.
        layers: hidden layers before those that are each object's own.
        factors: how many values each factor has.
        pointed: which of them choose an object.
    """

    codes: Tensor

    def __init__(
        self, features: int, units: int, layers: int, factors: Sequence[int], pointed: Sequence[bool]
    ) -> None:
        super().__init__()
        self.factors, self.pointed = tuple(factors), tuple(pointed)
        self.register_buffer("codes", place_codes(max(factors)), persistent=False)  # (n, Q)
        self.trunk = MLP(features, units, layers)
        self.heads = nn.ModuleList(
            Pointer(units) if points else Linear(units, n, scale=OUTSCALE)
            for n, points in zip(factors, pointed, strict=True)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., A) for `features` (..., F)."""
        asked = self.trunk(features)
        each = zip(self.heads, self.factors, self.pointed, strict=True)
        return torch.cat(
            [head(asked, self.codes[:n]) if points else head(asked) for head, n, points in each], -1
        )
