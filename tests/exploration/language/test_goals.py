"""The reward on numbers worked by hand, once an episode, and the same after a stop."""

import math

import numpy as np
import pytest

from exploration import GoalReward, Vocabulary
from exploration.language.goals import describe, goal_reward

WORDS = Vocabulary(
    did=("collect wood", "eat cow", "sleep"),
    scene=("see tree", "see cow", "feel hungry"),
    verbs=("collect", "eat"),
    objects=("wood", "cow"),
    alone=("sleep",),
    achievements=("eat cow",),
)
PLACES = {"collect wood": 0, "eat cow": 90, "sleep": 180, "gather wood": 10, "dine": 60, "nap": 200}
"""Degrees on a circle: the cosine of two phrases is that of their difference."""
WOOD, COW, SLEEP = 1, 2, 4


def embed(phrases):
    angles = np.deg2rad([PLACES[phrase] for phrase in phrases])
    return np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)


def make(goals, threshold=0.8, num_envs=1):
    return GoalReward(WORDS, goals if callable(goals) else lambda state: goals, embed, threshold, num_envs)


def earn(reward, did, scene=0, first=False):
    return reward.earn(np.array([did]), np.array([scene]), np.array([first]))[0]


def test_the_reward_is_the_cosine_with_the_nearest_goal_above_the_threshold():
    reward = make(("gather wood", "dine"))
    assert earn(reward, 0, first=True) == 0
    assert earn(reward, WOOD) == pytest.approx(math.cos(math.radians(10)))
    assert earn(reward, COW) == pytest.approx(math.cos(math.radians(30)))
    reward = make(("gather wood", "dine"), threshold=0.9)  # cos 30 = 0.866
    assert earn(reward, COW) == 0
    assert earn(reward, SLEEP) == 0


def test_of_two_captions_the_nearer_counts():
    reward = make(("gather wood", "dine"))
    assert earn(reward, WOOD | COW) == pytest.approx(math.cos(math.radians(10)))
    assert dict(reward.told) == {"collect wood": 1, "eat cow": 1}
    assert dict(reward.rewarded) == {"collect wood": 1}
    assert reward.metrics() == {
        "language/told/collect wood": 1,
        "language/told/eat cow": 1,
        "language/rewarded/collect wood": 1,
    }


def test_a_goal_is_rewarded_once_an_episode_also_if_it_was_reached_before_it_was_suggested():
    reward = make(lambda state: ("collect wood",) if "tree" in state else ("eat cow",))
    assert earn(reward, WOOD) == 0  # not suggested in the state before
    earn(reward, 0, scene=1)
    assert earn(reward, WOOD, scene=1) == 0  # but done already
    assert earn(reward, 0, scene=1, first=True) == 0
    assert earn(reward, WOOD, scene=1) == 1
    assert earn(reward, WOOD, scene=1) == 0


def test_goals_come_from_the_state_before_and_only_where_something_was_done():
    asked = []
    reward = make(lambda state: asked.append(state) or ())
    earn(reward, 0, scene=0b101, first=True)
    earn(reward, 0, scene=0b010)
    earn(reward, COW, scene=0b111)
    assert asked == ["You see cow."]
    assert describe(["see tree", "feel hungry", "see cow"]) == "You see tree, cow. You feel hungry."


def test_environments_are_apart_and_first_rows_earn_nothing():
    reward = make(("collect wood",), num_envs=3)
    scene = np.zeros(3, np.int64)
    first = np.array([False, True, False])
    assert reward.earn(np.array([WOOD, WOOD, 0]), scene, first).tolist() == [1, 0, 0]
    assert reward.earn(np.array([WOOD, 0, WOOD]), scene, np.zeros(3, bool)).tolist() == [0, 0, 1]


def test_it_goes_on_from_its_state():
    one, two = (make(lambda state: ("collect wood",) if "tree" in state else ("sleep",)) for _ in range(2))
    earn(one, 0, first=True)
    earn(one, SLEEP, scene=1)
    two.load_state_dict(one.state_dict())
    for did in (WOOD, WOOD, SLEEP):
        assert earn(one, did) == earn(two, did)
    assert one.metrics() == two.metrics()
    assert one.rewarded == {"collect wood": 1, "sleep": 1}


def test_no_goals_no_reward():
    flags = np.ones(3, bool)
    assert goal_reward(np.zeros((3, 0), np.float32), flags, ~flags, 0.5) == (0.0, -1)
