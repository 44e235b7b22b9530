"""The study of building: its runs, what they are called, and all of it from end to end on tiny runs."""

import dataclasses
import json

import pytest

from expedition import UserError
from experiments import estimate
from experiments.reporting.records import read_study
from experiments.studies.conditions import RANDOM_POLICY, Condition
from experiments.studies.presets import presets
from experiments.studies.runs import planned_runs
from experiments.trial import Trial

BUDGETS = presets()["bapst2019"].budgets
LAPTOP = BUDGETS["laptop"]


@pytest.mark.parametrize(("budget", "tasks"), [("laptop", 2), ("gpu", 4), ("paper", 4)])
def test_every_way_to_read_meets_every_way_to_act_on_every_task(budget, tasks):
    study = BUDGETS[budget]
    runs = [run for run in planned_runs(dataclasses.replace(study, seeds=1)) if run.condition]
    ways = {(run.task, run.config.env.partition("actions=")[2], run.config.agent.model.objects.kind)
            for run in runs if run.condition != RANDOM_POLICY}  # fmt: skip
    assert len(ways) == 4 * tasks
    assert {task for task, _, _ in ways} == set(study.finetune_envs)
    assert {(actions, kind) for _, actions, kind in ways} == {
        (actions, kind) for actions in ("absolute", "relative") for kind in ("graph", "plain")
    }
    for run in runs:
        assert run.config.training.unseen == "size=1.5"
        if run.condition != RANDOM_POLICY:
            assert run.config.training.simulator
            assert run.condition == f"{run.config.agent.model.objects.kind}, {run.config.env.split('=')[-1]}"


def test_the_factorial_crosses_the_two():
    crossed = LAPTOP.crossed()
    assert crossed.components == ("relative", "graph")
    assert crossed.cells[frozenset()] == "plain, absolute"
    assert crossed.cells[frozenset({"graph", "relative"})] == "graph, relative"


def test_phase_1_has_a_conditions_options_too():
    conditions = (
        Condition("one", "model", options="actions=relative"),
        Condition("other", "model", objects="plain"),
    )
    study = dataclasses.replace(
        LAPTOP, conditions=conditions, factorial=(), contrasts=(), question=None, seeds=1
    )
    runs = planned_runs(study)
    first, second = (run for run in runs if run.config.phase == "pretrain")
    assert first.config.env.endswith(",actions=relative")
    assert (first.config.agent.model.objects.kind, second.config.agent.model.objects.kind) == (
        "graph",
        "plain",
    )
    assert second.id.startswith("pretrain-plain-s0")
    assert {run.needs for run in runs if run.condition == "one"} == {first.id}


def test_what_no_condition_can_have_is_refused():
    with pytest.raises(UserError, match="did you mean 'graph'|did you mean graph"):
        Condition("one", "scratch", objects="grap")
    with pytest.raises(UserError, match="did you mean"):
        dataclasses.replace(
            LAPTOP,
            conditions=(*LAPTOP.conditions, Condition("one", "scratch", options="action=relative")),
        )


def test_it_runs_from_end_to_end(cli, study_file, tmp_path, monkeypatch, in_this_process, no_page):
    pytest.importorskip("pymunk")
    base = json.loads(study_file().read_text())
    judged = {"evaluation_episodes": 1, "searches": [2], "learning_starts": 16, "heldout": 2}
    path = study_file(
        base="bapst2019",
        env="construction-silhouette,difficulty=0",
        tasks=["construction-silhouette,difficulty=0"],
        contrasts=[{"label": "both", "better": "graph, relative", "baseline": "plain, absolute"}],
        question={"better": "graph, relative", "baseline": "plain, absolute"},
        conditions=[dataclasses.asdict(c) for c in (LAPTOP.conditions[0], LAPTOP.conditions[-1])],
        finetune_steps=20,
        finetune={**base["finetune"], **judged},
    )
    flags = ("--jobs", 1, "--wandb", "off", "--compile", "off", "--out", tmp_path / "out")
    tried = []
    monkeypatch.setattr(estimate, "_tried", lambda run, *_: tried.append(run) or Trial(0, 0, 0, 0, 1, 1))
    code, out, err = cli("study", path, "--seeds", 1, "--plan-only", *flags)
    assert code == 0, err
    assert "graph, relative: construction-silhouette,difficulty=0,actions=relative, 20 steps" in out + err
    assert [run.agent.model.objects.kind for run in tried] == ["plain", "graph"]
    code, out, err = cli("study", path, "--seeds", 1, *flags)
    assert code == 0, err
    study = read_study(tmp_path / "out")
    assert study.tasks == ("construction-silhouette,difficulty=0",)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["conditions"]
    assert set(found) == {"plain, absolute", "graph, relative", RANDOM_POLICY}
    for name in ("return_at_size=1.5", "lost_at_size=1.5", "return_at_size=1.5_simulator2", "return_search2"):
        assert name in found["graph, relative"]
