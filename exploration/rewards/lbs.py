"""Latent Bayesian surprise (Mazzaglia et al. 2022, arXiv 2104.07495)."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from expedition.ranges import within
from exploration.base import IntrinsicReward, NetworkConfig, Sequences, Sizes
from world_model.nets import Linear

MIN_STD = 0.1


@dataclasses.dataclass(frozen=True)
class LBSConfig(NetworkConfig):
    """Settings of prior and posterior."""

    variables: int = 32
    """Width of the latent variable."""
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
    agent without a model has none.
    """

    in_imagination = False

    def __init__(self, sizes: Sizes, config: LBSConfig) -> None:
        super().__init__()
        self.beta = config.beta
        inputs, outputs = sizes.features + sizes.actions, 2 * config.variables
        self.prior = config.network(sizes, inputs, outputs)
        self.posterior = config.network(sizes, inputs + sizes.embedding, outputs)
        self.decoder = Linear(config.variables, sizes.embedding)

    def _beliefs(self, x: Sequences) -> tuple[Normal, Normal]:
        """Posterior and prior of rows 1 to T-1, (B, T - 1, variables)."""
        before = x.lead(x.features)  # (B, T - 1, F + A)
        posterior = self.posterior(torch.cat([before, x.embeddings[:, 1:]], -1))
        return _normal(posterior), _normal(self.prior(before))

    def reward_of(self, x: Sequences) -> Tensor:
        """Surprise in nats, (B, T - 1)."""
        return normal_kl(*self._beliefs(x))

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """Negative evidence bound: expected half squared error of the embedding, and the KL, (B, T - 1).

        E |e - W z - b|^2 under a normal z is |e - W mean - b|^2 + sum_j std_j^2 |W_j|^2, W_j the column of
        variable j.
        """
        posterior, prior = self._beliefs(x)
        error = (x.embeddings[:, 1:] - self.decoder(posterior.mean).float()).square().sum(-1)
        spread = (posterior.std.square() * self.decoder.weight.square().sum(0)).sum(-1)
        return {"lbs_error": 0.5 * (error + spread), "lbs_kl": self.beta * normal_kl(posterior, prior)}


def _normal(output: Tensor) -> Normal:
    """From a network's last layer (..., 2 * variables)."""
    mean, raw = output.float().chunk(2, -1)
    return Normal(mean, F.softplus(raw) + MIN_STD)
