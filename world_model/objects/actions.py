"""Actions that point at an object, read so that the same weights serve scenes of any number of objects."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import torch
from torch import Tensor, nn

from expedition import UserError
from world_model.objects.places import CODE, place_codes
from world_model.sizes import WorldModelConfig
from world_model.spaces import action_factors, action_pointers


def pointed_factors(space: gymnasium.Space, config: WorldModelConfig) -> tuple[str | None, ...]:
    """Return at which set each factor of an action points; at none where sets are not read as graphs.

    Raises:
        UserError: it points at objects whose rows the graph does not tell.
    """
    pointers = action_pointers(space)
    if config.objects.kind != "graph":
        return (None,) * len(pointers)
    if any(pointers) and not config.objects.numbered:
        raise UserError(
            "Actions point at the rows of objects, which a graph without agent.model.objects.numbered cannot "
            "tell apart: leave that true, or choose an environment whose actions point at nothing."
        )
    return pointers


class PointedActions(nn.Module):
    """Puts the code of the row that is pointed at in the place of a factor's one-hot.

    Args:
        factors: how many values each factor has.
        pointed: the set whose rows each of them numbers, or None.
    """

    codes: Tensor

    def __init__(self, factors: Sequence[int], pointed: Sequence[str | None]) -> None:
        super().__init__()
        self.factors, self.pointed = tuple(factors), tuple(pointed)
        self.width = sum(CODE if p else n for n, p in zip(factors, pointed, strict=True))
        self.register_buffer("codes", place_codes(max(factors)), persistent=False)  # (n, Q)

    def forward(self, actions: Tensor) -> Tensor:
        """One-hots in a row (..., A) to (..., width)."""
        parts = zip(actions.split(self.factors, -1), self.pointed, strict=True)
        return torch.cat([x @ self.codes[: x.shape[-1]] if p else x for x, p in parts], -1)


def pointed_actions(space: gymnasium.Space, config: WorldModelConfig) -> PointedActions | None:
    """Return what reads the actions of `space`; None where they are read as they are."""
    pointed = pointed_factors(space, config)
    return PointedActions(action_factors(space), pointed) if any(pointed) else None
