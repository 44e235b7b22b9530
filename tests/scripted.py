"""A world of the tests: a script that shows up any off-by-one."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Scripted(gymnasium.Env[Any, Any]):
    """Shows the action that led to each row, so that any off-by-one in a learner is visible.

    Episodes end in turn by death after `lengths[0]` actions and by cut-off after `lengths[1]`. Observation:
    `vector` float32 (num_actions + max(lengths) + 2,): one-hot of the action that led here (zeros on the
    first row), one-hot of the number of actions so far, and 1 if this episode is one that terminates. Reward:
    `(action + 1) / num_actions` for the action that led here. The kind of an episode depends on how many came
    before it, not on the seed alone: take no snapshot of this one across episodes.
    """

    def __init__(self, num_actions: int = 4, lengths: tuple[int, int] = (5, 8)) -> None:
        """Set the number of actions, and the length of terminal and of cut-off episodes in steps."""
        self._lengths = lengths
        self._num_actions = num_actions
        self._episodes = 0
        self._step = 0
        width = self._width = num_actions + max(lengths) + 2
        self.observation_space = spaces.Dict({"vector": spaces.Box(0.0, 1.0, (width,), np.float32)})
        self.action_space = spaces.Discrete(num_actions)

    @property
    def _terminates(self) -> bool:
        return self._episodes % 2 == 1  # the first episode is number 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin the next episode of the script."""
        super().reset(seed=seed)
        self._episodes += 1
        self._step = 0
        return self._observe(None), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Show `action` and pay for it."""
        self._step += 1
        ended = self._step >= self._lengths[0 if self._terminates else 1]
        reward = (int(action) + 1) / self._num_actions
        return (
            self._observe(int(action)),
            reward,
            ended and self._terminates,
            ended and not self._terminates,
            {},
        )

    def _observe(self, action: int | None) -> dict[str, np.ndarray]:
        vector = np.zeros(self._width, np.float32)
        if action is not None:
            vector[action] = 1
        vector[self._num_actions + self._step] = 1
        vector[-1] = self._terminates
        return {"vector": vector}
