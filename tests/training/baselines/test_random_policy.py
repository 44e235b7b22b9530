"""The random policy as a run: uniform actions on the episodes that judge the others, and nothing learned."""

import dataclasses
import json
import signal

import numpy as np
import pytest
from gymnasium import spaces

from agents import AgentConfig
from expedition import UserError
from training import Logistics, RunConfig, TrainingConfig, evaluate_run, execute
from training.baselines.random_policy import RandomPolicy
from training.process.runtime import StopSignal
from training.session import EVALUATION_SEED

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1, workers=0)
CONFIG = RunConfig(
    "catch-vector",
    "finetune",
    None,
    "tiny",
    0,
    3,
    AgentConfig(kind="random"),
    TrainingConfig(evaluation_episodes=20, image_size=32),
)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)])
def test_actions_are_uniform(space):
    policy, rows = RandomPolicy(space), {"is_first": np.zeros(6000, bool)}
    actions, _, _ = policy.act(rows, policy.initial_state(6000, 0), "evaluate")
    if isinstance(space, spaces.Discrete):
        assert set(np.unique(actions)) == {0, 1}
        assert actions.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    else:
        assert np.quantile(actions, [0.25, 0.5, 0.75], axis=0) == pytest.approx(
            np.array([[-0.5] * 2, [0] * 2, [0.5] * 2]), abs=0.05
        )


def test_it_is_a_run_whose_steps_are_no_training(tmp_path):
    said = []
    outcome = execute(CONFIG, tmp_path, QUIET, say=said.append)
    result = json.loads((tmp_path / "result.json").read_text())
    assert outcome.result == result
    assert -1 < result["metrics"]["return"] < 0  # Catch pays 1 or -1; by chance it is missed more often
    assert (result["environment_steps"], result["updates"], result["episodes"]) == (0, 0, 20)
    assert result["observed"] == ["vector"]
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["env_step"]) == ("finished", 0)
    before = (tmp_path / "result.json").stat().st_mtime_ns
    assert execute(CONFIG, tmp_path, QUIET, say=said.append).result == result
    assert "finished already" in said[-1]
    assert (tmp_path / "result.json").stat().st_mtime_ns == before
    again = evaluate_run(tmp_path, 20, 3 + EVALUATION_SEED, "cpu")
    assert again["return"] == result["metrics"]["return"]


def test_another_seed_is_another_sample(tmp_path):
    found = {
        execute(dataclasses.replace(CONFIG, seed=seed), tmp_path / str(seed), QUIET).result["metrics"][
            "return"
        ]
        for seed in range(4)
    }
    assert len(found) > 1


def test_a_stop_loses_nothing(tmp_path, monkeypatch):
    whole = execute(CONFIG, tmp_path / "whole", QUIET).result["metrics"]
    check, seen = StopSignal.check, []

    def stopping(stop):
        seen.append(1)
        if len(seen) == 5:
            signal.raise_signal(signal.SIGTERM)
        check(stop)

    monkeypatch.setattr(StopSignal, "check", stopping)
    outcome = execute(CONFIG, tmp_path / "parts", QUIET)
    assert (outcome.result, outcome.exit_code) == (None, 143)
    assert json.loads((tmp_path / "parts" / "status.json").read_text())["state"] == "stopped"
    assert execute(CONFIG, tmp_path / "parts", QUIET).result["metrics"] == whole
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("changes", [{"phase": "pretrain", "intrinsic": "rnd"}, {"steps": 9}])
def test_it_neither_explores_nor_learns(changes, tmp_path):
    with pytest.raises(UserError, match="explore with the intrinsic reward random-data"):
        execute(dataclasses.replace(CONFIG, **changes), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_the_others_need_steps():
    with pytest.raises(UserError, match="steps is 0"):
        dataclasses.replace(CONFIG, agent=AgentConfig())
