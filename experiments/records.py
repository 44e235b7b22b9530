"""Reading a study's folder into records that the report and the figure are made from."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expedition.errors import UserError
from training.folder import read_json

_ANEW = "run the study again to write it anew"
FACTORIAL = ("scratch", "policy", "model", "model+policy")


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

    def episodes(self) -> list[dict[str, float]]:
        """Return the training episodes in order; a last line that is still being written is left out."""
        return list(_json_lines(self.folder / "episodes.jsonl"))

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
    wall_seconds: float | None = None

    @property
    def finetuning(self) -> tuple[RunRecord, ...]:
        """The finished fine-tuning runs."""
        return tuple(run for run in self.runs if run.phase == "finetune" and run.finished)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions with a finished run: the factorial's first, in its order, then the others."""
        found = [run.condition for run in self.finetuning if run.condition is not None]
        ordered = [name for name in FACTORIAL if name in found] + [n for n in found if n not in FACTORIAL]
        return tuple(dict.fromkeys(ordered))

    def of(self, condition: str) -> tuple[RunRecord, ...]:
        """Return the finished runs of a condition by seed."""
        return tuple(sorted((r for r in self.finetuning if r.condition == condition), key=lambda r: r.seed))

    def values(self, metric: str) -> dict[str, dict[int, float]]:
        """Return condition -> seed -> value of a metric, over the finished runs that have it."""
        table = {
            name: {run.seed: run.metrics[metric] for run in self.of(name) if metric in run.metrics}
            for name in self.conditions
        }
        return {name: by_seed for name, by_seed in table.items() if by_seed}

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
        return absent + undefined


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
        return StudyRecord(
            name=str(head["name"]),
            folder=folder,
            command=str(head["command"]),
            version=str(head["version"]),
            seeds=tuple(int(seed) for seed in head["seeds"]),
            environment=str(head["environment"]),
            suite_metrics=tuple(map(str, head.get("suite_metrics", ()))),
            runs=tuple(_read_run(folder, entry) for entry in head["runs"]),
            wall_seconds=head.get("wall_seconds"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder} isn't a study of this version of Expedition ({_reason(error)}): run the study again."
        ) from error


def _read_run(study: Path, entry: Mapping[str, Any]) -> RunRecord:
    folder = study / entry["id"]
    condition = None if entry["condition"] is None else str(entry["condition"])
    fixed = (str(entry["id"]), str(entry["phase"]), condition, int(entry["seed"]), folder)
    if not (folder / "status.json").is_file():
        return RunRecord(*fixed)
    status = read_json(folder / "status.json", _ANEW)
    state, step = str(status["state"]), int(status.get("env_step", 0))
    wall_seconds = float(status.get("wall_seconds", 0.0))
    if state != "finished" or not (folder / "result.json").is_file():
        state = "finished without a result" if state == "finished" else state
        return RunRecord(*fixed, state=state, env_step=step, wall_seconds=wall_seconds)
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
    )


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
