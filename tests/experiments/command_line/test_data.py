"""Data in and out by the command line, from end to end on tiny runs."""

import json

import numpy as np
import pytest

minari = pytest.importorskip("minari")


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


@pytest.fixture
def dataset():
    """A dataset of random play in CartPole, written by Minari's own functions."""
    import gymnasium
    from minari.data_collector import EpisodeBuffer

    env, buffers = gymnasium.make("CartPole-v1"), []
    env.action_space.seed(0)
    for seed in range(6):
        seen, actions, steps = [env.reset(seed=seed)[0]], [], []
        while not (steps and steps[-1][1]):
            actions.append(env.action_space.sample())
            observation, *step, _ = env.step(actions[-1])
            seen.append(observation)
            steps.append(step)
        rewards, ends, cuts = map(list, zip(*steps, strict=True))
        parts = {"rewards": rewards, "terminations": ends, "truncations": cuts}
        buffers.append(EpisodeBuffer(observations=np.array(seen), actions=np.array(actions), **parts))
    with pytest.warns(UserWarning, match="is set to None"):
        minari.create_dataset_from_buffers("test/random-v0", buffers, env="CartPole-v1")
    return "minari:test/random-v0"


@pytest.fixture
def learn(cli, small, tmp_path):
    """`expedition pretrain` on data; flags come after."""

    def run(*flags, out="run"):
        updates = ("--training.offline-updates", 8)
        return cli("pretrain", "--config", small, *updates, "--wandb", "off", "--out", tmp_path / out, *flags)

    return run


def config(folder):
    return json.loads((folder / "config.json").read_text())


def test_from_a_dataset_to_a_fine_tuned_policy(cli, learn, dataset, tmp_path):
    code, out, err = learn("--env", "CartPole-v1", "--data", dataset)
    assert code == 0, err
    found = config(tmp_path / "run")
    assert (found["env"], found["steps"], found["training"]["offline_updates"]) == ("CartPole-v1", 0, 8)
    assert found["data"]["1"]["dataset"] == "test/random-v0"
    flags = ("--steps", 40, "--wandb", "off")
    code, out, err = cli(
        "finetune", "--from", tmp_path / "run", "--plan", "model", *flags, "--out", tmp_path / "x"
    )
    assert code == 0, err
    assert "return" in out
    tuned = config(tmp_path / "x")
    assert tuned["training"]["offline_updates"] == 0  # phase 1's own
    assert tuned["env"] == "CartPole-v1"
    manifest = json.loads((tmp_path / "x" / "transfer.json").read_text())
    assert set(manifest["components"]) >= {"encoder", "dynamics", "decoder"}


def test_from_a_run_to_a_dataset_and_back(cli, learn, pretrained, tmp_path):
    code, out, err = cli("export-data", pretrained, "test/run-v0")
    assert code == 0, err
    dataset = minari.load_dataset("test/run-v0")
    assert f"episodes {dataset.total_episodes}" in " ".join(out.split())
    assert out.splitlines()[-1].endswith("minari.load_dataset('test/run-v0')")
    code, out, err = learn(
        "--data", "minari:test/run-v0", f"{pretrained}=2"
    )  # which both tell their environment
    assert code == 0, err
    found = config(tmp_path / "run")
    assert (found["env"], found["steps"]) == ("catch-vector", 0)
    assert [entry["weight"] for entry in found["data"].values()] == [1.0, 2.0]
    code, _, err = learn("--data", "minari:test/run-v0", f"{pretrained}=2")
    assert code == 0
    assert "finished already" in err


def without_environment(small, tmp_path, **changes):
    """A file of the same settings that names no environment, with changes."""
    settings = {**json.loads(small.read_text()), **changes}
    del settings["env"]
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    return path


def test_data_may_stand_in_the_file(learn, pretrained, small, tmp_path):
    path = without_environment(small, tmp_path, data=[str(pretrained)])
    code, _, err = learn("--config", path)
    assert code == 0, err
    found = config(tmp_path / "run")
    assert (found["env"], found["steps"]) == ("catch-vector", 0)
    assert found["data"]["1"]["rows"] > 0
    code, _, err = learn("--config", without_environment(small, tmp_path, data=str(pretrained)), out="other")
    assert code == 2
    assert "The setting 'data' must be a list" in err


def test_what_is_missing_is_asked_for(cli, small, dataset, tmp_path):
    flags = ("pretrain", "--config", small, "--data", dataset, "--out", tmp_path / "run", "--wandb", "off")
    code, _, err = cli(*flags)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "Say with --training.offline-updates how many updates" in err
    code, _, err = cli(*flags, "--training.offline-updates", 4, "--steps", 10)
    assert code == 2
    assert "learned from without steps, and steps is 10" in err
    code, _, err = cli("export-data", tmp_path / "nowhere", "test/run-v0")
    assert code == 2
    assert "There are no data at" in err


def test_a_dataset_without_an_environment_asks_for_one(learn, tmp_path, dataset, small):
    path = tmp_path / "datasets" / "test" / "random-v0" / "data" / "metadata.json"
    told = json.loads(path.read_text())
    del told["env_spec"]
    path.write_text(json.dumps(told))
    code, _, err = learn("--config", without_environment(small, tmp_path), "--data", dataset)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "The data name no environment: say with --env" in err
