"""No prediction but reward, value and end."""

from __future__ import annotations

from torch import Tensor

from world_model.prediction.base import Prediction, Seen


class NoPrediction(Prediction):
    """Nothing in the decoder's place, as in MuZero (Schrittwieser et al. 2020, arXiv 1911.08265, eq. 1).

    Reward, critic and continuation head shape the latents. Unlike MuZero's, the policy does not, for it
    learns in imagination without a graph, and the heads read posterior latents, not those of an unroll: what
    is not observed is left to the prior, which the KL losses teach.
    """

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        """None."""
        return {}
