"""A world and a reward that break on their way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from envs.suites.grids.gridworlds import Catch
from exploration import IntrinsicReward
from exploration.base import Sequences

BREAKS = "CHAOS_BREAKS"
"""Environment variable: what is not a number, `observation` or `reward`; nothing where it isn't set."""
AFTER = 400
"""Steps of one environment before it breaks: no evaluation makes as many."""


class Fragile(Catch):
    """Catch as a vector, until it breaks."""

    def __init__(self, render_mode: str | None = None) -> None:
        """Begin whole."""
        super().__init__("vector", render_mode=render_mode)
        self._steps = 0

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """As in Catch; one number is none once it breaks."""
        self._steps += 1
        rows, reward, terminated, truncated, info = super().step(action)
        breaks = os.environ.get(BREAKS) if self._steps == AFTER else None
        if breaks == "observation":
            rows = {**rows, "vector": np.full_like(rows["vector"], np.nan)}
        return rows, float("nan") if breaks == "reward" else reward, terminated, truncated, info


class Unreliable(IntrinsicReward):
    """One everywhere, and no number in some updates.

    Args:
        space: of the observations.
        model: the agent's.
        first: the first update in which it is no number.
        count: in how many updates.
    """

    in_imagination = True

    def __init__(self, space: Any, model: Any, first: str, count: str) -> None:
        super().__init__()
        self._broken = range(int(first), int(first) + int(count))
        self._update = -1

    def take_in(self, rows: Mapping[str, Tensor]) -> None:
        """Count the update."""
        self._update += 1

    def reward_of(self, x: Sequences) -> Tensor:
        """Ones (B, T), or NaN."""
        return torch.full_like(x.actions[..., 0], torch.nan if self._update in self._broken else 1.0)


gymnasium.register("Fragile-v0", f"{__name__}:Fragile")
