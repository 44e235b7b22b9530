"""Phase 1 on data that others collected: their rows become the replay, and nothing is added to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from agents import Agent
from agents.base import LOG_PROB
from envs import TASK
from expedition import UserError
from training import Replay, RunConfig
from training.spaces import describe_spaces, told_observations
from training.storage.replay import RowSpec
from transfer.data.episodes import REWARD
from transfer.data.sources import Data, Source, begun
from transfer.relabel import recorded_reward


def data_record(sources: Sequence[Source]) -> dict[str, Any]:
    """The data's part of a run's settings, which decides whether a folder holds the same run."""
    if not sources:
        return {}
    told = [{**source.data.identity, "weight": source.weight} for source in sources]
    return {"data": {str(number): entry for number, entry in enumerate(told, 1)}}


def laid_rows(rows: int, num_envs: int) -> int:
    """Rows of each environment that data of so many rows fill; what is over is left out."""
    return rows // num_envs


class PretrainingData:
    """Fills the replay of a phase-1 run that makes no steps of its own.

    Each source's rows are laid one environment after the other, all of one length, so that a run continues
    and is carried from as if its own environments had been seen. They are copied: the run needs the source
    no more, but for the proof that it is what it was.

    Args:
        sources: where rows come from, and how often each is drawn from.
        config: the run.

    Raises:
        UserError: the run would make steps, or cannot learn so.
    """

    def __init__(self, sources: Sequence[Source], config: RunConfig) -> None:
        self.sources = sources
        self.config = config
        training = config.training
        if config.agent.kind in ("ppo", "random"):
            raise UserError(
                f"An agent of the kind '{config.agent.kind}' does not learn from data: leave --data out."
            )
        if config.steps:
            raise UserError(
                f"Data of others are learned from without steps, and steps is {config.steps:,}: leave it "
                "out, and say with --training.offline-updates how many updates are made."
            )
        for source in sources:
            each = laid_rows(source.data.rows, training.num_envs)
            if each < training.length:
                raise UserError(
                    f"The data '{source.name}' are {source.data.rows:,} rows, {each:,} for each of "
                    f"{training.num_envs} environments: sequences of {training.length} need more; lower "
                    "--training.num-envs or --training.length."
                )

    @property
    def artifact(self) -> None:
        """No checkpoint that W&B would know."""
        return None

    @property
    def carried_rows(self) -> int:
        """Rows of each environment that the data fill."""
        return sum(laid_rows(source.data.rows, self.config.training.num_envs) for source in self.sources)

    def prepare(self, agent: Agent) -> None:
        """Refuse data of other spaces than the environment's.

        Raises:
            UserError: naming the data and both spaces.
        """
        here = describe_spaces(agent.observation_space, agent.action_space)
        for source in self.sources:
            check_same_spaces(source.name, source.data.spaces, self.config.env, here)

    def load(self, agent: Agent, replay: Replay, check: Callable[[], None]) -> Mapping[str, Any]:
        """Lay all rows into the replay; returns what was loaded from where.

        Args:
            agent: fresh.
            replay: empty.
            check: called at every piece; it raises where a stop came.

        Raises:
            UserError: the replay is too small for them, or they hold nothing to learn from.
        """
        self._check_room(replay)
        manifest = {}
        for number, source in enumerate(self.sources, 1):
            reward = self._lay(source, replay, check)
            manifest[str(number)] = {
                "name": source.name,
                **source.data.identity,
                "weight": source.weight,
                "reward": reward,
            }
        return {"data": manifest}

    def _check_room(self, replay: Replay) -> None:
        if replay.capacity < self.carried_rows:
            need = self.carried_rows * replay.num_envs * replay.row_bytes / 2**30
            raise UserError(
                f"The data take {need:.3g} GiB, and the replay may take {self.config.training.replay_gib:g}: "
                f"allow it more with --training.replay-gib, on disk if need be (--replay-store disk)."
            )

    def _lay(self, source: Source, replay: Replay, check: Callable[[], None]) -> str | None:
        """Lay one source's rows; returns their name for the reward of this run's task, None if unknown."""
        each = laid_rows(source.data.rows, replay.num_envs)
        stretch = replay.lay(each, source.weight)
        reward: str | None = None
        for place, rows in source.data.pieces():
            check()
            if self.config.agent.kind == "model-free" and LOG_PROB not in rows:
                raise UserError(
                    f"The data '{source.name}' do not tell how likely their actions were, without which a "
                    "model-free agent learns nothing: use --agent.kind model-based."
                )
            reward = reward_name(source.data, self.config.env, rows)
            fitted = as_rows(rows, replay.row_spec, reward)
            for env, at, part in cut(place, fitted, each):
                if env < replay.num_envs:
                    replay.fill(env, stretch.start + at, part)
        return reward


def check_same_spaces(name: str, there: Mapping[str, Any], env: str, here: Mapping[str, Any]) -> None:
    """Refuse data whose spaces are not those of the environment; the order of observations may differ.

    Raises:
        UserError: naming what differs.
    """
    advice = "name the environment that they were collected in with --env (in a study: explores)"
    if there["actions"] != here["actions"]:
        raise UserError(
            f"The data '{name}' act by {there['actions']}, and '{env}' by {here['actions']}: {advice}."
        )
    parts = [{entry[0]: list(entry) for entry in side["observations"]} for side in (there, here)]
    if parts[0] != parts[1]:
        odd = [n for n in sorted({*parts[0], *parts[1]}) if parts[0].get(n) != parts[1].get(n)]
        told = [told_observations({"observations": [p[n] for n in odd if n in p]}) or "none" for p in parts]
        raise UserError(
            f"The data '{name}' and '{env}' differ in what is observed ({told[0]} there, {told[1]} here): "
            f"{advice}, or another --training.image-size."
        )


def reward_name(data: Data, env: str, rows: Mapping[str, Any]) -> str | None:
    """Name in the data's rows of the reward that `env` pays; None where they do not hold it."""
    if data.env in (None, env):
        return REWARD if REWARD in rows else None
    recorded = {name.removeprefix(TASK) for name in rows if name.startswith(TASK)}
    try:
        return TASK + recorded_reward(str(data.env), env, recorded, None)
    except UserError:
        return None


def as_rows(rows: Mapping[str, np.ndarray], row_spec: RowSpec, reward: str | None) -> dict[str, np.ndarray]:
    """Rows (n, ...) as a replay holds them: its names and dtypes, NaN for rewards that are not known.

    Args:
        rows: of a source.
        row_spec: shape and dtype of each name.
        reward: name in `rows` of what the environment pays; None leaves every task's reward unknown, for the
            source is of a task that has nothing to do with it.
    """
    found = {}
    for name, (shape, dtype) in row_spec.items():
        key = reward or name if name == REWARD else name
        known = key in rows if name == LOG_PROB else reward is not None and key in rows
        if name.startswith((TASK, LOG_PROB)) and not known:
            found[name] = np.full((len(rows["is_first"]), *shape), np.nan, dtype)
        else:
            found[name] = rows[key].astype(dtype, copy=False)
    return found


def cut(
    place: int, rows: Mapping[str, np.ndarray], each: int
) -> list[tuple[int, int, dict[str, np.ndarray]]]:
    """Cut rows (n, ...) where one environment is full and the next begins, which is marked as a beginning.

    Args:
        place: of the first row among all of the source.
        rows: by name.
        each: rows that each environment takes.

    Returns:
        Triples of environment, place in it, and rows.
    """
    count, parts, start = len(rows["is_first"]), [], 0
    while start < count:
        env, at = divmod(place + start, each)
        end = min(count, start + each - at)
        part = {name: values[start:end] for name, values in rows.items()}
        parts.append((env, at, part if at else begun(part)))
        start = end
    return parts
