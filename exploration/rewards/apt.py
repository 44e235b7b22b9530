"""Particle entropy of latents: APT (Liu and Abbeel 2021, arXiv 2103.04551)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from expedition.ranges import within
from exploration.base import IntrinsicReward, Sequences


@dataclasses.dataclass(frozen=True)
class APTConfig:
    """Settings of the particles."""

    neighbours: int = 12
    """Nearest particles over which the distance is averaged."""
    particles: int = 512
    """Most rows that serve as particles, spread at random over those that are rewarded together."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.apt", "neighbours", least=1)
        within(self, "agent.intrinsic.apt", "particles", least=2)


def _constant(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.compiler.assume_constant_result`, which would import the compiler: two seconds of any start."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@functools.cache
@_constant
def drawn(count: int, particles: int, device: torch.device) -> Tensor:
    """Which of `count` rows are particles, (M,): the start of a random permutation, always the same.

    The rows are random samples already. Equal intervals would not do: rows that are a multiple of the
    rollouts' length apart are all of one step.
    """
    order = np.random.default_rng(0).permutation(count)  # vmap refuses torch's own
    return torch.as_tensor(order[:particles], device=device)


def mean_distance(points: Tensor, particles: int, neighbours: int) -> Tensor:
    """Mean Euclidean distance of each point to its nearest particles.

    Particles are `drawn` from the points; none is its own neighbour.

    Args:
        points: (N, F).
        particles: most particles M.
        neighbours: nearest ones that count, or all where there are fewer.

    Returns:
        (N,), in float32; zero for a single point.
    """
    points, places = points.float(), drawn(len(points), particles, points.device)
    count = min(neighbours, len(places) - 1)
    if count == 0:
        return points.new_zeros(len(points))
    itself = torch.arange(len(points), device=points.device)[:, None] == places
    with torch.autocast(points.device.type, enabled=False):
        distances = torch.cdist(points, points[places]).masked_fill(itself, torch.inf)  # (N, M)
    return distances.topk(count, largest=False, sorted=False).values.mean(-1)


class APT(IntrinsicReward):
    """log(1 + mean distance to the nearest particles), a particle estimate of the latents' entropy.

    Particles are among the rows that are rewarded together: replayed rows, or imagined ones. The distance is
    between the world model's features, which stand in the place of the paper's contrastive representation.
    """

    in_imagination = True

    def __init__(self, config: APTConfig) -> None:
        super().__init__()
        self.config = config

    def reward_of(self, x: Sequences) -> Tensor:
        """Rewards (B, T)."""
        points = x.features.flatten(0, 1)
        distance = mean_distance(points, self.config.particles, self.config.neighbours)
        return distance.log1p().unflatten(0, x.actions.shape[:2])
