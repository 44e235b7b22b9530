"""Latent disagreement: Plan2Explore (Sekar et al. 2020, arXiv 2005.05960, eq. 1 and 2)."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expedition.errors import unknown_name
from expedition.ranges import within
from exploration.base import IntrinsicReward, NetworkConfig, Sequences, Sizes
from world_model.distributions import flatten_stoch
from world_model.nets import NORM_EPS, init_truncated_

ROWS = 2048
"""Rows that are rewarded at once: the predictions of all networks for all imagined rows may not fit."""


@dataclasses.dataclass(frozen=True)
class DisagreementConfig(NetworkConfig):
    """Settings of the ensemble."""

    layers: int = 2
    """Hidden layers of each network."""
    networks: int = 8
    """Networks K in the ensemble."""
    target: Literal["embedding", "stoch"] = "embedding"
    """What is predicted of the next row: its embedding (the paper) or its stochastic state (public ports)."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.disagreement", "networks", least=2)
        within(self, "agent.intrinsic.disagreement", "layers units", least=0)
        if self.target not in ("embedding", "stoch"):
            raise unknown_name("target of disagreement", self.target, ["embedding", "stoch"])


class Ensemble(nn.Module):
    """K equal MLPs with weights of their own, evaluated as batched matrix products."""

    def __init__(self, networks: int, inputs: int, units: int, layers: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, *[units] * layers, outputs]
        self.weights = nn.ParameterList(
            init_truncated_(torch.empty(networks, *shape), shape[0])
            for shape in zip(widths, widths[1:], strict=False)
        )
        self.biases = nn.ParameterList(torch.zeros(networks, 1, width) for width in widths[1:])
        self.norms = nn.ParameterList(torch.ones(networks, 1, units) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (N, inputs) to the predictions of every network (K, N, outputs)."""
        x = x.expand(len(self.biases[0]), -1, -1)  # (K, N, inputs)
        for weight, bias, norm in zip(self.weights, self.biases, self.norms, strict=False):
            x = torch.baddbmm(bias, x, weight)  # (K, N, units)
            x = F.silu(F.rms_norm(x, x.shape[-1:], eps=NORM_EPS) * norm.type_as(x))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1]).float()


def ensemble_variance(predictions: Tensor) -> Tensor:
    """Variance over the networks of `predictions` (K, N, outputs), mean over the outputs, (N,) (eq. 2).

    Many times faster than `Tensor.var` over the outermost axis.
    """
    return (predictions - predictions.mean(0)).square().mean((0, 2))


class Disagreement(IntrinsicReward):
    """Variance of an ensemble's one-step predictions.

    Network k predicts the next row's embedding (or stochastic state) from features and action. The reward of
    the row that the action led to is the variance over the networks, averaged over the predicted dimensions
    (Plan2Explore eq. 2). The networks differ by initialisation alone and learn from the same rows.
    """

    in_imagination = True

    def __init__(self, sizes: Sizes, config: DisagreementConfig) -> None:
        super().__init__()
        self.target = config.target
        inputs, units = sizes.features + sizes.actions, config.units or sizes.units
        outputs = sizes.embedding if config.target == "embedding" else sizes.stoch
        self.ensemble = Ensemble(config.networks, inputs, units, config.layers, outputs)

    def reward_of(self, x: Sequences) -> Tensor:
        """Variance over networks, mean over dimensions, (B, T - 1)."""
        inputs = x.lead(x.features)  # (B, T - 1, F + A)
        some = inputs.flatten(0, 1).split(ROWS)
        variance = torch.cat([ensemble_variance(self.ensemble(part)) for part in some])
        return variance.unflatten(0, inputs.shape[:2])

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """Squared error of every network, mean over dimensions, sum over networks (eq. 1), (B, T - 1)."""
        target = x.embeddings if self.target == "embedding" else flatten_stoch(x.latents.stoch)
        inputs = x.lead(x.features)
        predictions = self.ensemble(inputs.flatten(0, 1)).unflatten(1, inputs.shape[:2])
        error = (predictions - target[:, 1:].detach()).square()  # (K, B, T - 1, outputs)
        return {"disagreement": error.mean(-1).sum(0)}
