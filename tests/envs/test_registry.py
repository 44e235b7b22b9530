import dataclasses
import pathlib
import re
import warnings
from importlib import metadata

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from envs import Adapter, adapt, environment_info, environments, make, registry, suites, with_options
from envs.adapter import shown_actions
from envs.registry import ENTRY_POINTS
from expedition import UserError

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "environments.md"


class Recorder(gymnasium.Env):
    """Shows what it is told to and remembers the last action."""

    def __init__(self, observation, action=None):
        self.observation_space = observation
        self.action_space = action or spaces.Discrete(2)
        self.shown = observation.sample()
        self.last = None

    def reset(self, *, seed=None, options=None):
        return self.shown, {}

    def step(self, action):
        self.last = action
        return self.shown, 0.0, False, False, {}


EXAMPLES = [suite.id(next(iter(suite.tasks))) for suite in suites().values() if not suite.missing()]
"""One of each suite; each suite's own tests look at the others."""


def see(space, shown=None, image_size=64):
    """Return the adapted observation of `shown` and check that it is in the adapted space."""
    inner = Recorder(space)
    inner.shown = inner.shown if shown is None else shown
    env = adapt(inner, image_size)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    return observation


@pytest.mark.parametrize("env_id", [*EXAMPLES, "CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_gymnasiums_checker_passes(env_id):
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message=".*(wrapped|spec|infinity|unwrapped).*")
        check_env(make(env_id, image_size=32), skip_render_check=env_id not in environments())


def test_the_page_tells_of_every_environment():
    page = DOCS.read_text()
    for suite in suites().values():
        family = f"| `{suite.name}-<" in page
        assert family or all(f"| `{suite.id(task)}` |" in page for task in suite.tasks), suite.name
        assert all(f"`{option}" in page for option in suite.options), suite.name


@pytest.mark.parametrize("env_id", EXAMPLES)
def test_what_the_list_says_is_what_is_made(env_id):
    info, env = environments()[env_id], make(env_id)
    told = [f"{key} {box.dtype} {box.shape}" for key, box in env.observation_space.items()]
    assert info.observation == ", ".join(told)
    assert info.action == str(env.action_space)
    assert env_id == info.name
    assert not info.missing
    assert info.snapshot


def test_information_on_gymnasiums_own():
    info = environment_info("CartPole-v1")
    assert (info.name, info.snapshot, info.summarise([{"return": 1.0}])) == ("CartPole-v1", True, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "other"


@pytest.mark.parametrize(
    ("env_id", "limit"),
    [
        ("CartPole-v1", 500),
        ("CartPole-v1,max_episode_steps=70", 70),
        ("mazes-goal", 200),
        ("mazes-goal,limit=90", 90),
        ("dmc-cartpole-swingup,action_repeat=3", 334),
        ("robodesk-stack", 500),
        ("crafter", None),
    ],
)
def test_limits_of_episodes_are_known_without_making_one(env_id, limit):
    assert environment_info(env_id).limit == limit


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("crafterr", "crafter"),
        ("Crafter", "crafter"),
        ("CartPole-v9", "CartPole-v1"),
        ("maze", "maze-vector"),
    ],
)
@pytest.mark.parametrize("look_up", [make, environment_info])
def test_unknown_names_get_the_nearest(given, near, look_up):
    with pytest.raises(UserError, match=rf"Unknown environment '{given}': did you mean .*{near}"):
        look_up(given)


def test_a_missing_package_is_named_with_its_command():
    def build(**kwargs):
        import no_such_package  # noqa: F401

    gymnasium.register("NeedsMore-v0", entry_point=build)
    try:
        with pytest.raises(UserError, match=r"'NeedsMore-v0' needs .* run `pip install no_such_package`\.$"):
            make("NeedsMore-v0")
    finally:
        del gymnasium.registry["NeedsMore-v0"]


def test_an_environment_of_ones_own_by_module_and_name(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(example.splitlines()) < 30
    (tmp_path / "line_world.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    env = make("line_world:Line-v0")
    assert env.reset(seed=0)[0]["symbols"].tolist() == [2]
    env.step(1)
    observation, reward, terminated, _, info = env.step(1)
    assert (observation["symbols"].tolist(), reward, terminated) == ([4], 1.0, True)
    assert info["episode_metrics"] == {"won": 1.0}
    with pytest.raises(UserError, match="PYTHONPATH"):
        make("no_such_world:Line-v0")


def test_pictures_are_resized_and_grey_ones_coloured():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = (10, 20, 30)
    seen = see(spaces.Box(0, 255, (40, 80, 3), np.uint8), image, image_size=20)["image"]
    assert seen.shape == (20, 20, 3)
    assert seen[0, 0].tolist() == [0, 0, 0]
    assert seen[0, -1].tolist() == [10, 20, 30]
    grey = see(spaces.Box(0, 255, (64, 64, 1), np.uint8), np.full((64, 64, 1), 9, np.uint8))["image"]
    assert grey.shape == (64, 64, 3)
    assert (grey == 9).all()


def test_pictures_in_a_dict_are_resized_whatever_stands_beside_them():
    picture, place = spaces.Box(0, 255, (50, 70, 3), np.uint8), spaces.Box(-1, 1, (2,), np.float32)
    beside = spaces.Dict({"image": picture, "place": place})
    assert see(beside)["image"].shape == (64, 64, 3)
    assert see(spaces.Dict({"image": picture}), image_size=32)["image"].shape == (32, 32, 3)
    assert isinstance(adapt(Recorder(beside)), Adapter)
    fitting = Recorder(spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8), "place": place}))
    assert adapt(fitting) is fitting


def test_a_small_grid_of_codes_is_no_picture():
    codes = np.arange(147, dtype=np.uint8).reshape(7, 7, 3)
    assert see(spaces.Box(0, 255, (7, 7, 3), np.uint8), codes)["vector"].tolist() == list(range(147))


def test_vectors():
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert see(spaces.Box(-np.inf, np.inf, (2, 2), np.float64), matrix)["vector"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("space", "shown", "expected", "sizes"),
    [
        (spaces.Discrete(3, start=5), np.int64(6), [1], [3]),
        (spaces.MultiBinary((3,)), np.array([1, 0, 1], np.int8), [1, 0, 1], [2, 2, 2]),
        (spaces.MultiBinary((2, 2)), np.eye(2, dtype=bool), [1, 0, 0, 1], [2, 2, 2, 2]),
        (spaces.MultiDiscrete([3, 2], start=[-1, 4]), np.array([1, 5]), [2, 1], [3, 2]),
        (spaces.MultiDiscrete([[3, 2], [4, 5]]), [[2, 1], [0, 4]], [2, 1, 0, 4], [3, 2, 4, 5]),
    ],
)
def test_symbols(space, shown, expected, sizes):
    inner = Recorder(space)
    inner.shown = shown
    env = adapt(inner)
    assert env.observation_space == spaces.Dict({"symbols": spaces.MultiDiscrete(sizes, dtype=np.uint8)})
    seen = env.reset()[0]["symbols"]
    assert (seen.dtype, seen.tolist()) == (np.uint8, expected)


def test_more_than_a_byte_of_symbols():
    seen = see(spaces.Discrete(300), 299)["symbols"]
    assert (seen.dtype, seen.tolist()) == (np.int32, [299])


def test_entries_of_tuples_and_nested_dicts_are_named_by_their_path():
    inner = spaces.Dict({"left.hand": spaces.Discrete(2), "arm": spaces.Box(-1, 1, (2,), np.float32)})
    space = spaces.Tuple((spaces.Discrete(4), inner))
    seen = see(space, (3, {"left.hand": 1, "arm": np.ones(2, np.float32)}))
    assert {name: value.tolist() for name, value in seen.items()} == {
        "0": [3],
        "1/left_hand": [1],
        "1/arm": [1.0, 1.0],
    }
    # a name with a dot is no name of a module, also where all else fits
    assert see(spaces.Dict({"a.b": spaces.Box(-1, 1, (1,), np.float32)}), {"a.b": np.ones(1)})["a_b"] == 1


def test_entries_of_a_dict_keep_their_names():
    space = spaces.Dict({"camera": spaces.Box(0, 255, (32, 32, 3), np.uint8), "mode": spaces.Discrete(2)})
    seen = see(space, {"camera": np.full((32, 32, 3), 5, np.uint8), "mode": 1})
    assert seen.keys() == {"camera", "mode"}
    assert seen["camera"].shape == (64, 64, 3)
    assert seen["mode"].tolist() == [1]


def test_actions_are_stretched_to_their_bounds():
    space = spaces.Box(np.array([[-2.0], [0.0]]), np.array([[2.0], [10.0]]), dtype=np.float64)
    inner = Recorder(spaces.Discrete(2), space)
    env = adapt(inner)
    assert (env.action_space.shape, env.action_space.dtype) == ((2,), np.float32)
    for given, reached in (([-1, -1], [-2, 0]), ([0, 0], [0, 5]), ([1, 0.5], [2, 7.5]), ([-9, 9], [-2, 10])):
        env.step(np.array(given, np.float32))
        assert inner.last.tolist() == [[reached[0]], [reached[1]]]
        assert inner.last.dtype == np.float64


@pytest.mark.parametrize(
    ("space", "factors", "given", "reached"),
    [
        (spaces.MultiDiscrete([3, 2], start=[-1, 4]), [3, 2], [0, 1], [-1, 5]),
        (spaces.MultiDiscrete([[3, 2], [4, 5]]), [3, 2, 4, 5], [2, 1, 0, 4], [[2, 1], [0, 4]]),
        (spaces.MultiDiscrete([3, 2], dtype=np.int32), [3, 2], [2, 1], [2, 1]),
        (spaces.MultiBinary(3), [2, 2, 2], [1, 0, 1], [1, 0, 1]),
        (spaces.MultiBinary((2, 1)), [2, 2], [1, 0], [[1], [0]]),
    ],
)
def test_factors_of_actions_begin_at_zero(space, factors, given, reached):
    inner = Recorder(spaces.Discrete(2), space)
    env = adapt(inner)
    assert env.action_space == spaces.MultiDiscrete(factors)
    env.step(np.array(given))
    assert inner.last.tolist() == reached
    assert space.contains(inner.last)
    shown, shrink = shown_actions(space)
    assert shown == env.action_space
    assert shrink(inner.last[None]).tolist() == [given]


def test_actions_of_several_factors_that_fit_are_left_alone():
    observed = spaces.Dict({"vector": spaces.Box(-1, 1, (2,), np.float32)})
    inner = Recorder(observed, spaces.MultiDiscrete([3, 2]))
    assert adapt(inner) is inner


def test_discrete_actions_begin_at_zero():
    inner = Recorder(spaces.Discrete(2), spaces.Discrete(3, start=-1))
    env = adapt(inner)
    assert env.action_space == spaces.Discrete(3)
    env.step(0)
    assert inner.last == -1


def test_what_fits_is_left_alone():
    inner = make("catch-vector")
    assert adapt(inner) is inner
    assert isinstance(adapt(Recorder(spaces.Discrete(2))), Adapter)


@pytest.mark.parametrize(
    ("observation", "action", "problem"),
    [
        (spaces.Discrete(2), spaces.Box(-np.inf, np.inf, (1,)), "no finite bounds"),
        (spaces.Discrete(2), spaces.Tuple([spaces.Discrete(2)]), "not supported"),
        (spaces.Sequence(spaces.Discrete(2)), None, "cannot be read"),
        (spaces.Dict({"reward": spaces.Discrete(2)}), None, "'reward'"),
        (spaces.Dict({}), None, "no entries"),
        (spaces.Dict({"a.b": spaces.Discrete(2), "a_b": spaces.Discrete(2)}), None, "'a_b', twice"),
        # those that would fit as they are, too
        (spaces.Dict({"is_first": spaces.Box(0, 1, (2,), np.float32)}), None, "'is_first'"),
        (spaces.Dict({"task/goal": spaces.Box(0, 1, (2,), np.float32)}), None, "'task/goal'.*rename"),
        (spaces.Dict({"prior/logits": spaces.Box(0, 1, (2,), np.float32)}), None, "'prior/logits'"),
        (
            spaces.Dict({"behaviour/log_prob": spaces.Box(0, 1, (2,), np.float32)}),
            None,
            "'behaviour/log_prob'",
        ),
    ],
)
def test_spaces_that_cannot_be_brought_to_shape(observation, action, problem):
    with pytest.raises(UserError, match=problem):
        adapt(Recorder(observation, action))


@pytest.fixture
def entry_points(monkeypatch, tmp_path):
    """A function that installs entry points, name -> value."""
    (tmp_path / "their_world.py").write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)

    def install(**points):
        found = [metadata.EntryPoint(name, value, ENTRY_POINTS) for name, value in points.items()]
        monkeypatch.setattr("envs.registry.metadata.entry_points", lambda group: found)
        suites.cache_clear()
        registry._tasks.cache_clear()

    yield install
    suites.cache_clear()
    registry._tasks.cache_clear()


WORLD = """
import gymnasium
from envs import Option, Suite, Task

class Blank(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(3)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, cell=0):
        self.cell = cell

    def reset(self, *, seed=None, options=None):
        return self.cell, {}

SUITE = Suite(
    "theirs",
    {"blank": Task("Nothing.", "symbols 1 of 3", "Discrete(2)")},
    lambda task, options, image_size: Blank(**options),
    options={"cell": Option(0, "where", least=0)},
)
"""


def test_a_package_adds_a_class_by_an_entry_point(entry_points):
    entry_points(blank="their_world:Blank")
    assert make("blank").reset(seed=0)[0]["symbols"].tolist() == [0]
    assert "their_world:Blank" in environment_info("blank").description
    assert "crafter" in environments()


def test_a_package_adds_a_suite_by_an_entry_point(entry_points):
    entry_points(theirs="their_world:SUITE")
    assert make("theirs-blank,cell=2").reset(seed=0)[0]["symbols"].tolist() == [2]
    assert "theirs-blank" in environments()


def test_an_entry_point_that_leads_nowhere_is_told_when_it_is_used(entry_points, caplog):
    entry_points(lost="their_world:Missing", crafter="their_world:Blank")
    assert "crafter" in environments()
    assert "the name is taken" in caplog.text
    with pytest.raises(UserError, match="'lost' cannot be loaded from 'their_world:Missing'"):
        make("lost")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("theirs-blank,cell=two", "'cell' must be a whole number, not 'two'"),
        ("theirs-blank,cell=-1", "at least 0"),
        ("theirs-blank,cel=1", "did you mean cell"),
        ("theirs-blank,cell", "has 'cell' after a comma"),
        ("theirs-blank,cell=1,cell=2", "gives 'cell' twice"),
        ("maze-vector,cell=1", "have no options"),
        ("CartPole-v1,gravity=9", "cannot be made"),
    ],
)
def test_bad_options_get_one_sentence(entry_points, given, message):
    entry_points(theirs="their_world:SUITE")
    with pytest.raises(UserError, match=message):
        make(given)


def test_options_of_gymnasiums_own_reach_the_constructor():
    assert make("CartPole-v1,sutton_barto_reward=true").unwrapped._sutton_barto_reward is True


def test_options_are_laid_over_those_of_an_id():
    assert with_options("mazes-collect", "size=7") == "mazes-collect,size=7"
    assert with_options("mazes-collect,size=9,limit=50", "limit=20,size=7") == "mazes-collect,limit=20,size=7"
    with pytest.raises(UserError, match="gives 'size' twice"):
        with_options("mazes-collect", "size=7,size=9")
    with pytest.raises(UserError, match="has 'size' after a comma"):
        with_options("mazes-collect", "size")
