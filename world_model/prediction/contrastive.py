"""Contrastive prediction: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from world_model.encoder import Encoder
from world_model.prediction.ahead import Ahead
from world_model.sizes import WorldModelConfig


class Contrastive(Ahead):
    """Each prediction is to be told its own target among those of all rows of the batch.

    -log of the share exp(sim(prediction, its target) / t) has in the sum over all targets (eq. 4), sim the
    cosine and t the temperature (SimCLR, Chen et al. 2020, arXiv 2002.05709, eq. 1). Targets are those of a
    slow encoder (MoCo, He et al. 2020, arXiv 1911.05722). Rows that look alike are told apart by nothing: the
    loss ends above zero where a batch has such rows.
    """

    name = "contrastive"

    def __init__(self, encoder: Encoder, config: WorldModelConfig) -> None:
        super().__init__(encoder, config)
        self.temperature = config.prediction.temperature

    def compare(self, predictions: Tensor, targets: Tensor, keys: Tensor) -> Tensor:
        """InfoNCE in nats, (K, B, n)."""
        predictions, targets = (F.normalize(x, dim=-1) for x in (predictions, targets))
        keys = F.normalize(keys, dim=-1).flatten(0, 1)  # (B * T, P)
        own = (predictions * targets).sum(-1) / self.temperature
        with torch.autocast(keys.device.type, enabled=False):
            every = predictions @ keys.T / self.temperature  # (K, B, n, B * T)
        return every.logsumexp(-1) - own
