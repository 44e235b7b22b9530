"""Reconstruction: each row's observation from its latent, by a decoder (DreamerV3, eq. 3)."""

from __future__ import annotations

from torch import Tensor

from world_model.decoder import Decoder
from world_model.prediction.base import Prediction, Seen


class Reconstruction(Decoder, Prediction):
    """The decoder of DreamerV3 (Hafner et al. 2024, arXiv 2301.04104v2)."""

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        """`reconstruction_<key>` (B, T) of each observation."""
        errors = self.loss(seen.features, seen.rows)
        return {f"reconstruction_{key}": error for key, error in errors.items()}
