"""Seconds of a report: `python -m benchmarks.studies.report [--seeds 14] [--episodes 2000]`.

The study is made up: five runs a seed (one pre-training run, four conditions), each with so many episodes and
as many lines of metrics. The report is written by the command, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import show

RETURNS = {"scratch": 2.1, "policy": 3.0, "model": 2.9, "model+policy": 4.2}
STEPS = 1_000_000
LINE = {f"loss/{number}": 0.12345678 for number in range(40)}
"""As long as a line of metrics is."""


def write_study(folder: Path, seeds: int, episodes: int) -> int:
    """Write a made-up study that is finished; returns its runs."""
    entries: list[dict[str, Any]] = []
    for seed in range(seeds):
        source = f"pretrain-s{seed}"
        entries.append({"id": source, "phase": "pretrain", "condition": None, "seed": seed})
        entries += [
            {"id": f"{name}-s{seed}", "phase": "finetune", "condition": name, "seed": seed, "needs": source}
            for name in RETURNS
        ]
    head = {"name": "made-up", "command": "none", "version": "0", "environment": "catch-vector"}
    record = {**head, "seeds": list(range(seeds)), "suite_metrics": [], "runs": entries}
    for number, entry in enumerate(entries):
        write_run(folder / entry["id"], RETURNS.get(entry["condition"], 0.0), episodes, number)
    (folder / "study.json").write_text(json.dumps(record))
    return len(entries)


def write_run(folder: Path, level: float, episodes: int, number: int) -> None:
    """Write what a report reads of a run that learned up to a level."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    steps = np.linspace(STEPS / episodes, STEPS, episodes).astype(int)
    returns = rng.normal(level * steps / STEPS, 0.9)
    horizon = [float(value) for value in np.linspace(0.1, 0.3, 45)]
    metrics = {"return": level + rng.normal(0, 0.3), "open_loop_error_end": 0.01 * rng.uniform(0.9, 1.1)}
    values: dict[str, Any] = {
        "status.json": {"state": "finished", "env_step": STEPS, "wall_seconds": 3600.0},
        "config.json": {"steps": STEPS, "seed": number},
        "result.json": {
            "metrics": metrics,
            "environment_steps": STEPS,
            "open_loop_by_horizon_start": horizon,
            "open_loop_by_horizon_end": horizon,
        },
    }
    for name, value in values.items():
        (folder / name).write_text(json.dumps(value))
    lines = [
        {"env_step": int(s), "return": float(r), "length": 500} for s, r in zip(steps, returns, strict=True)
    ]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = [{"env_step": int(step), **LINE} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))


def measure(seeds: int, episodes: int) -> dict[str, Any]:
    """Write the study and time its report."""
    with tempfile.TemporaryDirectory() as folder:
        runs = write_study(Path(folder), seeds, episodes)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "experiments.command_line.cli", "report", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"runs": runs, "wall_seconds": wall, "cpu_seconds": cpu, "load": os.getloadavg()[0]}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=14)
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show(measure(arguments.seeds, arguments.episodes), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
