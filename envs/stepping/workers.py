"""Worker processes: each steps a share of the environments and writes their rows into shared memory."""

import contextlib
import logging
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from envs.captions import DID
from envs.failures import EnvironmentFailed
from envs.registry import environment_info
from envs.stepping.lane import FLAGS, TASK, row_layout, summary
from envs.stepping.vector import SerialVectorEnv, Source, VectorEnv
from envs.stepping.worker import map_rows, row_bytes
from expedition import UserError

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which a step that has not returned counts as hung."""
START_PATIENCE = 600.0
"""The same for making environments, first episodes and snapshots."""
MAX_RESTARTS = 10
"""Replaced workers after which a run gives up."""


class WorkerLost(Exception):
    """A worker died or hung."""


class _Handle:
    """One worker process as the parent sees it."""

    def __init__(self, memory_fd: int, envs: Sequence[int]) -> None:
        self.envs = tuple(envs)
        ours, theirs = socket.socketpair()
        fds = (theirs.fileno(), memory_fd)
        code = f"from envs.stepping.worker import serve; serve({fds[0]}, {fds[1]}, {os.getpid()})"
        # A thread for each process, or they would fight for the cores.
        environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=fds,
            env=environ,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers in order
        )
        theirs.close()
        self.connection = Connection(ours.detach())

    def ask(self, *message: Any) -> None:
        """Send a call; a worker that is gone is noticed at its answer."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def answer(self, deadline: float) -> Any:
        """Return what the last call gave.

        Raises:
            WorkerLost: it died, or the deadline (in seconds of `time.monotonic`) passed.
            EnvironmentFailed: an environment did.
            UserError: it refused the call.
            RuntimeError: the worker itself raised an error.
        """
        if not wait([self.connection], max(0.0, deadline - time.monotonic())):
            raise WorkerLost("hung")
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerLost("died") from error
        if kind == "refused":
            raise UserError(value)
        if kind == "failed":
            raise EnvironmentFailed(*value)
        if kind == "broken":
            raise RuntimeError(f"A worker failed:\n{value}")
        return value

    def end(self, patience: float = 0.0) -> None:
        """Wait for the process to leave, then kill it, and reap it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self.connection.close()


class WorkerVectorEnv(VectorEnv):
    """Steps the environments in worker processes, each with an equal share of them.

    Rows, episodes and snapshots equal those of `SerialVectorEnv`. A worker that dies or hangs, or in
    which an environment raises an error, is replaced: the episodes that ran in it end as cut off, are told
    with `crashed`, and new ones begin.

    Args:
        source: an id for `make`, or a function that can be pickled and returns one environment.
        num_envs: how many, at least 1.
        workers: processes, at least 1; no more than `num_envs` are started.
        image_size: height and width of pictures, in pixels.
        captions: tell in each row what happened, in words; of an id alone.
        spares: hold each environment twice and begin next episodes while the worker waits.
        patience: seconds after which a step counts as hung.
        max_restarts: replaced workers after which `step` gives up.

    Raises:
        UserError: as `SerialVectorEnv`; and from `step` after too many restarts.
    """

    def __init__(
        self,
        source: Source,
        num_envs: int,
        workers: int,
        *,
        image_size: int = 64,
        captions: bool = False,
        spares: bool = False,
        patience: float = PATIENCE,
        max_restarts: int = MAX_RESTARTS,
    ) -> None:
        super().__init__(source, num_envs)
        self._making = (source, image_size, captions)
        self._spares, self._patience, self._max_restarts = spares, patience, max_restarts
        self._memory_file = tempfile.TemporaryFile()  # noqa: SIM115  # nameless: nothing is left behind
        self._memory_fd = self._memory_file.fileno()
        shares = np.array_split(np.arange(num_envs), min(workers, num_envs))
        self._workers = [_Handle(self._memory_fd, share.tolist()) for share in shares]
        try:
            self._map(self._call("make", self._make_arguments))
        except BaseException:
            self.close()
            raise

    def render(self, index: int) -> np.ndarray:
        """Return a picture of environment `index`, uint8 (h, w, 3)."""
        place = next(place for place, worker in enumerate(self._workers) if index in worker.envs)
        try:
            return self._ask_alone(place, "render", index)
        except WorkerLost as loss:
            raise UserError(
                f"A worker of environment '{self._name}' {loss} while it drew: the next step replaces it."
            ) from loss

    def close(self) -> None:
        """End the workers; kill those that do not leave within seconds."""
        for worker in self._workers:
            worker.ask("close")
        for worker in self._workers:
            worker.end(patience=5.0)
        self._workers = []
        self._memory_file.close()

    def _begin(self, seed: int) -> None:
        self._call("begin", lambda _: (seed,))
        self._note([0] * self.num_envs)

    def _send(self, moves: Sequence[Any]) -> None:
        for worker in self._workers:
            worker.ask("step", [moves[i] for i in worker.envs])

    def _receive(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self._patience
        episodes: list[dict[str, Any]] = []
        for place, worker in enumerate(self._workers):
            try:
                episodes += worker.answer(deadline)
            except WorkerLost as loss:
                episodes += self._replace(place, str(loss))
            except EnvironmentFailed as failure:
                # What fails in the very first step, or breaks a promise, is no accident that would pass.
                if not failure.raised or not (self._numbers.any() or self._lengths.any()):
                    self._failure = self._failure or failure
                episodes += self._replace(place, "failed")
        self._account()
        return episodes

    def _save(self) -> list[dict[str, Any]]:
        saved: list[dict[str, Any]] = []
        for place in range(len(self._workers)):
            try:
                saved += self._ask_alone(place, "save")
            except WorkerLost as loss:  # it died unnoticed since the last step
                self._episodes += self._replace(place, str(loss))
                self._ended[list(self._workers[place].envs)] = True
                saved += self._ask_alone(place, "save")
        return saved

    def _ask_alone(self, place: int, name: str, *arguments: Any) -> Any:
        self._workers[place].ask(name, *arguments)
        return self._workers[place].answer(time.monotonic() + START_PATIENCE)

    def _load(self, seed: int, saved: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        told = self._call("load", lambda worker: (seed, [saved[i] for i in worker.envs]))
        self._note([int(slot["episode"]) for slot in saved])
        for i, slot in enumerate(saved):
            if not slot["ended"]:
                self._returns[i], self._lengths[i] = float(slot["return"]), len(slot["actions"])
        lost = {told["env"] for share in told for told in share}
        self._ended[:] = [slot["ended"] or i in lost for i, slot in enumerate(saved)]
        return [episode for share in told for episode in share]

    def _call(self, name: str, arguments: Any) -> list[Any]:
        """Make one call to every worker; none may be lost in it."""
        for worker in self._workers:
            worker.ask(name, *arguments(worker))
        deadline = time.monotonic() + START_PATIENCE
        try:
            return [worker.answer(deadline) for worker in self._workers]
        except WorkerLost as loss:
            raise UserError(
                f"A worker of environment '{self._name}' {loss} at its start: try it with --workers 0."
            ) from loss

    def _make_arguments(self, worker: _Handle) -> tuple[Any, ...]:
        return (*self._making, worker.envs, self._spares)

    def _map(self, made: list[Any]) -> None:
        """Lay the rows out in shared memory."""
        self.observation_space, self.action_space, self.task_rewards = made[0]
        self._layout = row_layout(self.observation_space, self.task_rewards, self._making[-1])
        size = row_bytes(self._layout, self.num_envs)
        self._memory_file.truncate(size)
        self._rows = map_rows(mmap.mmap(self._memory_fd, size), self._layout, self.num_envs)
        self._call("map", lambda _: (self._layout, self.num_envs))
        self._note([0] * self.num_envs)

    # What the parent remembers, to go on when a worker is lost

    def _note(self, episodes: list[int]) -> None:
        self._numbers = np.array(episodes)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, int)
        self._ended = np.zeros(self.num_envs, bool)
        self._before = self._copy()

    def _account(self) -> None:
        """Remember the rows of a step that every worker has made."""
        first = self._rows["is_first"]
        self._numbers += first
        self._returns = np.where(first, 0.0, self._returns + self._rows["reward"])
        self._lengths = np.where(first, 0, self._lengths + 1)
        self._ended = self._rows["is_last"].copy()
        self._before = self._copy()

    def _replace(self, place: int, reason: str) -> list[dict[str, Any]]:
        """Start another worker in the place of a lost one; return what is told of its episodes."""
        lost = self._workers[place]
        lost.end()
        self.restarts += 1
        logger.warning("A worker of '%s' %s and is replaced (%d so far).", self._name, reason, self.restarts)
        if self.restarts > self._max_restarts:
            raise UserError(
                f"Workers of environment '{self._name}' were lost {self.restarts} times (the last {reason}): "
                "find out why with --workers 0, then run the same command again; its checkpoint is intact."
            )
        worker = self._workers[place] = _Handle(self._memory_fd, lost.envs)
        begun = [(int(self._numbers[i]) + int(self._ended[i]), not self._ended[i]) for i in worker.envs]
        calls = (
            ("make", *self._make_arguments(worker)),
            ("map", self._layout, self.num_envs),
            ("take_over", self._seed, begun),
        )
        for call in calls:
            try:
                self._ask_alone(place, *call)
            except WorkerLost as loss:
                return self._replace(place, f"{loss} at its start")
        return [self._cut_off(i) for i in worker.envs if not self._ended[i]]

    def _cut_off(self, index: int) -> dict[str, Any]:
        """Write the last row of an episode that was lost: what was seen last, again, and no reward."""
        for key in self._rows:
            nothing = key in ("reward", DID, *FLAGS) or key.startswith(TASK)
            self._rows[key][index] = 0 if nothing else self._before[key][index]
        self._rows["is_last"][index] = True
        length = int(self._lengths[index]) + 1
        return summary(index, float(self._returns[index]), length, False, {"crashed": 1.0})


def make_vector(
    env_id: str, num_envs: int, image_size: int = 64, workers: int = 0, captions: bool = False
) -> VectorEnv:
    """Make `num_envs` environments by id (see `make`) behind one `VectorEnv`.

    Args:
        env_id: see `make`.
        num_envs: how many, at least 1.
        image_size: height and width of pictures, in pixels.
        workers: processes that step them; 0 for this one. The rows are the same.
        captions: tell in each row what happened, in words (`envs.captions`).
    """
    if workers == 0:
        return SerialVectorEnv(env_id, num_envs, image_size=image_size, captions=captions)
    spares = environment_info(env_id).slow_reset
    return WorkerVectorEnv(env_id, num_envs, workers, image_size=image_size, captions=captions, spares=spares)


def choose_workers(env_id: str, most: int) -> int:
    """Return how many workers pay off: one a core, of `most`, where a step is slow enough; else none."""
    return most if most > 1 and environment_info(env_id).slow else 0


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
