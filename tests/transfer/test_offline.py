"""Zero-shot, learning offline from relabelled rows, and freezing for a while, over whole runs."""

import dataclasses
import functools
import json
import signal

import numpy as np
import pytest
import torch

from agents import PriorConfig
from envs.suites.grids import mazes
from expedition import UserError
from tests.transfer import tiny
from tests.transfer.tiny import QUIET
from training import RunConfig, evaluate_run, execute, open_checkpoint
from training.collecting.collector import Collector
from training.session import EVALUATION_SEED
from training.trainer import Trainer
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan

GOAL = "mazes-goal,observe=symbols,size=7,limit=20"
COLLECT = "mazes-collect,observe=symbols,size=7,limit=20"
AGENT = dataclasses.replace(tiny.AGENT, prior=PriorConfig(share=1.0, decay=1.0, stretch=1))
TRAINING = dataclasses.replace(tiny.TRAINING, evaluation_episodes=4)
OFFLINE = dataclasses.replace(TRAINING, offline_updates=6)


def settings(phase="finetune", **changes):
    intrinsic = "rnd" if phase == "pretrain" else None
    config = RunConfig(COLLECT, phase, intrinsic, "tiny", 60, 5, AGENT, TRAINING)
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """A run that explored mazes whose reward is for the goal, and was told what collecting would pay."""
    folder = tmp_path_factory.mktemp("explored") / "run"
    execute(settings("pretrain", env=GOAL, steps=220, seed=1), folder, QUIET)
    return folder


def carried_out(plan, explored, folder, **changes):
    config, parsed, source = settings(**changes), parse_plan(plan), open_source(explored)
    return execute(config, folder, QUIET, transfer_record(parsed, source), Transfer(parsed, source, config))


@pytest.fixture(scope="module")
def whole(explored, tmp_path_factory):
    """Runs that were never stopped, by plan, kind of agent and training; nobody writes to them."""
    folder = tmp_path_factory.mktemp("whole")

    @functools.cache
    def run(plan, kind="model-based", training=TRAINING):
        path = folder / f"{len(list(folder.iterdir()))}"
        agent = dataclasses.replace(AGENT, kind=kind)
        assert carried_out(plan, explored, path, agent=agent, training=training).result is not None
        return path

    return run


def stop_at(monkeypatch, method, *calls):
    """Press Ctrl-C in the given calls of `Trainer`'s or `Collector`'s method, counted over all sittings."""
    owner = Trainer if hasattr(Trainer, method) else Collector
    count, original = 0, getattr(owner, method)

    def interrupted(self, *arguments):
        nonlocal count
        count += 1
        if count in calls:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(owner, method, interrupted)


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def ended(folder):
    """All files of the last checkpoint but its clock, and what the run has told."""
    path = open_checkpoint(folder).path
    files = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"}
    loop = json.loads(files.pop("loop.json"))
    del loop["tree"]["seconds"]
    result = json.loads((folder / "result.json").read_text())
    del result["wall_seconds"]
    return files, loop, result, lines(folder), lines(folder, "episodes.jsonl")


MODELS = ("open_loop", "embeddings")
"""So begin the measures of the model, not of the policy."""


def rows_of(folder):
    """Every row of the first environment, (rows, ...), from the last checkpoint."""
    saved = open_checkpoint(folder).load("replay")
    assert saved["head"]["is_first"].shape[1] == 0  # all in the tail: too few rows for a chunk
    return {name: value[0] for name, value in saved["tail"].items()}


def collected(cells, first):
    """What collecting pays by what is seen: the tile that lay where the agent stands now, (rows,)."""
    paid = np.zeros(len(cells), np.float32)
    for t in range(1, len(cells)):
        if not first[t]:
            paid[t] = mazes.REWARDS["collect"].get(cells[t - 1, (cells[t] == mazes.AGENT).argmax()], 0.0)
    return paid


def test_zero_shot_is_the_sources_policy_on_the_same_seed(explored, tmp_path):
    config = settings(env=GOAL)
    result = carried_out("model+policy", explored, tmp_path / "run", env=GOAL).result
    reference = evaluate_run(explored, TRAINING.evaluation_episodes, config.seed + EVALUATION_SEED, "cpu")
    start = {
        name.removesuffix("_start"): value
        for name, value in result["metrics"].items()
        if name.endswith("_start") and not name.startswith(MODELS)
    }
    assert start == {name: value for name, value in reference.items() if name != "episodes"}
    told = [line for line in lines(tmp_path / "run") if "evaluation_start/return" in line]
    assert [line["env_step"] for line in told] == [0]
    assert told[0]["evaluation_start/return"] == start["return"]


def test_a_prior_does_not_act_in_zero_shot(explored, tmp_path):
    """Scratch and policy share their fresh parts, and so their first judgement; the teacher's is another."""
    # in four episodes, which share their samples, two policies may well do the same
    training, starts = dataclasses.replace(TRAINING, evaluation_episodes=20), []
    for plan in ("scratch", "policy", "model+policy"):
        changes = {"env": GOAL, "steps": 2, "training": training}
        metrics = carried_out(plan, explored, tmp_path / plan, **changes).result["metrics"]
        starts.append({name: value for name, value in metrics.items() if name.endswith("_start")})
        starts[-1] = {name: value for name, value in starts[-1].items() if not name.startswith(MODELS)}
    assert starts[0] == starts[1] != starts[2]


def test_judging_at_the_start_changes_nothing_else(explored, tmp_path):
    """More episodes at the start (and at the end) draw from no generator that training draws from."""
    left, right = (
        carried_out(
            "policy", explored, tmp_path / name, training=dataclasses.replace(TRAINING, evaluation_episodes=n)
        )
        for name, n in (("none", 0), ("some", 3))
    )
    assert "return_start" not in left.result["metrics"]
    assert "return_start" in right.result["metrics"]
    files = [ended(tmp_path / name)[0] for name in ("none", "some")]
    assert files[0] == files[1]


def test_phase_one_is_judged_at_its_end_alone(explored):
    metrics = json.loads((explored / "result.json").read_text())["metrics"]
    assert "return" in metrics
    assert "return_start" not in metrics
    assert not (explored / "evaluation_start.json").exists()


def test_relabelled_rows_have_the_reward_that_their_pictures_show(explored, tmp_path):
    carried_out("relabel", explored, tmp_path / "run", steps=2)
    old, new = rows_of(explored), rows_of(tmp_path / "run")
    held = len(old["is_first"])
    expected = collected(old["cells"], old["is_first"])
    assert np.count_nonzero(expected) > 3
    assert np.array_equal(new["reward"][:held], expected)
    assert np.array_equal(new["cells"][:held], old["cells"])
    assert np.array_equal(new["action"][:held], old["action"])
    manifest = json.loads((tmp_path / "run" / "transfer.json").read_text())["components"]
    assert manifest["replay"]["mode"] == "relabel"
    assert manifest["replay"]["reward"] == "task/collect"


def test_the_explored_task_has_its_own_reward(explored, tmp_path):
    carried_out("relabel", explored, tmp_path / "run", steps=2, env=GOAL)
    old, new = rows_of(explored), rows_of(tmp_path / "run")
    assert np.array_equal(new["reward"][: len(old["is_first"])], old["task/reward"])


def test_a_reward_named_in_the_plan(explored, tmp_path):
    other = COLLECT + ",num_levels=3"
    with pytest.raises(UserError, match="those of its options"):
        carried_out("relabel", explored, tmp_path / "run", env=other)
    assert not (tmp_path / "run").exists()
    carried_out("replay=relabel:collect,actor=prior", explored, tmp_path / "run", env=other, steps=2)
    old, new = rows_of(explored), rows_of(tmp_path / "run")
    assert np.array_equal(new["reward"][: len(old["is_first"])], old["task/collect"])
    assert np.isnan(new["prior/logits"][: len(old["is_first"])]).all()


@pytest.mark.parametrize("plan", ["model+policy+relabel", "replay=relabel,actor=prior"])
def test_offline_updates_come_before_the_first_step_and_are_judged(plan, explored, tmp_path, monkeypatch):
    stop_at(monkeypatch, "receive", 1)
    stopped = carried_out(plan, explored, tmp_path / "run", training=OFFLINE)
    monkeypatch.undo()
    assert stopped.result is None
    assert open_checkpoint(tmp_path / "run").load("loop")["updates"] == 6
    source, offline_agent = open_source(explored).checkpoint, open_checkpoint(tmp_path / "run")
    for name, mode in parse_plan(plan).as_dict().items():
        if mode == "copy":
            old, new = source.load(name), offline_agent.load(name)
            assert any(not torch.equal(new[key], old[key]) for key in old), name
    offline = [line for line in lines(tmp_path / "run") if "offline/loss/reward" in line]
    assert [line["updates"] for line in offline] == [1, 2, 3, 4, 5, 6]
    assert all(line["env_step"] == 0 and line["offline/loss/reward"] > 0 for line in offline)
    result = carried_out(plan, explored, tmp_path / "run", training=OFFLINE).result
    assert result["updates"] > 6
    assert {"return_start", "return_offline", "return", "gold_offline"} <= result["metrics"].keys()
    assert result["metrics"]["return_offline"] == lines_with(tmp_path / "run", "evaluation_offline/return")


def lines_with(folder, name):
    """The one value that was logged under a name."""
    found = [line[name] for line in lines(folder) if name in line]
    assert len(found) == 1
    return found[0]


def test_the_offline_judgement_is_of_the_offline_agent(explored, tmp_path):
    """A run whose steps end before the next update still has the offline agent in its checkpoint."""
    training = dataclasses.replace(OFFLINE, learning_starts=1000)
    result = carried_out("model+relabel", explored, tmp_path / "run", training=training, steps=2).result
    assert result["updates"] == 6
    found = evaluate_run(tmp_path / "run", TRAINING.evaluation_episodes, 5 + EVALUATION_SEED, "cpu")
    assert found["return"] == result["metrics"]["return_offline"] == result["metrics"]["return"]
    assert found["cells_visited"] == result["metrics"]["cells_visited_offline"]


@pytest.mark.parametrize("plan", ["model+relabel", "replay=relabel,actor=prior"])
def test_stops_within_the_offline_updates_change_nothing(plan, explored, whole, tmp_path, monkeypatch):
    expected = ended(whole(plan, training=OFFLINE))
    assert expected[2]["updates"] > 10
    stop_at(monkeypatch, "updated", 2, 5, 6, 9)  # the sixth is the last one offline
    for updates in (2, 5, 6):
        assert carried_out(plan, explored, tmp_path / "parts", training=OFFLINE).exit_code == 130
        checkpoint = open_checkpoint(tmp_path / "parts")
        assert (checkpoint.step, checkpoint.load("loop")["updates"]) == (0, updates)
    assert carried_out(plan, explored, tmp_path / "parts", training=OFFLINE).exit_code == 130
    assert carried_out(plan, explored, tmp_path / "parts", training=OFFLINE).result is not None
    assert expected == ended(tmp_path / "parts")


def test_a_crash_within_the_offline_updates_is_undone(explored, whole, tmp_path, monkeypatch):
    expected = ended(whole("model+relabel", training=OFFLINE))
    stop_at(monkeypatch, "updated", 2)
    carried_out("model+relabel", explored, tmp_path / "parts", training=OFFLINE)
    monkeypatch.undo()
    monkeypatch.setattr("training.session.evaluate_policy", failing)
    with pytest.raises(OSError, match="power"):
        carried_out("model+relabel", explored, tmp_path / "parts", training=OFFLINE)
    monkeypatch.undo()
    assert lines(tmp_path / "parts")[-1]["updates"] == 6  # logged, and lost with the crash
    carried_out("model+relabel", explored, tmp_path / "parts", training=OFFLINE)
    assert expected == ended(tmp_path / "parts")


def failing(*_):
    raise OSError("the power went out")


@pytest.mark.parametrize("plan", ["scratch", "model+policy", "replay"])
def test_nothing_is_learned_offline_without_rewards(plan, explored, tmp_path):
    with pytest.raises(UserError, match="nothing to learn from before the first step: use replay=relabel"):
        carried_out(plan, explored, tmp_path / "run", training=OFFLINE)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_a_run_that_carries_nothing_cannot_learn_offline(phase, tmp_path):
    with pytest.raises(UserError, match=r"offline_updates is 6, but the replay holds no 8 rows"):
        execute(settings(phase, training=OFFLINE), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


FROZEN = "encoder=freeze:40,dynamics=freeze,decoder=freeze:1000,continue=copy"


def moments(folder):
    """How many updates the optimiser has made of each component's parameters."""
    held = open_checkpoint(folder).load("training")["optimizer"]
    parts = {"encoder": "encoder", "dynamics": "dynamics", "decoder": "decoder", "continue": "continuation"}
    return {
        name: {float(s["step"]) for key, s in held.items() if key.startswith(f"world_model.{part}.")}
        for name, part in parts.items()
    }


def test_frozen_up_to_a_step(explored, tmp_path, monkeypatch):
    source = open_source(explored)

    def same(name):
        state, old = open_checkpoint(tmp_path / "run").load(name), source.checkpoint.load(name)
        return all(torch.equal(state[key], old[key]) for key in old)

    stop_at(monkeypatch, "receive", 19)  # two steps a call: the one to 38 is the last before the border
    assert carried_out(FROZEN, explored, tmp_path / "run").result is None
    monkeypatch.undo()
    assert open_checkpoint(tmp_path / "run").step == 38
    assert (same("encoder"), same("dynamics"), same("decoder"), same("continue")) == (True, True, True, False)
    before = moments(tmp_path / "run")
    assert (before["encoder"], before["dynamics"], before["decoder"]) == (set(), set(), set())
    (early,) = before["continue"]
    assert early > 0
    result = carried_out(FROZEN, explored, tmp_path / "run").result
    assert (same("encoder"), same("dynamics"), same("decoder")) == (False, True, True)
    after = moments(tmp_path / "run")
    assert after["continue"] == {result["updates"]}
    assert after["encoder"] == {result["updates"] - early}
    manifest = json.loads((tmp_path / "run" / "transfer.json").read_text())["components"]
    assert manifest["encoder"]["mode"] == "freeze:40"


HELD = "model+policy,actor=freeze:40"
"""The critic learns alone up to step 40."""


@pytest.mark.parametrize("calls", [(18, 22), (20, 21), (30,)], ids=str)
@pytest.mark.parametrize(
    ("plan", "kind"), [(FROZEN, "model-based"), (HELD, "model-based"), (HELD, "model-free")]
)
def test_stops_on_both_sides_of_the_border_change_nothing(
    plan, kind, calls, explored, whole, tmp_path, monkeypatch
):
    agent, expected = dataclasses.replace(AGENT, kind=kind), ended(whole(plan, kind))
    stop_at(monkeypatch, "receive", *calls)
    for _ in calls:
        assert carried_out(plan, explored, tmp_path / "parts", agent=agent).result is None
    assert carried_out(plan, explored, tmp_path / "parts", agent=agent).result is not None
    assert expected == ended(tmp_path / "parts")


@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_the_critic_learns_while_a_carried_actor_is_held(kind, explored, tmp_path, monkeypatch):
    agent = dataclasses.replace(AGENT, kind=kind)
    carried = open_source(explored).checkpoint.load("actor")
    stop_at(monkeypatch, "receive", 19)  # to step 38
    assert carried_out(HELD, explored, tmp_path / "run", agent=agent).result is None
    monkeypatch.undo()
    held = open_checkpoint(tmp_path / "run")
    assert all(torch.equal(held.load("actor")[key], carried[key]) for key in carried)
    steps = {k: float(s["step"]) for k, s in held.load("training")["optimizer"].items() if "behaviour" in k}
    assert steps.keys() == {key for key in steps if key.startswith("behaviour.critic.")}
    assert min(steps.values()) > 0
    assert carried_out(HELD, explored, tmp_path / "run", agent=agent).result is not None
    moved = open_checkpoint(tmp_path / "run").load("actor")
    assert not any(torch.equal(moved[key], carried[key]) for key in carried)


def test_a_component_that_thaws_before_anything_learns_is_refused(explored, tmp_path):
    plan = f"model+policy,actor=freeze:{TRAINING.learning_starts}"
    with pytest.raises(UserError, match="the actor thaws at step 24, and nothing learns before step 24"):
        carried_out(plan, explored, tmp_path / "run")
    assert not (tmp_path / "run").exists()
