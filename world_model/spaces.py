"""Which observations are images, vectors or symbols, and how wide an action is."""

from __future__ import annotations

from typing import NamedTuple

import gymnasium
import numpy as np

from expedition import UserError


class Observed(NamedTuple):
    """The entries of an observation by kind, in the order of the space."""

    images: dict[str, tuple[int, int, int]]
    """uint8 (h, w, c)."""
    vectors: dict[str, int]
    """float32 (d,)."""
    symbols: dict[str, tuple[int, ...]]
    """Whole numbers (n,): how many values each has, counted from 0."""


def split_observations(space: gymnasium.spaces.Dict) -> Observed:
    """Return what is observed by kind.

    Raises:
        UserError: an entry is no uint8 image, float32 vector or one-dimensional MultiDiscrete from 0, or an
            image's sides are no multiples of 16.
    """
    observed = Observed({}, {}, {})
    for key, entry in space.spaces.items():
        shape = entry.shape or ()
        if isinstance(entry, gymnasium.spaces.MultiDiscrete) and len(shape) == 1 and not entry.start.any():
            observed.symbols[key] = tuple(map(int, entry.nvec))
        elif entry.dtype == np.uint8 and len(shape) == 3:
            observed.images[key] = (shape[0], shape[1], shape[2])
        elif entry.dtype == np.float32 and len(shape) == 1:
            observed.vectors[key] = shape[0]
        else:
            raise UserError(
                f"Observation '{key}' is {entry}: give a uint8 image (h, w, c), a float32 vector (d,) or a "
                "one-dimensional MultiDiscrete from 0."
            )
    for key, (height, width, _) in observed.images.items():
        if height % 16 or width % 16:
            raise UserError(f"Image '{key}' is {height}x{width}: its sides must be multiples of 16.")
    return observed


def action_width(space: gymnasium.Space) -> int:
    """Width A of an action as the learner sees it: one-hot for `Discrete`, flat for `Box`."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise UserError(f"Actions of {space} are not supported: use Discrete or a one-dimensional Box.")
