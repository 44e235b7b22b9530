"""Self-predictive representations (Schwarzer et al. 2021, arXiv 2007.05929)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from world_model.prediction.ahead import Ahead

WEIGHT = 10.0
"""Of the loss among the model's others: ours. The papers' agents have no KL losses, which with a weight of 1
kept the stochastic state all but empty (docs/performance.md)."""


class SPR(Ahead):
    """Predictions approach their targets in direction.

    The paper's loss is -2 sum_k cos(prediction_k, target_k) (section 2.2, with its weight of 2). A constant
    2 is added to each row, which makes it the squared distance of the directions (BYOL, Grill et al. 2020,
    arXiv 2006.07733, eq. 2), zero where the prediction is perfect.
    """

    name = "spr"

    def compare(self, predictions: Tensor, targets: Tensor, keys: Tensor) -> Tensor:
        """Weighted 2 - 2 cos, (K, B, n)."""
        return WEIGHT * (2 - 2 * F.cosine_similarity(predictions, targets, dim=-1))
