"""Crafter's worlds as upstream's `worldgen` makes them, number by number, map by map instead of cell by cell.

What noise alone decides is decided for all cells at once. What takes luck is drawn cell by cell in upstream's
order, with upstream's random numbers; a test compares worlds, creatures and the generator afterwards.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from envs.suites.crafter.upstream import internals, objects

_noise3, _NUM_GRADIENTS = internals._noise3, len(internals.GRADIENTS3) // 3
WATER, GRASS, STONE, PATH, SAND, TREE, LAVA, COAL, IRON, DIAMOND = range(1, 11)  # upstream's numbers
_FINDS = np.array([COAL, IRON, DIAMOND, TREE], np.uint8)
_FIND_ABOVE = np.array([0.85, 0.75, 0.994, 0.8])
COW, ZOMBIE, SKELETON = range(3)
_LIVES_ABOVE = np.array([0.985, 0.993, 0.95])
_MOST_DRAWS = len(_FINDS) + len(_LIVES_ABOVE)  # of a cell


def generate_world(world: Any, player: Any) -> None:
    """Fill an empty world, the player in it, as upstream's `worldgen.generate_world` does.

    Args:
        world: a `crafter.engine.World`; its random numbers are taken as upstream takes them.
        player: the `crafter.objects.Player`, already added.
    """
    tables = permutations(world.random.randint(0, 2**31 - 1))
    state = world.random.get_state()
    luck = world.random.random_sample(_MOST_DRAWS * world._mat_map.size)
    x, y = np.mgrid[: world.area[0], : world.area[1]]
    distance = np.sqrt((x - player.pos[0]) ** 2 + (y - player.pos[1]) ** 2)

    materials, tunnels, finds = _landscape(x, y, distance, tables)
    found, draws = _draw_lots(finds, _FIND_ABOVE, luck)
    materials = np.where(found < 0, materials, _FINDS[found])
    world._mat_map[:] = materials
    lives, more = _draw_lots(_habitats(materials, tunnels, distance), _LIVES_ABOVE, luck[draws:])
    world.random.set_state(state)
    world.random.random_sample(draws + more)

    for cell in zip(*(axis.tolist() for axis in np.nonzero(lives >= 0)), strict=True):
        kind = lives[cell]
        if kind == COW:
            world.add(objects.Cow(world, cell))
        else:
            world.add((objects.Zombie if kind == ZOMBIE else objects.Skeleton)(world, cell, player))


def _landscape(
    x: np.ndarray, y: np.ndarray, distance: np.ndarray, tables: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what noise decides of the cells at (`x`, `y`), maps of (width, height).

    Returns:
        Materials uint8 where nothing is found, whether a cell is a tunnel, and where _FINDS may be, (4, ...).
    """

    def noise(x: np.ndarray, y: np.ndarray, z: int, where: np.ndarray) -> np.ndarray:
        values = np.zeros(x.shape)
        values[where] = _noise(x[where], y[where], z, *tables)
        return values

    start, water, mountain = _heights(noise, x, y, distance)
    away = start <= 0.5
    rock, plain = away & (mountain > 0.15), away & (mountain <= 0.15)
    cave = rock & (noise(x / 7, y / 7, 6, rock) > 0.15) & (mountain > 0.3)
    rock &= ~cave
    tunnels = rock & (noise(2 * x / 3, y / 5 / 3, 7, rock) > 0.4)
    tunnels |= rock & (noise(x / 5 / 3, 2 * y / 3, 7, rock) > 0.4)
    rock &= ~tunnels
    lava = rock & (mountain > 0.3) & (noise(x / 5, y / 5, 6, rock) > 0.35)
    shore = plain & (water > 0.25) & (water <= 0.35)
    sand = shore & (noise(x / 9, y / 9, 4, shore) > -0.2)
    wet = plain & ~sand & (water > 0.3)
    grass = plain & ~sand & ~wet
    kinds = ((PATH, cave | tunnels), (STONE, rock), (LAVA, lava), (SAND, sand), (WATER, wet))
    materials = np.full(x.shape, GRASS, np.uint8)
    for material, where in kinds:
        materials[where] = material
    coal = rock & (noise(x / 8, y / 8, 1, rock) > 0)
    iron = rock & (noise(x / 6, y / 6, 2, rock) > 0.4)
    tree = grass & (noise(x / 7, y / 7, 5, grass) > 0)
    return materials, tunnels, np.stack([coal, iron, rock & (mountain > 0.18), tree])


def _heights(
    noise: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how much each cell belongs to the start, to water and to the mountains, (width, height) each."""
    everywhere = np.ones(x.shape, bool)
    start = 4 - distance
    start += 2 * noise(x / 3, y / 3, 8, everywhere)
    start = 1 / (1 + np.exp(-start))
    water = noise(x / 15, y / 15, 3, everywhere) + 0.15 * noise(x / 5, y / 5, 3, everywhere) + 0.1
    water -= 2 * start
    mountain = (noise(x / 15, y / 15, 0, everywhere) + 0.3 * noise(x / 5, y / 5, 0, everywhere)) / 1.3
    mountain -= 4 * start + 0.3 * water
    return start, water, mountain


def _habitats(materials: np.ndarray, tunnels: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return where COW, ZOMBIE and SKELETON may live, bool (3, width, height)."""
    grass, path = materials == GRASS, materials == PATH
    walkable = grass | path | (materials == SAND)
    return np.stack([grass & (distance > 3), walkable & (distance > 10), path & tunnels])


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


@njit(cache=True)
def _noise(x: np.ndarray, y: np.ndarray, z: int, table: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return simplex noise at the points (`x`, `y`, z), (n,)."""
    values = np.empty(len(x))
    for i in range(len(x)):
        values[i] = _noise3(x[i], y[i], z, table, gradients)
    return values


@njit(cache=True)
def _draw_lots(may: np.ndarray, above: np.ndarray, luck: np.ndarray) -> tuple[np.ndarray, int]:
    """Decide, cell by cell, which of several things is there: the first that may be and has luck.

    Args:
        may: where each may be, bool (things, width, height); only there it takes a random number.
        above: each one's bound, (things,): it is there if the number is greater.
        luck: random numbers in [0, 1), as many as could be needed.

    Returns:
        The thing in each cell, (width, height), -1 for none, and how many random numbers it took.
    """
    things, width, height = may.shape
    drawn, draws = np.full((width, height), -1), 0
    for x in range(width):
        for y in range(height):
            for thing in range(things):
                if may[thing, x, y]:
                    draws += 1
                    if luck[draws - 1] > above[thing]:
                        drawn[x, y] = thing
                        break
    return drawn, draws
