"""What a study will take: threads as the launcher gives them, updates when they are warm, waiting counted."""

import dataclasses
import re

import pytest

from experiments import estimate as module
from experiments.estimate import Trial, estimate_study, until_all_end
from experiments.launchers.local import Launcher
from experiments.presets import find_study
from experiments.study import planned_runs
from training import Logistics

QUICK = find_study("quickstart", None, {"seeds": 1})


@pytest.mark.parametrize(
    ("jobs", "seeds", "expected"),
    [
        (1, 1, 10 + 4 * 3),
        (2, 1, 10 + 2 * 3),  # scratch is done beside phase 1; three others follow it by two
        (8, 1, 10 + 3),
        (2, 2, 10 + 4 * 3),  # both explore at once
    ],
)
def test_runs_wait_for_what_they_need_and_for_a_place(jobs, seeds, expected):
    runs = planned_runs(dataclasses.replace(QUICK, seeds=seeds))
    seconds = {run.id: 10.0 if run.plan is None else 3.0 for run in runs}
    seconds |= {run.id: 0.0 for run in runs if run.config.steps == 0}  # the random policy
    assert until_all_end(runs, seconds, jobs) == expected


def test_each_phase_is_tried_with_the_threads_that_it_will_have(monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.launchers.local.cores", lambda: 8)
    launcher = Launcher(QUICK, tmp_path / "none", 4, Logistics(wandb="off", device="cpu"), "", print)
    tried = {}

    def trial(config, logistics):
        tried[config.phase] = logistics.threads
        return Trial(0.0, 0.001, 0.1, 0, 1, 1)

    monkeypatch.setattr(module, "_tried", trial)
    said = estimate_study(launcher.runs, 4, launcher.threads, launcher.logistics, lambda _: None)
    assert tried == {"pretrain": 8, "finetune": 2}
    assert re.search(r"updates at 100 ms", said)


def test_the_first_updates_do_not_count(monkeypatch):
    clock, costs = [0.0], iter([1.0, 0.4, 0.1, 0.3, *[0.2] * 20])
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def update():
        clock[0] += next(costs)

    assert module._fastest(update) == pytest.approx(0.1)
    clock[0], costs = 0.0, iter([9.0, 1.0])  # a slow one is made once
    assert module._fastest(update) == pytest.approx(9.0)
