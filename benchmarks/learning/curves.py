"""Returns of training episodes over a run: windows, whether they were kept, a table and a figure.

An episode is `step` (environment steps when it ended), `cpu` (CPU-seconds) and `return`. A run is its `seed`
and its `episodes`; a side is its runs, one a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WINDOWS = 10
"""Windows of equal numbers of steps that a run is cut into."""
Line = dict[str, float]
Sides = Mapping[str, Sequence[Mapping[str, Any]]]


def window_means(episodes: Sequence[Mapping[str, float]], steps: int) -> list[Line]:
    """Mean return of the episodes that ended in each window, with the CPU-seconds at its end.

    Windows in which no episode ended are left out.
    """
    found = []
    for end in np.linspace(0, steps, WINDOWS + 1)[1:]:
        inside = [one for one in episodes if end - steps / WINDOWS < one["step"] <= end]
        if inside:
            mean = float(np.mean([one["return"] for one in inside]))
            line = {"step": float(end), "return": mean, "episodes": float(len(inside))}
            found.append({**line, "cpu": inside[-1]["cpu"]})
    return found


def holding(curve: Sequence[Line]) -> Line:
    """What a run learned, and what it kept of that, from its windows (one at least).

    `learned` is its best window, the earlier of equals; `kept` the worst one after that, or the best itself
    where nothing comes after; `last` its last window.
    """
    returns = [line["return"] for line in curve]
    best = int(np.argmax(returns))
    return {
        "learned": returns[best],
        "kept": min(returns[best + 1 :], default=returns[best]),
        "last": returns[-1],
    }


def over_seeds(curves: Sequence[Sequence[Line]]) -> list[Line]:
    """Mean, lowest and highest return over seeds by window, of the seeds that have it."""
    found = []
    for step in sorted({line["step"] for curve in curves for line in curve}):
        lines = [line for curve in curves for line in curve if line["step"] == step]
        cpu = float(np.mean([line["cpu"] for line in lines]))
        found.append({"step": step, **spread([line["return"] for line in lines]), "cpu": cpu})
    return found


def spread(values: Sequence[float]) -> Line:
    """Mean, lowest and highest."""
    return {"return": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}


def table(sides: Sides, steps: int) -> str:
    """Return and CPU-seconds of each side by environment steps; below, what was learned and kept.

    Numbers are means over seeds, with the lowest and the highest seed in brackets where there are several.
    """
    curves = {name: [window_means(run["episodes"], steps) for run in runs] for name, runs in sides.items()}
    rows = {name: {line["step"]: line for line in over_seeds(each)} for name, each in curves.items()}
    lines = [f"{'steps':>8}" + "".join(f"{name:>30}{'CPU-s':>9}" for name in sides)]
    for step in sorted({step for side in rows.values() for step in side}):
        lines.append(f"{step:8.0f}" + "".join(_cell(side.get(step)) for side in rows.values()))
    held = {name: [holding(curve) for curve in each if curve] for name, each in curves.items()}
    for measure in ("learned", "kept", "last"):
        cells = [spread([one[measure] for one in seeds]) if seeds else None for seeds in held.values()]
        lines.append(f"{measure:>8}" + "".join(_cell(cell) for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _cell(line: Line | None) -> str:
    if line is None:
        return f"{'-':>30}" + " " * 9
    told = f"{line['return']:.2f}"
    if line["low"] < line["high"]:
        told += f" [{line['low']:.2f}, {line['high']:.2f}]"
    return f"{told:>30}" + (f"{line['cpu']:9.1f}" if "cpu" in line else " " * 9)


def draw(sides: Sides, steps: int, title: str, path: Path) -> None:
    """Each side's mean over seeds as a line, its seeds as thin ones, by environment steps and CPU-seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    labels = {"step": "environment steps", "cpu": "CPU-seconds"}
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), labels.items(), strict=True):
        for number, (name, runs) in enumerate(sides.items()):
            curves = [window_means(run["episodes"], steps) for run in runs]
            for curve in curves if len(curves) > 1 else []:
                axes.plot(*_points(curve, key), color=f"C{number}", alpha=0.35, linewidth=0.8)
            axes.plot(*_points(over_seeds(curves), key), color=f"C{number}", marker="o", label=name)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("return of training episodes")
    figure.axes[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _points(curve: Sequence[Line], key: str) -> tuple[list[float], list[float]]:
    return [line[key] for line in curve], [line["return"] for line in curve]
