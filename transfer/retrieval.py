"""Which trajectories of carried data begin near to where a task begins.

After the experience rehearsal of Zhao et al. 2025 (arXiv 2502.19544), who retrieve from data that are not of
the task. Abstract and introduction are what was read: distance, number and share are choices made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from expedition import UserError
from training import Logistics, Replay, RunConfig
from training.budget import most_rows
from training.process.logistics import env_factory
from transfer.data.episodes import split_episodes
from transfer.data.pretraining import cut, laid_rows
from transfer.data.sources import RunData

Rows = dict[str, np.ndarray]
Embed = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From observations (N, ...) by name to their embeddings (N, E)."""


class Retrieved(NamedTuple):
    """Trajectories, the nearest first.

    Attributes:
        trajectories: rows (T, ...) of each by name.
        distances: of each from the task's start.
        among: how many there were to choose from.
    """

    trajectories: list[Rows]
    distances: list[float]
    among: int

    @property
    def rows(self) -> Rows:
        """All rows in a row."""
        return {n: np.concatenate([t[n] for t in self.trajectories]) for n in self.trajectories[0]}

    def told(self) -> dict[str, float]:
        """What transfer.json says of them."""
        return {
            "trajectories": len(self.trajectories),
            "of": self.among,
            "rows": sum(len(trajectory["is_first"]) for trajectory in self.trajectories),
            "nearest": self.distances[0],
            "farthest": self.distances[-1],
        }


def retrieve(data: RunData, embed: Embed, starts: np.ndarray, count: int) -> Retrieved | None:
    """Return the `count` trajectories that begin nearest to a task's first observations.

    With e the encoder, o_1 ... o_n the task's first observations and x_0 a trajectory's own:

        d(x) = min_i |e(x_0) - e(o_i)|

    Episodes of which the ring has lost the beginning are left out, and those of a single row.

    Args:
        data: a run's replay.
        embed: the encoder.
        starts: embeddings (n, E) of the task's first observations.
        count: how many are wanted.

    Returns:
        None where no trajectory begins in the data.
    """
    firsts = [{name: rows[name][0] for name in rows} for rows in _trajectories(data)]
    if not firsts:
        return None
    begun = embed({name: np.stack([first[name] for first in firsts]) for name in firsts[0]})
    away = np.linalg.norm(begun[:, None] - starts[None], axis=-1).min(axis=1)
    nearest = np.argsort(away, kind="stable")[:count].tolist()
    chosen = set(nearest)
    found = {number: rows for number, rows in enumerate(_trajectories(data)) if number in chosen}
    return Retrieved([found[n] for n in nearest], [float(away[n]) for n in nearest], len(firsts))


def _trajectories(data: RunData) -> Iterator[Rows]:
    """Whole beginnings of episodes, environment by environment."""
    for env in range(data.num_envs):
        for rows in split_episodes(data.lane(env)):
            if rows["is_first"][0] and len(rows["is_first"]) > 1:
                yield rows


def first_observations(config: RunConfig, count: int) -> Rows:
    """Observations (count, ...) of a run's environment after resets, which are no steps; from its seed."""
    envs = env_factory(config, Logistics(workers=0))(count)
    try:
        return dict(envs.reset(config.seed))
    finally:
        envs.close()


def embedding(encoder: nn.Module, names: list[str], device: torch.device) -> Embed:
    """Return what embeds the entries `names` of observations with an encoder."""

    @torch.no_grad()
    def embed(observed: Mapping[str, np.ndarray]) -> np.ndarray:
        batch = {name: torch.as_tensor(observed[name], device=device)[:, None] for name in names}
        return encoder(batch)[:, 0].float().cpu().numpy()

    return embed


def lay_beside(replay: Replay, rows: Rows, config: RunConfig) -> None:
    """Lay rows (n, ...) of trajectories into a replay, where they stay beside the rows that will be added.

    Raises:
        UserError: they hold no sequence, or there is no room for both.
    """
    training, rehearsal = config.training, config.training.rehearsal
    each = laid_rows(len(rows["is_first"]), replay.num_envs)
    if each < training.length:
        raise UserError(
            f"The trajectories that were retrieved fill {each:,} rows of each of {replay.num_envs} "
            f"environments, and sequences have {training.length}: retrieve more with "
            "--training.rehearsal.trajectories, or lower --training.num-envs or --training.length."
        )
    need = each + most_rows(config.steps, replay.num_envs)
    if need > replay.capacity:
        gib = need * replay.num_envs * replay.row_bytes / 2**30
        raise UserError(
            f"What is rehearsed stays beside all new rows, which takes {gib:.3g} GiB, and the replay may "
            f"take {training.replay_gib:g}: allow it more with --training.replay-gib, on disk if need be "
            "(--replay-store disk), or retrieve less with --training.rehearsal.trajectories."
        )
    stretch = replay.lay(each, rehearsal.share)
    for env, at, part in cut(0, rows, each):
        if env < replay.num_envs:
            replay.fill(env, stretch.start + at, part)
    replay.grow(1 - rehearsal.share)
