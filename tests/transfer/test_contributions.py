"""The contrasts of the 2x2 factorial."""

import math

import numpy as np
import pytest

from transfer.contributions import CONTRASTS, contributions, paired_contributions

SEEDS = {"scratch": {0: 1.0, 1: 2.0}, "policy": {0: 2.0, 1: 4.0}, "model": {0: 4.0, 1: 5.0}}
SEEDS["model+policy"] = {0: 7.0, 1: 9.0}


def test_worked_by_hand():
    assert paired_contributions(SEEDS) == {
        "model alone": {0: 3.0, 1: 3.0},
        "policy alone": {0: 1.0, 1: 2.0},
        "model given policy": {0: 5.0, 1: 5.0},
        "policy given model": {0: 3.0, 1: 4.0},
        "both": {0: 6.0, 1: 7.0},
        "interaction": {0: 2.0, 1: 2.0},
    }
    found = contributions(SEEDS)
    assert [found[name].mean for name in CONTRASTS] == [3.0, 1.5, 5.0, 3.5, 6.5, 2.0]
    assert all(worth.n == 2 for worth in found.values())
    # Differences of 1 and 2: standard error 0.5; Student's t at 97.5 % and 1 degree: 12.7062.
    assert found["policy alone"].high == pytest.approx(1.5 + 0.5 * 12.7062, abs=1e-4)
    assert (found["interaction"].low, found["interaction"].high) == (2.0, 2.0)


def test_identities_hold_for_any_results():
    draws = np.random.default_rng(0).normal(size=(4, 6))
    found = contributions({name: dict(enumerate(row)) for name, row in zip(SEEDS, draws, strict=True)})
    mean = {name: worth.mean for name, worth in found.items()}
    assert mean["both"] == pytest.approx(mean["model alone"] + mean["policy given model"])
    assert mean["both"] == pytest.approx(mean["policy alone"] + mean["model given policy"])
    assert mean["interaction"] == pytest.approx(mean["model given policy"] - mean["model alone"])
    assert mean["interaction"] == pytest.approx(mean["policy given model"] - mean["policy alone"])
    assert mean["both"] == pytest.approx(mean["model alone"] + mean["policy alone"] + mean["interaction"])


def test_each_uses_the_seeds_its_own_conditions_share():
    results = {name: dict(by_seed) for name, by_seed in SEEDS.items()}
    del results["policy"][0]
    results["model"][5] = 50.0
    found = contributions(results)
    assert {name: worth.n for name, worth in found.items()} == {
        "model alone": 2, "policy alone": 1, "model given policy": 1,
        "policy given model": 2, "both": 2, "interaction": 1,
    }  # fmt: skip
    assert found["policy alone"].low is None


def test_missing_conditions_leave_contributions_out():
    assert list(contributions({k: SEEDS[k] for k in ("scratch", "model")})) == ["model alone"]
    assert contributions({"all": {0: 1.0}}) == {}
    assert contributions({"scratch": {0: 1.0}, "model": {1: 2.0}}) == {}


def test_nan_is_refused():
    with pytest.raises(ValueError, match="missing seeds"):
        contributions({"scratch": {0: 1.0}, "model": {0: math.nan}})


def test_intervals_cover_the_true_worth():
    rng = np.random.default_rng(5)
    truth = {"scratch": 1.0, "policy": 2.0, "model": 4.0, "model+policy": 7.0}
    covered = []
    for _ in range(1000):
        level = rng.normal(0, 3, size=3)
        results = {n: dict(enumerate(mean + level + rng.normal(0, 1, 3))) for n, mean in truth.items()}
        worth = contributions(results)["interaction"]
        covered.append(worth.low <= 2.0 <= worth.high)
    assert 0.93 <= np.mean(covered) <= 0.97
