"""What Crafter's picture shows, in small integers: the names of the numbers, their spaces, and the encoding.

A number stands for a texture, so the symbols tell what the picture tells and nothing beyond it. They are
those of the cells before the night darkens them; `daylight` says how dark it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.suites.grids.symbols import symbols

COLUMNS, ROWS = 9, 7
"""Cells of the map that the picture shows, the player in the middle."""
MATERIALS = (
    "outside",  # beyond the edge of the world
    "water",
    "grass",
    "stone",
    "path",
    "sand",
    "tree",
    "lava",
    "coal",
    "iron",
    "diamond",
    "table",
    "furnace",
)
"""By number, what a cell is made of; from 1 on upstream's own numbers."""
OBJECTS = (
    "nothing",
    "cow",
    "zombie",
    "skeleton",
    "arrow-left",
    "arrow-right",
    "arrow-up",
    "arrow-down",
    "plant",
    "plant-ripe",
)
"""By number, the texture of what stands in a cell beside the player."""
PLAYER = ("player-left", "player-right", "player-up", "player-down", "player-sleep")
"""By number, the texture of the player; asleep, it shows no direction."""
ITEMS = (
    "health",
    "food",
    "drink",
    "energy",
    "sapling",
    "wood",
    "stone",
    "coal",
    "iron",
    "diamond",
    "wood_pickaxe",
    "stone_pickaxe",
    "iron_pickaxe",
    "wood_sword",
    "stone_sword",
    "iron_sword",
)
"""The entries of `inventory`, in upstream's order."""
MOST = 9
_OBJECT_NUMBERS = {name: number for number, name in enumerate(OBJECTS)}
_PLAYER_NUMBERS = {name: number for number, name in enumerate(PLAYER)}


def symbol_spaces() -> dict[str, spaces.Space[Any]]:
    """Return the entries' spaces.

    `materials` and `objects` MultiDiscrete (63,): numbers into MATERIALS and OBJECTS, row by row from the
    upper left as the picture shows them. `player` MultiDiscrete (1,): a number into PLAYER. `inventory`
    MultiDiscrete (16,): counts of ITEMS, 0 to 9. `daylight` float32 (1,): 0 at night to 1 by day.
    """
    cells = COLUMNS * ROWS
    sizes = {
        "materials": [len(MATERIALS)] * cells,
        "objects": [len(OBJECTS)] * cells,
        "player": [len(PLAYER)],
        "inventory": [MOST + 1] * len(ITEMS),
    }
    daylight = spaces.Box(0.0, 1.0, (1,), np.float32)
    return {**{name: symbols(size) for name, size in sizes.items()}, "daylight": daylight}


def encode(world: Any, player: Any) -> dict[str, np.ndarray]:
    """Return what the picture shows, as `symbol_spaces` says.

    Args:
        world: the `crafter.engine.World`.
        player: the `crafter.objects.Player` in it.
    """
    there = window(world._obj_map, player.pos)
    objects = np.zeros((COLUMNS, ROWS), np.uint8)
    for x, y in zip(*(axis.tolist() for axis in there.nonzero()), strict=True):
        thing = world._objects[there[x, y]]
        if thing is not player:
            objects[x, y] = _OBJECT_NUMBERS[thing.texture]
    return {
        "materials": window(world._mat_map, player.pos).T.flatten(),
        "objects": objects.T.flatten(),
        "player": np.array([_PLAYER_NUMBERS[player.texture]], np.uint8),
        "inventory": np.array(list(player.inventory.values()), np.uint8),
        "daylight": np.array([world.daylight], np.float32),
    }


def window(cells: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Cut the visible (9, 7) cells around `centre` out of a map (width, height); beyond its edge stands 0."""
    (x, y), (width, height) = (centre - (COLUMNS // 2, ROWS // 2)).tolist(), cells.shape
    if 0 <= x <= width - COLUMNS and 0 <= y <= height - ROWS:
        return cells[x : x + COLUMNS, y : y + ROWS]
    seen = np.zeros((COLUMNS, ROWS), cells.dtype)
    left, top = max(x, 0), max(y, 0)
    inside = cells[left : max(x + COLUMNS, 0), top : max(y + ROWS, 0)]
    seen[left - x :, top - y :][: inside.shape[0], : inside.shape[1]] = inside
    return seen


def named_symbols(observation: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[tuple[int, int], str]]:
    """Return the materials (9, 7) by column and row, and by cell the texture of what stands there.

    Args:
        observation: as `encode` gives it, or as a model dreamed it: any combination of numbers.
    """
    materials, objects = (
        np.asarray(observation[name]).reshape(ROWS, COLUMNS).T for name in ("materials", "objects")
    )
    things = {(int(x), int(y)): OBJECTS[objects[x, y]] for x, y in zip(*objects.nonzero(), strict=True)}
    things[COLUMNS // 2, ROWS // 2] = PLAYER[int(observation["player"][0])]
    return materials, things
