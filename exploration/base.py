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

    Mean and deviation are those of the rewards on replayed rows: exponential moving averages of the batches'
    means and deviations, corrected for their start. Averages of deviations, and over few updates, because
    rewards fall by orders of magnitude at first: an average of variances over a hundred updates would still
    be that of the untrained networks. Rewards that never vary are left as they are.

    Args:
        clip: set rewards below the running mean to zero, max(r - mean, 0) / deviation (BYOL-Explore, Guo et
            al. 2022). Otherwise the mean is kept.
        decay: of the averages, by update.
        eps: deviations up to this one count as none.
    """

    def __init__(self, clip: bool = False, decay: float = 0.97, eps: float = 1e-8) -> None:
        super().__init__()
        self.clip = clip
        self.decay = decay
        self.eps = eps
        self.average: Tensor
        self.spread: Tensor
        self.weight: Tensor
        for name in ("average", "spread", "weight"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def update(self, rewards: Tensor, counted: Tensor | None = None) -> None:
        """Take `rewards` (any shape) into account, where `counted` (same shape) if given."""
        weights = torch.ones_like(rewards) if counted is None else counted.to(rewards.dtype)
        total = weights.sum().clamp_min(1.0)
        mean = (weights * rewards).sum() / total
        spread = ((weights * (rewards - mean).square()).sum() / total).sqrt()
        move_(self.average, mean, 1 - self.decay)
        move_(self.spread, spread, 1 - self.decay)
        move_(self.weight, torch.ones_like(self.weight), 1 - self.decay)

    def mean(self) -> Tensor:
        """Mean so far; 0 before any reward."""
        return self.average / self.weight.clamp_min(self.eps)

    def deviation(self) -> Tensor:
        """Standard deviation so far; 1 before any reward, and where the rewards never vary."""
        deviation = self.spread / self.weight.clamp_min(self.eps)
        return torch.where(deviation > self.eps, deviation, torch.ones_like(deviation))

    def forward(self, rewards: Tensor) -> Tensor:
        """Scale `rewards` of any shape."""
        if self.clip:
            rewards = (rewards - self.mean()).clamp_min(0.0)
        return rewards / self.deviation()


class IntrinsicReward(nn.Module, abc.ABC):
    """A reward that the agent gives itself. Its state is its `state_dict`.

    In each update the agent calls `take_in`, `reward` and `loss`, in this order, on the same replayed rows.
    Rewards follow the rule of time: `reward[:, t]` arrived at row t, earned by the action that led to it.
    Nothing known led to row 0 of a sequence: a reward of transitions is zero there. The agent zeroes the
    first rows of episodes.

    A subclass sets `in_imagination`: True where the reward is a function of latents and actions and can be
    computed in imagined rows; False where it needs what was observed, so that a reward head must learn it.
    """

    in_imagination: bool
    acts_randomly: bool = False
    """Whether the agent acts uniformly at random instead of by its policy."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = RewardScale()

    def take_in(self, batch: Mapping[str, Tensor]) -> None:
        """Look at replayed rows (B, T, ...) before they are rewarded, for statistics that reward needs."""

    @abc.abstractmethod
    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        batch: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Unscaled rewards (B, T), without gradient.

        Args:
            latents: (B, T, ...), detached.
            actions: (B, T, A); row t led to row t.
            batch: replayed rows (B, T, ...) by key; None in imagination.
            embeddings: (B, T, E) of replayed rows, detached; None in imagination.
        """

    @abc.abstractmethod
    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Losses (B, T) by name that train what the reward is computed from; latents are detached.

        Args:
            latents: posterior latents (B, T, ...), detached.
            batch: replayed rows (B, T, ...).
            embeddings: (B, T, E), detached.
        """


def replayed(
    batch: Mapping[str, Tensor] | None, embeddings: Tensor | None
) -> tuple[Mapping[str, Tensor], Tensor]:
    """Return both, for a reward that is not `in_imagination`.

    Raises:
        ValueError: one is missing, as in imagination.
    """
    if batch is None or embeddings is None:
        raise ValueError(
            "This reward needs replayed rows and embeddings; in imagination a reward head predicts it"
        )
    return batch, embeddings


def follow(features: Tensor, actions: Tensor) -> Tensor:
    """What predicts rows 1 to T-1: features (B, T, F) of the row before, the action (B, T, A) that led there.

    Returns:
        (B, T - 1, F + A).
    """
    # Imagined actions are not clipped to [-1, 1]; the environment and the model clip them.
    actions = actions / actions.abs().clamp_min(1.0)
    return torch.cat([features[:, :-1], actions[:, 1:]], -1)
