import hashlib
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs.stepping.vector import SerialVectorEnv
from envs.suites.robotics.mujoco import prepare_rendering
from envs.suites.robotics.robodesk import SUITE, TASKS, RoboDesk
from expedition import UserError

if SUITE.missing():
    pytest.skip("RoboDesk is not installed", allow_module_level=True)
prepare_rendering()
import mujoco  # noqa: E402  # after the renderer is chosen

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]

FINGERPRINT = """
from test_robodesk import play
print(play(7, 60))
"""
NO_RENDERER = """
import sys
sys.modules["OpenGL"] = None
from envs.suites.robotics.robodesk import SUITE
env = SUITE.make("stack", {"observe": "state"}, 64)
env.reset(seed=0)
print(env.step(env.action_space.sample())[1] > 0, "gym" in sys.modules)
env.render()
"""


@pytest.fixture(scope="module")
def make():
    """Make an environment by task and options, or hand out the one that was made before."""
    made = {}

    def build(task="open_slide", image_size=32, **options):
        key = (task, image_size, *sorted(options.items()))
        if key not in made:
            made[key] = SUITE.make(task, {name: str(value) for name, value in options.items()}, image_size)
        return made[key]

    yield build
    for env in made.values():
        env.close()


@pytest.fixture(scope="module")
def plain(make):
    """Make the package's own, with the constant that pillow dropped; it draws only if it is told to."""
    make(observe="state")  # after this it can be imported without gym
    import robodesk

    made = []

    def build(task="open_slide", draws=False, **keywords):
        made.append(robodesk.RoboDesk(task, **keywords))
        if not draws:
            made[-1].render = lambda resize: None
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PIL.Image, "ANTIALIAS", PIL.Image.Resampling.LANCZOS, raising=False)
        yield build
    for desk in made:
        desk.physics.free()


def fresh(**options):
    return RoboDesk("open_slide", image_size=32, **options)


def actions(steps, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (steps, 5)).astype(np.float32)


def begin(desk, seed):
    """Reset the package's own under a seed."""
    state = np.random.get_state()
    np.random.seed(seed)
    observation = desk.reset()
    np.random.set_state(state)
    return observation


def put(env, **positions):
    """Move blocks of ours, or the sliding door, and let the rest follow."""
    for name, position in positions.items():
        env._desk.physics.named.data.qpos[name][: np.size(position)] = position
    env._desk.physics.forward()


def play(seed, steps, env=None, each_step=lambda env: None):
    """Hash what is seen and paid under random actions, and the simulation at every step."""
    env = env or SUITE.make("open_slide", {"observe": "state"}, 32)
    data, digest = env._desk.physics.data, hashlib.sha256()
    observation, _ = env.reset(seed=seed)
    for action in actions(steps, seed):
        digest.update(observation["vector"].tobytes() + data.qpos.tobytes() + data.qacc.tobytes())
        each_step(env)
        observation, reward, _, _, info = env.step(action)
        digest.update(repr((reward, info)).encode())
    return digest.hexdigest()


def test_tasks_are_the_packages(make):
    assert list(SUITE.tasks) == list(TASKS) == make(observe="state")._desk.all_tasks


def test_the_list_tells_the_spaces(make):
    env = make(image_size=64)
    assert env.observation_space.keys() == {"image"}
    box = env.observation_space["image"]
    assert SUITE.tasks["open_slide"].observation == f"image {box.dtype} {box.shape}"
    assert SUITE.tasks["open_slide"].action == str(env.action_space)


@pytest.mark.parametrize("options", [{"observe": "state"}, {"render": "fast"}])
@pytest.mark.filterwarnings("ignore:.*infinity")
def test_gymnasiums_checker_passes(make, options):
    check_env(make(**options), skip_render_check=True)


def test_pictures_are_the_packages_own(make, plain):
    env, desk = make(image_size=64), plain(draws=True)
    seen = [env.reset(seed=3)[0]["image"]]
    assert np.array_equal(seen[0], begin(desk, 3)["image"])
    for number, action in enumerate(actions(2)):
        if number == 1:  # off the table, where the shadow of the floor matters
            places = {
                "flat_block": (-0.6, 0.55, 0.02),
                "upright_block": (0.6, 0.6, 0.08),
                "ball": (0, 0.6, 0.1),
            }
            put(env, **places)
            desk.physics.data.qpos[:] = env._desk.physics.data.qpos
            desk.physics.forward()
        seen.append(env.step(action)[0]["image"])
        assert np.array_equal(seen[-1], desk.step(action)[0]["image"])
    assert not np.array_equal(seen[0], seen[1])  # an earlier picture isn't drawn over
    env.render()
    desk.image_size = 36
    assert np.array_equal(env._draw(36), desk.render())


@pytest.mark.parametrize(
    ("task", "reward"), [("open_slide", "dense"), ("open_slide", "sparse"), ("ball_off_table", "success")]
)
def test_states_and_rewards_are_the_packages_own(make, plain, task, reward):
    env, desk = make(task, observe="state", reward=reward), plain(task, reward=reward)
    for seed in (4, 5):
        observation, _ = env.reset(seed=seed)
        seen = begin(desk, seed)
        for action in actions(20, seed):
            state = np.concatenate([seen[key] for key in seen if key != "image"])
            assert np.array_equal(observation["vector"], state.astype(np.float32))
            assert env.observation_space.contains(observation)
            (seen, pay, *_), (observation, mine, *_) = desk.step(action), env.step(action)
            assert mine == pay
            assert np.array_equal(env._desk.physics.data.qpos, desk.physics.data.qpos)


def test_mended_states_hold_positions(make):
    env = make(observe="state", defects="mended")
    observation, _ = env.reset(seed=1)
    data = env._desk.physics.data
    assert observation["vector"].shape == (76,)
    assert np.array_equal(observation["vector"][21:50], data.qpos[9:].astype(np.float32))
    assert np.array_equal(observation["vector"][50:], data.qvel[9:].astype(np.float32))


def test_the_time_limit_truncates_and_tells_the_episodes_measures(make):
    env = make(observe="state")
    env.reset(seed=2)
    for number in range(1, 501):
        put(env, slide_joint=0.6 if number == 100 else 0.3)
        _, _, terminated, truncated, info = env.step(np.zeros(5, np.float32))
        assert (terminated, truncated) == (False, number == 500)
        assert ("episode_metrics" in info) == truncated
    metrics = info["episode_metrics"]
    assert metrics == {"success": 1.0} | {f"success/{task}": float(task == "open_slide") for task in TASKS}
    assert info["reached"] == ["slide"]
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(5, np.float32))


def test_action_repeat_sums_the_rewards_of_its_steps(make):
    env, slow = make(observe="state"), make(observe="state", action_repeat=3)
    env.reset(seed=1)
    slow.reset(seed=1)
    for number, action in enumerate(actions(167), start=1):
        steps = [env.step(action) for _ in range(3 if number < 167 else 2)]
        observation, reward, _, truncated, info = slow.step(action)
        assert reward == pytest.approx(sum(step[1] for step in steps))
        others = sum(step[4]["task_rewards"]["ball_in_bin"] for step in steps)
        assert info["task_rewards"]["ball_in_bin"] == pytest.approx(others)
        assert np.array_equal(observation["vector"], steps[-1][0]["vector"])
        assert truncated == steps[-1][3] == (number == 167)


def test_actions_are_clipped(make):
    env = make(observe="state")
    wide = np.array([9, -9, 0.5, -3, 2], np.float32)
    seen = [(env.reset(seed=0), env.step(action))[1][0]["vector"] for action in (wide, wide.clip(-1, 1))]
    assert np.array_equal(*seen)
    with pytest.raises(InvalidAction, match=r"takes \(5,\) numbers"):
        env.step(np.zeros(4, np.float32))


def test_an_old_object_begins_the_same_episode_as_a_new_one(make):
    old = make(observe="state")
    play(8, 30, old)
    once = play(5, 40, old)
    assert play(5, 40, fresh(observe="state")) == once
    assert play(6, 40, old) != once


def test_the_same_steps_in_another_process():
    run = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert run.stdout.strip() == play(7, 60)


def test_a_snapshot_goes_on_exactly_with_the_rewards_of_all_tasks():
    def build():
        return RoboDesk("stack", observe="state")

    vector, moves = SerialVectorEnv(build, 1), actions(12)[:, None]
    vector.reset(1)
    for action in moves[:6]:
        vector.step(action)
    state = vector.state_dict()
    rows = [vector.step(action) for action in moves[6:]]
    other = SerialVectorEnv(build, 1)
    other.load_state_dict(state)
    for action, row in zip(moves[6:], rows, strict=True):
        again = other.step(action)
        assert {f"task/{name}" for name in TASKS} < row.keys()
        assert all(np.array_equal(again[key], row[key]) for key in row)
        assert np.array_equal(row["task/stack"], row["reward"])
    vector.close()
    other.close()


def test_resets_without_a_seed_go_on_from_the_last_one(make):
    env = make(observe="state")

    def three():
        return [env.reset(seed=seed)[0]["vector"].tolist() for seed in (2, None, None)]

    once = three()
    assert three() == once
    assert once[0] != once[1] != once[2]


def test_global_random_numbers_are_left_alone(make):
    np.random.seed(0)
    state = np.random.get_state()
    play(1, 3, make(observe="state"))
    after = np.random.get_state()
    assert np.array_equal(state[1], after[1])
    assert state[2:] == after[2:]


def test_recording_a_video_does_not_change_the_trajectory(make):
    frames = []
    filmed = play(2, 4, make(observe="state", render="fast"), lambda env: frames.append(env.render()))
    assert play(2, 4, make(observe="state")) == filmed
    assert {(frame.shape, frame.dtype) for frame in frames} == {((256, 256, 3), np.dtype(np.uint8))}
    assert not np.array_equal(frames[0], frames[-1])


def test_render_shows_what_the_observation_shows(make):
    env = make(render="fast", image_size=64)
    with pytest.raises(ResetNeeded):
        env.render()
    seen = env.reset(seed=0)[0]["image"].astype(int)
    drawn = env.render().reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(drawn - seen).mean() < 10
    assert np.abs(drawn[:, ::-1] - seen).mean() > 30


def test_fast_pictures_differ_and_nothing_else_does(make):
    fast, faithful = make(render="fast"), make(observe="state")
    image = fast.reset(seed=1)[0]["image"].astype(int)
    faithful.reset(seed=1)
    assert 1 < np.abs(image - faithful._draw(32)).mean() < 60
    for action in actions(3):
        assert fast.step(action)[1] == faithful.step(action)[1]


def test_pictures_stay_right_beside_another_renderer():
    env = fresh(render="fast")
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


def test_close_frees_the_renderer_and_may_come_twice():
    env = fresh(render="fast")
    env.reset(seed=0)
    context = env._desk.physics.contexts.gl
    env.close()
    env.close()
    assert context.terminated
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(5, np.float32))


def test_states_need_no_renderer_and_gym_is_not_left_behind():
    run = subprocess.run(
        [sys.executable, "-c", NO_RENDERER],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
        | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.split() == ["True", "False"]
    assert UserError.__name__ in run.stderr
    assert "'robodesk-stack' cannot draw" in run.stderr


def test_a_hand_out_of_reach_fills_no_log(make, caplog):
    env = make(observe="state")
    env.reset(seed=0)
    with caplog.at_level(logging.WARNING, logger="absl"):
        for _ in range(80):
            env.step(np.array([1, 1, 1, 0, 0], np.float32))
        assert not caplog.records
        logging.getLogger("absl").warning("others are heard")
    assert len(caplog.records) == 1


def test_a_simulation_that_diverges_says_so(make):
    from dm_control.rl.control import PhysicsError

    env = make(observe="state")
    env.reset(seed=0)
    env._desk.physics.data.qvel[:] = 1e12
    with pytest.raises(PhysicsError):
        env.step(np.zeros(5, np.float32))


def test_measures_worked_by_hand():
    none = {"return": 0.0, "success": 0.0} | {f"success/{task}": 0.0 for task in TASKS}
    episodes = [none, none | {"success": 1.0, "success/stack": 1.0}, none | {"success/lift_ball": 1.0}, none]
    measures = SUITE.summarise([*episodes, {"return": 1.0}])  # the last was cut off by a failed restore
    assert measures["success_rate"] == 25
    assert measures["success_rate/lift_ball"] == 25
    assert measures["success_rate/push_red"] == 0
    assert measures["tasks_solved"] == 2
    assert len(measures) == 20
    assert SUITE.summarise([]) == {}


def test_a_renderer_that_fails_says_what_to_do(make, monkeypatch):
    env = make(render="fast")
    env.reset(seed=0)

    def fail(*arguments):
        raise mujoco.FatalError("no OpenGL")

    monkeypatch.setattr(env._painter, "_draw", fail)
    with pytest.raises(UserError, match=r"cannot draw \(no OpenGL\): run `apt-get install"):
        env.render()
