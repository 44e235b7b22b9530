import numpy as np
import pytest

from envs.suites.robotics.robodesk import SUITE, TASKS
from envs.suites.robotics.robodesk_rewards import BLOCKS, COLOURS, OBJECTS, dense, displaced, solved

if SUITE.missing():
    pytest.skip("RoboDesk is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def make():
    """Make an environment that observes states, or hand out the one that was made before."""
    made = {}

    def build(task="open_slide", **options):
        key = (task, *options.items())
        if key not in made:
            made[key] = SUITE.make(task, {"observe": "state", **options}, 64)
        return made[key]

    yield build
    for env in made.values():
        env.close()


def put(env, **positions):
    """Move blocks of ours, or the sliding door, and let the rest follow."""
    for name, position in positions.items():
        env._desk.physics.named.data.qpos[name][: np.size(position)] = position
    env._desk.physics.forward()


def scatter(desk, random):
    """Put joints and blocks anywhere that a reward might ask for."""
    qpos = desk.physics.named.data.qpos
    qpos["slide_joint"], qpos["drawer_joint"] = random.uniform(0, 0.6), random.uniform(-0.3, 0)
    for colour in COLOURS:
        qpos[f"{colour}_light"] = random.choice([0, -0.005])
    places = [(0.4, 0.5, 0.2), (0.5, 1.05, 0.8), (0.1, 0.7, 0.9), (-0.3, 0.6, 0.3)]
    for block in BLOCKS:
        qpos[block][:3] += (0.003, 0, 0)
        if random.uniform() < 0.7:
            qpos[block][:3] = places[random.randint(4)] + random.uniform(-0.02, 0.02, 3)
    if random.uniform() < 0.2:
        qpos["upright_block"][:3] = qpos["flat_block"][:3] + (0, 0, 0.05)
    desk.physics.forward()


@pytest.mark.parametrize("defects", [{}, {"defects": "mended"}])
def test_rewards_of_all_tasks_are_the_packages_own(make, defects):
    env, random = make(**defects), np.random.RandomState(0)
    desk = env._desk
    seen = {name: set() for name in TASKS}
    for seed in range(60):
        env.reset(seed=seed)
        start = desk.scene().blocks
        scatter(desk, random)
        scene = desk.scene()
        start = start if defects else scene.blocks
        paid, done = dense(scene, start), solved(scene, start)
        assert paid.keys() == done.keys() == TASKS.keys()
        for name in TASKS:
            assert paid[name] == pytest.approx(float(desk._get_task_reward(name, "dense_reward")), abs=1e-12)
            assert done[name] == bool(desk._get_task_reward(name, "success"))
            seen[name].add(done[name])
    assert all(found == {True, False} for found in seen.values())


def test_each_step_tells_the_rewards_of_all_tasks(make):
    env = make()
    env.reset(seed=0)
    for action in np.random.RandomState(0).uniform(-1, 1, (5, 5)).astype(np.float32):
        _, reward, _, _, info = env.step(action)
        assert info["task_rewards"].keys() == TASKS.keys()
        assert info["task_rewards"]["open_slide"] == reward
        assert len(set(info["task_rewards"].values())) > 10


@pytest.mark.parametrize(("reward", "door"), [("sparse", [0, 1, 1, 0, 1]), ("success", [0, 1, 0, 0, 0])])
def test_sparse_rewards_come_at_each_step_and_success_once(make, reward, door):
    for task in ("open_slide", "ball_off_table"):
        env = make(task, reward=reward)
        for _ in range(2):  # and once more in the next episode
            env.reset(seed=0)
            told, succeeded = [], []
            for place in (0, 0.6, 0.6, 0, 0.6):
                put(env, slide_joint=place)
                _, paid, _, _, info = env.step(np.zeros(5, np.float32))
                told.append(info["task_rewards"]["open_slide"])
                succeeded.append(info["success"])
                assert paid == info["task_rewards"][task]
            assert told == door
            assert succeeded == ([0, 1, 1, 0, 1] if task == "open_slide" else [0] * 5)


def test_dense_rewards_see_the_blocks_move_only_where_that_is_mended(make):
    told = {}
    for defects in ({}, {"defects": "mended"}):
        env = make(**defects)
        env.reset(seed=0)
        before = env.step(np.zeros(5, np.float32))[4]["task_rewards"]
        put(env, ball=(0.3, 0.7, 1.2))
        after = env.step(np.zeros(5, np.float32))[4]["task_rewards"]
        told["mended" if defects else "kept"] = (
            after["lift_ball"] - before["lift_ball"],
            after["open_slide"] - before["open_slide"],
        )
    assert abs(told["kept"][0]) < 0.15
    assert told["mended"][0] > 0.7
    assert abs(told["kept"][1]) < 0.02
    assert told["mended"][1] == pytest.approx(-0.034, abs=0.02)  # the ball was to stay where it was


def test_what_was_displaced(make):
    """A thing put a little farther or nearer than the stated way, each alone."""
    env = make()
    env.reset(seed=0)
    start, found = env._desk.scene(), {}
    qpos, before = env._desk.physics.named.data.qpos, env._desk.physics.data.qpos.copy()
    joints = {**{block: block for block in BLOCKS}, "drawer": "drawer_joint", "slide": "slide_joint"}
    for way in (0.008, 0.012):
        for name, joint in joints.items():
            env._desk.physics.data.qpos[:] = before
            put(env, **{joint: np.ravel(qpos[joint])[0] + way})
            found[name, way] = displaced(env._desk.scene(), start)
    env._desk.physics.data.qpos[:] = before
    put(env, red_light=-0.0046, blue_light=-0.0044)
    assert displaced(env._desk.scene(), start) == {"red_button"}
    assert found == {(name, way): {name} if way > 0.01 else set() for name, way in found}
    assert len(OBJECTS) == len(joints) + len(COLOURS) == SUITE.reachable("stack", {})
