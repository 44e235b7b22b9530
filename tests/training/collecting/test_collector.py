"""Collection writes rows by the rule of time, under the names that each phase allows."""

import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, DreamerAgent
from envs import make_vector
from training.collecting.collector import Collector, row_spec
from training.storage.batches import learner_view
from training.storage.replay import Replay
from world_model import for_size

AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(layers=1),
)
ENVS = 3


class Recorder:
    """Environments that note which actions reached them."""

    def __init__(self, envs):
        self._envs = envs
        self.log = []

    def __getattr__(self, name):
        return getattr(self._envs, name)

    def reset(self, seed):
        rows = self._envs.reset(seed)
        self.log.append((None, {key: value.copy() for key, value in rows.items()}))
        return rows

    def send(self, actions):
        self.sent = actions.copy()
        self._envs.send(actions)

    def receive(self):
        rows = self._envs.receive()
        self.log.append((self.sent, {key: value.copy() for key, value in rows.items()}))
        return rows


def collector(task_reward=True, env="catch-vector"):
    envs = Recorder(make_vector(env, ENVS, 32))
    agent = DreamerAgent(envs.observation_space, envs.action_space, AGENT, None, 0, torch.device("cpu"))
    replay = Replay(ENVS, row_spec(envs, agent, task_reward), 2**20)
    return Collector(envs, agent, replay, task_reward, seed=7)


def test_a_row_holds_what_arrived_and_the_action_that_led_to_it():
    it = collector()
    it.start()
    steps = [it.step(0)[0] for _ in range(40)]
    log, stored = it.envs.log, list(it.replay.sequences())
    first = 0
    for t, (actions, rows) in enumerate(log[:40]):
        for env in range(ENVS):
            for name in ("vector", "reward", "is_first", "is_last", "is_terminal"):
                assert np.array_equal(stored[env][name][t], rows[name][env])
            expected = np.zeros(3)
            if not rows["is_first"][env]:
                expected[actions[env]] = 1
            assert np.array_equal(stored[env]["action"][t], expected)
        first += rows["is_first"].sum()
    assert first > ENVS  # episodes did begin anew on the way
    # A row with `is_first` costs no step.
    assert sum(steps) == sum(int((~rows["is_first"]).sum()) for _, rows in log[1:])


def test_the_rewards_name_says_who_may_read_it():
    for task_reward, name in ((True, "reward"), (False, "task/reward")):
        it = collector(task_reward)
        it.start()
        for _ in range(12):
            it.step(0)
        held = next(iter(it.replay.sequences()))
        assert {"reward", "task/reward"} & set(held) == {name}
        assert np.abs(held[name]).sum() > 0
        assert ("reward" in learner_view(held)) == task_reward
        assert "task/reward" not in learner_view(held)


def test_continuous_actions_are_stored_as_they_were_taken():
    it = collector(env="Pendulum-v1")
    it.start()
    for _ in range(6):
        it.step(0)
    held = next(iter(it.replay.sequences()))["action"]
    taken = [actions[0] for actions, _ in it.envs.log[1:6]]
    assert np.array_equal(held[0], np.zeros(1))
    assert np.array_equal(held[1:], taken)
    assert np.abs(held).max() <= 1


def test_stopped_and_resumed_it_goes_on_as_it_would_have():
    never, stopped, resumed = collector(), collector(), collector()
    for it in (never, stopped):
        it.start()
        for _ in range(15):
            it.step(0)
    resumed.load_state_dict(stopped.state_dict())
    before = len(never.replay)
    for it in (never, resumed):
        for _ in range(15):
            it.step(0)
    for one, two in zip(never.replay.sequences(), resumed.replay.sequences(), strict=True):
        for name in one:
            assert np.array_equal(one[name][before // ENVS :], two[name])


def test_it_says_when_it_was_not_started():
    with pytest.raises(AssertionError, match="start"):
        collector().step(0)


def test_equal_seeds_give_equal_experience():
    rows = []
    for _ in range(2):
        it = collector()
        it.start()
        for _ in range(10):
            it.step(0)
        rows.append(next(iter(it.replay.sequences())))
    assert all(np.array_equal(rows[0][name], rows[1][name]) for name in rows[0])
