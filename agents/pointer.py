"""An actor some of whose factors point at objects, with the same weights for any number of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from world_model.nets import MLP, Linear
from world_model.objects import PlacedMLP, place_codes

OUTSCALE = 0.01
"""Of the last layers: an actor begins all but uniform (DreamerV3)."""


def paired(pointed: Sequence[str | None]) -> tuple[int, int] | None:
    """Return the places of the two factors, where there are just two, that point at one set."""
    for name in pointed:
        places = [place for place, other in enumerate(pointed) if name is not None and other == name]
        if len(places) == 2:
            return places[0], places[1]
    return None


def dots(left: Tensor, right: Tensor) -> Tensor:
    """Products (..., n, m) of rows (..., n, d) and (..., m, d), over sqrt(d) (Vaswani et al. 2017, eq. 1)."""
    return left @ right.transpose(-1, -2) / math.sqrt(left.shape[-1])


class Pointer(nn.Module):
    """Scores each object by u_j = v . f([q, object j]) (Vinyals et al. 2015, arXiv 1506.03134, eq. 3).

    An actor sees latents alone, imagined ones among them. Its objects are what it makes out in them for each
    row by the row's code, as the decoder does; so a model-free agent, which has none, points in the same way.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.objects = PlacedMLP(units, units, 2)
        self.query = Linear(units, units, scale=OUTSCALE)

    def forward(self, asked: Tensor, codes: Tensor) -> Tensor:
        """Logits (..., n) of the rows with `codes` (n, Q), from what is asked for, (..., units)."""
        objects = self.objects(asked[..., None, :], codes)  # (..., n, units)
        return dots(objects, self.query(asked)[..., None, :]).squeeze(-1)


class EdgePointer(nn.Module):
    """Scores each pair of objects, an edge of their graph: u_ij = v . o_i + w . o_j + (K o_i) . (L o_j).

    The agents of Bapst, Sanchez-Gonzalez et al. 2019 (arXiv 1904.03177, section 4) choose an edge of a scene:
    which block, and on which object. The product of keys and queries is attention's (Vaswani et al. 2017,
    arXiv 1706.03762, eq. 1), and costs the width of an edge nothing.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.objects = PlacedMLP(units, units, 2)
        self.first = Linear(units, units, scale=OUTSCALE)
        self.second = Linear(units, units, scale=OUTSCALE)
        self.both = Linear(units, units, bias=False, scale=OUTSCALE)

    def forward(self, asked: Tensor, codes: Tensor) -> Tensor:
        """Logits (..., n * n), by the first object and the second."""
        objects = self.objects(asked[..., None, :], codes)  # (..., n, units)
        first, second = (dots(objects, ask(asked)[..., None, :]) for ask in (self.first, self.second))
        return (first + second.transpose(-1, -2) + dots(objects, self.both(objects))).flatten(-2)


class PointerActor(nn.Module):
    """Logits of a MultiDiscrete: a pointer's where a factor chooses an object, a dense layer's elsewhere.

    Two factors that point at one set choose an edge together; all else is independent given the features.

    Args:
        features: width F.
        units: of the hidden layers.
        layers: hidden layers before those that are each object's own.
        factors: how many values each factor has.
        pointed: the set of objects that each of them chooses from, or None.
    """

    codes: Tensor

    def __init__(
        self,
        features: int,
        units: int,
        layers: int,
        factors: Sequence[int],
        pointed: Sequence[str | None],
    ) -> None:
        super().__init__()
        self.register_buffer("codes", place_codes(max(factors)), persistent=False)  # (n, Q)
        self.trunk = MLP(features, units, layers)
        pair = paired(pointed)
        apart = [
            (n, at) for i, (n, at) in enumerate(zip(factors, pointed, strict=True)) if i not in (pair or ())
        ]
        self.heads = nn.ModuleList(
            Pointer(units) if at else Linear(units, n, scale=OUTSCALE) for n, at in apart
        )
        self.rows = [n if at else 0 for n, at in apart]
        """Of the set that a head points at; 0 for a dense layer."""
        if pair is not None:
            self.heads.append(EdgePointer(units))
            self.rows.append(factors[pair[0]])

    def forward(self, features: Tensor) -> Tensor:
        """Logits (..., W) for `features` (..., F): of the factors in a row, then of a pair's pairs."""
        asked = self.trunk(features)
        each = zip(self.heads, self.rows, strict=True)
        return torch.cat([head(asked, self.codes[:n]) if n else head(asked) for head, n in each], -1)
