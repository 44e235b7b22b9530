"""A Ray cluster on this machine, whose nodes can be lost."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
from collections.abc import Iterator
from typing import Any

from benchmarks.chaos.processes import descendants, end

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
