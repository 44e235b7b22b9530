"""Small datasets, written by Minari's own functions, and runs to take data from."""

import dataclasses
import warnings

import numpy as np
import pytest
from gymnasium import spaces

from tests.transfer import tiny
from tests.transfer.tiny import AGENT, QUIET
from training import RunConfig, execute

minari = pytest.importorskip("minari")

TRAINING = dataclasses.replace(tiny.TRAINING, evaluation_episodes=2)


def pretraining(env="CartPole-v1", intrinsic="rnd", steps=60, seed=3, kind="model-based", **changes):
    agent = dataclasses.replace(AGENT, kind=kind)
    training = dataclasses.replace(TRAINING, **changes)
    return RunConfig(env, "pretrain", intrinsic, "tiny", steps, seed, agent, training)


def write_dataset(dataset_id, episodes, observation_space, action_space, **options):
    """Write a dataset by Minari's own function; an episode is a dict of its buffer's parts."""
    from minari.data_collector import EpisodeBuffer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return minari.create_dataset_from_buffers(
            dataset_id,
            [EpisodeBuffer(**episode) for episode in episodes],
            observation_space=observation_space,
            action_space=action_space,
            **options,
        )


def walk(steps, seed, terminates, reward=1.0):
    """An episode of random numbers with CartPole's spaces."""
    rng = np.random.default_rng(seed)
    ends = np.arange(steps) == steps - 1
    return {
        "observations": rng.normal(size=(steps + 1, 4)).astype(np.float32),
        "actions": rng.integers(2, size=steps),
        "rewards": reward * np.arange(1, steps + 1, dtype=np.float64),
        "terminations": ends & terminates,
        "truncations": ends & (not terminates),
    }


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """Where Minari keeps its datasets in this test."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


@pytest.fixture
def cartpole(datasets):
    """A dataset `test/cartpole-v0` of six episodes, 87 rows in all."""

    def write(dataset_id="test/cartpole-v0", reward=1.0, **options):
        lengths = (12, 15, 9, 20, 11, 14)
        episodes = [walk(n, number, number % 2 == 0, reward) for number, n in enumerate(lengths)]
        observed = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        return write_dataset(dataset_id, episodes, observed, spaces.Discrete(2), **options)

    return write


@pytest.fixture(scope="session")
def explored(tmp_path_factory):
    """A run of phase 1 in CartPole with two environments."""
    folder = tmp_path_factory.mktemp("explored") / "run"
    assert execute(pretraining(steps=200), folder, QUIET).result is not None
    return folder


@pytest.fixture
def rows_of():
    """Every row (rows, ...) that a run's replay holds, environment by environment, from its checkpoint."""
    from training import open_checkpoint
    from training.storage.replay import saved_rows

    def read(folder):
        checkpoint = open_checkpoint(folder)
        pieces = [rows for _, rows in saved_rows(checkpoint.load("replay"), checkpoint.whole_files())]
        joined = {name: np.concatenate([rows[name] for rows in pieces], axis=1) for name in pieces[0]}
        return [{name: values[env] for name, values in joined.items()} for env in range(2)]

    return read
