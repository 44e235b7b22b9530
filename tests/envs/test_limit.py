"""An environment without a time limit is cut off at one that is told."""

import logging

import gymnasium
import numpy as np
import pytest

from envs import SerialVectorEnv, limit, make
from expedition import UserError

WORLD = """
import gymnasium
import numpy as np


class Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Unmade(Endless):
    def __init__(self):
        raise OSError("no such simulator")


gymnasium.register("Endless-v0", entry_point=Endless, disable_env_checker=True)
gymnasium.register("Limited-v0", entry_point=Endless, max_episode_steps=3)
gymnasium.register("Unmade-v0", entry_point=Unmade)
"""


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    (tmp_path / "endless_world.py").write_text(WORLD)
    (tmp_path / "torn_world.py").write_text("raise OSError('no such file')")
    monkeypatch.syspath_prepend(tmp_path)


def lengths(env_id, steps):
    vector = SerialVectorEnv(env_id, 1)
    vector.reset(0)
    for _ in range(steps):
        row = vector.step(np.array([0]))
        assert not row["is_terminal"].any()
    return [episode["length"] for episode in vector.pop_episodes()]


def test_episodes_without_an_end_are_cut_off_and_that_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr(limit, "EPISODE_STEPS", 5)
    with caplog.at_level(logging.WARNING):
        assert lengths("endless_world:Endless-v0", 20) == [5, 5, 5]
    told = [record.getMessage() for record in caplog.records if "no time limit" in record.getMessage()]
    assert told == [
        "Environment 'endless_world:Endless-v0' has no time limit, so its episodes are cut off at 5 steps: "
        "choose another limit with 'endless_world:Endless-v0,max_episode_steps=STEPS'."
    ]


def test_a_limit_of_ones_own_holds(monkeypatch, caplog):
    monkeypatch.setattr(limit, "EPISODE_STEPS", 5)
    assert lengths("endless_world:Endless-v0,max_episode_steps=8", 20) == [8, 8]
    assert lengths("endless_world:Limited-v0", 8) == [3, 3]
    assert "no time limit" not in caplog.text


def test_the_limit_is_no_shorter_than_those_that_are_met():
    assert gymnasium.spec("CartPole-v1").max_episode_steps < limit.EPISODE_STEPS == 10_000


def test_a_class_that_cannot_be_made_is_told_with_its_own_traceback(caplog):
    with pytest.raises(UserError, match="cannot be made: it raised OSError: no such simulator; mend it"):
        make("endless_world:Unmade-v0")
    assert "endless_world.py" in caplog.text
    assert "registry.py" not in caplog.records[0].getMessage()


def test_a_module_that_cannot_be_imported_is_told_so():
    with pytest.raises(UserError, match="'torn_world' cannot be imported: it raised OSError: no such file"):
        make("torn_world:Any-v0")
