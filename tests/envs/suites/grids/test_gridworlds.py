from collections import deque

import numpy as np
import pytest

from envs import environment_info, make
from envs.suites.grids.gridworlds import FLOOR, MAZE, RED, Catch, Maze
from expedition import UserError
from tests.scripted import Scripted

LEFT, STAY, RIGHT = range(3)
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def board(observation):
    return observation["vector"].reshape(10, 5)


def fall(env, seed, policy):
    """Play one episode of catch-vector; return its rewards and its boards."""
    boards = [board(env.reset(seed=seed)[0])]
    rewards, terminated = [], False
    while not terminated:
        ball = int(boards[0][0].argmax())
        paddle = int(np.flatnonzero(boards[-1][9])[0])
        observation, reward, terminated, truncated, _ = env.step(policy(ball, paddle))
        assert not truncated
        boards.append(board(observation))
        rewards.append(reward)
    return rewards, boards


def test_catch_pays_for_being_under_the_ball():
    for seed in range(6):
        rewards, boards = fall(make("catch-vector"), seed, lambda ball, paddle: 1 + np.sign(ball - paddle))
        assert rewards == [0.0] * 8 + [1.0]
        assert [int(b.sum()) for b in boards] == [2] * 9 + [1]  # ball and paddle are one at the end


def test_catch_punishes_a_miss():
    rewards, boards = fall(make("catch-vector"), 0, lambda ball, paddle: LEFT if ball > 1 else RIGHT)
    assert rewards == [0.0] * 8 + [-1.0]
    assert boards[-1].sum() == 2


def test_catch_begins_in_the_middle_falls_straight_and_keeps_to_the_board():
    env = make("catch-vector")
    columns = set()
    for seed in range(30):
        rewards, boards = fall(env, seed, lambda ball, paddle: LEFT)
        assert np.flatnonzero(boards[0][9]).tolist() == [2]
        ball = int(boards[0][0].argmax())
        assert all(boards[row][row, ball] == 1 for row in range(10))
        assert boards[-1][9, 0] == 1  # nine moves to the left end in the first column
        columns.add(ball)
    assert columns == set(range(5))


def test_catch_draws_ball_and_paddle_where_the_vector_has_them():
    pixels, vector = Catch("pixels", 50), Catch("vector")
    for action in (STAY, RIGHT, RIGHT, LEFT):
        pixels.reset(seed=3), vector.reset(seed=3)
        image, cells = pixels.step(action)[0]["image"], board(vector.step(action)[0])
        lit = (image != FLOOR).reshape(10, 5, 5, 10, 3).any(axis=(1, 3, 4))  # cells of 5 by 10 pixels
        assert np.array_equal(lit, cells == 1)
        assert (image == RED).all(axis=-1).sum() == 50


def way_to(goal="G"):
    """Find the shortest way through the maze's drawing, on our own."""
    cells = {(y, x): s for y, line in enumerate(MAZE) for x, s in enumerate(line)}
    queue, seen = deque([((1, 1), [])]), {(1, 1)}
    while queue:
        (y, x), way = queue.popleft()
        if cells[y, x] == goal:
            return way
        for action, (dy, dx) in enumerate(MOVES):
            cell = (y + dy, x + dx)
            if cells[cell] != "#" and cell not in seen:
                seen.add(cell)
                queue.append((cell, [*way, action]))
    raise AssertionError("no way")


def test_maze_pays_once_at_the_goal_and_goes_on_to_the_limit():
    env = make("maze-vector")
    first, _ = env.reset(seed=0)
    assert first["vector"].sum() == 2
    assert first["vector"][-1] == 1
    way = way_to()
    assert len(way) == 52
    rewards, ends = [], []
    for action in way + [0, 1] * 74:  # a wall or back and forth
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        ends.append((terminated, truncated))
    assert [i for i, reward in enumerate(rewards) if reward] == [51]
    assert rewards[51] == 1
    assert observation["vector"][-1] == 0
    assert ends == [(False, False)] * 199 + [(False, True)]
    assert info["episode_metrics"] == {"cells_visited": float(env.visited.sum()), "goal_reached": 1.0}
    assert {tuple(map(int, cell.split(":"))) for cell in info["reached"]} == set(
        map(tuple, np.argwhere(env.visited).tolist())
    )
    assert environment_info("maze-vector").reachable == env.num_cells == 97


def test_maze_walls_hold():
    env = Maze("pixels", 30)
    start = env.reset(seed=0)[0]["image"]
    for action in (0, 2):  # up and left of the first corner are walls
        assert np.array_equal(env.step(action)[0]["image"], start)
    assert not np.array_equal(env.step(1)[0]["image"], start)


def test_maze_coverage_adds_up_over_episodes():
    env = Maze("vector", limit=2)
    assert env.coverage() == 0
    env.reset(seed=0)
    assert env.visited.sum() == 1
    env.step(1), env.step(1)
    assert env.visited.sum() == 3
    env.reset(seed=0)
    env.step(1)
    assert env.coverage() == pytest.approx(3 / 97)
    env.visited[:] = True  # a copy
    assert env.coverage() == pytest.approx(3 / 97)


def test_a_random_walk_covers_little_of_the_maze():
    env, random = make("maze-vector"), np.random.RandomState(0)
    env.reset(seed=0)
    for _ in range(10):
        for _ in range(200):
            env.step(int(random.randint(4)))
        env.reset()
    assert 0.1 < env.coverage() < 0.5


def test_maze_measures():
    summarise = environment_info("maze-pixels").summarise
    rows = [{"cells_visited": 97.0, "goal_reached": 1.0}, {"cells_visited": 0.0, "goal_reached": 0.0}]
    assert summarise(rows) == {"cells_visited": 48.5, "coverage": 0.5, "goal_reached": 0.5}
    assert summarise([]) == {}


def test_script_shows_the_action_and_pays_for_it():
    env = Scripted(num_actions=3, lengths=(2, 4))
    endings = []
    for episode in range(4):
        observation, _ = env.reset(seed=0)
        assert observation["vector"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, float(episode % 2 == 0)]
        for step in range(1, 5):
            observation, reward, terminated, truncated, _ = env.step(step % 3)
            assert np.flatnonzero(observation["vector"][:8]).tolist() == [step % 3, 3 + step]
            assert reward == pytest.approx((step % 3 + 1) / 3)
            if terminated or truncated:
                endings.append((step, terminated, truncated))
                break
    assert endings == [(2, True, False), (4, False, True)] * 2


def test_a_picture_smaller_than_the_grid_is_refused():
    with pytest.raises(UserError, match="at least 15"):
        make("maze-pixels", image_size=14)
