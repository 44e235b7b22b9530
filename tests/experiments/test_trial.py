"""A trial: updates when they are warm, and what takes long reckoned from its first rows."""

import pytest

from experiments import trial as module
from experiments.trial import reckoned, rows_of_evaluation
from tests.training.test_resume import QUIET, config


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_usual_update_counts_neither_the_first_nor_the_fastest(clock):
    costs = iter([1.0, 0.4, 0.1, 0.3, *[0.2] * 20])

    def update():
        clock[0] += next(costs)

    assert module._usual(update) == pytest.approx(0.2)
    clock[0], costs = 0.0, iter([9.0, 1.0])  # a slow one is made once
    assert module._usual(update) == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("rows", "told", "expected"),
    [
        (30, 30, 5.0 + 30 * 0.01),  # it ends in time: what it took, whatever was told
        (30, 500, 5.0 + 30 * 0.01),
        (10_000, 500, 5.0 + 500 * 0.01),
        (10_000, 0, 5.0 + 201 * 0.01),  # nothing is known: as long as it was watched
    ],
)
def test_what_takes_long_is_reckoned_from_its_first_rows(clock, rows, told, expected):
    def action(check):
        clock[0] += 5.0  # environments are made
        for _ in range(rows):
            check()
            clock[0] += 0.01

    assert reckoned(action, told) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("episodes", "lengths", "limit", "expected"),
    [
        (8, [20, 30], 500, 26),  # eight side by side
        (9, [20, 30], 500, 52),
        (16, [], 500, 1002),  # none ended
        (16, [], None, 0),
        (0, [20], 500, 0),
    ],
)
def test_an_evaluation_is_as_long_as_the_episodes_that_were_seen(episodes, lengths, limit, expected):
    assert rows_of_evaluation(episodes, lengths, limit) == expected


def test_what_is_judged_beyond_the_own_episodes_is_tried_with_its_search(monkeypatch):
    judged = []

    def evaluation(policy, make_envs, config, lengths):
        envs = make_envs(1)
        envs.close()
        judged.append(policy.planners["evaluate"] is not None)
        return 2.0

    monkeypatch.setattr(module, "_evaluation", evaluation)
    searched = config(
        "mazes-collect,size=7,limit=12,num_levels=1,observe=symbols", None, steps=60, searches=(2,)
    )
    tried = module.measure(searched, QUIET)
    assert judged == [False, True]  # as it is, then searching twice
    assert (tried.evaluation, tried.beyond) == (2.0, 2.0)


def test_a_reward_that_reads_captions_can_be_tried():
    tried = module.measure(config("mazes-goal,size=7,limit=12,observe=symbols", "language", steps=60), QUIET)
    assert tried.step > 0
    assert tried.update > 0
