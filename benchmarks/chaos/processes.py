"""Commands in processes of their own, and nodes of a cluster, which can be disturbed on their way."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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


STORE = 2**27
"""Bytes of each node's object store."""


class Cluster:
    """A head without room for runs, and two nodes with room for one each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        self._nodes: Any = Nodes(
            initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE}
        )
        for _ in range(2):
            self.add()

    @property
    def address(self) -> str:
        """Where it answers."""
        return str(self._nodes.address)

    def add(self) -> None:
        """Add a node."""
        self._nodes.add_node(num_cpus=1, object_store_memory=STORE)

    def lose(self, rng: random.Random) -> None:
        """End a node with all its processes, as a machine that is lost, and add another."""
        lost = rng.choice(
            [node for node in self._nodes.list_all_nodes() if node is not self._nodes.head_node]
        )
        raylet = lost.all_processes["raylet"][0].process.pid
        for pid in [raylet, *descendants(raylet)]:
            end(pid)
        self._nodes.remove_node(lost, allow_graceful=False)
        self.add()


@contextlib.contextmanager
def cluster() -> Iterator[Cluster | None]:
    """A cluster as long as it is used; None where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        yield None
        return
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    made = Cluster()
    try:
        yield made
    finally:
        made._nodes.shutdown()
