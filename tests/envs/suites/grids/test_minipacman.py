import hashlib
import os
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import SerialVectorEnv, environment_info
from envs.suites.grids.levels import Maze, carve, put
from envs.suites.grids.minipacman import (
    CODES,
    FLOOR,
    FOOD,
    HEIGHT,
    PILL,
    POWER,
    SUITE,
    WIDTH,
    Minipacman,
    State,
    advance,
)
from envs.suites.levels import END, Dice
from expedition import UserError

ROOT = pathlib.Path(__file__).parents[4]
UP, DOWN, LEFT, RIGHT, STAY = range(5)

# A ring with a crossing in the middle; the rest of the 15 x 19 board is wall.
RING = ("#######", "#.....#", "#.#.#.#", "#.....#", "#.#.#.#", "#.....#", "#######")

FINGERPRINT = """
import hashlib
from envs.suites.levels import Dice
from envs.suites.grids.minipacman import Minipacman
digest, dice, env = hashlib.sha256(), Dice(0), Minipacman(observe="symbols")
env.reset(seed=3)
for _ in range(2000):
    observation, reward, terminated, truncated, info = env.step(dice.below(5))
    digest.update(observation["cells"].tobytes() + repr((reward, terminated, info["level"])).encode())
    if terminated or truncated:
        env.reset()
print(digest.hexdigest())
"""


def at(row, column):
    return row * WIDTH + column


def ring():
    board = bytearray(HEIGHT * WIDTH)
    for y, line in enumerate(RING):
        for x, symbol in enumerate(line):
            board[at(y, x)] = symbol == "."
    return Maze(bytes(board), WIDTH)


def state(maze, pacman, ghosts=(), *, board=None, **others):
    """A state without food on the way, but some in a corner so that the stage goes on."""
    if board is None:
        board = bytearray(maze.board)
        board[at(5, 5)] = FOOD
    blank = State(0, 0, 0, False, 1, pacman, 0, tuple(ghosts), bytes(board), 1 << pacman, 0, 0, 0)
    return blank._replace(**others)


def play(env, actions):
    """Return all that an agent sees until the episode ends."""
    rows = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        rows.append((*(value.tobytes() for value in observation.values()), reward, terminated, truncated))
        if terminated or truncated:
            rows.append(info["episode_metrics"])
            break
    return rows


def test_the_dice_are_splitmix64():
    dice = Dice(1234567)  # the first outputs that the algorithm's public test vectors give
    assert [dice.bits() for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_the_dice_are_fair():
    dice = Dice(1)
    counts = np.bincount([dice.below(5) for _ in range(10_000)])
    assert counts.sum() == 10_000
    assert abs(counts - 2000).max() < 200  # five standard deviations
    assert sum(dice.chance(0.05) for _ in range(10_000)) == pytest.approx(500, abs=110)
    assert all(dice.chance(1.0) for _ in range(100))
    assert sorted(dice.sample(range(9), 9)) == list(range(9))


def test_mazes_have_no_dead_ends_and_hang_together():
    for seed in range(50):
        maze = carve(Dice(seed), HEIGHT, WIDTH, dead_ends=False)
        assert min(len(maze.exits[cell]) for cell in maze.floor) >= 2
        assert len(maze.distances(maze.floor[0])) == len(maze.floor)
        edge = np.frombuffer(maze.board, np.uint8).reshape(HEIGHT, WIDTH).copy()
        edge[1:-1, 1:-1] = 0
        assert not edge.any()


@pytest.mark.parametrize("observe", ["pixels", "symbols"])
def test_gymnasiums_checker_passes(observe):
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*spec.*")
        check_env(SUITE.make("", {"observe": observe}, 32))


def test_what_the_list_says_is_what_is_made():
    env = SUITE.make("", {}, 64)
    ((key, box),) = env.observation_space.items()
    assert SUITE.tasks[""].observation == f"{key} {box.dtype} {box.shape}"
    assert SUITE.tasks[""].action == str(env.action_space)


def test_same_seed_gives_the_same_steps_in_every_process():
    runs = [
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(runs[0].strip()) == 64
    assert runs[0] == runs[1]


def test_a_level_is_the_same_for_ever():
    walls = Minipacman().maze(0).board + Minipacman().maze(12345).board
    assert hashlib.sha256(walls).hexdigest()[:16] == "3902b7d3710a5556"


def test_a_stage_begins_as_the_rules_say():
    env = Minipacman()
    for seed in range(200):
        env.reset(seed=seed)
        now = env.clone()
        floor = env.maze(now.level).floor
        assert now.board.count(PILL) == 2
        assert now.board.count(FOOD) == len(floor) - 2
        assert now.pacman in floor
        ((ghost, facing),) = now.ghosts
        assert ghost in floor
        assert 0 <= facing < 4
        assert max(abs(ghost // WIDTH - now.pacman // WIDTH), abs(ghost % WIDTH - now.pacman % WIDTH)) >= 5


def test_walls_stop_and_food_and_pills_are_eaten():
    maze = ring()
    board = bytearray(maze.board)
    board[at(1, 1)] = board[at(1, 2)] = board[at(5, 5)] = FOOD
    board[at(1, 3)] = PILL
    now = state(maze, at(1, 1), board=board)
    now, reward, _ = advance(maze, now, UP)
    assert (now.pacman, reward, now.food) == (at(1, 1), 1, 1)  # what it stands on is eaten too
    now, reward, _ = advance(maze, now, STAY)
    assert (now.pacman, reward) == (at(1, 1), 0)
    now, reward, _ = advance(maze, now, RIGHT)
    assert (now.pacman, reward, now.power) == (at(1, 2), 1, 0)
    now, reward, _ = advance(maze, now, RIGHT)
    assert (reward, now.power, now.pills, now.food) == (3, POWER, 1, 3)  # a pill lies on food
    assert now.board[at(1, 3)] == FLOOR
    for left in (*reversed(range(POWER)), 0):
        now, *_ = advance(maze, now, STAY)
        assert now.power == left
    assert now.visited == 1 << at(1, 1) | 1 << at(1, 2) | 1 << at(1, 3)


def test_a_ghost_that_is_met_ends_the_episode_or_is_eaten():
    maze = ring()
    walked_into = state(maze, at(1, 1), [(at(1, 2), RIGHT), (at(5, 4), UP)], stage=20)  # they would move on
    after, reward, caught = advance(maze, walked_into, RIGHT)
    assert (caught, reward, after.kills) == (True, 0, 0)
    after, reward, caught = advance(maze, walked_into._replace(power=2), RIGHT)
    assert (caught, reward, after.kills) == (False, 5, 1)
    assert after.ghosts == ((at(5, 4), UP),)  # one a step: the other's turn was over
    _, reward, caught = advance(maze, walked_into._replace(power=1), RIGHT)
    assert (caught, reward) == (True, 0)  # the power falls before anything moves
    walks_in = state(maze, at(1, 1), [(at(1, 2), LEFT)], stage=6)
    _, reward, caught = advance(maze, walks_in, STAY)
    assert (caught, reward) == (True, 0)


def test_two_ghosts_on_one_cell_are_eaten_one_a_step():
    maze = ring()
    now = state(maze, at(1, 1), [(at(1, 2), RIGHT)] * 2, power=9)
    now, reward, _ = advance(maze, now, RIGHT)
    assert (reward, len(now.ghosts)) == (5, 1)
    now, reward, _ = advance(maze, now, STAY)
    assert (reward, len(now.ghosts)) == (5, 0)


@pytest.mark.parametrize(
    ("cell", "facing", "pacman", "power", "to"),
    [
        (at(1, 2), RIGHT, at(1, 1), 0, at(1, 3)),  # a corridor: goes on, though Pacman is behind
        (at(1, 1), UP, at(5, 3), 0, at(1, 2)),  # a bend: does not turn back
        (at(1, 1), LEFT, at(5, 3), 0, at(2, 1)),
        (at(3, 3), RIGHT, at(1, 5), 0, at(2, 3)),  # a crossing: a tie goes to the first, up
        (at(3, 3), UP, at(4, 1), 0, at(3, 2)),  # towards Pacman, more to the left than down
        (at(3, 3), UP, at(5, 3), 0, at(3, 2)),  # Pacman is behind: left and right tie
        (at(3, 3), UP, at(4, 1), 9, at(3, 4)),  # away from it
    ],
)
def test_where_a_ghost_turns(cell, facing, pacman, power, to):
    maze = ring()
    moved = set()
    for luck in range(20):
        now = state(maze, pacman, [(cell, facing)], power=power, stage=20, luck=luck)
        ((after, _),) = advance(maze, now, STAY)[0].ghosts
        moved.add(after)
    whims = moved - {to}
    assert to in moved
    assert cell not in moved
    assert not whims or (len(maze.exits[cell]) > 2 and power == 0)


@pytest.mark.parametrize(
    ("stage", "power", "share"), [(1, 0, 0.5), (3, 0, 0.7), (6, 0, 1.0), (1, 9, 0.25), (9, 9, 0.65)]
)
def test_how_often_a_ghost_moves(stage, power, share):
    maze, moves, tries = ring(), 0, 2000
    for luck in range(tries):
        now = state(maze, at(1, 1), [(at(5, 2), RIGHT)], power=power, stage=stage, luck=luck)
        ((after, _),) = advance(maze, now, STAY)[0].ghosts
        moves += after != at(5, 2)
    assert moves / tries == pytest.approx(share, abs=0.05)  # over four standard deviations


def test_a_ghost_has_whims_at_crossings():
    maze, whims, tries = ring(), 0, 4000
    for luck in range(tries):
        now = state(maze, at(3, 1), [(at(3, 3), LEFT)], stage=20, luck=luck)
        ((after, _),) = advance(maze, now, STAY)[0].ghosts
        whims += after != at(3, 2)
    assert whims / tries == pytest.approx(0.05 * 2 / 3, abs=0.012)  # one of three ways is the usual one


def test_the_last_food_begins_the_next_stage_in_the_same_maze():
    env = Minipacman(num_levels=5)
    env.reset(seed=0)
    begun = env.clone()
    maze = env.maze(begun.level)
    for stage, ghosts in ((2, 1), (3, 2), (4, 2), (5, 3)):
        now = env.clone()
        env.restore(now._replace(power=9, board=put(maze.board, now.pacman, FOOD)))
        _, reward, terminated, *_ = env.step(STAY)
        now = env.clone()
        assert (reward, terminated, now.stage, len(now.ghosts)) == (1, False, stage, ghosts)
        assert (now.level, now.power) == (begun.level, 0)
        assert now.board.count(FOOD) + now.board.count(PILL) == len(maze.floor)
        assert now.board.count(PILL) == 2


def test_a_branch_taken_up_again_repeats_itself():
    env, rng = Minipacman(), np.random.default_rng(0)
    env.reset(seed=11)
    play(env, rng.integers(5, size=15).tolist())
    state, actions = env.clone(), rng.integers(5, size=400).tolist()
    first = play(env, actions)
    after = env.reset()[1]["level"]
    env.reset(seed=99)
    play(env, actions)
    env.restore(state)
    assert env.clone() is state
    assert play(env, actions) == first
    assert env.reset()[1]["level"] == after  # the dice of the next episode too
    other = Minipacman()  # without a reset of its own
    other.restore(state)
    assert play(other, actions) == first
    assert len(first) > 80


def test_the_set_of_levels():
    assert {Minipacman(num_levels=3, start_level=7).reset(seed=s)[1]["level"] for s in range(60)} == {7, 8, 9}
    env = Minipacman(start_level=END - 2)
    env.reset(seed=0)
    assert {env.reset()[1]["level"] for _ in range(30)} == {END - 2, END - 1}
    assert len({Minipacman().reset(seed=s)[1]["level"] for s in range(20)}) == 20
    with pytest.raises(UserError, match="lower start_level"):
        Minipacman(start_level=END)


def test_pictures_and_symbols_show_the_state():
    env = Minipacman(image_size=57)  # 3 pixels a column
    env.reset(seed=0)
    now = env.clone()._replace(power=15)
    env.restore(now)
    image = env._observe(now)["image"]
    seen = Minipacman(observe="symbols")._observe(now)
    names = np.array(CODES)[seen["cells"]].reshape(HEIGHT, WIDTH)
    colours = np.zeros((HEIGHT, WIDTH, 3))
    for name, colour in (
        ("wall", (255, 255, 255)),
        ("food", (0, 0, 255)),
        ("pill", (0, 255, 255)),
        ("ghost", (255, 191, 0)),
        ("pacman", (0, 255, 0)),
    ):
        colours[np.char.startswith(names, name)] = colour
    rows = (np.arange(57) * HEIGHT) // 57
    assert np.array_equal(image, colours[rows][:, np.arange(57) // 3])
    ((ghost, _),) = now.ghosts
    assert names.flat[ghost] == "ghost on food"
    assert names.flat[now.pacman] == "pacman on food"
    assert (names == "pill").sum() == 2
    assert seen["power"].tolist() == [15]


def test_symbols_tell_what_lies_below_and_who_meets():
    env = Minipacman(observe="symbols")
    env.reset(seed=0)
    now = env.clone()
    pill = now.board.index(PILL)
    gone = put(now.board, now.pacman, FLOOR)
    floor = next(cell for cell in env.maze(now.level).floor if cell not in (pill, now.pacman))
    gone = put(gone, floor, FLOOR)
    ghosts = ((pill, 0), (now.pacman, 1), (floor, 2))
    cells = env._observe(now._replace(board=gone, ghosts=ghosts))["cells"]
    names = [CODES[cells[cell]] for cell in (pill, now.pacman, floor)]
    assert names == ["ghost on a pill", "pacman and a ghost", "ghost"]
    cells = env._observe(now._replace(pacman=pill, ghosts=()))["cells"]
    assert CODES[cells[pill]] == "pacman on a pill"


def test_symbols_are_drawn_as_the_picture():
    env, image_env = Minipacman(observe="symbols"), Minipacman(image_size=128)
    draw, dice = environment_info("minipacman,observe=symbols").draw, Dice(2)
    observation, _ = env.reset(seed=2)
    for _ in range(300):
        assert env.observation_space.contains(observation)
        assert np.array_equal(draw(observation), image_env._observe(env.clone())["image"])
        observation, _, ended, cut, _ = env.step(dice.below(5))
        if ended or cut:
            observation, _ = env.reset()
    env.observation_space.seed(0)
    assert draw(env.observation_space.sample()).shape == (128, 128, 3)
    assert environment_info("minipacman").draw is None


def test_the_limit_truncates_and_the_last_step_tells():
    env = Minipacman(limit=6)
    env.reset(seed=1)
    env.restore(env.clone()._replace(ghosts=()))
    infos = [env.step(STAY) for _ in range(6)]
    assert [(row[2], row[3]) for row in infos] == [(False, False)] * 5 + [(False, True)]
    assert "episode_metrics" not in infos[-2][4]
    metrics = infos[-1][4]["episode_metrics"]
    assert metrics == {
        "cells_visited": 1,
        "coverage": pytest.approx(1 / len(env.maze(env.clone().level).floor)),
        "stages_cleared": 0,
        "food_eaten": 1,
        "pills_eaten": 0,
        "ghosts_eaten": 0,
    }
    with pytest.raises(ResetNeeded):
        env.step(STAY)


def test_a_death_in_the_last_step_is_a_death():
    env = Minipacman(limit=1)
    env.reset(seed=1)
    now = env.clone()
    env.restore(now._replace(ghosts=((now.pacman, UP),)))
    assert env.step(STAY)[2:4] == (True, False)


def test_what_cannot_be_is_refused():
    env = Minipacman()
    for call in (env.clone, env.render, lambda: env.step(0)):
        with pytest.raises(ResetNeeded):
            call()
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 4"):
        env.step(-1)
    with pytest.raises(UserError, match="at least 19"):
        Minipacman(image_size=18)


def test_suite_and_vector_env():
    with pytest.raises(UserError, match="observe"):
        SUITE.make("", {"observe": "vector"}, 64)
    env = SerialVectorEnv(lambda: SUITE.make("", {"limit": "30", "num_levels": "4"}, 24), 2, image_size=24)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(70):
        rows = env.step(rng.integers(5, size=2))
    assert rows["image"].shape == (2, 24, 24, 3)
    episodes = env.pop_episodes()
    measures = SUITE.summarise([*episodes, {"return": 0.0, "crashed": True}])
    assert measures["food_eaten"] == pytest.approx(np.mean([e["food_eaten"] for e in episodes]))
    assert measures["food_eaten"] > 2
    assert 0 < measures["coverage"] < 1
    assert SUITE.summarise([]) == {}
