"""Images and videos of a run as files, without codecs: PNG and GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from training.storage.state_tree import disk_errors, written_aside

_KEPT = "the run's checkpoints are intact"


def write_gif(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write a looping GIF.

    Args:
        path: where; its folder is made.
        frames: uint8 (T, h, w, 3), T >= 1.
        fps: frames a second; GIFs count in hundredths of a second.

    Raises:
        ValueError: another shape or dtype, or `fps` not positive.
        UserError: the disk refuses.
    """
    if frames.ndim != 4 or len(frames) == 0 or fps <= 0:
        raise ValueError(f"A GIF needs frames (T, h, w, 3) and a positive fps, not {frames.shape} and {fps}.")
    first, *rest = [_image(frame) for frame in frames]
    duration = 10 * max(1, round(100 / fps))
    with disk_errors("a video", path.parent, _KEPT), written_aside(path, durable=False) as aside:
        first.save(aside, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write one image, uint8 (h, w, 3).

    Raises:
        ValueError: another shape or dtype.
        UserError: the disk refuses.
    """
    picture = _image(image)
    with disk_errors("an image", path.parent, _KEPT), written_aside(path, durable=False) as aside:
        picture.save(aside, format="PNG")


def film_strip(frames: np.ndarray | Sequence[np.ndarray], every: int = 1, pad: int = 1) -> np.ndarray:
    """Lay every n-th frame side by side, with white between them.

    Args:
        frames: uint8 (T, h, w, 3), T >= 1.
        every: take frames 0, every, 2 * every, ...
        pad: width of the white, in pixels.

    Returns:
        uint8 (h, n * w + (n - 1) * pad, 3), n the frames taken.
    """
    shown = list(frames)[::every]
    white = np.full((shown[0].shape[0], pad, 3), 255, np.uint8)
    pieces = [piece for frame in shown for piece in (white, frame)]
    return np.concatenate(pieces[1:], axis=1)


def _image(frame: np.ndarray) -> Image.Image:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"An image is uint8 (h, w, 3), not {frame.dtype} {frame.shape}.")
    return Image.fromarray(np.ascontiguousarray(frame))
