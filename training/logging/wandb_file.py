"""W&B's offline files: records in blocks, as in LevelDB's log; W&B has no reader in Python any more."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_IDENTITY = 7  # bytes before the first block's first record
_BLOCK = 32768
_HEAD = struct.Struct("<IHB")  # checksum, length, kind
_WHOLE, _FIRST, _LAST = 1, 2, 4


def read_records(path: Path) -> Iterator[tuple[Any, int]]:
    """Read the whole records of a .wandb file, each with the place in bytes where it ends."""
    from wandb.proto import wandb_internal_pb2

    record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]  # made when imported
    data, at, parts = path.read_bytes(), _IDENTITY, b""
    while True:
        if _BLOCK - at % _BLOCK < _HEAD.size:  # too little for a head: the rest of the block is empty
            at += _BLOCK - at % _BLOCK
        if at + _HEAD.size > len(data):
            return
        _, length, kind = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            return
        parts = (b"" if kind in (_WHOLE, _FIRST) else parts) + data[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield record.FromString(parts), at


def cut_torn_end(path: Path) -> None:
    """Cut the record amid which a kill ended the file: W&B would give up there and send nothing after it."""
    ends = [end for _, end in read_records(path)]
    if ends and ends[-1] < path.stat().st_size:
        os.truncate(path, ends[-1])
