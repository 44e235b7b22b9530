"""A run leaves what takes long within a step when it is told to, and saves when an environment fails."""

import dataclasses
import json
import signal

import gymnasium
import numpy as np
import pytest

from expedition import UserError
from tests.training.test_resume import QUIET, assert_same_run, config, lines
from training import execute
from training.process.runtime import StopSignal
from training.storage.checkpoint import open_checkpoint
from training.trainer import Trainer


class Alarm:
    """Sends SIGTERM at a step of what takes long, and counts the steps."""

    def __init__(self, monkeypatch):
        self.steps, self.at = 0, 0
        check = StopSignal.check

        def counted(stop):
            self.steps += 1
            if self.steps == self.at:
                signal.raise_signal(signal.SIGTERM)
            check(stop)

        monkeypatch.setattr(StopSignal, "check", counted)

    def set(self, at):
        """Go off at this step of the next sitting."""
        self.steps, self.at = 0, at


@pytest.mark.parametrize(("env", "intrinsic"), [("catch-pixels", "disagreement"), ("CartPole-v1", None)])
def test_a_stop_amid_judging_is_obeyed_at_once_and_changes_nothing(env, intrinsic, tmp_path, monkeypatch):
    settings = config(env, intrinsic, steps=90)
    alarm = Alarm(monkeypatch)
    execute(settings, tmp_path / "whole", QUIET)
    steps = alarm.steps
    assert steps > 20  # both held-out sets, and the evaluations
    # amid the first judgement: begun again; then in the one at the end: the last checkpoint is gone on from
    for at in (1, 7, steps - 6):
        alarm.set(at)
        outcome = execute(settings, tmp_path / "parts", QUIET)
        assert (outcome.result, outcome.exit_code) == (None, 143)
        assert alarm.steps == at
        status = json.loads((tmp_path / "parts" / "status.json").read_text())
        assert status["state"] == "stopped"
        assert list((tmp_path / "parts").glob("checkpoint-*")) == [] or at > 7
    assert open_checkpoint(tmp_path / "parts").step == 90
    alarm.set(3)  # and once more: the sitting that only judges
    assert execute(settings, tmp_path / "parts", QUIET).result is None
    alarm.set(0)
    assert execute(settings, tmp_path / "parts", QUIET).result is not None
    assert_same_run(tmp_path / "whole", tmp_path / "parts", intrinsic)


def test_what_is_said_of_a_stop_before_the_first_step(tmp_path, monkeypatch):
    Alarm(monkeypatch).set(4)
    said = []
    execute(config("CartPole-v1", "rnd"), tmp_path / "run", QUIET, say=said.append)
    assert said[-1] == "Stopped before the first step; run the same command again to go on."


class Fragile(gymnasium.Env):
    """Fails once, at the 20th step of any of its objects in this process, as `how` says."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    count, how = 0, ""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.random(2, np.float32), {}

    def step(self, action):
        self.time += 1
        Fragile.count += 1
        broken = Fragile.count == 20
        if broken and Fragile.how == "raises":
            raise RuntimeError("the simulator went away")
        seen = np.full(2, np.nan if broken and Fragile.how == "blinds" else 0.5, np.float32)
        return seen, 1.0, False, self.time == 9, {}


@pytest.fixture
def fragile(monkeypatch):
    gymnasium.register("Fragile-v0", Fragile)
    monkeypatch.setattr(Fragile, "count", 0)
    yield "Fragile-v0"
    del gymnasium.registry["Fragile-v0"]


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(
    ("how", "told"),
    [("raises", "it raised RuntimeError: the simulator went away"), ("blinds", "is nan at 0")],
)
def test_a_run_whose_environment_fails_is_saved_and_goes_on(
    how, told, overlap, fragile, tmp_path, monkeypatch
):
    settings = config(fragile, "disagreement", steps=90, overlap=overlap, heldout=1)
    monkeypatch.setattr(Fragile, "how", how)
    work = Trainer.work

    def counting(trainer):
        Fragile.count = 0  # what was held out before went well
        return work(trainer)

    monkeypatch.setattr(Trainer, "work", counting)
    monkeypatch.setattr(Fragile, "count", -10_000)
    with pytest.raises(UserError, match=f"Environment [012] of 'Fragile-v0', episode 0, step 7: .*{told}"):
        execute(settings, tmp_path, QUIET)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.step == 21
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"
    monkeypatch.setattr(Fragile, "how", "")
    assert execute(settings, tmp_path, QUIET).result is not None
    crashed = [line for line in lines(tmp_path, "episodes.jsonl") if "crashed" in line]
    assert [(line["length"], line["return"]) for line in crashed] == [(7, 6.0)]


def test_a_run_whose_environment_fails_at_once_leaves_its_folder_free(fragile, tmp_path, monkeypatch):
    monkeypatch.setattr(Fragile, "how", "blinds")
    monkeypatch.setattr(Fragile, "count", 19)
    with pytest.raises(UserError, match="step 1: the observation 'vector' is nan"):
        execute(config(fragile, "rnd"), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


LASTING = """
import gymnasium
import numpy as np


class Lasting(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.random(2, np.float32), {}

    def step(self, action):
        self.time += 1
        self.steps += 1
        if self.steps == 20:
            raise RuntimeError("the simulator went away")
        return np.zeros(2, np.float32), 1.0, False, self.time == 9, {}


gymnasium.register("Lasting-v0", entry_point=Lasting)
"""


def test_with_workers_the_run_goes_on_as_after_a_crash(tmp_path, monkeypatch):
    (tmp_path / "lasting_world.py").write_text(LASTING)
    monkeypatch.syspath_prepend(tmp_path)
    settings = config("lasting_world:Lasting-v0", "disagreement", steps=90, evaluation_episodes=1)
    outcome = execute(settings, tmp_path / "run", dataclasses.replace(QUIET, workers=1))
    assert outcome.result is not None
    crashed = [line for line in lines(tmp_path / "run", "episodes.jsonl") if "crashed" in line]
    assert len(crashed) >= 3  # one worker has all three
    assert max(line.get("worker_restarts", 0) for line in lines(tmp_path / "run", "metrics.jsonl")) >= 1
