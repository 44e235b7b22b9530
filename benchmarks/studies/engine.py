"""What the engine itself takes of a study: `python -m benchmarks.studies.engine --runs 200`.

The runs are dummies: whoever carries one out writes a result and is done. What is left is expanding the
study, printing what it will do, starting each run when what it needs is there, and noting its end.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.table import show
from experiments.launchers.launcher import Launcher
from experiments.launchers.places.base import JobFile, Work
from experiments.studies.presets import find_study
from training import Logistics
from training.storage.folder import read_json
from training.storage.state_tree import publish_json

STUDY = "walker2023-crafter"


class Done:
    """Work that is done as soon as it was begun."""

    def __init__(self, file: JobFile) -> None:
        for task in read_json(file.job, "")["tasks"]:
            folder = Path(task["run_dir"])
            folder.mkdir()
            publish_json(folder / "config.json", task["config"])
            publish_json(folder / "result.json", {"metrics": {}})
            publish_json(folder / "status.json", {"state": "finished", "env_step": task["config"]["steps"]})

    def poll(self) -> int | None:
        return 0

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Dummies:
    """Carries nothing out."""

    where, jobs, threads, preempts = "", 2, {"pretrain": 1, "finetune": 1}, False

    def begin(self, files: Sequence[JobFile]) -> list[Work]:
        return [Done(file) for file in files]

    def close(self) -> None: ...


def silent(line: str) -> None:
    """Tell nobody."""


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    clock, processor = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - clock, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="about so many")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    study = find_study(STUDY, None, {})
    per_seed = len(Launcher(study, Path("nowhere"), 2, QUIET, "", silent).runs) // study.seeds
    study = dataclasses.replace(study, seeds=max(1, round(arguments.runs / per_seed)))
    with tempfile.TemporaryDirectory() as folder:
        launcher = Launcher(study, Path(folder) / "study", 2, QUIET, "", silent)

        def expand() -> None:
            Launcher(study, Path(folder) / "study", 2, QUIET, "", silent).announce()

        expanded = timed(expand)
        launcher.place = Dummies()
        carried_out = timed(launcher.run)
        again = timed(launcher.run)
    count = len(launcher.runs)
    found: dict[str, float] = {"dummy runs": count}
    for what, (clock, processor) in (
        ("expanded and printed", expanded),
        ("carried out", carried_out),
        ("the same again, all done", again),
    ):
        found |= {f"{what}, seconds": clock, f"{what}, CPU-seconds": processor}
    found["carried out, CPU-seconds a run"] = carried_out[1] / count
    show(found, arguments.json)


QUIET = Logistics(device="cpu", wandb="off", threads=1, progress=False)

if __name__ == "__main__":
    main()
