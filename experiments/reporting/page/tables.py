"""The tables of a summary, as cells for a web page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.reporting.metrics import PRETRAINING, Metric
from experiments.reporting.page.findings import signed
from experiments.reporting.planning import comparisons
from experiments.reporting.report import curve_rows, decimals, shown_effects, shown_metrics

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One estimate. Attributes: mean, interval: as text, the second may be empty. decided: excludes zero."""

    mean: str
    interval: str = ""
    decided: bool = False


@dataclass(frozen=True)
class Table:
    """Rows by name, columns by measure.

    Attributes:
        title: what it shows.
        corner: what its rows are.
        columns: head and unit of each.
        rows: name -> cells, one a column; None where nothing is known.
        seeds: name -> seeds, as text.
    """

    title: str
    corner: str
    columns: Sequence[tuple[str, str]]
    rows: Mapping[str, Sequence[Cell | None]]
    seeds: Mapping[str, str]


def tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a report, the conditions' first; those without rows are left out."""
    conditions, gains = summary["conditions"], shown_effects(summary["contributions"])
    columns = shown_metrics(conditions)
    early = [metric for name, metric in PRETRAINING.items() if _has(summary["pretraining"], name)]
    planning = [name for row in summary["planning"].values() for name in row]
    pairs = [pair.metric for pair in comparisons([n for name in planning for n in name.split(" - ")])]
    made = [_table("After fine-tuning", "condition", conditions, columns)]
    for task, found in summary["tasks"].items():
        made.append(_table(f"On {task}{_scale(found['scale'])}", "condition", found["conditions"], None))
    made += [
        _table("What each carried part was worth", "contribution", gains, columns, True),
        _table(_over(summary["curve"]), "contribution", curve_rows(summary["curve"]), columns, True),
        _table("Contrasts", "contrast", summary["contrasts"], columns, True),
        _table("What planning added when the same policies were judged", "condition", summary["planning"],
               pairs, True),
        _table("At the end of phase 1", "phase 1", summary["pretraining"], early),
        _table("Contrasts of phase 1", "contrast", summary["pretraining_contrasts"], early, True),
    ]  # fmt: skip
    return [table for table in made if table.rows]


def _has(rows: Rows, name: str) -> bool:
    return any(name in row for row in rows.values())


def _over(curve: Mapping[str, Any] | None) -> str:
    return "" if curve is None else f"What was carried was worth, over {curve['over']}"


def _scale(scale: Sequence[float] | None) -> str:
    return "" if scale is None else f" (normalised: {scale[0]:.3g} is 0, {scale[1]:.3g} is 1)"


def _table(
    title: str, corner: str, rows: Rows, columns: Sequence[Metric] | None, difference: bool = False
) -> Table:
    columns = shown_metrics(rows) if columns is None else columns
    columns = [metric for metric in columns if _has(rows, metric.name)]
    places = {metric.name: decimals(rows, metric) for metric in columns}
    cells = {
        name: [_cell(row[m.name], m, places[m.name], difference) if m.name in row else None for m in columns]
        for name, row in rows.items()
    }
    seeds = {name: sorted({cell["n"] for cell in row.values()}) for name, row in rows.items()}
    told = {name: "-".join(map(str, dict.fromkeys((n[0], n[-1])))) for name, n in seeds.items()}
    return Table(title, corner, [(metric.title, metric.unit) for metric in columns], cells, told)


def _cell(value: Mapping[str, Any], metric: Metric, places: int, difference: bool) -> Cell:
    def told(end: float) -> str:
        shown = signed(end * metric.scale, places)
        return shown if difference else shown.removeprefix("+")

    if value["low"] is None:
        return Cell(told(value["mean"]))
    decided = difference and (value["low"] > 0 or value["high"] < 0)
    return Cell(told(value["mean"]), f"{told(value['low'])} to {told(value['high'])}", decided)
