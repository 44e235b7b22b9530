"""Brings any gymnasium environment to one shape: images, vectors, symbols and objects to see; how to act."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from envs.failures import number, reset_result, step_result
from envs.fit import Fit, entry, fit
from expedition import UserError
from expedition.pointing import Pointing

RESERVED = frozenset({"action", "reward", "is_first", "is_last", "is_terminal"})
RESERVED_PREFIXES = ("task/", "prior/", "behaviour/")
"""Names that rows have for something else (docs/shapes.md)."""
SMALLEST_IMAGE = 16

_Encode = Callable[[Any], np.ndarray]
_Counted = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


def adapt(env: gymnasium.Env[Any, Any], image_size: int = 64) -> gymnasium.Env[Any, Any]:
    """Return `env` as it is if its spaces already fit, else inside an `Adapter`.

    Args:
        env: any gymnasium environment.
        image_size: height and width that pictures are resized to, in pixels.

    Raises:
        UserError: a space cannot be brought to shape.
    """
    fits = _fits(env.observation_space, env.action_space, image_size) and not declared_pointers(env)
    return env if fits else Adapter(env, image_size)


class Adapter(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Observes images, vectors, symbols and sets of objects; acts by (Multi)Discrete or a Box in [-1, 1].

    Boxes of uint8 (h, w, 1 or 3) with at least 16 pixels a side become images of (image_size, image_size, 3),
    grey ones repeated. Boxes of float32 (n, d) that are entries of a Dict or Tuple are sets of n objects and
    stay as they are; the MultiBinary (n,) `X_mask` tells which of the set `X` exist. Every other box is
    flattened to a vector (d,). Discrete, MultiBinary and MultiDiscrete become symbols: whole numbers (n,)
    from 0, a one-dimensional MultiDiscrete. The entries of a Dict or Tuple, also of one inside another, go
    the same way under their own names and numbers, joined by "/"; anything else is named `image`, `vector`
    or `symbols`.

    Box actions are flattened to (A,), clipped to [-1, 1] and stretched linearly to the bounds; Discrete ones
    start at 0. MultiDiscrete ones are flattened to (n,) and start at 0; so are those of a MultiBinary, as
    factors of two values. Where the environment has an attribute `pointers`, place of a factor -> name of a
    set of objects that the factor chooses from, the actions are `Pointing`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], image_size: int = 64) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, image_size=image_size)
        gymnasium.Wrapper.__init__(self, env)
        self.observation_space, self._encode = shown_observations(env.observation_space, image_size)
        self.action_space, self._decode = _actions(env.action_space)
        pointers = declared_pointers(env)
        if pointers:
            self.action_space = pointing(self.action_space, pointers, self.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset the environment inside."""
        observation, info = reset_result(self.env.reset(seed=seed, options=options))
        return self._encode(observation), info

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act with an int, (n,) ints, or (A,) floats in [-1, 1]."""
        result = step_result(self.env.step(self._decode(action)))
        observation, reward, terminated, truncated, info = result
        return self._encode(observation), number(reward), bool(terminated), bool(truncated), info


def shown_observations(
    space: spaces.Space[Any], image_size: int = 64
) -> tuple[spaces.Dict, Callable[[Any], dict[str, np.ndarray]]]:
    """Return the space that an `Adapter` shows, and the function from an observation to what it shows.

    Raises:
        UserError: the space cannot be brought to shape.
    """
    encoders = _encoders(space, image_size)

    def encode(observation: Any) -> dict[str, np.ndarray]:
        return {name: part(observation) for name, (_, part) in encoders.items()}

    return spaces.Dict({name: shown for name, (shown, _) in encoders.items()}), encode


def shown_actions(
    space: spaces.Space[Any],
) -> tuple[spaces.Space[Any], Callable[[np.ndarray], np.ndarray]]:
    """Return the space by which an `Adapter` acts, and the function to its actions from the environment's.

    The function takes actions (n, ...) and returns numbers from 0 for a Discrete, and so for each factor of a
    MultiDiscrete or MultiBinary; for a Box (n, A) float32 in [-1, 1], to which what lies beyond the bounds is
    clipped.

    Raises:
        UserError: the space cannot be brought to shape.
    """
    shown, _ = _actions(space)
    if isinstance(space, spaces.Discrete):
        return shown, lambda actions: np.asarray(actions) - int(space.start)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        start = _start(space)
        return shown, lambda actions: (actions - start).reshape(len(actions), -1).astype(np.int64)
    assert isinstance(space, spaces.Box)
    return shown, functools.partial(_shrink, space)


def _fits(observation: spaces.Space[Any], action: spaces.Space[Any], image_size: int) -> bool:
    if not isinstance(observation, spaces.Dict) or not observation.spaces or _unfit_names(observation):
        return False
    seen = all(
        _is_symbols(part)
        or _is_vector(part)
        or _is_objects(part)
        or (_is_picture(part, 3) and part.shape is not None and part.shape[:2] == (image_size, image_size))
        for part in observation.values()
    )
    if isinstance(action, spaces.Discrete):
        return seen and action.start == 0
    if isinstance(action, spaces.MultiDiscrete):
        return seen and _is_symbols(action) and action.dtype == np.int64
    if not isinstance(action, spaces.Box) or action.dtype != np.float32 or len(action.shape) != 1:
        return False
    return seen and bool((action.low == -1).all() and (action.high == 1).all())


def declared_pointers(env: gymnasium.Env[Any, Any]) -> dict[int, str]:
    """Return which factors of its actions an environment, or a wrapper of it, says to point at which set."""
    if isinstance(env.action_space, Pointing) or not env.has_wrapper_attr("pointers"):
        return {}
    return dict(env.get_wrapper_attr("pointers"))


def pointing(action: spaces.Space[Any], pointers: Mapping[int, str], observation: spaces.Dict) -> Pointing:
    """Return the actions with what their factors point at.

    Raises:
        UserError: there is no such factor, or no set of as many objects.
    """
    sizes = action.nvec.tolist() if isinstance(action, spaces.MultiDiscrete) else []
    for place, name in pointers.items():
        seen = observation.spaces.get(name)
        count = seen.shape[0] if isinstance(seen, spaces.Box) and _is_objects(seen) else None
        if place not in range(len(sizes)) or sizes[place] != count:
            raise UserError(
                f"The environment's `pointers` let factor {place} of its actions {action} point at '{name}', "
                f"which is {seen}: name a factor of a MultiDiscrete and a float32 Box (n, d) of as many rows "
                "as the factor has values."
            )
    return Pointing(sizes, pointers)


def _unfit_names(space: spaces.Dict) -> list[str]:
    return [key for key in space if _reserved(key) or "." in key]


def _reserved(name: str) -> bool:
    """Whether rows have the name for something else."""
    return name in RESERVED or name.startswith(RESERVED_PREFIXES)


def _is_picture(space: spaces.Space[Any], *channels: int) -> bool:
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    height, width, depth = space.shape
    return min(height, width) >= SMALLEST_IMAGE and depth in channels  # MiniGrid's (7, 7, 3) holds codes


def _is_vector(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1


def _is_objects(space: spaces.Space[Any]) -> bool:
    rows = isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 2
    return rows and bool(np.prod(space.shape or ()))


def _is_symbols(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1 and not space.start.any()


def _encoders(space: spaces.Space[Any], image_size: int) -> dict[str, tuple[spaces.Space[Any], _Encode]]:
    found: dict[str, tuple[spaces.Space[Any], _Encode]] = {}
    for path, part in _leaves(space):
        name, shown, encode = _encoder(part, "/".join(map(str, path)), image_size)
        if _reserved(name) or name in found:
            problem = "which is kept for rows" if _reserved(name) else "twice"
            raise UserError(
                f"The environment's observation has an entry named '{name}', {problem}: rename its entries "
                "in a gymnasium wrapper."
            )
        found[name] = shown, functools.partial(_encoded, path, encode)
    if not found:
        raise UserError(
            "The environment's observation has no entries: show something in a gymnasium wrapper."
        )
    return found


_Path = tuple[str | int, ...]


def _leaves(space: spaces.Space[Any], path: _Path = ()) -> Iterator[tuple[_Path, spaces.Space[Any]]]:
    """Yield what is neither Dict nor Tuple, with the keys and places that lead to it."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from _leaves(part, (*path, key))
    else:
        yield path, space


def _encoded(path: _Path, encode: _Encode, observation: Any) -> np.ndarray:
    for key in path:
        observation = entry(observation, key)
    return encode(observation)


def _encoder(space: spaces.Space[Any], name: str, image_size: int) -> tuple[str, spaces.Space[Any], _Encode]:
    """Return the name of an entry (without dots, which modules cannot have), how it is shown, and by what."""
    name = name.replace(".", "_")
    if _is_picture(space, 1, 3):
        box = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        return name or "image", box, functools.partial(_picture, fit(space, name or "image"), image_size)
    if name and _is_objects(space):
        checked = fit(space, name)
        return name, space, lambda seen: checked(seen).astype(np.float32, copy=False)
    if isinstance(space, spaces.Box) and np.prod(space.shape):
        with np.errstate(over="ignore"):  # float64 bounds may lie beyond float32
            low, high = (bound.astype(np.float32).reshape(-1) for bound in (space.low, space.high))
        fitted = fit(space, name or "vector")
        shown = spaces.Box(low, high, dtype=np.float32)
        return name or "vector", shown, lambda seen: fitted(seen).astype(np.float32).reshape(-1)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return name or "symbols", *_symbols(space, name or "symbols")
    raise UserError(
        f"Observations of the kind {space} cannot be read: use Box, Discrete, MultiDiscrete, MultiBinary, or "
        "a Dict or Tuple of them."
    )


def _symbols(space: _Counted, name: str) -> tuple[spaces.MultiDiscrete, _Encode]:
    """Return symbols (n,) from 0; one byte each where their numbers of values fit into one."""
    sizes, start = _sizes(space), _start(space)
    dtype: Any
    fitted, dtype = fit(space, name), np.uint8 if sizes.max() <= 255 else np.int32
    return spaces.MultiDiscrete(
        sizes, dtype=dtype
    ), lambda seen: (fitted(seen) - start).astype(dtype).reshape(-1)


def _sizes(space: _Counted) -> np.ndarray:
    """How many values each of n numbers has, (n,) int64."""
    if isinstance(space, spaces.MultiBinary):
        return np.full(int(np.prod(space.shape)), 2)
    return (
        np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec)
        .reshape(-1)
        .astype(np.int64)
    )


def _start(space: _Counted) -> Any:
    """The first value of each number, in the shape of the space, or of all."""
    return np.int64(0) if isinstance(space, spaces.MultiBinary) else space.start


def _picture(fitted: Fit, size: int, shown: Any) -> np.ndarray:
    image = fitted(shown).astype(np.uint8, copy=False)
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _actions(space: spaces.Space[Any]) -> tuple[spaces.Space[Any], Callable[[Any], Any]]:
    """Return the space that is shown and the function from its actions to the environment's own."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return spaces.Discrete(int(space.n)), lambda action: start + int(action)
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return spaces.MultiDiscrete(_sizes(space)), functools.partial(_count_on, space)
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"Actions of the kind {space} are not supported: use Discrete, MultiDiscrete, MultiBinary or a "
            "Box of floats."
        )
    if not space.is_bounded():
        raise UserError(
            "The environment's action box has no finite bounds to scale to: give it bounds in a wrapper."
        )
    return spaces.Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32), functools.partial(_stretch, space)


def _count_on(space: spaces.MultiDiscrete | spaces.MultiBinary, action: np.ndarray) -> np.ndarray:
    """Numbers (n,) from 0 as the space counts them, in its shape."""
    return (np.asarray(action).reshape(space.shape) + _start(space)).astype(space.dtype)


def _stretch(space: spaces.Box, action: np.ndarray) -> np.ndarray:
    """Map (A,) in [-1, 1] linearly to the bounds of `space`."""
    share = (np.clip(np.asarray(action, np.float64), -1, 1).reshape(space.shape) + 1) / 2
    wide = share * space.high + (1 - share) * space.low
    return np.clip(wide.astype(space.dtype), space.low, space.high)


def _shrink(space: spaces.Box, actions: np.ndarray) -> np.ndarray:
    """Inverse of `_stretch` for actions (n, ...); where low and high are one, every action is 0."""
    width = space.high.astype(np.float64) - space.low
    if (space.low == -1).all() and (space.high == 1).all():
        shrunk = np.asarray(actions)  # exactly
    else:
        middle = (space.high.astype(np.float64) + space.low) / 2
        shrunk = 2 * (actions - middle) / np.where(width > 0, width, np.inf)
    return np.clip(shrunk, -1, 1).astype(np.float32).reshape(len(shrunk), -1)
