"""The environments by name: our suites, those of users' packages, and all that gymnasium has registered."""

import functools
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import gymnasium

from envs.adapter import adapt
from envs.captions import Captioned, Captioner, Words
from envs.failures import in_words, own_traceback
from envs.limit import EPISODE_STEPS, DefaultLimit
from envs.suite import Chart, Draw, Option, Suite, Summarise, Task, no_summary, read_value, split_id
from envs.suites import atari, procgen
from envs.suites.construction import environment as construction
from envs.suites.crafter import environment as crafter
from envs.suites.grids import go, gridworlds, mazes, minigrid, minipacman, sokoban
from envs.suites.robotics import dmc, metaworld, robodesk
from expedition.errors import UserError, unknown_name

logger = logging.getLogger(__name__)

ENTRY_POINTS = "expedition.environments"
"""Group of Python entry points by which a package of a user adds a suite, or a class, under its name."""

_OWN = (
    crafter.SUITE,
    robodesk.SUITE,
    metaworld.SUITE,
    dmc.SUITE,
    procgen.SUITE,
    atari.SUITE,
    minigrid.SUITE,
    go.SUITE,
    sokoban.SUITE,
    mazes.SUITE,
    minipacman.SUITE,
    construction.SUITE,
    gridworlds.CATCH_SUITE,
    gridworlds.MAZE_SUITE,
)


@dataclass(frozen=True)
class EnvironmentInfo:
    """What can be known of an environment without making one.

    Attributes:
        name: the id that `make` takes. description: one sentence. observation: the entries of its
        observation at the default options and image size. action: its action space in words.
        missing: the packages that it needs and that are not installed. how_to_install: the command for them.
        snapshot: whether an episode repeats exactly under its seed and actions, so that
            `VectorEnv.load_state_dict` continues exactly.
        slow: whether worker processes pay off.
        slow_reset: whether they begin next episodes ahead of time.
        options: what may follow the name after commas.
        summarise: from episode summaries (`VectorEnv.pop_episodes`) to the suite's measures.
        reachable: how many different names episodes can tell as `reached`; None where that isn't known.
        draw: from one observation, entries by name, to a picture, uint8 (h, w, 3); None where observations
            hold pictures themselves or cannot be drawn.
        limit: steps after which an episode is cut off, where that is known.
    """

    name: str
    description: str
    observation: str
    action: str
    missing: tuple[str, ...] = ()
    how_to_install: str = ""
    snapshot: bool = True
    slow: bool = False
    slow_reset: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    summarise: Summarise = no_summary
    reachable: int | None = None
    draw: Draw | None = None
    limit: int | None = None


@functools.cache
def suites() -> dict[str, Suite]:
    """Return our suites, and those that installed packages add through entry points, by name."""
    found = {suite.name: suite for suite in _OWN}
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if point.name in found:
            logger.warning("The entry point '%s' is left out: the name is taken.", point.value)
        else:
            found[point.name] = _from_entry_point(point)
    return found


def make(env_id: str, *, image_size: int = 64, captions: bool = False) -> gymnasium.Env[Any, Any]:
    """Make one environment, which observes and acts as an `Adapter` does.

    Args:
        env_id: one of `environments()`, an id registered with gymnasium ("CartPole-v1"), or "module:Name-v0",
            for which `module` is imported first so that it can register the id; with options after commas.
        image_size: height and width of pictures, in pixels.
        captions: note in the attribute `told` what each step did, in words (`envs.captions`).

    Raises:
        UserError: unknown id or option, missing package, no captions, or spaces that cannot be brought to
            shape.
    """
    name, options = split_id(env_id)
    if name in _tasks():
        suite, task = _tasks()[name]
        env = suite.make(task, options, image_size)
        return adapt(Captioned(env, _captioner(env_id)) if captions else env, image_size)
    if captions:
        _captioner(env_id)
    spec = _find_spec(name)
    keywords: dict[str, Any] = {key: read_value(text) for key, text in options.items()}
    try:
        env = gymnasium.make(spec, **_render_mode(spec), **keywords)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise missing_package(env_id, error) from error
    except Exception as error:  # noqa: BLE001  # whatever a user's class raises is told in a sentence
        raise _cannot(f"Environment '{env_id}' cannot be made", error) from error
    if not _has_limit(env):
        env = DefaultLimit(env, env_id, f"choose another limit with '{env_id},max_episode_steps=STEPS'")
    return adapt(env, image_size)


def environments() -> dict[str, EnvironmentInfo]:
    """Return the environments of all suites by name, suite by suite; gymnasium's come on top of them."""
    return {name: _info(name, suite, task, {}) for name, (suite, task) in _tasks().items()}


def environment_info(env_id: str) -> EnvironmentInfo:
    """Return what is known of an environment of ours or of gymnasium's, without making it.

    Raises:
        UserError: unknown id or option.
    """
    name, options = split_id(env_id)
    if name in _tasks():
        suite, task = _tasks()[name]
        return _info(name, suite, task, options)
    spec = _find_spec(name)
    told = read_value(options.get("max_episode_steps", ""))
    return EnvironmentInfo(
        name=name,
        description="Registered with gymnasium.",
        observation="as registered, brought to images and vectors",
        action="as registered, boxes scaled to [-1, 1]",
        snapshot=not spec.nondeterministic,
        limit=told if type(told) is int else spec.max_episode_steps or EPISODE_STEPS,
    )


def charts(env_id: str) -> list[Chart]:
    """Return an environment's places from above, on which what was reached can be shown; often none.

    Raises:
        UserError: unknown id or option.
    """
    name, options = split_id(env_id)
    if name not in _tasks():
        return []
    suite, task = _tasks()[name]
    return list(suite.charts(task, suite.read_options(options)))


def environment_words(env_id: str) -> Words:
    """Return the words in which an environment tells what happens, without making it.

    Raises:
        UserError: unknown id or option, or it has no words.
    """
    return _captioner(env_id).words


def _captioner(env_id: str) -> Captioner:
    name, options = split_id(env_id)
    found = None
    if name in _tasks():
        suite, task = _tasks()[name]
        found = suite.captions(task, suite.read_options(options))
    else:
        _find_spec(name)
    if found is None:
        able = sorted({suite.name for suite, task in _tasks().values() if _has_words(suite, task)})
        raise UserError(
            f"Environment '{env_id}' has no captions, which the reward 'language' reads: choose another "
            f"reward, or an environment of {', '.join(able[:-1])} or {able[-1]}."
        )
    return found


def _has_words(suite: Suite, task: str) -> bool:
    return suite.captions(task, suite.read_options({})) is not None


@functools.cache
def _tasks() -> dict[str, tuple[Suite, str]]:
    """Every id of a suite, with the suite and its task."""
    return {suite.id(task): (suite, task) for suite in suites().values() for task in suite.tasks}


def _info(name: str, suite: Suite, task: str, options: Mapping[str, str]) -> EnvironmentInfo:
    described = suite.tasks[task]
    read = suite.read_options(options)
    return EnvironmentInfo(
        name=name,
        description=described.description,
        observation=described.observation,
        action=described.action,
        missing=tuple(suite.missing()),
        how_to_install=suite.how_to_install,
        snapshot=suite.snapshot,
        slow=suite.slow,
        slow_reset=suite.slow_reset,
        options=suite.options,
        summarise=suite.summarise,
        reachable=suite.reachable(task, read),
        draw=suite.draw(task, read),
        limit=suite.cut_off(read),
    )


def _from_entry_point(point: metadata.EntryPoint) -> Suite:
    """Return the suite that a package adds: one of its own, or one class (imported when it is made)."""
    if point.attr == "SUITE":
        try:
            loaded = point.load()
            assert isinstance(loaded, Suite)
            return loaded
        except (ImportError, AttributeError, AssertionError) as error:
            logger.warning("The entry point '%s' leads to no suite: %s", point.value, error)

    def build(task: str, options: Mapping[str, Any], image_size: int) -> gymnasium.Env[Any, Any]:
        try:
            env = point.load()()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"Environment '{point.name}' cannot be loaded from '{point.value}' ({error}): "
                "mend the package that names it."
            ) from error
        except Exception as error:  # noqa: BLE001  # whatever a user's class raises is told in a sentence
            raise _cannot(f"Environment '{point.name}' cannot be made", error) from error
        return env if _has_limit(env) else DefaultLimit(env, point.name, "wrap it in gymnasium's TimeLimit")

    task = Task(f"From a package: {point.value}.", "as the class shows it", "as the class takes it")
    return Suite(point.name, {"": task}, build)


def missing_package(env_id: str, error: ImportError | gymnasium.error.DependencyNotInstalled) -> UserError:
    """Return the one sentence that says which package an environment lacks and how to install it."""
    message = str(error).rstrip(".")
    name = (getattr(error, "name", None) or "").split(".")[0]
    hint = f": run `pip install {name}`" if name and "pip install" not in message else ""
    return UserError(f"Environment '{env_id}' needs a package that is not installed ({message}){hint}.")


def _cannot(what: str, error: Exception) -> UserError:
    """Return the sentence for what a user's code made impossible, and log their traceback."""
    told = own_traceback(error)
    if not told:
        return UserError(f"{what}: {str(error).rstrip('.')}.")
    logger.error("%s:\n%s", what, told)
    return UserError(f"{what}: it raised {in_words(error)}; mend it and try again.")


def _has_limit(env: gymnasium.Env[Any, Any]) -> bool:
    """Say whether some wrapper cuts episodes off."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            return True
        env = env.env
    return False


def _render_mode(spec: gymnasium.envs.registration.EnvSpec) -> dict[str, Any]:
    """Ask for pictures only where the environment says that it draws them; it may not know the word."""
    entry = spec.entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    modes = (getattr(creator, "metadata", None) or {}).get("render_modes", ())
    return {"render_mode": "rgb_array"} if "rgb_array" in modes else {}


def _find_spec(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """Look an id up in gymnasium's registry, importing the module before a colon first."""
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"Environment '{env_id}': cannot import '{module}' ({error}); is its folder in PYTHONPATH?"
            ) from error
        except Exception as error:  # noqa: BLE001  # whatever a user's module raises is told in a sentence
            raise _cannot(
                f"Environment '{env_id}': its module '{module}' cannot be imported", error
            ) from error
    if name not in gymnasium.registry:
        raise unknown_name("environment", env_id, [*_tasks(), *gymnasium.registry])
    return gymnasium.spec(name)
