"""BYOL-Explore (Guo et al. 2022, arXiv 2206.08332)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expedition.ranges import within
from exploration.base import IntrinsicReward, NetworkConfig, Sequences, Sizes
from world_model.distributions import move_
from world_model.nets import Linear


@dataclasses.dataclass(frozen=True)
class BYOLExploreConfig(NetworkConfig):
    """Settings of the open-loop model, whose state has the width of its hidden layers, and its targets."""

    horizon: int = 8
    """Most rows K that are predicted from one row."""
    outputs: int = 128
    """Width of the projected embeddings that are predicted."""
    target_decay: float = 0.99
    """Decay of the target projection towards the learned one, by update."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.byol_explore", "horizon outputs", least=1)
        within(self, "agent.intrinsic.byol_explore", "units", least=0)
        within(self, "agent.intrinsic.byol_explore", "layers", least=0)
        within(self, "agent.intrinsic.byol_explore", "target_decay", least=0, most=1)


class OpenLoop(nn.Module):
    """Gated recurrent cell that reads actions alone."""

    def __init__(self, actions: int, units: int) -> None:
        super().__init__()
        self.gates = Linear(units + actions, 3 * units)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """`state` (..., units) and `action` (..., A) to the next state."""
        reset, candidate, update = self.gates(torch.cat([state, action], -1)).float().chunk(3, -1)
        update = torch.sigmoid(update - 1)  # bias towards remembering
        return update * torch.tanh(reset.sigmoid() * candidate) + (1 - update) * state


def direction_error(prediction: Tensor, target: Tensor) -> Tensor:
    """|p / |p| - q / |q||^2 over the last axis, (...)."""
    return (F.normalize(prediction, dim=-1) - F.normalize(target, dim=-1)).square().sum(-1)


class BYOLExplore(IntrinsicReward):
    """Errors of all open-loop predictions of a row, up to K rows ahead, in a slow copy of a projection.

    From each row, a recurrent cell that reads the coming actions predicts the projected embeddings of the
    next K rows, in direction. The target is the projection whose weights follow the learned one as a moving
    average. The reward of row t sums the errors of the predictions of row t from rows t-1 to t-K of its
    episode, so rows at the start of a sequence or an episode sum fewer.

    The paper trains encoder and recurrent state by this loss. Here both are the agent's, read without
    gradient: the belief at row t is made of its features and its projected embedding, and the loss trains
    the projection, the belief, the cell and the predictor.
    """

    in_imagination = False

    def __init__(self, sizes: Sizes, config: BYOLExploreConfig) -> None:
        super().__init__()
        self.config = config
        units, outputs = config.units or sizes.units, config.outputs
        self.projection = config.network(sizes, sizes.embedding, outputs)
        self.target = copy.deepcopy(self.projection).requires_grad_(False)
        self.belief = config.network(sizes, sizes.features + outputs, units)
        self.open_loop = OpenLoop(sizes.actions, units)
        self.predictor = config.network(sizes, units, outputs)

    @torch.no_grad()
    def take_in(self, rows: Mapping[str, Tensor]) -> None:
        """Move the target projection."""
        for slow, fast in zip(self.target.parameters(), self.projection.parameters(), strict=True):
            move_(slow, fast, 1 - self.config.target_decay)

    def _errors(self, x: Sequences) -> list[tuple[Tensor, Tensor]]:
        """For k = 1, 2, ...: errors (B, T - k) of predicting row t + k from row t, and which ones count.

        A prediction counts if no episode begins in the rows t + 1 to t + k.
        """
        target = self.target(x.embeddings).float()  # (B, T, outputs)
        belief = self.belief(torch.cat([x.features, self.projection(x.embeddings)], -1))
        state, known = torch.tanh(belief.float()), torch.ones_like(x.is_first)
        errors = []
        for k in range(1, min(self.config.horizon, x.actions.shape[1] - 1) + 1):
            state = self.open_loop(state[:, :-1], x.actions[:, k:])  # (B, T - k, units)
            known = known[:, :-1] & ~x.is_first[:, k:]
            error = direction_error(self.predictor(state).float(), target[:, k:])
            errors.append((error * known, known))
        return errors

    def reward_of(self, x: Sequences) -> Tensor:
        """Summed errors of the predictions of each row, (B, T)."""
        zeros = torch.zeros_like(x.actions[..., 0])
        return sum((F.pad(error, (k, 0)) for k, (error, _) in enumerate(self._errors(x), 1)), zeros)

    def loss_of(self, x: Sequences) -> dict[str, Tensor]:
        """Mean error of the predictions from each row, (B, T); zero where a row has none."""
        total = count = torch.zeros_like(x.actions[..., 0])
        for k, (error, known) in enumerate(self._errors(x), 1):
            total = total + F.pad(error, (0, k))
            count = count + F.pad(known.float(), (0, k))
        return {"byol": total / count.clamp_min(1.0)}
