"""Intrinsic curiosity module (Pathak et al. 2017, arXiv 1705.05363)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from expedition.ranges import within
from exploration.base import IntrinsicReward, NetworkConfig, Sequences, Sizes
from exploration.rewards.inverse import InverseModel


@dataclasses.dataclass(frozen=True)
class ICMConfig(NetworkConfig):
    """Settings of the inverse and the forward model."""

    outputs: int = 128
    """Width of the features."""
    beta: float = 0.2
    """Weight of the forward model's loss; the inverse model's is one minus it (eq. 7)."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.icm", "outputs", least=1)
        within(self, "agent.intrinsic.icm", "units", least=0)
        within(self, "agent.intrinsic.icm", "layers", least=0)
        within(self, "agent.intrinsic.icm", "beta", least=0, most=1)


class ICM(IntrinsicReward):
    """Error of a forward model in the features of an inverse model.

    The reward of a row is half the squared distance of its features from those predicted from the features
    before it and the action that led to it (eq. 5 and 6). The paper's factor eta falls out of the scale. The
    forward model's loss reaches the features too, as in eq. 7.
    """

    in_imagination = False

    def __init__(self, sizes: Sizes, config: ICMConfig) -> None:
        super().__init__()
        self.beta = config.beta
        self.inverse = InverseModel(sizes, config.outputs, config)
        self.forward_model = config.network(sizes, config.outputs + sizes.actions, config.outputs)

    def _error(self, features: Tensor, x: Sequences) -> Tensor:
        """Half the squared error of the forward model, (B, T - 1)."""
        predicted = self.forward_model(x.lead(features)).float()
        return 0.5 * (predicted - features[:, 1:]).square().sum(-1)

    def reward_of(self, x: Sequences) -> Tensor:
        """Forward error, (B, T - 1)."""
        return self._error(self.inverse(x.embeddings), x)

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """Both errors, weighted (eq. 7)."""
        features = self.inverse(x.embeddings)  # (B, T, outputs)
        forward, inverse = self._error(features, x), self.inverse.error(features, x)
        return {"icm_forward": self.beta * forward, "icm_inverse": (1 - self.beta) * inverse}
