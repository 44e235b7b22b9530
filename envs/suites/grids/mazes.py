"""Procedural mazes to explore once and then use: one world, two tasks that differ in reward alone.

Our own; randomised depth-first search makes perfect mazes of long corridors, which a random walk covers
slowly.

- A level, by its number, has walls, a start, a goal on the cell farthest from the start, and 6 tiles on cells
  of their own: 2 gold, 2 silver, 2 red. `size` rows and columns, the outer walls included.
- Actions: up, down, left, right; a wall leaves the agent where it is. Goal and tiles vanish when stepped on.
- Task `goal`: 1 for the goal. Task `collect`: 1 for gold, 0.5 for silver, -1 for red, which may lie across
  the only way. Everything else pays 0, and the other task's reward stands in `info["task_rewards"]`.
- With `slip` the floor is slippery: that share of the steps goes in a direction drawn at random.
- Nothing terminates: an episode is cut off after `limit` steps, in both tasks alike, so that a model learned
  in one (or without reward) is right for the other.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from envs.captions.grids import MazeCaptions
from envs.suite import Draw, Option, Suite, Task
from envs.suites.grids.gridworlds import BLUE, GREEN, RED
from envs.suites.grids.gridworlds import FLOOR as FLOOR_COLOUR
from envs.suites.grids.gridworlds import WALL as WALL_COLOUR
from envs.suites.grids.levels import FLOOR, MOVES, OPTIONS, WALL, Canvas, LevelGame, Maze, carve, put
from envs.suites.levels import DRAWN, LARGE, Dice, means
from expedition import UserError

CODES = ("wall", "floor", "agent", "goal", "gold", "silver", "red")
"""By number, what a cell of a board holds."""
AGENT, GOAL, GOLD, SILVER, DANGER = 2, 3, 4, 5, 6
TILES = (GOLD, GOLD, SILVER, SILVER, DANGER, DANGER)
REWARDS: Mapping[str, Mapping[int, float]] = {
    "goal": {GOAL: 1.0},
    "collect": {GOLD: 1.0, SILVER: 0.5, DANGER: -1.0},
}
"""By task, what stepping on a code pays."""
METRICS = ("cells_visited", "coverage", "goal_reached", "gold", "silver", "red", "success")
WINDOW = 7
SMALLEST = 7
_PALETTE = (WALL_COLOUR, FLOOR_COLOUR, BLUE, GREEN, (250, 210, 60), (225, 225, 230), RED)


class Level(NamedTuple):
    """What a level's number stands for. Attributes: maze, start (a cell), board (goal and tiles on it)."""

    maze: Maze
    start: int
    board: bytes


class State(NamedTuple):
    """All that the future depends on.

    Attributes:
        level: its number. luck: state of the dice. steps: steps taken. over: whether the episode has ended.
        agent: its cell, row * size + column. board: walls, floor, goal and tiles that are left, by cell.
        visited: bit c is set once the agent stood on cell c.
    """

    level: int
    luck: int
    steps: int
    over: bool
    agent: int
    board: bytes
    visited: int


class Mazes(LevelGame):
    """One of the two tasks above.

    Observation: `image` uint8 (image_size, image_size, 3): walls dark, floor grey, agent blue, goal green,
    tiles gold, silver and red; or `cells` MultiDiscrete (size**2,), row by row a number into CODES.
    With view "local" both show only the 7 x 7 cells around the agent (what lies outside is wall). Actions:
    up, down, left, right. `info["level"]`: the level's number.

    On the last step `info["episode_metrics"]` has `cells_visited`, `coverage` (share of the level's cells),
    `goal_reached`, the share of the `gold`, `silver` and `red` tiles taken, and `success`: the goal was
    reached, or all gold and silver taken.
    """

    def __init__(
        self,
        task: str = "goal",
        observe: str = "pixels",
        image_size: int = 64,
        num_levels: int = 0,
        start_level: int = 0,
        size: int = 15,
        limit: int = 200,
        loops: float = 0.0,
        view: str = "full",
        slip: float = 0.0,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Choose what is rewarded, what is seen and which levels are played.

        Args:
            task: "goal" or "collect".
            observe: "pixels" or "symbols".
            image_size: height and width of the observation, in pixels; at least one a cell.
            num_levels: how many levels are played; 0 for all from `start_level` on.
            start_level: the first of them.
            size: rows and columns, odd, at least 7.
            limit: steps of every episode.
            loops: share of the walls left between rooms that is opened; 0 for perfect mazes.
            view: "full" or "local".
            slip: probability that a step goes in a random direction.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: a size does not fit, or there are no such levels.
        """
        if size < SMALLEST or size % 2 == 0:
            raise UserError(f"A maze's size must be odd and at least {SMALLEST}, not {size}.")
        if not 0 <= slip <= 1:
            raise UserError(f"A maze's slip is a probability, from 0 to 1, not {slip:g}.")
        seen = size if view == "full" else WINDOW
        super().__init__(
            len(MOVES),
            Canvas(_PALETTE, seen, seen, image_size),
            Canvas(_PALETTE, size, size, max(LARGE, size)),
            {"cells": [len(CODES)] * seen**2},
            observe=observe,
            image_size=image_size,
            num_levels=num_levels,
            start_level=start_level,
            limit=limit,
            render_mode=render_mode,
        )
        self.task_rewards = tuple(name for name in REWARDS if name != task)
        self._rewards, self._others = REWARDS[task], {name: REWARDS[name] for name in self.task_rewards}
        self._size, self._loops, self._local = size, loops, view == "local"
        self._slip = slip
        self._task = task

    def level(self, number: int) -> Level:
        """Return what a level's number stands for."""
        return _level(number, self._size, self._loops)

    def _plan(self, level: int) -> tuple[Maze, bytes]:
        maze, _, board = self.level(level)
        return maze, board

    def _begin(self, level: int, dice: Dice) -> State:
        _, start, board = self.level(level)
        return State(level, dice.state, 0, False, start, board, 1 << start)

    def _play(self, state: State, action: int) -> tuple[State, float, bool, dict[str, Any]]:
        if self._slip:
            dice = Dice(state.luck)
            action = dice.below(len(MOVES)) if dice.chance(self._slip) else action
            state = state._replace(luck=dice.state)
        state, found = advance(self.level(state.level).maze, state, action)
        others = {name: rewards.get(found, 0.0) for name, rewards in self._others.items()}
        return state, self._rewards.get(found, 0.0), False, {"task_rewards": others}

    def _metrics(self, state: State) -> dict[str, float]:
        cells, board = state.visited.bit_count(), state.board
        coverage = cells / len(self.level(state.level).maze.floor)
        taken = [1 - board.count(code) / TILES.count(code) for code in (GOLD, SILVER, DANGER)]
        reached = GOAL not in board
        success = reached if self._task == "goal" else taken[0] == taken[1] == 1
        values = (cells, coverage, reached, *taken, success)
        return {name: float(value) for name, value in zip(METRICS, values, strict=True)}

    def _board(self, state: State) -> bytes:
        return put(state.board, state.agent, AGENT)

    def _seen(self, state: State) -> bytes:
        board = self._board(state)
        if not self._local:
            return board
        (y, x), margin = divmod(state.agent, self._size), WINDOW // 2
        padded = np.full((self._size + 2 * margin, self._size + 2 * margin), WALL, np.uint8)
        inner = padded[margin:-margin, margin:-margin]
        inner[:] = np.frombuffer(board, np.uint8).reshape(inner.shape)
        return padded[y : y + WINDOW, x : x + WINDOW].tobytes()


@functools.lru_cache(1024)
def _level(number: int, size: int, loops: float) -> Level:
    dice = Dice(~number)  # the complement: episodes' dice begin at their seeds
    maze = carve(dice, size, size, loops=loops)
    start = dice.choice(maze.floor)
    *others, goal = (cell for cell in maze.distances(start) if cell != start)
    board = put(maze.board, goal, GOAL)
    for cell, code in zip(dice.sample(others, len(TILES)), TILES, strict=True):
        board = put(board, cell, code)
    return Level(maze, start, board)


def advance(maze: Maze, state: State, action: int) -> tuple[State, int]:
    """Play one step; return the state, and the code of what was stepped on (FLOOR for nothing).

    Args:
        maze: that of `state.level`.
        state: any that is not over.
        action: up, down, left or right (0 to 3).
    """
    level, luck, steps, over, agent, board, visited = state
    agent = maze.moves[action][agent]
    found = board[agent]
    if found != FLOOR:
        board = put(board, agent, FLOOR)
    return State(level, luck, steps + 1, over, agent, board, visited | 1 << agent), found


def _build(task: str, options: Mapping[str, Any], image_size: int) -> Mazes:
    return Mazes(task, image_size=image_size, **options)


def _draw(task: str, options: Mapping[str, Any]) -> Draw | None:
    if options["observe"] == "pixels":
        return None
    seen = options["size"] if options["view"] == "full" else WINDOW
    canvas = Canvas(_PALETTE, seen, seen, max(DRAWN, seen))
    return lambda observation: canvas.draw(np.asarray(observation["cells"], np.uint8).tobytes())


def _cells(task: str, options: Mapping[str, Any]) -> int | None:
    """Cells of all levels: `n` rooms and the `n - 1` openings that join them without a loop, in each."""
    rooms = (options["size"] // 2) ** 2
    return options["num_levels"] * (2 * rooms - 1) or None if options["loops"] == 0 else None


_IMAGE = "image uint8 (64, 64, 3)"
SUITE: Suite = Suite(
    "mazes",
    {
        "goal": Task(
            "A maze by number, 15 x 15, 200 steps: 1 for the goal, far away.", _IMAGE, "Discrete(4)"
        ),
        "collect": Task(
            "The same mazes: tiles of gold 1, silver 0.5 and red -1, two of each.", _IMAGE, "Discrete(4)"
        ),
    },
    _build,
    options={
        **OPTIONS,
        "size": Option(15, "rows and columns of a maze, odd", least=SMALLEST),
        "limit": Option(200, "steps of every episode", least=1),
        "loops": Option(0.0, "share of the walls left between rooms that is opened", least=0),
        "slip": Option(0.0, "probability that a step goes in a random direction", least=0),
        "view": Option("full", "the whole maze, or the 7 x 7 cells around the agent", ("full", "local")),
    },
    summarise=functools.partial(means, names=METRICS),
    reachable=_cells,
    draw=_draw,
    charts=lambda task, options: _build(task, options, LARGE).charts(),
    captions=lambda task, options: MazeCaptions(task),
)
