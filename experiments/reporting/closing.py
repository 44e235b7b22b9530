"""What a study says at its end in the terminal: the answer, one compact table, and where the rest is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.reporting.answer import in_lines
from experiments.reporting.metrics import Metric
from experiments.reporting.report import WIDTH, block, decimals, shown_metrics

LINES = 25
NAME = 30
"""Longest name of a condition in the compact table."""
COMPACT = (
    *("success_rate", "return", "normalised_return", "crafter_score"),
    *("auc", "normalised_auc"),
)


def closing(summary: Mapping[str, Any], folder: Path) -> str:
    """Return at most 25 lines of at most 100 columns, the answer first.

    Args:
        summary: what `summarise` returned.
        folder: the study's; its path stands on a line of its own, which is as long as it is.
    """
    head = in_lines(summary["answer"]["sentence"], WIDTH)
    foot = _where(summary, folder)
    room = LINES - len(head) - len(foot) - 2
    table = condition_table(summary).splitlines()
    if len(table) > room:
        left = len(table) - room + 1
        table = [*table[: room - 1], f"... and {left} more, in report.txt"]
    return "\n".join([*head, "", *table, "", *foot])


def condition_table(summary: Mapping[str, Any]) -> str:
    """The compact table of a study's conditions, of at most 100 columns."""
    return _table(_shortened(summary["conditions"]))


def _table(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """The columns of `COMPACT` that there are, as many as fit side by side."""
    shown = {metric.name: metric for metric in shown_metrics(conditions)}
    columns: Sequence[Metric] = [shown[name] for name in COMPACT if name in shown]
    places = {metric.name: decimals(conditions, metric) for metric in columns}
    while True:
        table = block("condition", conditions, columns, places)
        if "\n\n" not in table or len(columns) == 1:
            return table
        columns = columns[:-1]


def _where(summary: Mapping[str, Any], folder: Path) -> list[str]:
    intervals = any(
        cell["low"] is not None for row in summary["conditions"].values() for cell in row.values()
    )
    lines = ["Brackets: 95 % interval of the mean over seeds."] if intervals else []
    notes = len(summary["notes"])
    lines += [f"{notes} note{'s' if notes > 1 else ''} on what is missing or a bound, in report.txt."] * (
        notes > 0
    )
    files = "report.html (all of it), report.txt (every table), report.png, summary.json, contributions.csv"
    return [*lines, f"{files} in", str(folder)]


def _shortened(rows: Mapping[str, Any]) -> dict[str, Any]:
    """The rows under names of at most `NAME` characters; two that would be the same are numbered."""
    found: dict[str, Any] = {}
    for number, (name, row) in enumerate(rows.items()):
        short = name if len(name) <= NAME else f"{name[: NAME - 12]}...{name[-9:]}"
        found[f"{short[: NAME - 4]} {number}" if short in found else short] = row
    return found
