"""Action distributions of the actor: unimix categoricals and bounded normal.

Without `torch.distributions`: its wrappers cost time in the imagination loop.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor

from world_model.distributions import factored_log_probs, sample_one_hot
from world_model.spaces import action_factors, action_width

UNIMIX = 0.01
MIN_STD, MAX_STD = 0.1, 1.0
LEAST_MASS = 1e-30


class ActionDistribution(Protocol):
    """What actor, critic and prior ask of a distribution over actions (..., A)."""

    def sample(self, noise: Tensor) -> Tensor:
        """Sample actions (..., A) from what `policy_noise` drew, without gradient."""
        ...

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (density) of `action` (..., A) -> (...)."""
        ...

    def log_prob_clipped(self, action: Tensor) -> Tensor:
        """Log-probability of `action` (..., A) as it was stored: clipped to [-1, 1] where it is a Box's."""
        ...

    def entropy(self) -> Tensor:
        """Entropy in nats (...)."""
        ...

    def parameters(self) -> dict[str, Tensor]:
        """Tensors from which `from_parameters` builds the distribution again."""
        ...


class Categorical(NamedTuple):
    """Independent choices, over their one-hots in a row; `log_probs` (..., W) hold the unimix.

    A choice is one of the factors, or all pairs of values of two of them: then the other factors come first,
    and last the pairs, by the first's value and the second's. Log-probability, entropy and divergence of a
    product are sums over its choices, and so over W.
    """

    log_probs: Tensor
    factors: tuple[int, ...]
    """How many values each factor has; they add up to A."""
    pair: tuple[int, int] | None = None
    """Places of two factors that are one choice; then W is not A."""

    def sample(self, noise: Tensor) -> Tensor:
        """Actions (..., A), a one-hot for each of n factors, from uniform noise (..., n)."""
        parts = list(self.log_probs.detach().exp().split(paired_sizes(self.factors, self.pair), -1))
        places = range(len(self.factors))
        drawn: dict[int, Tensor] = {}
        if self.pair is not None:
            first, second = self.pair
            edge = sample_one_hot(parts.pop(), noise[..., first]).unflatten(-1, (-1, self.factors[second]))
            drawn = {first: edge.sum(-1), second: edge.sum(-2)}
        alone = [place for place in places if place not in drawn]
        for place, part in zip(alone, parts, strict=True):
            drawn[place] = sample_one_hot(part, noise[..., place])
        return torch.cat([drawn[place] for place in places], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability of `action`."""
        return (self.log_probs * self._chosen(action)).sum(-1)

    def _chosen(self, action: Tensor) -> Tensor:
        """One-hots (..., W) of the choices that an action (..., A) stands for."""
        if self.pair is None:
            return action
        parts = action.split(self.factors, -1)
        first, second = (parts[place] for place in self.pair)
        edge = (first[..., :, None] * second[..., None, :]).flatten(-2)
        others = [part for place, part in enumerate(parts) if place not in self.pair]
        return torch.cat([*others, edge], -1)

    def log_prob_clipped(self, action: Tensor) -> Tensor:
        """The same: one-hot actions are never clipped."""
        return self.log_prob(action)

    def entropy(self) -> Tensor:
        """Entropy in nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def parameters(self) -> dict[str, Tensor]:
        """Log-probabilities."""
        return {"logits": self.log_probs}


def paired_sizes(factors: tuple[int, ...], pair: tuple[int, int] | None) -> tuple[int, ...]:
    """How many values each independent choice has: the factors apart from a pair, then the pair's pairs."""
    if pair is None:
        return factors
    others = [n for place, n in enumerate(factors) if place not in pair]
    return (*others, factors[pair[0]] * factors[pair[1]])


class BoundedNormal(NamedTuple):
    """Normal with mean in [-1, 1] and deviation in [0.1, 1], independent by dimension."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Actions (..., A) from normal noise (..., A), not clipped: environment and model do that."""
        return (self.mean + self.std * noise).detach()

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density of `action`."""
        return self._log_density(action).sum(-1)

    def log_prob_clipped(self, action: Tensor) -> Tensor:
        """Log-density of `action` inside (-1, 1), and log of the mass that clipping puts on each end.

        The importance ratio of a clipped action is that of the masses, and
        so is its score (clipped action policy gradient, Fujita and Maeda 2018, arXiv 1802.07564).
        """
        below = torch.special.log_ndtr((-1 - self.mean) / self.std)
        above = torch.special.log_ndtr((self.mean - 1) / self.std)
        inside = self._log_density(action)
        return torch.where(action <= -1, below, torch.where(action >= 1, above, inside)).sum(-1)

    def _log_density(self, action: Tensor) -> Tensor:
        z = (action - self.mean) / self.std
        return -0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)

    def entropy(self) -> Tensor:
        """Entropy in nats of the clipped action: of the density inside, and of the masses on both ends.

        The normal's own does not see its mean: at 1 it is what it is at 0, though there half of the mass is
        one action. An actor that had only that one to hold it drifted to the ends and stayed.
        """
        low, high = (-1 - self.mean) / self.std, (1 - self.mean) / self.std
        # At a mass of 0 the entropy's slope is infinite, and infinity times 0 no number.
        below, above = (torch.special.ndtr(z).clamp_min(LEAST_MASS) for z in (low, -high))
        inside = 1 - below - above
        second = inside - (high * _bell(high) - low * _bell(low))  # of z^2 over the inside
        density = inside * (self.std.log() + 0.5 * math.log(2 * math.pi)) + 0.5 * second
        return (density + torch.special.entr(below) + torch.special.entr(above)).sum(-1)

    def parameters(self) -> dict[str, Tensor]:
        """Mean and deviation."""
        return {"mean": self.mean, "std": self.std}


def _bell(z: Tensor) -> Tensor:
    """Density of the standard normal."""
    return (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)


def from_network(
    output: Tensor, factors: tuple[int, ...], pair: tuple[int, int] | None = None
) -> ActionDistribution:
    """Distribution from the actor's last layer: (..., W) logits, or (..., 2A) mean and raw deviation.

    Args:
        output: of the network.
        factors: as `action_factors` tells them; none for a Box.
        pair: places of two factors that are one choice.
    """
    if factors:
        log_probs = factored_log_probs(output.float(), paired_sizes(factors, pair), UNIMIX)
        return from_parameters({"logits": log_probs}, factors, pair)
    mean, raw = output.float().chunk(2, -1)
    return BoundedNormal(mean.tanh(), (MAX_STD - MIN_STD) * torch.sigmoid(raw + 2) + MIN_STD)


def policy_noise(space: gymnasium.Space, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """What sampling actions of `shape` needs: uniform (*shape, n) for n factors, or normal (*shape, A)."""
    factors = action_factors(space)
    if factors:
        return torch.rand((*shape, len(factors)), device=generator.device, generator=generator)
    return torch.randn((*shape, action_width(space)), device=generator.device, generator=generator)


def from_parameters(
    parameters: dict[str, Tensor], factors: tuple[int, ...], pair: tuple[int, int] | None = None
) -> ActionDistribution:
    """Inverse of `ActionDistribution.parameters`."""
    if factors:
        return Categorical(parameters["logits"], factors, pair)
    return BoundedNormal(parameters["mean"], parameters["std"])


def uniform_actions(space: gymnasium.Space, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform actions (count, A) as the learner sees them, on the generator's device.

    With them goes the log-probability (density) of each, (count,).
    """
    factors, width = action_factors(space), action_width(space)
    if factors:
        drawn = [torch.randint(n, (count,), device=generator.device, generator=generator) for n in factors]
        hot = [F.one_hot(index, n) for index, n in zip(drawn, factors, strict=True)]
        actions, log_prob = torch.cat(hot, -1).float(), -math.log(math.prod(factors))
    else:
        actions = 2 * torch.rand(count, width, device=generator.device, generator=generator) - 1
        log_prob = -width * math.log(2)
    return actions, torch.full((count,), log_prob, device=generator.device)


def kl(left: ActionDistribution, right: ActionDistribution) -> Tensor:
    """KL(left || right) in nats (...), for two distributions of one kind."""
    if isinstance(left, Categorical) and isinstance(right, Categorical):
        return (left.log_probs.exp() * (left.log_probs - right.log_probs)).sum(-1)
    assert isinstance(left, BoundedNormal)
    assert isinstance(right, BoundedNormal)
    ratio = left.std / right.std
    shift = (left.mean - right.mean) / right.std
    return 0.5 * (ratio.square() + shift.square() - 1 - 2 * ratio.log()).sum(-1)
