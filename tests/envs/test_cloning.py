"""Moments that are played out in a simulator: equal to the environment's own, which do not move."""

import numpy as np
import pytest

from envs import Simulator, branches, make_vector
from expedition import UserError

MAZE = "mazes-collect,size=7,limit=6,observe=symbols"


def begun(env_id, count=2):
    envs = make_vector(env_id, count, workers=0)
    return envs, envs.reset(3)


@pytest.mark.parametrize("env_id", [MAZE, "minipacman"])
def test_a_branch_shows_what_the_environment_will(env_id):
    envs, _ = begun(env_id)
    simulator, rng = Simulator(env_id), np.random.default_rng(0)
    for _ in range(5):
        before = branches(envs, env_id)
        actions = rng.integers(envs.action_space.n, size=2)
        # the dice stay as they are, so that the two must agree
        played = [simulator.step(b, int(a), b.state.luck) for b, a in zip(before, actions, strict=True)]
        rows = envs.step(actions)
        for i, (moment, seen, reward, terminal) in enumerate(played):
            for key, value in seen.items():
                np.testing.assert_array_equal(value, rows[key][i])
            assert reward == pytest.approx(float(rows["reward"][i]))
            assert terminal == rows["is_terminal"][i]
            assert moment.goes_on == (not rows["is_last"][i])


def test_looking_ahead_changes_nothing():
    envs, _ = begun(MAZE)
    others, _ = begun(MAZE)
    simulator = Simulator(MAZE)
    moment = branches(envs, MAZE)[0]
    for _ in range(4):
        moment, *_ = simulator.step(moment, 1, 0)
    for _ in range(6):
        mine, theirs = envs.step(np.array([2, 0])), others.step(np.array([2, 0]))
        for key, value in mine.items():
            np.testing.assert_array_equal(value, theirs[key])


def test_chance_is_drawn_anew():
    slippery = "mazes-collect,size=7,slip=1.0,observe=symbols"
    envs, _ = begun(slippery)
    simulator, start = Simulator(slippery), branches(envs, slippery)[0]
    ends = {simulator.step(start, 0, seed)[0].state.agent for seed in range(40)}
    assert len(ends) > 1


def test_what_cannot_be_set_back_is_refused():
    with pytest.raises(UserError, match="CartPole-v1' has no true simulator"):
        Simulator("CartPole-v1")
    workers = make_vector(MAZE, 2, workers=1)
    try:
        with pytest.raises(UserError, match="set --workers 0"):
            branches(workers, MAZE)
    finally:
        workers.close()
