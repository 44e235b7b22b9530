"""Which run came from which, and in which settings conditions differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.reporting.records import StudyRecord
from experiments.reporting.report import duration
from experiments.reporting.runs import RunRecord
from experiments.settings import flattened

MARKS = {"finished": "■", "failed": "✕", "not started": "□"}
"""How a run's state is drawn; any other is under way, or was stopped."""
UNDER_WAY = "◧"
NOTHING = "nothing was explored"
_OWN = re.compile(r"seed|phase|program|transfer\.source.*|data\..*")
"""Settings that are each run's own, or that say what the table's columns say."""


@dataclass(frozen=True)
class Mark:
    """One run in the graph. Attributes: run: its id. state, symbol: how it stands. told: in words."""

    run: str
    state: str
    symbol: str
    told: str


@dataclass(frozen=True)
class Node:
    """Runs that differ by seed and task alone.

    Attributes:
        name: the explorer or the condition.
        marks: its runs.
        children: the conditions that carry from them.
    """

    name: str
    marks: tuple[Mark, ...]
    children: tuple[Node, ...] = ()


def run_graph(study: StudyRecord) -> list[Node]:
    """Return explorers with the conditions that carry from them, and last those that carry nothing.

    Those that learned from replays tell whose.
    """
    explorer = {run.id: name for name, runs in study.explorers().items() for run in runs}
    below: dict[str, dict[str, list[RunRecord]]] = {name: {} for name in study.explorers()}
    for run in study.runs:
        if run.phase == "finetune":
            above = explorer.get(run.needs or "", NOTHING)
            below.setdefault(above, {}).setdefault(str(run.condition), []).append(run)
    return [
        Node(
            _with_sources(name, study, explorer),
            _marks(study, study.explorers().get(name, [])),
            tuple(Node(condition, _marks(study, runs)) for condition, runs in conditions.items()),
        )
        for name, conditions in below.items()
    ]


def _with_sources(name: str, study: StudyRecord, explorer: Mapping[str, str]) -> str:
    """The name of explorers, and whose replays they learned from."""
    found = dict.fromkeys(
        explorer.get(source, source) for run in study.explorers().get(name, []) for source in run.data
    )
    return f"{name}: {'; '.join(found)}" if found else name


def state_of(study: StudyRecord, run: RunRecord) -> str:
    """Return a run's state; `failed` where the study says that it failed."""
    return "failed" if not run.finished and run.id in study.failed else run.state


def _marks(study: StudyRecord, runs: Iterable[RunRecord]) -> tuple[Mark, ...]:
    marks = []
    for run in runs:
        state = state_of(study, run)
        why = f" ({study.failed[run.id]})" if state == "failed" else ""
        told = f"{run.id}: {state}{why}"
        if run.env_step:
            told += f", {run.env_step:,} steps in {duration(run.wall_seconds)}"
        marks.append(Mark(run.id, state, MARKS.get(state, UNDER_WAY), told))
    return tuple(marks)


@dataclass(frozen=True)
class Differences:
    """Settings that are not the same in all groups.

    Attributes:
        groups: the columns.
        rows: setting -> its value in each group, as text; None where a group has no such setting.
    """

    groups: tuple[str, ...]
    rows: Mapping[str, tuple[str | None, ...]]


def differences(groups: Mapping[str, Iterable[RunRecord]], several_tasks: bool) -> Differences:
    """Return in which settings groups of runs differ.

    Args:
        groups: name -> runs; those that have not begun tell nothing.
        several_tasks: whether each group has runs in several environments, which are then no difference.
    """
    found = {name: _settings(runs) for name, runs in groups.items()}
    found = {name: values for name, values in found.items() if values}
    names = dict.fromkeys(key for values in found.values() for key in values)
    rows = {name: tuple(values.get(name) for values in found.values()) for name in names}
    rows = {name: row for name, row in rows.items() if len(set(row)) > 1}
    if several_tasks:
        rows.pop("env", None)
    return Differences(tuple(found), rows)


def _settings(runs: Iterable[RunRecord]) -> dict[str, str]:
    """What a group's runs are set to; where they differ among themselves, all of it."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, value in flattened(run.config()).items():
            if not _OWN.fullmatch(name):
                values.setdefault(name, {})[_told(value)] = None
    return {name: " or ".join(told) for name, told in values.items()}


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(_told, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
