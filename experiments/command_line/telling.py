"""What a command prints of a run: a few lines that a person reads; the rest lies in the run's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.reporting.metrics import METRICS, PRETRAINING
from transfer.data.export import Exported

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


def told_export(dataset: str, exported: Exported) -> str:
    """What a dataset holds, and what is not whole in it."""
    lines = {
        "episodes": f"{exported.episodes:,}",
        "steps": f"{exported.steps:,}",
        "begun amid": f"{exported.begun_amid:,} episodes whose beginning the replay no longer held",
        "cut": f"{exported.cut:,} episodes that were still running",
        "left out": f"{exported.left_out:,} rows without a step",
    }
    return _aligned({**lines, "dataset": f"minari.load_dataset({dataset!r})"})


def _aligned(lines: Mapping[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())
