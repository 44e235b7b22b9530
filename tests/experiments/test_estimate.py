"""What a study will take: threads as the launcher gives them, evaluation and waiting counted."""

import dataclasses
import re

import pytest

from experiments import estimate as module
from experiments.estimate import estimate_study, run_seconds, until_all_end
from experiments.launchers.launcher import Launcher
from experiments.studies.conditions import Condition, Question
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from experiments.trial import Trial
from training import Logistics
from training.budget import planned_updates

QUICK = find_study("quickstart", None, {"seeds": 1})
RUNS = planned_runs(QUICK)
WISHES = {run.id: "off" for run in RUNS}


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
    monkeypatch.setattr("experiments.launchers.places.local.cores", lambda: 8)
    launcher = Launcher(QUICK, tmp_path / "none", 4, Logistics(wandb="off", device="cpu"), "", print)
    tried = {}

    def trial(config, logistics, at_once):
        tried[config.phase] = logistics.threads
        return Trial(0.0, 0.001, 0.1, 0, 1, 1)

    monkeypatch.setattr(module, "_tried", trial)
    its = launcher.logistics
    said = estimate_study(launcher.runs, 4, launcher.place.threads, its, launcher.compiled, lambda _: None)
    assert tried == {"pretrain": 8, "finetune": 2}
    assert re.search(r"updates at 100 ms", said)


def test_what_is_fused_is_tried_as_it_will_run_and_told(monkeypatch, tmp_path):
    study = dataclasses.replace(QUICK, seeds=2)
    logistics = Logistics(wandb="off", device="cpu", compile="on")
    launcher = Launcher(study, tmp_path / "none", 2, logistics, "", print, fused=True)
    wished = set()

    def trial(config, logistics, at_once):
        wished.add(logistics.compile)
        return Trial(0.0, 0.001, 0.1, 0, 1, 1)

    monkeypatch.setattr(module, "_tried", trial)
    place, its = launcher.place, launcher.logistics
    said = estimate_study(launcher.runs, place.jobs, place.threads, its, launcher.compiled, lambda _: None)
    assert wished == {"off"}
    assert said.endswith("What --fused joins is reckoned one by one.")


def test_what_was_compiled_anew_is_tried_again(monkeypatch):
    found = iter(
        [Trial(1.0, 0.1, 0.1, 0, 1, 1, compiling=90.0), Trial(1.0, 0.1, 0.1, 0, 1, 1, compiling=4.0)]
    )
    monkeypatch.setattr(module, "_tried", lambda *_: next(found))
    assert module._warm_trial(RUNS[0].config, Logistics(), 1).compiling == 4.0


def test_a_run_is_its_start_its_learning_and_its_judging():
    trial = Trial(
        3.0, 0.001, 0.1, 0, 1, 1, compiling=4.0, evaluation=0.5, heldout=0.2, open_loop=0.7, beyond=6.0
    )
    phase_1, phase_2 = RUNS[0].config, next(run.config for run in RUNS if run.condition == "model")
    once = 3.0 + 4.0 + 0.2 + 2 * 0.7 + 6.0
    for config, judged in ((phase_1, 1), (phase_2, 1 + 2 + 1)):
        learning = config.steps * 0.001 + planned_updates(config) * 0.1
        assert run_seconds(config, trial) == pytest.approx(once + learning + judged * 0.5)
    by_chance = next(run.config for run in RUNS if run.config.agent.kind == "random")
    assert run_seconds(by_chance, trial) == pytest.approx(3.0 + 0.5)
    unseen = dataclasses.replace(by_chance.training, unseen="maze-vector")
    elsewhere = dataclasses.replace(by_chance, training=unseen)
    assert run_seconds(elsewhere, trial) == pytest.approx(3.0 + 2 * 0.5)


def test_as_many_are_tried_at_once_as_will_run_and_all_evaluations_are_told(monkeypatch):
    at_once = []

    def trial(config, logistics, beside):
        at_once.append(beside)
        return Trial(0.0, 0.0, 0.0, 0, 1, 1, evaluation=60.0)

    monkeypatch.setattr(module, "_tried", trial)
    said = estimate_study(RUNS, 2, {"pretrain": 1, "finetune": 1}, Logistics(), WISHES, lambda _: None)
    assert at_once == [1, 2]
    assert "16 evaluations at 60.0 s" in said  # of each of four runs: first, at 1,000 and 2,000, last
    # Scratch beside phase 1, the random policy and one that follows; two more of 4 minutes.
    assert "About 10 min 0 s with 2 at a time (evaluation counted" in said


@pytest.mark.parametrize(
    ("plan", "carries"), [("model", False), ("replay", True), ("model+relabel", True), ("rehearsal", True)]
)
def test_a_carried_replay_takes_room_beside_ones_own(plan, carries):
    study = dataclasses.replace(
        QUICK,
        pretrain_steps=2000,
        finetune_steps=1000,
        conditions=(Condition("scratch", "scratch"), Condition("carried", plan)),
        contrasts=(),
        factorial=(),
        question=Question("carried", "scratch"),
    )
    runs = planned_runs(study)
    rows = module._kept_rows(runs)
    explored, scratch, carried = (rows[run.id] for run in runs[:3])
    assert explored > scratch >= 1000
    assert carried == scratch + (explored if carries else 0)
