"""Particle entropy of latents: APT (Liu and Abbeel 2021, arXiv 2103.04551)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from expedition import within
from exploration.base import IntrinsicReward
from world_model import Latent

CHUNK = 4 * 2**20
"""Most distances that are held at once: 16 MiB."""


@dataclasses.dataclass(frozen=True)
class APTConfig:
    """Settings of the particles."""

    neighbours: int = 12
    """Nearest particles over which the distance is averaged."""
    particles: int = 512
    """Most rows that serve as particles: of more rows, as many at equal intervals."""

    def __post_init__(self) -> None:
        within(self, "agent.intrinsic.apt", "neighbours", least=1)
        within(self, "agent.intrinsic.apt", "particles", least=2)


@torch.no_grad()
def mean_distance(points: Tensor, particles: int, neighbours: int) -> Tensor:
    """Mean Euclidean distance of each point to its nearest particles.

    Every ceil(N / particles)-th point is a particle; none is its own neighbour. Distances are computed for
    some rows at a time.

    Args:
        points: (N, F).
        particles: most particles M.
        neighbours: nearest ones that count, or all where there are fewer.

    Returns:
        (N,), in float32; zero for a single point.
    """
    points = points.float()
    stride = -(-len(points) // particles)
    held = points[::stride]  # (M, F)
    places = torch.arange(len(points), device=points.device)
    count = min(neighbours, len(held) - 1)
    if count == 0:
        return points.new_zeros(len(points))
    found = []
    rows = max(1, CHUNK // len(held))
    with torch.autocast(points.device.type, enabled=False):
        for some, where in zip(points.split(rows), places.split(rows), strict=True):
            distances = torch.cdist(some, held)  # (rows, M)
            distances = distances.masked_fill(where[:, None] == places[::stride], torch.inf)
            found.append(distances.topk(count, largest=False, sorted=False).values.mean(-1))
    return torch.cat(found)


class APT(IntrinsicReward):
    """log(1 + mean distance to the nearest particles), a particle estimate of the latents' entropy.

    Particles are the rows that are rewarded together: replayed rows, or imagined ones. The distance is
    between the world model's features, which stand in the place of the paper's contrastive representation.
    """

    in_imagination = True

    def __init__(self, config: APTConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def reward(
        self,
        latents: Latent,
        actions: Tensor,
        batch: Mapping[str, Tensor] | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Rewards (B, T)."""
        points = latents.features.flatten(0, 1)
        distance = mean_distance(points, self.config.particles, self.config.neighbours)
        return distance.log1p().unflatten(0, actions.shape[:2])

    def loss(self, latents: Latent, batch: Mapping[str, Tensor], embeddings: Tensor) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}
