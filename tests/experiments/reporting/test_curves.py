"""Measures of learning curves, worked by hand."""

import numpy as np
import pytest

from experiments.reporting.curves import area, first_passage, smooth, smoothed


def test_area_of_a_staircase_by_hand():
    # 2 over 10 steps, 5 over 30, then 5 kept to the end, 20 more: (20 + 150 + 100) / 60.
    assert area(np.array([10.0, 40.0]), np.array([2.0, 5.0]), 60.0) == pytest.approx(4.5)
    # Two episodes that end together count with their mean.
    assert area(np.array([10.0, 10.0, 20.0]), np.array([1.0, 3.0, 6.0]), 20.0) == pytest.approx(4.0)
    # An episode that ended with the last step, or a little after it, leaves nothing to keep.
    assert area(np.array([5.0]), np.array([7.0]), 4.0) == 7.0


def test_a_constant_curve_has_its_level_as_area():
    steps = np.sort(np.random.default_rng(0).uniform(1, 999, 40))
    assert area(steps, np.full(40, 3.5), 1000.0) == pytest.approx(3.5)


def test_the_passage_of_a_step():
    # 0 up to step 500, 10 after it: the smoothed curve passes 5 half way, symmetric about 500.
    steps = np.arange(5.0, 1000.0, 10.0)
    values = np.where(steps < 500, 0.0, 10.0)
    curve = smoothed(steps, values, 1000.0)
    assert first_passage(curve, 5.0) == pytest.approx(500, abs=3)
    assert first_passage(curve, -1.0) == 5.0
    assert first_passage(curve, 11.0) is None
    assert (curve[0][-1], curve[1][-1]) == pytest.approx((1000.0, 10.0), abs=1e-3)


def test_a_curve_reaches_its_own_final_level():
    rng = np.random.default_rng(1)
    for _ in range(50):
        steps, values = np.sort(rng.uniform(1, 900, 12)), rng.normal(size=12)
        curve = smoothed(steps, values, 1000.0)
        assert 0 < first_passage(curve, curve[1][-1]) <= 1000.0


def test_smoothing_keeps_constants_and_averages_neighbours():
    steps, grid = np.arange(0.0, 100.0), np.linspace(0, 99, 7)
    assert smooth(steps, np.full(100, 3.0), grid) == pytest.approx(np.full(7, 3.0))
    assert smooth(steps, np.tile([0.0, 2.0], 50), np.array([50.0])) == pytest.approx([1.0], abs=1e-3)
    # A grid point far from any episode takes the nearest one's value.
    far = smooth(np.array([0.0, 1.0, 1000.0]), np.array([5.0, 5.0, 9.0]), np.array([400.0]), width=0.001)
    assert far == pytest.approx([5.0])
