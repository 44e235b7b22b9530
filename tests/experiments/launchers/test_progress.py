"""What a study tells of itself where nobody watches a terminal."""

import dataclasses
import json

import pytest

from experiments.launchers import progress
from experiments.launchers.progress import Bar
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs


@pytest.fixture
def clock(monkeypatch):
    """The time of day, in a list, to be set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_rest_is_told_once_speed_means_something(clock, tmp_path):
    runs = [run for run in planned_runs(find_study("quickstart", None, {"seeds": 1})) if run.config.steps]
    told = []
    bar = Bar(runs, tmp_path, told.append)
    first, whole = runs[0], sum(run.config.steps for run in runs)
    (tmp_path / first.id).mkdir()
    for seconds, steps in ((30.0, 0), (60.0, 8), (100.0, 2000)):
        clock[0] = seconds
        (tmp_path / first.id / "status.json").write_text(json.dumps({"env_step": steps}))
        bar.update(runs[:1])
    left = (whole - 2000) / 20
    assert told == [
        f"  0 of {whole:,} steps, starting: {first.label}",
        f"  8 of {whole:,} steps, starting: {first.label}",
        f"  2,000 of {whole:,} steps, 20 steps/s, {left // 60:.0f} min {left % 60:.0f} s left: {first.label}",
    ]


def test_a_sitting_counts_its_own_steps_and_a_broken_status_none(clock, tmp_path):
    run = planned_runs(find_study("quickstart", None, {"seeds": 1}))[0]
    whole, told = run.config.steps, []
    status = tmp_path / run.id / "status.json"
    status.parent.mkdir()
    status.write_text(json.dumps({"env_step": whole - 100}))
    bar = Bar([run], tmp_path, told.append)
    for seconds, text in ((30.0, json.dumps({"env_step": whole - 40})), (60.0, "{")):
        clock[0] = seconds
        status.write_text(text)
        bar.update([run])
    assert told == [
        f"  {whole - 40:,} of {whole:,} steps, 2 steps/s, 20 s left: {run.label}",
        f"  0 of {whole:,} steps, starting: {run.label}",
    ]


def test_a_run_on_data_tells_its_updates_until_it_steps(clock, tmp_path):
    planned = planned_runs(find_study("quickstart", None, {"seeds": 1}))[0]
    training = dataclasses.replace(planned.config.training, offline_updates=2000)
    config = dataclasses.replace(planned.config, training=training)
    run, told = dataclasses.replace(planned, config=config), []
    bar, status = Bar([run], tmp_path, told.append), tmp_path / run.id / "status.json"
    status.parent.mkdir()
    for seconds, steps, updates in ((30.0, 0, 1200), (60.0, 8, 2001)):
        clock[0] = seconds
        status.write_text(json.dumps({"env_step": steps, "updates": updates}))
        bar.update([run])
    assert [line.partition("starting: ")[2] for line in told] == [
        f"{run.label} (1,200 of 2,000 updates on data)",
        run.label,
    ]
