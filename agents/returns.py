"""Lambda-returns and the percentile scale by which advantages are divided."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from world_model.distributions import move_


def lambda_returns(rewards: Tensor, values: Tensor, continues: Tensor, is_last: Tensor, lam: float) -> Tensor:
    """Bootstrapped lambda-returns of rows 0 to T-2.

    Args:
        rewards: (B, T); `rewards[:, t]` arrived at row t.
        values: bootstrap values (B, T).
        continues: discount of row t, (B, T): 0 where the row is terminal.
        is_last: (B, T) bool; where a row is the last of its episode but not terminal (cut off), the
            return bootstraps from its value and looks no further.
        lam: mixing weight of longer returns.

    Returns:
        (B, T - 1): R_t = r_{t+1} + c_{t+1} * ((1 - l_{t+1}) v_{t+1} + l_{t+1} R_{t+1}), where l is `lam`,
        or 0 at a last row (DreamerV3 eq. 5, with Dreamer's handling of cut-off rows).
    """
    mixing = lam * (~is_last).to(rewards.dtype)
    blended = rewards + continues * (1 - mixing) * values
    carry = continues * mixing
    result = values[:, -1]
    outputs = []
    for t in range(rewards.shape[1] - 1, 0, -1):
        result = blended[:, t] + carry[:, t] * result
        outputs.append(result)
    return torch.stack(outputs[::-1], 1)


class PercentileScale(nn.Module):
    """Running range between two percentiles of the returns (DreamerV3 eq. 7).

    The percentiles follow an exponential moving average, corrected for its start; the scale is never
    below `limit`, so that small returns are not blown up.
    """

    def __init__(
        self, low: float = 0.05, high: float = 0.95, decay: float = 0.99, limit: float = 1.0
    ) -> None:
        super().__init__()
        self.quantiles = (low, high)
        self.decay = decay
        self.limit = limit
        self.low: Tensor
        self.high: Tensor
        self.weight: Tensor
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Move the percentiles towards those of `returns` (any shape)."""
        flat = returns.detach().flatten().float()
        # Sorting, because torch.quantile refuses more than 2^24 elements; linear between neighbours.
        ordered = flat.sort().values
        for name, quantile in zip(("low", "high"), self.quantiles, strict=True):
            position = quantile * (len(ordered) - 1)
            index = int(position)
            upper = ordered[min(index + 1, len(ordered) - 1)]
            value = torch.lerp(ordered[index], upper, position - index)
            move_(getattr(self, name), value, 1 - self.decay)
        move_(self.weight, torch.ones_like(self.weight), 1 - self.decay)

    def scale(self) -> Tensor:
        """What advantages are divided by: max(limit, high - low), a scalar."""
        spread = (self.high - self.low) / self.weight.clamp_min(1e-8)
        return spread.clamp_min(self.limit)
