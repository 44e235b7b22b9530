"""Reading study folders, whole and broken."""

import json

import pytest

from expedition.errors import UserError
from experiments.records import read_study


def test_a_whole_study_is_read(tmp_path, write_study):
    study = read_study(write_study(tmp_path / "quickstart", seeds=(1, 0)))
    assert (study.name, study.version, study.environment) == ("quickstart", "0.1.0", "Crafter")
    assert study.conditions == ("scratch", "policy", "model", "model+policy")
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
    with pytest.raises(UserError, match="it lacks 'command'"):
        read_study(tmp_path)
