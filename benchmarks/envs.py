"""Steps a second of ours and of the plain packages: `python -m benchmarks.envs [NAMES] [--json]`.

Each case runs ours and the plain package in turns, under a random policy with resets, and reports the
ratio of their medians. Exits with 1 if a ratio or a rate that is asked for is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from benchmarks.cases import Case
from envs import VectorEnv, environment_info, make, make_vector
from expedition import UserError

SUITES = ("crafter", "robodesk", "metaworld", "dmc", "procgen", "atari")
TURNS = 3


def cases() -> list[Case]:
    """Every case of every suite."""
    return [case for suite in SUITES for case in importlib.import_module(f"benchmarks.suites.{suite}").CASES]


def stepper(envs: VectorEnv) -> Callable[[], int]:
    """A function that makes one random step in each of ours and returns how many it made."""
    rng, space = np.random.default_rng(0), envs.action_space
    envs.reset(0)

    def step() -> int:
        if isinstance(space, spaces.Discrete):
            rows = envs.step(rng.integers(space.n, size=envs.num_envs))
        else:
            assert isinstance(space, spaces.Box)
            rows = envs.step(rng.uniform(-1, 1, (envs.num_envs, *space.shape)).astype(np.float32))
        return int((~rows["is_first"]).sum())

    return step


def rate(step: Callable[[], int], seconds: float) -> float:
    """Steps a second over at least `seconds` seconds."""
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        count += step()
    return count / spent


def run(case: Case, seconds: float) -> dict[str, Any]:
    """Measure one case in turns."""
    envs = make_vector(case.env_id, case.num_envs, workers=case.workers)
    try:
        ours, plain = stepper(envs), case.plain()

        def one() -> int:
            plain()
            return 1

        ours(), plain()  # the first step draws the first picture
        turns = [(rate(ours, seconds), rate(one, seconds)) for _ in range(TURNS)]
    finally:
        envs.close()
    mine, theirs = (statistics.median(column) for column in zip(*turns, strict=True))
    return {
        "case": case.name,
        "env": case.env_id,
        "num_envs": case.num_envs,
        "workers": case.workers,
        "steps_per_second": mine,
        "plain_steps_per_second": theirs,
        "ratio": mine / theirs,
        "ratio_asked": case.ratio,
        "rate_asked": case.rate,
        "wrapper_share": overhead(case),
    }


def overhead(case: Case) -> float:
    """Share of a step that the vector environment adds to the environment's own step, of one in-process."""
    env, vector = make(case.env_id), make_vector(case.env_id, 1)
    rng = np.random.default_rng(0)
    space: Any = env.action_space
    discrete = isinstance(space, spaces.Discrete)
    env.reset(seed=0)
    vector.reset(0)
    alone, within = [], []
    try:
        for turn in range(200 if environment_info(case.env_id).slow else 2000):
            action = int(rng.integers(space.n)) if discrete else rng.uniform(-1, 1, space.shape).astype("f4")
            for first in (turn % 2, 1 - turn % 2):  # whoever is second finds warm caches
                began = time.perf_counter()
                if first:
                    _, _, terminated, truncated, _ = env.step(action)
                    alone.append(time.perf_counter() - began)
                else:
                    rows = vector.step(np.asarray(action)[None])
                    within.append(time.perf_counter() - began)
            if terminated or truncated or rows["is_last"][0]:
                env.reset(seed=0)
                vector.reset(0)
    finally:
        env.close()
        vector.close()
    return statistics.median(within) / statistics.median(alone) - 1


def missed(found: dict[str, Any]) -> str | None:
    """What one case missed, in words."""
    if found["ratio_asked"] is not None and found["ratio"] < found["ratio_asked"]:
        return f"{found['case']}: {found['ratio']:.1f} times the plain package, below {found['ratio_asked']}"
    if found["rate_asked"] is not None and found["steps_per_second"] < found["rate_asked"]:
        return f"{found['case']}: {found['steps_per_second']:,.0f} steps/s, below {found['rate_asked']:,.0f}"
    return None


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0, help="time of a turn")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for case in cases():
        if arguments.names and not any(name in case.name for name in arguments.names):
            continue
        try:
            results.append(run(case, arguments.seconds))
        except UserError as error:
            print(f"{case.name}: left out: {error}", file=sys.stderr)
            continue
        if not arguments.json:
            found = results[-1]
            print(
                f"{found['case']:<28} {found['steps_per_second']:>9,.0f} steps/s   plain "
                f"{found['plain_steps_per_second']:>8,.0f}   {found['ratio']:>6.2f}x   "
                f"wrapper {100 * found['wrapper_share']:>5.1f} %",
                flush=True,
            )
    failures = [words for found in results if (words := missed(found)) is not None]
    if arguments.json:
        print(json.dumps({"cases": results, "missed": failures}, indent=1))
    for words in failures:
        print(words, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
