import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction
from gymnasium.utils.env_checker import check_env

from envs import environment_info
from envs.suites.grids.minigrid import SUITE, UPSTREAM_IDS, MiniGrid, summarise
from expedition import UserError

pytest.importorskip("minigrid")
from minigrid.core.constants import COLOR_NAMES
from minigrid.wrappers import RGBImgPartialObsWrapper

LEFT, RIGHT, FORWARD = 0, 1, 2
VARIED = ["doorkey-8x8", "obstructedmaze-2dlh", "lavacrossings9n1", "memorys13", "dynamic-obstacles-6x6"]


@pytest.mark.parametrize("observe", ["pixels", "symbols"])
def test_gymnasiums_checker_passes(observe):
    check_env(MiniGrid("doorkey-5x5", observe, image_size=32))


@pytest.mark.parametrize("task", SUITE.tasks)
def test_the_static_list_is_upstreams(task):
    env = SUITE.make(task, {}, 64)
    box = env.observation_space["image"]
    assert SUITE.tasks[task].observation == f"image {box.dtype} {box.shape}"
    assert SUITE.tasks[task].action == str(env.action_space)
    assert UPSTREAM_IDS[task][0].lower().startswith(f"minigrid-{task}-v")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


def test_missions_need_no_reading():
    for task in SUITE.tasks:
        env = MiniGrid(task)._upstream
        missions = set()
        for seed in range(5):
            env.reset(seed=seed)
            words = env.mission.split()
            missions.add(" ".join(word for word in words if word not in COLOR_NAMES))
        assert len(missions) == 1  # but for the colour of the one ball, box or door there is


@pytest.mark.parametrize("task", VARIED)
def test_what_is_seen_and_earned_is_upstreams(task):
    upstream = gymnasium.make(UPSTREAM_IDS[task][0], render_mode="rgb_array")
    pictures = RGBImgPartialObsWrapper(upstream, tile_size=9)
    image_env, symbol_env = MiniGrid(task), MiniGrid(task, "symbols")
    random = np.random.RandomState(0)
    for episode in range(6):
        raw, _ = upstream.reset(seed=episode)
        rows = [env.reset(seed=episode)[0] for env in (image_env, symbol_env)]
        ended = False
        for _ in range(60):
            image = rows[0]["image"]
            assert np.array_equal(image[:63, :63], pictures.observation(raw)["image"])
            assert not image[63:].any()
            assert not image[:, 63:].any()
            assert np.array_equal(rows[1]["cells"], raw["image"].ravel())
            assert symbol_env.observation_space.contains(rows[1])
            if ended:
                break
            action = random.randint(upstream.action_space.n)
            raw, reward, terminated, truncated, _ = upstream.step(action)
            ended = terminated or truncated
            rows = []
            for env in (image_env, symbol_env):
                observation, *rest, info = env.step(action)
                assert rest == [reward, terminated, truncated and not terminated]
                assert ("episode_metrics" in info) == ended
                rows.append(observation)


def test_symbols_are_drawn_as_the_picture_and_so_is_what_a_model_dreams():
    task, random = "obstructedmaze-2dlh", np.random.RandomState(0)
    env, image_env = MiniGrid(task, "symbols"), MiniGrid(task, image_size=126)
    draw = environment_info(f"minigrid-{task},observe=symbols").draw
    rows = [made.reset(seed=0)[0] for made in (env, image_env)]
    for _ in range(100):
        assert np.array_equal(draw(rows[0]), rows[1]["image"])
        action = random.randint(7)
        rows = [made.step(action)[0] for made in (env, image_env)]
    env.observation_space.seed(0)
    for _ in range(30):
        assert draw(env.observation_space.sample()).shape == (126, 126, 3)
    assert environment_info("minigrid-unlock").draw is None


def test_success_terminates():
    env = MiniGrid("empty-5x5")
    env.reset(seed=0)
    *_, reward, terminated, truncated, info = [
        env.step(a) for a in (FORWARD, FORWARD, RIGHT, FORWARD, FORWARD)
    ][-1]
    assert (reward, terminated, truncated) == (pytest.approx(1 - 0.9 * 5 / 100), True, False)
    assert info == {"episode_metrics": {"success": 1.0}, "reached": ["1:1", "2:1", "3:1", "3:2", "3:3"]}


def test_lava_terminates_without_success():
    env = MiniGrid("distshift1")
    env.reset(seed=0)
    for action in (FORWARD, FORWARD, RIGHT, FORWARD):
        _, reward, terminated, truncated, info = env.step(action)
    if not terminated:
        pytest.fail("There should be lava below the third cell.")
    assert (reward, truncated, info["episode_metrics"]) == (0, False, {"success": 0.0})
    assert info["reached"] == ["1:1", "2:1", "3:1", "3:2"]


def test_the_time_limit_truncates():
    env = MiniGrid("empty-5x5")
    env.reset(seed=0)
    ends = [env.step(LEFT)[2:] for _ in range(100)]
    assert all(end == (False, False, {}) for end in ends[:-1])
    assert ends[-1] == (False, True, {"episode_metrics": {"success": 0.0}, "reached": ["1:1"]})
    env.reset(seed=0)
    assert [env.step(FORWARD) for _ in range(100)][-1][-1]["reached"] == ["1:1", "2:1", "3:1"]  # anew


def test_the_seed_settles_the_grid():
    env = MiniGrid("multiroom-n6")
    first, again, other = (env.reset(seed=seed)[0]["image"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    unseeded = []
    for _ in range(2):
        env.reset(seed=3)
        env.reset()
        unseeded.append(env.render())
    assert np.array_equal(*unseeded)


def test_render_shows_the_whole_grid_and_changes_nothing():
    env = MiniGrid("dynamic-obstacles-8x8")
    env.reset(seed=0)
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((256, 256, 3), np.uint8)
    after = env.step(LEFT)[0]["image"]
    env.reset(seed=0)
    assert np.array_equal(env.step(LEFT)[0]["image"], after)
    env.close()


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="at least 21"):
        MiniGrid("unlock", image_size=20)
    with pytest.raises(UserError, match="observe"):
        SUITE.make("unlock", {"observe": "text"}, 64)
    env = MiniGrid("dynamic-obstacles-6x6")
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="Discrete"):
        env.step(3)


def test_success_is_a_mean():
    assert summarise([{"success": 1.0}, {"success": 0.0}, {"return": 1.0}]) == {"success": 0.5}
    assert summarise([]) == {}
