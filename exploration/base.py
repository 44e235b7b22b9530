"""What an intrinsic reward is, and the rule by which every one is scaled."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model import Filter, Latent
from world_model.distributions import move_
from world_model.nets import MLP
from world_model.spaces import action_factors, action_width


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


class Sizes(NamedTuple):
    """Widths of what a reward reads: F, S * C, E and A; values of each factor of an action; hidden layers."""

    features: int
    stoch: int
    embedding: int
    actions: int
    factors: tuple[int, ...]
    units: int

    @classmethod
    def of(cls, model: Filter) -> Sizes:
        """Sizes of an agent's model."""
        config, space = model.config, model.action_space
        stoch, factors = config.stoch * config.classes, action_factors(space)
        return cls(config.features, stoch, model.encoder.width, action_width(space), factors, config.units)


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Settings of a reward's own networks."""

    layers: int = 1
    """Hidden layers of each network."""
    units: int = 0
    """Width of the hidden layers; 0 takes the model's `units`."""

    def network(self, sizes: Sizes, inputs: int, outputs: int) -> MLP:
        """An MLP of these settings."""
        return MLP(inputs, self.units or sizes.units, self.layers, outputs=outputs)


class Sequences(NamedTuple):
    """What a reward reads, without gradient: replayed sequences, or imagined ones.

    `latents` (B, T, ...); `actions` (B, T, A), that of row t led to row t; `rows` (B, T, ...), what was
    observed, by key; `embeddings` (B, T, E) of it. In imagination `rows` is empty and E is 0.
    """

    latents: Latent
    actions: Tensor
    rows: Mapping[str, Tensor]
    embeddings: Tensor

    @classmethod
    def of(
        cls,
        latents: Latent,
        actions: Tensor,
        rows: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Sequences:
        """Bring the actions to [-1, 1], as environment and model do with those of a policy."""
        nothing = actions[..., :0]
        return cls(latents, actions.clamp(-1, 1), rows or {}, nothing if embeddings is None else embeddings)

    @property
    def features(self) -> Tensor:
        """The latents' features (B, T, F)."""
        return self.latents.features

    @property
    def is_first(self) -> Tensor:
        """Whether an episode begins in the row, (B, T) bool; of replayed rows alone."""
        return self.rows["is_first"]

    def lead(self, features: Tensor) -> Tensor:
        """What led to rows 1 to T-1: `features` (B, T, F) of the row before, and the action.

        Returns:
            (B, T - 1, F + A).
        """
        return torch.cat([features[:, :-1], self.actions[:, 1:]], -1)


class IntrinsicReward(nn.Module, abc.ABC):
    """A reward that the agent gives itself. Its state is its `state_dict`.

    In each update the agent calls `take_in`, `reward` and `loss`, in this order, on the same replayed rows.
    Rewards follow the rule of time: `reward[:, t]` arrived at row t, earned by the action that led to it.
    The agent zeroes the first rows of episodes.

    A subclass says whether it is `in_imagination` and writes `reward_of`, and `loss_of` and `take_in` where
    it learns. All are functions of tensors: they take no decision by a tensor's value and change buffers in
    place, so that they can be compiled and batched over seeds.
    """

    in_imagination: bool
    """Whether the reward is a function of latents and actions and can be computed in imagined rows. Otherwise
    it needs what was observed, and a reward head learns it for imagination."""
    acts_randomly: bool = False
    """Whether the agent acts uniformly at random instead of by its policy."""
    reads_decoder: bool = False
    """Whether it reads the model's decoder, which a model that predicts something else does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = RewardScale()

    def take_in(self, rows: Mapping[str, Tensor]) -> None:
        """Look at replayed rows (B, T, ...) before they are rewarded, for statistics that reward needs."""

    @abc.abstractmethod
    def reward_of(self, x: Sequences) -> Tensor:
        """Unscaled rewards (B, T) of the rows, or (B, T - 1) of the transitions that led to rows 1 to T-1."""

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """Losses by name that train what the reward is computed from, of rows or transitions as above."""
        return {}

    @final
    @torch.no_grad()
    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        rows: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Unscaled rewards (B, T), without gradient; zero in row 0 where a transition is rewarded.

        Args:
            latents: (B, T, ...), detached.
            actions: (B, T, A); row t led to row t.
            rows: replayed rows (B, T, ...) by key; None in imagination.
            embeddings: (B, T, E) of replayed rows, detached; None in imagination.

        Raises:
            ValueError: the rows are imagined, and the reward is not `in_imagination`.
        """
        if rows is None and not self.in_imagination:
            raise ValueError("This reward needs replayed rows; in imagination a reward head predicts it")
        reward = self.reward_of(Sequences.of(latents, actions, rows, embeddings))
        return F.pad(reward, (actions.shape[1] - reward.shape[1], 0))

    @final
    def loss(self, latents: Latent, rows: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Losses (B, T) by name; transitions cost nothing in row 0 and where an episode begins.

        Args:
            latents: posterior latents (B, T, ...), detached.
            rows: replayed rows (B, T, ...).
            embeddings: (B, T, E), detached.
        """
        x = Sequences.of(latents, rows["action"], rows, embeddings)
        return {name: _in_rows(loss, x.is_first) for name, loss in self.loss_of(x).items()}


def _in_rows(loss: Tensor, is_first: Tensor) -> Tensor:
    """(B, T) of rows as it is, (B, T - 1) of transitions to (B, T)."""
    return loss if loss.shape == is_first.shape else F.pad(loss * ~is_first[:, 1:], (1, 0))
