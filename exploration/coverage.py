"""What exploration reached, measured without any reward and without any learned network.

Two measures. The things that episodes tell to have reached (achievements, moved objects, cells), joined over
the run. And the particle entropy of what was seen, in features that no agent learns: a learned embedding has
a scale and a geometry of its own, which would make two agents, or two moments of one, incomparable.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch

from expedition.errors import UserError
from expedition.ranges import within

PROJECTION_SEED = 4_000_037
"""The projection is the same for every run of an observation space, whatever the run's seed."""
RESOLUTION = 1 / 255
"""One grey level, added to each distance so that equal observations have a finite entropy."""


@dataclasses.dataclass(frozen=True)
class CoverageConfig:
    """How the particle entropy is measured."""

    rows: int = 1024
    """Rows that it is measured on, drawn uniformly from all rows of the run; 0 for none."""
    features: int = 8
    """Random linear features of an observation."""
    neighbours: int = 12
    """The distance to this nearest other row counts (APT's 12)."""

    def __post_init__(self) -> None:
        within(self, "training.coverage", "rows", least=0)
        within(self, "training.coverage", "features neighbours", least=1)


def particle_entropy(points: np.ndarray, neighbours: int, resolution: float = 0.0) -> float:
    """Entropy of the density that points were drawn from, in nats, from distances to nearest neighbours.

    Singh et al. 2003: the mean over points of log(n V R^d / k) + log(k) - digamma(k), where R is the distance
    to the k-th nearest of the n - 1 others, and V the volume of the unit ball in d dimensions. As in APT (Liu
    and Abbeel 2021, arXiv 2103.04551, eq. 4) a constant is added to R, so that equal points do no harm.

    Args:
        points: (n, d).
        neighbours: `k`, from 1 to n - 1.
        resolution: what is added to each distance, in the points' unit.

    Raises:
        ValueError: there are too few points.
    """
    count, width = points.shape
    if not 1 <= neighbours < count:
        raise ValueError(f"{count} points have 1 to {count - 1} neighbours, not {neighbours}")
    there = torch.as_tensor(points, dtype=torch.float32)
    # (n, n); by differences, for products of matrices lose the short distances
    distances = torch.cdist(there, there, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.kthvalue(neighbours + 1).values.double()  # the first is the point itself
    ball = width / 2 * math.log(math.pi) - math.lgamma(width / 2 + 1)
    digamma = float(torch.digamma(torch.tensor(float(neighbours), dtype=torch.float64)))
    return math.log(count) + ball - digamma + width * float((nearest + resolution).log().mean())


class RandomProjection:
    """Fixed random linear features of observations.

    Images count in [0, 1], vectors in symlog units, symbols as ones and zeros. The features' squared distance
    is, in expectation over projections, the mean squared difference of the observations' numbers, averaged
    over their keys.

    Args:
        space: what is observed.
        features: how many features, `d`.
    """

    def __init__(self, space: gymnasium.spaces.Dict, features: int) -> None:
        rng = np.random.default_rng(PROJECTION_SEED)
        self.features = features
        self._classes = {
            key: int(entry.nvec.max())
            for key, entry in space.items()
            if isinstance(entry, gymnasium.spaces.MultiDiscrete)
        }
        self._weights: dict[str, np.ndarray] = {}
        for key in sorted(space.keys()):
            size = math.prod(space[key].shape or ()) * self._classes.get(key, 1)
            weights = rng.standard_normal((size, features), dtype=np.float32)
            self._weights[key] = weights / math.sqrt(size * features * len(space.keys()))

    def __call__(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Observations (N, ...) by key -> (N, d) float32."""
        return sum(self._numbers(key, rows[key]) @ weights for key, weights in self._weights.items())

    def _numbers(self, key: str, values: np.ndarray) -> np.ndarray:
        """(N, ...) -> (N, D) float32: pixels in [0, 1], symbols one-hot, other numbers in symlog units."""
        if key in self._classes:
            values = values[..., None] == np.arange(self._classes[key])
        flat = values.reshape(len(values), -1).astype(np.float32)
        if values.dtype == np.uint8:
            return flat / 255
        return flat if values.dtype == bool else np.sign(flat) * np.log1p(np.abs(flat))


class Coverage:
    """What one run reached so far, over all its episodes.

    Args:
        space: what is observed.
        config: settings of the particle entropy.
        reachable: how many things there are to reach; None where nobody knows.
        seed: of the draw of rows.
    """

    def __init__(
        self, space: gymnasium.spaces.Dict, config: CoverageConfig, reachable: int | None, seed: int
    ) -> None:
        self.config, self.reachable = config, reachable
        self._project = RandomProjection(space, config.features)
        self._points = np.zeros((config.rows, config.features), np.float32)
        self._seen = 0
        self._episodes: Counter[str] | None = None
        self._ended = 0
        self._rng = np.random.default_rng([seed, 2])

    def see(self, rows: Mapping[str, np.ndarray]) -> None:
        """Take in one row (N, ...) of each environment; each row of a run is kept equally likely.

        Reservoir sampling (Vitter 1985, algorithm R): row number t takes the place of a random one of the
        kept rows with probability rows / t. Rows that are not kept are not projected.
        """
        size = self.config.rows
        if size == 0:
            return
        count = len(next(iter(rows.values())))
        number = np.arange(self._seen, self._seen + count)
        place = np.where(number < size, number, self._rng.integers(number + 1))
        self._seen += count
        kept = np.flatnonzero(place < size)
        if len(kept):
            points = self._project({key: value[kept] for key, value in rows.items()})
            for where, point in zip(place[kept], points, strict=True):  # the later of two in one place stays
                self._points[where] = point

    def reach(self, names: Iterable[str]) -> None:
        """Take in what an episode that ended tells to have reached; an empty list tells something too."""
        self._episodes = Counter() if self._episodes is None else self._episodes
        self._episodes.update(set(names))
        self._ended += 1

    def entropy(self) -> float | None:
        """Particle entropy of the rows seen so far, in nats; None while there are too few."""
        count = min(self._seen, self.config.rows)
        if count <= self.config.neighbours:
            return None
        return particle_entropy(self._points[:count], self.config.neighbours, RESOLUTION)

    def metrics(self) -> dict[str, float]:
        """`reached`, `reached_share`, `reached_per_episode`, `particle_entropy`: each where it is known."""
        found: dict[str, float | None] = {"particle_entropy": self.entropy()}
        if self._episodes is not None:
            found["reached"] = float(len(self._episodes))
            found["reached_share"] = len(self._episodes) / self.reachable if self.reachable else None
            found["reached_per_episode"] = self._episodes.total() / self._ended
        return {name: value for name, value in sorted(found.items()) if value is not None}

    def result(self) -> dict[str, Any]:
        """What a run came to: names `reached` in order, their `share`, `reachable`, and `particle_entropy`.

        `episodes` says for each name how many episodes reached it. None stands for what is not known; both
        are None where no episode told anything.
        """
        found = self.metrics()
        return {
            "reached": None if self._episodes is None else sorted(self._episodes),
            "episodes": self._counts(),
            "reachable": self.reachable,
            "share": found.get("reached_share"),
            "particle_entropy": found.get("particle_entropy"),
        }

    def _counts(self) -> dict[str, int] | None:
        return None if self._episodes is None else dict(sorted(self._episodes.items()))

    def state_dict(self) -> dict[str, Any]:
        """Everything that later measures depend on."""
        return {
            "points": self._points[: min(self._seen, self.config.rows)],
            "seen": self._seen,
            "episodes": self._counts(),
            "ended": self._ended,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`.

        Raises:
            UserError: it is from a version that did not count episodes.
        """
        if not {"episodes", "ended"} <= state.keys():
            raise UserError(
                "The checkpoint is from a version that did not count episodes and what they reached: begin "
                "the run anew in another folder."
            )
        self._points[: len(state["points"])] = state["points"]
        self._seen = state["seen"]
        self._episodes = None if state["episodes"] is None else Counter(state["episodes"])
        self._ended = state["ended"]
        self._rng.bit_generator.state = state["rng"]
