"""Actions that point at objects: which factor of a MultiDiscrete chooses among which observed objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces


class Pointing(spaces.MultiDiscrete):
    """A MultiDiscrete from 0, some of whose factors are the number of a row in a set of objects.

    Args:
        sizes: how many values each factor has.
        pointers: place of a factor -> name of the observed set, which has as many rows as the factor values.
    """

    def __init__(self, sizes: Sequence[int], pointers: Mapping[int, str]) -> None:
        super().__init__(list(sizes))
        self.pointers = dict(pointers)

    def __eq__(self, other: Any) -> bool:
        """Whether the other has the same factors and points at the same."""
        return super().__eq__(other) and self.pointers == getattr(other, "pointers", {})

    def __repr__(self) -> str:
        """Tell what is pointed at: `MultiDiscrete(3, 5 of objects)`."""
        names = [self.pointers.get(place) for place in range(len(self.nvec))]
        told = [f"{n} of {name}" if name else str(n) for n, name in zip(self.nvec, names, strict=True)]
        return f"MultiDiscrete({', '.join(told)})"
