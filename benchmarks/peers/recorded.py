"""Our tasks as a peer's learner plays them, their episodes written down: the very environments of our side.

It needs what our `envs` need of a task, so a peer's interpreter can import it. `RECORD` in the process's
environment names the file; a line of it holds the environment steps of the process so far (of all its
environments together), the CPU-seconds since the first of them, and the episode's return.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, SupportsFloat

import gymnasium

from envs import make

RECORD = "EXPEDITION_RECORD"
TASKS = {
    "cartpole": "CartPole-v1",
    "swingup": "dmc-cartpole-swingup,observe=state,action_repeat=8",
    "catch": "catch-pixels",
}
"""Environment ids. An action of the swing-up lasts 8 of its package's steps, as in PlaNet (arXiv:1811.04551,
table 1), so an episode has 125."""
IMAGE_SIZE = 32
"""Of Catch: enough for its 10 rows, and a power of 2, which sheeprl asks for."""
_steps, _began = 0, 0.0


class Recorded(gymnasium.Wrapper):
    """Writes a line at the end of each episode."""

    _return = 0.0

    def reset(self, **keywords: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._return = 0.0
        return super().reset(**keywords)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and write if it is the episode's last."""
        global _steps, _began
        if _steps == 0:
            _began = time.process_time()
        _steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        self._return += float(reward)
        if terminated or truncated:
            line = {"step": _steps, "cpu": time.process_time() - _began, "return": self._return}
            with open(os.environ[RECORD], "a", encoding="utf-8") as file:
                print(json.dumps(line), file=file)
        return observation, reward, terminated, truncated, info


def recorded(**keywords: Any) -> gymnasium.Env:
    """The one of `TASKS` that `task` names; other keywords, of drawing, change nothing."""
    return Recorded(make(TASKS[keywords["task"]], image_size=IMAGE_SIZE))


gymnasium.register("Recorded-v0", recorded)
