"""What a command prints of a run: a few lines that a person reads; the rest lies in the run's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents import AgentConfig
from experiments.reporting.metrics import METRICS, PRETRAINING
from experiments.settings import flattened
from experiments.study import PlannedRun
from training import to_dict

SHOWN = tuple(dict.fromkeys([*METRICS, *PRETRAINING]))
"""What a report shows, in its order; a run has some of them."""


def told_result(result: Mapping[str, Any], folder: Path) -> str:
    """The measures of a finished run that a report shows too, and where the others are."""
    metrics = result["metrics"]
    lines = {name: f"{metrics[name]:.4g}" for name in SHOWN if metrics.get(name) is not None}
    if len(lines) < len(metrics):
        lines["more"] = f"{len(metrics) - len(lines)} in the folder's result.json"
    return _aligned({**lines, "folder": str(folder)})


def told_evaluation(summary: Mapping[str, float]) -> str:
    """Measures of the whole; those of one achievement or task each are counted, not shown."""
    lines = {name: f"{value:.4g}" for name, value in summary.items() if "/" not in name}
    left = len(summary) - len(lines)
    return _aligned(lines) + (
        f"\nWith --json also the {left} of one achievement or task each." if left else ""
    )


def told_phase_2(explorer: AgentConfig, learner: AgentConfig) -> str:
    """Settings of the agent in phase 2 that are not those of phase 1, in a line; empty where all are."""
    there, here = (flattened(to_dict(agent)) for agent in (explorer, learner))
    own = [f"{name} {here[name]} ({there.get(name)})" for name in here if here[name] != there.get(name)]
    return f"Phase 2 sets for itself (phase 1 had): {', '.join(own)}" if own else ""


def _aligned(lines: Mapping[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def told_runs(runs: Sequence[PlannedRun]) -> list[str]:
    """Say what will be run, a line for all seeds of a condition on a task."""
    by_id = {run.id: run for run in runs}
    groups: dict[str, list[int]] = {}
    for run in runs:
        steps = f"{run.config.steps:,} steps" if run.config.steps else "only evaluated"
        after = f", after {by_id[run.needs].kind}" if run.needs else ""
        groups.setdefault(f"{run.kind}: {run.config.env}, {steps}{after}", []).append(run.seed)
    return [f"{told}; seed{'s' * (len(seeds) > 1)} {_span(seeds)}" for told, seeds in groups.items()]


def _span(seeds: Sequence[int]) -> str:
    first, last = min(seeds), max(seeds)
    return str(first) if first == last else f"{first} to {last}"
