"""Upstream's Procgen with a seed for each episode; importing this module imports `procgen`.

Upstream plays level after level by itself and takes a seed only when it is made. Making its game anew inside
one object costs half a millisecond and, unlike making the object anew, leaks no memory.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from envs.suites.imports import known_as

_GYM = ("gym", "gym.envs", "gym.envs.registration")


@contextmanager
def _clean_import() -> Iterator[None]:
    """Give the import of upstream something to register its ids with, and undo what it does to `sys.path`.

    The old gym is unmaintained; Procgen asks it for `register` alone.
    """
    path = list(sys.path)
    stubs = {name: ModuleType(name) for name in _GYM}
    vars(stubs[_GYM[-1]])["register"] = lambda **_: None
    try:
        with known_as(stubs), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # upstream leaves a file open
            yield
    finally:
        sys.path[:] = path  # procgen-mirror adds its builder's home


with _clean_import():
    from procgen import ProcgenGym3Env


class Native(ProcgenGym3Env):
    """One game of upstream's, which can begin again from a seed and is read without copies of everything."""

    _c_env: Any

    def __init__(self, game: str, *, mode: str, num_levels: int, start_level: int) -> None:
        """Load the game; the first one of a process loads all pictures, which takes 2 seconds."""
        super().__init__(
            1,
            game,
            distribution_mode=mode,
            num_levels=num_levels,
            start_level=start_level,
            rand_seed=0,
            num_threads=0,
            render_mode="rgb_array",  # drawn by `large_picture` only
        )

    def begin(self, seed: int) -> None:
        """Begin the first episode of upstream's `rand_seed=seed`."""
        options, alive = self._convert_options(self._ffi, self._c_lib, self._options | {"rand_seed": seed})
        self._c_lib.libenv_close(self._c_env)
        self._c_env = self._c_lib.libenv_make(self.num, options[0])
        self._options_keepalives = alive  # what `options` points to
        self._c_lib.libenv_set_buffers(self._c_env, self._c_buffers)

    def play(self, action: int) -> tuple[float, bool]:
        """Act once; return the reward and whether upstream has gone on to its next level."""
        self._ac["action"][0] = action
        self._c_lib.libenv_act(self._c_env)
        return float(self._rew[0]), bool(self._first[0])

    def picture(self) -> np.ndarray:
        """Return what is seen, (64, 64, 3) uint8."""
        return self._ob["rgb"][0].copy()

    def large_picture(self) -> np.ndarray:
        """Draw what is seen, (512, 512, 3) uint8."""
        self._c_lib.libenv_observe(self._c_env)
        return self._info["rgb"][0].copy()

    def told(self, name: str) -> Any:
        """Return an entry of upstream's info."""
        return self._info[name][0].item()
