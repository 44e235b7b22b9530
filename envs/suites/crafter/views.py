"""Crafter's pictures, drawn faster than upstream draws them, and drawn from symbols alone.

Importing this module imports `crafter`. What is drawn of a world has upstream's pixels from upstream's random
numbers; a test compares them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from envs.suites.crafter.symbols import COLUMNS, ITEMS, ROWS, named_symbols, window
from envs.suites.crafter.upstream import constants, engine

ITEM_ROWS = 2
_DRAWN = 128  # pixels a side of a picture that is drawn from symbols


class FastLocalView(engine.LocalView):
    """The same map picture, drawn by one lookup in an atlas of tiles instead of a loop over cells."""

    def __init__(self, world: engine.World, textures: engine.Textures) -> None:
        super().__init__(world, textures, (COLUMNS, ROWS))
        self._atlases: dict[tuple[int, ...], np.ndarray] = {}
        self._sprites: dict[tuple[Any, ...], np.ndarray] = {}
        self._vignettes: dict[tuple[Any, ...], np.ndarray] = {}

    def __call__(self, player: Any, unit: np.ndarray) -> np.ndarray:
        """Return the picture around the player, (9 * unit, 7 * unit, 3)."""
        there = window(self._world._obj_map, player.pos)
        things = {
            (int(x), int(y)): self._world._objects[there[x, y]].texture
            for x, y in zip(*there.nonzero(), strict=True)
        }
        return self.draw(window(self._world._mat_map, player.pos), things, player.sleeping, unit)

    def draw(
        self,
        materials: np.ndarray,
        things: Mapping[tuple[int, int], str],
        sleeping: bool,
        unit: np.ndarray,
    ) -> np.ndarray:
        """Return the picture of these cells, (9 * unit, 7 * unit, 3), in the world's daylight.

        Args:
            materials: numbers of materials, (9, 7), 0 for outside.
            things: by column and row, the textures of what stands there.
            sleeping: whether the player is asleep.
            unit: pixels of a cell, (2,).
        """
        size = (int(unit[0]), int(unit[1]))
        tiles = self._atlas(size)[materials]  # (9, 7, unit, unit, 3)
        for cell, texture in things.items():
            tiles[cell] = self._sprite(texture, int(materials[cell]), size)
        canvas = tiles.transpose(0, 2, 1, 3, 4).reshape(*(self._grid * unit), 3)
        canvas = self._light(canvas, self._world.daylight)
        return self._sleep(canvas) if sleeping else canvas

    def _atlas(self, size: tuple[int, int]) -> np.ndarray:
        """Return every material's tile in the order of its number, after the grey of what lies outside."""
        if size not in self._atlases:
            tiles = [self._textures.get(name, size)[..., :3] for name in constants.materials]
            self._atlases[size] = np.stack([np.full((*size, 3), 127, np.uint8), *tiles])
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

    def __init__(self, textures: engine.Textures) -> None:
        super().__init__(textures, (COLUMNS, ITEM_ROWS))

    def __call__(self, inventory: Mapping[str, int], unit: np.ndarray) -> np.ndarray:
        """Return the picture of the inventory, (9 * unit, 2 * unit, 3)."""
        key = (*inventory.values(), *unit)
        if self._last is None or self._last[0] != key:
            self._last = (key, super().__call__(inventory, unit))
        return self._last[1]


class _CalmLocalView(FastLocalView):
    """A map picture whose night is as dark everywhere as upstream's is on average: no random numbers."""

    def _noise(self, canvas: np.ndarray, amount: float, stddev: float) -> np.ndarray:
        mask = amount * self._vignette(canvas.shape, stddev)[..., None]
        return (1 - mask) * canvas + mask * (32 + 127) / 2


def drawer() -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Return a function that draws one observation of symbols, uint8 (128, 128, 3), in upstream's layout.

    It draws whatever the numbers say, a cow on water too; a night has no noise.
    """
    textures = engine.Textures(constants.root / "assets")
    world = engine.World((1, 1), constants.materials, (1, 1))
    map_view, item_view = _CalmLocalView(world, textures), CachedItemView(textures)
    unit = np.full(2, _DRAWN // COLUMNS)
    border = (_DRAWN - unit[0] * COLUMNS) // 2

    def draw(observation: Mapping[str, np.ndarray]) -> np.ndarray:
        materials, things = named_symbols(observation)
        world.daylight = float(np.clip(observation["daylight"][0], 0, 1))
        sleeping = "player-sleep" in things.values()
        inventory = dict(zip(ITEMS, np.asarray(observation["inventory"]).tolist(), strict=True))
        canvas = np.zeros((_DRAWN, _DRAWN, 3), np.uint8)
        view = np.concatenate(
            [map_view.draw(materials, things, sleeping, unit), item_view(inventory, unit)], 1
        )
        canvas[border : border + view.shape[0], border : border + view.shape[1]] = view
        return canvas.transpose(1, 0, 2)

    return draw
