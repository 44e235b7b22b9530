"""Crafter (Hafner 2021, arXiv:2109.06780): PyPI's crafter 1.8.3 as a gymnasium environment.

The five mends and why each is needed are told in docs/environments.md. Rewards, pictures and random numbers
are upstream's own.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.captions.crafter import CrafterCaptions
from envs.suite import Draw, Option, Suite, Task
from envs.suites.crafter.symbols import symbol_spaces
from expedition import UserError

NUM_ACTIONS, NUM_ACHIEVEMENTS = 17, 22
_PREFIX = "achievement/"


class Crafter(gymnasium.Env[Any, Any]):
    """Crafter with gymnasium's reset, step and render.

    Observation: `image` uint8 (image_size, image_size, 3); or what it shows as small integers, the entries of
    `envs.suites.crafter.symbols.symbol_spaces`; or both. The episode is the same whichever is chosen. Action:
    Discrete(17). Reward: 1 for a step that unlocks something for the first time in the episode, plus a tenth
    of the change in health. Death terminates; `length` steps truncate (10,000 upstream).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        image_size: int = 64,
        render_size: int = 256,
        length: int = 10_000,
        observe: str = "pixels",
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Build the world; importing upstream takes a second the first time.

        Args:
            image_size: height and width of the observation, in pixels; at least 18, two for each cell.
            render_size: height and width of what `render` returns, in pixels.
            length: steps until the episode is cut off; 0 for never.
            observe: "pixels", "symbols" or "both".
            render_mode: "rgb_array" or None.

        Raises:
            UserError: a size is too small.
        """
        if min(image_size, render_size) < 18:
            raise UserError("Crafter's pictures show 9 by 9 cells: give an image size of at least 18 pixels.")
        from envs.suites.crafter import mends  # needs the package

        self.render_mode = render_mode
        self._render_size = (render_size, render_size)
        pixels, symbols = observe != "symbols", observe != "pixels"
        self._upstream = mends.Upstream(image_size, length, pixels, symbols)
        image = {"image": spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)}
        self.observation_space = spaces.Dict(
            {**(image if pixels else {}), **(symbol_spaces() if symbols else {})}
        )
        self.action_space = spaces.Discrete(NUM_ACTIONS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; the same seed gives the same world and the same luck in every process.

        `reset(seed=s)` begins upstream's `Env(seed=s)`, first episode. Without a seed the next world is drawn
        from the generator that the last seed began.
        """
        super().reset(seed=seed)
        seed = int(self.np_random.integers(2**31 - 1)) if seed is None else int(seed)
        return self._upstream.begin(seed), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act once. `info`: `inventory` and `achievements` (name -> count), `player_pos` (x, y).

        On the last step `info["episode_metrics"]` holds `achievement/<name>`, the counts of the episode, and
        `info["reached"]` the achievements that it unlocked.
        """
        if not 0 <= action < NUM_ACTIONS:
            raise gymnasium.error.InvalidAction(f"Crafter has actions 0 to {NUM_ACTIONS - 1}, not {action}.")
        observation, reward, dead, over = self._upstream.act(int(action))
        player = self._upstream._player
        info: dict[str, Any] = {
            "inventory": player.inventory.copy(),
            "achievements": player.achievements.copy(),
            "player_pos": tuple(player.pos.tolist()),
        }
        if dead or over:
            counts = player.achievements.items()
            info["episode_metrics"] = {_PREFIX + name: float(count) for name, count in counts}
            info["reached"] = [name for name, count in counts if count]
        return observation, float(reward), dead, over and not dead, info

    def render(self) -> np.ndarray | None:
        """Draw (render_size, render_size, 3) uint8 and leave the world's random numbers as they were."""
        if self.render_mode is None:
            return None
        if self._upstream._player is None:
            raise gymnasium.error.ResetNeeded("Call reset before render: there is no world yet.")
        generator = self._upstream._world.random
        state = generator.get_state()  # the noise of the night is drawn from the world's own generator
        image = self._upstream.render(self._render_size)
        generator.set_state(state)
        return image


def summarise(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return Crafter's measures over some episodes; empty without any.

    `success/<achievement>`: share of episodes that unlocked it, in percent. `crafter_score`, in
    percent: exp(mean over the 22 of ln(1 + success)) - 1, as in the paper. `achievements`: how many of
    the 22 were unlocked in at least one episode.

    Args:
        episodes: summaries from `VectorEnv.pop_episodes`, with `achievement/<name>` counts.
    """
    rows = [
        {key.removeprefix(_PREFIX): count for key, count in episode.items() if key.startswith(_PREFIX)}
        for episode in episodes
    ]
    rows = [row for row in rows if row]  # an episode that a failed restore cut off has no counts
    if not rows:
        return {}
    success = {name: 100 * sum(row[name] > 0 for row in rows) / len(rows) for name in sorted(rows[0])}
    logs = [math.log1p(rate) for rate in success.values()]
    return {
        "crafter_score": math.expm1(sum(logs) / len(logs)),
        "achievements": float(sum(rate > 0 for rate in success.values())),
        **{f"success/{name}": rate for name, rate in success.items()},
    }


@functools.cache
def _drawer() -> Draw:
    from envs.suites.crafter import views  # needs the package

    return views.drawer()


def draw_symbols(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw one observation of symbols as Crafter does, uint8 (128, 128, 3); its night has no noise."""
    return _drawer()(observation)


SUITE: Suite = Suite(
    "crafter",
    {
        "": Task(
            "Survival in a 2D world with 22 achievements (Hafner 2021), 10,000 steps at most.",
            "image uint8 (64, 64, 3)",
            "Discrete(17)",
        )
    },
    lambda task, options, image_size: Crafter(image_size, **options),
    options={
        "observe": Option(
            "pixels", "an image, what it shows in numbers, or both", ("pixels", "symbols", "both")
        )
    },
    packages=("crafter", "numba", "opensimplex"),
    extra="crafter",
    slow_reset=True,
    summarise=summarise,
    reachable=lambda task, options: NUM_ACHIEVEMENTS,
    draw=lambda task, options: None if options["observe"] == "pixels" else draw_symbols,
    captions=lambda task, options: CrafterCaptions(),
)
