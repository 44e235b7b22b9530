"""Which observations are images, vectors, symbols or sets of objects, and how the learner sees actions."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from expedition import UserError
from expedition.pointing import Pointing

MASK = "_mask"
"""Ends the name of the entry that tells which objects of a set exist."""


class Objects(NamedTuple):
    """A set of objects: `rows` of `width` numbers, and the entry that tells which exist, if not all do."""

    rows: int
    width: int
    mask: str | None


class Observed(NamedTuple):
    """The entries of an observation by kind, in the order of the space."""

    images: dict[str, tuple[int, int, int]]
    """uint8 (h, w, c)."""
    vectors: dict[str, int]
    """float32 (d,)."""
    symbols: dict[str, tuple[int, ...]]
    """Whole numbers (n,): how many values each has, counted from 0."""
    objects: dict[str, Objects]
    """float32 (n, d), one row an object. Their masks, n symbols of two values, are not among the symbols."""


def split_observations(space: gymnasium.spaces.Dict) -> Observed:
    """Return what is observed by kind.

    Raises:
        UserError: an entry is no uint8 image, float32 vector or set of objects, or one-dimensional
            MultiDiscrete from 0, or an image's sides are no multiples of 16.
    """
    observed = Observed({}, {}, {}, {})
    for key, entry in space.spaces.items():
        shape = entry.shape or ()
        if isinstance(entry, gymnasium.spaces.MultiDiscrete) and len(shape) == 1 and not entry.start.any():
            observed.symbols[key] = tuple(map(int, entry.nvec))
        elif entry.dtype == np.uint8 and len(shape) == 3:
            observed.images[key] = (shape[0], shape[1], shape[2])
        elif entry.dtype == np.float32 and len(shape) == 1:
            observed.vectors[key] = shape[0]
        elif entry.dtype == np.float32 and len(shape) == 2:
            observed.objects[key] = Objects(shape[0], shape[1], None)
        else:
            raise UserError(
                f"Observation '{key}' is {entry}: give a uint8 image (h, w, c), a float32 vector (d,) or "
                "set of objects (n, d), or a one-dimensional MultiDiscrete from 0."
            )
    for key, objects in observed.objects.items():
        if observed.symbols.get(key + MASK) == (2,) * objects.rows:
            del observed.symbols[key + MASK]
            observed.objects[key] = objects._replace(mask=key + MASK)
    for key, (height, width, _) in observed.images.items():
        if height % 16 or width % 16:
            raise UserError(f"Image '{key}' is {height}x{width}: its sides must be multiples of 16.")
    return observed


def action_width(space: gymnasium.Space) -> int:
    """Width A of an action as the learner sees it: the one-hots of its factors in a row, flat for `Box`."""
    factors = action_factors(space)
    return sum(factors) if factors else int(np.prod(space.shape or ()))


def action_factors(space: gymnasium.Space) -> tuple[int, ...]:
    """How many values each factor of an action has: `Discrete` is the case of one, and a `Box` has none.

    Raises:
        UserError: actions of this kind are not supported.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, gymnasium.spaces.MultiDiscrete) and len(space.shape) == 1 and not space.start.any():
        return tuple(map(int, space.nvec))
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return ()
    raise UserError(
        f"Actions of {space} are not supported: use Discrete, a one-dimensional MultiDiscrete from 0, or a "
        "one-dimensional Box."
    )


def action_pointers(space: gymnasium.Space) -> tuple[str | None, ...]:
    """At which set of objects each factor of an action points; None where it points at none."""
    pointers = space.pointers if isinstance(space, Pointing) else {}
    return tuple(pointers.get(place) for place in range(len(action_factors(space))))


def to_env_actions(actions: np.ndarray, space: gymnasium.Space) -> np.ndarray:
    """Learner's actions (N, A) to the environment's.

    These are numbers (N,) for `Discrete`, (N, n) for the n factors of `MultiDiscrete`; the same for `Box`.
    """
    factors = action_factors(space)
    if not factors:
        return actions
    numbers = [part.argmax(-1) for part in np.split(actions, np.cumsum(factors)[:-1], -1)]
    return numbers[0] if isinstance(space, gymnasium.spaces.Discrete) else np.stack(numbers, -1)


def to_learner_actions(actions: Any, space: gymnasium.Space) -> np.ndarray:
    """Inverse of `to_env_actions`: actions (N, ...) of the environment to float32 (N, A).

    Raises:
        ValueError: a number is not one of its factor's.
    """
    factors = action_factors(space)
    if not factors:
        return np.asarray(actions, np.float32)
    numbers = np.asarray(actions).reshape(-1, len(factors))
    if ((numbers < 0) | (numbers >= factors)).any():
        raise ValueError(f"an action is not one of {space}")
    parts = [np.eye(n, dtype=np.float32)[k] for n, k in zip(factors, numbers.T, strict=True)]
    return np.concatenate(parts, -1)
