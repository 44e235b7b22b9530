import importlib.util
import warnings

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import SerialVectorEnv, Simulator, branches, environment_info, make, make_vector
from envs.suites.construction.environment import METRICS, SUITE, Construction
from envs.suites.construction.scenes import Scene
from envs.suites.construction.seen import FEATURES
from envs.suites.construction.shapes import Box
from envs.suites.construction.tasks import RULES
from expedition import UserError
from expedition.pointing import Pointing

pytest.importorskip("pymunk")

WIDTHS = (0.7, 2.1, 3.5)
SMALL, MEDIUM, LARGE = 0, 1, 2
MIDDLE = 20  # the column at x = 0
TARGET = Box(0.0, 1.05, 0.7, 0.7)
"""In the middle, one row above the floor."""
LOW = Box(0.0, 0.35, 1.4, 0.35)
"""An obstacle just above the floor."""


class Given(Construction):
    """A task in a scene of ours, whatever the level."""

    def __init__(self, task, scene, **options):
        super().__init__(task, **options)
        self._given = scene
        self.reset(seed=0)

    def level(self, number):
        return self._given


def targets(*boxes, limit=20):
    return Scene((), boxes, WIDTHS, limit)


def over(*obstacles, supply=WIDTHS, limit=20):
    return Scene(obstacles, (), supply, limit)


def play(env, *actions):
    """Each step's reward, whether it terminated, whether it was cut off; and the last metrics."""
    rows, info = [], {}
    for action in actions:
        _, reward, terminated, truncated, info = env.step(np.array(action))
        rows.append((round(reward, 6), terminated, truncated))
    return rows, info.get("episode_metrics")


ON, DONE, CUT = (False, False), (True, False), (False, True)


def test_silhouette_pays_for_targets_filled_and_takes_for_glue():
    low = Box(0.0, 0.35, 0.7, 0.7)
    env = Given("silhouette", targets(low, TARGET, Box(2.1, 0.35, 2.1, 0.7)))
    rows, metrics = play(
        env,
        (SMALL, MIDDLE, 0, 0),
        (SMALL, MIDDLE - 10, 0, 1),  # glue, and no target
        (MEDIUM, MIDDLE, 1, 0),  # larger than the target that it fills
    )
    assert rows == [(1.0, *ON), (-0.5, *ON), (0.0, *ON)]
    env = Given("silhouette", targets(low, TARGET))
    rows, metrics = play(env, (SMALL, MIDDLE, 0, 1), (SMALL, MIDDLE, 1, 0))
    assert rows == [(0.5, *ON), (1.0, *DONE)]
    assert metrics == dict(zip(METRICS, (1.0, 1.0, 2.0, 1.0, 0.0, 0.0), strict=True))


def test_what_was_paid_is_taken_back_when_it_is_undone():
    env = Given("silhouette", targets(Box(0.0, 1.05, 2.1, 0.7), Box(5.6, 0.35, 0.7, 0.7)))
    rows, _ = play(
        env,
        (SMALL, MIDDLE, 0, 0),
        (MEDIUM, MIDDLE, 1, 0),
        (LARGE, MIDDLE + 4, 2, 0),  # too heavy on one end
    )
    assert rows == [(0.0, *ON), (1.0, *ON), (-1.0, *ON)]


def test_connecting_pays_for_targets_reached_and_glue_is_free():
    small = (Box(0.0, 1.05, 0.35, 0.35), Box(1.4, 1.05, 0.35, 0.35), Box(-5.6, 0.35, 0.35, 0.35))
    env = Given("connecting", targets(*small))
    rows, metrics = play(
        env,
        (SMALL, MIDDLE, 0, 1),
        (LARGE, MIDDLE + 4, 1, 1),  # reaches both that are in the sky, held by glue
        (SMALL, MIDDLE - 16, 0, 0),
    )
    assert rows == [(0.0, *ON), (2.0, *ON), (1.0, *DONE)]
    assert (metrics["progress"], metrics["sticky"]) == (1, 2)


@pytest.mark.parametrize(("task", "price"), [("covering", 2.0), ("covering-hard", 0.5)])
def test_covering_pays_for_length_and_takes_for_glue(task, price):
    few = (0.7, 0.7, 3.5, 0.7)
    env = Given(task, over(LOW, Box(5.0, 0.35, 1.0, 0.35), supply=few))
    rows, metrics = play(env, (0, MIDDLE - 4, 0, 0), (1, MIDDLE + 4, 0, 1), (2, MIDDLE, 1, 0))
    assert rows == [(0.0, *ON), (-price, *ON), (1.4, *ON)]
    env = Given(task, over(LOW, supply=few))
    rows, metrics = play(env, (0, MIDDLE - 4, 0, 0), (1, MIDDLE + 4, 0, 0), (2, MIDDLE, 1, 0))
    assert rows[-1] == (1.4, *DONE)
    assert metrics == dict(zip(METRICS, (1.0, 1.0, 3.0, 0.0, 0.0, 0.0), strict=True))


def test_part_of_a_length_is_part_of_the_reward():
    # a sticky arm on a sticky post beside the obstacle, from x = -1.75 to 0.35; the obstacle from -0.7 to 0.7
    env = Given("covering", over(LOW))
    rows, _ = play(env, (SMALL, MIDDLE - 4, 0, 1), (MEDIUM, MIDDLE - 2, 1, 0))
    assert rows == [(-2.0, *ON), (pytest.approx(0.7 + 0.35, abs=0.02), *ON)]


@pytest.mark.parametrize(
    "action",
    [
        (SMALL, MIDDLE, 0, 0),  # put into it
        (SMALL, MIDDLE, 3, 0),  # falls onto it
        (LARGE, MIDDLE, 1, 1),  # glue does not help
    ],
)
def test_who_touches_an_obstacle_is_out_and_paid_nothing(action):
    env = Given("covering", over(LOW, Box(5.0, 0.35, 1.0, 0.35)))
    rows, metrics = play(env, action)
    assert rows == [(0.0, *DONE)]
    assert (metrics["hit_obstacle"], metrics["overlapped"], metrics["success"]) == (1, 0, 0)
    with pytest.raises(ResetNeeded):
        env.step(np.array(action))


def test_what_was_reached_before_a_collision_is_told():
    env = Given("covering", over(LOW, Box(5.0, 0.35, 1.0, 0.35)))
    play(env, (SMALL, MIDDLE - 4, 0, 0), (SMALL, MIDDLE + 4, 0, 0), (LARGE, MIDDLE, 1, 0))
    _, metrics = play(env, (SMALL, 34, 2, 0))  # falls onto the other obstacle
    assert (metrics["hit_obstacle"], metrics["placed"]) == (1, 4)
    assert metrics["progress"] == pytest.approx(1.4 / 2.4)


def test_who_puts_a_block_into_another_is_out():
    env = Given("silhouette", targets(TARGET, Box(3.5, 0.35, 0.7, 0.7)))
    rows, metrics = play(env, (SMALL, MIDDLE, 0, 0), (MEDIUM, MIDDLE + 2, 0, 0))
    assert rows == [(0.0, *ON), (0.0, *DONE)]
    assert (metrics["hit_obstacle"], metrics["overlapped"]) == (0, 1)
    assert metrics["placed"] == 2


def test_blocks_side_by_side_do_not_overlap():
    env = Given("silhouette", targets(TARGET), steps=20)
    rows, _ = play(env, *((SMALL, column, 0, 0) for column in range(2, 40, 2)))
    assert rows == [(0.0, *ON)] * 19


def test_few_blocks_run_out_and_are_placed_once():
    env = Given("covering-hard", over(LOW, supply=(0.7, 0.7)))
    rows, _ = play(env, (0, 3, 0, 0), (0, 30, 0, 0), (5, 30, 0, 0))  # the second is gone, the third never was
    assert rows == [(0.0, *ON)] * 3
    assert len(env.clone().blocks) == 1
    rows, metrics = play(env, (1, 6, 0, 0))
    assert rows == [(0.0, *DONE)]
    assert (metrics["success"], metrics["placed"]) == (0, 2)


def test_the_limit_cuts_off():
    env = Given("silhouette", targets(TARGET, limit=2))
    assert play(env, (SMALL, 3, 0, 0), (SMALL, 8, 0, 0))[0] == [(0.0, *ON), (0.0, *CUT)]
    env = Given("silhouette", targets(TARGET, limit=2), steps=3)
    assert play(env, *[(SMALL, 2 + 5 * i, 0, 0) for i in range(3)])[0] == [(0.0, *ON)] * 2 + [(0.0, *CUT)]
    env = Given("silhouette", targets(TARGET, limit=1))
    assert play(env, (SMALL, 3, 0, 0))[0] == [(0.0, *CUT)]
    env = Given("silhouette", targets(Box(0.0, 0.35, 0.7, 0.7), limit=1))
    assert play(env, (SMALL, MIDDLE, 0, 0))[0] == [(1.0, *DONE)]  # success in the last step terminates


def rows_of(env, kind):
    """The numbers of the rows of a kind that exist."""
    return [row for row, told in enumerate(env._table(env.clone())[0][:, kind]) if told]


PLACED, OBSTACLE, GOAL, FLOOR = 7, 8, 9, 10


def test_relative_actions_stand_on_objects_and_in_targets():
    env = Given("silhouette", targets(TARGET, Box(0.0, 0.35, 0.7, 0.7)), actions="relative")
    low, (ground, *_) = rows_of(env, GOAL)[1], rows_of(env, FLOOR)
    assert play(env, (SMALL, low, 7, 0))[0] == [(1.0, *ON)]
    play(env, (LARGE, ground, 7, 0))  # the middle of the leftmost stretch of the floor
    wide = env.clone().blocks[1]
    assert (wide.x, wide.y) == (pytest.approx(-5.25, abs=0.01), pytest.approx(0.35, abs=0.01))
    small, _ = rows_of(env, PLACED)
    assert play(env, (SMALL, small, 7, 0))[0] == [(1.0, *DONE)]


def test_offsets_reach_from_beside_to_beside():
    env = Given("silhouette", targets(TARGET), actions="relative")
    (*_, ground) = rows_of(env, FLOOR)
    play(env, (LARGE, rows_of(env, FLOOR)[1], 14, 0))
    (wide,) = rows_of(env, PLACED)
    start = env.clone()
    for offset, x, y in ((0, -0.45 - 1.75, 0.35), (7, 0.0, 1.05), (9, 2 / 7 * 2.2, 1.05), (14, 2.2, 0.35)):
        env.restore(start)
        play(env, (SMALL, wide, offset, 0))
        base, block = env.clone().blocks
        assert block.x - base.x == pytest.approx(x, abs=0.05)
        assert block.y == pytest.approx(y, abs=0.02)
    env.restore(start)
    play(env, (LARGE, ground, 14, 0))
    assert env.clone().blocks[1].x == pytest.approx(7 - 1.75, abs=0.01)  # moved inside the scene


def test_what_cannot_be_chosen_costs_a_step_and_changes_nothing():
    env = Given("silhouette", targets(TARGET, limit=4), actions="relative")
    absent, (hand, *_) = rows_of(env, GOAL)[0] + 1, rows_of(env, 6)
    assert play(env, (SMALL, absent, 7, 1), (SMALL, hand, 7, 1))[0] == [(0.0, *ON)] * 2
    assert (env.clone().blocks, env.clone().steps) == ((), 2)
    assert play(env, (SMALL, absent, 0, 1), (SMALL, absent, 0, 1))[0] == [(0.0, *ON), (0.0, *CUT)]


def wander(env, rng, steps):
    """What happens in random steps, episode after episode, as bytes and numbers."""
    told = []
    for _ in range(steps):
        seen, *rest = env.step(rng.integers(env.action_space.nvec))
        told.append((*(value.tobytes() for value in seen.values()), *rest[:3], env.clone()))
        if rest[1] or rest[2]:
            told.append(env.reset()[1]["level"])
    return told


@pytest.mark.parametrize("task", RULES)
@pytest.mark.parametrize("actions", ["absolute", "relative"])
def test_a_branch_taken_up_again_repeats_itself_bit_for_bit(task, actions):
    env, rng = Construction(task, actions=actions, difficulty=0, steps=12), np.random.default_rng(0)
    env.reset(seed=1)
    for _ in range(500):
        wander(env, rng, 1)
        if len(env.clone().blocks) >= 2:
            break
    state = env.clone()
    first = wander(env, np.random.default_rng(2), 40)
    env.restore(state)
    assert wander(env, np.random.default_rng(2), 40) == first
    assert len(state.blocks) >= 2
    other = Construction(task, actions=actions, difficulty=0, steps=12)
    other.restore(state)
    assert wander(other, np.random.default_rng(2), 40) == first


def solve(env):
    """Fill the targets of a level in their order."""
    for target in env.level(env.clone().level).targets:
        kind = env.level(env.clone().level).supply.index(target.width)
        yield env.step(np.array((kind, round((target.x + 7) / 0.35), round(target.y / 0.7 - 0.5), 0)))


@pytest.mark.parametrize("size", [1.0, 1.5])
def test_every_silhouette_can_be_built_without_glue(size):
    env = Construction("silhouette", size=size)
    for seed in range(12):
        env.reset(seed=seed)
        rows = list(solve(env))
        assert [row[1] for row in rows] == [1.0] * len(rows)
        assert rows[-1][2]
        assert rows[-1][4]["episode_metrics"]["success"] == 1


def test_a_branch_of_the_true_simulator_shows_what_the_environment_will():
    env_id = "construction-silhouette,difficulty=3"
    envs = make_vector(env_id, 2, workers=0)
    envs.reset(3)
    simulator, rng = Simulator(env_id), np.random.default_rng(0)
    for _ in range(4):
        before = branches(envs, env_id)
        actions = rng.integers(envs.action_space.nvec, size=(2, 4))
        if not all(branch.goes_on for branch in before):
            break
        played = [simulator.step(b, a, 7) for b, a in zip(before, actions, strict=True)]
        rows = envs.step(actions)
        for i, (moment, seen, reward, terminal) in enumerate(played):
            for key, value in seen.items():
                np.testing.assert_array_equal(value, rows[key][i])
            assert reward == pytest.approx(float(rows["reward"][i]))
            assert (terminal, moment.goes_on) == (rows["is_terminal"][i], not rows["is_last"][i])


def test_the_same_seed_begins_the_same_episode():
    first, second = Construction("covering"), Construction("covering")
    for seed in range(5):
        one, two = first.reset(seed=seed), second.reset(seed=seed)
        assert all(np.array_equal(one[0][key], two[0][key]) for key in one[0])
        assert one[1] == two[1]


@pytest.mark.parametrize("task", RULES)
def test_train_and_test_sets_do_not_meet(task):
    env = Construction(task, num_levels=4)
    env.reset(seed=0)
    train = {env.level(env.reset()[1]["level"]) for _ in range(60)}
    other = Construction(task, start_level=4)
    numbers = [other.reset(seed=seed)[1]["level"] for seed in range(60)]
    assert train == {env.level(number) for number in range(4)}
    assert min(numbers) >= 4
    assert not train & {other.level(number) for number in numbers}


@pytest.mark.parametrize("difficulty", [0, -1])
@pytest.mark.parametrize("task", RULES)
def test_larger_scenes_have_the_same_spaces(task, difficulty):
    for actions in ("absolute", "relative"):
        plain, larger = (
            Construction(task, actions=actions, size=size, difficulty=difficulty) for size in (1.0, 1.5)
        )
        assert plain.observation_space == larger.observation_space
        assert plain.action_space == larger.action_space
    assert larger.level(3) != plain.level(3)


@pytest.mark.parametrize(
    ("task", "easiest", "hardest"),
    [("silhouette", 11, 37), ("connecting", 21, 57), ("covering", 53, 59), ("covering-hard", 30, 32)],
)
def test_there_are_no_more_rows_than_a_difficulty_needs(task, easiest, hardest):
    counts = [Construction(task, difficulty=difficulty)._objects.count for difficulty in (0, -1)]
    assert counts == [easiest, hardest]
    assert Construction(task, size=2.0)._objects.count > hardest


@pytest.mark.parametrize("task", RULES)
@pytest.mark.parametrize("observe", ["objects", "pixels", "both", "flat"])
def test_gymnasiums_checker_passes(task, observe):
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*spec.*")
        check_env(SUITE.make(task, {"observe": observe, "actions": "relative"}, 32))


@pytest.mark.parametrize("task", RULES)
@pytest.mark.parametrize("observe", ["objects", "both"])
def test_relative_actions_point_at_rows(task, observe):
    env = make(f"construction-{task},observe={observe},actions=relative")
    supply, count, *rest = env.action_space.nvec.tolist()
    assert env.action_space == Pointing([supply, count, *rest], {1: "objects"})
    assert env.observation_space["objects"].shape[0] == count
    larger = make(f"construction-{task},observe={observe},actions=relative,size=1.5")
    assert larger.action_space == env.action_space


@pytest.mark.parametrize(
    "options", ["actions=absolute", "actions=relative,observe=flat", "actions=relative,observe=pixels"]
)
def test_nothing_else_points(options):
    assert not isinstance(make(f"construction-covering,{options}").action_space, Pointing)


def test_the_row_that_is_pointed_at_is_what_is_built_on():
    env = Given("silhouette", targets(TARGET, Box(2.1, 0.35, 0.7, 0.7)), actions="relative")
    seen = env._observe(env.clone())
    rows = np.flatnonzero(seen["objects"][:, FEATURES.index("target")])
    assert seen["objects_mask"][rows].tolist() == [1, 1]
    assert play(env, (SMALL, rows[1], 7, 0))[0] == [(1.0, *ON)]


def test_views_show_the_same():
    shown = {
        observe: Given("silhouette", targets(TARGET), observe=observe, image_size=128)
        for observe in ("objects", "pixels", "both", "flat")
    }
    seen = {observe: env.step(np.array((MEDIUM, 5, 0, 1)))[0] for observe, env in shown.items()}
    np.testing.assert_array_equal(seen["objects"]["objects"].ravel(), seen["flat"]["vector"])
    assert set(seen["both"]) == {"objects", "objects_mask", "image"}
    for key, value in {**seen["objects"], **seen["pixels"]}.items():
        np.testing.assert_array_equal(seen["both"][key], value)
    for observe in ("objects", "flat"):
        draw = environment_info(f"construction-silhouette,observe={observe}").draw
        np.testing.assert_array_equal(draw(seen[observe]), seen["pixels"]["image"])
    assert shown["flat"].render().shape == (256, 256, 3)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="'covering' has difficulties 0 to 2, not 3"):
        Construction("covering", difficulty=3)
    with pytest.raises(UserError, match="2 at most, not 3"):
        Construction("covering", size=3.0)
    with pytest.raises(UserError, match="lower start_level"):
        Construction("covering", start_level=2**31)
    env = Construction("covering")
    with pytest.raises(ResetNeeded):
        env.clone()
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="MultiDiscrete"):
        env.step(np.array((3, 0, 0, 0)))


def test_a_missing_package_is_told_in_a_sentence(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pymunk" else found(name))
    with pytest.raises(UserError, match=r"\(pymunk\): run `pip install 'expedition\[construction\]'`\.$"):
        SUITE.make("covering", {}, 64)


def test_suite_and_vector_env():
    env = SerialVectorEnv(lambda: SUITE.make("silhouette", {"difficulty": "1"}, 64), 2)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        env.step(rng.integers(env.action_space.nvec, size=(2, 4)))
    episodes = env.pop_episodes()
    measures = SUITE.summarise(episodes)
    assert set(measures) == set(METRICS)
    assert 0 < measures["placed"] <= 2
    assert SUITE.summarise([{"return": 0.0}]) == {}
