"""Minipacman on procedural mazes: a grid game of eating and being chased.

Source. Racanière et al. 2017 (Imagination-Augmented Agents, arXiv:1707.06203) describe the game and its five
tasks; the first author published the simulator, and it, read as the reference, decides where the paper is
silent or differs. Hamrick et al. 2021 (arXiv:2011.04021) play it on procedural mazes to study generalisation;
how theirs are made is not known to us. The code is our own.

Rules ("regular" task; from the source, but for what is marked *):

- 15 rows, 19 columns. Actions: up, down, left, right, stay; a wall stops.
- A stage begins with food on every floor cell, 2 power pills on top of it, and Pacman, all placed uniformly,
  the pills on two different cells*; and 1 + (stage - 1) // 2 ghosts, each facing anywhere, uniformly among
  the cells at least 5 rows or 5 columns from Pacman (* the source: 6 up and left, 5 down and right).
- A step: the power falls by 1 if there is any; Pacman moves and eats what lies there, also where it stayed;
  the ghosts take their turns in order.
- Food pays 1. A pill pays 2 and sets the power to 20. With the last food the next stage begins at once in the
  same maze, and the ghosts wait until the next step*.
- A ghost's turn: if it shares Pacman's cell they meet. Else it moves with probability 0.5 + 0.1 (stage - 1),
  half of it while there is power, and if it then shares Pacman's cell they meet.
- Meeting without power ends the episode (terminal, pays 0). With power the ghost is eaten, pays 5, is gone
  for the stage, and the other ghosts' turns are over: one a step at most.
- A ghost with one way out takes it. With two it goes on ahead, or else takes the one that does not turn back.
  With more it never turns back, and takes the way whose direction has the largest dot product with the
  direction to Pacman, with power the smallest (ties: the first of up, down, left, right*); without power,
  with probability 0.05, any of them.
- After `limit` steps (3,000) the episode is cut off.

The walls* are a level's: `levels.carve` without dead ends, 0.2 of the walls left between rooms opened. They
stay for the episode, so `num_levels` counts mazes; placements and luck are drawn from the episode's seed.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from envs.suite import Draw, Option, Suite, Task
from envs.suites.grids.levels import FLOOR, MOVES, OPTIONS, WALL, Canvas, LevelGame, Maze, carve, put
from envs.suites.levels import DRAWN, LARGE, Dice, Observation, means

HEIGHT, WIDTH = 15, 19
FOOD, PILL, PACMAN, GHOST = 2, 3, 4, 5  # codes on a board; a ghost's is GHOST + power
POWER = 20
METRICS = ("cells_visited", "coverage", "stages_cleared", "food_eaten", "pills_eaten", "ghosts_eaten")
FOOD_REWARD, PILL_REWARD, GHOST_REWARD = 1.0, 2.0, 5.0
_NUM_PILLS, _MARGIN, _WHIM = 2, 5, 0.05
_SPEED, _FASTER, _FRIGHT = 0.5, 0.1, 0.5
CODES = (
    "wall",
    "floor",
    "food",
    "pill",
    "pacman",
    "pacman on food",
    "pacman on a pill",
    "ghost",
    "ghost on food",
    "ghost on a pill",
    "pacman and a ghost",
)
"""By number, what the entry `cells` says of a cell."""
_PACMAN_ON, _GHOST_ON, _BOTH = 4, 7, 10
# What a picture shows of each of them, as a code on a board.
_SHOWN = np.array([WALL, FLOOR, FOOD, PILL, *[PACMAN] * 3, *[GHOST] * 3, PACMAN], np.uint8)
# The source's colours: the redder a ghost, the less time is left to eat it.
_PALETTE = [(255, 255, 255), (0, 0, 0), (0, 0, 255), (0, 255, 255), (0, 255, 0)]
_PALETTE += [(255, 255 * power // POWER, 0) for power in range(POWER + 1)]


class State(NamedTuple):
    """All that the future of a game depends on, and the episode's counts.

    Attributes:
        level: number of the maze. luck: state of the dice. steps: steps taken. over: whether it has ended.
        stage: 1 for the first. pacman: its cell, row * 19 + column. power: steps left to eat ghosts in.
        ghosts: (cell, direction) of each. board: walls, floor, food and pills by cell.
        visited: bit c is set once Pacman stood on cell c. food, pills, kills: how many were eaten.
    """

    level: int
    luck: int
    steps: int
    over: bool
    stage: int
    pacman: int
    power: int
    ghosts: tuple[tuple[int, int], ...]
    board: bytes
    visited: int
    food: int
    pills: int
    kills: int


class Minipacman(LevelGame):
    """Eat all food, flee the ghosts, or hunt them after a power pill; rules and source above.

    Observation: `image` uint8 (image_size, image_size, 3): walls white, floor black, food blue, pills cyan,
    Pacman green, ghosts red, yellow while they can be eaten; or `cells` MultiDiscrete (285,), row by row a
    number into CODES, and `power` MultiDiscrete (1,), for how many steps ghosts can be eaten, 0 to 20.
    Directions of ghosts are not shown. Actions: up, down, left, right, stay. `info["level"]`: the maze's
    number.

    On the last step `info["episode_metrics"]` has `cells_visited`, `coverage` (share of the maze's cells),
    `stages_cleared`, `food_eaten`, `pills_eaten` and `ghosts_eaten`.
    """

    def __init__(
        self,
        observe: str = "pixels",
        image_size: int = 64,
        num_levels: int = 0,
        start_level: int = 0,
        limit: int = 3000,
        loops: float = 0.2,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Choose what is seen and which mazes are played.

        Args:
            observe: "pixels" or "symbols".
            image_size: height and width of the observation, in pixels; at least 19.
            num_levels: how many mazes are played; 0 for all from `start_level` on.
            start_level: the first of them.
            limit: steps until the episode is cut off.
            loops: share of the walls left between rooms that is opened.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: the image is too small, or there are no such levels.
        """
        super().__init__(
            len(MOVES) + 1,
            Canvas(_PALETTE, HEIGHT, WIDTH, image_size),
            Canvas(_PALETTE, HEIGHT, WIDTH, LARGE),
            {"cells": [len(CODES)] * (HEIGHT * WIDTH), "power": [POWER + 1]},
            observe=observe,
            image_size=image_size,
            num_levels=num_levels,
            start_level=start_level,
            limit=limit,
            render_mode=render_mode,
        )
        self._loops = loops

    def maze(self, level: int) -> Maze:
        """Return a level's maze, for `advance`."""
        return _maze(level, self._loops)

    def _plan(self, level: int) -> tuple[Maze, bytes]:
        return self.maze(level), self.maze(level).board

    def _begin(self, level: int, dice: Dice) -> State:
        return begin(self.maze(level), level, dice)

    def _play(self, state: State, action: int) -> tuple[State, float, bool, dict[str, Any]]:
        return *advance(self.maze(state.level), state, action), {}

    def _metrics(self, state: State) -> dict[str, float]:
        cells = state.visited.bit_count()
        coverage = cells / len(self.maze(state.level).floor)
        values = (cells, coverage, state.stage - 1, state.food, state.pills, state.kills)
        return {name: float(value) for name, value in zip(METRICS, values, strict=True)}

    def _board(self, state: State) -> bytearray:
        board = bytearray(state.board)
        for cell, _ in state.ghosts:
            board[cell] = GHOST + state.power
        board[state.pacman] = PACMAN
        return board

    def _symbols(self, state: State) -> Observation:
        cells = bytearray(state.board)
        cells[state.pacman] += _PACMAN_ON - FLOOR
        for cell, _ in state.ghosts:
            cells[cell] = _BOTH if cell == state.pacman else _GHOST_ON + state.board[cell] - FLOOR
        return {"cells": np.frombuffer(cells, np.uint8), "power": np.array([state.power], np.uint8)}


@functools.lru_cache(1024)
def _maze(level: int, loops: float) -> Maze:
    # The complement keeps the dice of mazes apart from those of episodes, which begin at their seeds.
    return carve(Dice(~level), HEIGHT, WIDTH, loops=loops, dead_ends=False)


def begin(maze: Maze, level: int, dice: Dice) -> State:
    """Return the first state of an episode in the maze `level`."""
    pacman, ghosts, board = _place(maze, dice, 1)
    return State(level, dice.state, 0, False, 1, pacman, 0, ghosts, board, 1 << pacman, 0, 0, 0)


def advance(maze: Maze, state: State, action: int) -> tuple[State, float, bool]:
    """Play one step by the rules above; return the state, the reward, and whether Pacman was caught.

    Args:
        maze: that of `state.level`.
        state: any that is not over.
        action: up, down, left, right or stay (0 to 4).
    """
    level, luck, steps, over, stage, _, power, ghosts, board, visited, food, pills, kills = state
    dice, power, reward, caught, eaten = Dice(luck), max(power - 1, 0), 0.0, False, 0
    pacman = maze.moves[action][state.pacman]
    here = board[pacman]
    if here != FLOOR:
        board, reward, food = put(board, pacman, FLOOR), FOOD_REWARD, food + 1
        if here == PILL:
            reward, power, pills = reward + PILL_REWARD, POWER, pills + 1
    visited |= 1 << pacman
    if here != FLOOR and FOOD not in board and PILL not in board:
        stage, power = stage + 1, 0
        pacman, ghosts, board = _place(maze, dice, stage)
        visited |= 1 << pacman
    else:
        ghosts, caught, eaten = _chase(maze, ghosts, pacman, power, stage, dice)
    counts = (visited, food, pills, kills + eaten)
    state = State(level, dice.state, steps + 1, over, stage, pacman, power, ghosts, board, *counts)
    return state, reward + GHOST_REWARD * eaten, caught


def _place(maze: Maze, dice: Dice, stage: int) -> tuple[int, tuple[tuple[int, int], ...], bytes]:
    """Draw Pacman's cell, the ghosts and the board that a stage begins with."""
    board = maze.board.replace(bytes([FLOOR]), bytes([FOOD]))
    for cell in dice.sample(maze.floor, _NUM_PILLS):
        board = put(board, cell, PILL)
    pacman = dice.choice(maze.floor)
    y, x = divmod(pacman, WIDTH)
    far = [c for c in maze.floor if max(abs(c // WIDTH - y), abs(c % WIDTH - x)) >= _MARGIN]
    count = 1 + (stage - 1) // 2
    return pacman, tuple((dice.choice(far), dice.below(4)) for _ in range(count)), board


def _chase(
    maze: Maze, ghosts: tuple[tuple[int, int], ...], pacman: int, power: int, stage: int, dice: Dice
) -> tuple[tuple[tuple[int, int], ...], bool, int]:
    """Give the ghosts their turns; return them, whether Pacman was caught, and how many it ate."""
    speed = (_SPEED + _FASTER * (stage - 1)) * (_FRIGHT if power else 1.0)
    moved = list(ghosts)
    for index, (cell, facing) in enumerate(ghosts):
        if cell != pacman and dice.chance(speed):
            facing = _turn(maze, cell, facing, pacman, power, dice)
            cell = maze.moves[facing][cell]
            moved[index] = (cell, facing)
        if cell == pacman:
            if power:
                del moved[index]
            return tuple(moved), not power, int(power > 0)
    return tuple(moved), False, 0


def _turn(maze: Maze, cell: int, facing: int, pacman: int, power: int, dice: Dice) -> int:
    """Return the direction that a ghost moves in."""
    ways, back = maze.exits[cell], facing ^ 1
    if len(ways) == 1:
        return ways[0]
    if len(ways) == 2:
        return facing if facing in ways else ways[ways[0] == back]
    ways = tuple(way for way in ways if way != back)
    if not power and dice.chance(_WHIM):
        return dice.choice(ways)
    dy, dx = pacman // WIDTH - cell // WIDTH, pacman % WIDTH - cell % WIDTH
    sign = -1 if power else 1
    return max(ways, key=lambda way: sign * (dy * MOVES[way][0] + dx * MOVES[way][1]))


def _build(task: str, options: Mapping[str, Any], image_size: int) -> Minipacman:
    return Minipacman(image_size=image_size, **options)


def _draw(task: str, options: Mapping[str, Any]) -> Draw | None:
    if options["observe"] == "pixels":
        return None
    canvas = Canvas(_PALETTE, HEIGHT, WIDTH, DRAWN)

    def draw(observation: Mapping[str, np.ndarray]) -> np.ndarray:
        board = _SHOWN[observation["cells"]]
        board[board == GHOST] += int(observation["power"][0])
        return canvas.draw(board.tobytes())

    return draw


SUITE: Suite = Suite(
    "minipacman",
    {
        "": Task(
            "Eat, flee and hunt on procedural 15 x 19 mazes (Racanière et al. 2017), 3,000 steps at most.",
            "image uint8 (64, 64, 3)",
            "Discrete(5)",
        )
    },
    _build,
    options={
        **OPTIONS,
        "limit": Option(3000, "steps until an episode is cut off", least=1),
        "loops": Option(0.2, "share of the walls left between rooms that is opened", least=0),
    },
    summarise=functools.partial(means, names=METRICS),
    draw=_draw,
    charts=lambda task, options: _build(task, options, LARGE).charts(),
)
