"""What an intrinsic reward is, and the rule by which every one is scaled."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from world_model import Latent
from world_model.distributions import move_


class RewardScale(nn.Module):
    """Divides rewards by their running standard deviation: the one rule for every intrinsic reward.

    The deviation is that of the rewards on replayed rows, an exponential moving average of the batch
    variances corrected for its start (as BYOL-Explore, Guo et al. 2022, section 3, without its clipping;
    the mean is kept). Rewards that never vary are left as they are.
    """

    def __init__(self, decay: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__()
        self.decay = decay
        self.eps = eps
        self.variance: Tensor
        self.weight: Tensor
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def update(self, rewards: Tensor, counted: Tensor | None = None) -> None:
        """Take the variance of `rewards` (any shape) into account, where `counted` (same shape) if given."""
        weights = torch.ones_like(rewards) if counted is None else counted.to(rewards.dtype)
        total = weights.sum().clamp_min(1.0)
        mean = (weights * rewards).sum() / total
        variance = (weights * (rewards - mean).square()).sum() / total
        move_(self.variance, variance, 1 - self.decay)
        move_(self.weight, torch.ones_like(self.weight), 1 - self.decay)

    def deviation(self) -> Tensor:
        """Standard deviation so far; 1 before any reward, and where the rewards never vary."""
        deviation = (self.variance / self.weight.clamp_min(self.eps)).sqrt()
        return torch.where(deviation > self.eps, deviation, torch.ones_like(deviation))

    def forward(self, rewards: Tensor) -> Tensor:
        """Scale `rewards` of any shape."""
        return rewards / self.deviation()


class IntrinsicReward(nn.Module, abc.ABC):
    """A reward that the agent gives itself. Its state is its `state_dict`.

    Rewards follow the rule of time: `reward[:, t]` arrived at row t, earned by the action that led to it.
    A subclass sets `in_imagination`: True where the reward is a function of latents and actions and can be
    computed in imagined rows; False where it needs observations, so that a reward head must learn it.
    """

    in_imagination: bool

    def __init__(self) -> None:
        super().__init__()
        self.scale = RewardScale()

    def take_in(self, batch: Mapping[str, Tensor]) -> None:
        """Look at replayed rows (B, T, ...) before they are rewarded, for statistics that reward needs."""

    @abc.abstractmethod
    def reward(
        self, latents: Latent, actions: Tensor, observations: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Unscaled rewards (B, T), without gradient.

        Args:
            latents: (B, T, ...).
            actions: (B, T, A); row t led to row t.
            observations: (B, T, ...) by key, on replayed rows; None in imagination.
        """

    @abc.abstractmethod
    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Losses (B, T) by name that train what the reward is computed from; latents are detached.

        Args:
            latents: posterior latents (B, T, ...), detached.
            batch: replayed rows (B, T, ...).
            embeddings: (B, T, E), detached.
        """
