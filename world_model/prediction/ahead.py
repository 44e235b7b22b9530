"""What the predictions along an unroll have in common: networks, a slow target, and which rows count."""

from __future__ import annotations

import abc
import copy

import torch
from torch import Tensor, nn

from world_model.encoder import Encoder
from world_model.nets import MLP, Linear
from world_model.prediction.base import Prediction, Seen, rows_ahead
from world_model.sizes import WorldModelConfig


class Ahead(Prediction):
    """Predicts how a slow copy of encoder and projection will see the rows to come (Schwarzer et al. 2021).

    That paper's transition model stays in the encoder's space; this one's latents are brought there by a
    linear layer: prediction = q(g(W features)), target = g'(encoder'(observation)), where g' and encoder'
    follow the learned g and encoder as moving averages and get no gradient.
    """

    name: str
    """What its loss is called."""

    def __init__(self, encoder: Encoder, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config.prediction
        self.to_embedding = Linear(config.features, encoder.width)  # W
        self.projection = MLP(encoder.width, config.units, 1, outputs=config.units)  # g
        self.predictor = Linear(config.units, config.units)  # q
        self.target = nn.Sequential(copy.deepcopy(encoder), copy.deepcopy(self.projection))
        self.target.requires_grad_(False)

    @abc.abstractmethod
    def compare(self, predictions: Tensor, targets: Tensor, keys: Tensor) -> Tensor:
        """Losses (K, B, n).

        Args:
            predictions: (K, B, n, P).
            targets: what each is a prediction of, (K, B, n, P).
            keys: the targets of all rows, (B, T, P).
        """

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        """Sum over the K rows after each start, (B, n); those beyond an episode's end cost nothing."""
        features = torch.stack(seen.ahead)  # (K, B, n, F)
        predictions = self.predictor(self.projection(self.to_embedding(features))).float()
        keys = self.target(seen.rows).float()  # (B, T, P)
        is_first, steps = seen.rows["is_first"], range(1, len(features) + 1)
        targets = torch.stack([self._after_starts(keys, k, steps) for k in steps])
        begun = torch.stack([self._after_starts(is_first, k, steps) for k in steps])  # (K, B, n)
        known = begun.cumsum(0) == 0
        return {self.name: (self.compare(predictions, targets, keys) * known).sum(0)}

    def unrolled(self, length: int) -> tuple[int, int]:
        """K, and how many starts have K rows after them."""
        horizon = min(self.config.steps, length - 1)
        return horizon, len(range(0, length - horizon, self.config.stride))

    def _after_starts(self, x: Tensor, k: int, steps: range) -> Tensor:
        return rows_ahead(x, k, len(steps), self.config.stride)

    @torch.no_grad()
    def follow(self, encoder: Encoder, share: float | None = None) -> None:
        """Move the target; beside a projection that rests it rests too."""
        fasts: list[Tensor] = [*encoder.parameters(), *self.projection.parameters()]
        if fasts[-1].requires_grad:
            share = 1 - self.config.decay if share is None else share
            torch._foreach_lerp_(list(self.target.parameters()), fasts, share)
