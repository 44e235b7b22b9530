"""What the suites on MuJoCo share: headless rendering, and the named option that makes it fast."""

import os
import sys
from typing import Any

from envs.suite import Option
from expedition import UserError

NO_RENDERER = (ImportError, AttributeError, RuntimeError)
"""What the import of MuJoCo raises where it finds nothing to draw with: it loads its renderer at once."""

SYSTEM_PACKAGES = "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"

RENDER = Option(
    "faithful",
    "the package's own picture, or a fast one without shadows, reflections, smooth edges",
    ("faithful", "fast"),
)


def prepare_rendering() -> None:
    """Choose a headless renderer; call it before MuJoCo is imported for the first time."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])


def draw_fast(model: Any) -> None:
    """Switch shadows, reflections and multisampling off; call it before the first picture.

    The picture changes visibly: numbers taken with it are not comparable with the package's own.

    Args:
        model: an `mujoco.MjModel`, or dm_control's wrapper of one.
    """
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0
    model.vis.quality.offsamples = 0
    model.vis.quality.shadowsize = 0  # saves the memory of a map that nothing uses


def rendering_failed(env_id: str, error: Exception) -> UserError:
    """Return the one sentence that says how to get a renderer."""
    return UserError(
        f"Environment '{env_id}' cannot draw ({str(error).rstrip('.') or type(error).__name__}): "
        f"run `apt-get install {SYSTEM_PACKAGES}`, or set MUJOCO_GL to a renderer that this machine has."
    )
