"""What `benchmarks.envs` compares: ours and the plain package, under a random policy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: how the table calls it.
        env_id: ours, with its options.
        plain: builds the package as shipped; returns a function that makes one random step, resets included.
        num_envs: how many of ours step side by side.
        workers: worker processes of ours; 0 for none.
        ratio: least speed over the plain package's that is asked; None where none is.
        rate: least steps/s that is asked; None where none is.
    """

    name: str
    env_id: str
    plain: Callable[[], Callable[[], None]]
    num_envs: int = 1
    workers: int = 0
    ratio: float | None = None
    rate: float | None = None


def elsewhere(code: str, *arguments: str) -> Callable[[], None]:
    """Run `code` in an interpreter of its own; the function returned makes it read a line and write one."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    to, back = process.stdin, process.stdout
    assert to is not None
    assert back is not None

    def step() -> None:
        print(file=to, flush=True)
        back.readline()

    return step
