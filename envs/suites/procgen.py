"""Procgen (Cobbe et al. 2020, arXiv:1912.01588): 16 games whose levels are generated, as upstream plays them.

PyPI's procgen 0.10.7 on Python 3.10, and procgen-mirror 0.10.7, the same for 3.11 and 3.12. What is mended
and why is told in docs/environments.md. Levels, pictures, rewards and random numbers are upstream's own.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from envs.suite import Option, Suite, Task
from expedition import UserError

NUM_ACTIONS = 15
SIZE = 64
"""Height and width of upstream's picture, in pixels."""
_END = 2**31 - 1


@dataclass(frozen=True)
class Game:
    """What is known of a game.

    Attributes:
        goal: one sentence.
        hard, easy: return of a policy that sees nothing and highest return, by mode (the paper's appendix C).
        limit: steps after which an episode is cut off.
    """

    goal: str
    hard: tuple[float, float]
    easy: tuple[float, float]
    limit: int = 1000


GAMES: dict[str, Game] = {
    "bigfish": Game("Eat smaller fish, keep away from bigger ones.", (0, 40), (1, 40), 6000),
    "bossfight": Game("Dodge the boss and shoot it while its shield is down.", (0.5, 13), (0.5, 13), 4000),
    "caveflyer": Game("Fly a ship through a cave to the goal.", (2, 13.4), (3.5, 12)),
    "chaser": Game("Collect the orbs of a maze, chased by enemies.", (0.5, 14.2), (0.5, 13)),
    "climber": Game("Climb platforms and collect the stars.", (1, 12.6), (2, 12.6)),
    "coinrun": Game("Run and jump to the coin at the far right.", (5, 10), (5, 10)),
    "dodgeball": Game("Hit every enemy with a ball, then leave.", (1.5, 19), (1.5, 19)),
    "fruitbot": Game("Steer through gaps, take fruit and leave the rest.", (-0.5, 27.2), (-1.5, 32.4)),
    "heist": Game("Open locks with keys of their colours to reach the gem.", (2, 10), (3.5, 10)),
    "jumper": Game("Double-jump to the carrot that a compass points to.", (1, 10), (3, 10)),
    "leaper": Game("Cross lanes of cars and a river of logs.", (1.5, 10), (3, 10), 500),
    "maze": Game("Find the cheese in a maze.", (4, 10), (5, 10), 500),
    "miner": Game("Dig for diamonds under falling stones, then leave.", (1.5, 20), (1.5, 13)),
    "ninja": Game("Jump from ledge to ledge to the mushroom, past bombs.", (2, 10), (3.5, 10)),
    "plunder": Game("Shoot enemy ships and spare friendly ones.", (3, 30), (4.5, 30), 4000),
    "starpilot": Game("A side-scrolling shooter.", (1.5, 35), (2.5, 64)),
}


class Procgen(gymnasium.Env[Any, Any]):
    """One Procgen game with gymnasium's reset, step and render.

    Observation: `image` uint8 (image_size, image_size, 3), resized where that is not 64. Action:
    Discrete(15): left-down, left, left-up, down, none, up, right-down, right, right-up, then six buttons.
    Reward: the game's own. The end of a level terminates, the game's time limit truncates. Upstream has then
    drawn its next level already, so that the last row shows the picture before it once more.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        game: str,
        mode: str = "hard",
        num_levels: int = 0,
        start_level: int = 0,
        image_size: int = SIZE,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Load the game; the first one of a process takes 2 seconds.

        Args:
            game: one of GAMES.
            mode: "hard" or "easy".
            num_levels: levels are drawn from the `num_levels` from `start_level` on; 0 for all there are.
            start_level: the first of them.
            image_size: height and width of the observation, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: there is no such set of levels.
        """
        if num_levels == 0 and start_level != 0:
            raise UserError(
                f"start_level={start_level} says nothing where all levels are played: give num_levels too."
            )
        if start_level + num_levels > _END:
            raise UserError(f"Procgen has levels 0 to {_END - 1}: lower start_level or num_levels.")
        from envs.suites.procgen_mends import Native  # needs the package

        self.render_mode = render_mode
        self._game = GAMES[game]
        self._range = self._game.hard if mode == "hard" else self._game.easy
        self._size = image_size
        self._native = Native(game, mode=mode, num_levels=num_levels, start_level=start_level)
        self._picture: np.ndarray | None = None  # upstream's
        self._over = True
        self._steps, self._return = 0, 0.0
        image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = spaces.Dict({"image": image})
        self.action_space = spaces.Discrete(NUM_ACTIONS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode in a level drawn from the seed, which `info["level_seed"]` names.

        `reset(seed=s)` begins the first episode of upstream's `rand_seed=s` (modulo 2**31 - 1). Without a
        seed the next one is drawn from the generator that the last seed began.
        """
        super().reset(seed=seed)
        self._native.begin(int(self.np_random.integers(_END)) if seed is None else int(seed) % _END)
        self._picture, self._over = self._native.picture(), False
        self._steps, self._return = 0, 0.0
        return self._observe(), {"level_seed": self._native.told("level_seed")}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act once. `info["level_seed"]` names the level.

        On the last step `info["episode_metrics"]` holds `level_complete`, 0 or 1, and `normalized_return`:
        0 for the paper's policy that sees nothing, 1 for the highest return.
        """
        if not 0 <= action < NUM_ACTIONS:  # upstream takes -1 for a wish to end the level
            raise gymnasium.error.InvalidAction(f"Procgen has actions 0 to {NUM_ACTIONS - 1}, not {action}.")
        if self._over:
            raise gymnasium.error.ResetNeeded("Call reset before step: no episode is under way.")
        reward, self._over = self._native.play(int(action))
        self._steps += 1
        self._return += reward
        if not self._over:
            self._picture = self._native.picture()
            return self._observe(), reward, False, False, {"level_seed": self._native.told("level_seed")}
        complete = bool(self._native.told("prev_level_complete"))
        # Upstream does not tell why a level ended: a death in the very last step passes for a cut-off.
        truncated = self._steps >= self._game.limit and not complete
        low, high = self._range
        info = {
            "level_seed": self._native.told("prev_level_seed"),
            "episode_metrics": {
                "level_complete": float(complete),
                "normalized_return": (self._return - low) / (high - low),
            },
        }
        return self._observe(), reward, not truncated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw (512, 512, 3) uint8; an ended episode's last picture is enlarged from the observation."""
        if self.render_mode is None:
            return None
        if self._picture is None:
            raise gymnasium.error.ResetNeeded("Call reset before render: there is no level yet.")
        if self._over:
            return self._picture.repeat(8, axis=0).repeat(8, axis=1)
        return self._native.large_picture()

    def close(self) -> None:
        """Free the game."""
        self._native.close()

    def _observe(self) -> dict[str, np.ndarray]:
        assert self._picture is not None
        if self._size == SIZE:
            return {"image": self._picture.copy()}
        size = (self._size, self._size)
        return {"image": np.asarray(Image.fromarray(self._picture).resize(size, Image.Resampling.BILINEAR))}


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return means over episodes of `level_complete` (share of levels) and `normalized_return`."""
    rows = [row for row in episodes if "level_complete" in row]
    names = ("level_complete", "normalized_return")
    return {name: sum(row[name] for row in rows) / len(rows) for name in names} if rows else {}


INSTALL = "pip install 'expedition[procgen]' && pip install --no-deps gym3==0.3.3 " + (
    "procgen==0.10.7" if sys.version_info < (3, 11) else "procgen-mirror==0.10.7"
)
"""Upstream asks for numpy below 2, which it does not need."""

SUITE: Suite = Suite(
    "procgen",
    {name: Task(game.goal, "image uint8 (64, 64, 3)", "Discrete(15)") for name, game in GAMES.items()},
    lambda task, options, image_size: Procgen(task, image_size=image_size, **options),
    options={
        "mode": Option("hard", "difficulty of the levels", ("hard", "easy")),
        "num_levels": Option(0, "how many levels are played; 0 for all there are", least=0),
        "start_level": Option(0, "the first of these levels", least=0),
    },
    packages=("procgen", "gym3", "cffi", "imageio"),
    extra="procgen",
    install=INSTALL,
    summarise=summarise,
)
