"""What is a setting worth to a learner from scratch? `python -m benchmarks.learning.settings`.

    python -m benchmarks.learning.settings --env crafter,observe=symbols --steps 7500 --seeds 3 --jobs 2 \\
      --variant "starts 16" agent.behaviour.starts=16 --variant "ratio 8" training.train_ratio=8 steps=30000

Each variant changes some settings of the same run (`agent...`, `training...`, `steps`, `size`), which has
those of `expedition train` at size tiny; all have the same seeds. Told are, as means over the seeds and as
paired differences from the run with nothing changed (with their standard errors): the mean return of all
training steps, the return of the policy at the end, the open-loop error at the end on held-out episodes (in
nats for symbols), and CPU-seconds. The same command again goes on, and takes what is finished as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.dip import mean_and_error
from benchmarks.learning.runs import QUIET, from_scratch, read_setting
from expedition import UserError
from experiments.launchers.worker import carry_out
from experiments.reporting.curves import area
from experiments.settings import Setting, with_settings
from training import RunConfig, fingerprint, to_dict

UNCHANGED = "unchanged"
MEASURES = ("area", "return", "open loop", "CPU-s")


def usual(env: str, steps: int, seed: int) -> RunConfig:
    """The run with nothing changed."""
    return with_settings(from_scratch(env, steps, seed), [Setting("training.evaluation_episodes", 32)])


def variant(words: Sequence[str]) -> tuple[str, tuple[Setting, ...]]:
    """A name, and settings `name=value`.

    Raises:
        UserError: as `read_setting`.
    """
    name, *texts = words
    return name, tuple(setting for text in texts for setting in read_setting(text))


def run(config: RunConfig, folder: Path) -> None:
    """Carry one run out, in the process that calls, and note what it cost."""
    began = time.process_time()
    carry_out(config, folder, QUIET, "scratch", None, lambda _: None)
    note = folder / "cpu.json"
    if not note.is_file():
        note.write_text(json.dumps(time.process_time() - began))


def measured(folder: Path) -> dict[str, float]:
    """What a finished run shows, by `MEASURES`."""
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    metrics = result["metrics"]
    steps, returns = (np.array([line[key] for line in lines], float) for key in ("env_step", "return"))
    foreseen = metrics.get("open_loop_nats_end", metrics.get("open_loop_error_end", np.nan))
    values = [
        area(steps, returns, result["environment_steps"]) if len(steps) else np.nan,
        metrics["return"],
        foreseen,
        json.loads((folder / "cpu.json").read_text()),
    ]
    return dict(zip(MEASURES, map(float, values), strict=True))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run every variant over the seeds, and read what came of it."""
    variants = dict([(UNCHANGED, ()), *map(variant, arguments.variant or [])])
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    configs = {
        (name, seed): with_settings(usual(arguments.env, arguments.steps, seed), settings)
        for seed in seeds
        for name, settings in variants.items()
    }
    folders = {key: arguments.out / fingerprint(to_dict(config)) for key, config in configs.items()}
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(run, config, folders[key]) for key, config in configs.items()]:
            future.result()
    tables = {name: [measured(folders[name, seed]) for seed in seeds] for name in variants}
    return {"env": arguments.env, "seeds": list(seeds), "variants": summed(tables)}


def summed(tables: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """By variant and measure: mean over the seeds, and the paired difference with its standard error."""
    found: dict[str, Any] = {}
    for name, rows in tables.items():
        pairs = list(zip(rows, tables[UNCHANGED], strict=True))
        found[name] = {
            key: {
                "mean": float(np.mean([row[key] for row in rows])),
                "more": mean_and_error(np.array([row[key] - other[key] for row, other in pairs])),
            }
            for key in MEASURES
        }
    return found


def table(found: Mapping[str, Any]) -> str:
    """One line a variant."""
    width = max(map(len, found["variants"])) + 1
    lines = [" " * width + "".join(f"{key:>27}" for key in MEASURES)]
    for name, row in found["variants"].items():
        cells = [f"{row[key]['mean']:.3f}" for key in MEASURES]
        if name != UNCHANGED:
            more = [row[key]["more"] for key in MEASURES]
            cells = [f"{cell} ({mean:+.3f} +- {e:.3f})" for cell, (mean, e) in zip(cells, more, strict=True)]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>27}" for cell in cells))
    return "\n".join(lines)


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="crafter,observe=symbols")
    parser.add_argument("--steps", type=int, default=7500)
    parser.add_argument("--seed", type=int, default=100, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variant", nargs="+", action="append", metavar="NAME SETTING=VALUE")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, of one thread each")
    parser.add_argument("--out", type=Path, default=Path("build/settings"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        found = measure(arguments)
    except UserError as error:
        parser.error(str(error))
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
