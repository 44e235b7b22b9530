"""What stands in the decoder's place: the component `decoder`, by which latents learn to mean something."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from world_model.encoder import Encoder


class Seen(NamedTuple):
    """What a prediction may read of replayed sequences.

    `features` (B, T, F) of the posterior latents and `embeddings` (B, T, E), with gradient; `ahead`, features
    (B, n, F) predicted open loop for k = 1 to K rows after each of n starts; `rows` (B, T, ...).
    """

    features: Tensor
    ahead: tuple[Tensor, ...]
    embeddings: Tensor
    rows: Mapping[str, Tensor]


class Prediction(nn.Module, abc.ABC):
    """One kind of prediction, with the networks that it needs.

    Its losses are functions of tensors that take no decision by a tensor's value, so that they can be
    compiled and batched over seeds.
    """

    @abc.abstractmethod
    def losses(self, seen: Seen) -> dict[str, Tensor]:
        """Losses (B, T), or (B, n) along the unroll, by name."""

    def unrolled(self, length: int) -> tuple[int, int]:
        """Rows K that are predicted ahead in sequences of `length` rows, and from how many, n, of each."""
        return 0, 0

    def follow(self, encoder: Encoder, share: float | None = None) -> None:
        """Move what follows the learned weights slowly; once an update.

        Args:
            encoder: the model's.
            share: of the learned weights that is taken over; None: as the settings say.
        """


def rows_ahead(x: Tensor, k: int, horizon: int, stride: int) -> Tensor:
    """The rows (B, n, ...) of `x` (B, T, ...) that lie k rows after the starts of unrolls of `horizon` rows.

    Starts are the rows 0, stride, 2 * stride, ..., after which `horizon` rows follow.
    """
    return x[:, k : k + x.shape[1] - horizon : stride]
