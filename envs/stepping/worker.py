"""The process in which some of the environments live; `envs.stepping.workers` starts it and talks to it."""

import mmap
import os
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from envs.failures import EnvironmentFailed
from envs.stepping.lane import Lane, Rows, task_rewards
from envs.stepping.vector import Source, build, draw, name_of
from expedition import UserError

IDLE_SECONDS = 0.002
"""How long a worker waits for work before it begins next episodes ahead of time."""

Layout = dict[str, tuple[tuple[int, ...], np.dtype]]


def row_bytes(layout: Layout, num_envs: int) -> int:
    """Return the size of the shared rows; each array begins at a multiple of 64 bytes."""
    return sum(_padded(shape, dtype, num_envs) for shape, dtype in layout.values())


def map_rows(memory: mmap.mmap, layout: Layout, num_envs: int) -> Rows:
    """Return arrays (N, ...) that lie in `memory`."""
    rows, at = {}, 0
    for key, (shape, dtype) in layout.items():
        rows[key] = np.ndarray((num_envs, *shape), dtype, memory, at)
        at += _padded(shape, dtype, num_envs)
    return rows


def _padded(shape: tuple[int, ...], dtype: np.dtype, num_envs: int) -> int:
    return -(-num_envs * int(np.prod(shape)) * dtype.itemsize // 64) * 64


class _Worker:
    """Answers the parent's calls for its share of the environments."""

    def __init__(self, memory_fd: int) -> None:
        self._memory_fd = memory_fd
        self._lanes: list[Lane] = []
        self._envs: list[tuple[Any, Any]] = []
        self._name = ""
        self._indices: tuple[int, ...] = ()

    def make(
        self, source: Source, image_size: int, captions: bool, indices: tuple[int, ...], spares: bool
    ) -> tuple:
        """Make the environments and return their spaces and the names of task rewards."""
        self._name, self._indices = name_of(source), indices
        self._envs = [
            (
                build(source, image_size, captions),
                build(source, image_size, captions) if spares else None,
            )
            for _ in indices
        ]
        env = self._envs[0][0]
        return env.observation_space, env.action_space, task_rewards(env)

    def map(self, layout: Layout, num_envs: int) -> None:
        """Find the rows in the shared memory."""
        rows = map_rows(mmap.mmap(self._memory_fd, row_bytes(layout, num_envs)), layout, num_envs)
        self._lanes = [
            Lane(env, index, self._name, rows, spare)
            for index, (env, spare) in zip(self._indices, self._envs, strict=True)
        ]

    def begin(self, seed: int) -> None:
        """Begin episode 0 everywhere."""
        for lane in self._lanes:
            lane.begin(seed)

    def take_over(self, seed: int, episodes: list[tuple[int, bool]]) -> None:
        """Go on where a lost worker was: after episodes that ended with it, or in new ones."""
        for lane, (episode, ended) in zip(self._lanes, episodes, strict=True):
            if ended:
                lane.lose(seed, episode)
            else:
                lane.begin(seed, episode)

    def step(self, moves: list[Any]) -> list[dict[str, Any]]:
        """Step everywhere and return the summaries of episodes that ended."""
        for lane, move in zip(self._lanes, moves, strict=True):
            lane.step(move)
        return self._told()

    def save(self) -> list[dict[str, Any]]:
        """Return the snapshots."""
        return [lane.save() for lane in self._lanes]

    def load(self, seed: int, saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Load the snapshots and return the summaries of episodes that were given up."""
        for lane, slot in zip(self._lanes, saved, strict=True):
            lane.load(seed, slot)
        return self._told()

    def render(self, index: int) -> np.ndarray:
        """Return a picture of environment `index`."""
        return draw(self._lanes[self._indices.index(index)].env, self._name)

    def close(self) -> None:
        """Close every environment."""
        for lane in self._lanes:
            lane.close()

    def prepare(self) -> bool:
        """Begin one next episode ahead of time; say whether there was one to begin."""
        try:
            return any(lane.prepare() for lane in self._lanes)
        except Exception:  # noqa: BLE001  # the episode's own beginning will raise it again, where it is told
            return False

    def _told(self) -> list[dict[str, Any]]:
        return [told for lane in self._lanes for told in lane.pop_episodes()]


def serve(connection_fd: int, memory_fd: int, parent: int) -> None:
    """Answer calls until the parent closes the connection."""
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    connection = Connection(connection_fd)
    worker = _Worker(memory_fd)
    while True:
        try:
            while not connection.poll(IDLE_SECONDS) and worker.prepare():
                pass
            call, *arguments = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_answer(worker, call, arguments))
        if call == "close":
            return


def _answer(worker: _Worker, call: str, arguments: list[Any]) -> tuple[str, Any]:
    try:
        return "done", getattr(worker, call)(*arguments)
    except EnvironmentFailed as failure:
        return "failed", (str(failure), failure.raised)
    except UserError as error:
        return "refused", str(error)
    except Exception:  # noqa: BLE001  # told in the parent, which decides
        return "broken", traceback.format_exc()


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone, even in the middle of a step that never returns."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
