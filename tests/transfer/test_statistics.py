"""Estimates against numbers worked by hand, scipy, and a known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from transfer.statistics import Estimate, estimate, iqm, paired_contrast


def difference(a, b):
    return estimate(paired_contrast({"a": a, "b": b}, {"a": 1, "b": -1}).values())


def test_three_seeds_by_hand():
    # Mean 2, standard deviation 1, standard error 1 / sqrt(3); Student's t at 97.5 % and 2 degrees: 4.302653.
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high == pytest.approx(2.0 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.low == pytest.approx(2.0 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert (found.iqm, found.n) == (2.0, 3)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_agrees_with_scipy(confidence):
    values = np.random.default_rng(3).gamma(2.0, size=7)
    test = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    found = estimate(values, confidence)
    assert (found.low, found.high) == pytest.approx((test.low, test.high))


def test_one_seed_has_no_interval():
    assert estimate([4.0]) == Estimate(4.0, 4.0, None, None, 1)
    assert estimate([4.0]).as_dict() == {"mean": 4.0, "iqm": 4.0, "low": None, "high": None, "n": 1}


def test_equal_seeds_have_an_interval_of_no_width():
    assert estimate([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 2.0, 3)


def test_iqm_by_hand():
    assert iqm([0.0, 1.0, 3.0, 100.0]) == 2.0
    assert iqm([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 90.0]) == 2.5
    assert iqm([1.0, 2.0, 6.0]) == 3.0


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 1.0]])
def test_missing_values_are_refused(values):
    with pytest.raises(ValueError, match=r"at least one value|leave out missing seeds"):
        estimate(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        estimate([1.0, 2.0], confidence)


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_covers_the_truth(n):
    draws = np.random.default_rng(n).normal(10.0, 2.0, size=(1000, n))
    found = [estimate(seeds) for seeds in draws]
    assert 0.93 <= np.mean([e.low <= 10.0 <= e.high for e in found]) <= 0.97


@pytest.mark.parametrize("n", [3, 5])
def test_the_paired_interval_covers_the_truth_and_pairing_pays(n):
    rng = np.random.default_rng(10 + n)
    shared = rng.normal(0.0, 5.0, size=(1000, n))
    a, b = (shared + mean + rng.normal(0.0, 0.5, size=(1000, n)) for mean in (3.0, 2.0))
    found = [difference(dict(enumerate(x)), dict(enumerate(y))) for x, y in zip(a, b, strict=True)]
    assert 0.93 <= np.mean([e.low <= 1.0 <= e.high for e in found]) <= 0.97
    # The seeds' shared part, ten times the noise, is gone from the differences.
    assert np.std([e.mean for e in found]) < 1.2 * math.sqrt(2) * 0.5 / math.sqrt(n)


def test_differences_use_the_seeds_that_both_have():
    found = difference({0: 3.0, 1: 5.0, 7: 100.0}, {1: 2.0, 0: 1.0, 8: -100.0})
    assert (found.mean, found.n) == (2.5, 2)
    test = stats.ttest_rel([3.0, 5.0], [1.0, 2.0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((test.low, test.high))
    with pytest.raises(ValueError, match="at least one value"):
        difference({0: 1.0}, {1: 1.0})


def test_contrasts_by_hand():
    results = {"a": {0: 4.0, 1: 8.0}, "b": {0: 1.0, 1: 2.0, 2: 9.0}}
    assert paired_contrast(results, {"a": 0.5, "b": -1}) == {0: 1.0, 1: 2.0}
    assert paired_contrast(results, {"a": 1, "c": -1}) == {}
