"""Runs of PPO: they learn, resume exactly, can be judged again, and refuse what means nothing."""

import dataclasses
import json
import signal
import sys

import gymnasium
import numpy as np
import pytest
import torch

from agents import AgentConfig, PPOConfig
from expedition import UserError
from training import Logistics, RunConfig, TrainingConfig, evaluate_run, execute, open_checkpoint
from training.baselines.ppo import rollout_rows
from training.process.runtime import StopSignal
from training.session import EVALUATION_SEED

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1, workers=0)


def config(env, steps=260, num_envs=3, evaluation_episodes=4, **ppo):
    settings = {"rollout": 60, "batch": 20, "epochs": 2, "channels": (4,), "image_features": 8, **ppo}
    return RunConfig(
        env,
        "finetune",
        None,
        "tiny",
        steps,
        3,
        AgentConfig(kind="ppo", ppo=PPOConfig(**settings)),
        TrainingConfig(
            num_envs=num_envs, log_every=50, evaluation_episodes=evaluation_episodes, image_size=32
        ),
    )


class Echo(gymnasium.Env):
    """Pays for the action that the observation names; four steps an episode."""

    observation_space = gymnasium.spaces.Box(0, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def _look(self):
        self.wanted = int(self.np_random.integers(3))
        return np.eye(3, dtype=np.float32)[self.wanted]

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._look(), {}

    def step(self, action):
        self.time += 1
        reward = float(action == self.wanted)
        return self._look(), reward, self.time == 4, False, {}


@pytest.fixture
def echo():
    gymnasium.register("Echo-v0", Echo)
    yield "Echo-v0"
    del gymnasium.registry["Echo-v0"]


def test_it_learns(echo, tmp_path):
    pytest.importorskip("stable_baselines3")
    settings = config(echo, 900, evaluation_episodes=16, rollout=90, batch=30, epochs=6, lr=1e-2)
    result = execute(settings, tmp_path / "run", QUIET).result
    assert result["metrics"]["return"] > 3.4  # 4 at most, 4/3 by chance
    assert result["environment_steps"] in range(900, 903)
    episodes = (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
    assert len(episodes) == 900 // 4


def test_it_learns_actions_of_several_factors(tmp_path):
    pytest.importorskip("stable_baselines3")
    learns = {"rollout": 90, "batch": 30, "epochs": 6, "lr": 1e-2}
    settings = config("tests.factored:Pair-v0", 900, evaluation_episodes=16, **learns)
    result = execute(settings, tmp_path / "run", QUIET).result
    assert result["metrics"]["return"] > 3.2  # 4 at most, 1.67 by chance


def test_it_reads_many_symbols(tmp_path):
    """As many values in all as a symbol's own kind of number cannot count."""
    pytest.importorskip("stable_baselines3")
    maze = "mazes-goal,size=9,limit=20,observe=symbols"  # 81 cells of 7 values
    result = execute(config(maze, 130), tmp_path / "run", QUIET).result
    assert result["environment_steps"] in range(130, 133)


def interrupt(monkeypatch, row):
    """Press Ctrl-C at a row of a sitting."""
    from training.baselines.bridge import Bridge

    count, wait = 0, Bridge.step_wait

    def interrupted(self):
        nonlocal count
        count += 1
        if count == row:
            signal.raise_signal(signal.SIGINT)
        return wait(self)

    monkeypatch.setattr(Bridge, "step_wait", interrupted)


def interrupt_evaluation(monkeypatch, step):
    """Press Ctrl-C at a step of the evaluation."""
    count, check = 0, StopSignal.check

    def interrupted(self):
        nonlocal count
        count += 1
        assert count <= step  # it has been obeyed
        if count == step:
            signal.raise_signal(signal.SIGINT)
        check(self)

    monkeypatch.setattr(StopSignal, "check", interrupted)


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}/{key}")
    elif isinstance(value, torch.Tensor | np.ndarray):
        yield path, np.asarray(value).tobytes()
    else:
        yield path, value


def held(run_dir):
    checkpoint = open_checkpoint(run_dir)
    state = dict(leaves({name: checkpoint.load(name) for name in checkpoint.sections}))
    del state["/loop/seconds"], state["/loop/midway/seconds"]
    return state


@pytest.mark.parametrize(
    ("env", "every"),
    [("CartPole-v1", 0), ("catch-pixels", 0), ("Pendulum-v1", 0), ("FrozenLake-v1", 0), ("CartPole-v1", 70)],
)
def test_stopped_and_resumed_equals_never_stopped(env, every, tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3")
    settings = config(env, anneal=True)
    training = dataclasses.replace(settings.training, evaluate_every=every)
    settings = dataclasses.replace(settings, training=training)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert execute(settings, whole, QUIET).result["updates"] >= 4
    for row in (7, 31):  # amid the first rollout, and amid the second of the next sitting
        with monkeypatch.context() as patch:
            interrupt(patch, row)
            outcome = execute(settings, parts, QUIET)
        assert (outcome.result, outcome.exit_code) == (None, 130)
    for _ in range(2):  # amid the evaluation
        with monkeypatch.context() as patch:
            interrupt_evaluation(patch, 4)
            outcome = execute(settings, parts, QUIET)
        assert (outcome.result, outcome.exit_code) == (None, 130)
    assert execute(settings, parts, QUIET).result is not None
    for name in ("metrics.jsonl", "episodes.jsonl"):
        assert (whole / name).read_text() == (parts / name).read_text()
    judged = (whole / "metrics.jsonl").read_text().count("evaluation/return")
    assert judged == (1 if every == 0 else 4)  # past 70, 140 and 210, and at the end
    left, right = held(whole), held(parts)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
    results = [json.loads((run / "result.json").read_text()) for run in (whole, parts)]
    for result in results:
        del result["wall_seconds"], result["evaluation_seconds"]
    assert results[0] == results[1]
    assert execute(settings, parts, QUIET).result["metrics"] == results[0]["metrics"]


def test_a_checkpoint_holds_the_policy_that_was_judged(tmp_path):
    pytest.importorskip("stable_baselines3")
    result = execute(config("CartPole-v1"), tmp_path / "run", QUIET).result
    again = evaluate_run(tmp_path / "run", 4, 3 + EVALUATION_SEED, "cpu")
    assert again == {**result["metrics"], "episodes": 4.0}


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (1000, (32, True)),  # as usual: 128 steps of 4 environments
        (192, (32, True)),  # one and a half: half a rollout is worth its own
        (188, (47, True)),  # less: one long one
        (64, (16, True)),
        (60, (15, False)),  # collected, and too little to learn from
        (1, (1, False)),
    ],
)
def test_rollouts_spend_the_budget(left, expected):
    assert rollout_rows(left, 128, 4) == expected


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(UserError, match=r"pip install 'expedition\[baselines\]'"):
        execute(config("CartPole-v1"), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_there_is_no_phase_1_of_it(tmp_path):
    settings = dataclasses.replace(config("CartPole-v1"), phase="pretrain", intrinsic="rnd")
    with pytest.raises(UserError, match="phase 2"):
        execute(settings, tmp_path / "run", QUIET)


@pytest.mark.parametrize("name", ["rollout", "batch", "epochs"])
def test_settings_that_cannot_work_are_refused(name):
    with pytest.raises(UserError, match=f"agent.ppo.{name}"):
        PPOConfig(**{name: 0})
