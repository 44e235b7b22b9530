import collections
import hashlib
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded

from envs import environment_info, make
from envs.suites.crafter.environment import Crafter, summarise
from expedition import UserError

ROOT = pathlib.Path(__file__).parents[4]
NOOP, SLEEP = 0, 6

FINGERPRINT = """
import hashlib, os
import numpy as np
from envs import make

# Moves what comes after it in memory.
junk = [object() for _ in range(int(os.environ["PYTHONHASHSEED"]) * 10_007)]
env, digest, random = make("crafter"), hashlib.sha256(), np.random.RandomState(0)
observation, _ = env.reset(seed=7)
for step in range(2500):
    observation, reward, terminated, truncated, info = env.step(random.randint(17))
    digest.update(observation["image"].tobytes() + repr((reward, terminated)).encode())
    if terminated or truncated:
        env.reset()
print(digest.hexdigest())
"""


def play(env, seed, steps, *, each_step=lambda env: None):
    """Hash what an agent of random actions sees, until death at the latest; and how many steps there were."""
    digest, random = hashlib.sha256(), np.random.RandomState(seed)
    digest.update(env.reset(seed=seed)[0]["image"].tobytes())
    for step in range(steps):
        observation, reward, terminated, truncated, _ = env.step(random.randint(17))
        digest.update(observation["image"].tobytes() + repr(reward).encode())
        each_step(env)
        if terminated or truncated:
            return digest.hexdigest(), step + 1
    return digest.hexdigest(), steps


def test_same_seed_gives_the_same_steps_in_every_process():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", FINGERPRINT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert len(first.strip()) == 64
    assert first == second


def test_same_seed_twice_in_one_process_and_in_two_objects():
    env = make("crafter")
    once = play(env, 5, 300)
    assert play(env, 5, 300) == once
    assert play(make("crafter"), 5, 300) == once
    assert play(env, 6, 300) != once


def test_pictures_and_rewards_are_upstreams_own():
    env = make("crafter")
    import crafter

    from envs.suites.crafter.mends import OrderedSet

    reference = crafter.Env(seed=3)
    world, reset = reference._world, reference._world.reset

    def ordered_reset(seed=None):
        reset(seed)
        world._chunks = collections.defaultdict(OrderedSet)

    world.reset = ordered_reset
    assert np.array_equal(reference.reset(), env.reset(seed=3)[0]["image"])
    random, asleep, dark = np.random.RandomState(1), 0, 0
    for step in range(1, 1001):
        action = SLEEP if step % 300 > 200 else random.randint(17)
        image, reward, done, _ = reference.step(action)
        observation, mine, terminated, truncated, _ = env.step(action)
        assert np.array_equal(image, observation["image"])
        assert (reward, bool(done)) == (mine, terminated or truncated)
        asleep += reference._player.sleeping
        dark += world.daylight < 0.5
        if done:
            reference._seed, reference._episode = step, 0
            assert np.array_equal(reference.reset(), env.reset(seed=step)[0]["image"])
    assert asleep > 20
    assert dark > 50


def test_pictures_at_the_edge_of_the_world_are_upstreams_own():
    env = make("crafter")
    env.reset(seed=0)
    from crafter import engine

    mended = env._upstream._local_view
    plain = engine.LocalView(env._upstream._world, env._upstream._textures, mended._grid)
    unit = np.array([7, 7])
    for corner in ((0, 0), (63, 63), (1, 60)):  # free of animals under this seed
        env._upstream._world.move(env._upstream._player, corner)
        assert np.array_equal(mended(env._upstream._player, unit), plain(env._upstream._player, unit))


def test_recording_a_video_does_not_change_the_trajectory():
    plain, steps = play(Crafter(), 1, 260)
    filmed, _ = play(Crafter(render_size=90), 1, 260, each_step=lambda env: env.render())
    assert steps > 200  # well into the night, when drawing takes random numbers
    assert filmed == plain


def test_render_draws_large_and_only_after_reset():
    env = make("crafter", image_size=36)
    with pytest.raises(ResetNeeded):
        env.render()
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (36, 36, 3)
    assert env.render().shape == (256, 256, 3)
    assert env.render().dtype == np.uint8


def test_world_generation_is_compiled():
    make("crafter")
    from numba.core.dispatcher import Dispatcher
    from opensimplex import internals

    assert isinstance(internals._noise3, Dispatcher)  # without numba a reset takes 15 times as long


UNWRITABLE = """
import numba.core.caching as caching
for name in vars(caching).copy():
    if name.lstrip("_") in ("InTreeCacheLocator", "UserWideCacheLocator"):
        getattr(caching, name).from_function = classmethod(lambda *_: None)
import envs
print(envs.make("crafter").reset(seed=1)[0]["image"].sum())
import numba
print(numba.config.CACHE_DIR)
"""


def test_a_world_is_made_where_neither_package_nor_home_can_be_written():
    environ = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    told = subprocess.run(
        [sys.executable, "-c", UNWRITABLE],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    total, cache = told.stdout.split()
    assert int(total) == make("crafter").reset(seed=1)[0]["image"].sum()
    assert not pathlib.Path(cache).exists()  # it goes with the process


def test_death_terminates():
    env = make("crafter")
    env.reset(seed=0)
    terminated = truncated = False
    for _ in range(2000):  # nobody lives that long without drinking
        _, reward, terminated, truncated, info = env.step(NOOP)
        if terminated or truncated:
            break
    assert (terminated, truncated) == (True, False)
    assert reward < 0
    assert info["inventory"]["health"] == 0


def test_the_time_limit_truncates():
    env = Crafter(length=20)
    env.reset(seed=0)
    ends = [env.step(NOOP)[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]


def test_last_step_counts_achievements():
    env = Crafter(length=60)
    env.reset(seed=0)
    rewards, infos = [], []
    for _ in range(60):
        _, reward, _, _, info = env.step(SLEEP)
        rewards.append(reward)
        infos.append(info)
    assert all("episode_metrics" not in info for info in infos[:-1])
    metrics = infos[-1]["episode_metrics"]
    assert len(metrics) == 22
    assert metrics["achievement/wake_up"] >= 1
    assert metrics["achievement/collect_diamond"] == 0
    assert infos[-1]["reached"] == ["wake_up"]
    assert environment_info("crafter").reachable == len(metrics)
    assert sum(reward >= 0.9 for reward in rewards) == 1  # waking up pays once an episode


def test_an_action_out_of_range_is_refused():
    env = make("crafter")
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 16"):
        env.step(-1)


def test_a_size_too_small_to_draw_is_refused():
    with pytest.raises(UserError, match="at least 18"):
        make("crafter", image_size=17)


def episode(**counts):
    names = [f"other_{i}" for i in range(20)] + ["collect_wood", "eat_cow"]
    return {"return": 0.0, "length": 1} | {
        f"achievement/{name}": float(counts.get(name, 0)) for name in names
    }


def test_score_worked_by_hand():
    episodes = [episode(collect_wood=3, eat_cow=1), episode(collect_wood=1)]
    measures = environment_info("crafter").summarise(episodes)
    # success 100 %, 50 % and twenty times 0 %: exp((ln 101 + ln 51) / 22) - 1
    assert measures["crafter_score"] == pytest.approx((101 * 51) ** (1 / 22) - 1)
    assert measures["crafter_score"] == pytest.approx(0.47476, abs=1e-5)
    assert measures["achievements"] == 2
    assert measures["success/collect_wood"] == 100
    assert measures["success/eat_cow"] == 50
    assert measures["success/other_0"] == 0


def test_score_of_everything_and_of_nothing():
    everything = dict.fromkeys(episode(), 1.0)
    assert summarise([everything])["crafter_score"] == pytest.approx(100)
    assert summarise([episode()])["crafter_score"] == 0
    assert summarise([]) == {}
    assert summarise([{"return": 1.0}]) == {}  # cut off by a failed restore
    assert math.isclose(summarise([{"return": 1.0}, everything])["achievements"], 22)
