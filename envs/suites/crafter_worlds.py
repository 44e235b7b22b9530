"""Crafter's worlds as upstream's `worldgen` makes them, number by number, compiled.

Upstream asks for noise and luck cell by cell, in Python. Here the noise that every cell needs is made as
whole maps, and one compiled scan decides the cells in upstream's order with upstream's random numbers; a test
compares worlds, creatures and the generator afterwards.
"""

from typing import Any

import numpy as np
from numba import njit

from envs.suites.crafter_upstream import internals, objects

_noise3, GRADIENTS3 = internals._noise3, internals.GRADIENTS3
WATER, GRASS, STONE, PATH, SAND, TREE, LAVA, COAL, IRON, DIAMOND = range(1, 11)  # upstream's numbers
COW, ZOMBIE, SKELETON = range(3)
_MOST_DRAWS = 6  # of a cell: three for what it is made of, three for who lives there
_NUM_GRADIENTS = len(GRADIENTS3) // 3


def generate_world(world: Any, player: Any) -> None:
    """Fill an empty world, the player in it, as upstream's `worldgen.generate_world` does.

    Args:
        world: a `crafter.engine.World`; its random numbers are taken as upstream takes them.
        player: the `crafter.objects.Player`, already added.
    """
    tables = permutations(world.random.randint(0, 2**31 - 1))
    state = world.random.get_state()
    luck = world.random.random_sample(_MOST_DRAWS * world._mat_map.size)
    distance = _distance(world.area, player.pos)
    kinds, draws = _scan(world._mat_map, distance, *_landscape(distance, *tables), luck, *tables)
    world.random.set_state(state)
    world.random.random_sample(draws)
    for x, y, kind in kinds:
        if kind == COW:
            world.add(objects.Cow(world, (x, y)))
        elif kind == ZOMBIE:
            world.add(objects.Zombie(world, (x, y), player))
        else:
            world.add(objects.Skeleton(world, (x, y), player))


@njit(cache=True)
def permutations(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tables of `opensimplex.OpenSimplex(seed)`: int64 (256,) each."""
    table, gradients = np.zeros(256, np.int64), np.zeros(256, np.int64)
    source = np.arange(256)
    for _ in range(3):
        seed = seed * 6364136223846793005 + 1442695040888963407  # wraps around, as opensimplex's does
    for i in range(255, -1, -1):
        seed = seed * 6364136223846793005 + 1442695040888963407
        r = (seed % (i + 1) + 31) % (i + 1)
        table[i] = source[r]
        gradients[i] = table[i] % _NUM_GRADIENTS * 3
        source[r] = source[i]
    return table, gradients


def _distance(area: tuple[int, int], centre: np.ndarray) -> np.ndarray:
    """Return every cell's distance to `centre`, (width, height)."""
    x, y = np.arange(area[0])[:, None], np.arange(area[1])
    return np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2)


def _landscape(
    distance: np.ndarray, table: np.ndarray, gradients: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how much each cell belongs to the start, to water and to the mountains, (width, height) each."""

    def noise(z: int, size: int) -> np.ndarray:
        return _noise_of_cells(distance.shape[0], distance.shape[1], size, z, table, gradients)

    start = 4 - distance
    start += 2 * noise(8, 3)
    start = 1 / (1 + np.exp(-start))
    water = noise(3, 15) + 0.15 * noise(3, 5) + 0.1
    water -= 2 * start
    mountain = (noise(0, 15) + 0.3 * noise(0, 5)) / 1.3
    mountain -= 4 * start + 0.3 * water
    return start, water, mountain


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


@njit(cache=True)
def _scan(
    cells: np.ndarray,
    distance: np.ndarray,
    start: np.ndarray,
    water: np.ndarray,
    mountain: np.ndarray,
    luck: np.ndarray,
    table: np.ndarray,
    gradients: np.ndarray,
) -> tuple[list[tuple[int, int, int]], int]:
    """Fill `cells` with materials; return who lives where, (x, y, kind) in order, and the draws."""
    width, height = cells.shape
    tunnels = np.zeros((width, height), np.bool_)
    draws = 0
    for x in range(width):
        for y in range(height):
            material, tunnels[x, y], draws = _material(
                x, y, start[x, y], water[x, y], mountain[x, y], luck, draws, table, gradients
            )
            cells[x, y] = material
    lives = [(0, 0, 0) for _ in range(0)]
    for x in range(width):
        for y in range(height):
            kind, draws = _creature(cells[x, y], distance[x, y], tunnels[x, y], luck, draws)
            if kind >= 0:
                lives.append((x, y, kind))
    return lives, draws


@njit(cache=True)
def _material(
    x: int,
    y: int,
    start: float,
    water: float,
    mountain: float,
    luck: np.ndarray,
    draws: int,
    table: np.ndarray,
    gradients: np.ndarray,
) -> tuple[int, bool, int]:
    """Decide a cell as upstream's `_set_material`; return material, whether it is a tunnel, and draws."""
    if start > 0.5:
        return GRASS, False, draws
    if mountain > 0.15:
        return _rock(x, y, mountain, luck, draws, table, gradients)
    if 0.25 < water <= 0.35 and _noise3(x / 9, y / 9, 4, table, gradients) > -0.2:
        return SAND, False, draws
    if water > 0.3:
        return WATER, False, draws
    if _noise3(x / 7, y / 7, 5, table, gradients) > 0:
        return (TREE if luck[draws] > 0.8 else GRASS), False, draws + 1
    return GRASS, False, draws


@njit(cache=True)
def _rock(
    x: int, y: int, mountain: float, luck: np.ndarray, draws: int, table: np.ndarray, gradients: np.ndarray
) -> tuple[int, bool, int]:
    """Decide a cell in the mountains, where only what is asked for takes luck."""
    if _noise3(x / 7, y / 7, 6, table, gradients) > 0.15 and mountain > 0.3:
        return PATH, False, draws
    if _noise3(2 * x / 3, y / 5 / 3, 7, table, gradients) > 0.4:
        return PATH, True, draws
    if _noise3(x / 5 / 3, 2 * y / 3, 7, table, gradients) > 0.4:
        return PATH, True, draws
    if _noise3(x / 8, y / 8, 1, table, gradients) > 0:
        draws += 1
        if luck[draws - 1] > 0.85:
            return COAL, False, draws
    if _noise3(x / 6, y / 6, 2, table, gradients) > 0.4:
        draws += 1
        if luck[draws - 1] > 0.75:
            return IRON, False, draws
    if mountain > 0.18:
        draws += 1
        if luck[draws - 1] > 0.994:
            return DIAMOND, False, draws
    if mountain > 0.3 and _noise3(x / 5, y / 5, 6, table, gradients) > 0.35:
        return LAVA, False, draws
    return STONE, False, draws


@njit(cache=True)
def _creature(material: int, distance: float, tunnel: bool, luck: np.ndarray, draws: int) -> tuple[int, int]:
    """Decide who lives in a cell, upstream's `_set_object`; return the kind, -1 for nobody, and the draws."""
    if material not in (GRASS, PATH, SAND):
        return -1, draws
    if distance > 3 and material == GRASS:
        draws += 1
        if luck[draws - 1] > 0.985:
            return COW, draws
    if distance > 10:
        draws += 1
        if luck[draws - 1] > 0.993:
            return ZOMBIE, draws
    if material == PATH and tunnel:
        draws += 1
        if luck[draws - 1] > 0.95:
            return SKELETON, draws
    return -1, draws
