"""Does what an environment shows fit the space that it declared? Asked of every row, so it is cheap."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.failures import Misfit

Fit = Callable[[Any], Any]
"""From what an environment shows to the same as it fits its space; raises `Misfit`."""


def entry(observation: Any, name: str | int) -> Any:
    """Return one entry of a Dict or Tuple observation."""
    try:
        return observation[name]
    except (KeyError, TypeError, IndexError):
        kind = "" if isinstance(observation, Mapping) else f" (it is a {type(observation).__name__})"
        raise Misfit(f"the observation has no entry '{name}'{kind}; show what its space says.") from None


def fit(space: spaces.Space[Any], name: str) -> Fit:
    """Return what checks an observation against its space.

    Numbers may come in any dtype that says the same: integers within their bounds, and floats in a Box of
    floats. Bounds of floats are not looked at here (`check-env` does), for many environments overstep them.

    Args:
        space: what was declared: a Box, Discrete, MultiDiscrete or MultiBinary.
        name: how messages call the observation.
    """
    if isinstance(space, spaces.Box):
        return BoxFit(space, name)
    if isinstance(space, spaces.MultiBinary):
        lowest, highest = np.zeros(space.shape, np.int64), np.ones(space.shape, np.int64)
    else:
        assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        values = space.n if isinstance(space, spaces.Discrete) else space.nvec
        lowest = np.asarray(space.start, np.int64)
        highest = lowest + np.asarray(values, np.int64) - 1
    return BoxFit(spaces.Box(lowest, highest, dtype=np.int64), name)


def row_fit(space: spaces.Space[Any], name: str) -> Fit:
    """Return what checks the entry of a row: as `fit`, and every number of a vector must be finite."""
    if isinstance(space, spaces.Box) and space.dtype == np.float32:
        return FiniteFit(space, name)
    return fit(space, name)


class BoxFit:
    """Takes what should lie in a Box.

    Args:
        box: what was declared.
        name: how messages call the observation.
    """

    def __init__(self, box: spaces.Box, name: str) -> None:
        self._box, self._name = box, name
        self._shape, self._dtype = box.shape, box.dtype
        self._whole = box.dtype.kind in "iub"
        lowest, highest = (0, 255) if box.dtype == np.uint8 else (-np.inf, np.inf)
        self._anything = bool((box.low == lowest).all() and (box.high == highest).all())

    def __call__(self, value: Any) -> np.ndarray:
        """Return `value` as an array of the box's shape and kind; floats may be of another width."""
        array = value if type(value) is np.ndarray else np.asarray(value)
        if array.shape != self._shape:
            raise self._misfit(f"has the shape {array.shape}", f"the shape {self._shape}")
        if array.dtype == self._dtype:
            if self._whole and not self._anything:
                self._in_range(array)
        elif array.dtype.kind not in ("iub" if self._whole else "fiub"):
            raise self._misfit(f"holds {array.dtype}", str(self._dtype))
        elif self._whole:
            self._in_range(array)
        return array

    def _in_range(self, array: np.ndarray) -> None:
        outside = (array < self._box.low) | (array > self._box.high)
        if outside.any():
            bounds = f"{self._box.low.min()} to {self._box.high.max()}"
            raise self._misfit(f"holds {array[outside].flat[0]}", f"whole numbers from {bounds}")

    def _misfit(self, shown: str, declared: str) -> Misfit:
        return Misfit(
            f"the observation '{self._name}' {shown} where its space says {declared}; show what the space "
            "says, or declare another."
        )


class FiniteFit(BoxFit):
    """Takes the float32 vector or objects of a row, in which every number must be finite."""

    def __init__(self, box: spaces.Box, name: str) -> None:
        super().__init__(box, name)
        self._zeros = np.zeros(box.shape, np.float32).reshape(-1)

    def __call__(self, value: Any) -> np.ndarray:
        """Return `value` as a finite float32 vector."""
        array = value
        if type(value) is not np.ndarray or value.dtype != np.float32 or value.shape != self._shape:
            array = super().__call__(value).astype(np.float32, copy=False)
        # One call instead of two: zero times nan or infinity is nan, times all else zero.
        if math.isfinite(array.reshape(-1).dot(self._zeros)):
            return array
        array = array.reshape(-1)
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise Misfit(f"the observation '{self._name}' is {array[at]} at {at}; show finite numbers.")
