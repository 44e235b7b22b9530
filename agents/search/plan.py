"""What planning gives, and what every planner does."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.search.model import State


class Plan(NamedTuple):
    """An action for each state, and the policy that it was drawn from.

    A policy learns from a plan by the cross-entropy -sum(weights * log_prob(candidates)) of its candidates.
    """

    action: Tensor
    """To take, (N, A): one-hot, or values in [-1, 1]."""
    candidates: Tensor
    """What was looked at, (N, K, A)."""
    weights: Tensor
    """Improved policy over the candidates, (N, K); sums to 1."""
    prior: Tensor
    """The policy's own probabilities over the candidates before, (N, K); sums to 1."""
    value: Tensor
    """Of the states, (N,)."""


class Planner(Protocol):
    """Plans from states of a model."""

    def draw_noise(self, count: int, generator: torch.Generator) -> Any:
        """Everything that planning from `count` states samples with, on the generator's device."""
        ...

    def plan(self, state: State, noise: Any, greedy: bool = False) -> Plan:
        """Plan from `state` (N, ...), without gradient, with what `draw_noise` drew.

        Args:
            state: where to begin.
            noise: for N states.
            greedy: choose the best action without exploring.
        """
        ...


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise: the logarithm of an exponential variable, negated."""
    return -torch.empty(shape, device=generator.device).exponential_(generator=generator).log()
