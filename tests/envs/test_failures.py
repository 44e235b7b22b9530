"""What goes wrong inside an environment is told in a sentence with its place; one can go on from there."""

import json
import logging

import gymnasium
import numpy as np
import pytest
import torch

from envs import EnvironmentFailed, SerialVectorEnv
from envs.failures import Misfit, number
from expedition import UserError


class Counting(gymnasium.Env):
    """Counts to 6; a child does something at a given count of episode 1 of environment 0."""

    observation_space = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(0, 9, (2,), np.float32)})
    action_space = gymnasium.spaces.Discrete(2)
    episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.mark = 0, float(self.np_random.random())
        self.episode += 1
        return self.look(), {}

    def step(self, action):
        self.count += 1
        return self.look(), self.pay(), False, self.count == 6, self.tell()

    @property
    def now(self):
        return self.episode == 1 and self.count == 3

    def look(self):
        return {"vector": np.array([self.count, self.mark], np.float32)}

    def pay(self):
        return 1.0

    def tell(self):
        return {}


class Raises(Counting):
    def pay(self):
        if self.now:
            raise ZeroDivisionError("no such thing")
        return 1.0


class RaisesInReset(Counting):
    def look(self):
        if self.episode == 1 and self.count == 0:
            raise ZeroDivisionError("no such level")
        return super().look()


class PaysNan(Counting):
    def pay(self):
        return float("nan") if self.now else 1.0


class PaysMuch(Counting):
    def pay(self):
        return 1e39 if self.now else 1.0  # more than float32 holds


class PaysTwice(Counting):
    def pay(self):
        return np.ones(2) if self.now else 1.0


class SeesInfinity(Counting):
    def look(self):
        return {"vector": np.array([np.inf if self.now else self.count, 0], np.float32)}


class SeesLess(Counting):
    def look(self):
        return {"vector": np.zeros(1 if self.now else 2, np.float32)}


class Tells(Counting):
    task_rewards = ("other",)

    def tell(self):
        return {"task_rewards": {} if self.now else {"other": 1.0}}


class TellsNan(Tells):
    def tell(self):
        return {"task_rewards": {"other": float("nan") if self.now else 1.0}}


class TellsNothing(Counting):
    def tell(self):
        return None if self.now else {}


class OldStep(Counting):
    def step(self, action):
        observation, reward, _, ended, info = super().step(action)
        return observation, reward, ended, info


class OldReset(Counting):
    def reset(self):
        self.count, self.mark, self.episode = 0, 0.0, 0
        return self.look()


class Alone(Counting):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class WrapsOld(gymnasium.Wrapper):
    """A wrapper of gymnasium's stumbles over the four values before we see them."""

    def __init__(self):
        super().__init__(gymnasium.wrappers.TimeLimit(OldStep(), 9))


LATE = [
    (PaysNan, "step 3: the reward is nan; return a finite number"),
    (PaysMuch, "step 3: the reward is 1e\\+39"),
    (PaysTwice, r"step 3: the reward has the shape \(2,\)"),
    (SeesInfinity, "step 3: the observation 'vector' is inf at 0"),
    (SeesLess, r"step 3: the observation 'vector' has the shape \(1,\)"),
    (Tells, r"step 3: info\['task_rewards'\] lacks 'other'"),
    (TellsNan, "step 3: the reward of the task 'other' is nan"),
    (TellsNothing, "step 3: step returns something else"),
    (Raises, "step 3: it raised ZeroDivisionError: no such thing; mend it"),
]


def until_it_fails(vector):
    vector.reset(0)
    for _ in range(30):
        vector.step(np.zeros(vector.num_envs, int))


@pytest.mark.parametrize(("kind", "told"), LATE)
def test_a_failed_episode_is_cut_off_and_one_can_go_on(kind, told):
    vector = SerialVectorEnv(kind, 2)
    with pytest.raises(
        EnvironmentFailed, match=f"Environment 0 of '{kind.__name__}', episode 1, {told}"
    ) as e:
        until_it_fails(vector)
    rows = e.value.rows
    assert isinstance(e.value, UserError)
    assert rows["is_last"].all()
    assert not rows["is_terminal"].any()
    assert rows["reward"].tolist() == [0, 0]
    assert rows["vector"][0, 0] in (0, 2)  # what was seen last
    assert all(np.isfinite(value).all() for value in rows.values())
    assert [episode["length"] for episode in vector.pop_episodes()] == [6, 6, 3, 3]
    state = json.loads(json.dumps(vector.state_dict()))
    assert vector.step(np.zeros(2, int))["is_first"].all()
    other = SerialVectorEnv(Counting, 2)
    other.load_state_dict({**state, "environment": "Counting"})
    assert other.step(np.zeros(2, int))["is_first"].all()
    assert other.state_dict()["slots"]["0"]["episode"] == 2


def test_an_episode_whose_reset_fails_is_passed_over():
    vector = SerialVectorEnv(RaisesInReset, 1)
    with pytest.raises(
        EnvironmentFailed, match="episode 1, step 0: it raised ZeroDivisionError: no such le"
    ) as e:
        until_it_fails(vector)
    assert e.value.rows["is_first"].all()
    assert vector.state_dict()["slots"]["0"]["episode"] == 2
    assert not vector.step(np.array([0]))["is_first"].any()


def test_the_traceback_is_its_authors_and_begins_with_their_line(caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(EnvironmentFailed):
        until_it_fails(SerialVectorEnv(Raises, 1))
    (record,) = caplog.records
    lines = record.getMessage().splitlines()
    assert lines[0] == "Environment 0 of 'Raises', episode 1, step 3 failed:"
    assert lines[1].startswith("Traceback")
    assert "test_failures.py" in lines[2]
    assert "lane.py" not in record.getMessage()
    assert lines[-1] == "ZeroDivisionError: no such thing"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (OldStep, "step returns four values.*return observation, reward, terminated, truncated and info"),
        (WrapsOld, "step returns four values"),
        (OldReset, "reset takes no seed.*write reset"),
        (Alone, "reset returns the observation alone"),
    ],
)
def test_the_old_interface_is_named(kind, told, caplog):
    with pytest.raises(EnvironmentFailed, match=f"speaks gym's old interface .{told}"):
        until_it_fails(SerialVectorEnv(kind, 1))
    assert "Traceback" not in caplog.text


def test_an_environment_that_fails_when_it_is_lived_again_counts_as_cut_off(caplog):
    vector = SerialVectorEnv(Counting, 1)
    vector.reset(0)
    for _ in range(11):
        vector.step(np.array([0]))
    state = {**vector.state_dict(), "environment": "Raises"}
    other = SerialVectorEnv(Raises, 1)
    other.lanes[0].env.episode = 0  # so that the running episode fails
    other.load_state_dict(state)
    assert "does not repeat itself" in caplog.text
    assert other.step(np.array([0]))["is_first"].all()


class Unclosable(Counting):
    def close(self):
        raise OSError("it hangs on")


def test_what_does_not_close_hides_nothing(caplog):
    SerialVectorEnv(Unclosable, 1).close()
    assert "does not close: OSError('it hangs on')" in caplog.text


@pytest.mark.parametrize(
    "reward",
    [2, 2.0, True + 1, np.float32(2), np.array(2.0), np.array([2.0], np.float32), torch.tensor(2.0), [2.0]],
)
def test_a_reward_is_a_number_or_holds_one(reward):
    assert number(reward) == 2.0
    assert type(number(reward)) is float


@pytest.mark.parametrize(
    ("reward", "problem"),
    [
        (None, "is a NoneType; return a number"),
        ("much", "is a str"),
        (np.zeros((1, 1)), "has the shape"),
        (np.zeros(0), "has the shape"),
        (torch.zeros(3), "has the shape"),
        (np.array([np.nan]), "is nan"),
        (-np.inf, "is -inf"),
    ],
)
def test_any_other_reward_is_refused(reward, problem):
    with pytest.raises(Misfit, match=problem):
        number(reward)
