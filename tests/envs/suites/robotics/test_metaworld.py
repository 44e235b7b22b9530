import hashlib
import os
import pathlib
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import SerialVectorEnv
from envs.suites.robotics.metaworld import CAMERAS, MIXTURES, SCENES, SUITE, MetaWorld, summarise
from envs.suites.robotics.mujoco import draw_fast, prepare_rendering
from expedition import UserError

prepare_rendering()
pytest.importorskip("metaworld")

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (500, 4)).astype(np.float32)


@pytest.fixture
def make():
    made = []

    def make(task, image_size=64, **options):
        env = SUITE.make(task, {key: str(value) for key, value in options.items()}, image_size)
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def the_package(scene, seed, hidden=False, **drawing):
    """The package's environment, told by `set_task` the goal that its own reset draws under `seed`."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    drawn = ALL_V3_ENVIRONMENTS[scene]()
    drawn.seeded_rand_vec, drawn._freeze_rand_vec = True, False
    drawn.seed(seed)
    drawn.reset()
    return tell(ALL_V3_ENVIRONMENTS[scene](**drawing), scene, drawn._last_rand_vec, hidden)


def tell(env, scene, goal, hidden):
    import metaworld

    data = {"rand_vec": goal, "env_cls": type(env), "partially_observable": hidden}
    env.set_task(metaworld._encode_task(scene, data))
    return env


def play(env, seed, steps=6):
    """What an agent of random actions sees and is paid."""
    observation, _ = env.reset(seed=seed)
    ((key, first),) = observation.items()
    seen, paid = [first], []
    for action in ACTIONS[:steps]:
        observation, reward, *_ = env.step(action)
        seen.append(observation[key])
        paid.append(reward)
    return np.array(seen), paid


def same(one, other):
    return np.array_equal(one[0], other[0]) and one[1] == other[1]


def fingerprint():
    env, digest = SUITE.make("ml45-train", {"observe": "state"}, 64), hashlib.sha256()
    for seed in range(2):
        seen, paid = play(env, seed)
        digest.update(seen.tobytes() + repr(paid).encode())
    env.close()
    return digest.hexdigest()


def test_the_list_is_the_packages():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ML10_V3, ML45_V3

    assert list(SCENES) == list(ALL_V3_ENVIRONMENTS)
    for name, sets in (("ml10", ML10_V3), ("ml45", ML45_V3)):
        for split in ("train", "test"):
            assert sorted(MIXTURES[f"{name}-{split}"]) == sorted(sets[split])
    assert list(SUITE.tasks) == [*SCENES, *MIXTURES]


def test_what_the_list_says_is_what_is_made(make):
    for name in ("reach-v3", "ml45-test"):
        env = make(name)
        ((key, box),) = env.observation_space.items()
        assert SUITE.tasks[name].observation == f"{key} {box.dtype} {box.shape}"
        assert SUITE.tasks[name].action == str(env.action_space)


# In the first the goal alone moves; the drawer and the dial are left behind by the package's seeded reset.
@pytest.mark.parametrize("scene", ["reach-v3", "drawer-open-v3", "dial-turn-v3"])
def test_observations_and_rewards_are_the_packages_own(make, scene):
    env, package = make(scene, observe="state"), the_package(scene, seed=5)
    play(env, 3)  # what was played before leaves no trace
    assert np.array_equal(package.reset()[0].astype(np.float32), env.reset(seed=5)[0]["vector"])
    for action in ACTIONS[:20]:
        vector, reward, _, _, details = package.step(action)
        observation, mine, terminated, truncated, info = env.step(action)
        assert np.array_equal(vector.astype(np.float32), observation["vector"])
        assert (reward, False, False) == (mine, terminated, truncated)
        assert info == details | {"task": scene}
    assert observation["vector"][36:].any()


def test_the_first_observation_shows_objects_where_they_are(make):
    env = make("drawer-open-v3", observe="state")
    for seed in range(3):
        first = env.reset(seed=seed)[0]["vector"]
        second = env.step(np.zeros(4, np.float32))[0]["vector"]
        assert np.abs(first[4:7] - second[4:7]).max() < 0.01  # 8 cm off in the package's seeded reset


def test_goals_of_ml1_are_the_packages_train_and_test_goals(make, monkeypatch):
    import metaworld

    monkeypatch.setattr(metaworld, "_N_GOALS", 12)  # the first of 50
    benchmark, met = metaworld.ML1("push-v3", seed=0), []
    package = benchmark.train_classes["push-v3"]()
    for split, tasks in (("train", benchmark.train_tasks), ("test", benchmark.test_tasks)):
        env = make("push-v3", observe="state", goals=f"ml1-{split}")
        told = []
        for task in tasks:
            package.set_task(task)
            told.append(package._last_rand_vec)
        env.reset(seed=0)
        goals = env._studio.goals(env._scene, int(split == "test"))
        assert len(goals) == 50
        assert np.array_equal(goals[:12], told)
        for seed in range(3):
            first = env.reset(seed=seed)[0]["vector"]
            met.append(first[4:6].tobytes())
            goal = env._scene.env._last_rand_vec
            assert goal.tolist() in goals.tolist()
            tell(package, "push-v3", goal, hidden=True)
            assert np.array_equal(package.reset()[0].astype(np.float32), first)
            assert not env.step(ACTIONS[0])[0]["vector"][36:].any()
    assert len(set(met)) > 3
    assert not set(met[:3]) & set(met[3:])


def test_pictures_are_the_packages_own_the_right_way_up(make):
    env = make("drawer-open-v3")
    other = make("reach-v3", render="fast", camera="topview")  # draws in between, in the same context
    package = the_package(
        "drawer-open-v3", 5, render_mode="rgb_array", camera_name="corner2", width=64, height=64
    )
    package.reset()
    package.render()
    image = env.reset(seed=5)[0]["image"]
    other.reset(seed=0)
    for action in ACTIONS[:2]:
        package.mujoco_renderer.viewer.make_context_current()  # it does so only once by itself
        assert np.array_equal(image, package.render()[::-1, ::-1])
        package.step(action)
        other.step(action)
        image = env.step(action)[0]["image"]
    assert image.std() > 20
    package.mujoco_renderer.viewer.free()


def test_every_camera_of_the_package_stands_upright(make):
    import mujoco

    env = make("reach-v3", render="fast")
    first = env.reset(seed=1)[0]["image"]
    package = the_package("reach-v3", 1)
    package.reset()
    draw_fast(package.model)
    with mujoco.Renderer(package.model, 64, 64) as renderer:
        for number in range(package.model.ncam):
            camera = package.model.camera(number).name
            renderer.update_scene(package.data, camera)
            picture = renderer.render()
            upright = package.data.cam_xmat[number].reshape(3, 3)[2, 1] > -1e-6  # where the picture's top is
            env._camera = camera
            assert np.array_equal(env._draw(64), picture if upright else picture[::-1, ::-1]), camera
            assert camera in CAMERAS
    assert package.model.ncam == len(CAMERAS)
    env._camera = "corner2"
    assert np.array_equal(env._draw(64), first)


def test_the_seed_alone_determines_an_episode(make):
    env, other = (make("ml10-test", observe="state") for _ in range(2))
    once = play(env, 1)
    play(env, 4)
    assert same(play(env, 1), once)
    play(other, 2)
    assert same(play(other, 1), once)
    assert not same(play(other, 3), once)
    env.reset(seed=9)
    second = env.reset()[0]["vector"]
    other.reset(seed=9)
    assert np.array_equal(other.reset()[0]["vector"], second)


def test_another_process_lives_the_same_episodes():
    environ = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": f"{ROOT}:{HERE}"}
    run = subprocess.run(
        [sys.executable, "-c", "from test_metaworld import fingerprint; print(fingerprint())"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.strip() == fingerprint()


def test_the_global_generators_are_left_alone(make):
    before = np.random.get_state()[1].tobytes(), np.random.get_state()[2], random.getstate()
    for goals in ("mt1", "ml1-test"):
        play(make("reach-v3", observe="state", goals=goals), 0)
    assert before == (np.random.get_state()[1].tobytes(), np.random.get_state()[2], random.getstate())


def test_a_snapshot_goes_on_exactly(make):
    vectors = [SerialVectorEnv(lambda: make("ml10-test", observe="state"), 2) for _ in range(2)]
    vectors[0].reset(3)
    for action in ACTIONS[:5]:
        vectors[0].step(np.stack([action, -action]))
    vectors[1].load_state_dict(vectors[0].state_dict())
    for action in ACTIONS[5:8]:
        rows = [vector.step(np.stack([action, -action])) for vector in vectors]
        assert all(np.array_equal(rows[0][key], rows[1][key]) for key in rows[0])


def test_a_mixture_makes_only_the_scenes_it_meets_and_shares_the_idle_ones(make):
    env, other = make("ml10-train", observe="state"), make("ml10-train", observe="state")
    met = [env.reset(seed=seed)[1]["task"] for seed in range(4)]
    assert 2 <= len(set(met)) <= 4
    assert set(met) <= set(MIXTURES["ml10-train"])
    idle = [scene for scenes in env._studio._idle.values() for scene in scenes]
    assert sorted([scene.name for scene in idle] + [met[-1]]) == sorted(set(met))
    other.reset(seed=next(seed for seed, name in enumerate(met) if name != met[-1]))
    assert other._scene in idle
    assert other._scene is not env._scene


@pytest.mark.filterwarnings("ignore:Constant")  # of the package's own policy
def test_the_500th_step_truncates_and_an_early_success_counts(make):
    from metaworld.policies import ENV_POLICY_MAP

    env, policy = make("reach-v3", observe="state"), ENV_POLICY_MAP["reach-v3"]()
    vector = env.reset(seed=0)[0]["vector"]
    won = False
    for step in range(1, 501):
        action = np.array([1, -1, 1, 1]) if won else policy.get_action(vector.astype(np.float64))
        observation, _, terminated, truncated, info = env.step(action.astype(np.float32))
        vector, won = observation["vector"], won or info["success"] == 1
        assert (terminated, truncated, "episode_metrics" in info) == (False, step == 500, step == 500)
    assert (won, info["success"], info["episode_metrics"]) == (True, 0, {"success": 1.0})
    with pytest.raises(ResetNeeded):
        env.step(action)
    env.reset(seed=0)
    for action in ACTIONS * 0:
        info = env.step(action)[-1]
    assert info["episode_metrics"] == {"success": 0.0}


def test_action_repeat_sums_rewards_and_ends_in_time(make):
    plain, env = make("push-v3", observe="state"), make("push-v3", observe="state", action_repeat=7)
    plain.reset(seed=2)
    env.reset(seed=2)
    rewards = [plain.step(ACTIONS[step // 7])[1] for step in range(500)]
    for step in range(72):
        _, reward, _, truncated, info = env.step(ACTIONS[step])
        assert reward == pytest.approx(sum(rewards[7 * step : 7 * step + 7]))
        assert truncated == (step == 71)
    assert env.metadata["render_fps"] == 11


def test_a_mixture_tells_success_by_scene(make):
    env = make("ml10-test", observe="state", action_repeat=500)
    info = env.reset(seed=0)[1]
    metrics = env.step(np.zeros(4, np.float32))[-1]["episode_metrics"]
    assert metrics == {"success": 0.0, f"success/{info['task']}": 0.0}


def test_success_rates_worked_by_hand():
    assert summarise([]) == {}
    assert summarise([{"return": 1.0, "length": 3}]) == {}  # cut off by a failed restore
    assert summarise([{"success": 1.0}, {"success": 0.0}, {"return": 0.0}]) == {"success_rate": 50}
    a, b = "success/a-v3", "success/b-v3"
    episodes = [{"success": 1.0, a: 1.0}, {"success": 0.0, b: 0.0}, {"success": 1.0, b: 1.0}]
    rates = {"success_rate": pytest.approx(200 / 3), "success_rate/a-v3": 100, "success_rate/b-v3": 50}
    assert summarise(episodes) == rates


def test_filming_changes_nothing_and_is_large(make):
    env, other = make("push-v3", render="fast"), make("push-v3", render="fast", observe="state")
    with pytest.raises(ResetNeeded):
        env.render()
    other.reset(seed=0)
    env.reset(seed=0)
    for action in ACTIONS[:3]:
        assert env.render().shape == other.render().shape == (256, 256, 3)
        image, paid = env.step(action)[:2]
        assert other.step(action)[1] == paid
        image = image["image"]
    silent = make("push-v3", render="fast")
    assert np.array_equal(play(silent, 0, 3)[0][-1], image)
    assert MetaWorld(("push-v3",), render_mode=None).render() is None


def test_closing_frees_all_that_is_drawn_with():
    from envs.suites.robotics import metaworld_scenes

    assert metaworld_scenes._studio is None or metaworld_scenes._studio() is None  # others have closed theirs
    envs = [SUITE.make(name, {"render": "fast"}, 32) for name in ("reach-v3", "ml10-test")]
    for env in envs:
        env.reset(seed=0)
    scene = envs[0]._scene
    assert scene.drawer is not None
    envs[0].close()
    envs[0].close()
    assert scene.drawer is None
    assert metaworld_scenes._studio() is envs[1]._studio
    envs[1].step(ACTIONS[0])
    envs[1].close()
    assert metaworld_scenes._studio() is None
    assert envs[1].reset(seed=0)[0]["image"].shape == (32, 32, 3)
    envs[1].close()


@pytest.mark.parametrize(
    ("task", "options", "problem"),
    [
        ("ml10-train", {"goals": "ml1-test"}, "goals of its own: leave"),
        ("reach-v3", {"goals": "ml1"}, "ml1-train"),
        ("reach-v3", {"camera": "corner1"}, "corner4"),
        ("reach-v3", {"action_repeat": 0}, "at least 1"),
    ],
)
def test_options_that_do_not_fit(make, task, options, problem):
    with pytest.raises(UserError, match=problem):
        make(task, **options)


def test_actions_of_another_shape_and_steps_before_reset_are_refused(make):
    env = make("reach-v3", observe="state")
    with pytest.raises(ResetNeeded):
        env.step(ACTIONS[0])
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"\(4,\)"):
        env.step(ACTIONS[0][:3])


def test_a_machine_that_cannot_draw_is_told_what_to_install(make, monkeypatch):
    env = make("reach-v3")

    def fail(*args):
        raise RuntimeError("Cannot create an EGL context.")

    monkeypatch.setattr("mujoco.egl.GLContext", fail)
    with pytest.raises(UserError, match="apt-get install libegl1"):
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("task", "options"), [("door-open-v3", {"render": "fast"}), ("ml10-test", {"observe": "state"})]
)
def test_gymnasiums_checker_passes(make, task, options):
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*(wrapped|spec|infinity|unwrapped).*")
        check_env(make(task, 32, **options), skip_render_check=task == "ml10-test")
