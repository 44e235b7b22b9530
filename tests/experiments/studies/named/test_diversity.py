"""Levels of phase 1 as a factor: conditions that explore elsewhere, curves, and a tiny study to its end."""

import dataclasses
import json

import pytest

from expedition import UserError
from experiments.studies.conditions import Cell, Condition, Contrast
from experiments.studies.named.diversity import LEVELS, PLANS, at_levels
from experiments.studies.overlaying import overlaid
from experiments.studies.presets import BUDGETS, find_study, presets
from experiments.studies.runs import planned_runs
from experiments.studies.telling import told_runs
from training import to_dict

STUDY = presets()["diversity"].budgets["laptop"]
FAMILY = "mazes-collect,size=7,limit=20,observe=symbols"


@pytest.mark.parametrize("budget", BUDGETS)
def test_levels_differ_and_nothing_else(budget):
    runs = planned_runs(find_study("diversity", budget, {"seeds": 1}))
    first, second = ([run for run in runs if run.config.phase == phase] for phase in ("pretrain", "finetune"))
    assert [run.config.env.rpartition("num_levels=")[2] for run in first] == [str(n) for n in LEVELS]
    alike = {dataclasses.replace(run.config, env=FAMILY) for run in first}
    assert len(alike) == 1  # an equal number of steps, and all else
    assert {run.config.env for run in second} == {
        first[0].config.env.replace("num_levels=1", "num_levels=5,start_level=100000")
    }
    needs = {run.condition: run.needs for run in second}
    for levels, source in zip(LEVELS, first, strict=True):
        assert {needs[at_levels(plan, levels)] for plan in PLANS} == {source.id}
    assert needs["scratch"] is None


def test_what_is_planned_says_on_how_many_levels():
    told = told_runs(planned_runs(STUDY))
    (line,) = (line for line in told if line.startswith("policy, all levels: "))
    assert line.endswith("observe=symbols,num_levels=0; seeds 0 to 4")
    assert len(told) == len(LEVELS) * (1 + len(PLANS)) + 2  # and scratch, and the random policy


def test_the_curve_has_the_four_cells_at_each_number():
    curve = STUDY.curved()
    assert list(curve.factorials) == list(LEVELS)
    assert curve.places() == {1: 1, 3: 3, 10: 10, 30: 30, 0: 90}
    assert curve.factorials[3].as_dict()["cells"] == {
        "": "scratch",
        "model": "model, 3 levels",
        "policy": "policy, 3 levels",
        "model+policy": "model+policy, 3 levels",
    }
    assert STUDY.crossed() == curve.factorials[30]
    assert type(curve).named(**json.loads(json.dumps(curve.as_dict()))) == curve


def test_more_is_a_difference_of_differences():
    given = next(c for c in STUDY.contrasts if c.label.startswith("the policy, given the model"))
    assert given.conditions == ("model+policy, 30 levels", "model, 30 levels")
    assert given.less == ("model+policy, 1 level", "model, 1 level")


def test_other_conditions_leave_what_fits_of_the_curve():
    names = ["scratch", *(at_levels("model", n) for n in (1, 30))]
    conditions = [to_dict(c) for c in STUDY.conditions if c.name in names]
    study = overlaid(STUDY, {"conditions": conditions})
    assert [cell.condition for cell in study.curve] == names
    assert [c.label.split(":")[0] for c in study.contrasts] == ["the model alone"]
    assert overlaid(STUDY, {"conditions": conditions[:2]}).curve == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"over": ""}, "say in `over` what is varied"),
        ({"curve": (Cell("scratch"), Cell("model, 1 level", "model", at=1))}, "two values or more"),
        ({"curve": (Cell("modle, 1 level", "model", at=1),)}, "condition in a curve 'modle, 1 level'"),
        ({"factorial": (Cell("model, 1 level", "model", at=1),)}, "belongs to a study's curve"),
        (
            {"curve": (*STUDY.curve, Cell("model, 3 levels", "replay", at=3))},
            "for one set of components only",
        ),
    ],
)
def test_curves_that_mean_nothing(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(STUDY, **changes)


def test_who_carries_nothing_explores_nothing():
    with pytest.raises(UserError, match="carries nothing of it: leave explores out"):
        Condition("x", "scratch", explores=FAMILY)
    with pytest.raises(UserError, match="'mazse-goal'"):
        dataclasses.replace(
            STUDY, conditions=(*STUDY.conditions, Condition("x", "model", explores="mazse-goal"))
        )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"less": ("a",)}, "name both in `less`"),
        ({"less": ("a", "a")}, "name both in `less`"),
        ({"less": ("model", "scratch")}, "name both in `less`"),
        ({"less": ("a", "b"), "task": "x", "less_on": "y"}, "leave `less` out"),
    ],
)
def test_differences_that_cannot_be_taken_off(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Contrast("x", "model", "scratch", **settings)


def test_phase_1_may_be_compared_where_it_explored_elsewhere():
    contrast = Contrast("x", *(f"pretrain:{at_levels('model', n)}" for n in (30, 1)))
    assert dataclasses.replace(STUDY, contrasts=(contrast,)).contrasts == (contrast,)


def test_a_tiny_study_ends_with_its_curve(study_file, tmp_path, cli, in_this_process, no_page):
    levels = {n: f"{FAMILY},num_levels={n}" for n in (1, 30)}
    conditions = ["scratch"]
    conditions += [{"name": at_levels("model", n), "plan": "model", "explores": levels[n]} for n in levels]
    path = study_file(
        base="diversity",
        env=levels[30],
        tasks=[f"{FAMILY},num_levels=2,start_level=50"],
        conditions=conditions,
        question={"better": at_levels("model", 30), "baseline": at_levels("model", 1)},
    )
    folder = tmp_path / "out"
    machine = ("--jobs", 2, "--wandb", "off", "--compile", "off")
    code, out, err = cli("study", path, "--seeds", 1, *machine, "--out", folder)
    assert code == 0, err
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["curve"]["points"]) == {"1", "30"}
    rows = {n: summary["conditions"][at_levels("model", n)]["return"]["mean"] for n in levels}
    (label,) = (label for label in summary["contrasts"] if label.startswith("the model alone"))
    assert summary["contrasts"][label]["return"]["mean"] == pytest.approx(rows[30] - rows[1])
    assert set(summary["pretraining"]) == {f"rnd, model-based, num_levels={n}" for n in levels}
    assert (folder / "report.png").is_file()
    assert "over levels explored" in (folder / "report.txt").read_text()
