"""The figures of a report, one by one: what each shows in words, how it is drawn, and its data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import SubFigure

from experiments.reporting.drawing.contrasts import draw_findings, in_one_measure
from experiments.reporting.drawing.explored import (
    THINGS,
    draw_map,
    draw_reached,
    explored_charts,
    explorers,
    measure,
    reach,
    reached_table,
)
from experiments.reporting.drawing.foresight import (
    MOMENTS,
    compared,
    decoded_by,
    draw_dreams,
    draw_horizon,
    errors_ahead,
    film_rows,
    films,
    has_horizon,
    has_phase_1,
)
from experiments.reporting.drawing.learning import draw_curves, has_curves, is_evaluated, mean_lines
from experiments.reporting.drawing.over import curve_lines, curve_measure, draw_curve, has_curve
from experiments.reporting.drawing.planning import draw_searches, has_searches, judged_with_search, lines
from experiments.reporting.drawing.spectrum import draw_achievements, has_achievements, success_table
from experiments.reporting.drawing.worth import (
    draw_odds,
    draw_profile,
    draw_worth,
    has_odds,
    shown_effects,
    shown_measures,
)
from experiments.reporting.metrics import METRICS, error_unit, metric_of, unsearched
from experiments.reporting.page.findings import Finding
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import PROBE
from transfer.contributions import told_value
from transfer.statistics import estimate

Row = dict[str, Any]
WIDTH, WIDE = 3.8, 9.0
"""Inches: of a figure in one column of a paper, and of one that needs both."""


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Attributes:
        name: of its files.
        title: a few words.
        text: what it shows, in sentences: its caption.
        told: its main numbers; with the caption they stand for it where it is not seen.
        panel: draws it.
        height: in inches.
        rows: its data, a row a mark.
        wide: whether it takes `WIDE` inches.
        picture: whether it shows pictures, whose colours must stay.
        by_condition: whether its colours are those of conditions.
    """

    name: str
    title: str
    text: str
    told: str
    panel: Callable[[SubFigure, StudyRecord], None]
    height: float
    rows: Sequence[Row] = ()
    wide: bool = False
    picture: bool = False
    by_condition: bool = False

    @property
    def alternative(self) -> str:
        """What is read out where the figure is not seen."""
        return f"{self.title}. {self.text} {self.told}".strip()


def figures(study: StudyRecord, summary: Mapping[str, Any], found: Sequence[Finding]) -> list[Figure]:
    """Return the figures for which a study has data, in the order of the report.

    Args:
        study: what was read from its folder.
        summary: what `summarise` returned for it.
        found: its findings.
    """
    made = [
        _curves(study) if has_curves(study) else None,
        _contrasts(study, found) if found else None,
        *(_worth(study, summary, name) for name in shown_measures(study)),
        _curve(study) if has_curve(study) else None,
        _profile(study, summary) if has_odds(study) else None,
        _odds(study, summary) if has_odds(study) and summary["contrasts"] else None,
        _searches(study) if has_searches(study) else None,
        _horizon(study) if has_horizon(study) else None,
        _dreams(study) if films(study) else None,
        _achievements(study) if has_achievements(study) else None,
        _explored(study),
    ]
    return [figure for figure in made if figure is not None]


def _listed(items: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items())


def _with(rows: Sequence[Row], what: str) -> str:
    """Say what intervals look like, where there are any."""
    return what if any(row.get("low") is not None for row in rows) else ""


def _number(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _bands(key: str, where: np.ndarray, values: np.ndarray, head: Row) -> Iterator[Row]:
    """A row for each place: the mean over seeds with its interval; `values` (seeds, places)."""
    for place, column in zip(where.tolist(), values.T, strict=True):
        told = estimate(column)
        yield {**head, key: place, "mean": told.mean, "low": told.low, "high": told.high, "seeds": told.n}


def _curves(study: StudyRecord) -> Figure:
    drawn = mean_lines(study)
    rows = [r for name, (x, y) in drawn.items() for r in _bands("env_step", x, y, {"condition": name})]
    ends = {name: _number(float(y[:, -1].mean())) for name, (_, y) in drawn.items()}
    scale = ", on the scale of each task (0 random, 1 the best condition)" if len(study.tasks) > 1 else ""
    how = "evaluations on fixed episodes" if is_evaluated(study) else "training episodes, smoothed"
    text = f"Mean return over {study.steps:,} environment steps of fine-tuning{scale}; {how}"
    text += f"{_with(rows, '; bands: 95 %')}."
    told = f"At the end: {_listed(ends)}."
    return Figure("curves", "Learning curves", text, told, draw_curves, 3.0, rows, by_condition=True)


def _contrasts(study: StudyRecord, found: Sequence[Finding]) -> Figure:
    shown = in_one_measure(found)
    rows = [
        {"contrast": f.label, "measure": f.metric.name, "mean": f.mean, "low": f.low, "high": f.high}
        | {"seeds": f.n, "verdict": f.verdict}
        for f in shown
    ]
    text = f"Each contrast's difference paired by seed{_with(rows, ', with its 95 % interval')}; hollow "
    text += "where it is not decided."
    told = " ".join(f.sentence for f in shown)
    panel = functools.partial(draw_findings, found=shown)
    return Figure("contrasts", "Contrasts", text, told, panel, 0.75 + 0.34 * len(shown), rows)


def _worth(study: StudyRecord, summary: Mapping[str, Any], name: str) -> Figure:
    shown, metric = shown_effects(study, name), metric_of(name)
    cells = {effect.name: summary["contributions"][effect.name][name] for effect in shown}
    rows = [
        {"effect": effect.name, "kind": effect.kind, "measure": name}
        | {key: cells[effect.name][key] for key in ("mean", "low", "high", "n")}
        for effect in shown
    ]
    values = {effect: _number(cell["mean"] * metric.scale) for effect, cell in cells.items()}
    better = "" if metric.higher_is_better else "; a negative value is a gain"
    text = (
        f"What each part was worth in {metric.label} ({metric.unit}), paired by seed"
        f"{_with(rows, ': lines are 95 % intervals, dots are seeds')}{better}."
    )
    panel = functools.partial(draw_worth, measure=name)
    title = f"Contributions: {metric.label}, {metric.unit}"
    told = f"{_listed(values)}."
    return Figure(f"worth_{name}", title, text, told, panel, 0.75 + 0.27 * len(shown), rows)


def _curve(study: StudyRecord) -> Figure:
    assert study.curve is not None
    drawn, metric = curve_lines(study), metric_of(curve_measure(study))
    names = {place: told_value(at) for at, place in study.curve.places().items()}
    rows = [
        {**row, "at": names[row["at"]]}
        for name, (places, gains) in drawn.items()
        for row in _bands("at", places, gains * metric.scale, {"contribution": name})
    ]
    values = {f"{row['contribution']} at {row['at']}": _number(row["mean"]) for row in rows}
    text = (
        f"What was carried was worth in {metric.label} ({metric.unit}), over {study.curve.over}, paired by "
        f"seed{_with(rows, '; bands: 95 %')}."
    )
    told = f"{_listed(values)}."
    return Figure("curve", f"Gain over {study.curve.over}", text, told, draw_curve, 2.7, rows)


def _profile(study: StudyRecord, summary: Mapping[str, Any]) -> Figure:
    shown = summary["profiles"][study.score]
    rows = [
        {"condition": name, "threshold": threshold, **share}
        for name, shares in shown["conditions"].items()
        for threshold, share in zip(shown["thresholds"], shares, strict=True)
    ]
    label = metric_of(study.score).label
    text = f"Share of runs whose final {label} is above a threshold, by condition; bands: 95 %."
    means = {
        name: _number(float(np.mean([share["value"] for share in shares])))
        for name, shares in shown["conditions"].items()
    }
    told = f"Mean share over thresholds: {_listed(means)}."
    return Figure("profile", "Performance profile", text, told, draw_profile, 2.7, rows, by_condition=True)


def _odds(study: StudyRecord, summary: Mapping[str, Any]) -> Figure:
    keys = ("probability", "probability_low", "probability_high", "n")
    found = {label: row.get(study.score, {}) for label, row in summary["contrasts"].items()}
    rows = [
        {"contrast": label} | {key: cell[key] for key in keys}
        for label, cell in found.items()
        if "probability" in cell
    ]
    values = {row["contrast"]: _number(row["probability"]) for row in rows}
    label = metric_of(study.score).label
    text = f"Probability that a run of the first has the better final {label}, with 95 %."
    height, panel = 0.75 + 0.32 * len(rows), functools.partial(draw_odds, above=True)
    told = f"{_listed(values)}."
    return Figure("odds", "Probability of improvement", text, told, panel, height, rows)


def _searches(study: StudyRecord) -> Figure:
    judged = judged_with_search(study)
    names = ["return", *unsearched(judged), *judged]
    there = {name: values for name in names if (values := lines(study, [name])).size}
    rows = [r for name, values in there.items() for r in _bands("of", np.zeros(1), values, {"measure": name})]
    rows = [{key: value for key, value in row.items() if key != "of"} for row in rows]
    text = "Return of the final policies when they plan as they are judged, the mean over conditions."
    told = _listed({metric_of(row["measure"]).label: _number(row["mean"]) for row in rows}) + "."
    return Figure("planning", "Planning when judged", text, told, draw_searches, 2.6, rows, True)


def _horizon(study: StudyRecord) -> Figure:
    reader, scale = decoded_by(study), METRICS["open_loop_error_start"].scale
    rows: list[Row] = []
    means = {}
    for name in compared(study):
        for moment in MOMENTS:
            errors = errors_ahead(study.of(name), moment, reader) * scale
            if errors.size:
                ahead = np.arange(1, errors.shape[1] + 1)
                rows += _bands("steps_ahead", ahead, errors, {"condition": name, "moment": moment})
                means[f"{name} at the {moment}"] = _number(float(errors.mean()))
    who = "probes of the models' latents" if reader == PROBE else "the models' decoders"
    text = (
        f"Error of open-loop prediction by steps ahead on held-out episodes (x 1000, "
        f"{error_unit(study.observed)}), told by {who}, before (line) and after (dashes) fine-tuning; lower "
        "is better."
    )
    told = f"Mean over steps: {_listed(means)}."
    return Figure(
        "horizon", "Model quality by horizon", text, told, draw_horizon, 2.7, rows, by_condition=True
    )


def _dreams(study: StudyRecord) -> Figure:
    strips = film_rows(films(study))
    moment = "before any fine-tuning" if has_phase_1(study) else "at the end"
    text = (
        f"Dreamt against real, {moment}: above is what happened in a held-out episode, each row below "
        f"what a model foresaw from the actions alone, time from left to right."
    )
    told = f"Rows: {', '.join(strips)}."
    height = 0.5 + 0.66 * len(strips)
    return Figure("dreams", "Dreamt against real", text, told, draw_dreams, height, (), True, True)


def _achievements(study: StudyRecord) -> Figure:
    conditions = [name for name in study.conditions if any(run.success for run in study.of(name))]
    names, rates = success_table(study, conditions)
    rows = _table_rows(names, conditions, rates, "condition", "achievement")
    most = {name: f"{rate:.0f} %" for name, rate in zip(names, rates.max(axis=1), strict=True)}
    text = "Share of the final policies' episodes that did each thing, in percent."
    told = f"Of the best condition: {_listed(most)}."
    title = "Achievements of the final policies"
    return Figure("achievements", title, text, told, draw_achievements, 1.4 + 0.17 * len(names), rows)


def _table_rows(
    names: Sequence[str], columns: Sequence[str], rates: np.ndarray, column: str, row: str
) -> list[Row]:
    return [
        {row: name, column: other, "percent": float(rates[i, j])}
        for i, name in enumerate(names)
        for j, other in enumerate(columns)
    ]


def _explored(study: StudyRecord) -> Figure | None:
    groups = explorers(study)
    if not groups:
        return None
    places = explored_charts(study)
    who = "explorers without reward" if study.explorers() else "learning runs"
    if places:
        return _map(study, who, [place.name for place in places])
    names, columns, rates = reached_table(study)
    if len(names) > THINGS:
        return None
    rows = _table_rows(names, columns, rates, "explorer", "reached")
    text = f"What {who} reached: {measure(study)}."
    told = "; ".join(f"{name} {sum(rates[:, i] > 0)} of {len(names)}" for i, name in enumerate(columns))
    height = 1.6 + 0.17 * len(names)
    return Figure("explored", "What explorers reached", text, told + ".", draw_reached, height, rows)


def _map(study: StudyRecord, who: str, places: Sequence[str]) -> Figure:
    cells = {name: place for chart in explored_charts(study) for name, place in chart.cells.items()}
    rows = [
        {
            "explorer": explorer,
            "cell": name,
            "row": cells[name][0],
            "column": cells[name][1],
            "percent": share,
        }
        for explorer, shares in reach(study).items()
        for name, share in sorted(shares.items())
        if name in cells
    ]
    shares = {
        name: f"{100 * np.mean([found.get(cell, 0.0) > 0 for cell in cells]):.0f} % of the cells"
        for name, found in reach(study).items()
    }
    text = f"Where {who} went, drawn over {', '.join(places)}; the colour is the share "
    text += f"{measure(study)[2:]}, in percent."
    told = f"All runs together went to: {_listed(shares)}."
    height = 0.7 + 0.98 * len(shares)
    return Figure("explored", "Where explorers went", text, told, draw_map, height, rows, picture=True)
