"""Placements a second of the suite `construction` in one process: `python -m benchmarks.construction`.

`build`: silhouettes are built target by target, which fills a scene with blocks at rest. `random`: random
choices, of which many end an episode at once. Resets are counted. On the clock, and by CPU-second.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from envs.suites.construction.environment import Construction
from envs.suites.construction.scenes import HALF, PITCH, ROW
from envs.suites.construction.tasks import RULES

CASES: tuple[tuple[str, str, float], ...] = (
    *(("random", task, 1.0) for task in RULES),
    ("build", "silhouette", 1.0),
    ("build", "silhouette", 1.5),
)


def build(env: Construction) -> Iterator[np.ndarray]:
    """Choices that fill the targets of the level that was begun, in their order."""
    scene = env.level(env.clone().level)
    for target in scene.targets:
        column, row = round((target.x + HALF) / PITCH), round(target.y / ROW - 0.5)
        yield np.array((scene.supply.index(target.width), column, row, 0))


def at_random(env: Construction) -> Iterator[np.ndarray]:
    """Choices without end."""
    while True:
        yield env.action_space.sample()


def rate(env: Construction, choose: Callable[[Construction], Iterator[np.ndarray]], seconds: float) -> str:
    """Placements a second, on the clock and by CPU-second."""
    env.action_space.seed(0)
    env.reset(seed=0)
    choices, count = choose(env), 0
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        before = len(env.clone().blocks)
        _, _, terminated, truncated, _ = env.step(next(choices))
        count += len(env.clone().blocks) - before
        if terminated or truncated:
            env.reset()
            choices = choose(env)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return f"{count / wall:>7,.0f} placements/s on the clock {count / cpu:>7,.0f} by CPU-second"


def main() -> int:
    """Measure and print every case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="time of a case")
    arguments = parser.parse_args()
    for how, task, size in CASES:
        for observe in ("objects", "pixels"):
            env = Construction(task, observe=observe, size=size)
            told = rate(env, build if how == "build" else at_random, arguments.seconds)
            print(f"{how:<7} {task:<14} size {size:g} {observe:<8} {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
