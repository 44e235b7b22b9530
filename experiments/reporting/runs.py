"""The runs of a study, as their folders show them, and what follows from their learning curves."""

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from expedition.errors import UserError
from experiments.reporting.curves import area, first_passage, smoothed
from experiments.reporting.metrics import LOST, NORMALISED, RAW, elsewhere
from training.storage.folder import read_json

ANEW = "run the study again to write it anew"
DECODER, PROBE = "open_loop", "probe"
"""Who decodes what a model foresees: its own decoder, or a probe. Their films and lines are named so."""
RANDOM = "random"
"""Kind of agent of a run that acts at random."""


@dataclass(frozen=True)
class RunRecord:
    """One run of a study, as its folder shows it.

    Attributes:
        id: the name of its folder.
        phase: `pretrain` or `finetune`.
        condition: what was carried; None in phase 1.
        seed: the seed that pairs it with the runs of other conditions.
        folder: where it lies.
        state: what status.json says; `not started` where there is none.
        env_step: environment steps it took.
        wall_seconds: how long it ran.
        metrics: final metrics; those that aren't finite are left out and named in `undefined`.
        success: achievement -> share of evaluation episodes that unlocked it, in percent.
        open_loop_start: squared error at each open-loop step, before the first update.
        open_loop_end: the same after the last.
        probe_start: as `open_loop_start`, decoded by a probe, where one was fitted.
        probe_end: the same after the last.
        undefined: metrics that came out as NaN or infinite.
        finished: whether it ended and left a result.
        intrinsic: what phase 1 was rewarded with, where the study says so.
        kind: the kind of agent, where the study says so.
        predicts: what its model predicts, where the study says so.
        env: the environment, where the study says so.
        needs: id of the pre-training run that it carries from.
        data: ids of the runs from whose replays it learned in place of steps, with their weights.
        planned: environment steps that were asked for, where the study says so.
        shift: by how much its own seed lies above `seed`.
        plan: what is carried, as a plan, where the study says so.
        censored: whether it never reached scratch's final return, so that its `steps_saved` is a bound.
        observed: kinds of observations, `image` or `vector` or both, where the result says so.
        evaluation_seconds: seconds of its wall clock that went into evaluations during training.
        reached: what its training episodes reached, by name.
        visits: name -> how many of them reached it; empty where the run didn't count.
    """

    id: str
    phase: str
    condition: str | None
    seed: int
    folder: Path
    state: str = "not started"
    env_step: int = 0
    wall_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    success: Mapping[str, float] = field(default_factory=dict)
    open_loop_start: tuple[float, ...] = ()
    open_loop_end: tuple[float, ...] = ()
    probe_start: tuple[float, ...] = ()
    probe_end: tuple[float, ...] = ()
    undefined: tuple[str, ...] = ()
    finished: bool = False
    intrinsic: str | None = None
    kind: str | None = None
    predicts: str | None = None
    env: str | None = None
    needs: str | None = None
    data: Mapping[str, float] = field(default_factory=dict)
    planned: int | None = None
    shift: int = 0
    plan: str | None = None
    censored: bool = False
    observed: tuple[str, ...] = ()
    evaluation_seconds: float = 0.0
    reached: tuple[str, ...] = ()
    visits: Mapping[str, int] = field(default_factory=dict)

    @property
    def learns(self) -> bool:
        """Whether it learns anything: the random policy is only evaluated."""
        return self.kind != RANDOM

    def episodes(self) -> list[dict[str, float]]:
        """Return the training episodes in order; a last line that is still being written is left out."""
        return list(_json_lines(self.folder / "episodes.jsonl"))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return when each training episode ended, in environment steps, and its return: (n,) and (n,)."""
        path = self.folder / "episodes.jsonl"
        status = path.stat() if path.is_file() else None
        return _curve(path, None if status is None else (status.st_size, status.st_mtime_ns))

    def evaluations(self) -> tuple[np.ndarray, np.ndarray]:
        """Return when the policy was evaluated, in environment steps, and its mean return: (n,) and (n,)."""
        points = {}
        for line in _json_lines(self.folder / "metrics.jsonl", '"evaluation'):
            for name in ("evaluation_start/return", "evaluation/return"):
                if line.get(name) is not None:
                    points[line["env_step"]] = line[name]
        steps, values = np.array(sorted(points.items()), dtype=np.float64).reshape(-1, 2).T
        return steps, values

    def film(self, moment: str, reader: str = DECODER) -> Path | None:
        """Return the film strip that a decoder drew at `start` or `end`, where there is one."""
        path = self.folder / "media" / f"{reader}_{moment}.png"
        return path if path.is_file() else None

    def config(self) -> dict[str, Any]:
        """Return its resolved settings, and what it carried; empty where it has not begun."""
        path = self.folder / "config.json"
        return dict(read_json(path, ANEW)) if path.is_file() else {}

    def foreseen(self, moment: str, reader: str) -> tuple[float, ...]:
        """Return the errors by predicted row that a decoder told at `start` or `end`."""
        lines = {
            (DECODER, "start"): self.open_loop_start,
            (DECODER, "end"): self.open_loop_end,
            (PROBE, "start"): self.probe_start,
            (PROBE, "end"): self.probe_end,
        }
        return lines[reader, moment]


def read_run(study: Path, entry: Mapping[str, Any]) -> RunRecord:
    """Read one run of a study's folder, by its entry in study.json."""
    folder = study / entry["id"]
    condition = None if entry["condition"] is None else str(entry["condition"])
    fixed = (str(entry["id"]), str(entry["phase"]), condition, int(entry["seed"]), folder)
    said: dict[str, Any] = {
        key: str(entry[key])
        for key in ("intrinsic", "kind", "predicts", "env", "needs", "plan")
        if entry.get(key)
    }
    said |= {"data": dict(entry.get("data") or {}), "planned": entry.get("steps")}
    said["shift"] = int(entry.get("own_seed", entry["seed"])) - int(entry["seed"])
    if not (folder / "status.json").is_file():
        return RunRecord(*fixed, **said)
    status = read_json(folder / "status.json", ANEW)
    state, step = str(status["state"]), int(status.get("env_step", 0))
    wall_seconds = float(status.get("wall_seconds", 0.0))
    if state != "finished" or not (folder / "result.json").is_file():
        state = "finished without a result" if state == "finished" else state
        return RunRecord(*fixed, state=state, env_step=step, wall_seconds=wall_seconds, **said)
    result = read_json(folder / "result.json", ANEW)
    coverage = result.get("coverage") or {}
    told = {str(name): _number(value) for name, value in result["metrics"].items()}
    metrics = _with_lost(_with_success(told))
    return RunRecord(
        *fixed,
        state=state,
        env_step=int(result.get("environment_steps", step)),
        wall_seconds=float(result.get("wall_seconds", wall_seconds)),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        success={str(name): float(rate) for name, rate in (result.get("success") or {}).items()},
        open_loop_start=_line(result, "open_loop_by_horizon_start"),
        open_loop_end=_line(result, "open_loop_by_horizon_end"),
        probe_start=_line(result, "probe_by_horizon_start"),
        probe_end=_line(result, "probe_by_horizon_end"),
        undefined=tuple(name for name, value in metrics.items() if not math.isfinite(value)),
        finished=True,
        observed=tuple(map(str, result.get("observed", ()))),
        evaluation_seconds=float(result.get("evaluation_seconds", 0.0)),
        reached=tuple(map(str, coverage.get("reached") or ())),
        visits={str(name): int(count) for name, count in (coverage.get("episodes") or {}).items()},
        **said,
    )


def _line(result: Mapping[str, Any], name: str) -> tuple[float, ...]:
    return tuple(map(_number, result.get(name) or ()))


def _with_success(metrics: dict[str, float]) -> dict[str, float]:
    """Call the share of episodes that were solved the same in every suite: `success_rate`, in percent."""
    if "success" in metrics:
        metrics["success_rate"] = 100 * metrics.pop("success")
    return metrics


def _with_lost(metrics: dict[str, float]) -> dict[str, float]:
    """Add by how much less is returned where the environment has other options: `lost_at_size=1.5`."""
    moved = [name for name in elsewhere(metrics) if name.startswith("return")]
    return metrics | {
        LOST + name.partition("_at_")[2]: metrics.get("return", math.nan) - metrics[name] for name in moved
    }


def with_learning(runs: Sequence[RunRecord], baseline: str | None) -> Iterator[RunRecord]:
    """Add what training episodes tell to the metrics of finished fine-tuning runs: `auc`, `steps_saved`.

    Steps saved are those that scratch took to reach its own final return, less those that the run of the same
    seed took to reach it, both on smoothed curves. A run that never does counts as doing so at its end.
    """
    ended = [(run, *run.curve()) for run in runs if run.phase == "finetune" and run.finished]
    curves = {run.id: (steps, values) for run, steps, values in ended if len(steps)}
    smooth = {run.id: smoothed(*curves[run.id], run.env_step) for run in runs if run.id in curves}
    scratch = {
        (run.env, run.seed): smooth[run.id] for run in runs if run.condition == baseline and run.id in curves
    }
    for run in runs:
        if run.id not in curves:
            yield run
            continue
        learned, censored = {"auc": area(*curves[run.id], run.env_step)}, False
        curve = scratch.get((run.env, run.seed))
        if curve is not None:
            level = float(curve[1][-1])
            needed, reached = first_passage(curve, level), first_passage(smooth[run.id], level)
            censored = reached is None
            learned["steps_saved"] = (needed or 0.0) - (run.env_step if reached is None else reached)
        yield replace(run, metrics={**run.metrics, **learned}, censored=censored)


Scale = tuple[float, float]
"""Returns of one task that count as 0 and as 1."""


def scales(runs: Iterable[RunRecord]) -> dict[str | None, Scale]:
    """Return, for each task, the mean final returns of the random policy and of the best condition.

    A task that nobody does better at than the random policy has none, and neither has one without it.
    """
    found: dict[str | None, dict[str, list[float]]] = {}
    chance: dict[str | None, list[float]] = {}
    for run in runs:
        if run.phase != "finetune" or not run.finished or "return" not in run.metrics:
            continue
        if run.learns:
            found.setdefault(run.env, {}).setdefault(str(run.condition), []).append(run.metrics["return"])
        else:
            chance.setdefault(run.env, []).append(run.metrics["return"])
    best = {env: max(float(np.mean(v)) for v in by_name.values()) for env, by_name in found.items()}
    both = {env: (float(np.mean(chance[env])), best[env]) for env in best if env in chance}
    return {env: (zero, one) for env, (zero, one) in both.items() if one > zero}


def with_normalised(runs: Iterable[RunRecord], by_task: Mapping[str | None, Scale]) -> Iterator[RunRecord]:
    """Add the returns on their task's scale to the metrics of finished fine-tuning runs."""
    for run in runs:
        if run.phase != "finetune" or run.env not in by_task:
            yield run
            continue
        zero, one = by_task[run.env]
        on_scale = {
            NORMALISED + name: (run.metrics[name] - zero) / (one - zero)
            for name in RAW
            if name in run.metrics
        }
        yield replace(run, metrics={**run.metrics, **on_scale})


@functools.lru_cache(maxsize=512)  # a report asks for a run's curve five times
def _curve(path: Path, _: object) -> tuple[np.ndarray, np.ndarray]:
    pairs = sorted((e["env_step"], e["return"]) for e in _json_lines(path) if e.get("return") is not None)
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    both.flags.writeable = False
    steps, values = both
    return steps, values


def _number(value: float | None) -> float:
    # null is how strict JSON spells NaN.
    return math.nan if value is None else float(value)


def _json_lines(path: Path, holding: str = "") -> Iterator[dict[str, float]]:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if holding not in line:
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise UserError(
                f"{path} is torn at line {number}: remove its run's folder and run again."
            ) from error
        yield row
