"""Features that an inverse model learns: what of an observation the action before it can have changed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exploration.base import NetworkConfig, Sequences, Sizes
from world_model.distributions import factored_log_probs


class InverseModel(nn.Module):
    """Features of embeddings, and the action between two rows predicted from the features of both.

    Pathak et al. 2017 (arXiv 1705.05363, eq. 2 and 3) with their convolutions replaced by an MLP on the
    embedding of the agent's encoder.

    Args:
        sizes: of the agent's model.
        outputs: width D of the features.
        config: settings of both networks.
    """

    def __init__(self, sizes: Sizes, outputs: int, config: NetworkConfig) -> None:
        super().__init__()
        self.factors = sizes.factors
        self.features = config.network(sizes, sizes.embedding, outputs)
        self.action = config.network(sizes, 2 * outputs, sizes.actions)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Features (..., D) of `embeddings` (..., E)."""
        return self.features(embeddings).float()

    def error(self, features: Tensor, x: Sequences) -> Tensor:
        """Error in predicting the actions from features (B, T, D) of the rows of `x`, (B, T - 1).

        Cross-entropy, summed over the factors, or half the squared error for a Box.
        """
        actions = x.actions[:, 1:]
        # (B, T - 1, 2 D) -> (B, T - 1, A)
        predicted = self.action(torch.cat([features[:, :-1], features[:, 1:]], -1)).float()
        if self.factors:
            return -(actions * factored_log_probs(predicted, self.factors)).sum(-1)
        return 0.5 * (predicted - actions).square().sum(-1)
