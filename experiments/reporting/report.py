"""The report of a study: files of its summary, and a table that fits 100 columns."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from experiments.reporting.anchors import CRAFTER_ANCHORS
from experiments.reporting.answer import in_lines
from experiments.reporting.metrics import (
    METRICS,
    NORMALISED,
    PRETRAINING,
    RAW,
    Metric,
    error_unit,
    metric_of,
    searches,
)
from experiments.reporting.planning import comparisons
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import DECODER, PROBE
from experiments.reporting.summary import contributions_csv, summarise
from training.storage.state_tree import publish_bytes, publish_json
from transfer.contributions import told_value
from transfer.statistics import MIN_SEEDS, MIN_SEEDS_PROBABILITY

WIDTH = 100
ODDS = (
    *("return", "normalised_return", "success_rate"),
    *("auc", "normalised_auc", "steps_saved", "crafter_score"),
)
"""Measures whose probability of improvement is printed; all of them are in summary.json."""


def write_report(study: StudyRecord, wall_seconds: float | None = None) -> dict[str, Any]:
    """Write `summary.json`, `contributions.csv` and `report.txt` into the study's folder.

    Returns:
        The summary.

    Raises:
        UserError: no fine-tuning run is finished, or the folder can't be written to.
    """
    summary = summarise(study, wall_seconds)
    publish_json(study.folder / "summary.json", summary)
    publish_bytes(study.folder / "contributions.csv", contributions_csv(study, summary).encode())
    publish_bytes(study.folder / "report.txt", format_table(summary).encode())
    return summary


def format_table(summary: Mapping[str, Any]) -> str:
    """Return the summary as plain text: the answer, tables that fit the width, published results last.

    Args:
        summary: what `summarise` returned.
    """
    conditions, gains = summary["conditions"], shown_effects(summary["contributions"])
    columns = shown_metrics(conditions)
    places = {metric.name: decimals(conditions, metric) for metric in columns}
    parts = ["\n".join(in_lines(summary["answer"]["sentence"], WIDTH)), _head(summary)]
    parts.append("After fine-tuning, for each condition:\n" + block("condition", conditions, columns, places))
    parts += _by_task(summary["tasks"])
    if gains:
        title = "What each carried part was worth, as differences between conditions paired by seed:"
        parts.append(f"{title}\n" + block("contribution", gains, columns, places, signed=True))
    points = curve_rows(summary["curve"])
    if points:
        title = f"What was carried was worth, over {summary['curve']['over']}:"
        parts.append(f"{title}\n" + block("contribution", points, columns, places, signed=True))
    contrasts = summary["contrasts"]
    if contrasts:
        parts += _contrasts(contrasts, columns, places, own=not _is_default(summary))
    if summary["planning"]:
        parts.append(_planning(summary["planning"]))
    if summary["pretraining"]:
        parts += _pretraining(summary["pretraining"], summary["pretraining_contrasts"])
    notes = [textwrap.fill(note, WIDTH) for note in summary["notes"]]
    reading = _reading(conditions, gains, contrasts, columns, summary["observed"])
    parts.append("\n".join([*reading, *notes]))
    if any("crafter_score" in metrics for metrics in conditions.values()):
        parts.append(_anchors())
    return "\n\n".join(parts) + "\n"


def _by_task(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Show each task by itself, in its own unit of reward; nothing where there is one only."""
    parts = []
    for task, found in tasks.items():
        rows = found["conditions"]
        columns = shown_metrics(rows)
        places = {metric.name: decimals(rows, metric) for metric in columns}
        scale = found["scale"]
        told = "" if scale is None else f" (normalised: {scale[0]:.3g} is 0, {scale[1]:.3g} is 1)"
        parts.append(f"{task}{told}:\n" + block("condition", rows, columns, places))
    return parts


def shown_effects(gains: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the effects; of two components without main effects, which then equal Shapley values."""
    repeated = sum(name.endswith(": Shapley value") for name in gains) == 2
    return {name: row for name, row in gains.items() if not (repeated and name.endswith(": main effect"))}


def curve_rows(curve: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return what each part alone and all together were worth, a row for each value of what is varied."""
    points = {} if curve is None else curve["points"]
    names = dict.fromkeys(name for effects in points.values() for name in effects if is_curved(name))
    return {
        f"{name}: {told_value(int(at))}": effects[name]
        for name in names
        for at, effects in points.items()
        if name in effects
    }


def is_curved(effect: str) -> bool:
    """Say whether an effect is one that a curve shows: a part alone, or all together."""
    return effect == "total gain" or effect.endswith(" alone")


def _is_default(summary: Mapping[str, Any]) -> bool:
    pairs = summary["contrast_pairs"]
    return all(label == f"{better} over {baseline}" for label, (better, baseline) in pairs.items())


def _contrasts(
    contrasts: Mapping[str, Mapping[str, Any]],
    columns: Sequence[Metric],
    places: Mapping[str, int],
    own: bool,
) -> list[str]:
    """Show how likely a run is the better one, and differences where the study named the contrasts."""
    parts = []
    if own:
        title = "Contrasts that the study asks for, as differences paired by seed:"
        parts.append(f"{title}\n" + block("contrast", contrasts, columns, places, signed=True))
    plain = {
        label: row for label, row in contrasts.items() if all("probability" in cell for cell in row.values())
    }
    if plain and max(cell["n"] for row in plain.values() for cell in row.values()) >= MIN_SEEDS:
        title = "Probability that a run of the first is better than a run of the second:"
        told = [replace(metric, unit="") for metric in columns if metric.name in ODDS]
        parts.append(f"{title}\n" + block("contrast", plain, told, places, cell=_odds))
    return parts


def _planning(worth: Mapping[str, Mapping[str, Any]]) -> str:
    measures = list(dict.fromkeys(name for row in worth.values() for name in row))
    columns = [pair.metric for pair in comparisons([n for name in measures for n in name.split(" - ")])]
    places = {metric.name: decimals(worth, metric) for metric in columns}
    title = "What planning added when the same policies were judged, paired by seed:"
    return f"{title}\n" + block("condition", worth, columns, places, signed=True)


def _odds(value: Mapping[str, Any], metric: Metric, places: Mapping[str, int], signed: bool) -> str:
    ends = [value[key] for key in ("probability_low", "probability_high") if value[key] is not None]
    interval = f" [{', '.join(f'{end:.2f}' for end in ends)}]" if ends else ""
    return f"{value['probability']:.2f}{interval}"


def _pretraining(
    groups: Mapping[str, Mapping[str, Any]], contrasts: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    columns = [metric for name, metric in PRETRAINING.items() if any(name in row for row in groups.values())]
    places = {metric.name: decimals(groups, metric) for metric in columns}
    title = "At the end of phase 1, for each reward and agent:"
    parts = [f"{title}\n" + block("phase 1", groups, columns, places)]
    if contrasts:
        title = "Contrasts of phase 1, as differences paired by seed:"
        parts.append(f"{title}\n" + block("contrast", contrasts, columns, places, signed=True))
    return parts


def shown_metrics(conditions: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Return the metrics that any condition has: the known ones in their order, then the suite's own.

    Where returns are normalised by task, their means in the tasks' own units are left out.
    """
    found = dict.fromkeys(name for metrics in conditions.values() for name in metrics)
    hidden = [name for name in RAW if NORMALISED + name in found]
    found = {name: None for name in found if name not in hidden}
    known = [metric for name, metric in METRICS.items() if name in found]
    return known + [metric_of(name) for name in found if name not in METRICS]


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
    line = f"expedition {summary['version']}; {steps:,} environment steps in {wall}"
    if summary["evaluation_seconds"]:
        line += f"\nEvaluations during training: {duration(summary['evaluation_seconds'])} of the runs' time"
    return f"{summary['command']}\n{line}"


def _cell(value: Mapping[str, Any], metric: Metric, places: Mapping[str, int], signed: bool) -> str:
    form = f"{{:{'+' if signed else ''}.{places[metric.name]}f}}"
    ends = ("mean",) if value["low"] is None else ("mean", "low", "high")
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    mean, *interval = (form.format(round(value[e] * metric.scale, places[metric.name]) + 0.0) for e in ends)
    return f"{mean} [{', '.join(interval)}]" if interval else mean


def block(
    corner: str,
    rows: Mapping[str, Mapping[str, Any]],
    columns: Sequence[Metric],
    places: Mapping[str, int],
    signed: bool = False,
    cell: Callable[[Mapping[str, Any], Metric, Mapping[str, int], bool], str] = _cell,
) -> str:
    """Return one table, or several where the columns do not fit the width.

    Args:
        corner: what the rows are.
        rows: row -> measure -> estimate.
        columns: the measures, in order.
        places: decimals of each by its name.
        signed: whether gains have a plus.
        cell: how one estimate is told.
    """
    seeds = {name: sorted({cell["n"] for cell in metrics.values()}) for name, metrics in rows.items()}
    cells = [
        [
            metric.title,
            metric.unit,
            *(
                cell(m[metric.name], metric, places, signed) if metric.name in m else "-"
                for m in rows.values()
            ),
        ]
        for metric in columns
    ]
    cells.append(
        [
            "seeds",
            "n" if any(m.unit for m in columns) else "",
            *("-".join(map(str, dict.fromkeys((n[0], n[-1])))) for n in seeds.values()),
        ]
    )
    names = [corner, "", *rows]
    return "\n\n".join(aligned([names, *group]) for group in grouped(names, cells))


def grouped(names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Share columns out evenly over as few tables as keep within the width."""
    room = WIDTH - max(map(len, names))
    for tables in range(1, len(columns) + 1):
        ends = [round(len(columns) * part / tables) for part in range(tables + 1)]
        groups = [list(columns[i:j]) for i, j in pairwise(ends)]
        if all(sum(max(map(len, column)) + 2 for column in group) <= room for group in groups):
            break
    return groups


def aligned(columns: Sequence[Sequence[str]]) -> str:
    """Return columns, each a head, a unit and cells, as one table of plain text; the first is of names."""
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *rest]).rstrip())
    units = [lines[1]] if lines[1] else []
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], *units, rule, *lines[2:]])


def _reading(
    conditions: Mapping[str, Mapping[str, Any]],
    gains: Mapping[str, Mapping[str, Any]],
    contrasts: Mapping[str, Mapping[str, Any]],
    columns: Sequence[Metric],
    observed: Sequence[str],
) -> list[str]:
    counts = {cell["n"] for rows in (conditions, gains) for row in rows.values() for cell in row.values()}
    names = {metric.name for metric in columns}
    lines = ["↑ higher is better, ↓ lower is better."]
    if "auc" in names:
        lines.append("Area: under the curve of training episodes' returns, divided by its steps.")
    if "steps_saved" in names:
        lines.append("Steps saved: environment steps earlier at scratch's final return of the same seed.")
    if names & {NORMALISED + name for name in RAW}:
        lines.append(
            "Normalised by task: 0 is the random policy's mean return, 1 that of the best condition."
        )
    if names & {f"{reader}_error_{end}" for reader in (DECODER, PROBE) for end in ("start", "end")}:
        lines.append(
            "Error: of open-loop prediction on held-out episodes, mean squared error "
            f"{error_unit(observed)}; a negative difference is a gain."
        )
    if any(name.startswith((f"{DECODER}_accuracy", f"{PROBE}_accuracy")) for name in names):
        lines.append("Foreseen, surprise: symbols that open-loop prediction got right, and -log p of each.")
    if searches(names):
        lines.append(
            "Search, simulator: return of the final policy with so many simulations, in its model or in the "
            "true environment."
        )
    if any(name.startswith(PROBE) for name in names):
        lines.append(
            "Probe: a decoder fitted to the model's frozen latents afterwards; compare probes with probes."
        )
    lines = [part for line in lines for part in textwrap.wrap(line, WIDTH)]
    return [*lines, *_intervals(counts, {c["n"] for row in contrasts.values() for c in row.values()})]


def _intervals(counts: set[int], pairs: set[int]) -> list[str]:
    """Say what the brackets are, or that there are too few seeds for any."""
    most = max(counts, default=1)
    if most < MIN_SEEDS:
        seeds = "One seed" if most == 1 else f"{most} seeds"
        return [f"{seeds}: no interval can be given; run with --seeds {MIN_SEEDS} or more to get one."]
    lines = ["Brackets: 95 % interval of the mean over seeds (Student's t)."]
    if min(counts) < MIN_SEEDS:
        lines.append(
            f"A value without brackets rests on fewer than {MIN_SEEDS} seeds: too few for an interval."
        )
    if pairs and min(pairs) < MIN_SEEDS_PROBABILITY:
        lines.append(f"A probability has an interval from {MIN_SEEDS_PROBABILITY} seeds on.")
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
    table = zip(aligned(numbers).splitlines(), sources, strict=True)
    width = max(map(len, aligned(numbers).splitlines()))
    return "\n".join(
        [
            "PUBLISHED by others, not measured here (free: reward-free steps).",
            *(f"{line.ljust(width)}{source}".rstrip() for line, source in table),
            "A study at the quickstart's budget isn't comparable with them; they show the scale.",
        ]
    )
