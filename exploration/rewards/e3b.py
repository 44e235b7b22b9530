"""Elliptical episodic bonus (Henaff et al. 2022, arXiv 2210.05805)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from expedition.ranges import within
from exploration.base import IntrinsicReward, NetworkConfig, Sequences, Sizes
from exploration.rewards.inverse import InverseModel


@dataclasses.dataclass(frozen=True)
class E3BConfig(NetworkConfig):
    """Settings of the features and of the ellipse."""

    outputs: int = 64
    """Width of the features; the ellipse is a matrix of this side for each sequence."""
    ridge: float = 0.1
    """The ellipse of an episode that has only begun, as a multiple of the identity (lambda)."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.e3b", "outputs", least=1)
        within(self, "agent.intrinsic.e3b", "units", least=0)
        within(self, "agent.intrinsic.e3b", "layers", least=0)
        within(self, "agent.intrinsic.e3b", "ridge", above=0)


def elliptical_bonus(features: Tensor, is_first: Tensor, ridge: float) -> Tensor:
    """Bonus of each row given the rows before it in its episode.

    b_t = phi_t' C_{t-1}^-1 phi_t with C_{t-1} = ridge I + sum of phi_i phi_i' over the rows before t. The
    inverse is carried along by the rank-one update of Sherman and Morrison. It begins anew at the sequence's
    start and at each first row.

    Args:
        features: (B, T, D).
        is_first: (B, T) bool.
        ridge: above 0.

    Returns:
        (B, T), in float32.
    """
    fresh = torch.eye(features.shape[-1], device=features.device) / ridge
    inverse = fresh.expand(len(features), -1, -1)  # (B, D, D)
    bonuses = []
    with torch.autocast(features.device.type, enabled=False):  # the inverse loses its meaning in bf16
        for row, first in zip(features.float().unbind(1), is_first.unbind(1), strict=True):
            inverse = torch.where(first[:, None, None], fresh, inverse)
            turned = inverse @ row[:, :, None]  # (B, D, 1)
            bonus = (row[:, :, None] * turned).sum(1, keepdim=True)  # (B, 1, 1)
            inverse = inverse - turned * turned.mT / (1 + bonus)
            bonuses.append(bonus[:, 0, 0])
    return torch.stack(bonuses, 1)


class E3B(IntrinsicReward):
    """How far a row's features lie outside the ellipse of those before it in its episode.

    The features are an inverse model's. A replayed sequence mostly begins amid an episode, whose earlier rows
    are not known: the ellipse then begins at the sequence's start, the bonus is novelty within the replayed
    window, and row 0, which would always be new, earns nothing.
    """

    in_imagination = False

    def __init__(self, sizes: Sizes, config: E3BConfig) -> None:
        super().__init__()
        self.ridge = config.ridge
        self.inverse = InverseModel(sizes, config.outputs, config)

    def reward_of(self, x: Sequences) -> Tensor:
        """Bonus of rows 1 to T-1, (B, T - 1)."""
        return elliptical_bonus(self.inverse(x.embeddings), x.is_first, self.ridge)[:, 1:]

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """Error of the inverse model, which trains the features."""
        return {"e3b_inverse": self.inverse.error(self.inverse(x.embeddings), x)}
