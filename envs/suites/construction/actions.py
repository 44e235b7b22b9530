"""Where a block is put: on a grid of places, or in relation to an object."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envs.suites.construction.blocks import Block
from envs.suites.construction.scenes import HALF, PITCH, ROW
from envs.suites.construction.seen import AVAILABLE, TARGET
from envs.suites.construction.shapes import Rectangle, corners, span

ROWS = 14
"""Rows of the grid in which a block can be put."""
OBJECT = 1
"""The factor of a relative action that is the number of an object's row."""
OFFSETS = 15
"""Places along an object, from its left to its right."""
GAP = 0.02
"""Units between a block and what it is put on; it falls."""
BESIDE = 0.1
"""Units between a block and the object that it is put beside, at the first and the last offset."""


class Put(NamedTuple):
    """A choice: the number of the block at hand, the middle of where it is put, and whether it is sticky."""

    block: int
    x: float
    y: float
    sticky: bool


def absolute(action: Sequence[int]) -> Put:
    """Return what (block, column, row, sticky) stands for: the block's middle above a line of the grid."""
    block, column, row, sticky = action
    return Put(block, column * PITCH - HALF, row * ROW + ROW / 2 + GAP, bool(sticky))


def relative(action: Sequence[int], shapes: Mapping[int, tuple[int, Rectangle]], width: float) -> Put | None:
    """Return what (block, object, offset, sticky) stands for; None where there is no such object to build on.

    The block stands on the object, or in it if that is a target. The offset in the middle puts middle over
    middle; the first and the last put the block beside the object, as high as on it.

    Args:
        action: numbers from 0; an object is the number of its row.
        shapes: by row, kind and shape of what exists.
        width: of the block.
    """
    block, row, offset, sticky = action
    kind, shape = shapes.get(row, (AVAILABLE, None))
    if kind == AVAILABLE or shape is None:
        return None
    left, right = span(shape)
    reach = (right - left + width) / 2 + BESIDE
    x = shape.x + (2 * offset / (OFFSETS - 1) - 1) * reach
    y = shape.y if kind == TARGET else max(b for _, b in corners(shape)) + ROW / 2
    return Put(block, x, y + GAP, bool(sticky))


def placed(put: Put, width: float, group: int) -> Block:
    """Return the block at rest where it is put, moved inside the scene where it would stand out."""
    most = HALF - width / 2
    x = min(max(put.x, -most), most)
    return Block(x, put.y, 0.0, 0.0, 0.0, 0.0, width, ROW, put.sticky, group)
