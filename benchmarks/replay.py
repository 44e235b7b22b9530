"""Cost of drawing sequences from the replay as it fills: `python -m benchmarks.replay [--json]`."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import numpy as np

from benchmarks.table import show
from training import Replay

ENVS, BATCH, LENGTH = 4, 16, 64
SPEC: dict[str, tuple[tuple[int, ...], Any]] = {
    "image": ((64, 64, 3), np.dtype(np.uint8)),
    "action": ((17,), np.dtype(np.float32)),
    "reward": ((), np.dtype(np.float32)),
    "is_first": ((), np.dtype(bool)),
    "is_last": ((), np.dtype(bool)),
    "is_terminal": ((), np.dtype(bool)),
}
RAW = 64 * 64 * 3


def sampling(replay: Replay, rng: np.random.Generator, draws: int = 200) -> float:
    """Median CPU-milliseconds of one batch of 16 x 64."""
    spent = []
    for _ in range(draws):
        began = time.process_time()
        replay.sample(BATCH, LENGTH, rng)
        spent.append(time.process_time() - began)
    return 1000 * statistics.median(spent)


def measure(frames: int) -> dict[str, Any]:
    """Fill a replay of `frames` rows and sample it at a tenth, a half, full, and after a second round."""
    replay = Replay(ENVS, SPEC, 2**40, max_rows=frames // ENVS)
    rng = np.random.default_rng(0)
    rows = {name: np.zeros((ENVS, *shape), dtype) for name, (shape, dtype) in SPEC.items()}
    rows["image"] = rng.integers(0, 256, rows["image"].shape, np.uint8)
    found, added, spent = {}, 0, 0.0
    for name, share in (("tenth", 0.1), ("half", 0.5), ("full", 1.0), ("wrapped", 1.3)):
        while added < share * frames // ENVS:
            began = time.process_time()
            replay.add(rows)
            spent += time.process_time() - began
            added += 1
        found[f"sample_ms_{name}"] = sampling(replay, rng)
    return {
        "frames": frames,
        "batch": [BATCH, LENGTH],
        **found,
        "add_us_per_row": 1e6 * spent / (added * ENVS),
        "bytes_per_million_frames": replay.row_bytes * 10**6,
        "over_raw_images": replay.row_bytes / RAW - 1,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=400_000, help="12 kB each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.frames)
    show(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
