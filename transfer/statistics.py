"""Estimates over seeds whose 95 % intervals cover the truth at the few seeds that a study has.

| what | interval | from |
|---|---|---|
| mean | Student's t | 3 seeds |
| interquartile mean, one task | Student's t of the trimmed mean (Tukey and McLaughlin 1963) | 3 seeds |
| interquartile mean, several tasks | stratified bootstrap, expanded percentiles (Hesterberg 2015) | 3 seeds |
| probability of improvement | score interval of Newcombe (2006, part 2, method 5) | 5 seeds |
| performance profile | Wilson's score interval, at each threshold | 3 seeds |

The percentile bootstrap of Agarwal et al. (2021) suits pools of many runs. Over the seeds of one task it
claims 95 % and covers, for normal seeds, 84 % (mean) and 90 % (IQM) at 5 seeds, 90 % and 94 % at 10. What
the intervals above cover is measured in tests/transfer/test_coverage.py and told in docs/reading.md.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

MIN_SEEDS = 3
"""Fewer give no interval: two seeds say next to nothing of their own spread."""
MIN_SEEDS_PROBABILITY = 5
"""With fewer, the interval of a probability of improvement covers less than 93 % at even odds."""
RESAMPLES = 10_000


Value = float | np.ndarray
"""A measure of one seed: a number, or one for each task, (tasks,)."""
Results = Mapping[str, Mapping[int, Value]]
"""Condition -> seed -> value."""


@dataclass(frozen=True)
class Estimate:
    """A quantity over seeds; interval ends are None where there are too few of them.

    Attributes:
        mean: the arithmetic mean.
        iqm: the interquartile mean.
        low: lower end of the mean's interval.
        high: upper end of the mean's interval.
        iqm_low: lower end of the interquartile mean's interval.
        iqm_high: upper end of the interquartile mean's interval.
        n: how many seeds it rests on.
    """

    mean: float
    iqm: float
    low: float | None
    high: float | None
    iqm_low: float | None
    iqm_high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Proportion:
    """A probability or a share, with its interval; the ends are None where there are too few seeds.

    Attributes:
        value: the estimate, in [0, 1].
        low: lower end.
        high: upper end.
        n: how many seeds it rests on, on the poorer side.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)


def iqm(values: Iterable[Value] | np.ndarray) -> float:
    """Return the interquartile mean: the mean of what is left when each end has lost a quarter, rounded down.

    With fewer than four values nothing is cut, and it equals the mean.

    Args:
        values: one value a seed, (seeds,), or a pool over tasks, (seeds, tasks) (Agarwal et al. 2021).
    """
    return float(stats.trim_mean(_finite(values), 0.25, axis=None))


def estimate(values: Iterable[Value] | np.ndarray, confidence: float = 0.95) -> Estimate:
    """Estimate the mean and the interquartile mean over seeds.

    Args:
        values: one value a seed, (seeds,), or (seeds, tasks) in a unit that the tasks share. NaN is refused:
            the caller leaves a missing seed out, and says so.
        confidence: the interval's level, between 0 and 1.

    Raises:
        ValueError: no values, or one that isn't finite, or a level outside (0, 1).
    """
    _check_level(confidence)
    array = _finite(values)
    table = array.reshape(len(array), -1)  # (seeds, tasks)
    n, tasks = table.shape
    low = high = iqm_low = iqm_high = None
    if n >= MIN_SEEDS:
        low, high = _trimmed_interval(table.mean(axis=1), 0.0, confidence)
        if tasks == 1:
            iqm_low, iqm_high = _trimmed_interval(table[:, 0], 0.25, confidence)
        else:
            iqm_low, iqm_high = stratified_bootstrap(table, pooled_iqm, confidence)
    return Estimate(float(table.mean()), iqm(table), low, high, iqm_low, iqm_high, n)


def _trimmed_interval(values: np.ndarray, cut: float, confidence: float) -> tuple[float, float]:
    """Return Student's t interval of a trimmed mean, by its Winsorized variance (Tukey and McLaughlin 1963).

    With nothing cut it is the usual interval of a mean.
    """
    ordered, n = np.sort(values), len(values)
    cut_off = int(cut * n)
    kept = n - 2 * cut_off
    mean = ordered[cut_off : n - cut_off].mean()
    winsorized = np.clip(ordered, ordered[cut_off], ordered[n - cut_off - 1])
    error = math.sqrt(((winsorized - winsorized.mean()) ** 2).sum() / (kept * (kept - 1)))
    half = _student((1 + confidence) / 2, kept - 1) * error
    return float(mean - half), float(mean + half)


@lru_cache
def _student(probability: float, degrees: int) -> float:
    """Return a quantile of Student's t; kept, because a report asks for few of them, many times."""
    return float(stats.t.ppf(probability, df=degrees))


def pooled_iqm(values: np.ndarray) -> np.ndarray:
    """Return the interquartile mean of each pool, (..., seeds, tasks) -> (...)."""
    pools = values.reshape(*values.shape[:-2], -1)
    return stats.trim_mean(pools, 0.25, axis=-1)


def stratified_bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    confidence: float = 0.95,
    *,
    resamples: int | None = None,
    expand: bool = True,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval of a statistic, seeds drawn anew within each task.

    Plain percentiles (Agarwal et al. 2021) are too narrow for few seeds: resamples of n values spread less
    than the values do, by sqrt((n - 1) / n), and the spread itself is a guess. Expanded ones go further out
    by both, so that those of a mean agree with Student's t (Hesterberg 2015).

    Args:
        values: (seeds, tasks).
        statistic: (resamples, seeds, tasks) -> (resamples,).
        confidence: the interval's level, between 0 and 1.
        resamples: how many are drawn; `RESAMPLES` without it.
        expand: False for plain percentiles.
        seed: of the draws; the same for the same report.

    Raises:
        ValueError: values that aren't a finite table of two or more seeds, or a level outside (0, 1).
    """
    _check_level(confidence)
    table = _finite(values)
    if table.ndim != 2 or len(table) < 2:
        raise ValueError(f"a bootstrap needs values as (seeds, tasks) and two seeds, not {table.shape}")
    n, tasks = table.shape
    rows = np.random.default_rng(seed).integers(n, size=(resamples or RESAMPLES, n, tasks))
    found = statistic(table[rows, np.arange(tasks)])
    tail = (1 - confidence) / 2
    if expand:
        reach = math.sqrt(n / (n - 1)) * _student(1 - tail, tasks * (n - 1))
        tail = float(stats.norm.sf(reach))
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def seeds_to_decide(values: Iterable[Value] | np.ndarray, confidence: float = 0.95) -> int | None:
    """Return how many seeds Student's t would need to exclude zero, at the mean and deviation seen so far.

    The smallest n of at least `MIN_SEEDS` with t(n - 1) * deviation / sqrt(n) < |mean|. It is a guess, as
    mean and deviation are; None where the mean is zero, so that no number would do.

    Args:
        values: one paired difference a seed, (seeds,), or (seeds, tasks), of which a seed's mean counts.
        confidence: the interval's level, between 0 and 1.

    Raises:
        ValueError: fewer than two seeds, a value that isn't finite, or a level outside (0, 1).
    """
    _check_level(confidence)
    array = _finite(values)
    if len(array) < 2:
        raise ValueError("a deviation needs two seeds")
    seeds = array.reshape(len(array), -1).mean(axis=1)
    mean, deviation = abs(float(seeds.mean())), float(seeds.std(ddof=1))
    if mean == 0:
        return None
    upper = (1 + confidence) / 2
    n = max(MIN_SEEDS, math.floor((float(stats.norm.ppf(upper)) * deviation / mean) ** 2))
    while float(stats.t.ppf(upper, df=n - 1)) * deviation / math.sqrt(n) >= mean:
        n += 1  # the normal's quantile is the smaller one: from there it is a few steps
    return n


def paired_contrast(results: Results, weights: Mapping[str, float]) -> dict[int, Value]:
    """Return, for each seed that all weighted conditions have, the weighted sum of their values.

    Args:
        results: condition -> seed -> value, or values (tasks,).
        weights: condition -> weight; `{"model": 1, "scratch": -1}` is the gain of the model over scratch.
    """
    shared = set.intersection(*(set(results.get(name, {})) for name in weights))
    return {
        seed: sum(weight * results[name][seed] for name, weight in weights.items()) for seed in sorted(shared)
    }


def probability_of_improvement(
    better: Iterable[Value] | np.ndarray, baseline: Iterable[Value] | np.ndarray, confidence: float = 0.95
) -> Proportion:
    """Estimate P(X > Y) + P(X = Y) / 2 for a run X of one condition and a run Y of another.

    The estimate is the Mann-Whitney statistic over all pairs of runs, averaged over tasks (Agarwal et al.
    2021, section 4.3). Its interval takes the runs as independent (Newcombe 2006); where conditions of one
    seed rise and fall together, it is wider than need be. Tasks' intervals are combined by their squared
    distances from the estimates (Zou and Donner 2008).

    Args:
        better: values of X, (seeds,) or (seeds, tasks); higher is better, so negate errors.
        baseline: values of Y, with the same tasks; the numbers of seeds may differ.
        confidence: the interval's level, between 0 and 1.

    Raises:
        ValueError: no values, values that aren't finite, tasks that differ, or a level outside (0, 1).
    """
    _check_level(confidence)
    x, y = (table.reshape(len(table), -1) for table in (_finite(better), _finite(baseline)))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"both need the same tasks, not {x.shape[1]} and {y.shape[1]}")
    m, n = len(x), len(y)
    shares = (1 + np.sign(x[:, None] - y[None]).mean(axis=(0, 1))) / 2  # (tasks,)
    low = high = None
    if min(m, n) >= MIN_SEEDS_PROBABILITY:
        low, high = _combined(shares, [_newcombe(float(share), m, n, confidence) for share in shares])
    return Proportion(float(shares.mean()), low, high, min(m, n))


@lru_cache
def _newcombe(share: float, m: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the probabilities that lie as far from the share as their own standard error allows."""
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    pairs = (m + n) / 2 - 1

    def excess(p: float) -> float:
        variance = p * (1 - p) / (m * n) * (1 + pairs * (1 - p) / (2 - p) + pairs * p / (1 + p))
        return abs(p - share) - quantile * math.sqrt(variance)

    # A step inside, because at shares of 0 and 1 the variance and with it the excess vanish.
    below, above = share - 1e-9 * share, share + 1e-9 * (1 - share)
    low = 0.0 if share <= 0 else float(optimize.brentq(excess, 0.0, below))
    high = 1.0 if share >= 1 else float(optimize.brentq(excess, above, 1.0))
    return low, high


def performance_profile(
    values: Iterable[Value] | np.ndarray, thresholds: Iterable[float], confidence: float = 0.95
) -> list[Proportion]:
    """Return, for each threshold, the share of runs whose value is above it.

    Agarwal et al. (2021), section 4.2.

    Args:
        values: (seeds,) or (seeds, tasks); shares are averaged over tasks.
        thresholds: where to look, in the values' unit.
        confidence: the level of the intervals, which hold for each threshold by itself.

    Raises:
        ValueError: no values, values that aren't finite, or a level outside (0, 1).
    """
    _check_level(confidence)
    table = _finite(values)
    table = table.reshape(len(table), -1)
    n, profile = len(table), []
    for threshold in thresholds:
        above = (table > threshold).sum(axis=0)  # (tasks,)
        low = high = None
        if n >= MIN_SEEDS:
            tests = [stats.binomtest(int(count), n) for count in above]
            ends = [test.proportion_ci(confidence, method="wilson") for test in tests]
            low, high = _combined(above / n, [(end.low, end.high) for end in ends])
        profile.append(Proportion(float(above.mean() / n), low, high, n))
    return profile


def _combined(shares: np.ndarray, ends: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the interval of a mean over independent tasks from that of each (Zou and Donner 2008)."""
    lows, highs = np.array(ends).T
    mean, tasks = shares.mean(), len(shares)
    low = mean - math.sqrt(((shares - lows) ** 2).sum()) / tasks
    high = mean + math.sqrt(((highs - shares) ** 2).sum()) / tasks
    return float(low), float(high)


def _check_level(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")


def _finite(values: Iterable[Value] | np.ndarray) -> np.ndarray:
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError("an estimate needs at least one value, and one number a seed (and task)")
    if not np.isfinite(array).all():
        raise ValueError(f"leave out missing seeds before estimating: {array.tolist()}")
    return array
