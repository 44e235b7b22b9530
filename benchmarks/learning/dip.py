"""Does a carried actor dip beside a critic that knows nothing yet? `python -m benchmarks.learning.dip`.

    python -m benchmarks.learning.dip --seeds 5 --plans model+policy model+policy,actor=freeze:1200

A maze is explored once; each plan then fine-tunes from there over the same seeds. The first plan is what the
others are compared with: by default `model+policy`, and the same with the actor held until the critic has
learned (`actor=freeze:STEPS`). Maze and settings are those of the study `quickstart`; the flags of a
study's groups change them (`--finetune-agent.behaviour.entropy 3e-3`, `--finetune.learning-starts 600`).

Returns are of training episodes, by the window of steps in which they ended: the mean over seeds of each
seed's mean, and its standard error. The dip is how far a seed's lowest window lies below its first one, in
units of the return. The same command again goes on, and takes what is finished as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.runs import QUIET
from expedition import UserError
from experiments.command_line.flags import grouped_flags
from experiments.launchers.worker import carry_out
from experiments.studies.presets import find_study
from experiments.studies.runs import PlannedRun, planned_runs
from experiments.studies.study import Study

STUDY = "quickstart"
PLANS = ("model+policy", "model+policy,actor=freeze:1200")


def studied(arguments: argparse.Namespace, groups: Mapping[str, Any]) -> Study:
    """The study whose runs are made: one condition for each plan."""
    settings = {"env": arguments.env, "conditions": list(arguments.plans), "seeds": arguments.seeds, **groups}
    settings |= {"pretrain_steps": arguments.pretrain_steps, "finetune_steps": arguments.finetune_steps}
    return find_study(STUDY, None, settings)


def run(planned: PlannedRun, folder: Path, source: Path | None) -> None:
    """Carry one run out, in the process that calls."""
    carry_out(planned.config, folder / planned.id, QUIET, planned.plan, source, lambda _: None)


def curve(folder: Path, steps: int, windows: int) -> np.ndarray:
    """Mean return of the training episodes that ended in each window, (windows,); NaN where none did."""
    lines = map(json.loads, (folder / "episodes.jsonl").read_text().splitlines())
    ended: list[list[float]] = [[] for _ in range(windows)]
    for line in lines:
        ended[min(windows - 1, int(line["env_step"]) * windows // steps)].append(float(line["return"]))
    return np.array([np.mean(window) if window else np.nan for window in ended])


def dip(curves: np.ndarray) -> np.ndarray:
    """How far each seed's lowest window lies below its first, (seeds, windows) -> (seeds,).

    Windows in which no episode ended do not count; NaN for a seed that has no other.
    """
    lived = [one[~np.isnan(one)] for one in curves]
    return np.array([one[0] - one.min() if len(one) else np.nan for one in lived])


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over seeds, and its standard error (NaN for one seed)."""
    known = values[~np.isnan(values)]
    error = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan
    return float(known.mean()) if len(known) else np.nan, float(error)


def measure(study: Study, out: Path, windows: int, jobs: int) -> dict[str, Any]:
    """Explore once, fine-tune by every plan and seed, and read the curves."""
    runs = planned_runs(study)
    explored = next(one for one in runs if one.plan is None and one.seed == 0)
    tuned = [one for one in runs if one.plan is not None]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pool.submit(run, explored, out, None).result()
        for future in [pool.submit(run, one, out, out / explored.id) for one in tuned]:
            future.result()
    plans = {}
    for condition in study.conditions:
        folders = [out / one.id for one in tuned if one.condition == condition.name]
        curves = np.stack([curve(folder, study.finetune_steps, windows) for folder in folders])
        final = [json.loads((f / "result.json").read_text())["metrics"]["return"] for f in folders]
        plans[condition.plan] = {
            "curve": [mean_and_error(column) for column in curves.T],
            "dip": mean_and_error(dip(curves)),
            "return": mean_and_error(np.array(final, float)),
            "curves": curves.tolist(),
        }
    return {"env": study.env, "seeds": study.seeds, "steps": study.finetune_steps, "plans": plans}


def table(found: Mapping[str, Any], windows: int) -> str:
    """One line a window, one column a plan; below, the dips and the evaluated returns."""
    plans = found["plans"]
    width = max(18, *(len(name) + 2 for name in plans))
    lines = [f"{'up to step':>12}" + "".join(f"{name:>{width}}" for name in plans)]
    rows = [(f"{found['steps'] * (i + 1) // windows:,}", i) for i in range(windows)]
    for name, i in rows:
        lines.append(_line(name, [plan["curve"][i] for plan in plans.values()], width))
    for name in ("dip", "return"):
        lines.append(_line(name, [plan[name] for plan in plans.values()], width))
    return "\n".join(lines)


def _line(name: str, cells: Sequence[tuple[float, float]], width: int) -> str:
    told = ["-" if np.isnan(mean) else f"{mean:.3f} +- {error:.3f}" for mean, error in cells]
    return f"{name:>12}" + "".join(f"{cell:>{width}}" for cell in told)


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env")
    parser.add_argument("--plans", nargs="+", default=list(PLANS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pretrain-steps", type=int, default=4000)
    parser.add_argument("--finetune-steps", type=int, default=3000)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, of one thread each")
    parser.add_argument("--out", type=Path, default=Path("build/dip"))
    parser.add_argument("--json", action="store_true")
    try:
        groups, left = grouped_flags(sys.argv[1:])
        arguments = parser.parse_args(left)
        found = measure(studied(arguments, groups), arguments.out, arguments.windows, arguments.jobs)
    except UserError as error:
        parser.error(str(error))
    print(json.dumps(found, indent=1) if arguments.json else table(found, arguments.windows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
