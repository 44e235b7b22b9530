"""The one kind of space for observations in small integers."""

from typing import Any

import numpy as np
from gymnasium import spaces


def symbols(sizes: list[int]) -> spaces.MultiDiscrete[Any]:
    """Return the space of an entry of symbols: uint8 (len(sizes),), the i-th from 0 to sizes[i] - 1.

    Args:
        sizes: how many values each symbol has, 255 at most: the space keeps them in its dtype.
    """
    return spaces.MultiDiscrete(sizes, dtype=np.uint8)
