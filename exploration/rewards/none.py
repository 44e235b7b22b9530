"""The controls without any intrinsic reward: entropy alone drives the policy, or chance acts."""

from __future__ import annotations

import torch
from torch import Tensor

from exploration.base import IntrinsicReward, Sequences


class NoReward(IntrinsicReward):
    """Zero everywhere."""

    in_imagination = True

    def reward_of(self, x: Sequences) -> Tensor:
        """Zeros (B, T)."""
        return torch.zeros_like(x.actions[..., 0])


class RandomData(NoReward):
    """Zero everywhere, and every action of phase 1 is drawn uniformly, also when the agent is judged.

    The control of pre-training: a world model of random actions. The policy that nobody follows is trained as
    beside `NoReward`, by its entropy bonus alone.
    """

    acts_randomly = True
