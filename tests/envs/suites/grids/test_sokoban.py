import pathlib

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import environment_info
from envs.suites.grids.gridworlds import BLUE, FLOOR, GREEN, RED, WALL
from envs.suites.grids.sokoban import CODES, NUM_LEVELS, SUITE, Sokoban, summarise
from expedition import UserError

envpool = pytest.importorskip("envpool")

LEVELS = np.load(pathlib.Path(envpool.__file__).parent / "jumanji/assets/boxoban/unfiltered-test.npy")
SOLVED = 56
SOLUTION = [int(action) for action in "322122000120033"]
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def walk(level, actions):
    """Play Sokoban by the book; yield the planes and the reward after each action."""
    walls, targets = level[..., 0] == 1, level[..., 0] == 2
    (agent,), boxes = np.argwhere(level[..., 1] == 3), level[..., 1] == 4
    for action in [None, *actions]:
        before = (boxes & targets).sum()
        if action is not None:
            to, beyond = agent + MOVES[action], agent + 2 * np.array(MOVES[action])
            if boxes[tuple(to)] and not walls[tuple(beyond)] and not boxes[tuple(beyond)]:
                boxes = boxes.copy()
                boxes[tuple(to)], boxes[tuple(beyond)] = False, True
            if not walls[tuple(to)] and not boxes[tuple(to)]:
                agent = to
        here = np.zeros((10, 10), bool)
        here[tuple(agent)] = True
        after = (boxes & targets).sum()
        yield np.stack([walls, targets, here, boxes]), (after - before) - 0.1 + 10 * (after == 4), after


def planes_of(observation):
    """Walls, targets, agent and boxes, bool (4, 10, 10), by the names of the codes."""
    names = np.array(CODES)[observation["cells"]].reshape(10, 10)
    return np.stack([np.char.find(names, word) >= 0 for word in ("wall", "target", "agent", "box")])


def test_gymnasiums_checker_passes():
    check_env(Sokoban(image_size=32))


def test_the_list_says_what_is_made():
    env = SUITE.make("", {}, 64)
    box = env.observation_space["image"]
    assert SUITE.tasks[""].observation == f"image {box.dtype} {box.shape}"
    assert SUITE.tasks[""].action == str(env.action_space)
    assert len(LEVELS) == NUM_LEVELS


def test_levels_and_rules():
    env, random = Sokoban("symbols"), np.random.RandomState(0)
    pushed = 0
    for seed in range(10):
        observation, info = env.reset(seed=seed)
        actions = random.randint(4, size=120).tolist()
        expected = list(walk(LEVELS[info["level"]], actions))
        for step, (planes, reward, _) in enumerate(expected):
            if step:
                observation, mine, terminated, truncated, info = env.step(actions[step - 1])
                assert mine == pytest.approx(reward)
                assert (terminated, truncated) == (False, step == 120)
                pushed += reward > 0
            assert np.array_equal(planes_of(observation), planes)
            assert env.observation_space.contains(observation)
        assert info["episode_metrics"] == {"success": 0.0, "boxes": float(expected[-1][2])}
    assert pushed > 0


def test_a_solved_level_terminates():
    env = Sokoban(num_levels=1, start_level=SOLVED)
    env.reset(seed=0)
    for action in SOLUTION:
        _, reward, terminated, truncated, info = env.step(action)
    assert (reward, terminated, truncated) == (pytest.approx(10.9), True, False)
    assert info == {"level": SOLVED, "episode_metrics": {"success": 1.0, "boxes": 4.0}}
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_the_seed_settles_the_level():
    env = Sokoban()
    levels = [env.reset(seed=seed)[1]["level"] for seed in range(60)]
    assert levels == [env.reset(seed=seed)[1]["level"] for seed in range(60)]
    assert len(set(levels)) > 50
    assert (min(levels) < 100, max(levels) >= 900) == (True, True)
    few = Sokoban(num_levels=2, start_level=7)
    assert {few.reset(seed=seed)[1]["level"] for seed in range(20)} == {7, 8}
    last = Sokoban(start_level=998)
    assert {last.reset(seed=seed)[1]["level"] for seed in range(20)} == {998, 999}


def test_pictures_show_the_planes():
    image_env, symbol_env = Sokoban(), Sokoban("symbols")
    draw = environment_info("sokoban,observe=symbols").draw
    for seed in range(5):
        image = image_env.reset(seed=seed)[0]["image"]
        observation, _ = symbol_env.reset(seed=seed)
        walls, targets, agent, boxes = planes_of(observation)
        cells = image[:60, :60].reshape(10, 6, 10, 6, 3)
        assert not image[60:].any()
        assert not image[:, 60:].any()
        for place, colour in ((walls, WALL), (agent, BLUE), (boxes, RED)):
            assert np.array_equal((cells[:, 3, :, 3] == colour).all(-1), place)
        assert np.array_equal((cells[:, 0, :, 0] == GREEN).all(-1), targets)
        assert np.array_equal((cells[:, 0, :, 0] == FLOOR).all(-1), ~walls & ~targets)
        assert np.array_equal(image_env.render()[::32, ::32], cells[:, 0, :, 0])
        assert np.array_equal(draw(observation)[::12, ::12], cells[:, 0, :, 0])
        assert np.array_equal(draw(observation)[6::12, 6::12], cells[:, 3, :, 3])


def test_bad_input_is_refused():
    for options, problem in (
        ({"start_level": "1000"}, "1000 levels"),
        ({"num_levels": "501", "start_level": "500"}, "1000 levels"),
        ({"observe": "text"}, "observe"),
    ):
        with pytest.raises(UserError, match=problem):
            SUITE.make("", options, 64)
    with pytest.raises(UserError, match="at least 30"):
        Sokoban(image_size=29)
    env = Sokoban()
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 3"):
        env.step(4)
    env.close()


def test_measures_are_means():
    rows = [{"success": 1.0, "boxes": 4.0}, {"success": 0.0, "boxes": 1.0}, {"return": 1.0}]
    assert summarise(rows) == {"success": 0.5, "boxes": 2.5}
    assert summarise([]) == {}
