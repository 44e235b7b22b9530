"""A study kept at an address: its runs work in a folder of this machine, and what they do is sent there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

from expedition import UserError
from experiments.addresses.leases import RENEW_SECONDS, Leases
from experiments.addresses.runs import RESULT, STATUS, Hashes, bring, is_light, send, step_here, step_there
from experiments.launchers.graph import Group
from experiments.launchers.sharing import is_done
from experiments.studies.runs import PlannedRun
from training import fingerprint
from training.storage.shared import Store
from training.storage.state_tree import disk_errors, publish_bytes

RECORD = "study.json"
LOOK_SECONDS = 15.0
"""After so long a run that another machine works on is looked at again."""
SEND_SECONDS = 10.0
"""So often is looked whether a run has something new to send."""
AT_ONCE = 4
"""So many runs are brought in side by side."""

Found = Literal["ours", "theirs", "done"]


def cache_folder(address: str) -> Path:
    """Where this machine keeps what belongs to an address."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "expedition" / fingerprint({"address": address.rstrip("/")})


def name_of(address: str) -> str:
    """The last part of an address, which a study's folder is called after.

    Raises:
        UserError: it has none.
    """
    name = PurePosixPath(address.partition("://")[2]).name
    if not name:
        raise UserError(f"'{address}' names no folder: write s3://BUCKET/STUDY, for instance.")
    return name


@dataclasses.dataclass
class _Held:
    """A run that this machine holds, and what of it is at the address."""

    hashes: Hashes | None = None
    step: int | None = None
    status: bytes = b""
    ended: bool = False


class AtAddress:
    """Keeps a study at an address, which several machines may work on at once.

    What works in `folder` knows nothing of it. Two threads look after the runs that are held: one renews
    their leases, one sends what is new. Where the address does not answer, they say so once and try again.

    Args:
        address: an fsspec URL.
        say: told one line at a time what a person wants to know.

    Raises:
        UserError: the address cannot be read.
    """

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self.store, self.say = Store(address), say
        root = cache_folder(address)
        self.folder, self.where = root / name_of(address), f", kept at {self.store.address}"
        self._record = self.store.read(RECORD)
        if self._record is not None:
            publish_bytes(self.folder / RECORD, self._record)
        self.leases = Leases(self.store, _owner(root))
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._asked: dict[str, tuple[Group, Future[Found]]] = {}
        self._again: dict[str, float] = {}
        self._done: list[Group] = []
        self._held: dict[str, _Held] = {}
        self._taken: set[str] = set()
        self._away = self._waited = False
        self._lock, self._source = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        chores = ((RENEW_SECONDS, self._renew), (SEND_SECONDS, self._send))
        self._threads = [threading.Thread(target=self._every, args=each, daemon=True) for each in chores]

    def begin(self, runs: Sequence[PlannedRun]) -> None:
        """Bring in what is done at the address, and send what is done here alone.

        Raises:
            UserError: the address does not answer.
        """
        self._send_record()
        there: dict[str, list[str]] = {run.id: [] for run in runs}
        for name in self.store.sizes():
            run_id, _, rest = name.partition("/")
            there.setdefault(run_id, []).append(rest)
        done_there = list(self._pool.map(lambda run: self._bring_result(run, there[run.id]), runs))
        if count := sum(done_there):
            self.say(f"{count} runs are done already at {self.store.address}.")
        for run, known in zip(runs, done_there, strict=True):
            if not known and self._is_done(run) and self.leases.take(run.id):
                self._held[run.id] = _Held(ended=True)
        for thread in self._threads:
            thread.start()

    def may_begin(self, ready: Sequence[Group], room: int) -> list[Group]:
        """Groups that this machine has taken and brought in; it takes others meanwhile, without waiting."""
        found: list[Group] = []
        for group in ready:
            name = group[0].id
            asked = self._asked.get(name)
            if asked is not None and asked[1].done():
                self._asked.pop(name)
                if self._answer(group, asked[1]) == "ours":
                    found.append(group)
            elif asked is None and len(found) + len(self._asked) < room and self._is_time(group):
                self._asked[name] = group, self._pool.submit(self._ask, group)
        return found

    def done_elsewhere(self) -> list[Group]:
        """Groups that another machine has finished."""
        done, self._done = self._done, []
        return done

    def is_taken(self, group: Group) -> bool:
        """Whether another machine took one of these runs, for this one was cut off for too long."""
        return any(run.id in self._taken for run in group)

    def ended(self, group: Group) -> None:
        """What is left of a group is sent, and its lease given back, by the thread that sends."""
        with self._lock:
            for run in group:
                self._taken.discard(run.id)
                if run.id in self._held:
                    self._held[run.id].ended = True

    def close(self) -> None:
        """Send what is left, and let go of what was taken but not begun."""
        self._closing.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._pool.shutdown()
        for group, asked in self._asked.values():
            if asked.exception() is None and asked.result() == "ours":
                self.ended(group)
        self._send()

    def check_sent(self, report: Sequence[str]) -> None:
        """Send the report's files.

        Raises:
            UserError: something could not be sent.
        """
        if self._held:
            raise UserError(
                f"{len(self._held)} runs could not be sent to {self.store.address}: they are whole in "
                f"{self.folder}, and the same command sends them when it answers."
            )
        files = {name: self.folder / name for name in report}
        self.store.put({name: path for name, path in files.items() if path.is_file()})
        self.say(f"All of it is at {self.store.address}.")

    def _is_time(self, group: Group) -> bool:
        """Whether a group may be asked for: an earlier try of it is sent, and it was not asked just now."""
        unsent = any(run.id in self._held for run in group)
        return not unsent and time.monotonic() >= self._again.get(group[0].id, 0.0)

    def _answer(self, group: Group, asked: Future[Found]) -> Found | None:
        """What came of asking for a group; asked again later where it is another's, or nobody answered."""
        self._again[group[0].id] = time.monotonic() + LOOK_SECONDS
        found = None
        with self._telling():
            found = asked.result()
        if found == "done":
            self._done.append(group)
        elif found == "theirs" and not self._held and not self._waited:
            self._waited = True
            self.say("Waiting for runs that other machines work on.")
        return found

    def _ask(self, group: Group) -> Found:
        """Take a group's leases and bring in its runs, and those that they carry or learn from.

        Raises:
            UserError: the address does not answer.
        """
        if all(self._bring_result(run, list(self.store.sizes(run.id))) for run in group):
            return "done"
        taken: list[str] = []
        try:
            for run in group:
                if not self.leases.take(run.id):
                    self._release(taken)
                    return "theirs"
                taken.append(run.id)
            done = [self._bring(run) for run in group]
        except UserError:
            self._release(taken)
            raise
        if all(done):  # between the two looks
            self._release(taken)
            return "done"
        with self._lock:
            self._held |= {run_id: _Held() for run_id in taken}
        return "ours"

    def _release(self, runs: Sequence[str]) -> None:
        for run_id in runs:
            self.leases.release(run_id)

    def _bring(self, run: PlannedRun) -> bool:
        """Bring in a run that is held, and those that it waited for; returns whether it is done."""
        names = list(self.store.sizes(run.id))
        if self._bring_result(run, names):
            return True
        if step_there(names) > step_here(self.folder / run.id):
            bring(self.store, run.id, self.folder / run.id, names)
        for source in run.waits_for:
            with self._source:
                names = list(self.store.sizes(source))
                if step_there(names) > step_here(self.folder / source):
                    bring(self.store, source, self.folder / source, names)
        return False

    def _bring_result(self, run: PlannedRun, names: Sequence[str]) -> bool:
        """Whether a run is done at the address; if it is, what a report needs of it is here then."""
        if RESULT not in names:
            return False
        if self._steps_there(run) != run.config.steps:
            return False
        if not self._is_done(run):
            bring(self.store, run.id, self.folder / run.id, [name for name in names if is_light(name)])
        return True

    def _steps_there(self, run: PlannedRun) -> object:
        """How many steps the run at the address has or will have; None where its settings are no JSON."""
        try:
            return json.loads(self.store.read(f"{run.id}/config.json") or b"{}").get("steps")
        except (ValueError, AttributeError):
            return None

    def _is_done(self, run: PlannedRun) -> bool:
        return is_done(run, self.folder / run.id)

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        while not self._closing.wait(seconds):
            action()

    def _renew(self) -> None:
        with self._telling():
            for run_id in list(self._held):
                if not self.leases.renew(run_id):
                    self._lose(run_id)

    def _lose(self, run_id: str) -> None:
        """Another machine has taken a run over: it goes on there."""
        with self._lock:
            held = self._held.pop(run_id, None)
            if held is None:  # it was let go of a moment ago
                return
            if not held.ended:
                self._taken.add(run_id)
        self.leases.forget(run_id)
        self.say(f"Another machine has taken over run {run_id}, for nothing was heard of this one.")

    def _send(self) -> None:
        with self._telling():
            for run_id, held in list(self._held.items()):
                self._send_run(run_id, held)
            self._send_record()

    def _send_run(self, run_id: str, held: _Held) -> None:
        """Send a run where it has a new checkpoint or has ended; else what it says of itself."""
        folder, ended = self.folder / run_id, held.ended
        step = step_here(folder)
        if folder.is_dir() and (ended or step != held.step):
            if not self.leases.renew(run_id):
                self._lose(run_id)
                return
            held.hashes = send(self.store, run_id, folder, held.hashes)
            held.step = step
        said = _bytes(folder / STATUS)
        if said is not None and said != held.status:
            self.store.write(f"{run_id}/{STATUS}", said)
            held.status = said
        if ended:
            with self._lock:
                self._held.pop(run_id, None)
            self.leases.release(run_id)

    def _send_record(self) -> None:
        record = _bytes(self.folder / RECORD)
        if record is not None and record != self._record:
            self.store.write(RECORD, record)
            self._record = record

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Say once that the address does not answer, and once that it does again; nothing is raised."""
        told = None
        try:
            yield
        except UserError as error:
            told = str(error).rstrip(".")
        except OSError as error:
            told = f"{self.folder} cannot be sent ({error.strerror or error})"
        with self._lock:
            changed, self._away = self._away != (told is not None), told is not None
        if changed and told is not None:
            self.say(f"{told}. Runs that have begun go on here, and are sent later; others wait.")
        elif changed:
            self.say(f"{self.store.address} answers again.")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _owner(root: Path) -> str:
    """Who works in a folder: it is written down there, so that the next command is the same one."""
    path = root / "owner"
    with disk_errors("the study's working folder", root, "nothing was started"):
        root.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            publish_bytes(path, uuid.uuid4().hex.encode())
        return path.read_text()
