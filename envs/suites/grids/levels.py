"""What the procedural grid worlds share: mazes from level numbers, pictures, the turn of a game.

A game's state is an immutable tuple of a few numbers and its board, with the dice in it. A step makes the
next one, so a planner keeps, compares and takes up again as many states as it likes at no cost.
"""

import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Chart, Option
from envs.suites.grids.symbols import symbols
from envs.suites.levels import END, Dice, Levelled, Observation
from expedition import UserError

State = Any
"""A game's own NamedTuple, with the fields `level` (its number), `luck` (of the dice), `steps`, `over` and
`visited` (bit c is set once the agent stood on cell c)."""

WALL, FLOOR = 0, 1  # the first two codes of every board; the others are each game's own
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""(rows, columns) of up, down, left and right; the opposite of direction d is d ^ 1."""
CHARTED = 100
"""Levels that are charted at most."""


class Maze:
    """Walls and floor, and where each move leads. A cell is row * width + column.

    Attributes:
        board: WALL or FLOOR by cell, height * width bytes; the outer cells are walls.
        height: rows. width: columns.
        floor: the cells that can be stood on, in order.
        exits: by cell, the directions (numbers into `MOVES`) that lead to floor.
        moves: by action (up, down, left, right, stay) and cell, the cell that it leads to; a wall stops.
    """

    def __init__(self, board: bytes, width: int) -> None:
        self.board, self.width, self.height = board, width, len(board) // width
        self.floor = tuple(cell for cell, code in enumerate(board) if code != WALL)
        self.exits: list[tuple[int, ...]] = [()] * len(board)
        self.moves = [list(range(len(board))) for _ in range(len(MOVES) + 1)]
        steps = (-width, width, -1, 1)
        for cell in self.floor:
            self.exits[cell] = tuple(d for d in range(4) if board[cell + steps[d]] != WALL)
            for direction in self.exits[cell]:
                self.moves[direction][cell] = cell + steps[direction]

    def distances(self, start: int) -> dict[int, int]:
        """Return by cell how many moves it is from `start`, nearest first."""
        found, edge = {start: 0}, [start]
        for cell in edge:  # grows while it is walked
            for direction in self.exits[cell]:
                after = self.moves[direction][cell]
                if after not in found:
                    found[after] = found[cell] + 1
                    edge.append(after)
        return found


@functools.cache
def _rooms(height: int, width: int) -> dict[int, tuple[int, ...]]:
    """Cells in odd rows and columns, each with its neighbours two cells away."""
    cells = [(y, x) for y in range(1, height, 2) for x in range(1, width, 2)]
    return {
        y * width + x: tuple(
            (y + 2 * dy) * width + x + 2 * dx
            for dy, dx in MOVES
            if 0 < y + 2 * dy < height and 0 < x + 2 * dx < width
        )
        for y, x in cells
    }


def carve(dice: Dice, height: int, width: int, *, loops: float = 0.0, dead_ends: bool = True) -> Maze:
    """Draw a maze by randomised depth-first search: perfect (one path between any two cells) but for loops.

    Args:
        dice: what it is drawn with.
        height: rows, odd, at least 3.
        width: columns, likewise.
        loops: the share of the walls left between two neighbouring rooms that is opened.
        dead_ends: whether they stay; else each is opened to one more neighbour.
    """
    board, rooms = bytearray(height * width), _rooms(height, width)
    path = [dice.choice(list(rooms))]
    board[path[0]] = FLOOR
    while path:
        fresh = [room for room in rooms[path[-1]] if board[room] == WALL]
        if fresh:
            room = dice.choice(fresh)
            board[room] = board[(room + path[-1]) // 2] = FLOOR
            path.append(room)
        else:
            path.pop()
    for room, neighbours in rooms.items():
        closed = [(room + other) // 2 for other in neighbours if board[(room + other) // 2] == WALL]
        if not dead_ends and closed and len(neighbours) - len(closed) == 1:
            board[dice.choice(closed)] = FLOOR
    for room, neighbours in rooms.items():
        for other in neighbours:
            between = (room + other) // 2
            if other > room and board[between] == WALL and dice.chance(loops):
                board[between] = FLOOR
    return Maze(bytes(board), width)


def put(board: bytes, cell: int, code: int) -> bytes:
    """Return the board with another code in one cell."""
    return b"%b%c%b" % (board[:cell], code, board[cell + 1 :])


class Canvas:
    """Draws boards as square pictures whose edges the cells fill as evenly as whole pixels allow."""

    def __init__(self, palette: Sequence[tuple[int, int, int]], height: int, width: int, size: int) -> None:
        """Fix the colours by code, the board's rows and columns, and the picture's side in pixels.

        Raises:
            UserError: there are fewer pixels than cells.
        """
        if size < max(height, width):
            raise UserError(
                f"An image size of {size} is too small: give at least {max(height, width)} pixels."
            )
        self._palette = np.array(palette, np.uint8)
        self._shape = (height, width)
        self._y, self._x = (np.arange(size) * cells // size for cells in self._shape)

    def draw(self, board: bytes | bytearray) -> np.ndarray:
        """Return a new picture, (size, size, 3) uint8."""
        cells = self._palette.take(np.frombuffer(board, np.uint8).reshape(self._shape), axis=0)
        return cells.take(self._x, axis=1).take(self._y, axis=0)


OPTIONS: Mapping[str, Option] = {
    "observe": Option("pixels", "an image, or the cells' codes", ("pixels", "symbols")),
    "num_levels": Option(0, "how many levels are played; 0 for all from start_level on", least=0),
    "start_level": Option(0, "the first of these levels", least=0),
}
"""Options of every game here."""


class LevelGame(Levelled):
    """A game on levels by number, whose true simulator a planner can branch: `clone`, `restore`.

    A child draws the first state of a level (`_begin`), plays its rules (`_play`), and shows a state.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}

    def __init__(
        self,
        num_actions: int,
        canvas: Canvas,
        large: Canvas,
        sizes: Mapping[str, list[int]],
        *,
        observe: str,
        image_size: int,
        num_levels: int,
        start_level: int,
        limit: int,
        render_mode: str | None,
    ) -> None:
        """Set the spaces; `sizes` are those of the symbols, how many values each has, by entry.

        Raises:
            UserError: there are no such levels.
        """
        if start_level + max(num_levels, 1) > END:
            raise UserError(f"There are levels 0 to {END - 1}: lower start_level or num_levels.")
        self.render_mode = render_mode
        self._canvas, self._large, self._pixels = canvas, large, observe == "pixels"
        self._levels, self._limited = (start_level, num_levels or END - start_level), num_levels > 0
        self._limit, self._num_actions = limit, num_actions
        entries: dict[str, spaces.Space[Any]] = {name: symbols(size) for name, size in sizes.items()}
        if self._pixels:
            entries = {"image": spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)}
        self.observation_space = spaces.Dict(entries)
        self.action_space = spaces.Discrete(num_actions)

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act once. `info["level"]` is the level's number.

        The last step has `info["episode_metrics"]`, and where the levels are limited `info["reached"]`, the
        cells that were visited as "level:cell". Of unlimited levels hardly any is met twice.
        """
        state = self.clone()
        if state.over:
            raise gymnasium.error.ResetNeeded("Call reset before step: the episode has ended.")
        if not 0 <= action < self._num_actions:
            raise gymnasium.error.InvalidAction(f"Actions are 0 to {self._num_actions - 1}, not {action}.")
        state, reward, terminated, info = self._play(state, int(action))
        info["level"] = state.level
        truncated = state.steps >= self._limit and not terminated
        if terminated or truncated:
            state = state._replace(over=True)
            info["episode_metrics"] = self._metrics(state)
            if self._limited:
                cells = range(state.visited.bit_length())
                info["reached"] = [f"{state.level}:{cell}" for cell in cells if state.visited >> cell & 1]
        self._state = state
        return self._observe(state), reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Return a (256, 256, 3) uint8 picture of the whole board, or None without a render mode."""
        return None if self.render_mode is None else self._large.draw(self._board(self.clone()))

    def charts(self) -> Iterator[Chart]:
        """Yield each level from above, by the names that `info["reached"]` gives its cells.

        Nothing where there are more than `CHARTED` levels.
        """
        first, count = self._levels
        for level in range(first, first + count if count <= CHARTED else first):
            maze, board = self._plan(level)
            cells = {f"{level}:{cell}": divmod(cell, maze.width) for cell in maze.floor}
            yield Chart(f"level {level}", self._large.draw(board), maze.height, maze.width, cells)

    def _observe(self, state: State) -> Observation:
        if self._pixels:
            return {"image": self._canvas.draw(self._seen(state))}
        return self._symbols(state)

    def _seen(self, state: State) -> bytes | bytearray:
        """Return the part of the board that is observed."""
        return self._board(state)

    def _symbols(self, state: State) -> Observation:
        """Return the entries of symbols, uint8 each."""
        return {"cells": np.frombuffer(self._seen(state), np.uint8).copy()}

    @abstractmethod
    def _play(self, state: State, action: int) -> tuple[State, float, bool, dict[str, Any]]: ...

    @abstractmethod
    def _metrics(self, state: State) -> dict[str, float]: ...

    @abstractmethod
    def _board(self, state: State) -> bytes | bytearray: ...

    @abstractmethod
    def _plan(self, level: int) -> tuple[Maze, bytes]:
        """The walls of a level, and its board with what lies there in every episode."""
