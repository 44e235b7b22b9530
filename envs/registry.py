"""The environments by name: our own, and everything that is registered with gymnasium."""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

from envs import crafter, gridworlds
from envs.adapter import adapt
from expedition import UserError, unknown_name

Summarise = Callable[[Sequence[Mapping[str, Any]]], dict[str, float]]


def no_summary(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return no measures: for an environment whose return says it all."""
    return {}


@dataclass(frozen=True)
class EnvironmentInfo:
    """What can be known of an environment without making one.

    Attributes:
        name: the id that `make` takes. description: one sentence. observation: the entries of its
        observation, with dtype and shape at the default image size. action: its action space in words.
        installed: whether the packages it needs are there; for gymnasium's, only making one tells, so True.
        snapshot: whether an episode repeats exactly under its seed and actions, so that
        `VectorEnv.load_state_dict`
            continues exactly.
        extra: the extra of this project that brings its packages, if any.
        summarise: from episode summaries (`VectorEnv.pop_episodes`) to the suite's measures.
    """

    name: str
    description: str
    observation: str
    action: str
    installed: bool = True
    snapshot: bool = True
    extra: str | None = None
    summarise: Summarise = no_summary


_MAZE = "A fixed maze of long corridors: 97 cells, 200 steps, a goal 52 moves from the start."
_CATCH = "Be under the falling ball: 9 steps, reward 1 caught or -1 missed."
_FACTORIES: dict[str, Callable[[int], gymnasium.Env[Any, Any]]] = {
    "catch-pixels": lambda image_size: gridworlds.Catch("pixels", image_size),
    "catch-vector": lambda image_size: gridworlds.Catch("vector"),
    "crafter": lambda image_size: crafter.Crafter(image_size),
    "maze-pixels": lambda image_size: gridworlds.Maze("pixels", image_size),
    "maze-vector": lambda image_size: gridworlds.Maze("vector"),
}


def make(env_id: str, *, image_size: int = 64) -> gymnasium.Env[Any, Any]:
    """Make one environment: observations a Dict of Boxes, actions Discrete or a Box in [-1, 1].

    Args:
        env_id: one of `environments()`, an id registered with gymnasium ("CartPole-v1"), or "module:Name-v0",
        for
            which `module` is imported first so that it can register the id.
        image_size: height and width of pictures, in pixels.

    Raises:
        UserError: unknown id, missing package, or spaces that cannot be brought to shape.
    """
    if env_id in _FACTORIES:
        return _FACTORIES[env_id](image_size)
    spec = _find_spec(env_id)
    try:
        env = gymnasium.make(spec, **_render_mode(spec))
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise missing_package(env_id, error) from error
    except gymnasium.error.Error as error:
        raise UserError(f"Environment '{env_id}' cannot be made: {str(error).rstrip('.')}.") from error
    return adapt(env, image_size)


def environments() -> dict[str, EnvironmentInfo]:
    """Return our own environments by name, in alphabetical order; gymnasium's come on top of them."""
    image, vector = "image uint8 (64, 64, 3)", "vector float32 ({},)"
    maze = functools.partial(
        EnvironmentInfo, description=_MAZE, action="Discrete(4)", summarise=gridworlds.summarise_maze
    )
    catch = functools.partial(EnvironmentInfo, description=_CATCH, action="Discrete(3)")
    survival = EnvironmentInfo(
        name="crafter",
        description="Survival in a 2D world with 22 achievements (Hafner 2021), 10,000 steps at most.",
        observation=image,
        action="Discrete(17)",
        installed=importlib.util.find_spec("crafter") is not None,
        extra="crafter",
        summarise=crafter.summarise,
    )
    infos = [
        catch(name="catch-pixels", observation=image),
        catch(name="catch-vector", observation=vector.format(50)),
        survival,
        maze(name="maze-pixels", observation=image),
        maze(name="maze-vector", observation=vector.format(98)),
    ]
    return {info.name: info for info in infos}


def environment_info(env_id: str) -> EnvironmentInfo:
    """Return what is known of an environment of ours or of gymnasium's, without making it.

    Raises:
        UserError: unknown id.
    """
    own = environments()
    if env_id in own:
        return own[env_id]
    spec = _find_spec(env_id)
    return EnvironmentInfo(
        name=env_id,
        description="Registered with gymnasium.",
        observation="as registered, brought to images and vectors",
        action="as registered, boxes scaled to [-1, 1]",
        snapshot=not spec.nondeterministic,
    )


def missing_package(env_id: str, error: ImportError | gymnasium.error.DependencyNotInstalled) -> UserError:
    """Return the one sentence that says which package an environment lacks and how to install it."""
    message = str(error).rstrip(".")
    name = (getattr(error, "name", None) or "").split(".")[0]
    hint = f": run `pip install {name}`" if name and "pip install" not in message else ""
    return UserError(f"Environment '{env_id}' needs a package that is not installed ({message}){hint}.")


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
    if name not in gymnasium.registry:
        raise unknown_name("environment", env_id, [*_FACTORIES, *gymnasium.registry])
    return gymnasium.spec(name)
