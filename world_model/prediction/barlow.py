"""Redundancy reduction without a decoder (R2-Dreamer: Morihira et al. 2026, arXiv 2603.18202)."""

from __future__ import annotations

import torch
from torch import Tensor

from world_model.encoder import Encoder
from world_model.nets import Linear
from world_model.prediction.base import Prediction, Seen
from world_model.sizes import WorldModelConfig

WEIGHT = 0.05
"""Of the loss among the model's others: R2-Dreamer's."""
EPS = 1e-5
"""Least deviation of a dimension: one that does not vary correlates with nothing."""


class Barlow(Prediction):
    """Each row's embedding from its latent, dimension by dimension and without redundancy.

    Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, eq. 1 and 2) between the projected features of a row
    and its embedding, which gets no gradient but through the latent (R2-Dreamer).
    """

    def __init__(self, encoder: Encoder, config: WorldModelConfig) -> None:
        super().__init__()
        self.redundancy = config.prediction.redundancy
        self.projection = Linear(config.features, encoder.width, bias=False)  # means are taken off

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        """`barlow`: one for the whole batch, ()."""
        projected = self.projection(seen.features).float().flatten(0, 1)  # (N, E)
        embedded = seen.embeddings.detach().float().flatten(0, 1)
        return {"barlow": WEIGHT * barlow_loss(projected, embedded, self.redundancy)}


def barlow_loss(left: Tensor, right: Tensor, redundancy: float) -> Tensor:
    """How far the correlations of two batches (N, E) are from the identity, ().

    sum_i (1 - C_ii)^2 + lambda sum_i sum_(j != i) C_ij^2 (eq. 1), where C_ij is the correlation of dimension
    i of `left` with j of `right` over the batch (eq. 2).
    """
    with torch.autocast(left.device.type, enabled=False):
        correlation = standardised(left).T @ standardised(right) / len(left)  # (E, E)
    own = correlation.diagonal()
    others = correlation.square().sum() - own.square().sum()
    return (1 - own).square().sum() + redundancy * others


def standardised(x: Tensor) -> Tensor:
    """Bring each column of `x` (N, E) to mean 0 and deviation 1."""
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0) + EPS**2).sqrt()
