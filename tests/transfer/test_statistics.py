"""Estimates against numbers worked by hand, scipy, and a known truth."""

import math

import numpy as np
import pytest
from rliable import library, metrics
from scipy import stats

from transfer.statistics import (
    Estimate,
    estimate,
    iqm,
    paired_contrast,
    performance_profile,
    pooled_iqm,
    probability_of_improvement,
    seeds_to_decide,
    stratified_bootstrap,
)


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


@pytest.mark.parametrize("values", [[4.0], [3.0, 5.0]])
def test_too_few_seeds_have_no_interval(values):
    assert estimate(values) == Estimate(4.0, 4.0, None, None, None, None, len(values))
    ends = dict.fromkeys(("low", "high", "iqm_low", "iqm_high"))
    assert estimate(values).as_dict() == {"mean": 4.0, "iqm": 4.0, **ends, "n": len(values)}


def test_equal_seeds_have_an_interval_of_no_width():
    assert estimate([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3)


def test_interval_of_the_interquartile_mean_by_hand():
    # One value cut from each end leaves 2, 3, 7, mean 4. Winsorized: 2 2 3 7 7, squared deviations from 4.2
    # 4.84 + 4.84 + 1.44 + 7.84 + 7.84 = 26.8; error sqrt(26.8 / (3 * 2)); t at 97.5 % and 2 degrees 4.302653.
    found = estimate([1.0, 2.0, 3.0, 7.0, 90.0])
    assert found.iqm == 4.0
    assert found.iqm_high - 4.0 == pytest.approx(4.302653 * math.sqrt(26.8 / 6), abs=1e-5)
    assert found.iqm_low + found.iqm_high == pytest.approx(8.0)


@pytest.mark.parametrize("n", [4, 7, 12])
def test_the_trimmed_error_agrees_with_scipy(n):
    # Yuen's test of a sample against itself moved by 1: its statistic is -1 / sqrt(2 * error^2).
    values = np.random.default_rng(n).gamma(2.0, size=n)
    yuen = stats.ttest_ind(values, values + 1.0, equal_var=False, trim=0.25).statistic
    error = math.sqrt(1 / (2 * yuen**2))
    found = estimate(values)
    kept = n - 2 * (n // 4)
    assert found.iqm_high - found.iqm == pytest.approx(stats.t.ppf(0.975, kept - 1) * error)


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


def test_pairing_pays():
    rng = np.random.default_rng(13)
    shared = rng.normal(0.0, 5.0, size=(200, 5))
    a, b = (shared + mean + rng.normal(0.0, 0.5, size=(200, 5)) for mean in (3.0, 2.0))
    found = [difference(dict(enumerate(x)), dict(enumerate(y))) for x, y in zip(a, b, strict=True)]
    # The seeds' shared part, ten times the noise, is gone from the differences.
    assert np.std([e.mean for e in found]) < 1.2 * math.sqrt(2) * 0.5 / math.sqrt(5)


def test_differences_use_the_seeds_that_both_have():
    found = difference({0: 3.0, 1: 5.0, 7: 100.0, 2: 6.0}, {1: 2.0, 0: 1.0, 8: -100.0, 2: 2.0})
    assert (found.mean, found.n) == (3.0, 3)
    test = stats.ttest_rel([3.0, 5.0, 6.0], [1.0, 2.0, 2.0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((test.low, test.high))
    with pytest.raises(ValueError, match="at least one value"):
        difference({0: 1.0}, {1: 1.0})


def test_contrasts_by_hand():
    results = {"a": {0: 4.0, 1: 8.0}, "b": {0: 1.0, 1: 2.0, 2: 9.0}}
    assert paired_contrast(results, {"a": 0.5, "b": -1}) == {0: 1.0, 1: 2.0}
    assert paired_contrast(results, {"a": 1, "c": -1}) == {}


# ---- Agreement with rliable (Agarwal et al. 2021) ----

POOLS = [np.random.default_rng(seed).gamma(2.0, size=(6, 4)) * [1, 2, 1, 3] for seed in (0, 1)]


def test_interquartile_means_agree_with_rliable():
    for pool in (*POOLS, POOLS[0][:, :1], POOLS[0][:3]):
        assert iqm(pool) == pytest.approx(metrics.aggregate_iqm(pool))
    assert estimate(POOLS[0]).mean == pytest.approx(metrics.aggregate_mean(POOLS[0]))


def test_probability_of_improvement_agrees_with_rliable():
    for x, y in (POOLS, POOLS[::-1], (POOLS[0][:5].round(), POOLS[1].round()), (POOLS[0], POOLS[0])):
        expected = metrics.probability_of_improvement(x, y)
        assert probability_of_improvement(x, y).value == pytest.approx(expected)


def test_bootstrap_intervals_agree_with_rliable():
    np.random.seed(0)  # noqa: NPY002  rliable draws from the global generator
    reference = lambda x: np.array([metrics.aggregate_iqm(x)])  # noqa: E731
    _, ends = library.get_interval_estimates({"x": POOLS[0]}, reference, reps=5000)
    low, high = stratified_bootstrap(POOLS[0], pooled_iqm, expand=False)
    assert (low, high) == pytest.approx(tuple(ends["x"][:, 0]), abs=0.04 * (high - low))
    assert stratified_bootstrap(POOLS[0], pooled_iqm, expand=False) == (low, high)  # the same again


def test_profiles_agree_with_rliable():
    thresholds = [0.0, 1.0, 2.5, 4.0, 99.0]
    expected = library.score_distributions(POOLS[0], thresholds)
    assert [p.value for p in performance_profile(POOLS[0], thresholds)] == pytest.approx(list(expected))


# ---- Probabilities, profiles and the bootstrap ----


def test_expanded_percentiles_of_a_mean_are_those_of_student():
    half = np.random.default_rng(1).normal(size=(6, 1))
    values = np.concatenate([half, -half])  # without skew, which percentiles follow and Student's t doesn't
    found = estimate(values[:, 0])
    low, high = stratified_bootstrap(values, lambda x: x.mean(axis=(1, 2)), resamples=40_000)
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.05 * (found.high - found.low))


def test_the_interval_of_a_probability_solves_its_equation():
    # Newcombe (2006, part 2), method 5: (p - share)^2 = z^2 p (1 - p) / (m n) times
    # 1 + k (1 - p) / (2 - p) + k p / (1 + p), with k = (m + n) / 2 - 1, at either end.
    x, y = np.arange(6.0), np.arange(5.0) - 1.5
    found = probability_of_improvement(x, y)
    assert (found.value, found.n) == (pytest.approx(24 / 30), 5)
    assert found.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / 30)
    for p in (found.low, found.high):
        bracket = 1 + 4.5 * (1 - p) / (2 - p) + 4.5 * p / (1 + p)
        assert (p - found.value) ** 2 == pytest.approx(1.959964**2 * p * (1 - p) * bracket / 30, rel=1e-5)


def test_certain_improvement_still_has_an_interval():
    found = probability_of_improvement(np.arange(5) + 10.0, np.arange(5.0))
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.5 < found.low < 0.9
    other = probability_of_improvement(np.arange(5.0), np.arange(5) + 10.0)
    assert (other.value, other.low, other.high) == pytest.approx((0.0, 0.0, 1 - found.low))


def test_few_seeds_give_a_probability_but_no_interval():
    found = probability_of_improvement([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 2.5, 3.5, 9.0])
    assert (found.value, found.n) == (pytest.approx(9.5 / 20), 4)
    assert found.low is None
    assert performance_profile([1.0, 2.0], [1.5])[0].as_dict() == {
        "value": 0.5,
        "low": None,
        "high": None,
        "n": 2,
    }


def test_profile_intervals_are_those_of_wilson():
    # Two of four above: (p + z^2 / 2n +- z sqrt(p q / n + z^2 / 4 n^2)) / (1 + z^2 / n), z = 1.959964.
    (found,) = performance_profile([1.0, 2.0, 3.0, 4.0], [2.0])
    assert (found.low, found.high) == pytest.approx((0.150036, 0.849964), abs=1e-5)


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="same tasks"):
        probability_of_improvement(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="two seeds"):
        stratified_bootstrap(np.zeros((1, 2)), pooled_iqm)


def test_seeds_to_decide_by_hand():
    # Mean 0.5, deviation 0.9: t(14) = 2.14479 reaches 0.498 at 15 seeds, t(13) = 2.16037 still 0.520 at 14.
    assert seeds_to_decide([0.5, -0.4, 1.4]) == 15
    assert seeds_to_decide([1.0, 1.0]) == 3  # no fewer give an interval
    assert seeds_to_decide([1.0, -1.0]) is None
    assert seeds_to_decide([-0.5, 0.4, -1.4]) == 15  # a loss is decided as well


@pytest.mark.parametrize("mean", [0.02, 0.3, 1.0, 3.0])
def test_seeds_to_decide_is_the_first_number_whose_interval_excludes_zero(mean):
    def excludes(n):
        half = stats.t.ppf(0.975, n - 1) / math.sqrt(n)
        return half < mean

    spread = np.array([-1.0, 0.0, 1.0])  # deviation 1
    needed = seeds_to_decide(spread + mean)
    assert excludes(needed)
    assert needed == 3 or not excludes(needed - 1)


def test_seeds_to_decide_takes_the_mean_over_tasks():
    values = np.array([[0.5, 0.5], [-0.9, 0.1], [2.0, 0.8]])
    assert seeds_to_decide(values) == seeds_to_decide([0.5, -0.4, 1.4])


def test_one_seed_decides_nothing():
    with pytest.raises(ValueError, match="two seeds"):
        seeds_to_decide([1.0])
