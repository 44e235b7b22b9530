"""Our environments as Stable-Baselines3 wants them; imported only where it is used.

Ours tell the end of an episode in a row of its own and ignore the action that is chosen there: the row after
it is the first of the next episode. Stable-Baselines3 expects an ended environment to be reset at once: the
last row stands in for the reset observation.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from envs import Rows, VectorEnv


class Bridge(VecEnv):
    """A `VecEnv` over a `VectorEnv`.

    Attributes:
        rows: what arrived last.
        steps: actions that have reached an environment.
        episodes: summaries of the episodes that ended since this list was last emptied.
    """

    def __init__(self, envs: VectorEnv, seed: int) -> None:
        self.envs = envs
        self._seed_of_episodes = seed
        self.rows: Rows = {}
        self.steps = 0
        self.episodes: list[dict[str, Any]] = []
        super().__init__(envs.num_envs, _countable(envs.observation_space), envs.action_space)

    def reset(self) -> dict[str, np.ndarray]:
        """Begin the first episodes."""
        self.rows = self.envs.reset(self._seed_of_episodes)
        return self.observations(self.rows)

    def observations(self, rows: Rows) -> dict[str, np.ndarray]:
        """What the policy may see of rows (N, ...)."""
        return {key: rows[key] for key in self.envs.observation_space}

    def step_async(self, actions: np.ndarray) -> None:
        """Send actions (N,) or (N, A)."""
        self.envs.send(actions)

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict]]:
        """Return observations, rewards, dones and infos, (N, ...) each.

        Where an episode ends, the observation is its last one, for there is no other yet. An episode that
        was cut off (a time limit, a lost worker) is bootstrapped from the last that was seen of it.
        """
        before, rows = self.rows, self.envs.receive()
        self.rows = rows
        self.steps += int((~rows["is_first"]).sum())
        self.episodes += self.envs.pop_episodes()
        lost = rows["is_first"] & ~before["is_last"]
        done = rows["is_last"] | lost
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(done):
            last = self.observations(before if lost[index] else rows)
            infos[index] = {
                "terminal_observation": {key: value[index] for key, value in last.items()},
                "TimeLimit.truncated": not rows["is_terminal"][index],
            }
        return self.observations(rows), rows["reward"].copy(), done, infos

    def close(self) -> None:
        """Nothing: whoever made the environments closes them."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Only the base class asks, and only for `render_mode`."""
        if attr_name != "render_mode":
            raise AttributeError(attr_name)
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Not supported."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No environment is wrapped by Gymnasium's wrappers as far as the learner can know."""
        return [False] * self.num_envs


def _countable(observed: spaces.Dict) -> spaces.Dict:
    """The space with symbols whose numbers of values can be added up: in uint8, 81 times 7 makes 55."""
    wide = {
        key: spaces.MultiDiscrete(space.nvec.astype(np.int64)) if _is_symbols(space) else space
        for key, space in observed.items()
    }
    return spaces.Dict(wide)


def _is_symbols(space: spaces.Space[Any]) -> TypeGuard[spaces.MultiDiscrete[Any]]:
    return isinstance(space, spaces.MultiDiscrete)
