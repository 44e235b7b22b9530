"""Where the rings of a replay lie: in memory, or in files that are mapped into it."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from expedition.errors import UserError
from training.storage.state_tree import disk_errors

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype]]
"""Shape and dtype of each ring by its name."""


def ring_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Bytes of one ring."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def rings_in_memory(layout: Layout) -> dict[str, np.ndarray]:
    """Make the rings in memory, which the system gives only as rows arrive."""
    return {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}


def rings_on_disk(layout: Layout, folder: Path) -> dict[str, np.ndarray]:
    """Make the rings as files in `folder`; the system keeps in memory what it has room for.

    The files have no name, so they go with the process, whatever its end. Their space is reserved at once
    where the system can: a mapped file that outgrows its disk kills the process without a word.

    Raises:
        UserError: the disk has no room, or refuses.
    """
    with disk_errors("the replay", folder, "nothing was changed"):
        folder.mkdir(parents=True, exist_ok=True)
        need = sum(ring_bytes(*entry) for entry in layout.values())
        free = shutil.disk_usage(folder).free
        if need > free:
            raise UserError(
                f"A replay of {need / 2**30:.2f} GiB does not fit on the disk of '{folder}', which has "
                f"{free / 2**30:.2f} GiB free: make room there, or allow the replay less with "
                "--training.replay-gib."
            )
        return {name: _mapped(shape, dtype, folder) for name, (shape, dtype) in layout.items()}


def _mapped(shape: tuple[int, ...], dtype: np.dtype, folder: Path) -> np.ndarray:
    size = ring_bytes(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.ndarray(shape, dtype, mmap.mmap(file.fileno(), size))
