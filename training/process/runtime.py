"""The process around a run: device, threads, memory allocator, and the wish to stop."""

from __future__ import annotations

import ctypes
import platform
import signal
import types
from typing import Any

import torch

from expedition.errors import UserError, unknown_name


def prepare_process(threads: int) -> None:
    """Set the threads of torch (0: leave them) and keep freed memory instead of returning it.

    Large tensors are otherwise mapped and unmapped at every operation, and on a CPU the page faults cost
    more than the arithmetic. glibc alone is asked; elsewhere nothing changes.
    """
    if threads > 0:
        torch.set_num_threads(threads)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # from malloc.h
        libc.mallopt(mmap_max, 0)  # glibc refuses a threshold above 32 MiB
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(top_pad, 64 << 20)


def choose_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise unknown_name("device", name, ["auto", "cpu", "cuda"])
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("This machine has no CUDA device that torch can use: run with --device cpu.")
    return torch.device(name)


class Stopped(Exception):
    """A stop came amid something that is made again from its beginning."""


TAKEN_AWAY = (signal.SIGUSR1, signal.SIGUSR2)
"""What Slurm and submitit send when a node is to be left."""


class StopSignal:
    """Notes Ctrl-C, SIGTERM, and what clusters send before they take a node away, so that a run can save.

    The same signal a second time interrupts at once, but for the clusters', which come to every process.
    Use it as a context: outside of it the handlers are as they were.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell reports it; 0 where there was none."""
        return 0 if self.received is None else 128 + int(self.received)

    def check(self) -> None:
        """Leave what is being done if a signal came.

        Raises:
            Stopped: one came.
        """
        if self:
            raise Stopped

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGINT, signal.SIGTERM, *TAKEN_AWAY):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if number == self.received and number not in TAKEN_AWAY:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
