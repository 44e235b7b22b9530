"""The summary and its table, on made-up studies."""

import csv
import json
import shutil
import sys

import pytest

from expedition.errors import UserError
from experiments.reporting.anchors import CRAFTER_ANCHORS, anchors_for
from experiments.reporting.records import read_study
from experiments.reporting.report import WIDTH, duration, format_table, shown_effects, write_report
from experiments.reporting.summary import COLUMNS, csv_rows, summarise

KEYS = {"mean", "iqm", "low", "high", "iqm_low", "iqm_high", "n"}


def cell(mean, low=None, high=None, n=1):
    return {"mean": mean, "iqm": mean, "low": low, "high": high, "iqm_low": low, "iqm_high": high, "n": n}


def summary(conditions, gains):
    head = {"environment_steps": 24000, "wall_seconds": 492.0, "command": "expedition study quickstart"}
    empty = {"contrasts": {}, "contrast_pairs": {}, "pretraining": {}, "pretraining_contrasts": {}}
    empty |= {
        "tasks": {},
        "planning": {},
        "notes": [],
        "observed": [],
        "evaluation_seconds": 0.0,
        "curve": None,
    }
    head |= {"version": "0.1.0", "answer": {"sentence": "Carrying it was worth it."}}
    return head | empty | {"conditions": conditions, "contributions": gains}


def test_summary_has_the_promised_form(tmp_path, write_study):
    study = read_study(write_study(tmp_path, seeds=(0, 1, 2)))
    found = summarise(study)
    assert set(found) == {
        "conditions", "contributions", "contrasts", "pretraining", "pretraining_contrasts", "profiles",
        "factorial", "contrast_pairs", "notes", "environment_steps", "wall_seconds", "command", "version",
        "answer", "tasks", "observed", "evaluation_seconds", "planning", "curve",
    }  # fmt: skip
    assert list(found["conditions"]) == ["scratch", "model", "policy", "model+policy"]
    names = [
        "return",
        "auc",
        "steps_saved",
        "crafter_score",
        "achievements",
        "open_loop_error_start",
        "open_loop_error_end",
    ]
    for row in (*found["conditions"].values(), *found["contributions"].values()):
        assert list(row) == names
        assert all(set(value) == KEYS and value["n"] == 3 for value in row.values())
    odds = {"probability", "probability_low", "probability_high"}
    assert all(set(value) == KEYS | odds for row in found["contrasts"].values() for value in row.values())
    assert found["factorial"]["cells"] == {
        "": "scratch", "model": "model", "policy": "policy", "model+policy": "model+policy"
    }  # fmt: skip
    assert found["contrast_pairs"]["model over scratch"] == ["model", "scratch"]
    assert len(found["profiles"]["return"]["conditions"]["model"]) == 41
    assert found["environment_steps"] == 3 * (8000 + 4 * 4000)
    assert found["wall_seconds"] == pytest.approx(15 * 61.0)
    assert summarise(study, wall_seconds=9.0)["wall_seconds"] == 9.0


def test_contributions_are_differences_of_the_conditions(tmp_path, write_study):
    found = summarise(read_study(write_study(tmp_path, seeds=(0, 1))))
    mean = {name: row["return"]["mean"] for name, row in found["conditions"].items()}
    gain = {name: row["return"]["mean"] for name, row in found["contributions"].items()}
    assert gain["model alone"] == pytest.approx(mean["model"] - mean["scratch"])
    assert gain["model x policy"] == pytest.approx(
        (mean["model+policy"] - mean["model"] - mean["policy"] + mean["scratch"]) / 2
    )
    assert gain["total gain"] == pytest.approx(mean["model+policy"] - mean["scratch"])
    assert gain["total gain"] == pytest.approx(gain["model: Shapley value"] + gain["policy: Shapley value"])


def test_contrasts_are_paired_and_errors_improve_downwards(tmp_path, write_study):
    found = summarise(read_study(write_study(tmp_path, seeds=(0, 1, 2, 3, 4))))
    mean = {name: row["return"]["mean"] for name, row in found["conditions"].items()}
    contrast = found["contrasts"]["model over scratch"]
    assert contrast["return"]["mean"] == pytest.approx(mean["model"] - mean["scratch"])
    assert contrast["open_loop_error_start"]["mean"] < 0
    assert contrast["open_loop_error_start"]["probability"] == 1.0
    assert contrast["open_loop_error_start"]["probability_low"] > 0.5


def test_profiles_fall_from_all_runs_to_none(tmp_path, write_study):
    found = summarise(read_study(write_study(tmp_path, seeds=(0, 1, 2))))["profiles"]["return"]
    for shares in found["conditions"].values():
        values = [share["value"] for share in shares]
        assert values == sorted(values, reverse=True)
        assert values[-1] == 0.0
    assert found["thresholds"][0] == min(
        share for by_seed in read_study(tmp_path).values("return").values() for share in by_seed.values()
    )


def read_csv(folder):
    with (folder / "contributions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_holds_the_summary_line_by_line(tmp_path, write_study):
    study = read_study(write_study(tmp_path, seeds=(0, 1, 2)))
    write_report(study)
    found, rows = summarise(study), read_csv(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        table = found["contrasts" if row["effect"] == "contrast" else "contributions"]
        cell = table[row["name"]][row["measure"]]
        assert {key: float(row[key]) for key in KEYS} == pytest.approx({key: cell[key] for key in KEYS})
        assert row["better"] == ("lower" if "error" in row["measure"] else "higher")
        assert row["note"] == ""
    assert len(rows) == len({(row["name"], row["measure"]) for row in rows}) == 7 * (10 + 3)
    shapley = [row for row in rows if row["effect"] == "shapley" and row["measure"] == "auc"]
    assert [row["component"] for row in shapley] == ["model", "policy"]


def test_the_csv_has_contrasts_of_phase_1_too(tmp_path, write_study):
    study = read_study(write_study(tmp_path, seeds=(0, 1, 2)))
    summary = summarise(study)
    cell = next(iter(summary["contrasts"].values()))["return"]
    early = {"pretraining_contrasts": {"exploring": {"open_loop_error_end": cell}}}
    *rows, row = csv_rows(study, summary | early)
    assert rows == list(csv_rows(study, summary))
    assert (row["effect"], row["name"], row["measure"]) == (
        "contrast of phase 1",
        "exploring",
        "open_loop_error_end",
    )
    assert row["better"] == "lower"
    assert row["mean"] == cell["mean"]


def test_the_csv_says_what_is_missing_and_what_has_too_few_seeds(tmp_path, write_study):
    write_report(read_study(write_study(tmp_path, seeds=(0, 1), conditions=("scratch", "model"))))
    rows = {row["name"]: row for row in read_csv(tmp_path) if row["measure"] == "return"}
    assert rows["model alone"]["note"] == "too few seeds for an interval"
    assert rows["model alone"]["low"] == ""
    assert rows["total gain"]["note"] == "missing: model+policy"
    assert (rows["total gain"]["mean"], rows["total gain"]["n"]) == ("", "0")


def test_files_are_written_whole_and_agree(tmp_path, write_study):
    study = read_study(write_study(tmp_path))
    written = write_report(study, wall_seconds=100)
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == format_table(written)
    assert json.loads((tmp_path / "summary.json").read_text()) == written == summarise(study, 100)
    assert not list(tmp_path.glob("*.tmp"))


def test_one_seed_prints_no_interval_and_says_so():
    gains = {"model alone": {"return": cell(0.8), "open_loop_error_start": cell(-0.048)}}
    conditions = {
        "scratch": {"return": cell(2.1), "open_loop_error_start": cell(0.06)},
        "model": {"return": cell(2.9), "open_loop_error_start": cell(0.012)},
    }
    lines = format_table(summary(conditions, gains)).splitlines()
    assert lines[:4] == [
        "Carrying it was worth it.",
        "",
        "expedition study quickstart",
        "expedition 0.1.0; 24,000 environment steps in 8 min 12 s",
    ]
    assert lines[5:11] == [
        "After fine-tuning, for each condition:",
        "condition     return ↑  error, start ↓  seeds",
        "           per episode      MSE x 1000      n",
        "---------------------------------------------",
        "scratch           2.10            60.0      1",
        "model             2.90            12.0      1",
    ]
    assert "model alone         +0.80           -48.0      1" in lines
    assert "One seed: no interval can be given; run with --seeds 3 or more to get one." in lines
    assert "[" not in "".join(lines[6:11])


def test_the_cost_of_evaluations_during_training_is_told():
    costly = summary({"scratch": {"return": cell(2.1)}}, {}) | {"evaluation_seconds": 75.0}
    assert "Evaluations during training: 1 min 15 s of the runs' time" in format_table(costly).splitlines()


def test_several_seeds_print_intervals():
    conditions = {"scratch": {"return": cell(12.25, 11.0, 13.5, n=3)}, "model": {"return": cell(14.0, n=1)}}
    text = format_table(summary(conditions, {}))
    assert "scratch    12.2 [11.0, 13.5]" in text or "scratch    12.3 [11.0, 13.5]" in text
    assert "95 % interval of the mean over seeds (Student's t)" in text
    assert "A value without brackets rests on fewer than 3 seeds" in text
    assert "no interval can be given" not in text
    assert "PUBLISHED" not in text


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_table_fits_and_marks_what_is_published(tmp_path, seeds, write_study):
    study = read_study(write_study(tmp_path, seeds=seeds))
    text = format_table(summarise(study) | {"notes": ["Run x is running: not in this report.", "word " * 40]})
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
    assert set(found["conditions"]["scratch"]) == {
        "return", "auc", "steps_saved", "open_loop_error_start", "open_loop_error_end"
    }  # fmt: skip
    assert "PUBLISHED" not in format_table(found)
    assert anchors_for("CartPole-v1") == ()
    assert anchors_for("crafter/reward") == CRAFTER_ANCHORS


def test_a_missing_condition_leaves_its_contributions_out(tmp_path, write_study):
    study = read_study(write_study(tmp_path, conditions=("scratch", "model")))
    found = summarise(study)
    assert list(found["contributions"]) == ["model alone"]
    (note,) = found["notes"]
    assert note.startswith("No finished run carries model+policy or policy, so not computed: total gain, ")
    assert "policy given model." in note


def test_two_seeds_say_that_they_are_too_few(tmp_path, write_study):
    text = format_table(summarise(read_study(write_study(tmp_path, seeds=(0, 1)))))
    assert "2 seeds: no interval can be given; run with --seeds 3 or more to get one." in text
    assert "[" not in text.replace("[0, 1]", "")
    assert "Probability that" not in text


def test_five_seeds_print_probabilities(tmp_path, write_study):
    text = format_table(summarise(read_study(write_study(tmp_path, seeds=(0, 1, 2, 3, 4)))))
    assert "Probability that a run of the first is better than a run of the second:" in text
    assert "1.00 [0.64, 1.00]" in text  # Newcombe's interval of five against five, all better
    assert max(map(len, text.splitlines())) <= WIDTH


def test_main_effects_are_printed_where_they_are_not_shapley_values():
    two = dict.fromkeys(["a: Shapley value", "b: Shapley value", "a: main effect", "b: main effect"], {})
    assert list(shown_effects(two)) == ["a: Shapley value", "b: Shapley value"]
    three = dict.fromkeys([*two, "c: Shapley value", "c: main effect"], {})
    assert shown_effects(three) == three


def test_contrasts_without_a_number_are_told(tmp_path, write_study):
    folder = write_study(tmp_path)
    head = json.loads((folder / "study.json").read_text())
    head["contrasts"] = [
        {"label": "early", "better": "pretrain:model", "baseline": "pretrain:scratch"},
        {"label": "late", "better": "model", "baseline": "policy"},
    ]
    for run in head["runs"]:
        if run["condition"] not in (None, "scratch"):
            run["needs"] = "pretrain-s0"
    (folder / "study.json").write_text(json.dumps(head))
    reason = "'scratch' carries nothing, so there is no phase 1 of it"
    early = f"Contrast 'early' is left out: {reason}."
    assert [n for n in summarise(read_study(folder))["notes"] if "Contrast" in n] == [early]
    shutil.rmtree(folder / "policy-s0")
    notes = [n for n in summarise(read_study(folder))["notes"] if "Contrast" in n]
    assert notes == [early, "Contrast 'late' is left out: no seed has finished runs of both sides."]


def test_contrasts_of_the_study_and_phase_1_get_tables_of_their_own(tmp_path, write_study):
    folder = write_study(tmp_path, films=False)
    head = json.loads((folder / "study.json").read_text())
    head["contrasts"] = [{"label": "over the policy", "better": "model", "baseline": "policy"}]
    head["runs"][0] |= {"intrinsic": "disagreement", "kind": "dreamer"}
    (folder / "study.json").write_text(json.dumps(head))
    path = folder / "pretrain-s0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": {"coverage": 123.0}}))
    text = format_table(summarise(read_study(folder)))
    assert "Contrasts that the study asks for" in text
    assert "At the end of phase 1" in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert rows["disagreement, dreamer"].split()[-2:] == ["123", "1"]
    assert "over the policy" in rows


def test_runs_that_never_reach_scratch_are_told(tmp_path, write_study):
    folder = write_study(tmp_path, conditions=("scratch", "model"), films=False)
    for name, value in (("scratch", 5.0), ("model", 1.0)):
        (folder / f"{name}-s0" / "episodes.jsonl").write_text(
            "".join(json.dumps({"env_step": s, "return": value}) + "\n" for s in range(100, 4001, 100))
        )
    notes = summarise(read_study(folder))["notes"]
    assert any("upper bounds: model 1 of 1." in note for note in notes)


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
