"""The answer in one sentence, and what the terminal says at the end."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.reporting.answer import answer, in_lines
from experiments.reporting.closing import LINES, closing
from experiments.reporting.records import read_study
from experiments.reporting.report import WIDTH
from experiments.reporting.summary import summarise
from transfer.statistics import estimate


def set_returns(folder, condition, values):
    for seed, value in enumerate(values):
        path = folder / f"{condition}-s{seed}" / "result.json"
        result = json.loads(path.read_text())
        result["metrics"]["return"] = value
        path.write_text(json.dumps(result))


def study_of(write_study, folder, scratch, better, **head):
    """A made-up study whose final returns are given, by seed."""
    folder = write_study(folder, range(len(scratch)), ("scratch", "model+policy"), films=False)
    set_returns(folder, "scratch", scratch)
    set_returns(folder, "model+policy", better)
    record = json.loads((folder / "study.json").read_text()) | head
    for run in record["runs"]:
        if run["condition"] == "model+policy":
            run["needs"] = f"pretrain-s{run['seed']}"
    (folder / "study.json").write_text(json.dumps(record))
    return read_study(folder)


def test_an_effect_with_its_interval(tmp_path, write_study):
    found = answer(study_of(write_study, tmp_path, [0, 0, 0], [0.4, 0.5, 0.6]))
    told = estimate([0.4, 0.5, 0.6])
    assert found["sentence"] == (
        "Carrying model+policy was worth +0.50 return an episode over scratch "
        "(95 % interval 0.25 to 0.75, 3 seeds): an effect."
    )
    assert (found["contrast"], found["metric"], found["n"]) == ("model+policy over scratch", "return", 3)
    assert [found[key] for key in ("mean", "low", "high")] == pytest.approx([told.mean, told.low, told.high])


def test_a_loss_is_called_one(tmp_path, write_study):
    sentence = answer(study_of(write_study, tmp_path, [0.4, 0.5, 0.6], [0, 0, 0]))["sentence"]
    assert sentence.endswith(
        "worth -0.50 return an episode over scratch (95 % interval -0.75 to -0.25, 3 seeds): a loss."
    )


def test_what_is_not_decided_says_how_many_seeds_would(tmp_path, write_study):
    sentence = answer(study_of(write_study, tmp_path, [0, 0, 0], [0.5, -0.4, 1.4]))["sentence"]
    assert "(95 % interval -1.74 to 2.74, 3 seeds): the interval holds zero, not decided; " in sentence
    # 2.131 (the t of 15) * 0.9 / sqrt(16) = 0.4795 < 0.5 <= 0.498 + ..., by hand
    assert sentence.endswith("at the mean and variance seen some 15 seeds would decide it.")


def test_seeds_that_agree_to_the_last_digit_decide_nothing(tmp_path, write_study):
    sentence = answer(study_of(write_study, tmp_path, [0, 0.5, 1], [0.25, 0.75, 1.25]))["sentence"]
    assert "(95 % interval 0.25 to 0.25, 3 seeds): every seed gave the same, so not decided;" in sentence


@pytest.mark.parametrize(("values", "seeds"), [([0.5], "one seed"), ([0.5, 0.7], "2 seeds")])
def test_too_few_seeds_give_no_interval(tmp_path, write_study, values, seeds):
    found = answer(study_of(write_study, tmp_path, [0] * len(values), values))
    assert found["sentence"].endswith(f"over scratch ({seeds}: no interval can be given from fewer than 3).")
    assert (found["low"], found["high"]) == (None, None)


def test_a_study_may_ask_otherwise(tmp_path, write_study):
    question = {"better": "model+policy", "baseline": "scratch", "metric": "open_loop_error_start"}
    contrast = [{"label": "the model", "better": "model+policy", "baseline": "scratch"}]
    study = study_of(write_study, tmp_path, [0] * 3, [1] * 3, question=question, contrasts=contrast)
    found = answer(study)
    assert (found["contrast"], found["metric"]) == ("the model", "open_loop_error_start")
    assert found["mean"] < 0
    assert "changed 'error, start' by -" in found["sentence"]
    assert found["sentence"].endswith(": an effect.")


def test_a_study_of_one_condition_has_no_answer(tmp_path, write_study):
    found = answer(read_study(write_study(tmp_path, conditions=("scratch",), films=False)))
    assert found["sentence"].startswith("The study compares no two conditions")
    assert (found["contrast"], found["mean"], found["n"]) == (None, None, 0)


def test_a_measure_that_no_run_has(tmp_path, write_study):
    question = {"better": "model+policy", "baseline": "scratch", "metric": "success_rate"}
    study = study_of(write_study, tmp_path, [0], [1], question=question)
    both = "both model+policy and scratch"
    found = answer(study)
    assert found["sentence"] == f"No answer: no seed tells success of {both}, and all runs have finished."
    runs = [study.runs[0], dataclasses.replace(study.runs[1], finished=False), *study.runs[2:]]
    found = answer(dataclasses.replace(study, runs=runs))
    assert found["sentence"] == f"No answer yet: no seed has finished runs of {both} with success."


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_terminal_is_told_in_25_lines(tmp_path, monkeypatch, write_study, made_up, seeds):
    names = ["scratch", "model+policy", *(f"{'a condition of a long name ' * 2}{n}" for n in range(20))]
    for name in names:
        monkeypatch.setitem(made_up.returns, name, -1234.5)
        monkeypatch.setitem(made_up.errors, name, (0.05, 0.02))
    folder = write_study(tmp_path, range(seeds), names, suite=False, films=False)
    lines = closing(summarise(read_study(folder)), folder).splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines[:-1])) <= WIDTH
    assert lines[0].startswith("model+policy was worth ")
    assert any(line.startswith("... and ") for line in lines)
    assert lines[-1] == str(folder)
    assert any(line.startswith("scratch ") and ("[" in line) == (seeds >= 3) for line in lines)


def test_few_conditions_are_all_told(tmp_path, write_study):
    text = closing(summarise(read_study(write_study(tmp_path, range(3), films=False))), tmp_path)
    assert all(f"\n{name} " in text for name in ("scratch", "model", "policy", "model+policy"))
    assert "score" in text
    assert np.all([len(line) <= WIDTH for line in text.splitlines()[:-1]])


def test_a_number_stays_with_its_percent_sign():
    assert in_lines("it was worth 0.30 (95 % of all)", 21) == ["it was worth 0.30", "(95 % of all)"]
    assert in_lines("it was worth 0.3 (95 % of all)", 21) == ["it was worth 0.3", "(95 % of all)"]
