"""RoboDesk: ours and the package as shipped, with what it lacks to run at all: gym, and a name in pillow."""

from collections.abc import Callable

import numpy as np

from benchmarks.cases import Case


def _plain(pixels: bool) -> Callable[[], Callable[[], None]]:
    def build() -> Callable[[], None]:
        from envs.suites.robotics.mujoco import prepare_rendering

        prepare_rendering()
        from PIL import Image

        from envs.suites.robotics import robodesk_shims  # noqa: F401  # imports the package with gymnasium as gym

        Image.ANTIALIAS = Image.Resampling.LANCZOS  # type: ignore[attr-defined]
        import robodesk

        env, random = robodesk.RoboDesk("open_slide"), np.random.default_rng(0)
        if not pixels:
            env.render = lambda resize: None
        env.reset()

        def step() -> None:
            if env.step(random.uniform(-1, 1, 5).astype(np.float32))[2]:
                env.reset()

        return step

    return build


# A faithful picture keeps one core busy, here and there; two workers on two cores draw two at a time.
CASES = (
    Case("RoboDesk, faithful, 2 in 2 workers", "robodesk-open_slide", _plain(True), 2, 2, ratio=1.5),
    Case("RoboDesk, faithful", "robodesk-open_slide", _plain(True), ratio=1.0),
    Case("RoboDesk, fast", "robodesk-open_slide,render=fast", _plain(True), ratio=15.0),
    Case("RoboDesk, fast, 2 in 2 workers", "robodesk-open_slide,render=fast", _plain(True), 2, 2),
    Case("RoboDesk, state", "robodesk-open_slide,observe=state", _plain(False), ratio=1.0),
)
