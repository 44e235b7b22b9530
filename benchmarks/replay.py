"""Cost of drawing sequences from the replay as it fills: `python -m benchmarks.replay --store memory|disk`.

`--kind small` fills rows of 81 bytes instead of pictures, a million of which fit anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import show
from training import Replay

ENVS, BATCH, LENGTH = 4, 16, 64
Spec = dict[str, tuple[tuple[int, ...], Any]]
OTHERS: Spec = {
    "action": ((17,), np.dtype(np.float32)),
    "reward": ((), np.dtype(np.float32)),
    "is_first": ((), np.dtype(bool)),
    "is_last": ((), np.dtype(bool)),
    "is_terminal": ((), np.dtype(bool)),
}
KINDS: dict[str, Spec] = {
    "image": {"image": ((64, 64, 3), np.dtype(np.uint8)), **OTHERS},
    "small": {"image": ((6,), np.dtype(np.uint8)), **OTHERS},
}
RAW = 64 * 64 * 3


def sampling(replay: Replay, rng: np.random.Generator, draws: int = 200) -> dict[str, float]:
    """Median CPU- and wall-milliseconds of one batch of 16 x 64; a disk's waiting is in the second alone."""
    cpu, wall = [], []
    for _ in range(draws):
        began = time.process_time(), time.perf_counter()
        replay.sample(BATCH, LENGTH, rng)
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    return {"cpu_ms": 1000 * statistics.median(cpu), "wall_ms": 1000 * statistics.median(wall)}


def measure(arguments: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    """Fill a replay and sample it at 10k, 100k, 1M and so on rows, when full, and when it has wrapped."""
    spec, frames = KINDS[arguments.kind], arguments.rows
    replay = Replay(ENVS, spec, 2**40, max_rows=frames // ENVS, folder=folder)
    rng = np.random.default_rng(0)
    rows = {name: np.zeros((ENVS, *shape), dtype) for name, (shape, dtype) in spec.items()}
    rows["image"] = rng.integers(0, 256, rows["image"].shape, np.uint8)
    moments = [n for n in (10_000, 100_000) if n < frames]
    found: dict[str, float] = {}
    added, spent = 0, 0.0
    for moment in (*moments, frames, int(1.3 * frames)):
        while added < moment // ENVS:
            began = time.process_time()
            replay.add(rows)
            spent += time.process_time() - began
            added += 1
        name = "wrapped" if moment > frames else f"{moment:,}"
        found |= {f"sample_{unit}_{name}": value for unit, value in sampling(replay, rng).items()}
    return {
        "store": arguments.store,
        "rows": frames,
        "batch": [BATCH, LENGTH],
        **found,
        "add_us_per_row": 1e6 * spent / (added * ENVS),
        "bytes_per_million_rows": replay.row_bytes * 10**6,
        **({"over_raw_images": replay.row_bytes / RAW - 1} if arguments.kind == "image" else {}),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=400_000, help="all environments together")
    parser.add_argument("--kind", default="image", choices=list(KINDS), help="12 kB a row, or 81 bytes")
    parser.add_argument("--store", default="memory", choices=["memory", "disk"])
    parser.add_argument("--folder", type=Path, help="where a replay on disk lies; by default the system's")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = None
        if arguments.store == "disk":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder)))
        found = measure(arguments, folder)
    show(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
