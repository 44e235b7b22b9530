"""The controls without any intrinsic reward: entropy alone drives the policy, or chance acts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from exploration.base import IntrinsicReward
from world_model import Latent


class NoReward(IntrinsicReward):
    """Zero everywhere."""

    in_imagination = True

    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        batch: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Zeros (B, T)."""
        return torch.zeros(actions.shape[:2], device=actions.device)

    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


class RandomData(NoReward):
    """Zero everywhere, and every action of phase 1 is drawn uniformly, also when the agent is judged.

    The control of pre-training: a world model of random actions. The policy that nobody follows is trained as
    beside `NoReward`, by its entropy bonus alone.
    """

    acts_randomly = True
