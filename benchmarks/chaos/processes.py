"""Commands in processes of their own, which can be disturbed on their way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.chaos.tiny import Said

ROOT = Path(__file__).resolve().parents[2]


class Running:
    """A command that is under way.

    Args:
        arguments: of `expedition`.
        log: its output goes to files of this name, with `.out` and `.err`.
        variables: of its environment, beside ours.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self._paths = log.with_suffix(".out"), log.with_suffix(".err")
        command = [sys.executable, "-m", "experiments.command_line.cli", *arguments]
        ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self._paths[0].open("w") as out, self._paths[1].open("w") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, env={**os.environ, **ours, **(variables or {})}
            )

    def ended(self, seconds: float = 300.0) -> Said:
        """Wait for its end; what lasts longer is ended."""
        try:
            code: int | None = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            code = None
        out, err = (path.read_text(errors="replace") for path in self._paths)
        return Said(code, out, err)

    def kill(self) -> None:
        """End it and what it began."""
        for pid in [*descendants(self.process.pid), self.process.pid]:
            end(pid)
        self.process.wait()


def end(pid: int) -> None:
    """End a process without asking; it may have left already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process began, and those that they began."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)


def told(pid: int) -> str:
    """The command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Wait until a condition holds; False if it did not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
