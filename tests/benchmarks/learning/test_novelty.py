"""How a reward is read by the occurrences of what it rewards."""

import numpy as np

from benchmarks.learning.novelty import BOUNDS, by_count, occurrences, table


def test_occurrences_count_equal_rows():
    seen = np.array([[1, 2], [3, 4], [1, 2], [1, 3]])
    np.testing.assert_equal(occurrences(seen), [2, 1, 2, 1])


def test_rewards_are_grouped_by_occurrences_over_their_mean():
    rewards = np.array([4.0, 2.0, 2.0, 0.0])  # mean 2
    found = by_count(rewards, np.array([1, 2, 4, 1000]))
    np.testing.assert_equal(found, [2.0, 1.0] + [np.nan] * (len(BOUNDS) - 3) + [0.0])


def test_a_reward_that_pays_nothing_has_no_profile():
    assert np.isnan(by_count(np.zeros(3), np.array([1, 2, 3]))).all()


def test_the_table_has_a_line_a_reward():
    one = {"by_count": [2.0] * 5 + [np.nan], "reached": 12.0, "coverage": {"first": 0.5, "last": 0.25}}
    head, line = table({"rnd": one}).splitlines()
    assert head.split()[3:] == ["1", "2-4", "5-19", "20-49", "50-99", "100+", "reached", "first", "last"]
    assert line.split() == ["rnd", *["2.00"] * 5, "-", "12", "0.50", "0.25"]
