"""Upstream's Crafter with its chunks in a fixed order and its drawing sped up; nothing else differs.

Importing this module imports `crafter` (a second or so), so `envs.suites.crafter` does it only when one is
made. What is replaced here draws the same pixels from the same random numbers as PyPI's crafter 1.8.3; a test
compares them.
"""

import atexit
import collections
import shutil
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from numba import njit

from envs.suites.imports import known_as


def _probe() -> None:
    """Be what a cache is asked for."""


try:
    from opensimplex.internals import _noise3

    njit(cache=True)(_probe)
except RuntimeError:  # neither a package's folder nor the home can be written: compile anew in each process
    _cache = tempfile.mkdtemp(prefix="expedition-numba-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    numba.config.CACHE_DIR = _cache  # type: ignore[attr-defined]
    from opensimplex.internals import _noise3

# The old gym is unmaintained and, where it is installed, only brings warnings; crafter runs without it.
with known_as({"gym": None}):
    import crafter
    from crafter import engine, worldgen


@njit(cache=True)
def _noise_of_cells(
    width: int, height: int, size: float, z: float, table: np.ndarray, gradients: np.ndarray
) -> np.ndarray:
    """Simplex noise of every cell, (width, height): the same calls that upstream makes one by one."""
    noise = np.empty((width, height))
    for x in range(width):
        for y in range(height):
            noise[x, y] = _noise3(x / size, y / size, z, table, gradients)
    return noise


class CellNoise:
    """Stands in for `worldgen._simplex` while one world is made: whole maps of noise, looked up by cell."""

    def __init__(self, area: tuple[int, int]) -> None:
        self._area = area
        self._maps: dict[tuple[Any, ...], list[list[float]]] = {}
        self._one_by_one = worldgen._simplex

    def __call__(self, simplex: Any, x: float, y: float, z: int, sizes: Any, normalize: bool = True) -> float:
        """Return upstream's number for the cell (x, y); between cells, as upstream does."""
        if type(x) is not int or type(y) is not int:
            return self._one_by_one(simplex, x, y, z, sizes, normalize)
        key = (z, sizes if type(sizes) is int else None)
        try:
            return self._maps[key][x][y]
        except KeyError:
            self._maps[key] = self._map(simplex, z, sizes, normalize)
        return self._maps[key][x][y]

    def _map(self, simplex: Any, z: int, sizes: Any, normalize: bool) -> list[list[float]]:
        """Sum the octaves in upstream's order."""
        octaves = sizes if isinstance(sizes, dict) else {sizes: 1}
        total = np.zeros(self._area)
        for size, weight in octaves.items():
            total += weight * _noise_of_cells(*self._area, size, z, simplex._perm, simplex._perm_grad_index3)
        return (total / sum(octaves.values()) if normalize else total).tolist()


@contextmanager
def cell_noise(area: tuple[int, int]) -> Iterator[None]:
    """Make worlds of `area` with `CellNoise` inside; upstream is as it was afterwards."""
    before = worldgen._simplex
    worldgen._simplex = CellNoise(area)
    try:
        yield
    finally:
        worldgen._simplex = before


class OrderedSet(dict):
    """A set that is iterated in the order of insertion, with what Crafter's world asks of a set."""

    def add(self, item: Hashable) -> None:
        """Put `item` last unless it is there already."""
        self[item] = None

    def remove(self, item: Hashable) -> None:
        """Take `item` out; KeyError if it is not there."""
        del self[item]


class OrderedWorld(engine.World):
    """The world, whose chunks iterate in one order in every process (upstream's go by memory address)."""

    def reset(self, seed: int | None = None) -> None:
        """Empty the world and seed its generator."""
        super().reset(seed)
        self._chunks: dict[Any, OrderedSet] = collections.defaultdict(OrderedSet)


class FastLocalView(engine.LocalView):
    """The same map picture, drawn by one lookup in an atlas of tiles instead of a loop over cells."""

    def __init__(self, world: engine.World, textures: engine.Textures, grid: np.ndarray) -> None:
        super().__init__(world, textures, grid)
        self._atlases: dict[tuple[int, ...], np.ndarray] = {}
        self._sprites: dict[tuple[Any, ...], np.ndarray] = {}
        self._vignettes: dict[tuple[Any, ...], np.ndarray] = {}

    def __call__(self, player: Any, unit: np.ndarray) -> np.ndarray:
        """Return the picture around the player, (grid x * unit, grid y * unit, 3)."""
        size = (int(unit[0]), int(unit[1]))
        low = np.asarray(player.pos) - self._offset
        tiles = self._atlas(size)[self._window(self._world._mat_map, low, -1)]  # (gx, gy, ux, uy, 3)
        objects = self._window(self._world._obj_map, low, 0)
        for x, y in zip(*np.nonzero(objects), strict=True):
            texture = self._world._objects[objects[x, y]].texture
            material = int(self._world._mat_map[low[0] + x, low[1] + y])
            tiles[x, y] = self._sprite(texture, material, size)
        canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(*(self._grid * unit), 3)
        canvas = self._light(canvas, self._world.daylight)
        return self._sleep(canvas) if player.sleeping else canvas

    def _window(self, cells: np.ndarray, low: np.ndarray, outside: int) -> np.ndarray:
        """Cut the visible (gx, gy) cells from a map; `outside` stands where the world has ended."""
        window = np.full(self._grid, outside, np.int64)
        start, stop = np.maximum(low, 0), np.minimum(low + self._grid, self._area)
        (x0, y0), (x1, y1) = start - low, stop - low
        window[x0:x1, y0:y1] = cells[start[0] : stop[0], start[1] : stop[1]]
        return window

    def _atlas(self, size: tuple[int, int]) -> np.ndarray:
        """Return every material's tile in the order of its number, and the grey of beyond as the last."""
        if size not in self._atlases:
            names = [self._world._mat_names[number] for number in range(len(self._world._mat_names))]
            tiles = [self._textures.get(name, size)[..., :3] for name in names]
            self._atlases[size] = np.stack([*tiles, np.full((*size, 3), 127, np.uint8)])
        return self._atlases[size]

    def _sprite(self, texture: str, material: int, size: tuple[int, int]) -> np.ndarray:
        """Return an object's tile blended over the material it stands on."""
        key = (texture, material, size)
        if key not in self._sprites:
            tile = self._atlas(size)[material].copy()
            engine._draw_alpha(tile, (0, 0), self._textures.get(texture, size))
            self._sprites[key] = tile
        return self._sprites[key]

    def _vignette(self, shape: tuple[int, ...], stddev: float) -> np.ndarray:
        """Keep each vignette for good: upstream's cache of ten is shared by all environments of a process."""
        key = (*shape, stddev)
        if key not in self._vignettes:
            self._vignettes[key] = engine.LocalView._vignette.__wrapped__(self, shape, stddev)
        return self._vignettes[key]


class CachedItemView(engine.ItemView):
    """The same picture of the inventory, drawn again only when the inventory has changed."""

    _last: tuple[Any, np.ndarray] | None = None

    def __call__(self, inventory: Mapping[str, int], unit: np.ndarray) -> np.ndarray:
        """Return the picture of the inventory, (grid x * unit, grid y * unit, 3)."""
        key = (*inventory.values(), *unit)
        if self._last is None or self._last[0] != key:
            self._last = (key, super().__call__(inventory, unit))
        return self._last[1]


def _no_semantic_view() -> None:
    """Stand in for a map of the whole world that upstream draws at every step and we do not expose."""


def upstream(image_size: int, length: int) -> crafter.Env:
    """Return upstream, mended, with pictures of (image_size, image_size, 3) and `length` steps."""
    env = crafter.Env(size=(image_size, image_size), length=length, seed=0)
    env._world.__class__ = OrderedWorld
    env._local_view = FastLocalView(env._world, env._textures, env._local_view._grid)
    env._item_view = CachedItemView(env._textures, env._item_view._grid)
    env._sem_view = _no_semantic_view
    return env
