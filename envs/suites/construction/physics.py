"""What happens after a block was placed: gravity, friction and glue, until all is at rest. Needs pymunk.

The state is nothing but the numbers of the blocks. Each placement builds a space of its own from them, so
that no solver remembers anything: equal blocks have equal futures, bit for bit.

Blocks that are glued together are one rigid body, and those glued to the floor never move: glue cannot break.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pymunk

from envs.suites.construction.blocks import FIXED, Block, groups, weld, whole
from envs.suites.construction.shapes import Box, Point, corners

GRAVITY = 10.0
"""Units / second^2."""
FRICTION = 0.8
STEP = 1 / 120
"""Seconds."""
ITERATIONS = 40
"""Of the contact solver, in each step."""
LONGEST = 1200
"""Steps of a placement at most."""
GLANCE, QUIET = 4, 3
"""At rest is what was slow at `QUIET` glances in a row, one every `GLANCE` steps."""
SLOW = 0.01
"""Units a second for the middle of a body, radians a second for its turning."""
SLOP = 0.001
"""How far bodies may sink into each other before the solver parts them, in units."""
SUNK = 0.7
"""The share of what has sunk deeper that is left a step later."""
GROUND = Box(0.0, -5.0, 200.0, 10.0)
_BLOCK, _STICKY, _OBSTACLE = 1, 2, 3


class Settled(NamedTuple):
    """What became of the blocks, in the order given, and whether one of them touched an obstacle."""

    blocks: tuple[Block, ...]
    hit: bool


def settle(blocks: Sequence[Block], obstacles: Sequence[Box]) -> Settled:
    """Let blocks move until all are at rest, one touches an obstacle, or `LONGEST` steps have passed.

    What is at rest has velocities of exactly 0.
    """
    steps = 0
    while True:
        world = _World(blocks, obstacles)
        steps += world.run(LONGEST - steps)
        blocks = world.blocks()
        if world.hit or not world.touched:
            return Settled(blocks, world.hit)
        blocks = weld(blocks, world.touched)


class _Moving(NamedTuple):
    """A group as a body of the simulator, and where its middle was when the space was built."""

    body: pymunk.Body
    x: float
    y: float


class _World:
    """A space that holds the blocks for as long as no two of them are glued anew."""

    def __init__(self, blocks: Sequence[Block], obstacles: Sequence[Box]) -> None:
        self.hit = self.resting = False
        self.touched: list[tuple[int, int | None]] = []
        self._blocks = blocks
        self._numbers: dict[pymunk.Shape, int] = {}
        self._moving: dict[int, _Moving] = {}
        self._space = pymunk.Space()
        self._space.gravity, self._space.iterations = (0.0, -GRAVITY), ITERATIONS
        self._space.collision_slop, self._space.collision_bias = SLOP, SUNK ** (1 / STEP)
        self._add(self._space.static_body, corners(GROUND), _BLOCK)
        for obstacle in obstacles:
            self._add(self._space.static_body, corners(obstacle), _OBSTACLE)
        for group, members in groups(blocks).items():
            self._add_group(group, members)
        self._space.on_collision(_OBSTACLE, None, begin=self._on_obstacle)
        self._space.on_collision(_STICKY, None, begin=self._on_sticky)

    def run(self, steps: int) -> int:
        """Step until something calls for attention, or all is at rest; return how many steps it took."""
        quiet = 0
        for step in range(1, steps + 1):
            self._space.step(STEP)
            if self.hit or self.touched:
                return step
            if step % GLANCE == 0:
                quiet = quiet + 1 if self._slow() else 0
                if quiet == QUIET:
                    self.resting = True
                    return step
        return steps

    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks as they are now."""
        return tuple(self._now(block) for block in self._blocks)

    def _now(self, block: Block) -> Block:
        if block.group == FIXED:
            return block
        body, x, y = self._moving[block.group]
        (bx, by), (vx, vy) = body.position, body.velocity
        cos, sin = math.cos(body.angle), math.sin(body.angle)
        dx, dy = block.x - x, block.y - y
        dx, dy = cos * dx - sin * dy, sin * dx + cos * dy
        block = block._replace(x=bx + dx, y=by + dy, angle=block.angle + body.angle)
        spin = body.angular_velocity
        if self.resting:
            return block._replace(vx=0.0, vy=0.0, spin=0.0)
        return block._replace(vx=vx - spin * dy, vy=vy + spin * dx, spin=spin)

    def _slow(self) -> bool:
        return all(
            body.velocity.length < SLOW and abs(body.angular_velocity) < SLOW
            for body, _, _ in self._moving.values()
        )

    def _add_group(self, group: int, members: Sequence[int]) -> None:
        body, x, y = self._space.static_body, 0.0, 0.0
        if group != FIXED:
            mass, moment, x, y, vx, vy, spin = whole([self._blocks[number] for number in members])
            body = pymunk.Body(mass, moment)
            body.position, body.velocity, body.angular_velocity = (x, y), (vx, vy), spin
            self._space.add(body)
            self._moving[group] = _Moving(body, x, y)
        for number in members:
            block = self._blocks[number]
            around = [(a - x, b - y) for a, b in corners(block)]
            self._numbers[self._add(body, around, _STICKY if block.sticky else _BLOCK)] = number

    def _add(self, body: pymunk.Body, around: Sequence[Point], kind: int) -> pymunk.Shape:
        shape = pymunk.Poly(body, around)
        shape.friction, shape.collision_type = FRICTION, kind
        self._space.add(shape)
        return shape

    def _on_obstacle(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: Any) -> None:
        self.hit = True

    def _on_sticky(self, arbiter: pymunk.Arbiter, space: pymunk.Space, data: Any) -> None:
        one, other = (self._numbers.get(shape) for shape in arbiter.shapes)
        if one is None:
            one, other = other, one
        assert one is not None
        self.touched.append((one, other))
