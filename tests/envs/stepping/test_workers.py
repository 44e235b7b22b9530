"""Worker processes: the same rows as in one process, and no loss of more than an episode when one is lost."""

import contextlib
import os
import subprocess
import sys
import time
from multiprocessing.connection import wait

import numpy as np
import pytest

from envs import EnvironmentFailed, SerialVectorEnv, WorkerVectorEnv, choose_workers, make_vector
from expedition import UserError

WORLD = '''
import os, signal, time
import gymnasium
import numpy as np


class Counter(gymnasium.Env):
    """Counts steps; the action 1 kills the process, 2 hangs it, 3 raises an error, 4 pays nan."""

    observation_space = gymnasium.spaces.Box(0, 100, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.mark = 0, float(self.np_random.integers(100))
        return self._look(), {}

    def step(self, action):
        if action == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == 2:
            time.sleep(1e6)
        if action == 3:
            raise ZeroDivisionError("no such thing")
        self.count += 1
        return self._look(), float("nan") if action == 4 else 1.0, False, self.count == 6, {}

    def _look(self):
        return np.array([self.count, self.mark], np.float32)


gymnasium.register("Counter-v0", entry_point=Counter, disable_env_checker=True, order_enforce=False)
'''
COUNTER = "counter_world:Counter-v0"
PAIR = "tests.factored:Pair-v0"


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """A user's own module."""
    (tmp_path / "counter_world.py").write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)


def test_actions_sent_are_stepped_before_the_rows_are_asked_for(tmp_path):
    with contextlib.closing(WorkerVectorEnv(COUNTER, 3, 2)) as vector:
        first = vector.reset(0)
        moves = np.zeros(3, int)
        vector.send(moves)
        moves[:] = 1  # the caller's array is its own again
        wait([worker.connection for worker in vector._workers[:1]], 60)
        assert vector._rows["vector"][0, 0] == 1  # done, and nobody has asked
        rows = vector.receive()
        np.testing.assert_array_equal(rows["vector"][:, 0], [1, 1, 1])
        np.testing.assert_array_equal(rows["vector"][:, 1], first["vector"][:, 1])
        np.testing.assert_array_equal(vector.step(np.zeros(3, int))["vector"][:, 0], [2, 2, 2])
        vector.send(np.zeros(3, int))  # closing does not wait for an answer


def calm(vector, steps):
    return [vector.step(np.zeros(vector.num_envs, int)) for _ in range(steps)]


@pytest.fixture
def three(world):
    """Three environments in two workers that are soon called hung."""
    vector = WorkerVectorEnv(COUNTER, 3, 2, patience=3.0, max_restarts=2)
    yield vector
    vector.close()


@pytest.mark.parametrize(
    ("env", "workers"), [("catch-vector", 2), ("maze-pixels", 3), ("crafter", 2), (PAIR, 2)]
)
def test_rows_episodes_and_snapshots_equal_those_of_one_process(env, workers):
    rng = np.random.default_rng(0)
    count = 4 if env == "crafter" else 300
    serial, parallel = make_vector(env, 3, 32), make_vector(env, 3, 32, workers=workers)
    third = SerialVectorEnv(env, 3, image_size=32)
    try:
        pairs = [(serial.reset(5), parallel.reset(5))]
        for _ in range(count):
            factored = env is PAIR
            actions = (
                rng.integers([3, 2], size=(3, 2)) if factored else rng.integers(serial.action_space.n, size=3)
            )
            pairs.append((serial.step(actions), parallel.step(actions)))
        assert serial.state_dict()["slots"].keys() == parallel.state_dict()["slots"].keys()
        state = parallel.state_dict()
        third.load_state_dict(state)
        parallel.load_state_dict(serial.state_dict())
        zeros = np.zeros_like(actions)
        pairs += [(third.step(zeros), parallel.step(zeros))]
        for ours, theirs in pairs:
            assert all(np.array_equal(ours[key], theirs[key]) for key in {*ours, *theirs})
        assert serial.pop_episodes() == parallel.pop_episodes() == third.pop_episodes()
        if env is not PAIR:  # which nobody can draw
            assert np.array_equal(third.render(2), parallel.render(2))
    finally:
        parallel.close()


def test_next_episodes_begun_ahead_are_the_same_ones():
    plain = SerialVectorEnv(COUNTER, 2)
    ahead = WorkerVectorEnv(COUNTER, 2, 1, spares=True)
    try:
        plain.reset(3)
        ahead.reset(3)
        for _ in range(20):
            time.sleep(0.01)  # time enough to begin the next one
            for ours, theirs in zip(calm(plain, 1), calm(ahead, 1), strict=True):
                assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    finally:
        ahead.close()


@pytest.mark.parametrize("action", [1, 2])
def test_a_lost_worker_cuts_its_episodes_off_and_is_replaced(three, action):
    three.reset(0)
    before = calm(three, 3)[-1]
    lost = three._workers[0].process
    rows = three.step(np.array([0, action, 0]))
    assert lost.poll() is not None  # reaped: no zombie
    assert rows["is_last"].tolist() == [True, True, False]
    assert rows["is_terminal"].tolist() == [False, False, False]
    assert rows["reward"].tolist() == [0, 0, 1]
    assert np.array_equal(rows["vector"][:2], before["vector"][:2])
    assert rows["vector"][2, 0] == 4
    assert three.pop_episodes() == [
        {"env": env, "return": 3.0, "length": 4, "terminal": False, "crashed": 1.0} for env in (0, 1)
    ]
    assert three.restarts == 1
    rows = calm(three, 1)[0]
    assert rows["is_first"].tolist() == [True, True, False]
    # It is the episode that would have followed: number 1 of each.
    other = SerialVectorEnv(COUNTER, 3)
    other.reset(0)
    assert np.array_equal(calm(other, 7)[-1]["vector"][:2], rows["vector"][:2])


def test_a_worker_lost_between_episodes_begins_the_next_one(three):
    three.reset(0)
    assert calm(three, 6)[-1]["is_last"].all()
    three._workers[0].process.kill()
    rows = calm(three, 1)[0]
    assert rows["is_first"].all()
    assert [e["length"] for e in three.pop_episodes()] == [6, 6, 6]


def test_the_row_of_a_loss_goes_through_a_snapshot(three):
    three.reset(0)
    three.step(np.array([1, 0, 0]))
    state = three.state_dict()
    expected = calm(three, 2)
    other = SerialVectorEnv(COUNTER, 3)
    other.load_state_dict(state)
    for ours, theirs in zip(expected, calm(other, 2), strict=True):
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_a_worker_that_died_unseen_does_not_stop_a_snapshot(three):
    three.reset(0)
    calm(three, 2)
    three._workers[0].process.kill()
    three._workers[0].process.wait()
    state = three.state_dict()
    assert [slot["ended"] for slot in state["slots"].values()] == [True, True, False]
    assert [e["env"] for e in state["episodes"].values()] == [0, 1]
    rows = calm(three, 1)[0]
    assert rows["is_first"].tolist() == [True, True, False]
    other = SerialVectorEnv(COUNTER, 3)
    other.load_state_dict(state)
    assert all(np.array_equal(value, rows[key]) for key, value in calm(other, 1)[0].items())


def test_a_worker_that_died_before_a_picture_is_told_in_a_sentence(three):
    three.reset(0)
    three._workers[1].process.kill()
    with pytest.raises(UserError, match="died while it drew"):
        three.render(2)
    calm(three, 1)
    assert three.restarts == 1


@pytest.mark.parametrize(
    ("env", "most", "expected"), [("crafter", 8, 0), ("robodesk-stack", 8, 8), ("robodesk-stack", 1, 0)]
)
def test_workers_are_chosen_where_they_pay(env, most, expected):
    assert choose_workers(env, most) == expected


def test_after_too_many_losses_it_gives_up(three):
    three.reset(0)
    for _ in range(3):  # a loss, then the next episode
        three.step(np.array([1, 0, 0]))
    three.step(np.array([0, 0, 0]))
    with pytest.raises(UserError, match="lost 3 times.*--workers 0"):
        three.step(np.array([1, 0, 0]))


def test_an_error_in_the_very_first_step_is_told_where_it_was(three):
    three.reset(0)
    with pytest.raises(
        UserError, match="Environment 2 .* step 1: it raised ZeroDivisionError: no such thing"
    ):
        three.step(np.array([0, 0, 3]))


def test_a_late_error_of_the_environment_counts_as_a_lost_worker(three):
    three.reset(0)
    calm(three, 3)
    rows = three.step(np.array([0, 0, 3]))
    assert rows["is_last"].tolist() == [False, False, True]
    assert not rows["is_terminal"].any()
    assert three.pop_episodes() == [{"env": 2, "return": 3.0, "length": 4, "terminal": False, "crashed": 1.0}]
    assert calm(three, 1)[0]["is_first"].tolist() == [False, False, True]
    assert three.restarts == 1


def test_a_broken_promise_stops_a_worker_and_leaves_rows_to_go_on_from(three):
    three.reset(0)
    calm(three, 2)
    with pytest.raises(EnvironmentFailed, match="Environment 0 .* step 3: the reward is nan") as caught:
        three.step(np.array([4, 0, 0]))
    assert caught.value.rows["is_last"].tolist() == [True, True, False]
    state = three.state_dict()
    expected = calm(three, 2)
    other = SerialVectorEnv(COUNTER, 3)
    other.load_state_dict(state)
    for ours, theirs in zip(expected, calm(other, 2), strict=True):
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_a_refusal_is_told_as_it_was():
    with pytest.raises(UserError, match="Unknown environment"):
        WorkerVectorEnv("CartPoll-v1", 2, 2)


def test_workers_leave_with_a_killed_parent():
    code = (
        "import time; from envs import make_vector; v = make_vector('CartPole-v1', 2, workers=2); "
        "print(*[w.process.pid for w in v._workers], flush=True); time.sleep(100)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}/cmdline") and _alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
