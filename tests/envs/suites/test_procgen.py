import hashlib
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs.suites.procgen import GAMES, SUITE, summarise
from expedition import UserError

if SUITE.missing():
    pytest.skip("Procgen is not installed.", allow_module_level=True)

from envs.suites import procgen_mends

ROOT = pathlib.Path(__file__).parents[3]
NOOP, RIGHT, RIGHT_UP, UP = 4, 7, 8, 5

FINGERPRINT = """
import hashlib
import numpy as np
from envs.suites.procgen import SUITE

env, digest, random = SUITE.make("bigfish", {}, 64), hashlib.sha256(), np.random.RandomState(3)
digest.update(env.reset(seed=3)[0]["image"].tobytes())
for step in range(400):
    observation, reward, terminated, truncated, _ = env.step(random.randint(15))
    digest.update(observation["image"].tobytes() + repr(reward).encode())
    if terminated or truncated:
        break
print(digest.hexdigest())
"""


def make(game, image_size=64, **options):
    return SUITE.make(game, {name: str(value) for name, value in options.items()}, image_size)


def play(env, seed, steps, *, each_step=lambda env: None):
    """Hash what an agent of random actions sees, until the end of the episode at the latest."""
    digest, random = hashlib.sha256(), np.random.RandomState(seed)
    digest.update(env.reset(seed=seed)[0]["image"].tobytes())
    for step in range(steps):
        observation, reward, terminated, truncated, _ = env.step(random.randint(15))
        digest.update(observation["image"].tobytes() + repr(reward).encode())
        each_step(env)
        if terminated or truncated:
            return digest.hexdigest(), step + 1
    return digest.hexdigest(), steps


@pytest.mark.parametrize("game", ["maze", "starpilot"])
def test_gymnasiums_checker_passes(game):
    check_env(make(game, image_size=32))


def test_the_static_list_is_upstreams():
    from procgen.env import ENV_NAMES

    assert list(GAMES) == sorted(ENV_NAMES)
    env = make("maze")
    box = env.observation_space["image"]
    for task in SUITE.tasks.values():
        assert task.observation == f"image {box.dtype} {box.shape}"
        assert task.action == str(env.action_space)


@pytest.mark.parametrize("mode", ["hard", "easy"])
def test_episodes_are_upstreams_own(mode):
    random = np.random.RandomState(0)
    for game in GAMES:
        seed = int(random.randint(2**31 - 1))
        env = make(game, mode=mode, num_levels=50, start_level=7)
        reference = procgen_mends.ProcgenGym3Env(
            1, game, distribution_mode=mode, num_levels=50, start_level=7, rand_seed=seed, num_threads=0
        )
        observation, info = env.reset(seed=seed)
        level = reference.get_info()[0]["level_seed"]
        assert info["level_seed"] == level
        assert np.array_equal(reference.observe()[1]["rgb"][0], observation["image"])
        for _ in range(100):
            action = random.randint(15)
            reference.act(np.array([action]))
            (reward,), pictures, (first,) = reference.observe()
            before = observation
            observation, mine, terminated, truncated, info = env.step(action)
            assert (reward, bool(first), level) == (mine, terminated or truncated, info["level_seed"])
            shown = before["image"] if first else pictures["rgb"][0]
            assert np.array_equal(shown, observation["image"])
            if first:
                break


def test_the_same_seed_gives_the_same_episode_in_every_process_and_after_any_other():
    env = make("bigfish")
    once, steps = play(env, 3, 400)
    assert steps > 20
    assert play(env, 4, 400)[0] != once
    assert play(env, 3, 400)[0] == once
    other = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == once


def test_without_a_seed_episodes_follow_from_the_last_one():
    env, levels = make("coinrun"), []
    for _ in range(2):
        env.reset(seed=1)
        levels.append([env.reset()[1]["level_seed"] for _ in range(3)])
    assert levels[0] == levels[1]
    assert len(set(levels[0])) == 3


def test_sets_of_levels():
    def drawn(**options):
        env = make("maze", mode="easy", **options)
        return {env.reset(seed=seed)[1]["level_seed"] for seed in range(60)}

    assert drawn(num_levels=3, start_level=200) == {200, 201, 202}
    assert drawn(num_levels=1) == {0}
    assert len(drawn()) == 60


def test_a_level_of_a_set_looks_as_in_the_set_of_all():
    narrow, wide = make("miner", num_levels=1, start_level=5), make("miner", num_levels=10)
    seed = next(seed for seed in range(100) if wide.reset(seed=seed)[1]["level_seed"] == 5)
    assert np.array_equal(wide.reset(seed=seed)[0]["image"], narrow.reset(seed=0)[0]["image"])


def test_modes_differ():
    easy, hard = make("maze", mode="easy"), make("maze", mode="hard")
    assert not np.array_equal(easy.reset(seed=0)[0]["image"], hard.reset(seed=0)[0]["image"])


def read_limit(state):
    """Read the time limit from a saved state of upstream's: ints, and texts after their lengths."""
    at = 4

    def skip_text():
        return at + 4 + struct.unpack_from("i", state, at)[0]

    at = skip_text() + 4 * (12 + 5)
    for _ in range(2):  # two generators
        at += 4
        at = skip_text()
    return struct.unpack_from("i", state, at + 4 * 4)[0]


def test_time_limits_are_upstreams():
    for name, game in GAMES.items():
        assert read_limit(make(name)._native.get_state()[0]) == game.limit


def test_the_time_limit_truncates():
    env = make("maze")
    env.reset(seed=0)
    ends = [env.step(NOOP)[2:4] for _ in range(500)]
    assert ends == [(False, False)] * 499 + [(False, True)]


def last_step(env, seed, actions):
    env.reset(seed=seed)
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return reward, terminated, info["episode_metrics"]
        assert "episode_metrics" not in info
    raise AssertionError("The episode has not ended.")


def test_a_won_level_and_a_death_terminate():
    env = make("coinrun", mode="easy")
    ends = [last_step(env, seed, [RIGHT_UP] * 1000) for seed in range(12)]
    assert all(terminated for _, terminated, _ in ends)
    won = [metrics for reward, _, metrics in ends if reward == 10]
    lost = [metrics for reward, _, metrics in ends if reward == 0]
    assert won
    assert lost
    assert all(metrics == {"level_complete": 1, "normalized_return": 1} for metrics in won)
    assert all(metrics == {"level_complete": 0, "normalized_return": -1} for metrics in lost)


def test_normalized_return_goes_by_the_mode():
    scores = {}
    for mode in ("easy", "hard"):
        env = make("leaper", mode=mode)
        scores[mode] = last_step(env, 0, [NOOP] * 500)[2]["normalized_return"]
    assert scores == {"easy": pytest.approx(-3 / 7), "hard": pytest.approx(-1.5 / 8.5)}


def test_the_last_row_shows_the_old_level():
    env = make("leaper", num_levels=2)
    env.reset(seed=1)
    while True:
        observation, _, terminated, _, _ = env.step(UP)
        if terminated:
            break
        before, large = observation, env.render()
    assert np.array_equal(before["image"], observation["image"])
    assert np.array_equal(env.render()[::8, ::8], observation["image"])
    assert env.render().shape == large.shape
    with pytest.raises(ResetNeeded):
        env.step(UP)


def test_recording_a_video_does_not_change_the_trajectory():
    for game in ("fruitbot", "starpilot"):
        plain, steps = play(make(game), 1, 150)
        assert play(make(game), 1, 150, each_step=lambda env: env.render()) == (plain, steps)


def test_render_draws_large_and_only_after_reset():
    env = make("ninja", image_size=40)
    with pytest.raises(ResetNeeded):
        env.render()
    assert env.reset(seed=0)[0]["image"].shape == (40, 40, 3)
    assert (env.render().shape, env.render().dtype) == ((512, 512, 3), np.uint8)
    assert env.render().std() > 10
    env.close()


def test_pictures_are_not_shared():
    env = make("bigfish")
    first = env.reset(seed=0)[0]["image"]
    copy = first.copy()
    second = env.step(RIGHT)[0]["image"]
    assert np.array_equal(first, copy)
    second[:] = 0
    assert env.step(RIGHT)[0]["image"].any()


def test_an_action_out_of_range_is_refused():
    env = make("maze")
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 14"):
        env.step(-1)  # upstream would end the level


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"start_level": 5}, "give num_levels too"),
        ({"start_level": 2**31 - 2, "num_levels": 2}, "lower start_level"),
        ({"mode": "extreme"}, "mode"),
        ({"num_levels": -1}, "at least 0"),
    ],
)
def test_bad_options_are_refused(options, problem):
    with pytest.raises(UserError, match=problem):
        make("maze", **options)


def test_importing_upstream_leaves_no_traces():
    code = (
        "import sys; before = list(sys.path); from envs import make; make('procgen-coinrun').reset(seed=0); "
        "gym = sys.modules.get('gym'); print(sys.path == before, gym is None or hasattr(gym, 'make'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["True", "True"]


def test_measures_are_means():
    rows = [
        {"level_complete": 1.0, "normalized_return": 0.5},
        {"level_complete": 0.0, "normalized_return": 0.0},
    ]
    assert summarise([*rows, {"return": 1.0}]) == {"level_complete": 0.5, "normalized_return": 0.25}
    assert summarise([]) == {}
