"""Reading a study's folder into records that the report and the figure are made from."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from expedition.errors import UserError
from experiments.reporting.metrics import NORMALISED
from experiments.reporting.runs import (
    ANEW,
    RANDOM,
    RunRecord,
    Scale,
    read_run,
    scales,
    with_learning,
    with_normalised,
)
from experiments.studies.conditions import Contrast, Question, usual_question
from experiments.studies.runs import told_replays
from training.storage.folder import read_json
from transfer.contributions import Curve, Factorial, default_factorial
from transfer.statistics import Value

RARE = 5.0
"""Percent of episodes: where no condition solves as many, success tells nothing apart."""
CONTRAST = ("label", "better", "baseline", "task", "less_on")
"""What study.json says of a contrast, beside `less`."""


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
        question: what is answered first; None where nothing is compared.
        curve: factorials over what is varied; None where nothing is.
        scales: with several tasks, the returns of each that count as 0 and 1; see `scales`.
        wall_seconds: how long the study took, all its sittings together; None where it wasn't noted.
        failed: id of a run that failed -> why.
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
    question: Question | None = None
    curve: Curve | None = None
    scales: Mapping[str | None, Scale] = field(default_factory=dict)
    wall_seconds: float | None = None
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str | None, ...]:
        """Environments of phase 2, in order; their values stand side by side."""
        return tuple(dict.fromkeys(run.env for run in self.runs if run.phase == "finetune"))

    @property
    def score(self) -> str:
        """The measure of the final policy that counts: its return.

        Over several tasks success, where every run has it and some condition any to speak of, or else the
        returns normalised by task.
        """
        if len(self.tasks) < 2:
            return "return"
        rates: dict[str | None, list[float]] = {}
        for run in self.finetuning:
            rates.setdefault(run.condition, []).append(run.metrics.get("success_rate", math.nan))
        best = max((float(np.mean(rate)) for rate in rates.values()), default=0.0)
        told = not any(math.isnan(rate) for each in rates.values() for rate in each)
        return "success_rate" if told and best >= RARE else "normalised_return"

    @property
    def observed(self) -> tuple[str, ...]:
        """Kinds of observations that the fine-tuning runs had."""
        return tuple(dict.fromkeys(kind for run in self.finetuning for kind in run.observed))

    @property
    def finetuning(self) -> tuple[RunRecord, ...]:
        """The finished fine-tuning runs."""
        return tuple(run for run in self.runs if run.phase == "finetune" and run.finished)

    @property
    def steps(self) -> int:
        """Environment steps of most fine-tuning runs that learn: a control may have had more."""
        return statistics.median_high([run.env_step for run in self.finetuning if run.learns] or [0])

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions with a finished run: the factorial's first, in its order, then the others."""
        found = [run.condition for run in self.finetuning if run.condition is not None]
        cells = [self.factorial.cells.get(carried) for carried in self.factorial.subsets()]
        return tuple(dict.fromkeys([*(name for name in cells if name in found and name is not None), *found]))

    @property
    def drawn(self) -> tuple[str, ...]:
        """The conditions that figures draw one by one: where a curve has many, the factorial's and others."""
        points = () if self.curve is None else self.curve.factorials.values()
        dosed = {name for point in points for name in point.cells.values()}
        return tuple(n for n in self.conditions if n not in dosed - {*self.factorial.cells.values()})

    def of(self, condition: str) -> tuple[RunRecord, ...]:
        """Return the finished runs of a condition by seed."""
        return tuple(sorted((r for r in self.finetuning if r.condition == condition), key=lambda r: r.seed))

    def values(self, metric: str) -> dict[str, dict[int, Value]]:
        """Return condition -> seed -> value of a metric, over the finished runs that have it.

        With several tasks a value is an array (tasks,), and a seed must have them all; of normalised returns
        those tasks that have a scale.
        """
        tasks: Sequence[str | None] = self.tasks
        if metric.startswith(NORMALISED):
            tasks = [task for task in tasks if task in self.scales]
        return _table({name: self.of(name) for name in self.conditions}, metric, tasks)

    def values_on(self, task: str | None, metric: str) -> dict[str, dict[int, Value]]:
        """Return the same of one task alone."""
        runs = {name: [run for run in self.of(name) if run.env == task] for name in self.conditions}
        return _table(runs, metric)

    def explored(self, metric: str) -> dict[str, dict[int, Value]]:
        """Return the same of the pre-training runs that the conditions carry from."""
        by_id = {run.id: run for run in self.runs if run.phase == "pretrain" and run.finished}
        groups: dict[str, list[RunRecord]] = {}
        for run in self.runs:
            if run.condition is not None and run.needs in by_id:
                groups.setdefault(run.condition, []).append(by_id[run.needs])
        return _table(groups, metric)

    def pretraining(self, metric: str) -> dict[str, dict[int, Value]]:
        """Return the same for phase 1, by what explored."""
        finished = {name: [r for r in runs if r.finished] for name, runs in self.explorers().items()}
        return _table(finished, metric)

    def explorers(self) -> dict[str, list[RunRecord]]:
        """Return all runs of phase 1 by what told them apart, such as `disagreement, model-based`.

        That is reward, kind of agent and, where they differ in it, environment, steps and seed; of those that
        learned from replays also a condition that carries from them.
        """
        groups: dict[str, list[RunRecord]] = {}
        runs = [run for run in self.runs if run.phase == "pretrain"]
        where = told_apart([run.env or "" for run in runs])
        lengths = len({run.planned for run in runs if not run.data}) > 1
        for run in runs:
            own = None if run.predicts == "reconstruction" else run.predicts
            steps = f"{run.planned:,} steps" if lengths and run.planned else None
            seed = f"seed + {run.shift:,}" if run.shift else None
            parts = (run.intrinsic, run.kind, own, where[run.env or ""], steps, seed, self._learned_from(run))
            groups.setdefault(", ".join(part for part in parts if part) or "pretrain", []).append(run)
        return groups

    def _learned_from(self, run: RunRecord) -> str | None:
        """How many replays a run learned from, and the first condition that carries from it."""
        if not run.data:
            return None
        carrying = next((str(other.condition) for other in self.runs if other.needs == run.id), "nobody")
        return f"from {told_replays(len(run.data))} ({carrying})"

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
            if "auc" not in run.metrics and run.learns
        ]
        return [*absent, *undefined, *silent, *self._unscaled(), *self._unmatched()]

    def _unscaled(self) -> Iterator[str]:
        if len(self.tasks) > 1:
            for task in self.tasks:
                if task not in self.scales:
                    yield f"No condition does better than the random policy on {task}: not normalised."

    def _unmatched(self) -> Iterator[str]:
        planned = {run.condition for run in self.runs}
        for contrast in self.contrasts:
            names = [f"'{name}'" for name in contrast.named if name not in planned]
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
    head = read_json(folder / "study.json", ANEW)
    try:
        factorial = _read_factorial(head)
        runs = list(with_learning([read_run(folder, e) for e in head["runs"]], factorial.baseline))
        tasks = {run.env for run in runs if run.phase == "finetune"}
        by_task = scales(runs) if len(tasks) > 1 else {}
        contrasts = _read_contrasts(head, factorial.baseline)
        return StudyRecord(
            name=str(head["name"]),
            folder=folder,
            command=str(head["command"]),
            version=str(head["version"]),
            seeds=tuple(int(seed) for seed in head["seeds"]),
            environment=str(head["environment"]),
            suite_metrics=tuple(map(str, head.get("suite_metrics", ()))),
            runs=tuple(with_normalised(runs, by_task)),
            factorial=factorial,
            contrasts=contrasts,
            question=_read_question(head, contrasts),
            curve=Curve.named(**head["curve"]) if head.get("curve") else None,
            scales=by_task,
            wall_seconds=head.get("wall_seconds"),
            failed={str(run): str(why) for run, why in (head.get("failed") or {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder} isn't a study of this version of Expedition ({_reason(error)}): run the study again."
        ) from error


def _read_factorial(head: Mapping[str, Any]) -> Factorial:
    if head.get("factorial") is None:
        conditions = {e["condition"] for e in head["runs"] if e["condition"] is not None}
        return default_factorial(conditions).of(conditions)
    given = head["factorial"]
    return Factorial.named(map(str, given["components"]), {str(k): str(v) for k, v in given["cells"].items()})


def told_apart(envs: Iterable[str]) -> dict[str, str]:
    """Return each environment's id without the parts that all of them have: `num_levels=3`."""
    parts = {env: env.split(",") for env in envs}
    shared = set.intersection(*map(set, parts.values())) if parts else set()
    return {env: ",".join(part for part in own if part not in shared) for env, own in parts.items()}


def _text(value: Any) -> Any:
    return None if value is None else str(value)


def _read_contrasts(head: Mapping[str, Any], baseline: str | None) -> tuple[Contrast, ...]:
    """Return the study's own contrasts, or else each condition over the one that carries nothing."""
    if head.get("contrasts") is not None:
        return tuple(
            Contrast(**{key: _text(c.get(key)) for key in CONTRAST}, less=tuple(map(str, c.get("less", ()))))
            for c in head["contrasts"]
        )
    names = dict.fromkeys(
        str(e["condition"]) for e in head["runs"] if e["condition"] is not None and e.get("kind") != RANDOM
    )
    if baseline not in names:
        return ()
    return tuple(Contrast(f"{name} over {baseline}", name, baseline) for name in names if name != baseline)


def _read_question(head: Mapping[str, Any], contrasts: Iterable[Contrast]) -> Question | None:
    """Return the study's own question, or else the usual one."""
    if head.get("question") is not None:
        return Question(**head["question"])
    return usual_question([str(e["condition"]) for e in head["runs"]], contrasts)


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


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
