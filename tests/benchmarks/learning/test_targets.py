"""What targets are worth: worked numbers, and a run."""

import dataclasses

import numpy as np
import pytest
import torch

from agents.search import Plan
from benchmarks.learning.targets import distance, measure, table, told
from expedition import UserError
from tests.training.test_resume import QUIET, config
from training import execute

MAZE = "mazes-collect,size=7,limit=12,num_levels=1,observe=symbols"


def test_the_distance_of_plans_by_hand():
    weights, prior = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.full((2, 2), 0.5)
    plan = Plan(torch.zeros(2, 2), torch.zeros(2, 2, 2), weights, prior, torch.zeros(2))
    assert distance(plan) == pytest.approx(np.log(2) / 2)


def test_values_are_compared_with_what_followed():
    agent = dataclasses.make_dataclass("Agent", ["config"])(config(MAZE, None).agent)
    discount = agent.config.model.discount
    # rewards 1, 0, 2 arrive in rows 1 to 3; row 3 ends the episode for good
    rewards, flags = ([0.0, 1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0])
    rows = [
        {"reward": np.array([r], np.float32), "is_last": np.array([f > 0]), "is_terminal": np.array([f > 0])}
        for r, f in zip(rewards, flags, strict=True)
    ]
    followed = [1 + discount**2 * 2, discount * 2, 2.0]
    exact = torch.tensor([[*followed, 9.0, 9.0]])  # of the ending row nothing follows
    values = {"critic": exact, "search": -exact, "one-step": exact * torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])}
    found = told(values, rows, {"search": [0.25, 0.75]}, agent)
    assert found["critic, correlation"] == pytest.approx(1.0)
    assert found["search, correlation"] == pytest.approx(-1.0)
    expected = np.corrcoef([followed[0], followed[1], 0.0], followed)[0, 1]
    assert found["one-step, correlation"] == pytest.approx(expected, abs=1e-5)
    assert found["search"] == 0.5


def test_a_run_is_measured_and_one_without_a_model_refused(tmp_path):
    run = config(MAZE, None, steps=60, probe_updates=0)
    execute(run, tmp_path / "based", QUIET, None, None, lambda *_: None)
    found = measure(tmp_path / "based", envs=3, steps=20, seed=0)
    assert found == measure(tmp_path / "based", envs=3, steps=20, seed=0)
    assert 0 < found["entropy"] <= np.log(4) + 1e-6
    assert table({"based": found}).splitlines()[2].startswith("| based | ")
    free = dataclasses.replace(run, agent=dataclasses.replace(run.agent, kind="model-free"))
    execute(free, tmp_path / "free", QUIET, None, None, lambda *_: None)
    with pytest.raises(UserError, match="has no model to plan in"):
        measure(tmp_path / "free", envs=1, steps=2, seed=0)
