"""What the figure's panels share."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.reporting.drawing.marks import band, colour_of, spread
from experiments.reporting.records import read_study


def test_labels_are_pushed_apart_in_order():
    placed = spread({"b": 0.5, "a": 0.49, "c": 0.51, "far": 0.9}, gap=0.1)
    assert list(placed) == ["a", "b", "c", "far"]
    assert np.diff(list(placed.values())).min() >= 0.099
    assert placed["far"] == 0.9
    assert spread({"alone": 0.2}, 0.1) == {"alone": 0.2}
    assert spread({}, 0.1) == {}


def test_labels_stay_beside_the_axes():
    low = spread({str(number): 0.001 * number for number in range(9)}, gap=0.1)
    assert min(low.values()) >= 0
    assert max(low.values()) <= 1
    assert np.diff(list(low.values())).min() >= 0.098
    full = spread({str(number): 0.7 for number in range(11)}, gap=0.2)  # no room for such gaps
    assert list(full.values()) == pytest.approx(np.linspace(0, 1, 11), abs=0.02)


def test_colours_are_distinct(tmp_path, write_study):
    study = read_study(write_study(tmp_path, films=False))
    assert len({colour_of(name, study) for name in study.conditions}) == 4


def lab(colour):
    """CIELAB of a colour, white D65 (CIE 15:2004; matrix of IEC 61966-2-1)."""
    c = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    rows = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
    xyz = np.array(rows) @ linear / (0.95047, 1.0, 1.08883)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("count", "apart"), [(16, 20.0), (40, 0.5)])
def test_many_conditions_have_colours_that_can_be_told_apart(count, apart):
    names = ["scratch", "policy", "model", "model+policy", *map(str, range(count - 4))]
    study = SimpleNamespace(conditions=names)
    points = np.array([lab(colour_of(name, study)) for name in names])
    distances = np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(count, 1)]
    assert distances.min() > apart
    assert points[:, 0].max() < 65  # dark enough for text on white


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
