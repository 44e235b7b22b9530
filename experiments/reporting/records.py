"""Reading a study's folder into records that the report and the figure are made from."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from expedition.errors import UserError
from experiments.reporting.curves import area, first_passage, smoothed
from experiments.study import Contrast
from training.storage.folder import read_json
from transfer.contributions import Factorial, default_factorial
from transfer.statistics import Value

_ANEW = "run the study again to write it anew"


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
        undefined: metrics that came out as NaN or infinite.
        finished: whether it ended and left a result.
        intrinsic: what phase 1 was rewarded with, where the study says so.
        kind: the kind of agent, where the study says so.
        env: the environment, where the study says so.
        needs: id of the pre-training run that it carries from.
        censored: whether it never reached scratch's final return, so that its `steps_saved` is a bound.
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
    undefined: tuple[str, ...] = ()
    finished: bool = False
    intrinsic: str | None = None
    kind: str | None = None
    env: str | None = None
    needs: str | None = None
    censored: bool = False

    def episodes(self) -> list[dict[str, float]]:
        """Return the training episodes in order; a last line that is still being written is left out."""
        return list(_json_lines(self.folder / "episodes.jsonl"))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return when each training episode ended, in environment steps, and its return: (n,) and (n,)."""
        pairs = sorted((e["env_step"], e["return"]) for e in self.episodes() if e.get("return") is not None)
        steps, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return steps, values

    def film(self, moment: str) -> Path | None:
        """Return the film strip of open-loop prediction at `start` or `end`, where there is one."""
        path = self.folder / "media" / f"open_loop_{moment}.png"
        return path if path.is_file() else None


@dataclass(frozen=True)
class StudyRecord:
    """A study and its runs.

    Attributes:
        name: the study's name.
        folder: where it lies.
        command: the command that made it.
        version: the version of Expedition that made it.
        seeds: the paired seeds.
        environment: where the agents acted.
        suite_metrics: metrics that only this suite has.
        runs: all planned runs, finished or not.
        factorial: which condition carries which components.
        contrasts: pairs of conditions to compare.
        wall_seconds: how long the study took, all its sittings together; None where it wasn't noted.
    """

    name: str
    folder: Path
    command: str
    version: str
    seeds: tuple[int, ...]
    environment: str
    suite_metrics: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    factorial: Factorial
    contrasts: tuple[Contrast, ...]
    wall_seconds: float | None = None

    @property
    def tasks(self) -> tuple[str | None, ...]:
        """Environments of phase 2, in order; their values stand side by side."""
        return tuple(dict.fromkeys(run.env for run in self.runs if run.phase == "finetune"))

    @property
    def finetuning(self) -> tuple[RunRecord, ...]:
        """The finished fine-tuning runs."""
        return tuple(run for run in self.runs if run.phase == "finetune" and run.finished)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions with a finished run: the factorial's first, in its order, then the others."""
        found = [run.condition for run in self.finetuning if run.condition is not None]
        cells = [self.factorial.cells.get(carried) for carried in self.factorial.subsets()]
        return tuple(dict.fromkeys([*(name for name in cells if name in found and name is not None), *found]))

    def of(self, condition: str) -> tuple[RunRecord, ...]:
        """Return the finished runs of a condition by seed."""
        return tuple(sorted((r for r in self.finetuning if r.condition == condition), key=lambda r: r.seed))

    def values(self, metric: str) -> dict[str, dict[int, Value]]:
        """Return condition -> seed -> value of a metric, over the finished runs that have it.

        With several tasks a value is an array (tasks,), and a seed must have them all.
        """
        return _table({name: self.of(name) for name in self.conditions}, metric, self.tasks)

    def explored(self, metric: str) -> dict[str, dict[int, Value]]:
        """Return the same of the pre-training runs that the conditions carry from."""
        by_id = {run.id: run for run in self.runs if run.phase == "pretrain" and run.finished}
        groups: dict[str, list[RunRecord]] = {}
        for run in self.runs:
            if run.condition is not None and run.needs in by_id:
                groups.setdefault(run.condition, []).append(by_id[run.needs])
        return _table(groups, metric)

    def pretraining(self, metric: str) -> dict[str, dict[int, Value]]:
        """Return the same for phase 1, by reward and kind of agent, such as `disagreement, dreamer`."""
        groups: dict[str, list[RunRecord]] = {}
        for run in self.runs:
            if run.phase == "pretrain" and run.finished:
                name = ", ".join(part for part in (run.intrinsic, run.kind) if part) or "pretrain"
                groups.setdefault(name, []).append(run)
        return _table(groups, metric)

    def missing(self) -> list[str]:
        """Return one sentence for each thing that the report has to do without."""
        absent = [
            f"Run {run.id} is {run.state}: not in this report." for run in self.runs if not run.finished
        ]
        undefined = [
            f"Run {run.id} has no finite {', '.join(run.undefined)}: left out of the estimates."
            for run in self.finetuning
            if run.undefined
        ]
        silent = [
            f"Run {run.id} ended no training episode: it has no area and no steps saved."
            for run in self.finetuning
            if "auc" not in run.metrics
        ]
        return [*absent, *undefined, *silent, *self._unmatched()]

    def _unmatched(self) -> Iterator[str]:
        planned = {run.condition for run in self.runs}
        for contrast in self.contrasts:
            names = [f"'{name}'" for name in contrast.conditions if name not in planned]
            if names:
                yield f"Contrast '{contrast.label}' is left out: the study has no {' and '.join(names)}."


def read_study(folder: Path | str) -> StudyRecord:
    """Read a study's folder.

    Raises:
        UserError: there is no such study, or its files are torn or not ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no study at {folder}: give the folder that `expedition study` wrote.")
    if not (folder / "study.json").is_file():
        raise UserError(f"{folder} holds no study.json: give the folder that `expedition study` wrote.")
    head = read_json(folder / "study.json", _ANEW)
    try:
        factorial = _read_factorial(head)
        runs = [_read_run(folder, entry) for entry in head["runs"]]
        return StudyRecord(
            name=str(head["name"]),
            folder=folder,
            command=str(head["command"]),
            version=str(head["version"]),
            seeds=tuple(int(seed) for seed in head["seeds"]),
            environment=str(head["environment"]),
            suite_metrics=tuple(map(str, head.get("suite_metrics", ()))),
            runs=tuple(_with_learning(runs, factorial.baseline)),
            factorial=factorial,
            contrasts=_read_contrasts(head, factorial.baseline),
            wall_seconds=head.get("wall_seconds"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder} isn't a study of this version of Expedition ({_reason(error)}): run the study again."
        ) from error


def _read_run(study: Path, entry: Mapping[str, Any]) -> RunRecord:
    folder = study / entry["id"]
    condition = None if entry["condition"] is None else str(entry["condition"])
    fixed = (str(entry["id"]), str(entry["phase"]), condition, int(entry["seed"]), folder)
    said: dict[str, Any] = {
        key: str(entry[key]) for key in ("intrinsic", "kind", "env", "needs") if entry.get(key)
    }
    if not (folder / "status.json").is_file():
        return RunRecord(*fixed, **said)
    status = read_json(folder / "status.json", _ANEW)
    state, step = str(status["state"]), int(status.get("env_step", 0))
    wall_seconds = float(status.get("wall_seconds", 0.0))
    if state != "finished" or not (folder / "result.json").is_file():
        state = "finished without a result" if state == "finished" else state
        return RunRecord(*fixed, state=state, env_step=step, wall_seconds=wall_seconds, **said)
    result = read_json(folder / "result.json", _ANEW)
    metrics = {str(name): _number(value) for name, value in result["metrics"].items()}
    return RunRecord(
        *fixed,
        state=state,
        env_step=int(result.get("environment_steps", step)),
        wall_seconds=float(result.get("wall_seconds", wall_seconds)),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        success={str(name): float(rate) for name, rate in (result.get("success") or {}).items()},
        open_loop_start=tuple(map(_number, result.get("open_loop_by_horizon_start") or ())),
        open_loop_end=tuple(map(_number, result.get("open_loop_by_horizon_end") or ())),
        undefined=tuple(name for name, value in metrics.items() if not math.isfinite(value)),
        finished=True,
        **said,
    )


def _read_factorial(head: Mapping[str, Any]) -> Factorial:
    if head.get("factorial") is None:
        return default_factorial(e["condition"] for e in head["runs"] if e["condition"] is not None)
    given = head["factorial"]
    return Factorial.named(map(str, given["components"]), {str(k): str(v) for k, v in given["cells"].items()})


def _read_contrasts(head: Mapping[str, Any], baseline: str | None) -> tuple[Contrast, ...]:
    """Return the study's own contrasts, or else each condition over the one that carries nothing."""
    if head.get("contrasts") is not None:
        return tuple(
            Contrast(str(c["label"]), str(c["better"]), str(c["baseline"])) for c in head["contrasts"]
        )
    names = dict.fromkeys(str(e["condition"]) for e in head["runs"] if e["condition"] is not None)
    if baseline not in names:
        return ()
    return tuple(Contrast(f"{name} over {baseline}", name, baseline) for name in names if name != baseline)


def _with_learning(runs: Sequence[RunRecord], baseline: str | None) -> Iterator[RunRecord]:
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


def _table(
    groups: Mapping[str, Iterable[RunRecord]], metric: str, tasks: Sequence[str | None] = ()
) -> dict[str, dict[int, Value]]:
    table: dict[str, dict[int, Value]] = {}
    for name, runs in groups.items():
        found = {(run.seed, run.env): run.metrics[metric] for run in runs if metric in run.metrics}
        seeds = dict.fromkeys(seed for seed, _ in found)
        if len(tasks) > 1:
            whole = [seed for seed in seeds if all((seed, task) in found for task in tasks)]
            table[name] = {seed: np.array([found[seed, task] for task in tasks]) for seed in whole}
        else:
            table[name] = {seed: value for (seed, _), value in found.items()}
    return {name: by_seed for name, by_seed in table.items() if by_seed}


def _number(value: float | None) -> float:
    # null is how strict JSON spells NaN.
    return math.nan if value is None else float(value)


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]


def _json_lines(path: Path) -> Iterator[dict[str, float]]:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise UserError(
                f"{path} is torn at line {number}: remove its run's folder and run again."
            ) from error
        yield row
