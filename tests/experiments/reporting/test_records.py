"""Reading study folders, whole and broken."""

import json

import pytest

from expedition.errors import UserError
from experiments.reporting.records import read_study


def test_a_whole_study_is_read(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "quickstart", seeds=(1, 0)))
    assert (study.name, study.version, study.environment) == ("quickstart", "0.1.0", "Crafter")
    assert study.conditions == ("scratch", "model", "policy", "model+policy")
    assert [run.seed for run in study.of("model")] == [0, 1]
    assert len(study.runs) == 10
    assert set(study.values("return")["policy"]) == {0, 1}
    assert study.missing() == []
    run = study.of("scratch")[0]
    assert (run.env_step, run.wall_seconds, len(run.open_loop_start)) == (4000, 61.0, 45)
    assert run.film("start").name == "open_loop_start.png"


def test_factorial_conditions_come_first_and_others_after(tmp_path, monkeypatch, write_study, made_up):
    monkeypatch.setitem(made_up.returns, "aardvark", 2.0)
    monkeypatch.setitem(made_up.errors, "aardvark", (0.05, 0.02))
    folder = write_study(tmp_path, conditions=("aardvark", "model+policy", "scratch"))
    assert read_study(folder).conditions == ("scratch", "model+policy", "aardvark")


def test_a_line_still_being_written_is_left_out_but_a_torn_middle_is_named(tmp_path, write_study):
    run = read_study(write_study(tmp_path)).of("scratch")[0]
    assert all("return" in episode for episode in run.episodes())
    path = run.folder / "episodes.jsonl"
    path.write_text(path.read_text() + '\n{"env_step": 41, "return": 1.0}\n')
    with pytest.raises(UserError, match="torn at line"):
        run.episodes()


def test_unfinished_runs_are_listed(tmp_path, write_study, made_up):
    folder = write_study(tmp_path, seeds=(0, 1))
    made_up.write_json(
        folder / "model-s1" / "status.json", {"state": "running", "env_step": 70, "wall_seconds": 2.0}
    )
    (folder / "policy-s1" / "status.json").unlink()
    (folder / "scratch-s1" / "result.json").unlink()
    study = read_study(folder)
    assert study.missing() == [
        "Run scratch-s1 is finished without a result: not in this report.",
        "Run policy-s1 is not started: not in this report.",
        "Run model-s1 is running: not in this report.",
    ]
    assert set(study.values("return")["model"]) == {0}


def test_undefined_metrics_are_left_out_and_said(tmp_path, write_study):
    folder = write_study(tmp_path, seeds=(0, 1))
    path = folder / "model-s1" / "result.json"
    result = json.loads(path.read_text())
    result["metrics"] |= {"return": float("nan"), "crafter_score": None}
    path.write_text(json.dumps(result))
    study = read_study(folder)
    assert set(study.values("return")["model"]) == {0}
    assert study.missing() == ["Run model-s1 has no finite return, crafter_score: left out of the estimates."]


def edit(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def write_curve(folder, run, curve):
    rows = [json.dumps({"env_step": step, "return": value}) for step, value in curve]
    (folder / run / "episodes.jsonl").write_text("\n".join(rows) + "\n")


def test_learning_curves_give_area_and_steps_saved(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=("scratch", "model", "policy"), films=False)
    # Steps of 100 up to 4,000: scratch passes half way at 3,000 and ends at 10, model at 1,000, policy never.
    steps = range(100, 4001, 100)
    for name, passes in (("scratch", 3000), ("model", 1000), ("policy", 9000)):
        write_curve(folder, f"{name}-s0", [(step, 10.0 * (step >= passes)) for step in steps])
    study = read_study(folder)
    area = {name: values[0] for name, values in study.values("auc").items()}
    assert area == pytest.approx({"scratch": 10 * 1100 / 4000, "model": 10 * 3100 / 4000, "policy": 0.0})
    saved = {name: values[0] for name, values in study.values("steps_saved").items()}
    assert saved["scratch"] == 0.0
    assert 1500 < saved["model"] < 2500  # the curves are one another's, moved by 2,000, but for their ends
    assert -600 < saved["policy"] <= 0.0  # counts as arriving with the last step
    assert [run.condition for run in study.finetuning if run.censored] == ["policy"]


def test_a_run_without_an_episode_is_told(tmp_path, write_study):
    folder = write_study(tmp_path, films=False)
    (folder / "scratch-s0" / "episodes.jsonl").write_text("")
    study = read_study(folder)
    assert study.missing() == ["Run scratch-s0 ended no training episode: it has no area and no steps saved."]
    assert "scratch" not in study.values("auc")
    assert study.values("steps_saved") == {}


def test_without_scratch_there_is_an_area_but_nothing_saved(tmp_path, write_study):
    study = read_study(write_study(tmp_path, conditions=("model",), films=False))
    assert set(study.values("auc")) == {"model"}
    assert study.values("steps_saved") == {}
    assert study.contrasts == ()


def test_every_condition_is_compared_with_scratch_unless_the_study_says_else(tmp_path, write_study):
    folder = write_study(tmp_path, films=False)
    pairs = [(c.label, c.better, c.baseline) for c in read_study(folder).contrasts]
    assert ("model over scratch", "model", "scratch") in pairs
    assert len(pairs) == 3
    own = [{"label": "over policy", "better": "model", "baseline": "policy"}]
    own += [{"label": "over random data", "better": "model", "baseline": "model from random-data"}]
    edit(folder, "study.json", lambda head: head.update(contrasts=own))
    study = read_study(folder)
    assert [c.label for c in study.contrasts] == ["over policy", "over random data"]
    assert study.missing() == [
        "Contrast 'over random data' is left out: the study has no 'model from random-data'."
    ]


def test_the_study_may_name_its_factorial(tmp_path, write_study):
    folder = write_study(tmp_path, films=False)
    given = {"components": ["actor", "world"], "cells": {"": "scratch", "actor": "policy", "world": "model"}}
    edit(folder, "study.json", lambda head: head.update(factorial=given))
    study = read_study(folder)
    assert study.conditions == ("scratch", "policy", "model", "model+policy")
    assert study.factorial.cells[frozenset({"world"})] == "model"
    edit(folder, "study.json", lambda head: head["factorial"]["cells"].update(wrold="model"))
    with pytest.raises(UserError, match="no cell 'wrold'"):
        read_study(folder)
    edit(folder, "study.json", lambda head: head.update(factorial=["actor"]))
    with pytest.raises(UserError, match="isn't a study of this version"):
        read_study(folder)


def test_phase_1_is_grouped_by_reward_and_kind(tmp_path, write_study):
    folder = write_study(tmp_path, seeds=(0, 1), films=False)
    for seed in (0, 1):
        edit(folder, f"pretrain-s{seed}/result.json", lambda result: result["metrics"].update(coverage=7.0))
    assert read_study(folder).pretraining("coverage") == {"pretrain": {0: 7.0, 1: 7.0}}

    def name(head):
        head["runs"][0].update(intrinsic="disagreement", kind="dreamer")
        head["runs"][1].update(intrinsic="random-data")

    edit(folder, "study.json", name)
    assert read_study(folder).pretraining("coverage") == {
        "disagreement, dreamer": {0: 7.0},
        "random-data": {1: 7.0},
    }


def test_missing_foreign_and_torn_studies_get_one_sentence(tmp_path):
    with pytest.raises(UserError, match="There is no study at"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no study\.json"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "half')
    with pytest.raises(UserError, match="is not whole JSON"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(UserError, match="is not a file of Expedition"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"name": "another tool"}')
    with pytest.raises(UserError, match="it lacks 'runs'"):
        read_study(tmp_path)
