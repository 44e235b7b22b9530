"""The one place where PyPI's crafter 1.8.3 and its noise are imported, which takes a second or so."""

import atexit
import shutil
import tempfile

import numba
from numba import njit

from envs.suites.imports import known_as


def _probe() -> None:
    """Be what a cache is asked for."""


try:
    from opensimplex import internals

    njit(cache=True)(_probe)
except RuntimeError:  # neither a package's folder nor the home can be written: compile anew in each process
    _cache = tempfile.mkdtemp(prefix="expedition-numba-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    numba.config.CACHE_DIR = _cache  # type: ignore[attr-defined]
    from opensimplex import internals

# The old gym is unmaintained and, where it is installed, only brings warnings; crafter runs without it.
with known_as({"gym": None}):
    import crafter
    from crafter import constants, engine, objects

__all__ = ["constants", "crafter", "engine", "internals", "objects"]
