"""What the figure's panels share."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.drawing import band, colour_of, spread
from experiments.records import read_study


def test_labels_are_pushed_apart_in_order():
    placed = spread({"b": 0.5, "a": 0.49, "c": 0.51, "far": 0.9}, gap=0.1)
    assert list(placed) == ["a", "b", "c", "far"]
    assert np.diff(list(placed.values())).min() >= 0.099
    assert placed["far"] == 0.9
    assert spread({"alone": 0.2}, 0.1) == {"alone": 0.2}
    assert spread({}, 0.1) == {}


def test_colours_are_distinct(tmp_path, write_study):
    study = read_study(write_study(tmp_path, films=False))
    assert len({colour_of(name, study) for name in study.conditions}) == 4


def test_a_band_is_students_interval_and_two_seeds_have_none():
    # At x = 0 seeds 1, 2, 3: mean 2, half width 4.302653 / sqrt(3).
    axes = Figure().subplots()
    band(axes, np.array([0.0, 1.0]), np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), "red")
    (filled,) = axes.collections
    heights = filled.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    few = Figure().subplots()
    band(few, np.array([0.0, 1.0]), np.array([[1.0, 0.0], [2.0, 0.0]]), "red")
    assert not few.collections
    assert mpl.colors.same_color(few.lines[0].get_color(), "red")
