"""Explore an environment of your own: python examples/own_environment.py OUT STEPS.

Workers and later programs find it by its module, so its folder must be in the Python path.
"""

import sys

import gymnasium

import expedition


class Line(gymnasium.Env):
    """Walk from the middle of five cells to the right end; the left end is a pit."""

    observation_space = gymnasium.spaces.Discrete(5)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)  # then draw all luck from self.np_random
        self.cell = 2
        return self.cell, {}

    def step(self, action):
        self.cell += 1 if action == 1 else -1
        return self.cell, float(self.cell == 4), self.cell in (0, 4), False, {}


if __name__ == "__main__":
    out, steps = sys.argv[1], int(sys.argv[2])
    explorer = expedition.pretrain(out, env="own_environment:Line-v0", steps=steps, size="tiny")
    print(f"explored for {explorer.step} steps: {out}")
else:
    gymnasium.register("Line-v0", entry_point="own_environment:Line", max_episode_steps=100)
