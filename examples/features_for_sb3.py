"""PPO of Stable-Baselines3 on an explorer's features: python examples/features_for_sb3.py RUN STEPS."""

import sys

import gymnasium
from stable_baselines3 import PPO

import expedition


class Features(gymnasium.Wrapper):
    def __init__(self, explorer):
        super().__init__(explorer.env())
        self.explorer = explorer
        shape = (explorer.model.config.features,)
        self.observation_space = gymnasium.spaces.Box(-float("inf"), float("inf"), shape)

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        return self.explorer.see(observation), info

    def step(self, action):
        observation, *rest = self.env.step(action)
        return self.explorer.see(observation, action), *rest


learner = PPO("MlpPolicy", Features(expedition.load(sys.argv[1])), n_steps=128, verbose=1)
learner.learn(int(sys.argv[2]))
