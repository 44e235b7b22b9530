"""What a model sees: worked numbers, and a run."""

import dataclasses

import pytest
import torch

from benchmarks.learning.seen import decoded_shares, measure, reward_errors, table
from expedition import UserError
from tests.benchmarks.learning.test_targets import MAZE
from tests.training.test_resume import QUIET, config
from training import execute


def test_shares_of_each_value_by_hand():
    symbols = torch.tensor([[[0, 0, 2], [0, 1, 2]]])  # (B, T, n) = (1, 2, 3)
    guesses = torch.tensor([[[0, 1, 2], [0, 0, 2]]])
    log_probs = torch.nn.functional.one_hot(guesses, 3).float().log()
    found = decoded_shares("cells", log_probs, symbols)
    assert found == pytest.approx({"cells=0": 2 / 3, "cells=1": 0.0, "cells=2": 1.0})


def test_errors_are_told_apart_by_whether_a_reward_arrived():
    found = reward_errors(torch.tensor([[0.5, 0.25, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0, -0.5]]))
    assert found == {"rows paid": 0.5, "reward error, paid": 0.5, "reward error, unpaid": 0.125}


def test_a_run_is_measured_and_one_without_a_decoder_refused(tmp_path):
    run = config(MAZE, None, steps=60, probe_updates=0)
    execute(run, tmp_path / "run", QUIET, None, None, lambda *_: None)
    found = measure(tmp_path / "run", envs=3, steps=20, seed=0)
    assert found == measure(tmp_path / "run", envs=3, steps=20, seed=0)
    assert 0 <= found["cells=0"] <= 1
    assert found["reward error, unpaid"] >= 0
    assert "| cells=0 | " in table({"run": found})
    model = dataclasses.replace(run.agent.model, predicts="none")
    blind = dataclasses.replace(run, agent=dataclasses.replace(run.agent, model=model))
    execute(blind, tmp_path / "blind", QUIET, None, None, lambda *_: None)
    with pytest.raises(UserError, match="has no decoder"):
        measure(tmp_path / "blind", envs=1, steps=8, seed=0)
