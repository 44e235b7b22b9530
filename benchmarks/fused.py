"""An update of N agents as one program against N updates, in turns: `python -m benchmarks.fused`."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from agents.programs.fused import FusedAgents
from benchmarks.table import show
from benchmarks.update import add_arguments, batch_of, build, synchronise, warmup
from training import prepare_process


def measure(arguments: argparse.Namespace, seeds: int) -> dict[str, Any]:
    """Median CPU-seconds and wall seconds of both, for one number of seeds."""
    apart = [build(arguments, seed) for seed in range(seeds)]
    for agent in apart:
        agent.run_as(arguments.mode)
    fused = FusedAgents([build(arguments, seed) for seed in range(seeds)], arguments.mode)
    rows = batch_of(apart[0], arguments.batch, arguments.length, task=apart[0].intrinsic is None)
    device = apart[0].device
    sides: dict[str, Callable[[], object]] = {
        "apart": lambda: [agent.update(rows) for agent in apart],
        "fused": lambda: fused.update([rows] * seeds),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    first = time.perf_counter()
    fused.update([rows] * seeds)
    first = time.perf_counter() - first
    skipped = warmup(arguments)
    for _ in range(skipped + arguments.updates):
        for name, update in sides.items():
            synchronise(device)
            began = time.process_time(), time.perf_counter()
            update()
            synchronise(device)
            times[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    found: dict[str, Any] = {"seeds": seeds, "first_fused_update_seconds": first}
    for at, unit in enumerate(("cpu_seconds", "wall_seconds")):
        for name, pairs in times.items():
            found[f"{name}_{unit}"] = statistics.median(pair[at] for pair in pairs[skipped:])
        found[f"ratio_{unit}"] = found[f"fused_{unit}"] / found[f"apart_{unit}"]
    return found


def main() -> int:
    """Measure and print one table for each number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8])
    arguments = parser.parse_args()
    if arguments.mode == "compiled":
        parser.error("Fused updates are eager, or on a GPU captured.")
    prepare_process(arguments.threads)
    for seeds in arguments.seeds:
        show(measure(arguments, seeds), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
