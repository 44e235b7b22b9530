"""A model that is a table of random numbers: states are whole numbers, as those of simulators would be."""

import torch

from agents.search import Evaluation, Step


class Tables:
    """`states` states with A actions; each pair leads to a random state with a random reward and discount."""

    variables = 0

    def __init__(self, states, actions, seed):
        generator = torch.Generator().manual_seed(seed)
        self.following = torch.randint(states, (states, actions), generator=generator)
        self.reward = torch.randn(states, actions, generator=generator)
        self.discount = torch.rand(states, actions, generator=generator)
        self.logits = 2 * torch.randn(states, actions, generator=generator)
        self.value = 3 * torch.randn(states, generator=generator)

    def step(self, state, action, noise):
        index = action.argmax(-1)
        return Step(self.following[state, index], self.reward[state, index], self.discount[state, index])

    def evaluate(self, state, choices):
        return Evaluation(self.logits[state], self.value[state], None)
