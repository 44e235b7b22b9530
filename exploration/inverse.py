"""Features that an inverse model learns: what of an observation the action before it can have changed."""

from __future__ import annotations

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.nets import MLP
from world_model.spaces import action_width


class InverseModel(nn.Module):
    """Features of embeddings, and the action between two rows predicted from the features of both.

    Pathak et al. 2017 (arXiv 1705.05363, eq. 2 and 3) with their convolutions replaced by an MLP on the
    embedding of the agent's encoder.

    Args:
        embedding: width E.
        action_space: Discrete or Box.
        units: width of the hidden layers.
        outputs: width of the features.
    """

    def __init__(self, embedding: int, action_space: gymnasium.Space, units: int, outputs: int) -> None:
        super().__init__()
        self.discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        self.features = MLP(embedding, units, 1, outputs=outputs)
        self.action = MLP(2 * outputs, units, 1, outputs=action_width(action_space))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Features (..., outputs) of `embeddings` (..., E)."""
        return self.features(embeddings).float()

    def loss(self, features: Tensor, actions: Tensor, is_first: Tensor) -> Tensor:
        """Error in predicting the actions (B, T): cross-entropy, or half the squared error for a Box.

        Zero in row 0 and where an episode begins.

        Args:
            features: (B, T, outputs).
            actions: (B, T, A); row t led to row t.
            is_first: (B, T) bool.
        """
        predicted = self.action(torch.cat([features[:, :-1], features[:, 1:]], -1)).float()
        if self.discrete:
            error = -(actions[:, 1:] * predicted.log_softmax(-1)).sum(-1)
        else:
            error = 0.5 * (predicted - actions[:, 1:]).square().sum(-1)
        return F.pad(error * ~is_first[:, 1:], (1, 0))
