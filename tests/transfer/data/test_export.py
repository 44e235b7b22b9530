"""A run's replay as a Minari dataset: Minari's own loader reads it, and our rows come back from it."""

import sys

import gymnasium
import minari
import numpy as np
import pytest

from expedition import UserError
from training import execute
from transfer.data.datasets import MinariData
from transfer.data.export import export_data
from transfer.data.pretraining import PretrainingData, data_record
from transfer.data.sources import open_sources

from .conftest import QUIET, pretraining

SCRIPTED = "ScriptedForExport-v0"
"""Shows the action that led to each row, pays (action + 1) / 4, and ends by death and by cut in turn."""
IN = 2
"""Environments side by side."""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    if SCRIPTED not in gymnasium.registry:
        gymnasium.register(SCRIPTED, entry_point="tests.scripted:Scripted", max_episode_steps=50)
    folder = tmp_path_factory.mktemp("scripted") / "run"
    assert execute(pretraining(env=SCRIPTED, steps=120), folder, QUIET).result is not None
    return folder


def learn(name, folder, **changes):
    config = pretraining(**{"steps": 0, "offline_updates": 1, **changes})
    sources = open_sources([name], config.training.image_size)
    return execute(config, folder, QUIET, data_record(sources), PretrainingData(sources, config))


def test_steps_hold_what_their_action_did(scripted):
    exported = export_data(scripted, "test/scripted-v0")
    dataset = minari.load_dataset("test/scripted-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (exported.episodes, exported.steps)
    whole, kinds = 0, set()
    for episode in dataset:
        seen = episode.observations["vector"]
        assert len(seen) == len(episode.actions) + 1 == len(episode) + 1
        assert not seen[0, :4].any()  # no action led to a reset
        assert np.array_equal(seen[1:, :4].argmax(-1), episode.actions)
        assert np.array_equal(seen[:, 4:-1].argmax(-1), np.arange(len(seen)))  # actions so far
        np.testing.assert_allclose(episode.rewards, (episode.actions + 1) / 4, rtol=1e-6)
        assert not (episode.terminations[:-1] | episode.truncations[:-1]).any()
        dies = bool(seen[0, -1])
        if len(episode) == (5 if dies else 8):
            whole += 1
            kinds.add((dies, bool(episode.terminations[-1]), bool(episode.truncations[-1])))
        else:
            assert (episode.terminations[-1], episode.truncations[-1]) == (False, True)
    assert kinds == {(True, True, False), (False, False, True)}
    assert whole == exported.episodes - exported.cut
    assert exported.cut <= IN
    assert exported.begun_amid == 0


def test_its_own_loader_finds_spaces_and_the_environment(explored):
    export_data(explored, "test/run-v0")
    dataset = minari.load_dataset("test/run-v0")
    assert dataset.action_space == gymnasium.spaces.Discrete(2)
    assert list(dataset.observation_space) == ["vector"]
    env = dataset.recover_environment()
    assert env.spec.id == "CartPole-v1"
    assert (env.observation_space, env.action_space) == (dataset.observation_space, dataset.action_space)
    assert dataset.observation_space.contains(env.reset(seed=0)[0])
    env.close()
    told = dataset.storage.metadata["expedition"]
    assert (told["env"], told["begun_amid"]) == ("CartPole-v1", 0)


def assert_comes_back(run, dataset_id, tmp_path, rows_of, **changes):
    exported = export_data(run, dataset_id)
    learn(f"minari:{dataset_id}", tmp_path / "back", **changes)
    there, here = rows_of(run), rows_of(tmp_path / "back")
    joined = [
        {name: np.concatenate([lane[name] for lane in lanes]) for name in lanes[0]} for lanes in (there, here)
    ]
    rows = len(joined[1]["is_first"])
    assert rows == len(joined[0]["is_first"]) == exported.steps + exported.episodes
    assert joined[0].keys() == joined[1].keys()
    odd = {}
    for name in joined[0]:
        assert joined[0][name].dtype == joined[1][name].dtype
        same = np.isclose(
            joined[0][name], joined[1][name], rtol=0, atol=0, equal_nan=joined[0][name].dtype.kind == "f"
        )
        odd[name] = np.flatnonzero(~same.reshape(rows, -1).all(-1)).tolist()
    # what was still running at the checkpoint is told as cut off, which it was
    still_running = [end for end in (rows // IN - 1, rows - 1) if not joined[0]["is_last"][end]]
    assert odd == {**dict.fromkeys(odd, []), "is_last": still_running}
    assert len(still_running) == exported.cut


@pytest.mark.parametrize(
    ("env", "changes"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", {}),  # a Box
        ("tests.factored:Pair-v0", {}),  # actions of several factors
        ("catch-pixels", {}),  # pictures, without loss
        ("mazes-goal,observe=symbols,size=7,limit=20", {}),  # symbols, and rewards of other tasks
    ],
)
def test_rows_come_back_equal(env, changes, tmp_path, rows_of):
    assert execute(pretraining(env=env, steps=100, **changes), tmp_path / "run", QUIET).result is not None
    assert_comes_back(tmp_path / "run", "test/back-v0", tmp_path, rows_of, env=env)


def test_episodes_that_the_ring_has_cut_are_told(tmp_path, rows_of):
    # 40 rows of each environment; the last 40 of an endless pole begin amid an episode
    env = "Pendulum-v1"
    row = 4 * (3 + 1 + 1 + 1) + 3  # vector, action, reward, log-probability; three flags
    changes = {"replay_gib": 40 * IN * row / 2**30}
    assert execute(pretraining(env=env, steps=150, **changes), tmp_path / "run", QUIET).result is not None
    exported = export_data(tmp_path / "run", "test/ring-v0")
    assert (exported.episodes, exported.steps, exported.begun_amid, exported.cut) == (2, 78, 2, 2)
    dataset = minari.load_dataset("test/ring-v0")
    assert dataset.storage.metadata["expedition"]["begun_amid"] == 2
    assert [told["begins_amid"] for told in dataset.storage.get_episode_metadata([0, 1])] == [True, True]
    learn("minari:test/ring-v0", tmp_path / "back", env=env)
    learn(str(tmp_path / "run"), tmp_path / "same", env=env)
    for there, back, same in zip(*(rows_of(tmp_path / n) for n in ("run", "back", "same")), strict=True):
        assert not there["is_first"].any()
        for lane in (back, same):
            assert np.flatnonzero(lane["is_first"]).tolist() == [0]
            assert not lane["action"][0].any()
            assert np.array_equal(lane["action"][1:], there["action"][1:])
            assert np.array_equal(lane["vector"], there["vector"])


def test_names_with_a_slash_are_nested(tmp_path, rows_of):
    class Parts(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict(
            {"arm": gymnasium.spaces.Dict({"angle": gymnasium.spaces.Box(-1, 1, (2,))})}
        )
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return {"arm": {"angle": self.np_random.uniform(-1, 1, 2).astype(np.float32)}}, {}

        def step(self, action):
            seen = {"arm": {"angle": self.np_random.uniform(-1, 1, 2).astype(np.float32)}}
            return seen, 1.0, bool(self.np_random.random() < 0.1), False, {}

    name = "PartsForExport-v0"
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=Parts, max_episode_steps=20)
    assert execute(pretraining(env=name, steps=100), tmp_path / "run", QUIET).result is not None
    assert_comes_back(tmp_path / "run", "test/parts-v0", tmp_path, rows_of, env=name)
    dataset = minari.load_dataset("test/parts-v0")
    assert dataset.env_spec is None  # a class without a place cannot be recovered
    assert dataset[0].observations["arm"]["angle"].shape[1:] == (2,)
    assert MinariData("test/parts-v0", 32).env == name  # ours, which knows


@pytest.mark.parametrize(
    ("dataset_id", "message"),
    [
        ("run", "'run' is no id of a Minari dataset"),
        ("../run-v0", "no id of a Minari dataset"),
        ("test/taken-v0", "There is a Minari dataset 'test/taken-v0' already: raise the version"),
    ],
)
def test_ids_that_do_not_work_are_refused(dataset_id, message, explored):
    export_data(explored, "test/taken-v0")
    with pytest.raises(UserError, match=message):
        export_data(explored, dataset_id)


def test_nothing_is_left_of_a_dataset_that_failed(explored, datasets, monkeypatch):
    from minari.dataset._storages.hdf5_storage import HDF5Storage

    def full(self, episodes):
        if episodes:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(HDF5Storage, "update_episodes", full)
    with pytest.raises(UserError, match="No space left on device"):
        export_data(explored, "test/run-v0")
    assert not (datasets / "test" / "run-v0").exists()


def test_without_minari_a_sentence_says_what_to_install(explored, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    for use in (lambda: export_data(explored, "test/run-v0"), lambda: MinariData("test/run-v0", 32)):
        with pytest.raises(UserError, match=r"pip install 'expedition\[minari\]'") as error:
            use()
        assert "\n" not in str(error.value)
