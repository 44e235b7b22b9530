"""What is seen of a scene: one row of numbers for each object, and pictures that are drawn from such rows."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from envs.suites.construction.blocks import Block
from envs.suites.construction.scenes import HALF, MARGIN, ROW, WIDTH, Scene
from envs.suites.construction.shapes import Box, Rectangle, corners
from envs.suites.construction.tasks import Room

FEATURES = (
    *("x", "y", "sin", "cos", "width", "height"),
    *("available", "placed", "obstacle", "target", "floor", "sticky"),
)
"""By number, what a row holds: lengths in halves of the scene's width, the kind one-hot, 1 for glue."""
LARGEST = 4.0
"""Beyond it, numbers of a row are clipped."""
AVAILABLE, PLACED, OBSTACLE, TARGET, FLOOR = range(6, 11)
HEIGHT, STICKY = 5, 11
FLOOR_PARTS = 4
"""Stretches that the floor is seen as, so that a block can be put on one."""
FLOOR_THICK = 0.35
SHELF = -0.9
"""Height of the first row of blocks at hand, below the floor, in units; the others are below it."""
BOTTOM = -3.1
"""Lower edge of pictures, in units."""
FINE = 4
"""Pictures are drawn so many times as large, and made smaller by means."""
SKY, RIM = (246, 246, 242), (0, 140, 60)
BLUE, ORANGE = (60, 120, 230), (250, 165, 30)
FILLS = {
    AVAILABLE: (150, 165, 190),
    PLACED: BLUE,
    OBSTACLE: (214, 40, 40),
    TARGET: (160, 228, 150),
    FLOOR: (96, 92, 88),
}
RIMS = {BLUE: (15, 45, 130), ORANGE: (150, 75, 0)}

Row = tuple[float, ...]


def floor() -> tuple[Box, ...]:
    """Return the stretches of the floor, from left to right."""
    width = WIDTH / FLOOR_PARTS
    return tuple(
        Box((i + 0.5) * width - HALF, -FLOOR_THICK / 2, width, FLOOR_THICK) for i in range(FLOOR_PARTS)
    )


def shelf(supply: Sequence[float]) -> tuple[Box, ...]:
    """Return where the blocks at hand are shown: below the floor, from left to right, in rows."""
    gap, found = 0.2, []
    x, y = -HALF + gap, SHELF
    for width in supply:
        if x + width > HALF:
            x, y = -HALF + gap, y - ROW - gap
        found.append(Box(x + width / 2, y, width, ROW))
        x += width + gap
    return tuple(found)


class Objects:
    """Where each object of a scene has its row.

    First the blocks at hand, then the floor's stretches, obstacles, targets, and placed blocks in order, each
    in rows of its own. Rows of what does not exist, or not any more, are 0.

    Attributes:
        room: how many rows each kind has. count: rows in all.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        sizes = (room.supply, FLOOR_PARTS, room.obstacles, room.targets, room.placed)
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.count = sum(sizes)

    def shapes(self, scene: Scene, used: int, blocks: Sequence[Block]) -> dict[int, tuple[int, Rectangle]]:
        """Return by row the kind and the shape of what exists.

        Args:
            scene: where all began.
            used: bit i is set once block i of the supply is gone.
            blocks: those that were placed.
        """
        hand = shelf(scene.supply)
        kinds: Sequence[tuple[int, Sequence[Rectangle]]] = (
            (AVAILABLE, hand),
            (FLOOR, floor()),
            (OBSTACLE, scene.obstacles),
            (TARGET, scene.targets),
            (PLACED, blocks),
        )
        found = {
            start + i: (kind, shape)
            for start, (kind, shapes) in zip(self._starts, kinds, strict=True)
            for i, shape in enumerate(shapes)
        }
        return {row: told for row, told in found.items() if row >= len(hand) or not used >> row & 1}

    def table(self, shapes: dict[int, tuple[int, Rectangle]]) -> tuple[np.ndarray, np.ndarray]:
        """Return (objects, 12) float32, and (objects,) int8: 1 where a row holds an object."""
        table = np.zeros((self.count, len(FEATURES)), np.float32)
        mask = np.zeros(self.count, np.int8)
        rows = list(shapes)
        table[rows] = [_row(kind, shape) for kind, shape in shapes.values()]
        mask[rows] = 1
        return table.clip(-LARGEST, LARGEST), mask


def _row(kind: int, shape: Rectangle) -> Row:
    sin, cos = np.sin(shape.angle), np.cos(shape.angle)
    kinds = [float(kind == other) for other in (AVAILABLE, PLACED, OBSTACLE, TARGET, FLOOR)]
    lengths = (shape.x / HALF, shape.y / HALF, sin, cos, shape.width / HALF, shape.height / HALF)
    return (*lengths, *kinds, float(getattr(shape, "sticky", False)))


class _Shown:
    """A shape that is read from a row, whichever numbers it holds."""

    def __init__(self, row: np.ndarray) -> None:
        x, y, sin, cos, width, height = (float(value) for value in row[:6])
        self.x, self.y, self.angle = x * HALF, y * HALF, float(np.arctan2(sin, cos))
        self.width, self.height = abs(width) * HALF, abs(height) * HALF


def draw(table: np.ndarray, size: int) -> np.ndarray:
    """Draw a scene as its rows tell it; a row without a kind (none of 0.5 or more) is left out.

    Args:
        table: (objects, 12).
        size: height and width in pixels.

    Returns:
        uint8 (size, size, 3): the floor, below it the blocks at hand; placed ones blue, sticky ones orange,
        obstacles red, targets green, their rims in front of everything.
    """
    fine = size * FINE
    picture = Image.new("RGB", (fine, fine), SKY)
    pen = ImageDraw.Draw(picture)
    kinds = table[:, AVAILABLE:STICKY]
    told = kinds.argmax(1) + AVAILABLE
    exists = kinds.max(1) >= 0.5
    line = max(1, round(fine / 128))
    for kind in (FLOOR, TARGET, AVAILABLE, PLACED, OBSTACLE):
        for row in table[exists & (told == kind)]:
            fill = ORANGE if kind == PLACED and row[STICKY] >= 0.5 else FILLS[kind]
            rim = RIMS[fill] if kind == PLACED else fill
            pen.polygon(_pixels(row, fine), fill=fill, outline=rim, width=line)
    for row in table[exists & (told == TARGET)]:
        small = row[HEIGHT] * HALF < ROW / 2 + MARGIN  # all rim, or a small picture would lose it
        pen.polygon(_pixels(row, fine), fill=RIM if small else None, outline=RIM, width=line)
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX))


def _pixels(row: np.ndarray, fine: int) -> list[tuple[float, float]]:
    scale = fine / WIDTH
    return [((x + HALF) * scale, fine - (y - BOTTOM) * scale) for x, y in corners(_Shown(row))]
