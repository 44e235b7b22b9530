import warnings

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import SerialVectorEnv, environment_info
from envs.suites.grids.levels import carve
from envs.suites.grids.mazes import AGENT, CODES, DANGER, FLOOR, GOAL, GOLD, SILVER, SUITE, TILES, WALL, Mazes
from envs.suites.levels import Dice
from expedition import UserError


def path(env, target):
    """The actions of a shortest way from the agent to a cell."""
    now = env.clone()
    maze = env.level(now.level).maze
    far, actions, cell = maze.distances(target), [], now.agent
    while cell != target:
        action = next(a for a in maze.exits[cell] if far[maze.moves[a][cell]] < far[cell])
        actions.append(action)
        cell = maze.moves[action][cell]
    return actions


def tour(env):
    """Walk to everything that lies about and return (reward, other tasks' rewards) of each step."""
    rows = []
    while things := [cell for cell, code in enumerate(env.clone().board) if code > AGENT]:
        for action in path(env, things[0]):
            _, reward, terminated, truncated, info = env.step(action)
            assert not terminated
            assert not truncated
            rows.append((reward, info["task_rewards"]))
    return rows


@pytest.mark.parametrize(("height", "width"), [(7, 7), (15, 15), (5, 21)])
def test_without_loops_there_is_one_path_between_any_two_cells(height, width):
    for seed in range(20):
        maze = carve(Dice(seed), height, width)
        rooms = (height // 2) * (width // 2)
        assert len(maze.floor) == 2 * rooms - 1  # a tree: one passage fewer than rooms
        assert len(maze.distances(maze.floor[0])) == len(maze.floor)
    assert len({carve(Dice(seed), height, width).board for seed in range(20)}) > 10


def test_loops_open_their_share_of_walls():
    floors = [len(carve(Dice(seed), 15, 15, loops=0.5).floor) for seed in range(100)]
    # 7 x 7 rooms, 84 walls between them, 48 opened for the tree: half of 36 more
    assert np.mean(floors) == pytest.approx(97 + 18, abs=1)
    assert len(carve(Dice(0), 15, 15, loops=1.0).floor) == 97 + 36


def test_a_level_has_its_goal_far_and_its_tiles_on_cells_of_their_own():
    env = Mazes()
    for number in range(30):
        maze, start, board = env.level(number)
        far = maze.distances(start)
        goal = board.index(GOAL)
        assert far[goal] == max(far.values())
        assert board[start] == FLOOR
        assert [board.count(code) for code in (GOAL, GOLD, SILVER, DANGER)] == [1, 2, 2, 2]
        assert all(board[cell] == WALL or cell in far for cell in range(len(board)))
    assert env.level(0) is not env.level(1)


@pytest.mark.parametrize("task", SUITE.tasks)
@pytest.mark.parametrize("observe", ["pixels", "symbols"])
def test_gymnasiums_checker_passes(task, observe):
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*spec.*")
        check_env(SUITE.make(task, {"observe": observe, "view": "local"}, 32))


@pytest.mark.parametrize("task", SUITE.tasks)
def test_what_the_list_says_is_what_is_made(task):
    env = SUITE.make(task, {}, 64)
    ((key, box),) = env.observation_space.items()
    assert SUITE.tasks[task].observation == f"{key} {box.dtype} {box.shape}"
    assert SUITE.tasks[task].action == str(env.action_space)


def test_the_goal_pays_once_and_the_episode_goes_on():
    env = Mazes(limit=500)
    env.reset(seed=0)
    way = path(env, env.clone().board.index(GOAL))
    rows = [env.step(action) for action in way]
    assert [row[1] for row in rows] == [0] * (len(way) - 1) + [1]
    assert not any(row[2] or row[3] for row in rows)
    assert env.step(way[-1] ^ 1)[1] == 0
    assert env.step(way[-1])[1] == 0  # it is gone


def test_each_task_sees_the_others_rewards():
    goal, collect = Mazes("goal", limit=10_000), Mazes("collect", limit=10_000)
    assert (goal.task_rewards, collect.task_rewards) == (("collect",), ("goal",))
    goal.reset(seed=4)
    collect.reset(seed=4)
    of_goal, of_collect = tour(goal), tour(collect)
    assert sum(reward for reward, _ in of_goal) == 1
    assert sorted(reward for reward, _ in of_collect if reward) == [-1, -1, 0.5, 0.5, 1, 1]
    assert [reward for reward, _ in of_goal] == [others["goal"] for _, others in of_collect]
    assert [reward for reward, _ in of_collect] == [others["collect"] for _, others in of_goal]
    assert goal.clone() == collect.clone()  # the same world but for the reward


def test_the_last_step_tells_what_was_done():
    env = Mazes("collect", limit=400)
    env.reset(seed=1)
    maze, start, board = env.level(env.clone().level)
    env.restore(env.clone()._replace(board=board.replace(bytes([SILVER]), bytes([FLOOR]), 1)))
    way = path(env, board.index(GOLD))
    passed, cell = {start}, start
    for action in way:
        env.step(action)
        cell = maze.moves[action][cell]
        passed.add(cell)
    env.restore(env.clone()._replace(steps=399))
    *_, truncated, info = env.step(way[-1] ^ 1)
    left, metrics = env.clone().board, info["episode_metrics"]
    assert truncated
    assert metrics["cells_visited"] == len(passed)
    assert metrics["coverage"] == pytest.approx(len(passed) / 97)
    assert metrics["silver"] == 1 - left.count(SILVER) / 2 >= 0.5
    assert metrics["gold"] == 1 - left.count(GOLD) / 2 >= 0.5
    assert metrics["goal_reached"] == (GOAL not in left)
    assert metrics["success"] == (GOLD not in left and SILVER not in left)
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_cells_of_limited_levels_are_told():
    env = Mazes(num_levels=3, start_level=5, limit=1)
    env.reset(seed=0)
    now = env.clone()
    action = next(iter(env.level(now.level).maze.exits[now.agent]))
    reached = env.step(action)[4]["reached"]
    assert sorted(reached) == sorted(f"{now.level}:{cell}" for cell in (now.agent, env.clone().agent))
    assert now.level in (5, 6, 7)
    cells = sum(len(env.level(level).maze.floor) for level in (5, 6, 7))
    assert environment_info("mazes-goal,num_levels=3,start_level=5").reachable == cells == 291


def test_cells_of_unlimited_levels_are_not():
    env = Mazes(limit=1)
    env.reset(seed=0)
    assert "reached" not in env.step(0)[4]
    assert environment_info("mazes-goal").reachable is None
    assert environment_info("mazes-goal,num_levels=3,loops=0.2").reachable is None


@pytest.mark.parametrize(("task", "gone"), [("goal", (GOAL,)), ("collect", (GOLD, SILVER))])
def test_success_is_of_the_task(task, gone):
    env = Mazes(task, limit=1)
    for kept in (None, *gone):
        env.reset(seed=0)
        now = env.clone()
        board = now.board
        for code in (*set(TILES), GOAL):
            if (code in gone) and code != kept:
                board = board.replace(bytes([code]), bytes([FLOOR]))
        env.restore(now._replace(board=board))
        maze = env.level(now.level).maze
        wall = next(a for a in range(4) if a not in maze.exits[now.agent])
        assert env.step(wall)[4]["episode_metrics"]["success"] == (kept is None)


def test_a_branch_taken_up_again_repeats_itself():
    env, rng = Mazes("collect", observe="symbols"), np.random.default_rng(0)
    env.reset(seed=0)
    for action in rng.integers(4, size=30).tolist():
        env.step(action)
    state, actions = env.clone(), rng.integers(4, size=170).tolist()

    def branch(env):
        rows = [env.step(action) for action in actions]
        return [(row[0]["cells"].tobytes(), *row[1:]) for row in rows], env.reset()[1]["level"]

    first = branch(env)
    assert first[0][-1][3]  # up to the limit and into the next episode
    env.restore(state)
    assert branch(env) == first
    other = Mazes("collect", observe="symbols")
    other.restore(state)
    assert branch(other) == first


def test_on_slippery_floor_its_share_of_steps_goes_anywhere():
    env = Mazes("collect", slip=0.4, limit=10**6)
    env.reset(seed=0)
    seen = []
    for _ in range(8000):
        now = env.clone()
        exits = env.level(now.level).maze.exits[now.agent]
        action = exits[0]
        env.step(action)
        seen.append(env.clone().agent == env.level(now.level).maze.moves[action][now.agent])
        env.restore(env.clone()._replace(agent=now.agent))
    # three of four random directions lead elsewhere
    assert 1 - np.mean(seen) == pytest.approx(0.4 * 3 / 4, abs=0.02)
    before = Mazes("collect")
    before.reset(seed=0)
    luck = before.clone().luck
    before.step(0)
    assert before.clone().luck == luck  # firm ground draws none


@pytest.mark.parametrize("slip", [0.0, 0.4])
def test_a_slippery_branch_repeats_itself_too(slip):
    env, actions = Mazes("goal", slip=slip, observe="symbols"), [0, 3, 1, 1, 2, 3] * 10
    env.reset(seed=1)
    state = env.clone()
    rows = [env.step(action)[0]["cells"].tobytes() for action in actions]
    env.restore(state)
    assert [env.step(action)[0]["cells"].tobytes() for action in actions] == rows


def test_train_and_test_sets_do_not_meet():
    env = Mazes(num_levels=4)
    env.reset(seed=0)
    train = {env.reset()[1]["level"] for _ in range(100)}
    test = {Mazes(start_level=4).reset(seed=seed)[1]["level"] for seed in range(100)}
    assert train == {0, 1, 2, 3}
    assert len(test) == 100
    assert min(test) >= 4


def test_the_same_seed_begins_the_same_episode():
    first, second = Mazes(), Mazes()
    for seed in range(5):
        one, two = first.reset(seed=seed), second.reset(seed=seed)
        assert np.array_equal(one[0]["image"], two[0]["image"])
        assert one[1] == two[1]


def test_symbols_are_the_board():
    env = Mazes(observe="symbols", size=9)
    observation, _ = env.reset(seed=3)
    now = env.clone()
    board = bytearray(now.board)
    board[now.agent] = AGENT
    assert observation["cells"].tolist() == list(board)
    assert env.observation_space.contains(observation)
    named = {name: CODES.index(name) for name in CODES}
    assert list(named.values()) == [WALL, FLOOR, AGENT, GOAL, GOLD, SILVER, DANGER]


@pytest.mark.parametrize("view", ["full", "local"])
def test_symbols_are_drawn_as_the_picture(view):
    env, image_env = Mazes(observe="symbols", view=view), Mazes(image_size=128, view=view)
    draw = environment_info(f"mazes-collect,observe=symbols,view={view}").draw
    observation, _ = env.reset(seed=2)
    for action in (0, 1, 2, 3) * 5:
        assert np.array_equal(draw(observation), image_env._observe(env.clone())["image"])
        observation = env.step(action)[0]
    assert environment_info("mazes-goal").draw is None


def test_the_local_view_is_the_window_around_the_agent():
    env, whole = Mazes(view="local", observe="symbols"), Mazes(observe="symbols")
    env.reset(seed=3)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(150):
        near = env.step(int(rng.integers(4)))[0]["cells"].reshape(7, 7)
        now = env.clone()
        full = whole._observe(now)["cells"].reshape(15, 15)
        row, column = divmod(now.agent, 15)
        seen.add((row, column))
        for y in range(7):
            for x in range(7):
                at = (row + y - 3, column + x - 3)
                inside = min(at) >= 0 and max(at) < 15
                assert near[y, x] == (full[at] if inside else WALL)
    assert any(min(cell) < 3 or max(cell) > 11 for cell in seen)


def test_pictures_are_whole_cells_and_render_shows_the_whole_maze():
    env = Mazes(image_size=45, view="local")
    observation, _ = env.reset(seed=0)
    assert tuple(observation["image"][22, 22]) == (60, 130, 255)
    before = env.clone()
    picture = env.render()
    assert env.clone() == before
    full = Mazes(image_size=15)._observe(before)["image"]
    cells = np.arange(256) * 15 // 256
    assert np.array_equal(picture, full[cells][:, cells])
    assert Mazes(size=301, image_size=301).reset(seed=0)[0]["image"].shape == (301, 301, 3)


def test_what_cannot_be_is_refused():
    for size in (5, 8):
        with pytest.raises(UserError, match="odd and at least 7"):
            Mazes(size=size)
    with pytest.raises(UserError, match="slip is a probability"):
        Mazes(slip=1.5)
    with pytest.raises(UserError, match="at least 21 pixels"):
        Mazes(size=21, image_size=20)
    env = Mazes()
    with pytest.raises(ResetNeeded):
        env.clone()
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 3"):
        env.step(4)


def test_suite_and_vector_env():
    options = {"limit": "25", "size": "9", "view": "local", "loops": "0.2"}
    env = SerialVectorEnv(lambda: SUITE.make("goal", options, 64), 2)
    env.reset(seed=0)
    rng, paid = np.random.default_rng(0), 0.0
    for _ in range(103):
        rows = env.step(rng.integers(4, size=2))
        paid += np.abs(rows["task/collect"]).sum()
    assert rows["image"].shape == (2, 64, 64, 3)
    assert paid > 0
    episodes = env.pop_episodes()
    assert len(episodes) == 8
    measures = SUITE.summarise(episodes)
    assert measures["goal_reached"] == np.mean([episode["return"] for episode in episodes])
    assert 0 < measures["coverage"] < 1
