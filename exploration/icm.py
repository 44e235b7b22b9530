"""Intrinsic curiosity module (Pathak et al. 2017, arXiv 1705.05363)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor

from expedition import within
from exploration.base import IntrinsicReward, replayed
from exploration.inverse import InverseModel
from world_model import Latent
from world_model.nets import MLP
from world_model.spaces import action_width


@dataclasses.dataclass(frozen=True)
class ICMConfig:
    """Settings of the inverse and the forward model."""

    outputs: int = 128
    """Width of the features."""
    units: int = 0
    """Width of the hidden layers; 0 takes the model's `units`."""
    beta: float = 0.2
    """Weight of the forward model's loss; the inverse model's is one minus it (eq. 7)."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.icm", "outputs", least=1)
        within(self, "agent.intrinsic.icm", "units", least=0)
        within(self, "agent.intrinsic.icm", "beta", least=0, most=1)


class ICM(IntrinsicReward):
    """Error of a forward model in the features of an inverse model.

    The reward of a row is half the squared distance of its features from those predicted from the features
    before it and the action that led to it (eq. 5 and 6). The paper's factor eta falls out of the scale. The
    forward model's loss reaches the features too, as in eq. 7. Observations are needed, so imagination uses
    a reward head that learns it from replay.

    Args:
        embedding: width E.
        action_space: Discrete or Box.
        units: width of hidden layers where the config leaves it open.
        config: settings.
    """

    in_imagination = False

    def __init__(self, embedding: int, action_space: gymnasium.Space, units: int, config: ICMConfig) -> None:
        super().__init__()
        self.beta = config.beta
        units = config.units or units
        self.inverse = InverseModel(embedding, action_space, units, config.outputs)
        inputs = config.outputs + action_width(action_space)
        self.forward_model = MLP(inputs, units, 1, outputs=config.outputs)

    def _error(self, features: Tensor, actions: Tensor) -> Tensor:
        """Half the squared error of the forward model, (B, T); zero in row 0."""
        predicted = self.forward_model(torch.cat([features[:, :-1], actions[:, 1:]], -1)).float()
        return F.pad(0.5 * (predicted - features[:, 1:]).square().sum(-1), (1, 0))

    @torch.no_grad()
    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        batch: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Forward error of the rows, (B, T)."""
        _, embeddings = replayed(batch, embeddings)
        return self._error(self.inverse(embeddings), actions)

    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Both errors, weighted (eq. 7)."""
        features = self.inverse(embeddings)
        forward = self._error(features, batch["action"]) * ~batch["is_first"]
        inverse = self.inverse.loss(features, batch["action"], batch["is_first"])
        return {"icm_forward": self.beta * forward, "icm_inverse": (1 - self.beta) * inverse}
