"""RoboDesk's rewards of all tasks at once, from one reading of the desk.

The package computes one task's reward at a time through dm_control's names, which is too slow to do for every
task at every step. A test compares these with the package's own. Lengths are in metres.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

Point = list[float]

BLOCKS = ("flat_block", "upright_block", "ball")
COLOURS = ("green", "blue", "red")
OBJECTS = (*BLOCKS, "drawer", "slide", *(f"{colour}_button" for colour in COLOURS))

_WEIGHT_OF_STILL = {"flat_block": 0.33, "upright_block": 0.33, "ball": 0.34}
_LIFTED = {"flat_block": 0.78, "upright_block": 0.86, "ball": 0.81}  # height
_STILL, _STACKED, _PRESSED = 0.01, 0.04, -0.00453
_ON_TOP = 0.0377804  # the upright block's centre over the flat one's
_BIN = ((0.28, 0.52), (0.38, 0.62), (0.0, 0.4))
_SHELF = (0.4, 1.1)
_FAR = 5.0  # the way that counts as having moved altogether


class Scene(NamedTuple):
    """Where things are: joints in metres, points as [x, y, z], lights (pressed down below 0) by colour."""

    hand: Point
    slide: float
    slide_handle: Point
    drawer: float
    drawer_handle: Point
    buttons: Mapping[str, Point]
    lights: Mapping[str, float]
    blocks: Mapping[str, Point]

    def reach(self, point: Point) -> float:
        """1 where the hand is, linearly down to 0 at a metre."""
        return max(0.0, 1 - math.dist(self.hand, point))

    def moved(self, start: Mapping[str, Point]) -> dict[str, float]:
        """How far each block is from where it was at the start."""
        return {name: math.dist(self.blocks[name], start[name]) for name in BLOCKS}

    def gap(self) -> float:
        """How far the upright block is from its place on top of the flat one."""
        x, y, z = self.blocks["flat_block"]
        return math.dist(self.blocks["upright_block"], (x, y, z + _ON_TOP))

    def in_bin(self, block: str) -> bool:
        """Whether a block lies in the bin."""
        return all(low < at < high for at, (low, high) in zip(self.blocks[block], _BIN, strict=True))

    def in_shelf(self, block: str) -> bool:
        """Whether a block lies in the shelf."""
        return self.blocks[block][0] > 0.2 and self.blocks[block][1] > 1.0


def displaced(scene: Scene, start: Scene) -> set[str]:
    """Return which of `OBJECTS` are not as they were at the start.

    A block, the drawer or the slide once it is a centimetre away, the way from which the package counts a
    block as moved; a button while it is pressed down by what the package's tasks ask for.
    """
    ways = scene.moved(start.blocks)
    ways |= {"drawer": abs(scene.drawer - start.drawer), "slide": abs(scene.slide - start.slide)}
    pressed = {f"{colour}_button" for colour in COLOURS if scene.lights[colour] < _PRESSED}
    return pressed | {name for name, way in ways.items() if way >= _STILL}


def solved(scene: Scene, start: Mapping[str, Point]) -> dict[str, bool]:
    """Return which tasks are solved right now: the sparse reward.

    Args:
        scene: where things are.
        start: where the blocks were when the episode began.
    """
    moved = scene.moved(start)
    found = {"open_slide": scene.slide > 0.55, "open_drawer": scene.drawer < -0.2}
    found |= {f"push_{colour}": scene.lights[colour] < _PRESSED for colour in COLOURS}
    found["stack"] = scene.gap() < _STACKED
    for block in BLOCKS:
        height = scene.blocks[block][2]
        alone = all(way < _STILL for name, way in moved.items() if name != block)
        found[f"{block}_off_table"] = height < 0.6 and alone
        found[f"{block}_in_bin"] = scene.in_bin(block)
        found[f"{block}_in_shelf"] = scene.in_shelf(block)
        found[f"lift_{block}"] = height > _LIFTED[block]
    return found


def dense(scene: Scene, start: Mapping[str, Point]) -> dict[str, float]:
    """Return the dense rewards, each in [0, 1]; arguments as in `solved`."""
    moved = scene.moved(start)
    still = sum(_WEIGHT_OF_STILL[name] for name in BLOCKS if moved[name] < _STILL)
    x, y, z = scene.slide_handle
    slide = 0.75 * scene.slide / 0.6 + 0.25 * scene.reach([x - 0.15, y, z])
    pay = {
        "open_slide": 0.9 * slide + 0.1 * still,
        "open_drawer": 0.75 * abs(scene.drawer) / 0.3 + 0.25 * scene.reach(scene.drawer_handle),
        "stack": scene.reach(scene.blocks["upright_block"]) - scene.gap(),
    }
    for colour in COLOURS:
        pressed = scene.lights[colour] < _PRESSED
        pay[f"push_{colour}"] = 0.25 * pressed + 0.75 * scene.reach(scene.buttons[colour])
    for block in BLOCKS:
        pay |= _of_block(scene, start, block, sum(1 - moved[name] / _FAR for name in BLOCKS if name != block))
    return {name: _clip(value) for name, value in pay.items()}


def _of_block(scene: Scene, start: Mapping[str, Point], block: str, others: float) -> dict[str, float]:
    """Return the dense rewards of the tasks with one block; `others`: 1 for each other block left alone."""
    at, reach = scene.blocks[block], scene.reach(scene.blocks[block])
    fall, rise = 1 - at[2] / start[block][2], at[2] - start[block][2]
    near_shelf = 1 - math.dist(at[:2], _SHELF)
    shelf = 0.33 * reach + 0.33 * near_shelf + 0.34 * scene.in_shelf(block)
    return {
        f"{block}_off_table": 0.75 * _clip(0.8 * fall + 0.1 * others) + 0.25 * reach,
        f"{block}_in_bin": 0.5 * reach + 0.5 * scene.in_bin(block),
        f"{block}_in_shelf": 0.5 * shelf + 0.25 * others,
        f"lift_{block}": 0.85 * _clip(10 * rise) + 0.15 * reach,
    }


def _clip(value: float) -> float:
    return max(0.0, min(1.0, value))
