"""The four tasks: what is drawn, what it pays, and when it is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from envs.suites.construction import scenes
from envs.suites.construction.blocks import Block
from envs.suites.construction.scenes import CONNECTING, FEW, KINDS, Scene, grown
from envs.suites.construction.shapes import covered, holds, overlap
from envs.suites.levels import Dice

FILLED = 0.9
"""The share of a target's area that a block of its size must fill."""
COVERED = 0.99
"""The share of all upper edges that must be covered for success."""


class Room(NamedTuple):
    """The most of each kind that the scenes of a task hold; of `placed`, so many as there are steps."""

    supply: int
    obstacles: int
    targets: int
    placed: int


@dataclass(frozen=True)
class Rules:
    """What makes a task.

    Attributes:
        draw: (dice, difficulty, size) -> a scene.
        hardest: the greatest difficulty; the least is 0.
        score: what the blocks are worth in a scene. Each step pays by how much it grows, or falls.
        best: the score of a scene that is done.
        enough: the share of `best` that ends an episode.
        sticky: what a sticky block costs.
        few: whether a block at hand can be placed only once, so that blocks run out.
        room: (difficulty, size) -> the most that scenes hold.
    """

    draw: Callable[[Dice, int, float], Scene]
    hardest: int
    score: Callable[[Scene, Sequence[Block]], float]
    best: Callable[[Scene], float]
    enough: float
    sticky: float
    few: bool
    room: Callable[[int, float], Room]


def filled(scene: Scene, blocks: Sequence[Block]) -> float:
    """Return how many targets a block of their size overlaps by 90 percent."""

    def fills(block: Block, number: int) -> bool:
        target = scene.targets[number]
        alike = abs(block.width - target.width) < 1e-6 and abs(block.height - target.height) < 1e-6
        return alike and overlap(target, block) >= FILLED * target.width * target.height

    return float(sum(any(fills(block, i) for block in blocks) for i in range(len(scene.targets))))


def connected(scene: Scene, blocks: Sequence[Block]) -> float:
    """Return how many targets have a block on their middle: what is at rest stands on the floor."""
    return float(sum(any(holds(block, (t.x, t.y)) for block in blocks) for t in scene.targets))


def sheltered(scene: Scene, blocks: Sequence[Block]) -> float:
    """Return the length, in units, of the obstacles' upper edges that blocks cover from above."""
    return sum(covered(obstacle, blocks) for obstacle in scene.obstacles)


def _targets(scene: Scene) -> float:
    return float(len(scene.targets))


def _edges(scene: Scene) -> float:
    return sum(obstacle.width for obstacle in scene.obstacles)


def _room_of_silhouette(difficulty: int, size: float) -> Room:
    targets = grown(difficulty + 1, size)
    return Room(len(KINDS), grown(scenes.most_obstacles(difficulty), size), targets, targets)


def _room_of_connecting(difficulty: int, size: float) -> Room:
    _, layers, steps = scenes.skyward(difficulty, size)
    return Room(len(KINDS), layers * CONNECTING[difficulty][-1], 3, steps)


def _room_of_few(difficulty: int, size: float) -> Room:
    blocks = grown(len(FEW), size)
    return Room(blocks, 2 * grown(difficulty + 1, size), 0, blocks)


RULES: Mapping[str, Rules] = {
    "silhouette": Rules(
        scenes.silhouette,
        hardest=7,
        score=filled,
        best=_targets,
        enough=1.0,
        sticky=0.5,
        few=False,
        room=_room_of_silhouette,
    ),
    "connecting": Rules(
        scenes.connecting,
        hardest=len(scenes.CONNECTING) - 1,
        score=connected,
        best=_targets,
        enough=1.0,
        sticky=0.0,
        few=False,
        room=_room_of_connecting,
    ),
    "covering": Rules(
        scenes.covering,
        hardest=2,
        score=sheltered,
        best=_edges,
        enough=COVERED,
        sticky=2.0,
        few=False,
        room=lambda hard, size: Room(len(KINDS), 2 * grown(hard + 1, size), 0, grown(28, size)),
    ),
    "covering-hard": Rules(
        scenes.covering_hard,
        hardest=1,
        score=sheltered,
        best=_edges,
        enough=COVERED,
        sticky=0.5,
        few=True,
        room=_room_of_few,
    ),
}
"""By the second part of an id."""
