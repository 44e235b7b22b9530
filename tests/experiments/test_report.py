"""The summary and its table, on made-up studies."""

import json
import sys

import pytest

from expedition.errors import UserError
from experiments.anchors import CRAFTER_ANCHORS, anchors_for
from experiments.records import read_study
from experiments.report import WIDTH, duration, format_table, summarise, write_report

KEYS = {"mean", "iqm", "low", "high", "n"}


def cell(mean, low=None, high=None, n=1):
    return {"mean": mean, "iqm": mean, "low": low, "high": high, "n": n}


def summary(conditions, gains):
    head = {"environment_steps": 24000, "wall_seconds": 492.0, "command": "expedition study quickstart"}
    return head | {"version": "0.1.0", "conditions": conditions, "contributions": gains}


def test_summary_has_the_promised_form(tmp_path, write_study):
    study = read_study(write_study(tmp_path, seeds=(0, 1, 2)))
    found = summarise(study)
    assert set(found) == {
        "conditions", "contributions", "environment_steps", "wall_seconds", "command", "version"
    }  # fmt: skip
    assert list(found["conditions"]) == ["scratch", "policy", "model", "model+policy"]
    names = ["return", "crafter_score", "achievements", "open_loop_error_start", "open_loop_error_end"]
    for row in (*found["conditions"].values(), *found["contributions"].values()):
        assert list(row) == names
        assert all(set(value) == KEYS and value["n"] == 3 for value in row.values())
    assert found["environment_steps"] == 3 * (8000 + 4 * 4000)
    assert found["wall_seconds"] == pytest.approx(15 * 61.0)
    assert summarise(study, wall_seconds=9.0)["wall_seconds"] == 9.0


def test_contributions_are_differences_of_the_conditions(tmp_path, write_study):
    found = summarise(read_study(write_study(tmp_path, seeds=(0, 1))))
    mean = {name: row["return"]["mean"] for name, row in found["conditions"].items()}
    gain = {name: row["return"]["mean"] for name, row in found["contributions"].items()}
    assert gain["model alone"] == pytest.approx(mean["model"] - mean["scratch"])
    assert gain["interaction"] == pytest.approx(
        mean["model+policy"] - mean["model"] - mean["policy"] + mean["scratch"]
    )


def test_files_are_written_whole_and_agree(tmp_path, write_study):
    study = read_study(write_study(tmp_path))
    table = write_report(study, wall_seconds=100)
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == table
    assert json.loads((tmp_path / "summary.json").read_text()) == summarise(study, 100)
    assert not list(tmp_path.glob("*.tmp"))


def test_one_seed_prints_no_interval_and_says_so():
    gains = {"model alone": {"return": cell(0.8), "open_loop_error_start": cell(-0.048)}}
    conditions = {
        "scratch": {"return": cell(2.1), "open_loop_error_start": cell(0.06)},
        "model": {"return": cell(2.9), "open_loop_error_start": cell(0.012)},
    }
    lines = format_table(summary(conditions, gains)).splitlines()
    assert lines[:2] == [
        "expedition study quickstart",
        "expedition 0.1.0; 24,000 environment steps in 8 min 12 s",
    ]
    assert lines[3:9] == [
        "After fine-tuning, for each condition:",
        "condition     return ↑  error, start ↓  seeds",
        "           per episode      MSE x 1000      n",
        "---------------------------------------------",
        "scratch           2.10            60.0      1",
        "model             2.90            12.0      1",
    ]
    assert "model alone         +0.80           -48.0      1" in lines
    assert "One seed: no interval can be given; run with --seeds 3 or more to get one." in lines
    assert "[" not in "".join(lines[4:9])


def test_several_seeds_print_intervals():
    conditions = {"scratch": {"return": cell(12.25, 11.0, 13.5, n=3)}, "model": {"return": cell(14.0, n=1)}}
    text = format_table(summary(conditions, {}))
    assert "scratch    12.2 [11.0, 13.5]" in text or "scratch    12.3 [11.0, 13.5]" in text
    assert "95 % interval of the mean over seeds (Student's t)" in text
    assert "A value without brackets rests on one seed" in text
    assert "One seed:" not in text
    assert "PUBLISHED" not in text


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_table_fits_and_marks_what_is_published(tmp_path, seeds, write_study):
    study = read_study(write_study(tmp_path, seeds=seeds))
    text = format_table(summarise(study), ["Run x is running: not in this report."])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "PUBLISHED by others" in text
    assert "isn't comparable" in text
    assert "Run x is running" in text
    rows = [line for line in text.splitlines() if line.startswith("Achievement Distillation")]
    assert "21.8" in rows[0]
    assert "2307.03486" in rows[0]


def test_other_environments_get_neither_scores_nor_crafter_anchors(tmp_path, write_study):
    study = read_study(write_study(tmp_path, environment="CartPole-v1", suite=False))
    found = summarise(study)
    assert set(found["conditions"]["scratch"]) == {"return", "open_loop_error_start", "open_loop_error_end"}
    assert "PUBLISHED" not in format_table(found)
    assert anchors_for("CartPole-v1") == ()
    assert anchors_for("crafter/reward") == CRAFTER_ANCHORS


def test_a_missing_condition_leaves_its_contributions_out(tmp_path, write_study):
    study = read_study(write_study(tmp_path, conditions=("scratch", "model")))
    assert list(summarise(study)["contributions"]) == ["model alone"]


def test_nothing_finished_gets_one_sentence(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=())
    with pytest.raises(UserError, match="No fine-tuning run of"):
        summarise(read_study(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file errors")
def test_a_folder_that_cannot_be_written_gets_one_sentence(tmp_path, write_study):
    study = read_study(write_study(tmp_path))
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(UserError, match="Could not write"):
        write_report(study)
    assert not list(tmp_path.glob(".*.tmp"))


def test_durations_read_well():
    assert [duration(s) for s in (9.4, 492, 7290)] == ["9 s", "8 min 12 s", "2 h 1 min"]


def test_anchors_go_from_worst_to_best():
    scores = [anchor.score for anchor in CRAFTER_ANCHORS]
    assert scores == sorted(scores)
