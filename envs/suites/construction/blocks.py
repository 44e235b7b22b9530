"""Placed blocks, and what glue makes of them. Plain numbers, no simulator."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

FIXED = 0
"""The group of what is glued to the floor."""


class Block(NamedTuple):
    """A block that was placed: all that its future depends on.

    Attributes:
        x, y: its middle, in units; the floor is at y = 0 and the middle of the scene at x = 0.
        angle: radians, against the clock. vx, vy: units a second. spin: radians a second.
        width, height: units.
        sticky: whether it is glued to what touches it.
        group: blocks of one group are glued together; `FIXED` to the floor.
    """

    x: float
    y: float
    angle: float
    vx: float
    vy: float
    spin: float
    width: float
    height: float
    sticky: bool
    group: int

    @property
    def mass(self) -> float:
        """Its mass, of density 1."""
        return self.width * self.height

    @property
    def moment(self) -> float:
        """Its moment of inertia about its middle."""
        return self.mass * (self.width**2 + self.height**2) / 12


class Whole(NamedTuple):
    """What some blocks are as one rigid body: mass, moment about the middle, middle, and velocities."""

    mass: float
    moment: float
    x: float
    y: float
    vx: float
    vy: float
    spin: float


def groups(blocks: Iterable[Block]) -> dict[int, list[int]]:
    """Return by group the numbers of its blocks, in order."""
    found: dict[int, list[int]] = {}
    for number, block in enumerate(blocks):
        found.setdefault(block.group, []).append(number)
    return found


def whole(blocks: Sequence[Block]) -> Whole:
    """Return some blocks as one body, which keeps their momentum and their angular momentum."""
    mass = sum(block.mass for block in blocks)
    x = sum(block.mass * block.x for block in blocks) / mass
    y = sum(block.mass * block.y for block in blocks) / mass
    vx = sum(block.mass * block.vx for block in blocks) / mass
    vy = sum(block.mass * block.vy for block in blocks) / mass
    moment = turning = 0.0
    for block in blocks:
        dx, dy = block.x - x, block.y - y
        moment += block.moment + block.mass * (dx * dx + dy * dy)
        turning += block.moment * block.spin + block.mass * (dx * (block.vy - vy) - dy * (block.vx - vx))
    return Whole(mass, moment, x, y, vx, vy, turning / moment)


def weld(blocks: Sequence[Block], touched: Iterable[tuple[int, int | None]]) -> tuple[Block, ...]:
    """Glue together the groups of blocks that touched; None stands for the floor.

    A new group has the least of its groups' numbers, so that whatever is glued to the floor is `FIXED`.
    """
    joined = list(blocks)
    for one, other in touched:
        pair = {joined[one].group, FIXED if other is None else joined[other].group}
        least = min(pair)
        members = [number for number, block in enumerate(joined) if block.group in pair]
        body = None if least == FIXED else whole([joined[number] for number in members])
        for number in members:
            joined[number] = _carried(joined[number], body)._replace(group=least)
    return tuple(joined)


def _carried(block: Block, body: Whole | None) -> Block:
    """Return a block that moves with a body, or with the floor."""
    if body is None:
        return block._replace(vx=0.0, vy=0.0, spin=0.0)
    dx, dy = block.x - body.x, block.y - body.y
    return block._replace(vx=body.vx - body.spin * dy, vy=body.vy + body.spin * dx, spin=body.spin)
