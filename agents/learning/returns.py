"""Lambda-returns, V-trace, and the percentile scale by which advantages are divided."""

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


def vtrace(
    rewards: Tensor,
    values: Tensor,
    continues: Tensor,
    ratios: Tensor,
    lam: float = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """V-trace targets of rows 0 to T-2 (Espeholt et al. 2018, arXiv 1802.01561, eq. 1).

    With rho_t = min(rho_bar, w_t), c_t = lam min(c_bar, w_t) (its remark 2) and our rule of time,

        v_t = V_t + rho_t (r_{t+1} + g_{t+1} V_{t+1} - V_t) + g_{t+1} c_t (v_{t+1} - V_{t+1})

    Args:
        rewards: (B, T); `rewards[:, t]` arrived at row t.
        values: V (B, T), without gradient.
        continues: g, the discount of row t, (B, T): 0 where the row is terminal.
        ratios: w (B, T - 1), probability of the action taken in row t under the policy to be judged, over
            that under the policy which took it. Zero where no known action was taken: no return looks past
            such a row, and its own target is its value.
        lam: mixing weight of longer returns.
        rho_bar: cap of rho.
        c_bar: cap of c.

    Returns:
        Targets v (B, T - 1), and the advantages of the policy gradient (B, T - 1),
        rho_t (r_{t+1} + g_{t+1} v_{t+1} - V_t) (its section 4.2).
    """
    rho, traces = ratios.clamp_max(rho_bar), lam * ratios.clamp_max(c_bar)
    rewards, continues, following = rewards[:, 1:], continues[:, 1:], values[:, 1:]
    deltas = rho * (rewards + continues * following - values[:, :-1])
    carry = continues * traces
    excess = torch.zeros_like(values[:, 0])  # v - V of the row after
    excesses = [excess]
    for t in range(ratios.shape[1] - 1, -1, -1):
        excess = deltas[:, t] + carry[:, t] * excess
        excesses.append(excess)
    targets = values + torch.stack(excesses[::-1], 1)
    advantages = rho * (rewards + continues * targets[:, 1:] - values[:, :-1])
    return targets[:, :-1], advantages


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
