"""Tasks whose episodes are written down while a peer's learner plays them.

It needs gymnasium, numpy and our `envs`, so a peer's interpreter can import it. `RECORD` in the process's
environment names the file; a line of it holds the environment steps of the process so far (of all its
environments together), the CPU-seconds since the first of them, and the episode's return.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, SupportsFloat

import gymnasium

RECORD = "EXPEDITION_RECORD"
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


def cartpole(**keywords: Any) -> gymnasium.Env:
    """CartPole-v1 from its four numbers."""
    return Recorded(gymnasium.make("CartPole-v1", **keywords))


def catch(**keywords: Any) -> gymnasium.Env:
    """Our Catch from pixels."""
    from envs.suites.grids.gridworlds import Catch

    return Recorded(Catch("pixels", IMAGE_SIZE, **keywords))


gymnasium.register("RecordedCartPole-v0", cartpole)
gymnasium.register("RecordedCatch-v0", catch)
