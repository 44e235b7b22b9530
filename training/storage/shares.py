"""Which sequences of a replay are drawn, where parts of it have shares of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Stretch(NamedTuple):
    """Rows of every environment from number `start` to before number `end`, and how often they are drawn."""

    start: int
    end: int
    share: float
    """In proportion to those of the other stretches."""

    def starts(self, first: int, length: int) -> int:
        """How many sequences of `length` rows begin in each environment, of rows from number `first` on."""
        return max(0, self.end - max(self.start, first) - length + 1)


def draw_places(
    stretches: Sequence[Stretch],
    first: int,
    num_envs: int,
    batch: int,
    length: int,
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Draw where sequences begin: their stretch by the shares, then uniformly within it.

    Args:
        stretches: no sequence crosses from one into another; one too short to hold any counts for nothing.
        first: number of the oldest row that is held.
        num_envs: environments side by side.
        batch: sequences to draw.
        length: rows in each.
        rng: draws the stretches, where there are several, and then one integer for each sequence.

    Returns:
        Pairs of environment and number of the first row.
    """
    starts = np.array([stretch.starts(first, length) for stretch in stretches])
    drawn = np.zeros(batch, np.int64)
    if len(stretches) > 1:
        shares = np.array([stretch.share for stretch in stretches]) * (starts > 0)
        drawn = rng.choice(len(stretches), size=batch, p=shares / shares.sum())
    draws = rng.integers(num_envs * starts[drawn])
    begins = np.array([max(stretch.start, first) for stretch in stretches])[drawn]
    envs, offsets = np.divmod(draws, starts[drawn])
    return [(int(env), int(start)) for env, start in zip(envs, begins + offsets, strict=True)]
