"""Environments that show sets of objects: `tests.blocks:Blocks-v0`, and with more of them `objects=8`."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Blocks(gymnasium.Env):
    """Some of `objects` rows exist, one of them is marked; choosing that one pays 1, in each of four steps.

    A row holds a position that moves on, and the mark. Of an action's two factors the second points.
    """

    pointers = {1: "objects"}

    def __init__(self, objects=4):
        self.observation_space = spaces.Dict(
            {
                "objects": spaces.Box(-np.inf, np.inf, (objects, 2), np.float32),
                "objects_mask": spaces.MultiBinary(objects),
            }
        )
        self.action_space = spaces.MultiDiscrete([2, objects])

    def _look(self):
        rows = np.zeros((len(self.exists), 2), np.float32)
        rows[:, 0] = self.places
        rows[self.marked, 1] = 10
        return {"objects": rows, "objects_mask": self.exists.copy()}

    def _mark(self):
        self.marked = int(self.np_random.choice(np.flatnonzero(self.exists)))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        count = self.action_space.nvec[1]
        self.exists = (self.np_random.permutation(count) < count // 2 + 1).astype(np.int8)
        self.places = self.np_random.normal(size=count)
        self.time = 0
        self._mark()
        return self._look(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        reward = float(action[1] == self.marked)
        self.time += 1
        self.places = self.places + 0.1
        return self._look(), reward, self.time == 4, False, {}


gymnasium.register("Blocks-v0", entry_point=Blocks)
