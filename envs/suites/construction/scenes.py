"""What is built of and for: scenes of the four tasks, drawn from the numbers of levels.

Sizes and counts follow the paper and its published environment: the scene is 14 units wide, blocks are 0.7
high and 0.7, 2.1 or 3.5 wide. How a scene is drawn is ours. All edges lie on a grid of half a small block, so
that actions on that grid reach every place; obstacles are a little narrower, to leave room beside them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from envs.suites.construction.shapes import Box
from envs.suites.levels import Dice

WIDTH = 14.0
HALF = WIDTH / 2
PITCH = 0.35
"""Of the grid, in units."""
COLUMNS = 40
ROW = 0.7
"""Height of a block, in units."""
SMALL, MEDIUM, LARGE = 2, 6, 10  # widths of blocks, in columns
KINDS = (SMALL, MEDIUM, LARGE)
FEW = (SMALL, MEDIUM, SMALL, LARGE, MEDIUM, SMALL, MEDIUM)
"""The blocks of `covering-hard`."""
THICK = 0.35
"""Height of obstacles, and sides of targets to connect, in units; both are in the middle of their rows."""
MARGIN = 0.05
"""What an obstacle leaves of the grid on each side, in units."""
TRIES = 1000
CONNECTING = (
    # by difficulty: row of the targets, layers of obstacles, least and most obstacles in each
    (0, 0, 0, 0),
    (1, 0, 0, 0),
    (1, 1, 1, 1),
    (1, 1, 1, 2),
    (1, 1, 2, 3),
    (2, 1, 2, 3),
    (3, 1, 3, 3),
    (3, 2, 3, 3),
    (4, 2, 3, 3),
    (5, 3, 3, 3),
)


class Scene(NamedTuple):
    """What a level's number stands for.

    Attributes:
        obstacles, targets: where they are.
        supply: widths of the blocks at hand, in units.
        limit: steps of an episode.
    """

    obstacles: tuple[Box, ...]
    targets: tuple[Box, ...]
    supply: tuple[float, ...]
    limit: int


class Place(NamedTuple):
    """A stretch of the grid. Attributes: row, from the floor; left, its first column; width, in columns."""

    row: int
    left: int
    width: int

    @property
    def right(self) -> int:
        """The column after its last."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """In columns."""
        return self.left + self.width / 2

    def near(self, other: "Place", gap: int = 0) -> bool:
        """Whether there are fewer than `gap` columns between two, whatever their rows."""
        return self.left < other.right + gap and other.left < self.right + gap

    def box(self, width: float, height: float) -> Box:
        """Return a box of this size, in units, in the middle of the place."""
        return Box(self.middle * PITCH - HALF, (self.row + 0.5) * ROW, width, height)


def grown(count: int, size: float) -> int:
    """Return how many there are in a scene `size` times as large, rounded up."""
    return math.ceil(count * size - 1e-9)


def most_obstacles(difficulty: int) -> int:
    """Return how many obstacles there are at most beside a silhouette."""
    return max(0, min(difficulty - 1, 4))


def skyward(difficulty: int, size: float) -> tuple[int, int, int]:
    """Return the row of the targets to connect, the layers of obstacles below them, and the steps."""
    row, layers, _, _ = CONNECTING[difficulty]
    more = grown(layers, size) - layers
    row = row + 2 * more if layers else grown(row, size)
    return row, layers + more, grown(7 * min(max(row, 1), 3), size)


def silhouette(dice: Dice, difficulty: int, size: float) -> Scene:
    """Draw `difficulty + 1` targets that would stand as blocks without glue, and up to 4 obstacles.

    Blocks placed in the order of the targets stand at every moment.
    """
    count, rows = grown(difficulty + 1, size), grown(min(difficulty + 1, 6), size)
    targets: list[Place] = []
    while len(targets) < count:
        found = _supported(dice, targets, rows)
        targets = [*targets, found] if found else []  # a scene that is stuck begins anew
    most = most_obstacles(difficulty)
    obstacles: list[Place] = []
    for _ in range(grown(1 + dice.below(most), size) if most else 0):
        obstacles += _free(dice, dice.below(rows), MEDIUM, [*targets, *obstacles], 1)
    return Scene(
        _obstacles(obstacles),
        tuple(place.box(place.width * PITCH, ROW) for place in targets),
        _widths(KINDS),
        count,
    )


def connecting(dice: Dice, difficulty: int, size: float) -> Scene:
    """Draw three targets above layers of obstacles, between which a row is free."""
    row, layers, steps = skyward(difficulty, size)
    _, _, least, most = CONNECTING[difficulty]
    obstacles: list[Place] = []
    for layer in range(layers):
        obstacles += _layer(dice, 2 * layer, least + dice.below(most - least + 1), 8)
    targets: list[Place] = []
    for _ in range(3):
        targets += _free(dice, row, SMALL, targets, SMALL)
    boxes = tuple(place.box(THICK, THICK) for place in targets)
    return Scene(_obstacles(obstacles), boxes, _widths(KINDS), steps)


def covering(dice: Dice, difficulty: int, size: float) -> Scene:
    """Draw `difficulty + 1` layers of one or two obstacles, between which a row is free."""
    obstacles: list[Place] = []
    for layer in range(grown(difficulty + 1, size)):
        obstacles += _layer(dice, 2 * layer, 1 + dice.below(2), 8)
    return Scene(_obstacles(obstacles), (), _widths(KINDS), grown(28, size))


def covering_hard(dice: Dice, difficulty: int, size: float) -> Scene:
    """Draw `difficulty + 1` layers of one or two obstacles right above each other, and few blocks."""
    obstacles: list[Place] = []
    for layer in range(grown(difficulty + 1, size)):
        obstacles += _layer(dice, layer, 1 + dice.below(2), 10)
    supply = [FEW[number % len(FEW)] for number in range(grown(len(FEW), size))]
    return Scene(_obstacles(obstacles), (), _widths(supply), 2 * len(supply))


def _layer(dice: Dice, row: int, count: int, widest: int) -> list[Place]:
    """Draw obstacles of one row, with room for a small block on each side."""
    found: list[Place] = []
    for _ in range(count):
        found += _free(dice, row, widest, found, SMALL)
    return found


def _free(dice: Dice, row: int, widest: int, taken: Sequence[Place], gap: int) -> list[Place]:
    """Draw a place with `gap` columns to the walls and what is taken in its row; none if none is found."""
    for _ in range(TRIES):
        width = SMALL + dice.below(widest - SMALL + 1)
        place = Place(row, gap + dice.below(COLUMNS - 2 * gap - width + 1), width)
        if not any(other.row == row and place.near(other, gap) for other in taken):
            return [place]
    return []


def _supported(dice: Dice, targets: Sequence[Place], rows: int) -> Place | None:
    """Draw one more target, on the floor or on another one, so that all stand; None if none is found."""
    for _ in range(TRIES):
        below = targets[dice.below(len(targets))] if targets and dice.chance(0.7) else None
        width = dice.choice(KINDS)
        if below is None:
            place = Place(0, 1 + dice.below(COLUMNS - width - 1), width)
        else:
            place = Place(below.row + 1, below.left + 1 - width + dice.below(below.width + width - 1), width)
        inside = place.row < rows and place.left >= 1 and place.right < COLUMNS
        apart = not any(other.row == place.row and place.near(other, 1) for other in targets)
        if inside and apart and stand([*targets, place]):
            return place
    return None


def stand(places: Sequence[Place]) -> bool:
    """Whether blocks on these places stand without glue, each on one alone, half a column to spare.

    The middle of all that a block carries and of itself must lie above the one that it rests on.
    """
    load = {place: (float(place.width), place.width * place.middle) for place in places}
    for place in sorted(places, reverse=True):  # from the top
        under = [other for other in places if other.row == place.row - 1 and other.near(place)]
        if place.row == 0:
            continue
        if len(under) != 1:
            return False
        base, (mass, moment) = under[0], load[place]
        left, right = max(base.left, place.left) + 0.5, min(base.right, place.right) - 0.5
        if not left <= moment / mass <= right:
            return False
        load[base] = (load[base][0] + mass, load[base][1] + moment)
    return True


def _widths(columns: Sequence[int]) -> tuple[float, ...]:
    return tuple(width * PITCH for width in columns)


def _obstacles(places: Sequence[Place]) -> tuple[Box, ...]:
    return tuple(place.box(place.width * PITCH - 2 * MARGIN, THICK) for place in places)
