"""Brings any gymnasium environment to one shape: a Dict of Boxes to see, Discrete or [-1, 1] to act."""

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from envs.failures import number, reset_result, step_result
from envs.fit import Fit, entry, fit
from expedition import UserError

RESERVED = frozenset({"action", "reward", "is_first", "is_last", "is_terminal"})
RESERVED_PREFIXES = ("task/", "prior/", "behaviour/")
"""Names that rows have for something else (docs/shapes.md)."""
SMALLEST_IMAGE = 16

_Encode = Callable[[Any], np.ndarray]


def adapt(env: gymnasium.Env[Any, Any], image_size: int = 64) -> gymnasium.Env[Any, Any]:
    """Return `env` as it is if its spaces already fit, else inside an `Adapter`.

    Args:
        env: any gymnasium environment.
        image_size: height and width that pictures are resized to, in pixels.

    Raises:
        UserError: a space cannot be brought to shape.
    """
    fits = _fits(env.observation_space, env.action_space, image_size)
    return env if fits else Adapter(env, image_size)


class Adapter(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Observes uint8 images (h, w, 3) and float32 vectors (d,); acts by Discrete or a Box in [-1, 1].

    uint8 boxes (h, w, 1 or 3) of at least 16 pixels a side become images of (image_size, image_size, 3), grey
    ones repeated; every other box, Discrete (one-hot), MultiBinary, MultiDiscrete or Tuple is flattened to a
    vector. The entries of a Dict go the same way under their own names; anything else is named `image` or
    `vector`. Box actions are flattened to (A,), clipped to [-1, 1] and stretched linearly to the bounds;
    Discrete ones start at 0.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], image_size: int = 64) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, image_size=image_size)
        gymnasium.Wrapper.__init__(self, env)
        self._is_dict = isinstance(env.observation_space, spaces.Dict)
        encoders = _encoders(env.observation_space, image_size)
        self._encoders = {name: encode for name, (_, encode) in encoders.items()}
        self.observation_space = spaces.Dict({name: box for name, (box, _) in encoders.items()})
        self.action_space, self._decode = _actions(env.action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset the environment inside."""
        observation, info = reset_result(self.env.reset(seed=seed, options=options))
        return self._encode(observation), info

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act with an int, or with (A,) floats in [-1, 1]."""
        result = step_result(self.env.step(self._decode(action)))
        observation, reward, terminated, truncated, info = result
        return self._encode(observation), number(reward), bool(terminated), bool(truncated), info

    def _encode(self, observation: Any) -> dict[str, np.ndarray]:
        if self._is_dict:
            return {name: encode(entry(observation, name)) for name, encode in self._encoders.items()}
        return {name: encode(observation) for name, encode in self._encoders.items()}


def _fits(observation: spaces.Space[Any], action: spaces.Space[Any], image_size: int) -> bool:
    if not isinstance(observation, spaces.Dict) or not observation.spaces or _reserved(observation):
        return False
    boxes = all(
        isinstance(box, spaces.Box)
        and ((_is_picture(box, 3) and box.shape[:2] == (image_size, image_size)) or _is_vector(box))
        for box in observation.values()
    )
    if isinstance(action, spaces.Discrete):
        return boxes and action.start == 0
    if not isinstance(action, spaces.Box) or action.dtype != np.float32 or len(action.shape) != 1:
        return False
    return boxes and bool((action.low == -1).all() and (action.high == 1).all())


def _reserved(space: spaces.Dict) -> list[str]:
    """Return the names of entries that rows have for something else."""
    return sorted(key for key in space if key in RESERVED or key.startswith(RESERVED_PREFIXES))


def _is_picture(space: spaces.Space[Any], *channels: int) -> bool:
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    height, width, depth = space.shape
    return min(height, width) >= SMALLEST_IMAGE and depth in channels  # MiniGrid's (7, 7, 3) holds codes


def _is_vector(space: spaces.Box) -> bool:
    return space.dtype == np.float32 and len(space.shape) == 1


def _encoders(space: spaces.Space[Any], image_size: int) -> dict[str, tuple[spaces.Box, _Encode]]:
    if not isinstance(space, spaces.Dict):
        name = "image" if _is_picture(space, 1, 3) else "vector"
        return {name: _encoder(space, name, image_size)}
    taken = _reserved(space)
    if taken or not space.spaces:
        problem = f"has an entry named '{taken[0]}', which is kept for rows" if taken else "has no entries"
        raise UserError(
            f"The environment's observation {problem}: rename its entries in a gymnasium wrapper."
        )
    return {name: _encoder(part, name, image_size) for name, part in space.items()}


def _encoder(space: spaces.Space[Any], name: str, image_size: int) -> tuple[spaces.Box, _Encode]:
    if _is_picture(space, 1, 3):
        box = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        return box, functools.partial(_picture, fit(space, name), image_size)
    flat = spaces.flatten_space(space) if space.is_np_flattenable else None
    if not isinstance(flat, spaces.Box) or flat.shape == (0,):
        raise UserError(
            f"Observations of the kind {space} cannot be made a vector: use Box, Discrete or a Dict of them."
        )
    with np.errstate(over="ignore"):  # float64 bounds may lie beyond float32
        low, high = flat.low.astype(np.float32), flat.high.astype(np.float32)
    return spaces.Box(low, high, flat.shape, np.float32), _vector_encoder(space, name)


def _picture(fitted: Fit, size: int, shown: Any) -> np.ndarray:
    image = fitted(shown).astype(np.uint8, copy=False)
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def _vector_encoder(space: spaces.Space[Any], name: str) -> _Encode:
    fitted = fit(space, name)
    if isinstance(space, spaces.Box):
        return lambda shown: fitted(shown).astype(np.float32).reshape(-1)
    return lambda shown: np.asarray(spaces.flatten(space, fitted(shown)), np.float32)


def _actions(space: spaces.Space[Any]) -> tuple[spaces.Space[Any], Callable[[Any], Any]]:
    """Return the space that is shown and the function from its actions to the environment's own."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return spaces.Discrete(int(space.n)), lambda action: start + int(action)
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"Actions of the kind {space} are not supported: use Discrete or a Box of floats.")
    if not space.is_bounded():
        raise UserError(
            "The environment's action box has no finite bounds to scale to: give it bounds in a wrapper."
        )
    return spaces.Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float32), functools.partial(_stretch, space)


def _stretch(space: spaces.Box, action: np.ndarray) -> np.ndarray:
    """Map (A,) in [-1, 1] linearly to the bounds of `space`."""
    share = (np.clip(np.asarray(action, np.float64), -1, 1).reshape(space.shape) + 1) / 2
    wide = share * space.high + (1 - share) * space.low
    return np.clip(wide.astype(space.dtype), space.low, space.high)
