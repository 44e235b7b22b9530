"""Small worlds of our own: Catch, and a maze for coverage.

Both are `gymnasium.Env` with Dict observations, and fast: tens of thousands of steps a second in one process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Chart, Suite, Task
from expedition import UserError

Observation = dict[str, np.ndarray]

# S: start, G: goal. A perfect maze (no loops); the goal is the farthest cell, 52 moves from the start.
MAZE = """\
###############
#S#     #     #
# ##### # # # #
#     #   # # #
##### ### # # #
#   #   # # # #
# # ### # # # #
# #   # # # # #
# ### # ### # #
#   # # #   # #
# # # # # ### #
# # # # # #   #
# # ### # # ###
# #       #  G#
###############""".splitlines()
NUM_CELLS = sum(symbol != "#" for line in MAZE for symbol in line)

# Mid-grey floors: a decoder that ends in a sigmoid learns bright things late on a black ground, because it
# saturates on the ground first.
LARGE = 256  # pixels a side of what `render` returns
FLOOR, WALL, BLUE, GREEN, RED = (110, 110, 110), (30, 30, 30), (60, 130, 255), (40, 200, 80), (230, 70, 60)


class _Canvas:
    """Draws cells of a grid into a square picture whose edges they fill as evenly as whole pixels allow."""

    def __init__(self, rows: int, columns: int, size: int) -> None:
        if size < max(rows, columns):
            raise UserError(
                f"An image size of {size} is too small: give at least {max(rows, columns)} pixels."
            )
        self._y = np.linspace(0, size, rows + 1).astype(int).tolist()
        self._x = np.linspace(0, size, columns + 1).astype(int).tolist()
        self.background = np.full((size, size, 3), FLOOR, np.uint8)

    def paint(self, image: np.ndarray, row: int, column: int, colour: tuple[int, int, int]) -> None:
        """Fill one cell of `image`, (size, size, 3) uint8, in place."""
        image[self._y[row] : self._y[row + 1], self._x[column] : self._x[column + 1]] = colour


class _GridWorld(gymnasium.Env[Any, Any]):
    """What Catch and the maze share: observations as a picture or a vector, and rendering.

    A child sets `_shape` (rows, columns) and defines `_draw` and `_vector`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}
    _shape: tuple[int, int]

    def __init__(self, observe: str, image_size: int, vector_size: int, render_mode: str | None) -> None:
        self.render_mode = render_mode
        self._pixels = observe == "pixels"
        self._canvas = self._new_canvas(image_size)
        self._large = self._new_canvas(LARGE)
        if self._pixels:
            image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            self.observation_space = spaces.Dict({"image": image})
        else:
            self.observation_space = spaces.Dict({"vector": spaces.Box(0.0, 1.0, (vector_size,), np.float32)})

    def _new_canvas(self, size: int) -> _Canvas:
        return _Canvas(*self._shape, size)

    def _observe(self) -> Observation:
        return {"image": self._draw(self._canvas)} if self._pixels else {"vector": self._vector()}

    def _draw(self, canvas: _Canvas) -> np.ndarray:
        raise NotImplementedError

    def _vector(self) -> np.ndarray:
        raise NotImplementedError

    def render(self) -> np.ndarray | None:
        """Return a (256, 256, 3) uint8 picture of the present state, or None without a render mode."""
        return None if self.render_mode is None else self._draw(self._large)


class Catch(_GridWorld):
    """Catch (Mnih et al. 2014; bsuite, Osband et al. 2020): be under the ball when it lands.

    A ball falls one row a step from a random column of the first of 10 rows; the paddle on the last row
    starts in the middle of 5 columns. Observation: `image` uint8 (image_size, image_size, 3), ball red and
    paddle blue, or `vector` float32 (50,), the flattened board with ones at ball and paddle. Actions: left,
    stay, right. The ninth step terminates with reward 1 (caught) or -1 (missed); every other reward is 0.
    """

    _shape = (10, 5)

    def __init__(
        self, observe: str = "pixels", image_size: int = 64, render_mode: str | None = "rgb_array"
    ) -> None:
        """Observe "pixels" or "vector"; `image_size` in pixels."""
        rows, columns = self._shape
        super().__init__(observe, image_size, rows * columns, render_mode)
        self.action_space = spaces.Discrete(3)
        self._ball = (0, 0)
        self._paddle = columns // 2

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode with the ball in a column drawn from the seed."""
        super().reset(seed=seed)
        columns = self._shape[1]
        self._ball = (0, int(self.np_random.integers(columns)))
        self._paddle = columns // 2
        return self._observe(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the paddle by `action - 1` columns and let the ball fall one row."""
        rows, columns = self._shape
        self._paddle = min(max(self._paddle + int(action) - 1, 0), columns - 1)
        self._ball = (self._ball[0] + 1, self._ball[1])
        landed = self._ball[0] == rows - 1
        reward = (1.0 if self._paddle == self._ball[1] else -1.0) if landed else 0.0
        return self._observe(), reward, landed, False, {}

    def _draw(self, canvas: _Canvas) -> np.ndarray:
        image = canvas.background.copy()
        canvas.paint(image, *self._ball, RED)
        canvas.paint(image, self._shape[0] - 1, self._paddle, BLUE)
        return image

    def _vector(self) -> np.ndarray:
        rows, columns = self._shape
        board = np.zeros(rows * columns, np.float32)
        board[self._ball[0] * columns + self._ball[1]] = 1
        board[(rows - 1) * columns + self._paddle] = 1
        return board


class Maze(_GridWorld):
    """A fixed maze of long corridors, which a random walk covers slowly.

    97 free cells of a 15x15 grid, always from the same corner. Observation: `image` uint8 (image_size,
    image_size, 3) from above, walls dark, agent blue, goal green until it is reached; or `vector` float32
    (98,), one-hot of the cell and 1 while the goal waits. Actions: up, down, left, right; a wall leaves the
    agent where it is. Reward: 1 on reaching the goal (52 moves away) for the first time in an episode. The
    episode goes on after that, so the goal does not disturb coverage, and is cut off (never terminal) after
    `limit` steps.
    """

    _shape = (len(MAZE), len(MAZE[0]))
    _moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def __init__(
        self,
        observe: str = "pixels",
        image_size: int = 64,
        limit: int = 200,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Observe "pixels" or "vector"; `image_size` in pixels, `limit` in steps."""
        symbols = {(y, x): symbol for y, line in enumerate(MAZE) for x, symbol in enumerate(line)}
        self._numbers = {cell: n for n, cell in enumerate(cell for cell, s in symbols.items() if s != "#")}
        self._start, self._goal = (next(c for c, s in symbols.items() if s == mark) for mark in "SG")
        super().__init__(observe, image_size, self.num_cells + 1, render_mode)
        self.action_space = spaces.Discrete(len(self._moves))
        self._limit = limit
        self._visited = np.zeros(self._shape, bool)
        self._cell: tuple[int, int]
        self._seen: set[tuple[int, int]]
        self._waiting: bool
        self._steps: int
        self._begin()

    @property
    def num_cells(self) -> int:
        """How many cells can be stood on."""
        return len(self._numbers)

    @property
    def visited(self) -> np.ndarray:
        """Cells stood on since this object was made, over all episodes: bool (15, 15), a copy."""
        return self._visited.copy()

    def chart(self) -> Chart:
        """Return the maze from above, by the names that `info["reached"]` gives its cells."""
        rows, columns = self._shape
        cells = {f"{y}:{x}": (y, x) for y, x in self._numbers}
        return Chart("the maze", self._large.background, rows, columns, cells)

    def coverage(self) -> float:
        """Return the share of free cells stood on since this object was made, 0 to 1."""
        return float(self._visited.sum() / self.num_cells)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in the corner; nothing here is random."""
        super().reset(seed=seed)
        self._begin()
        self._visited[self._cell] = True
        return self._observe(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one cell.

        The last step's `info["episode_metrics"]` holds `cells_visited`, `goal_reached`, and `info["reached"]`
        the cells that were visited, as "row:column".
        """
        dy, dx = self._moves[int(action)]
        target = (self._cell[0] + dy, self._cell[1] + dx)
        if target in self._numbers:
            self._cell = target
        self._visited[self._cell] = True
        self._seen.add(self._cell)
        self._steps += 1
        found = self._waiting and self._cell == self._goal
        self._waiting = self._waiting and not found
        truncated = self._steps >= self._limit
        metrics = {"cells_visited": float(len(self._seen)), "goal_reached": float(not self._waiting)}
        told = {"episode_metrics": metrics, "reached": [f"{y}:{x}" for y, x in self._seen]}
        return self._observe(), float(found), False, truncated, told if truncated else {}

    def _begin(self) -> None:
        self._cell = self._start
        self._seen = {self._start}
        self._waiting = True
        self._steps = 0

    def _new_canvas(self, size: int) -> _Canvas:
        canvas = super()._new_canvas(size)
        for y, line in enumerate(MAZE):
            for x, symbol in enumerate(line):
                canvas.paint(canvas.background, y, x, WALL if symbol == "#" else FLOOR)
        return canvas

    def _draw(self, canvas: _Canvas) -> np.ndarray:
        image = canvas.background.copy()
        if self._waiting:
            canvas.paint(image, *self._goal, GREEN)
        canvas.paint(image, *self._cell, BLUE)
        return image

    def _vector(self) -> np.ndarray:
        vector = np.zeros(self.num_cells + 1, np.float32)
        vector[self._numbers[self._cell]] = 1
        vector[-1] = self._waiting
        return vector


def summarise_maze(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return means over episodes of `cells_visited`, `coverage` (share of cells) and `goal_reached`."""
    rows = [row for row in episodes if "cells_visited" in row]
    if not rows:
        return {}
    cells = sum(row["cells_visited"] for row in rows) / len(rows)
    goals = sum(row["goal_reached"] for row in rows) / len(rows)
    return {"cells_visited": cells, "coverage": cells / NUM_CELLS, "goal_reached": goals}


_CATCH = "Be under the falling ball: 9 steps, reward 1 caught or -1 missed."
_MAZE = "A fixed maze of long corridors: 97 cells, 200 steps, a goal 52 moves from the start."
_IMAGE = "image uint8 (64, 64, 3)"

CATCH_SUITE: Suite = Suite(
    "catch",
    {
        "pixels": Task(_CATCH, _IMAGE, "Discrete(3)"),
        "vector": Task(_CATCH, "vector float32 (50,)", "Discrete(3)"),
    },
    lambda task, options, image_size: Catch(task, image_size),
)
MAZE_SUITE: Suite = Suite(
    "maze",
    {
        "pixels": Task(_MAZE, _IMAGE, "Discrete(4)"),
        "vector": Task(_MAZE, "vector float32 (98,)", "Discrete(4)"),
    },
    lambda task, options, image_size: Maze(task, image_size),
    summarise=summarise_maze,
    reachable=lambda task, options: NUM_CELLS,
    charts=lambda task, options: [Maze().chart()],
)
