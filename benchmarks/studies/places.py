"""A study on a Ray cluster of two nodes against the same study here: `python -m benchmarks.studies.places`.

Both have two cores: the cluster's nodes lie on this machine and have one each. The two take turns, the other
one first in every second round, because other work on the machine disturbs whoever is its neighbour. CPU
time is not counted: Ray's processes are nobody's children here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.chaos.tiny import AGENT, TRAINING
from benchmarks.table import show
from experiments.launchers.launcher import Launcher
from experiments.studies.presets import find_study
from experiments.studies.study import Study
from training import Logistics

QUIET = Logistics(device="cpu", wandb="off", threads=1, compile="off")
NODES = 2


def small_study(folder: Path, steps: int, seeds: int) -> Study:
    """Tiny runs on Catch that carry nothing, so that all may begin at once."""
    training = {**TRAINING, "train_ratio": 1.0}
    settings = {
        "base": "quickstart-crafter",
        "env": "catch-vector",
        "finetune_steps": steps,
        "conditions": ["scratch"],
        "agent": AGENT,
        "pretrain": training,
        "finetune": training,
    }
    file = folder / "places.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    return find_study(str(file), None, {"seeds": seeds})


def seconds_of(study: Study, folder: Path, place: str) -> float:
    """Seconds on the clock that a study takes at a place."""
    began = time.perf_counter()
    launcher = Launcher(study, folder, NODES, QUIET, "benchmarks.studies.places", lambda _: None, place=place)
    if code := launcher.run():
        raise SystemExit(code)
    return time.perf_counter() - began


def measure(rounds: int, steps: int, seeds: int) -> dict[str, Any]:
    """Let the two take turns on one study."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 2**27})
    for _ in range(NODES):
        cluster.add_node(num_cpus=1, object_store_memory=2**27)
    places = {"local": "local", "ray": f"ray,address={cluster.address}"}
    taken: dict[str, list[float]] = {name: [] for name in places}
    try:
        with tempfile.TemporaryDirectory() as folder:
            study = small_study(Path(folder), steps, seeds)
            for number in range(rounds):
                for name in sorted(places, reverse=bool(number % 2)):
                    where = Path(folder, f"{name}-{number}")
                    taken[name].append(seconds_of(study, where, places[name]))
    finally:
        cluster.shutdown()
    ratios = [ray / local for ray, local in zip(taken["ray"], taken["local"], strict=True)]
    return {
        "runs": len(study.measured) * seeds,
        **{f"{name}_seconds": [round(seconds, 1) for seconds in taken[name]] for name in places},
        "median_ratio": statistics.median(ratios),
        "load": os.getloadavg()[0],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show(measure(arguments.rounds, arguments.steps, arguments.seeds), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
