"""Symlog, symexp two-hot regression, and categoricals with unimix and straight-through gradients.

Written without `torch.distributions`, whose validation and wrappers cost time in the inner loop.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

TWOHOT_BINS = 255
TWOHOT_LIMIT = 20.0
SERIES = 0.03
"""Differences of logits up to which a series of four terms is exact to 1e-8."""


def symlog(x: Tensor) -> Tensor:
    """sign(x) * ln(1 + |x|) (DreamerV3 eq. 9)."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog` (DreamerV3 eq. 9)."""
    return torch.sign(x) * torch.expm1(x.abs())


@functools.cache
def twohot_bins(device: torch.device, count: int = TWOHOT_BINS) -> Tensor:
    """Bin centres symexp(linspace(-20, 20)), (count,); exactly antisymmetric (DreamerV3 eq. 10)."""
    half = symexp(torch.linspace(-TWOHOT_LIMIT, 0, (count - 1) // 2 + 1))
    return torch.cat([half, -half[:-1].flip(0)]).to(device)


def twohot_mean(logits: Tensor) -> Tensor:
    """Expected value of two-hot `logits` (..., bins) -> (...).

    Pairs of opposite bins are summed first, so that a uniform prediction is exactly zero although the outer
    bins are near 5e8. For the same reason the difference of nearly equal probabilities p and q is taken from
    their logits' difference d: p - q = p (1 - exp(-d)), a series in d, where fp32 would round p - q by 0.1 of
    a reward.
    """
    logits = logits.float()
    bins = twohot_bins(logits.device, logits.shape[-1])
    middle = logits.shape[-1] // 2
    probs = logits.softmax(-1)
    upper, lower = probs[..., middle + 1 :], probs[..., :middle].flip(-1)
    d = logits[..., middle + 1 :] - logits[..., :middle].flip(-1)
    series = upper * d * (1 - d / 2 * (1 - d / 3 * (1 - d / 4)))
    difference = torch.where(d.abs() < SERIES, series, upper - lower)
    return (difference * bins[middle + 1 :]).sum(-1)


def twohot_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of `logits` (..., bins) with the two-hot code of `target` (...), per element.

    The target's weight is split between its two neighbouring bins so that their mean is the target
    (DreamerV3 eq. 8, 10). Only those two log-probabilities are gathered.
    """
    bins = twohot_bins(logits.device, logits.shape[-1])
    target = target.clamp(bins[0], bins[-1]).detach()
    above = torch.searchsorted(bins, target.contiguous()).clamp(1, len(bins) - 1)
    below = above - 1
    weight = (target - bins[below]) / (bins[above] - bins[below])
    log_probs = logits.float().log_softmax(-1)
    pair = torch.stack([below, above], -1)
    picked = log_probs.gather(-1, pair)
    return -((1 - weight) * picked[..., 0] + weight * picked[..., 1])


def unimix_probs(logits: Tensor, unimix: float) -> Tensor:
    """Probabilities of `logits` (..., C) mixed with a share `unimix` of the uniform distribution."""
    probs = logits.softmax(-1)
    return probs if unimix == 0.0 else (1 - unimix) * probs + unimix / logits.shape[-1]


def unimix_log_probs(logits: Tensor, unimix: float) -> Tensor:
    """Their logarithms."""
    return logits.log_softmax(-1) if unimix == 0.0 else torch.log(unimix_probs(logits, unimix))


def factored_log_probs(logits: Tensor, factors: Sequence[int], unimix: float = 0.0) -> Tensor:
    """Log-probabilities of independent categoricals in a row, (..., A), each with its own unimix.

    Args:
        logits: (..., A), A the sum of `factors`.
        factors: how many classes each has.
        unimix: share of the uniform distribution.
    """
    return torch.cat([unimix_log_probs(part, unimix) for part in logits.split(tuple(factors), -1)], -1)


def sample_one_hot(probs: Tensor, noise: Tensor) -> Tensor:
    """Sample a one-hot (..., C) from `probs` (..., C) with uniform `noise` (...); no gradient.

    By inversion: the first class whose cumulative probability is above the noise, or the last. It needs one
    number where Gumbel noise needs C, and their logarithms.
    """
    passed = (probs.detach().cumsum(-1)[..., :-1] <= noise[..., None]).to(probs.dtype)  # ones, then zeros
    return F.pad(passed, (1, 0), value=1.0) - F.pad(passed, (0, 1))


def straight_through(log_probs: Tensor, noise: Tensor) -> Tensor:
    """Sample a one-hot whose gradient is that of the probabilities (Bengio et al. 2013).

    Args:
        log_probs: (..., C).
        noise: uniform, (...).
    """
    probs = log_probs.exp()
    return sample_one_hot(probs, noise) + (probs - probs.detach())


def categorical_kl(left: Tensor, right: Tensor) -> Tensor:
    """KL(left || right) of independent categoricals given by log-probabilities (..., S, C) -> (...)."""
    return (left.exp() * (left - right)).sum((-2, -1))


def balanced_kl(posterior: Tensor, prior: Tensor, free_nats: float) -> tuple[Tensor, Tensor]:
    """Dynamics and representation losses (DreamerV3 eq. 3) from log-probabilities (..., S, C).

    Returns:
        max(free, KL(sg(posterior) || prior)) and max(free, KL(posterior || sg(prior))), each (...).
    """
    dynamics = categorical_kl(posterior.detach(), prior)
    representation = categorical_kl(posterior, prior.detach())
    return dynamics.clamp_min(free_nats), representation.clamp_min(free_nats)


def move_(average: Tensor, value: Tensor, share: float) -> None:
    """Move a running `average` towards `value` by `share`, in place; `lerp_` itself cannot be batched."""
    average.copy_(torch.lerp(average, value, share))


def flatten_stoch(stoch: Tensor) -> Tensor:
    """(..., S, C) -> (..., S * C)."""
    return rearrange(stoch, "... s c -> ... (s c)")
