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

from envs.suites.robotics.dmc import SUITE, DMControl
from envs.suites.robotics.mujoco import prepare_rendering
from expedition import UserError

pytest.importorskip("dm_control")
prepare_rendering()
mujoco = pytest.importorskip("mujoco")

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]

FINGERPRINT = """
from test_dmc import play
print(play("quadruped-fetch", 7, 60))
"""


@pytest.fixture
def make():
    """Make environments by task and options, and close them afterwards."""
    made = []

    def build(task, image_size=32, **options):
        made.append(SUITE.make(task, {key: str(value) for key, value in options.items()}, image_size))
        return made[-1]

    yield build
    for env in made:
        env.close()


@pytest.fixture
def suite(monkeypatch):
    """The package, with the function that its quadruped needs and numpy 2.4 lacks."""
    from dm_control import suite

    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    return suite


def flat(observation):
    from dm_control.rl.control import flatten_observation

    return flatten_observation(observation)["observations"]


def actions(env, steps, seed=0):
    shape = (steps, *env.action_space.shape)
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def stretched(action, spec):
    middle, half = (spec.maximum + spec.minimum) / 2, (spec.maximum - spec.minimum) / 2
    return middle + half * action.astype(np.float64)


def simulation(env):
    """The state of the simulation and of all that a task may change in its model, as bytes."""
    physics = env._env.physics
    names = ("body_pos", "geom_pos", "geom_size", "site_pos", "site_size", "wrap_prm", "hfield_data", "qpos0")
    arrays = [physics.data.qpos, physics.data.qvel, physics.data.act, physics.data.ctrl, physics.data.qacc]
    arrays += [physics.data.sensordata, *(getattr(physics.model, name) for name in names)]
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def play(task, seed, steps, env=None, each_step=lambda env: None):
    """Hash what is seen and paid under random actions, and the simulation at every step."""
    env = env or SUITE.make(task, {"observe": "state"}, 32)
    digest = hashlib.sha256()
    observation, _ = env.reset(seed=seed)
    for action in actions(env, steps, seed):
        digest.update(observation["vector"].tobytes() + simulation(env))
        each_step(env)
        observation, reward, _, _, info = env.step(action)
        digest.update(repr((reward, info)).encode())
    return digest.hexdigest()


def test_tasks_are_those_of_the_package_and_of_urlb(suite):
    of_package = {f"{domain}-{task}" for domain, task in suite.ALL_TASKS if domain != "lqr"}
    assert set(SUITE.tasks) == of_package | {"walker-flip", "quadruped-stand", "quadruped-jump"}


@pytest.mark.parametrize(
    "task", ["cheetah-run", "acrobot-swingup_sparse", "humanoid-stand", "swimmer-swimmer15"]
)
def test_the_list_tells_the_spaces(make, task):
    env = make(task, image_size=64)
    assert SUITE.tasks[task].action == str(env.action_space)
    box = env.observation_space["image"]
    assert SUITE.tasks[task].observation == f"image {box.dtype} {box.shape}"


@pytest.mark.parametrize(
    "task", ["acrobot-swingup_sparse", "cheetah-run", "humanoid-stand", "quadruped-escape"]
)
def test_pictures_and_rewards_are_the_packages_own(make, suite, task):
    domain, name = task.split("-")
    env = make(task, image_size=64)
    plain = suite.load(domain, name, task_kwargs={"random": 3})
    camera = 2 if domain == "quadruped" else 0
    env.reset(seed=8)
    env.step(actions(env, 1)[0])
    plain.reset()
    observation, _ = env.reset(seed=3)
    seen = [observation["image"]]
    assert np.array_equal(seen[0], plain.physics.render(64, 64, camera_id=camera))
    for action in actions(env, 3):
        step = plain.step(stretched(action, plain.action_spec()))
        observation, reward, terminated, truncated, _ = env.step(action)
        assert np.array_equal(observation["image"], plain.physics.render(64, 64, camera_id=camera))
        assert (reward, terminated, truncated) == (step.reward, False, False)
        seen.append(observation["image"])
    assert not np.array_equal(seen[0], seen[-1])  # an earlier picture isn't drawn over
    plain.physics.free()


@pytest.mark.parametrize(
    "task",
    ["cheetah-run", "humanoid-run_pure_state", "manipulator-insert_peg", "point_mass-hard", "fish-swim"],
)
def test_states_and_rewards_are_the_packages_own(make, suite, task):
    env = make(task, observe="state")
    plain = suite.load(*task.split("-"), task_kwargs={"random": 4})
    observation, _ = env.reset(seed=4)
    state = flat(plain.reset().observation)
    assert observation["vector"].dtype == np.float32
    for action in actions(env, 30):
        assert np.array_equal(observation["vector"], state.astype(np.float32))
        assert env.observation_space.contains(observation)
        step, (observation, reward, *_) = plain.step(action), env.step(action)
        assert reward == step.reward
        state = flat(step.observation)


def test_actions_are_clipped_and_stretched_to_the_bounds(make):
    env = make("quadruped-walk", observe="state")
    env.reset(seed=0)
    env.step(np.full(12, 9, np.float32))
    assert env._env.physics.control() == pytest.approx(np.tile([1, 1.1, 0.8], 4))
    env.step(np.full(12, -9, np.float32))
    assert env._env.physics.control() == pytest.approx(np.tile([-1, -1, -0.8], 4))


def test_action_repeat_sums_the_rewards_and_the_time_limit_truncates(make, suite):
    env = make("pendulum-swingup", observe="state", action_repeat=3)
    plain = suite.load("pendulum", "swingup", task_kwargs={"random": 1})
    plain.reset()
    env.reset(seed=1)
    for number, action in enumerate(actions(env, 334), start=1):
        _, reward, terminated, truncated, info = env.step(action)
        steps = [plain.step(action) for _ in range(3 if number < 334 else 1)]
        assert reward == sum(step.reward for step in steps)
        assert (terminated, truncated) == (False, number == 334)
    assert steps[-1].last()
    assert info == {}
    with pytest.raises(ResetNeeded):
        env.step(action)


def test_a_discount_of_zero_terminates(make, monkeypatch):
    env = make("cheetah-run", observe="state", action_repeat=4)
    env.reset(seed=0)
    monkeypatch.setattr(env._env.task, "get_termination", lambda physics: 0.0)
    _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert (terminated, truncated) == (True, False)
    assert env._env.physics.time() == pytest.approx(0.01)  # the repeat ended with the episode


@pytest.mark.parametrize(
    "task", ["finger-turn_hard", "point_mass-hard", "quadruped-escape", "stacker-stack_2", "walker-flip"]
)
def test_an_old_object_begins_the_same_episode_as_a_new_one(make, task):
    old = make(task, observe="state")
    play(task, 8, 12, old)
    once = play(task, 5, 12, old)
    assert play(task, 5, 12, make(task, observe="state")) == once
    assert play(task, 6, 12, old) != once


def test_the_same_steps_in_another_process():
    run = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert run.stdout.strip() == play("quadruped-fetch", 7, 60)


def test_resets_without_a_seed_go_on_from_the_last_one(make):
    env = make("reacher-hard", observe="state")

    def three():
        return [env.reset(seed=seed)[0]["vector"].tolist() for seed in (2, None, None)]

    once = three()
    assert three() == once
    assert once[0] != once[1] != once[2]


def test_global_random_numbers_are_left_alone(make):
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    play("quadruped-fetch", 1, 3, make("quadruped-fetch", observe="state"))
    assert np.array_equal(state, np.random.get_state()[1])


def test_recording_a_video_does_not_change_the_trajectory(make):
    frames = []
    filmed = play(
        "humanoid-walk",
        2,
        6,
        make("humanoid-walk", observe="state", render="fast"),
        lambda env: frames.append(env.render()),
    )
    assert play("humanoid-walk", 2, 6, make("humanoid-walk", observe="state")) == filmed
    assert {(frame.shape, frame.dtype) for frame in frames} == {((256, 256, 3), np.dtype(np.uint8))}
    assert not np.array_equal(frames[0], frames[-1])


def test_fast_pictures_differ_and_nothing_else_does(make):
    fast, faithful = make("walker-run", render="fast"), make("walker-run")
    one, other = (env.reset(seed=1)[0]["image"].astype(int) for env in (fast, faithful))
    assert 1 < np.abs(one - other).mean() < 60
    for action in actions(fast, 3):
        assert fast.step(action)[1] == faithful.step(action)[1]


def test_cameras(make):
    views = [
        make("quadruped-walk", render="fast", camera=camera).reset(seed=0)[0]["image"]
        for camera in (-1, 0, 2)
    ]
    assert np.array_equal(views[0], views[2])
    assert not np.array_equal(views[0], views[1])
    with pytest.raises(UserError, match="cameras 0 to 1: choose one of them, not 2"):
        make("walker-run", camera=2)


def test_large_pictures(make):
    env = make("pendulum-swingup", image_size=700, render="fast")  # the package's own buffer is 640 by 480
    assert env.reset(seed=0)[0]["image"].shape == (700, 700, 3)


def test_pictures_stay_right_beside_another_renderer(make):
    env = make("cheetah-run", render="fast")
    image = env.reset(seed=0)[0]["image"]
    red = "<mujoco><worldbody><light pos='0 0 3'/><geom size='1' rgba='1 0 0 1'/></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(red)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 32, 32) as other:
        other.update_scene(data)
        first = other.render().copy()
        assert np.array_equal(env.reset(seed=0)[0]["image"], image)
        other.render()
        env.close()
        assert np.array_equal(other.render(), first)


def test_close_frees_the_renderer_and_may_come_twice(make):
    env = make("cheetah-run", render="fast")
    env.reset(seed=0)
    context = env._env.physics.contexts.gl
    env.close()
    env.close()
    assert context.terminated


def margin(value, limit, at_zero):
    """Grow linearly from `at_zero` at 0 to 1 at `limit`, and to 0 below."""
    return min(1, max(0, at_zero + (1 - at_zero) * value / limit))


def test_walker_flip_worked_by_hand(make):
    env = make("walker-flip", observe="state")
    env.reset(seed=3)
    physics, momenta = env._env.physics, []
    for _ in range(40):
        _, reward, _, _, info = env.step(np.ones(6, np.float32))
        stand = info["task_rewards"]["stand"]
        mujoco.mj_subtreeVel(physics.model.ptr, physics.data.ptr)
        momenta.append(physics.data.subtree_angmom[1, 1])
        assert reward == pytest.approx(stand * (5 * margin(momenta[-1], 5, 0) + 1) / 6)
    assert min(momenta) < 0
    assert max(momenta) > 1


def test_quadruped_stand_and_jump_worked_by_hand(make):
    jump = make("quadruped-jump", observe="state")
    jump.reset(seed=6)  # falls on its feet
    physics, heights = jump._env.physics, []
    for _ in range(40):
        _, reward, _, _, info = jump.step(np.ones(12, np.float32))
        upright = (1 + physics.data.xmat[1, 8]) / 2
        masses = physics.model.body_mass[1:]
        heights.append((masses @ physics.data.xipos[1:, 2]) / masses.sum())
        assert info["task_rewards"]["stand"] == pytest.approx(upright)
        assert reward == pytest.approx(upright * margin(heights[-1], 1, 0.5))
    assert max(heights) - min(heights) > 0.5


@pytest.mark.parametrize("domain", ["walker", "quadruped"])
def test_rewards_of_the_other_tasks_are_what_those_tasks_pay(make, domain):
    names = ("stand", "walk", "run", "flip" if domain == "walker" else "jump")
    envs = {name: make(f"{domain}-{name}", observe="state", action_repeat=2) for name in names}
    for env in envs.values():
        env.reset(seed=0)
    for action in actions(envs["stand"], 10):
        steps = {name: env.step(action) for name, env in envs.items()}
        paid = {name: step[1] for name, step in steps.items()}
        assert len(set(paid.values())) > 2
        for name, env in envs.items():
            others = steps[name][4]["task_rewards"]
            assert set(env.task_rewards) == set(others) == set(names) - {name}
            assert others == {other: paid[other] for other in others}


def test_tasks_on_another_model_have_no_other_rewards(make):
    env = make("quadruped-fetch", observe="state")
    env.reset(seed=0)
    assert env.task_rewards == ()
    assert env.step(env.action_space.sample())[4] == {}


def test_misuse_is_told(make):
    env = make("cheetah-run", observe="state")
    for call in (env.render, lambda: env.step(np.zeros(6))):
        with pytest.raises(ResetNeeded):
            call()
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"takes \(6,\) numbers, not \(1,\)"):
        env.step(np.zeros(1))
    with pytest.raises(UserError, match="at least 1"):
        make("cheetah-run", action_repeat=0)


def test_without_a_renderer_the_remedy_is_named():
    code = "from envs.suites.robotics.dmc import DMControl; DMControl('cheetah', 'run')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MUJOCO_GL": "none-such", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert (
        "UserError: Environment 'dmc-cheetah-run' cannot draw (Environment variable MUJOCO_GL" in run.stderr
    )
    assert "set MUJOCO_GL to a renderer" in run.stderr


@pytest.mark.parametrize("observe", ["pixels", "state"])
def test_gymnasiums_checker_passes(observe):
    env = DMControl("cartpole", "swingup", observe=observe, render="fast", image_size=32)
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*(wrapped|spec|infinity|unwrapped).*")
        check_env(env)
