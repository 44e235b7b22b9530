import functools
import json
import logging

import gymnasium
import numpy as np
import pytest

from envs import SerialVectorEnv, make_vector
from envs.suites.crafter.environment import Crafter
from envs.suites.grids.gridworlds import Maze
from expedition import UserError
from tests.scripted import Scripted

SOURCES = {
    "crafter": (functools.partial(Crafter, length=12), 2),
    "CartPole-v1": ("CartPole-v1", 3),
    "Pendulum-v1": ("Pendulum-v1", 2),
    "catch-pixels": ("catch-pixels", 2),
    "maze-vector": (functools.partial(Maze, "vector", limit=9), 2),
}


def act(vector, random):
    if isinstance(vector.action_space, gymnasium.spaces.Discrete):
        return random.integers(vector.action_space.n, size=vector.num_envs)
    return random.uniform(-1, 1, (vector.num_envs, *vector.action_space.shape))


def advance(vector, random, steps):
    return [vector.step(act(vector, random)) for _ in range(steps)]


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype
        assert np.array_equal(left[key], right[key]), key


def through_json(state):
    """Send a snapshot through JSON and plain arrays, as a checkpoint does; fails on any other leaf."""
    if isinstance(state, dict):
        assert all(isinstance(key, str) for key in state)
        return {key: through_json(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        assert state.dtype != object
        return state.copy()
    return json.loads(json.dumps(state))


def test_rows_follow_the_one_rule_of_time():
    vector = SerialVectorEnv(lambda: Scripted(num_actions=3, lengths=(2, 3)), 1)
    rows = [vector.reset(seed=0), *(vector.step(np.array([action])) for action in (1, 2, 0, 2, 1, 0, 1, 1))]
    assert [bool(row["is_first"][0]) for row in rows] == [True, False, False] + [True] + [False] * 3 + [
        True,
        False,
    ]
    assert [bool(row["is_last"][0]) for row in rows] == [False, False, True] + [False] * 3 + [
        True,
        False,
        False,
    ]
    assert [bool(row["is_terminal"][0]) for row in rows] == [False, False, True] + [False] * 6
    assert [row["vector"][0, :3].tolist() for row in rows] == [
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 0],  # the action 0 was ignored
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]
    expected = np.array([0, 2, 3, 0, 3, 2, 1, 0, 2], np.float32) / 3
    assert np.array_equal([row["reward"][0] for row in rows], expected)


def test_environments_end_each_at_its_own_time():
    vector = SerialVectorEnv("CartPole-v1", 4)
    vector.reset(seed=0)
    rows = advance(vector, np.random.default_rng(0), 60)
    last = np.array([row["is_last"] for row in rows])
    first = np.array([row["is_first"] for row in rows])
    assert len({tuple(column) for column in last.T}) == 4
    assert np.array_equal(first[1:], last[:-1])


def test_shapes_and_dtypes_of_rows():
    vector = make_vector("crafter", 2, image_size=32)
    row = vector.reset(seed=0)
    assert {key: (value.dtype.name, value.shape) for key, value in row.items()} == {
        "image": ("uint8", (2, 32, 32, 3)),
        "reward": ("float32", (2,)),
        "is_first": ("bool", (2,)),
        "is_last": ("bool", (2,)),
        "is_terminal": ("bool", (2,)),
    }
    assert row["is_first"].all()
    assert not np.array_equal(row["image"][0], row["image"][1])  # each environment has its own world


def test_rows_are_never_written_again():
    vector = make_vector("maze-vector", 2)
    first = vector.reset(seed=0)
    kept = {key: value.copy() for key, value in first.items()}
    vector.step(np.array([1, 1]))
    assert_equal(first, kept)
    first["vector"][:] = 7
    assert vector.step(np.array([0, 0]))["vector"].max() == 1


def test_a_snapshot_keeps_actions_that_the_caller_overwrites():
    vector, actions = make_vector("Pendulum-v1", 2), np.array([[0.25], [-0.5]], np.float32)
    vector.reset(seed=0)
    vector.step(actions)
    actions[:] = 0
    saved = [slot["actions"].tolist() for slot in vector.state_dict()["slots"].values()]
    assert saved == [[[0.25]], [[-0.5]]]


def test_the_seed_decides():
    random = np.random.default_rng
    one, other, third = (make_vector("CartPole-v1", 2) for _ in range(3))
    assert_equal(one.reset(seed=1), other.reset(seed=1))
    assert not np.array_equal(third.reset(seed=2)["vector"], one.reset(seed=1)["vector"])
    for left, right in zip(advance(one, random(0), 50), advance(other, random(0), 50), strict=True):
        assert_equal(left, right)


def test_episode_summaries():
    vector = SerialVectorEnv(lambda: Scripted(num_actions=2, lengths=(2, 3)), 2)
    vector.reset(seed=0)
    for action in (0, 1, 0, 1, 1, 1):
        vector.step(np.array([action, 1]))
    summaries = vector.pop_episodes()
    assert summaries == [
        {"env": 0, "return": 1.5, "length": 2, "terminal": True},
        {"env": 1, "return": 2.0, "length": 2, "terminal": True},
        {"env": 0, "return": 3.0, "length": 3, "terminal": False},
        {"env": 1, "return": 3.0, "length": 3, "terminal": False},
    ]
    assert vector.pop_episodes() == []


def test_episode_summaries_carry_the_suites_measures():
    vector = SerialVectorEnv(functools.partial(Crafter, length=3), 1)
    vector.reset(seed=0)
    advance(vector, np.random.default_rng(0), 3)
    (summary,) = vector.pop_episodes()
    assert summary["achievement/collect_diamond"] == 0
    assert sum(key.startswith("achievement/") for key in summary) == 22


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("at_an_end", [False, True])
def test_restored_equals_never_stopped(name, at_an_end):
    source, num_envs = SOURCES[name]
    vector, random = SerialVectorEnv(source, num_envs), np.random.default_rng(0)
    vector.reset(seed=4)
    for _ in range(1000):
        last = bool(vector.step(act(vector, random))["is_last"].any())
        if last:
            break
    assert last
    if not at_an_end:
        assert not advance(vector, random, 4)[-1]["is_last"].any()
    state, generator = through_json(vector.state_dict()), random.bit_generator.state
    expected, episodes = advance(vector, random, 40), vector.pop_episodes()

    other = SerialVectorEnv(source, num_envs)
    other.load_state_dict(state)
    random.bit_generator.state = generator
    for left, right in zip(expected, advance(other, random, 40), strict=True):
        assert_equal(left, right)
    assert other.pop_episodes() == episodes


def test_restoring_crafter_mid_episode_is_exact_at_full_length():
    vector, random = make_vector("crafter", 1), np.random.default_rng(1)
    vector.reset(seed=0)
    advance(vector, random, 250)
    state, generator = through_json(vector.state_dict()), random.bit_generator.state
    assert len(state["slots"]["0"]["actions"]) > 20
    expected = advance(vector, random, 60)
    vector.load_state_dict(state)  # into the same object, which has moved on
    random.bit_generator.state = generator
    for left, right in zip(expected, advance(vector, random, 60), strict=True):
        assert_equal(left, right)


class Restless(gymnasium.Env):
    """Shows a number that no seed decides."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    count = 0

    def reset(self, *, seed=None, options=None):
        return self._look(), {}

    def step(self, action):
        return self._look(), 1.0, False, False, {}

    def render(self):
        return None

    def _look(self):
        Restless.count += 1
        return np.array([Restless.count], np.float32)


def test_an_environment_that_does_not_repeat_itself_begins_anew(caplog):
    vector = SerialVectorEnv(Restless, 1)
    vector.reset(seed=0)
    for _ in range(3):
        vector.step(np.array([0]))
    state = vector.state_dict()
    other = SerialVectorEnv(Restless, 1)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(state)
    assert "does not repeat itself" in caplog.text
    assert other.pop_episodes() == [{"env": 0, "return": 3.0, "length": 3, "terminal": False}]
    row = other.step(np.array([0]))
    assert row["is_first"].all()
    assert not other.step(np.array([0]))["is_first"].any()
    assert other.state_dict()["slots"]["0"]["episode"] == 1


def test_a_snapshot_of_something_else_is_refused():
    vector = make_vector("CartPole-v1", 2)
    vector.reset(seed=0)
    state = vector.state_dict()
    with pytest.raises(UserError, match="2 of environment 'CartPole-v1'.*3 of environment 'CartPole-v1'"):
        make_vector("CartPole-v1", 3).load_state_dict(state)
    with pytest.raises(UserError, match="maze-vector"):
        make_vector("maze-vector", 2).load_state_dict(state)


def test_wrong_calls_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        make_vector("CartPole-v1", 0)
    vector = make_vector("CartPole-v1", 2)
    with pytest.raises(RuntimeError, match="reset"):
        vector.step(np.array([0, 0]))
    with pytest.raises(UserError, match="0 or more"):
        vector.reset(seed=-1)
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"\(2,\)"):
        vector.step(np.array([0, 0, 0]))


def test_render_gives_a_picture_or_says_why_not():
    vector = make_vector("catch-vector", 2)
    vector.reset(seed=0)
    assert vector.render(1).shape == (256, 256, 3)
    blind = SerialVectorEnv(Restless, 1)
    blind.reset(seed=0)
    with pytest.raises(UserError, match="draws no pictures"):
        blind.render(0)


class TwoTasks(gymnasium.Env):
    """Tells another task's reward."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    task_rewards = ("other",)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, action == 1, False, {"task_rewards": {"other": 2.5 + action}}


def test_rewards_of_other_tasks_stand_in_the_rows():
    vector = SerialVectorEnv(TwoTasks, 2)
    assert vector.task_rewards == ("other",)
    rows = [vector.reset(0), vector.step(np.array([0, 1])), vector.step(np.array([0, 0]))]
    assert [row["task/other"].tolist() for row in rows] == [[0, 0], [2.5, 3.5], [2.5, 0]]
    assert rows[0]["task/other"].dtype == np.float32
