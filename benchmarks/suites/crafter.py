"""Crafter against PyPI's package in one process, as `pip install crafter` leaves it: without numba."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.cases import Case

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
    """The package in an interpreter of its own, which makes one step for each line that it reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    to, back = process.stdin, process.stdout
    assert to is not None
    assert back is not None

    def step() -> None:
        print(file=to, flush=True)
        back.readline()

    return step


CASES = (
    Case("crafter, 4 in 2 workers", "crafter", plain, num_envs=4, workers=2, ratio=8.0, rate=1400.0),
    Case("crafter, 1 in this process", "crafter", plain),
)
