import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from PIL import Image

from envs.suites import atari
from envs.suites.atari import GAMES, SUITE, Atari
from expedition import UserError

ale_py = pytest.importorskip("ale_py")

ROOT = pathlib.Path(__file__).parents[3]
NOOP, FIRE, RIGHT, LEFT = 0, 1, 3, 4

FINGERPRINT = """
import hashlib
import numpy as np
from envs.suites.atari import Atari

env, digest, random = Atari("ms_pacman"), hashlib.sha256(), np.random.RandomState(3)
digest.update(env.reset(seed=3)[0]["image"].tobytes())
for step in range(100):
    observation, reward, terminated, truncated, _ = env.step(random.randint(18))
    digest.update(observation["image"].tobytes() + repr(reward).encode())
print(digest.hexdigest())
"""


def play(env, seed, steps=100):
    """Hash what an agent of random actions sees in a game that it cannot lose so fast."""
    digest, random = hashlib.sha256(), np.random.RandomState(seed)
    digest.update(env.reset(seed=seed)[0]["image"].tobytes())
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(random.randint(18))
        digest.update(observation["image"].tobytes() + repr(reward).encode())
        assert not terminated
        assert not truncated
    return digest.hexdigest()


def upstream(game, sticky=0.0, seed=0):
    """Return the plain emulator, reset as often as gymnasium's own environment does."""
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", sticky)
    ale.loadROM(ale_py.roms.get_rom_path(game))
    ale.reset_game()
    return ale


def small(screen, size=64):
    return np.asarray(Image.fromarray(screen).resize((size, size), Image.Resampling.BOX))


def test_gymnasiums_checker_passes():
    check_env(Atari("pong", image_size=32))


def test_the_static_list_is_upstreams():
    assert set(GAMES) < set(ale_py.roms.get_all_rom_ids())
    assert len(GAMES) == len(set(GAMES)) == 57
    env = SUITE.make("hero", {}, 64)
    box = env.observation_space["image"]
    for task in SUITE.tasks.values():
        assert task.observation == f"image {box.dtype} {box.shape}"
        assert task.action == str(env.action_space)


def test_frames_and_points_are_upstreams():
    env, ale, random = (
        Atari("ms_pacman", sticky=0.0, noop_max=0),
        upstream("ms_pacman"),
        np.random.RandomState(0),
    )
    play(env, 1)  # whatever came before leaves no trace
    observation, _ = env.reset(seed=5)
    assert np.array_equal(small(ale.getScreenRGB()), observation["image"])
    total = 0
    for _ in range(200):
        action = random.randint(18)
        screens, points = [], 0
        for _ in range(4):
            points += ale.act(action)
            screens.append(ale.getScreenRGB())
        observation, reward, _, _, info = env.step(action)
        assert reward == points
        assert np.array_equal(small(np.maximum(*screens[-2:])), observation["image"])
        assert info == {"lives": ale.lives(), "frames": ale.getEpisodeFrameNumber()}
        total += points
    assert total > 0


def test_single_frames_in_grey():
    env, ale = Atari("pong", frame_skip=1, sticky=0.0, noop_max=0, grey=True), upstream("pong")
    env.reset(seed=0)
    for _ in range(80):
        ale.act(FIRE)
        image = env.step(FIRE)[0]["image"]
        assert np.array_equal(image, np.repeat(small(ale.getScreenGrayscale())[..., None], 3, axis=2))


def test_the_same_seed_gives_the_same_game_in_every_process_and_after_any_other():
    env = Atari("ms_pacman")
    once = play(env, 3)
    assert play(env, 4) != once
    assert play(env, 3) == once
    other = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == once
    assert not other.stderr  # no greeting


def test_without_a_seed_games_follow_from_the_last_one():
    env, starts = Atari("pong"), []
    for _ in range(2):
        env.reset(seed=1)
        starts.append([env.reset()[1]["frames"] for _ in range(4)])
    assert starts[0] == starts[1]
    assert len(set(starts[0])) > 1


def acted(monkeypatch, env, actions):
    """Return the actions that reach the emulator."""
    reached, emulator = [], env._ale

    class Spy:
        def __getattr__(self, name):
            return getattr(emulator, name)

        def act(self, action):
            reached.append(action)
            return emulator.act(action)

    monkeypatch.setattr(env, "_ale", Spy())
    for action in actions:
        env.step(action)
    return np.array(reached).reshape(len(actions), -1)


def test_sticky_actions_repeat_the_one_before(monkeypatch):
    env = Atari("pong")
    env.reset(seed=0)
    wanted = np.arange(400) % 2 + RIGHT  # right, left, right, ...
    frames = acted(monkeypatch, env, wanted.tolist())
    assert set(frames[1:].ravel()) == {RIGHT, LEFT}
    late = frames[1:] != wanted[1:, None]
    # A frame is late if it and all before it in the step stick: 0.25 to the power of 1, 2, 3, 4.
    assert late.mean(0) == pytest.approx([0.25, 0.0625, 0.0156, 0.0039], abs=0.05)
    assert (late[:, 1:] <= late[:, :-1]).all()
    env.reset(seed=0)
    assert env._held == NOOP


def test_actions_that_always_stick_are_upstreams():
    env, ale = Atari("pong", sticky=1.0, noop_max=0), upstream("pong", sticky=1.0)
    env.reset(seed=0)
    for _ in range(50):
        screens = [(ale.act(RIGHT), ale.getScreenRGB())[1] for _ in range(4)]
        image = env.step(RIGHT)[0]["image"]
    assert np.array_equal(small(np.maximum(*screens[-2:])), image)


def test_games_begin_after_some_frames_without_action():
    env = Atari("pong")
    frames = [env.reset(seed=seed)[1]["frames"] for seed in range(300)]
    assert (min(frames), max(frames)) == (0, 30)
    fixed = Atari("pong", noop_max=0)
    assert {fixed.reset(seed=seed)[1]["frames"] for seed in range(3)} == {0}


def last_step(env, action, limit=3000):
    env.reset(seed=0)
    for step in range(1, limit):
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return step, terminated, truncated, info
    raise AssertionError("The game has not ended.")


def test_the_end_of_the_game_terminates_and_a_lost_life_if_asked():
    steps, *ends, info = last_step(Atari("ms_pacman"), LEFT)
    assert (ends, info["lives"]) == ([True, False], 0)
    env = Atari("ms_pacman", life_loss=True)
    fewer, *ends, info = last_step(env, LEFT)
    assert (ends, info["lives"]) == ([True, False], 2)
    assert fewer < steps
    with pytest.raises(ResetNeeded):
        env.step(NOOP)
    assert env.reset()[1]["lives"] == 3


def test_the_time_limit_truncates(monkeypatch):
    assert atari.FRAME_LIMIT == 108_000
    monkeypatch.setattr(atari, "FRAME_LIMIT", 42)
    step, *ends, info = last_step(Atari("pong", noop_max=0), NOOP)
    assert (step, ends, info["frames"]) == (11, [False, True], 42)


def test_sets_of_actions(monkeypatch):
    env = Atari("pong", actions="minimal", sticky=0.0)
    assert env.action_space.n == 6
    env.reset(seed=0)
    assert set(acted(monkeypatch, env, range(6)).ravel()) == {0, 1, 3, 4, 11, 12}
    everything = Atari("skiing")  # upstream allows 9 of the 18
    everything.reset(seed=0)
    assert everything.step(17)[0]["image"].any()


def test_render_shows_the_screen_and_changes_nothing():
    env = Atari("hero", image_size=48)
    assert env.reset(seed=0)[0]["image"].shape == (48, 48, 3)
    assert (env.render().shape, env.render().dtype) == ((210, 160, 3), np.uint8)
    assert np.array_equal(env.render(), env._ale.getScreenRGB())
    first = env.step(RIGHT)[0]["image"]
    env.reset(seed=0)
    assert np.array_equal(env.step(RIGHT)[0]["image"], first)


def test_pictures_are_not_shared():
    env = Atari("pong")
    first = env.reset(seed=0)[0]["image"]
    copy = first.copy()
    for _ in range(40):
        env.step(RIGHT)
    assert np.array_equal(first, copy)


def test_bad_input_is_refused():
    env = Atari("pong")
    with pytest.raises(ResetNeeded):
        env.step(NOOP)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="0 to 17"):
        env.step(18)
    with pytest.raises(UserError, match="'sticky' is a probability"):
        SUITE.make("pong", {"sticky": "2"}, 64)
    with pytest.raises(UserError, match="at least 1"):
        SUITE.make("pong", {"frame_skip": "0"}, 64)
    assert SUITE.make("pong", {"sticky": "0", "frame_skip": "2"}, 64)._frame_skip == 2
