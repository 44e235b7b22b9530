"""Runs that end in seconds, and the command carried out in a fork of this process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import experiments

AGENT: dict[str, Any] = {
    "model": {"deter": 16, "hidden": 8, "stoch": 4, "classes": 4, "blocks": 4, "units": 8, "depth": 2},
    "behaviour": {"imagination": 3, "layers": 1, "starts": 2},
    "optimizer": {"lr": 1e-3, "warmup": 2},
}
TRAINING: dict[str, Any] = {
    "num_envs": 2,
    "batch": 2,
    "length": 8,
    "train_ratio": 4.0,
    "learning_starts": 24,
    "log_every": 20,
    "heldout": 2,
    "context": 2,
    "open_loop": 4,
    "evaluation_episodes": 2,
    "probe_updates": 2,
    "image_size": 32,
}
MACHINE = ("--wandb", "off", "--compile", "off", "--device", "cpu", "--threads", "1")
ROOM = 8 * 2**30
"""Bytes that a fork may take beyond what it begins with: a mistake must not cost the machine."""
_BOX = "For full helptext, "
"""Ends what the reader of flags says of those that it does not know."""


@dataclasses.dataclass(frozen=True)
class Said:
    """How a command ended. The code is None where it had to be ended, negative where a signal ended it."""

    code: int | None
    out: str
    err: str

    @property
    def why(self) -> str | None:
        """Why this is no clear end; None if it is one: done, or refused in one sentence."""
        if self.code is None:
            return "it did not end"
        if "Traceback (most recent call last)" in self.err:
            return f"a traceback ({self.err.splitlines()[-1][:160]})"
        if self.code == 0:
            return None
        if self.code != 2:
            return f"it ended with code {self.code} ({self.err.strip()[-160:]!r})"
        return None if self.is_told else f"no sentence ({self.err.strip()[-160:]!r})"

    @property
    def sentence(self) -> str:
        """What the command said in the end."""
        return (self.err.splitlines() or [""])[-1].removeprefix("expedition: ")

    @property
    def is_told(self) -> bool:
        """Whether a refusal is one sentence, or a box in which the reader of flags tells of one."""
        told = [line for line in self.err.splitlines() if line.startswith("expedition: ")]
        if not told:
            return _BOX in self.err
        return told == self.err.splitlines()[-1:] and told[0].endswith((".", "?"))


def settings_file(folder: Path, **changes: Any) -> Path:
    """Write settings of a tiny run on Catch; keywords change those of training."""
    path = folder / "tiny.json"
    values = {"env": "catch-vector", "size": "tiny", "agent": AGENT, "training": {**TRAINING, **changes}}
    path.write_text(json.dumps(values))
    return path


def preload() -> None:
    """Import all that a command needs, so that forks of this process need not."""
    for module in pkgutil.walk_packages(experiments.__path__, "experiments."):
        importlib.import_module(module.name)


def carried_out(arguments: Sequence[str], seconds: int = 60) -> Said:
    """Carry out a command line in a fork."""
    from experiments.command_line.cli import main

    return forked(lambda: main(list(arguments)), seconds)


def forked(action: Callable[[], int], seconds: int = 60) -> Said:
    """Do something in a fork of this process, which has imported already what takes seconds to import.

    Args:
        action: gives the exit code.
        seconds: after which it is ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "out"), Path(folder, "err")
        sys.stdout.flush()
        sys.stderr.flush()
        if (child := os.fork()) == 0:
            os._exit(_alone(action, seconds, *paths))
        _, status = os.waitpid(child, 0)
        out, err = (path.read_text(errors="replace") for path in paths)
        code = os.waitstatus_to_exitcode(status)
    return Said(None if code == -signal.SIGALRM else code, out, err)


def _alone(action: Callable[[], int], seconds: int, out: Path, err: Path) -> int:
    """The fork's own part: output to files, limits of time and memory, and the code of whatever comes."""
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (_size() + ROOM,) * 2)
    os.setsid()
    with out.open("w", encoding="utf-8") as one, err.open("w", encoding="utf-8") as other:
        os.dup2(one.fileno(), 1)
        os.dup2(other.fileno(), 2)
        with contextlib.redirect_stdout(one), contextlib.redirect_stderr(other):
            logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
            try:
                return action()
            except SystemExit as stop:
                return stop.code if isinstance(stop.code, int) else 1
            except BaseException:  # noqa: BLE001  what a person would see
                traceback.print_exc()
                return 1


def _size() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
