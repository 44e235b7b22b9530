"""Latent disagreement: Plan2Explore (Sekar et al. 2020, arXiv 2005.05960, eq. 1 and 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expedition import unknown_name, within
from exploration.base import IntrinsicReward, follow
from world_model import Latent
from world_model.distributions import flatten_stoch
from world_model.nets import init_truncated_, norm_silu
from world_model.onehot import Codes

PIECE = 512
"""Rows whose predictions are held at once on a CPU."""


@dataclasses.dataclass(frozen=True)
class DisagreementConfig:
    """Settings of the ensemble."""

    networks: int = 8
    """Networks K in the ensemble."""
    layers: int = 2
    """Hidden layers of each network."""
    units: int = 0
    """Width of the hidden layers; 0 takes the model's `units`."""
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
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.norms = nn.ParameterList(torch.ones(networks, 1, units) for _ in range(layers))
        for wide_in, wide_out in zip(widths, widths[1:], strict=False):
            self.weights.append(init_truncated_(torch.empty(networks, wide_in, wide_out), wide_in))
            self.biases.append(torch.zeros(networks, 1, wide_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (N, inputs) to the predictions of every network (K, N, outputs)."""
        x = x.expand(len(self.biases[0]), *x.shape)
        return self._after_first(torch.bmm(x, self.weights[0]).add_(self.biases[0]))

    def _after_first(self, x: Tensor) -> Tensor:
        """Output of the first linear layer (K, N, units) to the predictions (K, N, outputs)."""
        for index, norm in enumerate(self.norms):
            x = norm_silu(x, norm.squeeze(1))
            x = torch.bmm(x, self.weights[index + 1]).add_(self.biases[index + 1])  # baddbmm copies the bias
        return x.float()

    def in_pieces(self, x: Tensor, codes: Codes | None, begin: int) -> Iterator[Tensor]:
        """Predictions (K, M, outputs) of M rows after M rows, without gradient, which saves memory on a CPU.

        Args:
            x: (N, inputs); with codes, its other columns alone.
            codes: of the one-hot columns, (N, S).
            begin: first of those columns.
        """
        if codes is None:
            yield from map(self, x.split(PIECE if x.device.type == "cpu" else len(x)))
            return
        end = begin + codes.width
        weight = self.weights[0]
        rows = F.pad(weight[:, begin:end], (0, 0, 1, 0))  # row 0 stands for a variable that is zero
        plain = torch.cat([weight[:, :begin], weight[:, end:]], 1)
        for part, numbers in zip(x.split(PIECE), codes.numbers.split(PIECE), strict=True):
            summed = torch.stack([F.embedding_bag(numbers, table, mode="sum") for table in rows])
            dense = part.expand(len(rows), -1, -1)
            yield self._after_first(summed.add_(self.biases[0]).baddbmm_(dense, plain))


def ensemble_variance(predictions: Tensor) -> Tensor:
    """Biased variance over the networks of `predictions` (K, N, outputs) -> (N, outputs).

    Two passes, one network at a time: many times faster than `Tensor.var` over the outermost axis.
    """
    mean = predictions.mean(0)
    total = torch.zeros_like(mean)
    for prediction in predictions:
        difference = prediction - mean
        total = torch.addcmul(total, difference, difference)  # in place it cannot be batched over seeds
    return total / len(predictions)


class Disagreement(IntrinsicReward):
    """Variance of an ensemble's one-step predictions.

    Network k predicts the next row's embedding (or stochastic state) from features and action. The reward of
    the row that the action led to is the variance over the networks, averaged over the predicted dimensions
    (Plan2Explore eq. 2). The networks differ by initialisation alone and learn from the same rows.

    Args:
        features: width F.
        embedding: width E.
        actions: width A.
        units: width of hidden layers where the config leaves it open.
        config: settings.
    """

    in_imagination = True

    def __init__(
        self, features: int, stoch: int, embedding: int, actions: int, units: int, config: DisagreementConfig
    ) -> None:
        super().__init__()
        self.target = config.target
        outputs = embedding if config.target == "embedding" else stoch
        units = config.units or units
        self.ensemble = Ensemble(config.networks, features + actions, units, config.layers, outputs)

    @torch.no_grad()
    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        batch: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Variance over networks, mean over dimensions, (B, T); zero in row 0, which nothing led to."""
        codes = Codes.of(latents.stoch[:, :-1].flatten(0, 1))
        known = latents.features if codes is None else latents.deter
        inputs = follow(known, actions).flatten(0, 1)
        pieces = self.ensemble.in_pieces(inputs, codes, latents.deter.shape[-1])
        variance = torch.cat([ensemble_variance(predictions).mean(-1) for predictions in pieces])
        return F.pad(variance.unflatten(0, (len(actions), -1)), (1, 0))

    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Squared error of every network, mean over dimensions, sum over networks (eq. 1).

        Rows that begin an episode were led to by no action and cost nothing.
        """
        target = embeddings if self.target == "embedding" else flatten_stoch(latents.stoch)
        target = target[:, 1:].flatten(0, 1).detach()
        inputs = follow(latents.features, batch["action"]).flatten(0, 1)
        error = (self.ensemble(inputs) - target).square().mean(-1).sum(0)
        error = error.unflatten(0, (len(batch["action"]), -1)) * ~batch["is_first"][:, 1:]
        return {"disagreement": F.pad(error, (1, 0))}
