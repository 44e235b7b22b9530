"""An environment whose actions have two factors: `tests.factored:Pair-v0`."""

import gymnasium
import numpy as np


class Pair(gymnasium.Env):
    """Shows two numbers, and pays a half for each that its factor of the action repeats; four steps.

    At random an episode is worth 4 * (1/3 + 1/2) / 2 = 1.67, and 4 at best.
    """

    observation_space = gymnasium.spaces.MultiDiscrete([3, 2])
    action_space = gymnasium.spaces.MultiDiscrete([3, 2])

    def _look(self):
        self.wanted = self.np_random.integers([3, 2])
        return self.wanted.copy()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._look(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        reward = float(np.mean(action == self.wanted))
        return self._look(), reward, self.time == 4, False, {}


gymnasium.register("Pair-v0", entry_point=Pair)


class Same(Pair):
    """Always shows the same two numbers, so that little is to be learned."""

    def _look(self):
        super()._look()
        self.wanted = np.array([2, 1])
        return self.wanted.copy()


gymnasium.register("Same-v0", entry_point=Same)
