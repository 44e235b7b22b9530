"""Who works on which run of a study at an address: leases that are renewed, or else taken over by others.

A lease is an object `leases/<run>/<number>.json`. Whoever takes a run over writes the next number, and only
one of several that try at once can; whoever finds a number after its own has lost the run. An object store
can promise no more: where a machine was cut off from it for longer than `STALE_SECONDS`, two may work on one
run until the first can look again.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from training.storage.shared import Store

FOLDER = "leases"
RENEW_SECONDS = 20.0
STALE_SECONDS = 120.0
"""A lease that does not change for so long, while it is watched, is nobody's."""
OLD_SECONDS = 1200.0
"""Neither is one that is older by the clocks of both machines, which may differ by minutes."""


@dataclass(frozen=True)
class Lease:
    """Who works on a run.

    Attributes:
        number: of the lease; the highest of a run counts.
        owner: who, alike for all launchers that work in one folder of one machine.
        host: name of the machine.
        time: when it was last renewed, by that machine's clock in seconds of `time.time`.
    """

    number: int
    owner: str
    host: str
    time: float


class Leases:
    """The leases of a study.

    Args:
        store: of the study.
        owner: who takes them; empty to look only.
    """

    def __init__(self, store: Store, owner: str = "") -> None:
        self.store, self.owner = store, owner
        self._held: dict[str, int] = {}
        self._seen: dict[str, tuple[Lease, float]] = {}
        self._lock = threading.RLock()  # so that nobody renews what is being let go of

    def is_fresh(self, run: str) -> bool:
        """Whether somebody renewed the lease of a run of late, as far as the clocks of both machines agree.

        Raises:
            UserError: the address does not answer.
        """
        newest = self._newest(run)
        return newest is not None and time.time() - newest.time < STALE_SECONDS

    def take(self, run: str) -> bool:
        """Take a run, unless another works on it.

        Raises:
            UserError: the address does not answer.
        """
        with self._lock:
            newest = self._newest(run)
            if newest is not None and newest.owner != self.owner and not self._is_left(run, newest):
                return False
            number = 1 if newest is None else newest.number + 1
            if not self.store.create(_name(run, number), self._content()):
                return False
            if newest is not None:
                self.store.remove([_name(run, newest.number)])
            self._held[run] = number
            return True

    def renew(self, run: str) -> bool:
        """Say that a run that was taken is still worked on; False where another has taken it since.

        Raises:
            UserError: the address does not answer.
        """
        with self._lock:
            number, newest = self._held.get(run), self._newest(run)
            if number is None or newest is None or (newest.number, newest.owner) != (number, self.owner):
                return False
            self.store.write(_name(run, number), self._content())
            return True

    def release(self, run: str) -> None:
        """Let go of a run, if it is held still.

        Raises:
            UserError: the address does not answer.
        """
        with self._lock:
            if self.renew(run):
                self.store.remove([_name(run, self._held[run])])
            self.forget(run)

    def forget(self, run: str) -> None:
        """Hold a run no longer, which another has."""
        self._held.pop(run, None)

    def _newest(self, run: str) -> Lease | None:
        numbers = [int(name.removesuffix(".json")) for name in self.store.sizes(f"{FOLDER}/{run}")]
        for number in sorted(numbers, reverse=True):
            content = self.store.read(_name(run, number))
            if content is not None:  # else it was let go between the two looks
                return _read(number, content)
        return None

    def _is_left(self, run: str, lease: Lease) -> bool:
        seen, since = self._seen.get(run, (None, 0.0))
        now = time.monotonic()
        if seen != lease:
            self._seen[run], since = (lease, now), now
        return now - since > STALE_SECONDS or time.time() - lease.time > OLD_SECONDS

    def _content(self) -> bytes:
        told = {"owner": self.owner, "host": socket.gethostname(), "time": time.time()}
        return json.dumps(told).encode()


def _read(number: int, content: bytes) -> Lease:
    try:
        said: dict[str, Any] = json.loads(content)
        return Lease(number, str(said["owner"]), str(said["host"]), float(said["time"]))
    except (ValueError, KeyError, TypeError):  # a store that shows what is half written
        return Lease(number, "", "", time.time())


def _name(run: str, number: int) -> str:
    return f"{FOLDER}/{run}/{number:08d}.json"
