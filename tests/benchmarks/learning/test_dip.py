"""How a dip is read from training episodes."""

import json

import numpy as np
import pytest

from benchmarks.learning.dip import curve, dip, mean_and_error, table


def test_a_curve_has_the_mean_of_each_window(tmp_path):
    ended = [(10, 1.0), (20, 0.0), (60, 0.25), (100, 0.5)]
    text = "\n".join(json.dumps({"env_step": step, "return": value}) for step, value in ended)
    (tmp_path / "episodes.jsonl").write_text(text + "\n")
    np.testing.assert_equal(curve(tmp_path, 100, 4), [0.5, np.nan, 0.25, 0.5])


def test_a_dip_is_below_the_first_window_in_which_an_episode_ended():
    curves = np.array([[np.nan, 0.4, 0.15, 0.5], [0.2, np.nan, 0.3, 0.4], [np.nan] * 4])
    np.testing.assert_allclose(dip(curves), [0.25, 0.0, np.nan])


def test_means_over_seeds_with_their_error():
    assert mean_and_error(np.array([1.0, 3.0, np.nan])) == (2.0, pytest.approx(1.0))
    assert mean_and_error(np.array([2.0]))[0] == 2.0
    assert np.isnan(mean_and_error(np.array([2.0]))[1])


def test_the_table_has_a_line_for_each_window_and_the_dip():
    plan = {"curve": [(0.5, 0.1), (np.nan, np.nan)], "dip": (0.25, 0.125), "return": (1.0, 0.0)}
    lines = table({"steps": 100, "plans": {"model+policy": plan}}, 2).splitlines()
    told = [["up", "to", "step", "model+policy"], ["50", "0.500", "+-", "0.100"], ["100", "-"]]
    assert [line.split() for line in lines[:3]] == told
    assert lines[3].split() == ["dip", "0.250", "+-", "0.125"]
