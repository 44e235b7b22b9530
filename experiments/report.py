"""The summary of a study, as data and as a table that fits 100 columns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expedition.errors import UserError
from experiments.anchors import CRAFTER_ANCHORS
from experiments.records import StudyRecord
from training.state_tree import publish_bytes, publish_json
from transfer.contributions import contributions
from transfer.statistics import estimate

WIDTH = 100


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: `scale` turns the stored value into the shown `unit`."""

    name: str
    label: str
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The label with an arrow in the direction that is better."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"


# Errors are stored as mean squared error per pixel of images on [0, 1] (per number, for vectors): shown times
# 1000, because 12.3 reads better than 0.0123.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("return", "return", "per episode"),
        Metric("crafter_score", "score", "Crafter, %"),
        Metric("achievements", "achievements", "unlocked"),
        Metric("open_loop_error_start", "error, start", "MSE x 1000", 1000, higher_is_better=False),
        Metric("open_loop_error_end", "error, end", "MSE x 1000", 1000, higher_is_better=False),
    )
}


def summarise(study: StudyRecord, wall_seconds: float | None = None) -> dict[str, Any]:
    """Return what the study found, over its finished runs, as plain values.

    Args:
        study: what was read from its folder; `study.missing()` says what the summary had to do without.
        wall_seconds: the study's own wall clock; without it, the runs' wall seconds are added up.

    Returns:
        `conditions` -> name -> metric -> {mean, iqm, low, high, n}, `contributions` -> name -> the same,
        `environment_steps`, `wall_seconds`, `command`, `version`. Errors keep their stored unit.

    Raises:
        UserError: no fine-tuning run is finished.
    """
    if not study.finetuning:
        raise UserError(
            f"No fine-tuning run of {study.folder} is finished: run the study again to resume it."
        )
    conditions: dict[str, dict[str, Any]] = {name: {} for name in study.conditions}
    gains: dict[str, dict[str, Any]] = {}
    for metric in dict.fromkeys((*METRICS, *study.suite_metrics)):
        values = study.values(metric)
        for condition, by_seed in values.items():
            conditions[condition][metric] = estimate(by_seed.values()).as_dict()
        for name, worth in contributions(values).items():
            gains.setdefault(name, {})[metric] = worth.as_dict()
    return {
        "conditions": conditions,
        "contributions": gains,
        "environment_steps": sum(run.env_step for run in study.runs),
        "wall_seconds": sum(run.wall_seconds for run in study.runs) if wall_seconds is None else wall_seconds,
        "command": study.command,
        "version": study.version,
    }


def write_report(study: StudyRecord, wall_seconds: float | None = None) -> str:
    """Write `summary.json` and `report.txt` into the study's folder and return the table.

    Raises:
        UserError: no fine-tuning run is finished, or the folder can't be written to.
    """
    summary = summarise(study, wall_seconds)
    table = format_table(summary, study.missing())
    publish_json(study.folder / "summary.json", summary)
    publish_bytes(study.folder / "report.txt", table.encode())
    return table


def format_table(summary: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """Return the summary as plain text: conditions, contributions, notes and the published results.

    Args:
        summary: what `summarise` returned.
        notes: sentences about what is missing.
    """
    conditions, gains = summary["conditions"], summary["contributions"]
    columns = shown_metrics(conditions)
    places = {metric.name: decimals(conditions, metric) for metric in columns}
    parts = [_head(summary)]
    parts.append(
        "After fine-tuning, for each condition:\n" + _block("condition", conditions, columns, places)
    )
    if gains:
        title = "What each carried part was worth, as differences between conditions paired by seed:"
        parts.append(f"{title}\n" + _block("contribution", gains, columns, places, signed=True))
    parts.append("\n".join([*_reading(conditions, gains, columns), *notes]))
    if any("crafter_score" in metrics for metrics in conditions.values()):
        parts.append(_anchors())
    return "\n\n".join(parts) + "\n"


def shown_metrics(conditions: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Return the metrics that any condition has: the known ones in their order, then the suite's own."""
    found = dict.fromkeys(name for metrics in conditions.values() for name in metrics)
    known = [metric for name, metric in METRICS.items() if name in found]
    return known + [Metric(name, name.replace("_", " ")) for name in found if name not in METRICS]


def decimals(conditions: Mapping[str, Mapping[str, Any]], metric: Metric) -> int:
    """Return how many decimals show three significant digits of a metric's largest mean, at most three."""
    means = [abs(m[metric.name]["mean"]) * metric.scale for m in conditions.values() if metric.name in m]
    largest = max(means, default=0.0)
    return 2 if largest == 0 else min(3, max(0, 2 - math.floor(math.log10(largest))))


def duration(seconds: float) -> str:
    """Return a wall time that a person can read: `8 min 12 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _head(summary: Mapping[str, Any]) -> str:
    steps, wall = summary["environment_steps"], duration(summary["wall_seconds"])
    return f"{summary['command']}\nexpedition {summary['version']}; {steps:,} environment steps in {wall}"


def _block(
    corner: str,
    rows: Mapping[str, Mapping[str, Any]],
    columns: Sequence[Metric],
    places: Mapping[str, int],
    signed: bool = False,
) -> str:
    seeds = {name: sorted({cell["n"] for cell in metrics.values()}) for name, metrics in rows.items()}
    table = [[corner, *rows], ["", *("" for _ in rows)]]
    cells = [
        [
            metric.title,
            metric.unit,
            *(_cell(m.get(metric.name), metric, places, signed) for m in rows.values()),
        ]
        for metric in columns
    ]
    cells.append(["seeds", "n", *("-".join(map(str, dict.fromkeys((n[0], n[-1])))) for n in seeds.values())])
    names = [table[0][0], "", *table[0][1:]]
    return "\n\n".join(_aligned([names, *group]) for group in _groups(names, cells))


def _cell(value: Mapping[str, Any] | None, metric: Metric, places: Mapping[str, int], signed: bool) -> str:
    if value is None:
        return "-"
    form = f"{{:{'+' if signed else ''}.{places[metric.name]}f}}"
    ends = ("mean",) if value["low"] is None else ("mean", "low", "high")
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    mean, *interval = (form.format(round(value[e] * metric.scale, places[metric.name]) + 0.0) for e in ends)
    return f"{mean} [{', '.join(interval)}]" if interval else mean


def _groups(names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Share columns out evenly over as few tables as keep within the width."""
    room = WIDTH - max(map(len, names))
    for tables in range(1, len(columns) + 1):
        size = math.ceil(len(columns) / tables)
        groups = [list(columns[i : i + size]) for i in range(0, len(columns), size)]
        if all(sum(max(map(len, column)) + 2 for column in group) <= room for group in groups):
            break
    return groups


def _aligned(columns: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(2, "-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join(lines)


def _reading(
    conditions: Mapping[str, Mapping[str, Any]],
    gains: Mapping[str, Mapping[str, Any]],
    columns: Sequence[Metric],
) -> list[str]:
    counts = {cell["n"] for rows in (conditions, gains) for row in rows.values() for cell in row.values()}
    lines = ["↑ higher is better, ↓ lower is better."]
    if any(metric.unit == "MSE x 1000" for metric in columns):
        lines.append(
            "Error: of open-loop prediction on held-out episodes, mean squared error per pixel on [0, 1];"
        )
        lines.append("a negative difference is a gain.")
    if max(counts, default=1) == 1:
        lines.append("One seed: no interval can be given; run with --seeds 3 or more to get one.")
    else:
        lines.append("Brackets: 95 % interval of the mean over seeds (Student's t).")
        if 1 in counts:
            lines.append("A value without brackets rests on one seed: no interval can be given for it.")
    return lines


def _anchors() -> str:
    rows = CRAFTER_ANCHORS
    returns = ["-" if anchor.episode_return is None else f"{anchor.episode_return:.1f}" for anchor in rows]
    numbers = [
        ["agent", "", *(anchor.agent for anchor in rows)],
        ["score ↑", "%", *(f"{anchor.score:.1f}" for anchor in rows)],
        ["return ↑", "", *returns],
        ["env. steps", "", *(anchor.budget for anchor in rows)],
        ["arXiv", "", *(anchor.arxiv for anchor in rows)],
    ]
    sources = ["source", "", "-" * 23, *(f"  {anchor.source}" for anchor in rows)]
    sources[0] = f"  {sources[0]}"
    table = zip(_aligned(numbers).splitlines(), sources, strict=True)
    width = max(map(len, _aligned(numbers).splitlines()))
    return "\n".join(
        [
            "PUBLISHED by others, not measured here (free: reward-free steps).",
            *(f"{line.ljust(width)}{source}".rstrip() for line, source in table),
            "A study at the quickstart's budget isn't comparable with them; they show the scale.",
        ]
    )
