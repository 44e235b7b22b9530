"""Phase 1 on data of others, whole runs: what it learns from, that it resumes exactly, what it refuses."""

import dataclasses
import json
import signal

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents import FINITE
from agents.base import Agent
from expedition import UserError
from training import execute, open_checkpoint
from training.storage.replay import Replay
from transfer.data.pretraining import PretrainingData, cut, data_record
from transfer.data.sources import RunData, open_sources
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan

from .conftest import QUIET, pretraining, walk, write_dataset

CARTPOLE = "minari:test/cartpole-v0"
COMPONENTS = ("encoder", "dynamics", "decoder", "reward", "continue", "actor", "critic", "intrinsic")


def settings(**changes):
    return pretraining(**{"steps": 0, "offline_updates": 6, **changes})


def learn(names, folder, **changes):
    """Carry out a run of phase 1 on the named data."""
    config = settings(**changes)
    sources = open_sources([str(name) for name in names], config.training.image_size)
    return execute(config, folder, QUIET, data_record(sources), PretrainingData(sources, config))


def weights(folder, names=COMPONENTS):
    checkpoint = open_checkpoint(folder)
    loaded = {name: checkpoint.load(name) for name in names if name in checkpoint.sections}
    return {f"{name}/{key}": value for name, held in loaded.items() for key, value in held.items()}


def different(left, right):
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def ended(folder):
    """All files of the last checkpoint but its clock, and what the run has told."""
    path = open_checkpoint(folder).path
    files = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"}
    loop = json.loads(files.pop("loop.json"))
    del loop["tree"]["seconds"]
    result = json.loads((folder / "result.json").read_text())
    del result["wall_seconds"], result["evaluation_seconds"]
    return files, loop, result, (folder / "metrics.jsonl").read_text(), sorted(files)


# What is learned from


def test_a_dataset_fills_the_replay_one_environment_after_the_other(cartpole, rows_of, tmp_path):
    dataset = cartpole()
    result = learn([CARTPOLE], tmp_path / "run").result
    assert (result["environment_steps"], result["updates"]) == (0, 6)
    lanes = rows_of(tmp_path / "run")
    seen = np.concatenate([episode.observations for episode in dataset])  # 87 rows: the last one is over
    assert len(seen) == 87
    assert np.array_equal(np.concatenate([lane["vector"] for lane in lanes]), seen[:86])
    rewards = np.concatenate([np.append(0.0, episode.rewards) for episode in dataset])[:86]
    found = [
        np.concatenate([lane[name] for lane in lanes]) for name in ("task/reward", "is_first", "is_terminal")
    ]
    assert np.array_equal(found[0], rewards)
    firsts = {0, 13, 29, 39, 60, 72}  # episodes of 12, 15, 9, 20, 11 and 14 steps
    assert set(np.flatnonzero(found[1])) == firsts | {43}  # where the second environment begins
    assert set(np.flatnonzero(found[2])) == {12, 38, 71}  # every other one ends by death
    assert np.isnan(lanes[0]["behaviour/log_prob"]).all()
    assert "reward" not in lanes[0]


def test_the_model_learns_from_data(cartpole, tmp_path):
    cartpole()
    learn([CARTPOLE], tmp_path / "run", offline_updates=80)
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["offline/loss/reconstruction_vector"] for line in told if "updates" in line]
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("intrinsic", ["disagreement", "rnd"])
def test_no_parameter_changes_with_the_rewards_of_a_dataset(intrinsic, cartpole, rows_of, tmp_path):
    cartpole()
    cartpole("test/paid-v0", reward=-17.0)
    learn([CARTPOLE], tmp_path / "one", intrinsic=intrinsic)
    learn(["minari:test/paid-v0"], tmp_path / "two", intrinsic=intrinsic)
    paid = [np.concatenate([lane["task/reward"] for lane in rows_of(tmp_path / n)]) for n in ("one", "two")]
    assert np.array_equal(paid[1], -17 * paid[0])  # the change did arrive, where no learner reads
    assert paid[0].max() == 20
    assert different(weights(tmp_path / "one"), weights(tmp_path / "two")) == []


def test_other_observations_do_change_parameters(cartpole, tmp_path):
    # the same comparison sees what is meant to be seen
    cartpole()
    episodes = [walk(20, number, True) for number in range(30, 34)]
    write_dataset("test/other-v0", episodes, spaces.Box(-9, 9, (4,)), spaces.Discrete(2))
    learn([CARTPOLE], tmp_path / "one")
    learn(["minari:test/other-v0"], tmp_path / "two")
    assert len(different(weights(tmp_path / "one"), weights(tmp_path / "two"))) > 20


def test_a_run_is_laid_as_it_was_collected(explored, rows_of, tmp_path):
    learn([explored], tmp_path / "run")
    for there, here in zip(rows_of(explored), rows_of(tmp_path / "run"), strict=True):
        assert there.keys() == here.keys()
        assert [name for name in there if not np.array_equal(there[name], here[name])] == []


def test_other_numbers_of_environments_join_with_marks(explored, rows_of, tmp_path):
    learn([explored], tmp_path / "run", num_envs=1)
    lanes = rows_of(explored)
    rows = {name: np.concatenate([lane[name] for lane in lanes]) for name in lanes[0]}
    checkpoint = open_checkpoint(tmp_path / "run")
    tail = checkpoint.load("replay")["tail"]
    assert all(np.array_equal(tail[name][0], rows[name]) for name in rows)


def test_where_a_lane_is_full_the_next_begins_with_a_mark():
    rows = {
        "is_first": np.array([True, False, False, False, False]),
        "action": np.ones((5, 2), np.float32) * ~np.array([True, False, False, False, False])[:, None],
        "number": np.arange(5),
    }
    parts = cut(2, rows, 4)
    assert [(env, at, part["number"].tolist()) for env, at, part in parts] == [
        (0, 2, [0, 1]),
        (1, 0, [2, 3, 4]),
    ]
    assert parts[1][2]["is_first"].tolist() == [True, False, False]
    assert parts[1][2]["action"].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert rows["is_first"].sum() == 1  # what was given is as it was


def test_batches_are_drawn_by_the_weights(cartpole, explored, tmp_path, monkeypatch):
    cartpole()
    drawn = []
    sample = Replay.sample

    def counted(self, batch, length, *arguments, **options):
        found = sample(self, batch, length, *arguments, **options)
        if length == 8:
            drawn.append(np.isnan(found["behaviour/log_prob"]))  # which the dataset does not tell
        return found

    monkeypatch.setattr(Replay, "sample", counted)
    made = {"loss": torch.zeros(()), FINITE: torch.tensor(True)}
    monkeypatch.setattr(Agent, "update", lambda *_: made)  # drawing alone is looked at
    learn([f"{CARTPOLE}=1", f"{explored}=4"], tmp_path / "run", offline_updates=150)
    of_dataset = np.concatenate(drawn)
    assert (of_dataset.all(axis=1) == of_dataset.any(axis=1)).all()  # no sequence is of both
    assert of_dataset.shape == (600, 8)
    # 600 draws with a share of 1 / 5, within four deviations
    assert abs(of_dataset[:, 0].sum() - 120) < 4 * np.sqrt(600 * 0.2 * 0.8)


def test_the_twin_learns_from_a_run(explored, tmp_path):
    learn([explored], tmp_path / "one", kind="model-free", offline_updates=1)
    learn([explored], tmp_path / "two", kind="model-free", offline_updates=4)
    names = ("encoder", "actor", "critic")
    changed = different(weights(tmp_path / "one", names), weights(tmp_path / "two", names))
    assert {name.partition("/")[0] for name in changed} == set(names)


# Going on


def stop_at(monkeypatch, *calls):
    """Press Ctrl-C before the given updates, counted over all sittings."""
    count, update = 0, Agent.update

    def interrupted(self, *arguments):
        nonlocal count
        count += 1
        if count in calls:
            signal.raise_signal(signal.SIGINT)
        return update(self, *arguments)

    monkeypatch.setattr(Agent, "update", interrupted)


@pytest.mark.parametrize("intrinsic", ["disagreement", "rnd"])
def test_stopped_and_resumed_equals_never_stopped(intrinsic, cartpole, explored, tmp_path, monkeypatch):
    cartpole()
    names = [f"{CARTPOLE}=2", explored]
    assert learn(names, tmp_path / "whole", intrinsic=intrinsic, offline_updates=25).result is not None
    stop_at(monkeypatch, 4, 17)
    for _ in range(2):
        outcome = learn(names, tmp_path / "parts", intrinsic=intrinsic, offline_updates=25)
        assert (outcome.result, outcome.exit_code) == (None, 130)
    assert learn(names, tmp_path / "parts", intrinsic=intrinsic, offline_updates=25).result is not None
    whole, parts = ended(tmp_path / "whole"), ended(tmp_path / "parts")
    assert "replay.safetensors" in whole[4]
    for one, two in zip(whole, parts, strict=True):
        assert one == two


def test_a_dataset_that_has_changed_is_noticed(cartpole, tmp_path, monkeypatch):
    dataset = cartpole()
    stop_at(monkeypatch, 3)
    assert learn([CARTPOLE], tmp_path / "run").result is None
    dataset.storage.update_metadata({"description": "as it was, but told otherwise"})
    with pytest.raises(UserError, match=r"holds a run with other settings: data\.1\.sha256 \(\w+ there"):
        learn([CARTPOLE], tmp_path / "run")


def test_a_source_that_has_gone_on_is_noticed(explored, tmp_path):
    record = data_record(open_sources([str(explored)], 32))["data"]["1"]
    assert (record["rows"], record["weight"]) == (RunData(explored).rows, 1.0)
    assert execute(pretraining(steps=200), tmp_path / "longer", QUIET).result is not None
    same = data_record(open_sources([str(tmp_path / "longer")], 32))["data"]["1"]
    assert same == record  # another folder, but the same run
    assert execute(pretraining(steps=240), tmp_path / "longer", QUIET).result is not None
    longer = data_record(open_sources([str(tmp_path / "longer")], 32))["data"]["1"]
    assert {name for name in record if record[name] != longer[name]} == {"run", "step", "rows", "sha256"}


# Carrying it


def carried(plan, source, folder, **changes):
    config = dataclasses.replace(pretraining(steps=60), phase="finetune", intrinsic=None)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))
    parsed, opened = parse_plan(plan), open_source(source)
    return execute(config, folder, QUIET, transfer_record(parsed, opened), Transfer(parsed, opened, config))


def test_its_rows_are_relabelled_with_the_rewards_of_the_dataset(cartpole, rows_of, tmp_path):
    cartpole(env="CartPole-v1")
    learn([CARTPOLE], tmp_path / "run")
    assert (
        carried("model+relabel", tmp_path / "run", tmp_path / "tuned", offline_updates=2).result is not None
    )
    there, here = rows_of(tmp_path / "run"), rows_of(tmp_path / "tuned")
    for one, two in zip(there, here, strict=True):
        assert len(two["is_first"]) > 60  # 43 of the dataset, then its own
        assert np.array_equal(two["vector"][:43], one["vector"])
        assert np.array_equal(two["reward"][:43], one["task/reward"])


def test_two_runs_of_other_data_are_two_sources(cartpole, tmp_path):
    cartpole()
    cartpole("test/paid-v0", reward=2.0)
    learn([CARTPOLE], tmp_path / "one")
    learn(["minari:test/paid-v0"], tmp_path / "two")
    assert open_source(tmp_path / "one").identity != open_source(tmp_path / "two").identity


def test_rewards_of_another_task_are_unknown(cartpole, rows_of, tmp_path):
    cartpole(env="Acrobot-v1")  # says who wrote it
    learn([CARTPOLE], tmp_path / "run")
    assert all(np.isnan(lane["task/reward"]).all() for lane in rows_of(tmp_path / "run"))
    manifest = json.loads((tmp_path / "run" / "transfer.json").read_text())["data"]["1"]
    assert (manifest["name"], manifest["reward"]) == (CARTPOLE, None)


def test_a_run_of_phase_two_gives_its_reward_under_the_tasks_name(explored, rows_of, tmp_path):
    carried("model", explored, tmp_path / "tuned")
    learn([tmp_path / "tuned"], tmp_path / "run")
    for there, here in zip(rows_of(tmp_path / "tuned"), rows_of(tmp_path / "run"), strict=True):
        assert "reward" not in here
        assert np.array_equal(there["reward"], here["task/reward"])
        assert here["task/reward"].max() == 1


# What is refused


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        ([CARTPOLE], {"env": "Acrobot-v1"}, r"act by Discrete\(2\), and 'Acrobot-v1' by Discrete\(3\)"),
        # 86 rows of 35 bytes: vector 16, action 8, reward and log-probability 4 each, three flags
        ([CARTPOLE], {"replay_gib": 2e-6}, r"The data take 2\.8e-06 GiB, and the replay may take 2e-06"),
        ([CARTPOLE], {"kind": "model-free"}, "do not tell how likely their actions were"),
        (
            [CARTPOLE],
            {"num_envs": 11},
            "are 87 rows, 7 for each of 11 environments: sequences of 8 need more",
        ),
        ([CARTPOLE, CARTPOLE], {}, "named twice"),
        ([f"{CARTPOLE}=0"], {}, f"weight of the data '{CARTPOLE}' is '0': write a number above 0"),
        ([f"{CARTPOLE}=much"], {}, "is 'much': write a number above 0"),
        (["minari:test/nothing-v0"], {}, "minari download test/nothing-v0"),
        (["nowhere"], {}, "There are no data at 'nowhere': give the folder of a run, or minari:DATASET-ID"),
        ([CARTPOLE], {"steps": 100}, "learned from without steps, and steps is 100"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(names, changes, message, cartpole, tmp_path):
    cartpole()
    with pytest.raises(UserError, match=message) as error:
        learn(names, tmp_path / "run", **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()  # the mended command finds the folder free


def test_observations_that_differ_are_named(tmp_path):
    observed = spaces.Dict({"vector": spaces.Box(-9, 9, (4,)), "more": spaces.Discrete(3)})
    episode = walk(20, 0, True)
    episode["observations"] = {"vector": episode["observations"], "more": np.zeros(21, np.int64)}
    write_dataset("test/more-v0", [episode], observed, spaces.Discrete(2))
    with pytest.raises(UserError, match=r"observed \(more 1 symbol of 3 there, none here\)"):
        learn(["minari:test/more-v0"], tmp_path / "run")


def test_a_weight_stands_behind_the_last_sign_and_a_folder_may_have_one(explored, tmp_path):
    folder = tmp_path / "a=2"
    folder.symlink_to(explored)
    sources = open_sources([str(folder)], 32) + open_sources([f"{folder}=0.5"], 32)
    assert [source.weight for source in sources] == [1.0, 0.5]
    assert all(isinstance(source.data, RunData) for source in sources)
