"""The control without any intrinsic reward: entropy alone drives the policy."""

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
        self, latents: Latent, actions: Tensor, observations: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Zeros (B, T)."""
        return torch.zeros(actions.shape[:2], device=actions.device)

    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}
