"""Minari datasets on this machine, read as rows."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs import shown_actions, shown_observations
from expedition import UserError
from training.spaces import describe_spaces
from training.storage.checkpoint import file_entry
from transfer.data.episodes import episode_rows

PREFIX = "minari:"
OWN = "expedition"
"""Key in the metadata of a dataset that we wrote, and prefix of no other."""


def minari_package() -> Any:
    """Return the package `minari`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import h5py  # noqa: F401  # in which datasets are stored
        import minari
    except ImportError as error:
        raise UserError(
            f"Minari datasets need a package that is not installed ({error}): run `pip install "
            "'expedition[minari]'`, with Python 3.11 or newer."
        ) from error
    return minari


def load_dataset(dataset_id: str) -> Any:
    """Load a dataset that is on this machine.

    Raises:
        UserError: it is not, or cannot be read.
    """
    minari = minari_package()
    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        known = ", ".join(minari.list_local_datasets()) or "none"
        raise UserError(
            f"There is no Minari dataset '{dataset_id}' on this machine (there are: {known}): run `minari "
            f"download {dataset_id}`, or set MINARI_DATASETS_PATH to where it lies."
        ) from error
    except _UNREADABLE as error:
        raise _unreadable(dataset_id, error) from error


_UNREADABLE = (ValueError, KeyError, AssertionError, OSError, ImportError, gymnasium.error.Error)


def _unreadable(dataset_id: str, error: Exception) -> UserError:
    told = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return UserError(
        f"The Minari dataset '{dataset_id}' cannot be read ({told}): download or write it again."
    )


def dataset_env(dataset_id: str) -> str | None:
    """Id of the environment of a dataset: ours where we wrote it, else gymnasium's; None where there is none.

    Raises:
        UserError: as `load_dataset`.
    """
    return _env(load_dataset(dataset_id))


def _env(dataset: Any) -> str | None:
    own = dataset.storage.metadata.get(OWN)
    if isinstance(own, Mapping) and isinstance(own.get("env"), str):
        return own["env"]
    return None if dataset.env_spec is None else dataset.env_spec.id


class MinariData:
    """A Minari dataset, as an environment of its spaces is shown to agents (`envs.Adapter`).

    Args:
        dataset_id: Minari's name of it.
        image_size: height and width that pictures are brought to, in pixels.

    Raises:
        UserError: it is not on this machine, cannot be read, or has spaces that cannot be brought to shape.
    """

    def __init__(self, dataset_id: str, image_size: int) -> None:
        self.dataset_id = dataset_id
        self._dataset = load_dataset(dataset_id)
        self._seen, self._encode = shown_observations(self._dataset.observation_space, image_size)
        self._acts, self._shrink = shown_actions(self._dataset.action_space)

    @property
    def env(self) -> str | None:
        """Id of its environment, where it names one."""
        return _env(self._dataset)

    @property
    def spaces(self) -> Mapping[str, Any]:
        """The dataset's own, brought to shape."""
        return describe_spaces(self._seen, self._acts)

    @property
    def rows(self) -> int:
        """One for each step, and one for each reset."""
        return int(self._dataset.total_steps) + int(self._dataset.total_episodes)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Its id, rows, and a hash of all its files."""
        folder = Path(self._dataset.storage.data_path)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        held = [f"{path.relative_to(folder).as_posix()} {file_entry(path)['sha256']}" for path in files]
        sha256 = hashlib.sha256("\n".join(held).encode()).hexdigest()
        return {"dataset": self.dataset_id, "rows": self.rows, "sha256": sha256}

    def pieces(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield the rows of one episode after another."""
        place = 0
        for episode in self._episodes():
            where = f"Episode {episode.id} of the Minari dataset '{self.dataset_id}'"
            rows = episode_rows(episode, self._encode, self._acts, self._shrink, where)
            yield place, rows
            place += len(rows["is_first"])
        if place != self.rows:
            raise _unreadable(self.dataset_id, ValueError(f"it holds {place} rows, not {self.rows}"))

    def _episodes(self) -> Iterator[Any]:
        try:
            yield from self._dataset.iterate_episodes()
        except _UNREADABLE as error:
            raise _unreadable(self.dataset_id, error) from error
