import numpy as np
import pytest

from envs import environment_info
from envs.suites.robotics.metaworld import MIXTURES, SCENES, SUITE, TWO_OBJECTS
from envs.suites.robotics.mujoco import prepare_rendering

prepare_rendering()
pytest.importorskip("metaworld")
from envs.suites.robotics.metaworld_scenes import METRES, RADIANS, SETTLING, Scene  # noqa: E402


@pytest.fixture
def make():
    made = []

    def make(task, **options):
        made.append(SUITE.make(task, {"observe": "state", **options}, 64))
        return made[-1]

    yield make
    for env in made:
        env.close()


def play(env, steps=500, each=lambda number: None):
    for number in range(1, steps + 1):
        each(number)
        info = env.step(np.zeros(4, np.float32))[-1]
    return info


# Its door swings, its lid, hammer and block fall, its lever turns: farthest by themselves.
@pytest.mark.parametrize("scene", ["door-close-v3", "box-close-v3", "hammer-v3", "sweep-v3", "lever-pull-v3"])
def test_what_moves_by_itself_is_not_reached(make, scene):
    env = make(scene)
    env.reset(seed=0)
    assert play(env)["reached"] == []


def test_every_object_counts_alone_and_from_the_stated_way_on(make):
    env = make("hammer-v3")
    for joint, name in ((9, "hammerbody"), (16, "nail_link")):
        for share in (0.8, 1.2):
            env.reset(seed=0)
            play(env, SETTLING)
            scene = env._scene
            scene.env.data.qpos[joint] += share * METRES
            scene.watch()
            assert scene.moved() == ([name] if share > 1 else [])


def test_a_hinge_counts_in_radians_and_the_episode_tells_it(make):
    env = make("door-open-v3")

    def open_it(number):
        if number == 100:
            env._scene.env.data.qpos[9] -= 1.2 * RADIANS

    env.reset(seed=0)
    assert play(env, each=open_it)["reached"] == ["door-open-v3/door_link"]
    env.reset(seed=0)
    assert play(env)["reached"] == []  # anew


def test_what_can_be_reached_is_counted():
    scenes = [*sorted(TWO_OBJECTS), "push-v3", "plate-slide-v3", "dial-turn-v3", "door-open-v3"]
    assert {name: len(Scene(name, False).objects) for name in scenes} == {
        name: environment_info(f"metaworld-{name}").reachable for name in scenes
    }
    assert len(SCENES) + len(TWO_OBJECTS) == 56  # all scenes, counted once
    assert environment_info("metaworld-ml45-train").reachable == len(MIXTURES["ml45-train"]) + 6
    assert environment_info("metaworld-ml10-test").reachable == 5
