"""MiniGrid (Chevalier-Boisvert et al. 2023, arXiv:2306.13831): upstream's grid worlds as the agent sees them.

PyPI's minigrid. Left out are tasks whose mission, a text, differs between episodes and has to be read.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.captions.grids import MiniGridCaptions
from envs.suite import Draw, Option, Suite, Task
from envs.suites.grids.symbols import symbols
from expedition import UserError

VIEW = 7
"""Cells that the agent sees in each direction; itself it sees in the middle of the lowest row."""
NUM_TYPES, NUM_COLOURS, NUM_STATES = 11, 6, 3
"""Values of the three numbers that tell of a cell, upstream's `OBJECT_TO_IDX`, `COLOR_TO_IDX` and
`STATE_TO_IDX`."""
_DRAWN = 18 * VIEW  # pixels a side of a picture that is drawn from symbols

_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Empty": ("Reach the goal of an empty room.", ("5x5", "Random-5x5", "8x8", "16x16")),
    "FourRooms": ("Reach the goal somewhere in four rooms.", ("",)),
    "DoorKey": ("Take the key, open the door, reach the goal.", ("5x5", "6x6", "8x8", "16x16")),
    "MultiRoom": ("Open the doors of a chain of rooms, reach the goal.", ("N2-S4", "N4-S5-v1", "N6")),
    "KeyCorridor": ("Find the key of the locked room and pick up the ball in it.", ("S3R3", "S4R3", "S6R3")),
    "Unlock": ("Take the key and open the door.", ("",)),
    "UnlockPickup": ("Unlock the door and pick up the box behind it.", ("",)),
    "BlockedUnlockPickup": ("Clear the door, unlock it, pick up the box behind it.", ("",)),
    "ObstructedMaze": (
        "Find the blue ball in rooms whose keys may be hidden in boxes.",
        ("1Dl", "1Dlh", "2Dlh", "Full-v1"),
    ),
    "LavaGap": ("Reach the goal through a gap in the lava.", ("S5", "S7")),
    "LavaCrossing": ("Reach the goal between rivers of lava.", ("S9N1", "S9N3", "S11N5")),
    "SimpleCrossing": ("Reach the goal between walls.", ("S9N1", "S9N3", "S11N5")),
    "DistShift": ("Reach the goal past lava, whose place differs from DistShift1 to 2.", ("1", "2")),
    "RedBlueDoors": ("Open the red door, then the blue one.", ("6x6", "8x8")),
    "Memory": ("Go to the object that was seen at the start.", ("S7", "S13", "S17Random")),
    "Dynamic-Obstacles": ("Reach the goal without hitting a moving ball.", ("6x6", "8x8", "16x16")),
}
_JOINED = ("KeyCorridor", "LavaGap", "LavaCrossing", "SimpleCrossing", "DistShift", "Memory")


def _upstream_ids() -> dict[str, tuple[str, str]]:
    """Map names of ours to upstream's ids and what the family is about."""
    found = {}
    for family, (about, variants) in _FAMILIES.items():
        for variant in variants:
            joint = "" if family in _JOINED or not variant else "-"
            name, _, version = f"{family}{joint}{variant}".partition("-v")
            found[name.lower()] = (f"MiniGrid-{name}-v{version or 0}", about)
    return found


UPSTREAM_IDS = _upstream_ids()


class MiniGrid(gymnasium.Env[Any, Any]):
    """One MiniGrid task, seen through the agent's eyes.

    Observation: `image` uint8 (image_size, image_size, 3), the 7x7 cells before the agent in whole pixels
    each and black beyond; or `cells` MultiDiscrete (147,), for each cell (column by column) the numbers of
    its type (11), colour (6) and state (3). Action: Discrete(7): left, right, forward, pick up, drop, toggle,
    done; the first 3 in Dynamic-Obstacles. Reward: 1 - 0.9 * steps / limit for success, -1 for a collision.
    Success, lava and collisions terminate; the task's limit truncates.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        task: str,
        observe: str = "pixels",
        image_size: int = 64,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Make upstream's environment.

        Args:
            task: one of UPSTREAM_IDS.
            observe: "pixels" or "symbols".
            image_size: height and width of the observation, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: the image size is too small.
        """
        if image_size < 3 * VIEW:
            raise UserError(
                f"MiniGrid's pictures show {VIEW} by {VIEW} cells: give an image size of at least {3 * VIEW}."
            )
        self.render_mode = render_mode
        self._upstream = _upstream(task)
        self._tiles = _Tiles(image_size) if observe == "pixels" else None
        if self._tiles:
            image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
            self.observation_space = spaces.Dict({"image": image})
        else:
            cells = symbols([NUM_TYPES, NUM_COLOURS, NUM_STATES] * VIEW**2)
            self.observation_space = spaces.Dict({"cells": cells})
        self.action_space = spaces.Discrete(int(self._upstream.action_space.n))
        self._visited: set[str] = set()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode in a grid drawn from the seed, as upstream draws it."""
        super().reset(seed=seed)
        observation, _ = self._upstream.reset(seed=seed)
        self._visited = {self._place()}
        return self._observe(observation["image"]), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act once.

        The last step's `info["episode_metrics"]` holds `success`, 0 or 1, and `info["reached"]` the places
        that the agent stood on as "column:row", whatever the grid.
        """
        if not self.action_space.contains(int(action)):
            raise gymnasium.error.InvalidAction(f"The task has {self.action_space}, not action {action}.")
        observation, reward, terminated, truncated, _ = self._upstream.step(int(action))
        truncated = truncated and not terminated
        self._visited.add(self._place())
        told: dict[str, Any] = {}
        if terminated or truncated:
            told = {"episode_metrics": {"success": float(reward > 0)}, "reached": sorted(self._visited)}
        return self._observe(observation["image"]), float(reward), bool(terminated), truncated, told

    def render(self) -> np.ndarray | None:
        """Draw the whole grid from above, 32 pixels a cell, uint8, what the agent sees in lighter colours."""
        return self._upstream.render() if self.render_mode else None

    def close(self) -> None:
        """Close upstream's environment."""
        self._upstream.close()

    def _place(self) -> str:
        column, row = self._upstream.agent_pos
        return f"{column}:{row}"

    def _observe(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Show the (7, 7, 3) codes of upstream's view: [column, row, (type, colour, state)]."""
        if self._tiles:
            return {"image": self._tiles.draw(codes)}
        return {"cells": codes.astype(np.uint8).ravel()}


def _upstream(task: str) -> Any:
    """Return upstream's environment without gymnasium's wrappers."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # minigrid imports pygame, which greets
    import minigrid  # noqa: F401  # registers its ids

    made = gymnasium.make(UPSTREAM_IDS[task][0], render_mode="rgb_array", disable_env_checker=True)
    return made.unwrapped


class _Tiles:
    """Draws the agent's view as upstream does, each kind of cell only once."""

    def __init__(self, image_size: int) -> None:
        self._tile = image_size // VIEW
        self._image_size = image_size
        kinds = NUM_TYPES * NUM_COLOURS * NUM_STATES
        # Once without and once with the agent on them.
        self._atlas = np.zeros((2 * kinds, self._tile, self._tile, 3), np.uint8)
        self._known = np.zeros(2 * kinds, bool)
        self._agent = np.zeros((VIEW, VIEW), np.int64)
        self._agent[VIEW // 2, VIEW - 1] = kinds

    def draw(self, codes: np.ndarray) -> np.ndarray:
        """Return (image_size, image_size, 3) for (7, 7, 3) codes, [column, row]."""
        kinds = self._agent + codes @ np.array([NUM_COLOURS * NUM_STATES, NUM_STATES, 1])
        for column, row in np.argwhere(~self._known[kinds]):
            self._add(int(kinds[column, row]), codes[column, row].tolist(), self._agent[column, row] > 0)
        edge = VIEW * self._tile
        image = np.zeros((self._image_size, self._image_size, 3), np.uint8)
        image[:edge, :edge] = self._atlas[kinds.T].transpose(0, 2, 1, 3, 4).reshape(edge, edge, 3)
        return image

    def _add(self, kind: int, code: list[int], agent: bool) -> None:
        from minigrid.core.grid import Grid
        from minigrid.core.world_object import WorldObj

        self._known[kind] = True
        up, unseen = 3, 0
        self._atlas[kind] = Grid.render_tile(
            WorldObj.decode(*code),
            agent_dir=up if agent else None,
            highlight=code[0] != unseen,
            tile_size=self._tile,
        )


def _draw(task: str, options: Mapping[str, Any]) -> Draw | None:
    if options["observe"] == "pixels":
        return None
    tiles = _Tiles(_DRAWN)
    return lambda observation: tiles.draw(observation["cells"].reshape(VIEW, VIEW, 3))


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean over episodes of `success`."""
    rows = [row["success"] for row in episodes if "success" in row]
    return {"success": sum(rows) / len(rows)} if rows else {}


SUITE: Suite = Suite(
    "minigrid",
    {
        name: Task(
            about, "image uint8 (64, 64, 3)", "Discrete(3)" if name.startswith("dynamic") else "Discrete(7)"
        )
        for name, (_, about) in UPSTREAM_IDS.items()
    },
    lambda task, options, image_size: MiniGrid(task, image_size=image_size, **options),
    options={
        "observe": Option("pixels", "a picture of what the agent sees, or codes", ("pixels", "symbols"))
    },
    packages=("minigrid",),
    extra="minigrid",
    summarise=summarise,
    draw=_draw,
    captions=lambda task, options: MiniGridCaptions(UPSTREAM_IDS[task][1]),
)
