"""The reward as the agent reads it: what `GoalReward` wrote into each row when it was collected."""

from __future__ import annotations

from torch import Tensor

from exploration.base import IntrinsicReward, Sequences

EARNED = "behaviour/goals"
"""Replayed rows hold under this name the cosine with which the step before reached a suggested goal."""


class Language(IntrinsicReward):
    """ELLM's reward (Du et al. 2023, arXiv 2302.06692); a reward head learns it for imagination."""

    in_imagination = False

    def reward_of(self, x: Sequences) -> Tensor:
        """What the rows earned when they were collected, (B, T)."""
        return x.rows[EARNED]
