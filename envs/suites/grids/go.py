"""Go on a small board against a random opponent, on the rules of PyPI's open-spiel (Lanctot et al. 2019).

Its state can be taken out and put back (`Go.clone`, `Go.restore`), so that a planner can use the simulator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Draw, Suite, Task
from envs.suites.grids.symbols import symbols
from expedition import UserError

SIZE = 9
PASS = SIZE * SIZE
CODES = ("empty", "own stone", "opponent's stone", "empty, no move allowed")
"""By number, what the entry `cells` says of a point."""
EMPTY, OWN, OTHER, BARRED = range(4)
_BLACK = 0
_CELL = 28  # pixels


@dataclass(frozen=True)
class GoState:
    """A moment of a game, from `Go.clone`.

    Attributes:
        position: open-spiel's state.
        generator: of the opponent's random numbers.
        illegal: illegal moves that the agent has made.
    """

    position: Any
    generator: Mapping[str, Any]
    illegal: int


class Go(gymnasium.Env[Any, Any]):
    """9x9 Go: the agent is Black and moves first, White moves uniformly at random, passing included.

    Observation: `cells` MultiDiscrete (81,), row by row from the lowest a number into CODES. Action:
    Discrete(82): a point, or 81 to pass; an illegal move counts as a pass. Reward: 1 won, -1 lost by
    Tromp-Taylor area score with komi 7.5, else 0. Two passes in a row, or 162 moves of both together, end and
    score the game: terminal.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        """Load the game; `render_mode` is "rgb_array" or None."""
        import pyspiel

        self.render_mode = render_mode
        self._game = pyspiel.load_game("go", {"board_size": SIZE})
        self._position: Any = None
        self._illegal = 0
        self.observation_space = spaces.Dict({"cells": symbols([len(CODES)] * PASS)})
        self.action_space = spaces.Discrete(PASS + 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a game on the empty board; the seed settles the opponent's moves."""
        super().reset(seed=seed)
        self._position, self._illegal = self._game.new_initial_state(), 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move, and let the opponent answer. `info["illegal"]` tells whether the move was not legal.

        On the last step `info["episode_metrics"]` holds `win`, 0 or 1, and `illegal_moves`.
        """
        if not 0 <= action <= PASS:
            raise gymnasium.error.InvalidAction(f"Go has actions 0 to {PASS}, not {action}.")
        if self._position is None or self._position.is_terminal():
            raise gymnasium.error.ResetNeeded("Call reset before step: no game is under way.")
        illegal = int(action) not in self._position.legal_actions()
        self._illegal += illegal
        self._position.apply_action(PASS if illegal else int(action))
        if not self._position.is_terminal():
            answers = self._position.legal_actions()
            self._position.apply_action(answers[int(self.np_random.integers(len(answers)))])
        info: dict[str, Any] = {"illegal": illegal}
        if not self._position.is_terminal():
            return self._observe(), 0.0, False, False, info
        reward = float(self._position.returns()[_BLACK])
        info["episode_metrics"] = {"win": float(reward > 0), "illegal_moves": float(self._illegal)}
        return self._observe(), reward, True, False, info

    def clone(self) -> GoState:
        """Return the present moment; steps from it repeat exactly, the opponent's moves included.

        Raises:
            UserError: no game is under way.
        """
        if self._position is None:
            raise UserError("There is no state to clone: call reset first.")
        return GoState(self._position.clone(), self.np_random.bit_generator.state, self._illegal)

    def restore(self, state: GoState, seed: int | None = None) -> dict[str, np.ndarray]:
        """Go back to a moment, as often as wanted, and return its observation.

        Args:
            state: from `clone`, of this object or another.
            seed: draws the opponent's moves anew, for a planner that must not know them beforehand.
        """
        self._position, self._illegal = state.position.clone(), state.illegal
        if seed is None:
            self.np_random.bit_generator.state = state.generator
        else:
            self.np_random = np.random.default_rng(seed)
        return self._observe()

    def render(self) -> np.ndarray | None:
        """Draw the board, uint8 (252, 252, 3), the lowest row below."""
        if self.render_mode is None:
            return None
        if self._position is None:
            raise gymnasium.error.ResetNeeded("Call reset before render: there is no game yet.")
        return draw_board(self._observe(), _CELL)

    def _observe(self) -> dict[str, np.ndarray]:
        planes = np.array(self._position.observation_tensor(_BLACK)).reshape(4, PASS)  # black, white, ...
        cells = np.full(PASS, BARRED, np.uint8)
        legal = np.array(self._position.legal_actions(), np.int64)  # none when the game is over
        cells[legal[legal < PASS]] = EMPTY
        cells[planes[0] == 1] = OWN
        cells[planes[1] == 1] = OTHER
        return {"cells": cells}


def draw_board(observation: Mapping[str, np.ndarray], cell: int = _CELL // 2) -> np.ndarray:
    """Draw the stones of an observation, uint8 (9 * cell, 9 * cell, 3), the lowest row below."""
    at = (np.arange(SIZE * cell) % cell) - cell // 2
    lines = (at[:, None] == 0) | (at == 0)
    image = np.where(lines[..., None], (60, 45, 20), (220, 180, 110)).astype(np.uint8)
    stone = at[:, None] ** 2 + at**2 < (0.45 * cell) ** 2
    cells = observation["cells"].reshape(SIZE, SIZE)[::-1].repeat(cell, 0).repeat(cell, 1)
    for code, colour in ((OWN, (20, 20, 20)), (OTHER, (240, 240, 240))):
        image[stone & (cells == code)] = colour
    return image


def _draw(task: str, options: Mapping[str, Any]) -> Draw:
    return draw_board


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return `win_rate`, the share of games won, and the mean of `illegal_moves`."""
    rows = [row for row in episodes if "win" in row]
    if not rows:
        return {}
    names = {"win_rate": "win", "illegal_moves": "illegal_moves"}
    return {ours: sum(row[name] for row in rows) / len(rows) for ours, name in names.items()}


SUITE: Suite = Suite(
    "go",
    {"9x9": Task("Go on 9x9 points against a random opponent.", "cells uint8 (81,)", "Discrete(82)")},
    lambda task, options, image_size: Go(),
    packages=("pyspiel",),
    extra="go",
    summarise=summarise,
    draw=_draw,
)
