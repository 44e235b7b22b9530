"""The compiler of this machine: whether it works, where its cache lies, and who may use it when."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import logging
import os
import shutil
import struct
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

import torch

Function = TypeVar("Function", bound=Callable)
CACHE = "TORCHINDUCTOR_CACHE_DIR"
PATIENCE = 60.0
"""Seconds to wait for others that compile: about what compiling takes. Whoever is stuck holds nobody up."""
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where compiled code is kept for all processes of this user, by torch's version; made if it can be.

    The variable TORCHINDUCTOR_CACHE_DIR wins. A folder that cannot be written is replaced by one that goes
    with the process.
    """
    if CACHE not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        os.environ[CACHE] = str(Path(home) / "expedition" / f"torch-{torch.__version__}")
    folder = Path(os.environ[CACHE])
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))  # a full disk refuses this
    except OSError:
        folder = Path(_own_folder())
        os.environ[CACHE] = str(folder)
    return folder


@functools.cache
def _own_folder() -> str:
    holder = tempfile.TemporaryDirectory(prefix="expedition-")
    _own_folder.holder = holder  # type: ignore[attr-defined]  # removed with the process
    return holder.name


@functools.cache
def missing(device_type: str) -> str | None:
    """What keeps this machine from compiling for a kind of device, as a clause; None if it can.

    The last thing that is tried is a small function, so that a compiler that fails is found out here, before
    any run depends on it.
    """
    if device_type == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton is missing (pip install triton)"
    if device_type == "cpu":
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            return "no C++ compiler is found (on Debian: apt-get install g++ python3-dev)"
        if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
            return "Python's headers are missing (on Debian: apt-get install python3-dev)"
    shared = str(cache_folder())
    remove_torn(Path(shared))
    why = _fails(device_type)
    if why is None or shared == _own_folder():
        return why
    os.environ[CACHE] = _own_folder()  # perhaps the cache alone is broken
    torch.compiler.reset()
    if _fails(device_type) is not None:
        return why
    _log.warning("The compiler's cache %s is broken: delete it, or every run compiles anew.", shared)
    return None


def remove_torn(folder: Path) -> None:
    """Remove libraries that a killed linker left half written: torch would load them, and the run would end.

    What another process is writing is left to it.
    """
    if sys.platform != "linux":
        return
    torn = [library for library in folder.rglob("*.so") if _is_torn(library)]
    written = set(_opened()) if torn else set()
    for library in torn:
        if str(library.resolve()) not in written:
            with contextlib.suppress(OSError):  # another has done it, or the folder is not ours to write
                library.unlink()


def _is_torn(library: Path) -> bool:
    """Whether an ELF file lacks the table of sections at its end, of which its beginning tells."""
    try:
        with library.open("rb") as file:
            head, size = file.read(64), os.fstat(file.fileno()).st_size
    except OSError:
        return False
    if len(head) < 64 or head[:4] != b"\x7fELF":
        return True
    (start,), (width, count) = struct.unpack_from("Q", head, 40), struct.unpack_from("HH", head, 58)
    return start == 0 or start + width * count > size


def _opened() -> Iterator[str]:
    """Paths of the files that processes of this user hold open."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            yield os.readlink(link)


def _fails(device_type: str) -> str | None:
    """What keeps a small function from being compiled and called, as a clause."""
    function = compiled(_probe)
    try:
        with torch._dynamo.config.patch(suppress_errors=False):  # here a failure is what is looked for
            value = function(torch.ones(64, device=device_type))
    except Exception as error:  # noqa: BLE001  whatever the toolchain raises, training goes on without it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return f"the compiler fails ({reason[0][:200]})"
    return None if bool((value == 3.0).all()) else "the compiler gives wrong numbers"


def _probe(x: torch.Tensor) -> torch.Tensor:
    return (x + 0.5) * 2


def compiled(function: Function) -> Function:
    """Compile a function of tensors of fixed shapes; what cannot be compiled runs as it is, and says so."""
    cache_folder()
    torch._dynamo.config.recompile_limit = 64  # phases, batch sizes and frozen parts of one process
    torch._dynamo.config.suppress_errors = True  # also what compiles late, as a part that thaws does
    # Cached tables are traced like the rest: right, and told at every first update.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    return torch.compile(function, dynamic=False)  # type: ignore[return-value]


@contextlib.contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Let one process of this user compile a thing at a time: the others then find its work in the cache.

    Args:
        what: names the thing; others are not waited for, and none longer than `PATIENCE`: then several
            compile side by side, which is safe.
    """
    name = hashlib.sha256(what.encode()).hexdigest()[:16]
    try:
        file = (cache_folder() / f"compiling-{name}.lock").open("w")
    except OSError:
        yield
        return
    with file:
        deadline = time.monotonic() + PATIENCE
        while not _locked(file) and time.monotonic() < deadline:
            time.sleep(0.2)
        yield


def _locked(file: IO[str]) -> bool:
    """Whether the lock is ours now, or cannot be had at all."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network folders know no locks
        return True
    return True
