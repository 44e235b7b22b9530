"""Latent Bayesian surprise (Mazzaglia et al. 2022, arXiv 2104.07495)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from expedition import within
from exploration.base import IntrinsicReward, follow, replayed
from world_model import Latent
from world_model.nets import MLP, Linear

MIN_STD = 0.1


@dataclasses.dataclass(frozen=True)
class LBSConfig:
    """Settings of the latent variable."""

    variables: int = 32
    """Width of the latent variable."""
    layers: int = 1
    """Hidden layers of prior and posterior."""
    units: int = 0
    """Width of the hidden layers; 0 takes the model's `units`."""
    beta: float = 1.0
    """Weight of the KL in the evidence bound."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.lbs", "variables", least=1)
        within(self, "agent.intrinsic.lbs", "layers units beta", least=0)


class Normal(NamedTuple):
    """Independent normals: mean and deviation (..., variables)."""

    mean: Tensor
    std: Tensor


def normal_kl(left: Normal, right: Normal) -> Tensor:
    """KL(left || right) in nats, summed over the variables, (...)."""
    ratio = left.std / right.std
    shift = (left.mean - right.mean) / right.std
    return 0.5 * (ratio.square() + shift.square() - 1 - 2 * ratio.log()).sum(-1)


class LBS(IntrinsicReward):
    """What an observation changes in the belief about a latent variable: KL(posterior || prior).

    The prior reads the features before a row and the action that led to it; the posterior also reads the
    row's embedding. Both are trained by the evidence bound of the embedding. The paper's decoder is a network
    on a sample; this one is linear, so that its expected error is exact and needs none. The variable is the
    reward's own, not the world model's stochastic state: the model's KL is held at its free nats, and an
    agent without a model has none. The posterior needs observations, so imagination uses a reward head that
    learns the surprise from replay.

    Args:
        features: width F.
        embedding: width E.
        actions: width A.
        units: width of hidden layers where the config leaves it open.
        config: settings.
    """

    in_imagination = False

    def __init__(self, features: int, embedding: int, actions: int, units: int, config: LBSConfig) -> None:
        super().__init__()
        self.beta = config.beta
        units, inputs, outputs = config.units or units, features + actions, 2 * config.variables
        self.prior = MLP(inputs, units, config.layers, outputs=outputs)
        self.posterior = MLP(inputs + embedding, units, config.layers, outputs=outputs)
        self.decoder = Linear(config.variables, embedding)

    def _beliefs(self, latents: Latent, actions: Tensor, embeddings: Tensor) -> tuple[Normal, Normal]:
        """Posterior and prior of rows 1 to T-1."""
        before = follow(latents.features, actions)
        prior = self.prior(before)
        posterior = self.posterior(torch.cat([before, embeddings[:, 1:]], -1))
        return _normal(posterior), _normal(prior)

    @torch.no_grad()
    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        batch: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Surprise in nats, (B, T); zero in row 0."""
        _, embeddings = replayed(batch, embeddings)
        return F.pad(normal_kl(*self._beliefs(latents, actions, embeddings)), (1, 0))

    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Negative evidence bound: expected half squared error of the embedding, and the KL.

        E |e - W z - b|^2 under a normal z is |e - W mean - b|^2 + sum_j std_j^2 |W_j|^2, W_j the column of
        variable j. Rows that begin an episode cost nothing.
        """
        posterior, prior = self._beliefs(latents, batch["action"], embeddings)
        error = (embeddings[:, 1:] - self.decoder(posterior.mean).float()).square().sum(-1)
        spread = (posterior.std.square() * self.decoder.weight.square().sum(0)).sum(-1)
        known = ~batch["is_first"][:, 1:]
        losses = {"lbs_error": 0.5 * (error + spread), "lbs_kl": self.beta * normal_kl(posterior, prior)}
        return {name: F.pad(loss * known, (1, 0)) for name, loss in losses.items()}


def _normal(output: Tensor) -> Normal:
    """From a network's last layer (..., 2 * variables)."""
    mean, raw = output.float().chunk(2, -1)
    return Normal(mean, F.softplus(raw) + MIN_STD)
