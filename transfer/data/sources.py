"""Where data come from: the replay of another run, or a Minari dataset, by the name that `--data` takes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from envs import TASK
from expedition import UserError
from training import Checkpoint, RunConfig, fingerprint, open_checkpoint, read_config, to_dict
from training.spaces import SPACES
from training.storage.replay import saved_rows
from transfer.data.datasets import PREFIX, MinariData, dataset_env

Piece = tuple[int, dict[str, np.ndarray]]
"""Consecutive rows (n, ...) by name, and the place of the first among all rows of a source."""


class Data(Protocol):
    """Rows that were collected before, in stretches that follow one another.

    Rows follow the one rule of time (docs/shapes.md); the reward of the source's own environment is
    `task/reward`, whatever phase it was collected in.
    """

    @property
    def env(self) -> str | None:
        """Id of the environment that they were collected in; None where nobody wrote it down."""

    @property
    def spaces(self) -> Mapping[str, Any]:
        """As `describe_spaces` gives them."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def identity(self) -> dict[str, Any]:
        """What names them wherever they lie, with a hash of what they hold."""

    def pieces(self) -> Iterator[Piece]:
        """Yield all rows; where a stretch begins amid an episode, its first row is marked as a first one."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Data, the name that they were given by, and how often they are drawn."""

    name: str
    data: Data
    weight: float


def open_sources(names: Sequence[str], image_size: int) -> list[Source]:
    """Open what `--data` names: folders of runs and `minari:DATASET-ID`, each with `=WEIGHT` if not 1.

    Args:
        names: as they were typed.
        image_size: height and width that a dataset's pictures are brought to, in pixels.

    Raises:
        UserError: a name means nothing or stands twice, or its data cannot be read.
    """
    parsed = [parse_name(name) for name in names]
    twice = sorted({name for name, _ in parsed if [other for other, _ in parsed].count(name) > 1})
    if twice:
        raise UserError(f"The data '{twice[0]}' are named twice: name them once, with a larger weight.")
    return [Source(name, _open(name, image_size), weight) for name, weight in parsed]


def parse_name(text: str) -> tuple[str, float]:
    """Split `SOURCE[=WEIGHT]`.

    Raises:
        UserError: the weight is no positive number.
    """
    name, equals, told = text.rpartition("=")
    if not equals or Path(text).exists():
        return text, 1.0
    try:
        weight = float(told)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"The weight of the data '{name}' is '{told}': write a number above 0, as {name}=2.")
    return name, weight


def source_env(text: str) -> str | None:
    """Id of the environment that named data were collected in; None where nobody wrote it down.

    Raises:
        UserError: as `open_sources`.
    """
    name, _ = parse_name(text)
    if name.startswith(PREFIX):
        return dataset_env(name.removeprefix(PREFIX))
    return _run_config(name).env


def _open(name: str, image_size: int) -> Data:
    if name.startswith(PREFIX):
        return MinariData(name.removeprefix(PREFIX), image_size)
    return RunData(Path(name))


def _run_config(name: str) -> RunConfig:
    if not Path(name).exists():
        raise UserError(
            f"There are no data at '{name}': give the folder of a run, or {PREFIX}DATASET-ID for a Minari "
            "dataset."
        )
    return read_config(Path(name))


class RunData:
    """The replay in the newest checkpoint of a run of either phase.

    Raises:
        UserError: there is no run, or none that keeps a replay.
    """

    def __init__(self, run_dir: Path) -> None:
        self.config = _run_config(str(run_dir))
        if self.config.agent.kind in ("ppo", "random"):
            raise UserError(
                f"The run in {run_dir} keeps no replay ({self.config.agent.kind}): it has no data."
            )
        self.checkpoint: Checkpoint = open_checkpoint(run_dir)
        self._saved = self.checkpoint.load("replay")
        self.num_envs = int(self._saved["num_envs"])

    @property
    def env(self) -> str | None:
        """Id of its environment."""
        return self.config.env

    @property
    def spaces(self) -> Mapping[str, Any]:
        """What its checkpoint has on record.

        Raises:
            UserError: nothing, for it is of an older version.
        """
        if SPACES not in self.checkpoint.metadata:
            raise UserError(
                f"{self.checkpoint.path} has no spaces on record: let its run go on with this version."
            )
        return self.checkpoint.metadata[SPACES]

    @property
    def length(self) -> int:
        """Rows of each environment."""
        return int(self._saved["added"]) - int(self._saved["first"])

    @property
    def rows(self) -> int:
        """Rows of all environments."""
        return self.num_envs * self.length

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Hash of the run's settings, its step, rows, and a hash of them."""
        shared = [
            self.checkpoint.hashes[path.relative_to(self.checkpoint.path.parent).as_posix()]
            for path in self.checkpoint.shared_files
        ]
        held = " ".join([self.checkpoint.section_hash("replay"), *shared])
        return {
            "run": fingerprint(to_dict(self.config)),
            "step": self.checkpoint.step,
            "rows": self.rows,
            "sha256": hashlib.sha256(held.encode()).hexdigest(),
        }

    @functools.cached_property
    def _files(self) -> list[Path]:
        return self.checkpoint.whole_files()

    def _chunks(self) -> Iterator[Piece]:
        """Rows (B, n, ...) of all environments, and how many of each came before."""
        for number, rows in saved_rows(self._saved, self._files):
            if rows["is_first"].shape[1]:
                yield number - int(self._saved["first"]), rows

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows, each environment's as one stretch."""
        for before, rows in self._chunks():
            for env in range(self.num_envs):
                piece = named(rows, env)
                yield env * self.length + before, piece if before else begun(piece)

    def lane(self, env: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield the rows (n, ...) of one environment in their order."""
        for _, rows in self._chunks():
            yield named(rows, env)


def named(rows: Mapping[str, np.ndarray], env: int) -> dict[str, np.ndarray]:
    """Rows (n, ...) of one environment, of those (B, n, ...) of all; phase 2's reward as phase 1 calls it."""
    return {TASK + name if name == "reward" else name: values[env] for name, values in rows.items()}


def begun(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows (n, ...) of which the first begins a stretch: no action led there from the row before it.

    A first row amid an episode is read as a sequence that is drawn there is: from the latent of zeros.
    """
    is_first, action = rows["is_first"].copy(), rows["action"].copy()
    is_first[0], action[0] = True, 0.0
    return {**rows, "is_first": is_first, "action": action}
