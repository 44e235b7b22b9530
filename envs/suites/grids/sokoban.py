"""Sokoban (Racaniere et al. 2017, arXiv:1707.06203) on Boxoban's unfiltered test levels (Guez et al. 2018).

Rules and levels are those of PyPI's envpool, after Jumanji's. It plays level after level by itself; ours
makes a new pool of one environment for each episode, which costs a millisecond.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.suite import Draw, Option, Suite, Task
from envs.suites.grids.gridworlds import BLUE, FLOOR, GREEN, RED, WALL
from envs.suites.grids.symbols import symbols
from expedition import UserError

NUM_LEVELS = 1000
_GRID = 10
_LEVELS = "jumanji/assets/boxoban/unfiltered-test.npy"
_IS_WALL, _IS_TARGET, _IS_AGENT, _IS_BOX = 1, 2, 3, 4  # envpool's codes
CODES = ("floor", "wall", "box", "agent", "target", "box on target", "agent on target")
"""By number, what a cell holds."""
_EDGES = (FLOOR, WALL, FLOOR, FLOOR, GREEN, GREEN, GREEN)
_INSIDES = (FLOOR, WALL, RED, BLUE, FLOOR, RED, BLUE)
_TARGET = 4
_DRAWN = 12  # pixels of a cell that is drawn from symbols


class Sokoban(gymnasium.Env[Any, Any]):
    """Push four boxes onto four targets; they cannot be pulled.

    Observation: `image` uint8 (image_size, image_size, 3) from above, in whole pixels a cell and black
    beyond: walls dark, boxes red, agent blue, a green edge on targets; or `cells` MultiDiscrete (100,), row
    by row a number into CODES. Action: Discrete(4): up, right, down, left. Reward: -0.1 a step, 1 for a box
    pushed onto a target, -1 for one pushed off, 10 for the last. Solving the level terminates, 120 steps
    truncate.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self,
        observe: str = "pixels",
        num_levels: int = 0,
        start_level: int = 0,
        image_size: int = 64,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Look for the levels.

        Args:
            observe: "pixels" or "symbols".
            num_levels: levels are drawn from the `num_levels` from `start_level` on; 0 for all from there.
            start_level: the first of them, below 1000.
            image_size: height and width of the observation, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: there are no such levels, or the image size is too small.
        """
        if start_level >= NUM_LEVELS or start_level + num_levels > NUM_LEVELS:
            raise UserError(f"Sokoban has {NUM_LEVELS} levels: lower start_level or num_levels.")
        if image_size < 3 * _GRID:
            raise UserError(
                f"Sokoban's pictures show 10 by 10 cells: give an image size of at least {3 * _GRID}."
            )
        self.render_mode = render_mode
        self._folder = _folder()
        self._levels = (start_level, start_level + num_levels if num_levels else NUM_LEVELS)
        self._pool: Any = None
        self._cells = np.zeros((_GRID, _GRID, 2), np.uint8)  # what moves, what stays
        self._info: dict[str, Any] = {}
        self._over = True
        self._small, self._large = _atlas(image_size // _GRID), _atlas(32)
        self._size = image_size if observe == "pixels" else None
        if self._size:
            image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            self.observation_space = spaces.Dict({"image": image})
        else:
            self.observation_space = spaces.Dict({"cells": symbols([len(CODES)] * _GRID**2)})
        self.action_space = spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a level drawn from the seed, which `info["level"]` names; nothing else is random."""
        super().reset(seed=seed)
        import envpool

        self.close()
        self._info = {"level": int(self.np_random.integers(*self._levels))}
        self._pool = envpool.make_gymnasium(
            "Sokoban-v0",
            num_envs=1,
            num_threads=1,
            base_path=str(self._folder),
            sokoban_level_index=self._info["level"],
        )
        observation, _ = self._pool.reset()
        self._cells, self._over = observation["grid"][0].copy(), False
        return self._observe(), dict(self._info)

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Walk or push. `info["level"]` names the level.

        On the last step `info["episode_metrics"]` holds `success`, 0 or 1, and `boxes`, on targets, 0 to 4.
        """
        if not 0 <= action < 4:
            raise gymnasium.error.InvalidAction(f"Sokoban has actions 0 to 3, not {action}.")
        if self._over:
            raise gymnasium.error.ResetNeeded("Call reset before step: no level is under way.")
        observation, rewards, ended, cut, _ = self._pool.step(np.array([action], np.int32))
        self._cells = observation["grid"][0].copy()
        terminated = bool(ended[0])
        truncated = bool(cut[0]) and not terminated
        self._over = terminated or truncated
        info = dict(self._info)
        if self._over:
            on_targets = (self._cells == (_IS_BOX, _IS_TARGET)).all(-1).sum()
            info["episode_metrics"] = {"success": float(terminated), "boxes": float(on_targets)}
        return self._observe(), float(rewards[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw the level, uint8 (320, 320, 3)."""
        return _draw(self._large, self._codes()) if self.render_mode else None

    def close(self) -> None:
        """Free the level."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _codes(self) -> np.ndarray:
        """Return a number into CODES for each cell, uint8 (10, 10)."""
        moves, stays = self._cells[..., 0], self._cells[..., 1]
        codes = 2 * (moves == _IS_BOX) + 3 * (moves == _IS_AGENT)
        codes = np.where(stays == _IS_TARGET, _TARGET + np.maximum(codes - 1, 0), codes)
        return np.where(stays == _IS_WALL, 1, codes).astype(np.uint8)

    def _observe(self) -> dict[str, np.ndarray]:
        if self._size:
            image = np.zeros((self._size, self._size, 3), np.uint8)
            picture = _draw(self._small, self._codes())
            image[: len(picture), : len(picture)] = picture
            return {"image": image}
        return {"cells": self._codes().ravel()}


def _folder() -> Path:
    """Return envpool's folder: 1.2.5 looks for its levels elsewhere, and then plays one toy level throughout.

    Raises:
        UserError: the levels are not there.
    """
    import envpool

    folder = Path(envpool.__file__).parent
    if not (folder / _LEVELS).is_file():
        raise UserError("The installed envpool has no Sokoban levels: run `pip install envpool==1.2.5`.")
    return folder


def _atlas(cell: int) -> np.ndarray:
    """Return a picture of each of CODES, (7, cell, cell, 3)."""
    atlas = np.zeros((len(CODES), cell, cell, 3), np.uint8)
    edge = max(1, cell // 6)
    for code, (edging, inside) in enumerate(zip(_EDGES, _INSIDES, strict=True)):
        atlas[code] = edging
        atlas[code, edge : cell - edge, edge : cell - edge] = inside
    return atlas


def _draw(atlas: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Put the pictures of (10, 10) codes side by side."""
    edge = _GRID * atlas.shape[1]
    return atlas[codes].transpose(0, 2, 1, 3, 4).reshape(edge, edge, 3)


def _drawing(task: str, options: Mapping[str, Any]) -> Draw | None:
    if options["observe"] == "pixels":
        return None
    atlas = _atlas(_DRAWN)
    return lambda observation: _draw(atlas, observation["cells"].reshape(_GRID, _GRID))


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return means over episodes of `success` and of `boxes` on targets at the end."""
    rows = [row for row in episodes if "boxes" in row]
    return {name: sum(row[name] for row in rows) / len(rows) for name in ("success", "boxes")} if rows else {}


SUITE: Suite = Suite(
    "sokoban",
    {"": Task("Push four boxes onto four targets.", "image uint8 (64, 64, 3)", "Discrete(4)")},
    lambda task, options, image_size: Sokoban(image_size=image_size, **options),
    options={
        "observe": Option("pixels", "a picture from above, or the cells' codes", ("pixels", "symbols")),
        "num_levels": Option(0, "how many levels are played; 0 for all from the first on", least=0),
        "start_level": Option(0, "the first of these levels, of 1000", least=0),
    },
    packages=("envpool",),
    extra="sokoban",
    summarise=summarise,
    draw=_drawing,
)
