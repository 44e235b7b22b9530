"""Which observations are images and which are vectors, and how wide an action is."""

from __future__ import annotations

import gymnasium
import numpy as np

from expedition import UserError


def split_observations(space: gymnasium.spaces.Dict) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return the shapes (h, w, c) of the images and the widths of the vectors, by key.

    Raises:
        UserError: an observation is neither a uint8 image nor a float32 vector, or an image's sides
            are no multiples of 16.
    """
    images: dict[str, tuple[int, ...]] = {}
    vectors: dict[str, int] = {}
    for key, box in space.spaces.items():
        shape = box.shape or ()
        if box.dtype == np.uint8 and len(shape) == 3:
            images[key] = shape
        elif box.dtype == np.float32 and len(shape) == 1:
            vectors[key] = shape[0]
        else:
            raise UserError(
                f"Observation '{key}' is {box}: give a uint8 image (h, w, c) or a float32 vector (d,)."
            )
    for key, (height, width, _) in images.items():
        if height % 16 or width % 16:
            raise UserError(f"Image '{key}' is {height}x{width}: its sides must be multiples of 16.")
    return images, vectors


def action_width(space: gymnasium.Space) -> int:
    """Width A of an action as the learner sees it: one-hot for `Discrete`, flat for `Box`."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise UserError(f"Actions of {space} are not supported: use Discrete or a one-dimensional Box.")
