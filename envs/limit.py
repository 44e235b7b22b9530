"""A time limit for environments that have none: nobody could wait for the end of their episodes."""

import logging
from typing import Any

import gymnasium

logger = logging.getLogger(__name__)

EPISODE_STEPS = 10_000
"""Steps after which an episode is cut off where neither the id nor the registration says when."""


class DefaultLimit(gymnasium.wrappers.TimeLimit):
    """Cuts episodes off at `EPISODE_STEPS`, and says so the first time.

    Args:
        env: what has no limit of its own.
        name: how the message calls it.
        mend: how its user sets another limit.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, mend: str) -> None:
        super().__init__(env, max_episode_steps=EPISODE_STEPS)
        self._name, self._mend, self._told = name, mend, False

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and cut off."""
        result = super().step(action)
        if self._elapsed_steps == EPISODE_STEPS and not result[2] and not self._told:
            self._told = True
            logger.warning(
                "Environment '%s' has no time limit, so its episodes are cut off at %d steps: %s.",
                self._name,
                EPISODE_STEPS,
                self._mend,
            )
        return result
