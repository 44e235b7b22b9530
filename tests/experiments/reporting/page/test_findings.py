"""Findings: worked verdicts, and several studies side by side."""

import csv
import json

import pytest

from expedition import UserError
from experiments.reporting.metrics import METRICS
from experiments.reporting.page.compare import compare, told_comparison, write_comparison
from experiments.reporting.page.findings import Finding, findings, signed
from experiments.reporting.records import read_study
from experiments.reporting.summary import summarise


@pytest.mark.parametrize(
    ("measure", "low", "mean", "high", "verdict"),
    [
        ("return", 0.1, 0.2, 0.3, "an effect"),
        ("return", -0.3, -0.2, -0.1, "a loss"),
        ("open_loop_error_end", -0.3, -0.2, -0.1, "an effect"),  # lower is better
        ("open_loop_error_end", 0.1, 0.2, 0.3, "a loss"),
        ("return", -0.1, 0.1, 0.3, "not decided"),
        ("return", 0.0, 0.1, 0.2, "not decided"),
        ("return", 0.25, 0.25, 0.25, "every seed gave the same, so not decided"),
        ("return", None, 0.2, None, "too few seeds"),
    ],
)
def test_verdicts(measure, low, mean, high, verdict):
    assert Finding("a over b", METRICS[measure], mean, low, high, 5, 2).verdict == verdict


def test_it_is_told_in_the_shown_unit():
    found = Finding("the model", METRICS["open_loop_error_end"], -0.0123, -0.02, -0.004, 5, 1)
    assert found.sentence == "the model: -12.3 [-20.0, -4.0] error, end MSE x 1000, 5 seeds: an effect."
    assert Finding("x", METRICS["return"], 0.5, None, None, 1, 2).sentence == (
        "x: +0.50 return an episode, one seed: too few seeds."
    )
    assert signed(-0.001, 2) == "+0.00"


def rewritten(folder, **changes):
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_each_contrast_stands_in_the_measure_that_counts(write_study, tmp_path):
    folder = rewritten(
        write_study(tmp_path, seeds=(0, 1, 2)),
        contrasts=[{"label": "the model", "better": "model", "baseline": "scratch"}],
        question={"better": "model", "baseline": "scratch", "metric": "open_loop_error_start"},
    )
    study = read_study(folder)
    summary = summarise(study)
    (found,) = findings(study, summary)
    assert (found.label, found.metric.name, found.n) == ("the model", "open_loop_error_start", 3)
    assert found.mean == summary["answer"]["mean"]
    assert (found.low, found.high) == (summary["answer"]["low"], summary["answer"]["high"])
    assert found.verdict == "an effect"


@pytest.fixture
def two(write_study, tmp_path):
    one = write_study(tmp_path / "one", seeds=(0, 1, 2), films=False)
    other = write_study(tmp_path / "other", seeds=(0,), conditions=("scratch", "model"), films=False)
    shared = {"label": "the model over nothing, as both studies ask it", "better": "model"}
    shared["baseline"] = "scratch"
    own = {"label": "policy", "better": "policy", "baseline": "scratch"}
    rewritten(one, name="crafter", contrasts=[shared, own])
    rewritten(other, contrasts=[shared])
    return one, other


def test_studies_stand_side_by_side_though_they_ask_differently(two, tmp_path):
    found = compare(two)
    assert list(found.answers) == ["crafter", "quickstart"]
    assert [[f is None for f in row] for row in found.rows.values()] == [[False, False], [False, True]]
    write_comparison(found, tmp_path / "out")
    with (tmp_path / "out" / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["contrast"][:6], row["study"], row["seeds"]) for row in rows] == [
        ("the mo", "crafter", "3"),
        ("the mo", "quickstart", "1"),
        ("policy", "crafter", "3"),
    ]
    assert rows[1]["low"] == rows[1]["high"] == ""
    page = (tmp_path / "out" / "compare.html").read_text()
    for answer in found.answers.values():
        assert answer in page
    assert page.count('class="verdict') == 3
    assert "src=" not in page
    assert "href=" not in page


def test_plain_text_keeps_to_its_width(two):
    told = told_comparison(compare(two))
    assert all(len(line) <= 100 for line in told.splitlines())
    assert "the model over nothing, as both..." in told
    assert "\npolicy " in told


def test_studies_of_one_name_are_told_apart(two):
    for folder in two:
        rewritten(folder, name="same")
    assert list(compare(two).answers) == ["same (one)", "same (other)"]


def test_less_than_two_studies_are_refused(two):
    for folders in ([], [two[0]], [two[0], two[0]]):
        with pytest.raises(UserError, match="needs two studies or more"):
            compare(folders)


def test_the_command_line(two, cli, refused, tmp_path):
    code, out, _ = cli("compare", *two, "--out", tmp_path / "out")
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "out")
    assert (tmp_path / "out" / "compare.html").is_file()
    assert "two studies or more" in refused("compare", two[0])
    assert "There is no study" in refused("compare", two[0], tmp_path / "none")
