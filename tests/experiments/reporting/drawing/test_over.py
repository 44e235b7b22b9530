"""Gains over something that was varied: numbers by hand, their rows, and the panel."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.reporting.drawing.foresight import compared
from experiments.reporting.drawing.over import curve_lines, draw_curve, has_curve
from experiments.reporting.page.figures import figures
from experiments.reporting.page.tables import tables
from experiments.reporting.records import read_study, told_apart
from experiments.reporting.report import curve_rows, format_table
from experiments.reporting.summary import contributions_csv, summarise
from transfer.contributions import Factorial

PARTS = ("model", "policy", "model+policy")
GAINS = {1: (1.0, 2.0, 3.0), 3: (2.0, 2.0, 5.0), 0: (4.0, 1.0, 9.0)}
"""What each part is worth by hand, at 1 level, at 3 and at all."""


@pytest.fixture
def varied(tmp_path, write_study):
    """Three seeds, of which scratch's return is the number."""
    folder = write_study(tmp_path, (0, 1, 2), ("scratch", "model"), suite=False, films=False)
    head = json.loads((folder / "study.json").read_text())
    points = {}
    for at, gains in GAINS.items():
        cells = {"": "scratch"}
        for part, gain in zip(PARTS, gains, strict=True):
            cells[part] = f"{part} at {at}"
            for seed in (0, 1, 2):
                run = f"{part} at {at}-s{seed}"
                shutil.copytree(folder / f"scratch-s{seed}", folder / run)
                told(folder / run, seed + gain)
                entry = {"phase": "finetune", "condition": cells[part], "seed": seed}
                head["runs"].append({"id": run, **entry})
        points[str(at)] = {"components": ["model", "policy"], "cells": cells}
    for seed in (0, 1, 2):
        told(folder / f"scratch-s{seed}", float(seed))
    head["curve"] = {"over": "levels explored", "points": points}
    sides = {"better": "model+policy at 3", "baseline": "model at 3"}
    less = ["model+policy at 1", "model at 1"]
    head["contrasts"] = [{"label": "more", **sides, "less": less}, {"label": "plain", **sides}]
    head["question"] = {**sides, "metric": "return"}
    (folder / "study.json").write_text(json.dumps(head))
    return read_study(folder)


def told(folder, value):
    result = json.loads((folder / "result.json").read_text())
    result["metrics"] = {"return": value}
    (folder / "result.json").write_text(json.dumps(result))


def test_of_a_curve_s_conditions_the_factorial_s_are_drawn(varied):
    cells = {frozenset(): "scratch", frozenset({"model"}): "model at 3"}
    study = dataclasses.replace(varied, factorial=Factorial(("model", "policy"), cells))
    assert set(study.drawn) == {"scratch", "model at 3", "model"}  # `model` is no cell of the curve
    assert set(dataclasses.replace(study, curve=None).drawn) == set(study.conditions)


def test_the_models_of_a_curve_s_ends_are_compared(varied):
    assert compared(varied) == ["scratch", "model"]  # a condition that is called so goes first
    runs = tuple(run for run in varied.runs if run.condition != "model")
    assert compared(dataclasses.replace(varied, runs=runs)) == ["scratch", "model at 1", "model at 0"]


def test_a_model_is_compared_whatever_its_condition_is_called(varied):
    runs = tuple(
        dataclasses.replace(run, condition="of words", plan="model+policy,actor=freeze:9")
        if run.condition == "model"
        else run
        for run in varied.runs
    )
    study = dataclasses.replace(varied, runs=runs, curve=None)
    assert compared(study) == ["scratch", "of words"]


def test_each_value_has_its_effects(varied):
    points = summarise(varied)["curve"]["points"]
    for at, (model, policy, both) in GAINS.items():
        effects = {name: row["return"]["mean"] for name, row in points[str(at)].items()}
        assert effects["model alone"] == pytest.approx(model)
        assert effects["policy alone"] == pytest.approx(policy)
        assert effects["total gain"] == pytest.approx(both)
        assert effects["model: Shapley value"] == pytest.approx((model + both - policy) / 2)


def test_an_interaction_of_conditions(varied):
    found = summarise(varied)["contrasts"]
    assert found["plain"]["return"]["mean"] == pytest.approx(3)
    assert found["more"]["return"]["mean"] == pytest.approx((5 - 2) - (3 - 1))
    assert found["more"]["return"]["n"] == 3
    assert ("probability" in found["plain"]["return"], "probability" in found["more"]["return"]) == (
        True,
        False,
    )


def test_rows_of_the_table_and_of_the_csv(varied):
    summary = summarise(varied)
    names = ["total gain", "model alone", "policy alone"]
    assert list(curve_rows(summary["curve"])) == [
        f"{name}: {at}" for name in names for at in ("1", "3", "all")
    ]
    assert "What was carried was worth, over levels explored:" in format_table(summary)
    (table,) = (t for t in tables(summary) if "levels explored" in t.title)
    assert len(table.rows) == 9
    written = csv.DictReader(io.StringIO(contributions_csv(varied, summary)))
    rows = {row["name"]: row for row in written if row["measure"] == "return"}
    row = rows["model given policy, levels explored: all"]
    assert (row["effect"], row["component"], float(row["mean"]), row["n"]) == ("last", "model", 8.0, "3")


def test_lines_are_by_seed_and_all_levels_lie_beyond_the_others(varied):
    places, gains = curve_lines(varied)["model alone"]
    assert places.tolist() == [1, 3, 9]
    np.testing.assert_allclose(gains, [[1, 2, 4]] * 3)


def test_the_panel_names_its_ticks_and_lines(varied):
    assert has_curve(varied)
    figure = Figure()
    draw_curve(figure.subfigures(1, 1), varied)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "3", "all"]
    assert {"total gain", "model alone", "policy alone"} <= {text.get_text() for text in axes.texts}
    assert axes.get_xlabel() == "levels explored"
    (found,) = (f for f in figures(varied, summarise(varied), []) if f.name == "curve")
    assert "total gain at all 9" in found.told


def test_nothing_varied_no_panel(tmp_path, write_study):
    study = read_study(write_study(tmp_path))
    assert not has_curve(study)
    assert summarise(study)["curve"] is None


def test_environments_are_told_apart_by_what_they_do_not_share():
    ids = ["m,size=7,num_levels=1", "m,size=7,num_levels=3"]
    assert told_apart(ids) == {ids[0]: "num_levels=1", ids[1]: "num_levels=3"}
    assert told_apart(["m,size=7", "m,size=7"]) == {"m,size=7": ""}
