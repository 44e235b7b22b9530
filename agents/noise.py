"""The random numbers of an update, drawn beforehand, so that its loss is a function of tensors alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Noise(NamedTuple):
    """What an update samples with; an agent without imagination has horizon H = 0."""

    posterior: Tensor
    """Of the filtered rows: uniform, (B, T, S)."""
    prior: Tensor
    """Of imagined rows: uniform, (H, N, S)."""
    policy: Tensor
    """Of imagined actions: (H, N, ...), see `policy_noise`."""
    ahead: Tensor
    """Of rows that the model predicts ahead while it learns: uniform, (K, B, n, S); K is 0 where it does
    not."""
    plan: Any = ()
    """Of the plans that teach the actor: what its planner's `draw_noise` gave."""
