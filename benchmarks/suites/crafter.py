"""Crafter against PyPI's package in one process, as `pip install crafter` leaves it: without numba."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import Case, elsewhere

_PLAIN = """
import sys
sys.modules["numba"] = None  # not among the package's requirements
sys.modules["gym"] = None
import crafter
import numpy as np

env, rng = crafter.Env(seed=0), np.random.default_rng(0)
env.reset()
for _ in sys.stdin:
    if env.step(rng.integers(17))[2]:
        env.reset()
    print(flush=True)
"""


def plain() -> Callable[[], None]:
    """The package in an interpreter of its own."""
    return elsewhere(_PLAIN)


CASES = (
    Case("crafter, 4 in 2 workers", "crafter", plain, num_envs=4, workers=2, ratio=8.0, rate=1400.0),
    Case("crafter, 1 in this process", "crafter", plain),
)
