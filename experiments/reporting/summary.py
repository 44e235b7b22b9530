"""What a study found, as data: conditions, contributions, contrasts, pre-training, profiles."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import numpy as np

from expedition.errors import UserError
from experiments.reporting.answer import answer
from experiments.reporting.metrics import METRICS, NORMALISED, PRETRAINING, elsewhere, metric_of, searches
from experiments.reporting.planning import planning_worth
from experiments.reporting.records import StudyRecord
from experiments.studies.conditions import Contrast
from transfer.contributions import Factorial, contributions, told_value
from transfer.statistics import (
    Results,
    estimate,
    paired_contrast,
    performance_profile,
    probability_of_improvement,
)

THRESHOLDS = 41
"""Of a performance profile, evenly spaced over all runs' values."""
COLUMNS = (
    *(
        "component",
        "effect",
        "name",
        "measure",
        "better",
        "mean",
        "iqm",
        "low",
        "high",
        "iqm_low",
        "iqm_high",
    ),
    *("n", "probability", "probability_low", "probability_high", "note"),
)


def summarise(study: StudyRecord, wall_seconds: float | None = None) -> dict[str, Any]:
    """Return what the study found, over its finished runs, as plain values.

    Args:
        study: what was read from its folder; `study.missing()` says what the summary had to do without.
        wall_seconds: the study's own wall clock; without it, the runs' wall seconds are added up.

    Returns:
        Keys are told in docs/reading.md. An estimate is {mean, iqm, low, high, iqm_low, iqm_high, n}, its
        ends None where there are too few seeds. Errors keep their stored unit.

    Raises:
        UserError: no fine-tuning run is finished.
    """
    if not study.finetuning:
        raise UserError(
            f"No fine-tuning run of {study.folder} is finished: run the study again to resume it."
        )
    every = {name for run in study.finetuning for name in run.metrics}
    judged = [*elsewhere(every), *searches(every)]
    tables = {name: study.values(name) for name in dict.fromkeys((*METRICS, *study.suite_metrics, *judged))}
    explored = {name: study.explored(name) for name in PRETRAINING}
    factorial, labels = study.factorial, [c.label for c in study.contrasts]
    contrasts = {m: contrasted(study, study.contrasts, m, t) for m, t in tables.items()}
    early = {m: contrasted(study, _of_phase_1(study), m, t) for m, t in explored.items()}
    return {
        "answer": answer(study),
        "conditions": _estimates(tables, study),
        "tasks": _by_task(study, list(tables)) if len(study.tasks) > 1 else {},
        "contributions": _worth(tables, factorial),
        "curve": _curve(study, tables),
        "contrasts": _by_row(contrasts, labels),
        "planning": planning_worth(study, tables),
        "pretraining_contrasts": _by_row(early, labels),
        "pretraining": _pretraining(study),
        "profiles": {name: profile(tables[name]) for name in (study.score,) if tables[name]},
        "factorial": factorial.as_dict(),
        "contrast_pairs": {c.label: [c.better, c.baseline] for c in study.contrasts},
        "notes": [
            *study.missing(),
            *_missing_cells(study, tables[study.score]),
            *_missing_contrasts(
                study, {label for t in (contrasts, early) for row in t.values() for label in row}
            ),
            *_censored(study),
        ],
        "observed": list(study.observed),
        "evaluation_seconds": sum(run.evaluation_seconds for run in study.runs),
        "environment_steps": sum(run.env_step for run in study.runs),
        "wall_seconds": sum(run.wall_seconds for run in study.runs) if wall_seconds is None else wall_seconds,
        "command": study.command,
        "version": study.version,
    }


def _worth(tables: Mapping[str, Results], factorial: Factorial) -> dict[str, dict[str, Any]]:
    """Return effect -> measure -> estimate."""
    gains = {name: contributions(values, factorial) for name, values in tables.items()}
    found = {m: {name: e.as_dict() for name, e in effects.items()} for m, effects in gains.items()}
    return _by_row(found, [effect.name for effect in factorial.effects()])


def _curve(study: StudyRecord, tables: Mapping[str, Results]) -> dict[str, Any] | None:
    """Return what is varied, and the effects at each of its values; None where nothing is varied."""
    if study.curve is None:
        return None
    points = {str(at): _worth(tables, factorial) for at, factorial in study.curve.factorials.items()}
    return {"over": study.curve.over, "points": points}


def _estimates(tables: Mapping[str, Results], study: StudyRecord) -> dict[str, dict[str, Any]]:
    found = {m: {c: estimate(v.values()).as_dict() for c, v in t.items()} for m, t in tables.items()}
    return _by_row(found, study.conditions)


def _by_task(study: StudyRecord, measures: Iterable[str]) -> dict[str, Any]:
    """Return each task by itself, with the returns that count as 0 and 1 over all of them."""
    measures = [name for name in measures if not name.startswith(NORMALISED)]
    return {
        str(task): {
            "scale": list(study.scales[task]) if task in study.scales else None,
            "conditions": _estimates({name: study.values_on(task, name) for name in measures}, study),
        }
        for task in study.tasks
    }


def contributions_csv(study: StudyRecord, summary: Mapping[str, Any]) -> str:
    """Return effects and contrasts as a tidy table, a line for each and measure; empty where undefined."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_rows(study, summary))
    return text.getvalue()


def csv_rows(study: StudyRecord, summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of `contributions.csv`, by column; what is undefined has no key."""
    measures = list(dict.fromkeys(m for row in summary["conditions"].values() for m in row))
    for measure in measures:
        better = "higher" if metric_of(measure).higher_is_better else "lower"
        values = study.values(measure)
        for effect in study.factorial.effects():
            head = {"component": " ".join(effect.components), "effect": effect.kind, "name": effect.name}
            head |= {"measure": measure, "better": better}
            cell = summary["contributions"].get(effect.name, {}).get(measure)
            lacking = (
                ", ".join(study.factorial.missing(effect, values)) or "a seed that all its conditions have"
            )
            yield head | (_csv_cell(cell) if cell else {"n": 0, "note": f"missing: {lacking}"})
        yield from _curve_rows(study, summary, {"measure": measure, "better": better})
        for contrast in study.contrasts:
            cell = summary["contrasts"].get(contrast.label, {}).get(measure)
            head = {"effect": "contrast", "name": contrast.label, "measure": measure, "better": better}
            if cell:
                yield head | _csv_cell(cell)
    for name, cells in summary["pretraining_contrasts"].items():
        for measure, cell in cells.items():
            better = "higher" if metric_of(measure).higher_is_better else "lower"
            head = {"effect": "contrast of phase 1", "name": name, "measure": measure, "better": better}
            yield head | _csv_cell(cell)


def _curve_rows(
    study: StudyRecord, summary: Mapping[str, Any], head: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield what is known of a curve in one measure: a row for each effect and value of what is varied."""
    if study.curve is None:
        return
    for at, factorial in study.curve.factorials.items():
        for effect in factorial.effects():
            cell = summary["curve"]["points"][str(at)].get(effect.name, {}).get(head["measure"])
            name = f"{effect.name}, {study.curve.over}: {told_value(at)}"
            row = {"component": " ".join(effect.components), "effect": effect.kind, "name": name}
            if cell:
                yield {**row, **head, **_csv_cell(cell)}


def _csv_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in cell.items() if value is not None}
    return filled if "low" in filled else {**filled, "note": "too few seeds for an interval"}


def _by_row(
    by_measure: Mapping[str, Mapping[str, Any]], rows: list[str] | tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Turn measure -> row -> cell around; rows without any cell are left out."""
    table = {row: {m: cells[row] for m, cells in by_measure.items() if row in cells} for row in rows}
    return {row: cells for row, cells in table.items() if cells}


def _of_phase_1(study: StudyRecord) -> list[Contrast]:
    """Contrasts of pre-training runs, by the conditions that carry from them."""
    return [Contrast(c.label, *c.conditions) for c in study.contrasts if c.of_phase_1]


def contrasted(
    study: StudyRecord, contrasts: Iterable[Contrast], measure: str, values: Results
) -> dict[str, Any]:
    """Return label -> paired difference of one measure, by condition and seed in `values`, and its odds."""
    found = {}
    for contrast in contrasts:
        there = values if contrast.task is None else study.values_on(contrast.task, measure)
        weights = {contrast.better: 1, contrast.baseline: -1}
        pairs = paired_contrast(there, weights)
        if contrast.less_on is not None:
            others = paired_contrast(study.values_on(contrast.less_on, measure), weights)
            pairs = {seed: pairs[seed] - others[seed] for seed in pairs if seed in others}
        if contrast.less:
            others = paired_contrast(there, dict(zip(contrast.less, (1, -1), strict=True)))
            pairs = {seed: pairs[seed] - others[seed] for seed in pairs if seed in others}
        if contrast.better == contrast.baseline or not pairs:
            continue
        odds = {} if contrast.less_on is not None or contrast.less else _odds(there, contrast, measure)
        found[contrast.label] = estimate(pairs.values()).as_dict() | odds
    return found


def _odds(values: Results, contrast: Contrast, measure: str) -> dict[str, Any]:
    """How likely a run of the one is better than a run of the other."""
    sign = 1 if metric_of(measure).higher_is_better else -1
    better, baseline = (
        [sign * value for value in values.get(name, {}).values()]
        for name in (contrast.better, contrast.baseline)
    )
    odds = probability_of_improvement(better, baseline)
    return {"probability": odds.value, "probability_low": odds.low, "probability_high": odds.high}


def _pretraining(study: StudyRecord) -> dict[str, dict[str, Any]]:
    by_measure = {
        name: {group: estimate(v.values()).as_dict() for group, v in study.pretraining(name).items()}
        for name in PRETRAINING
    }
    return _by_row(by_measure, list(dict.fromkeys(g for cells in by_measure.values() for g in cells)))


def profile(values: Results) -> dict[str, Any]:
    """Return the share of each condition's runs above each of `THRESHOLDS` values."""
    everything = np.concatenate([np.ravel(list(by_seed.values())) for by_seed in values.values()])
    thresholds = np.linspace(everything.min(), everything.max(), THRESHOLDS).tolist()
    shares = {
        name: [share.as_dict() for share in performance_profile(by_seed.values(), thresholds)]
        for name, by_seed in values.items()
    }
    return {"thresholds": thresholds, "conditions": shares}


def _missing_cells(study: StudyRecord, values: Results) -> Iterator[str]:
    factorial = study.factorial
    lacking = {e.name: factorial.missing(e, values) for e in factorial.effects()}
    effects = [name for name, sets in lacking.items() if sets]
    if effects:
        sets = dict.fromkeys(s for found in lacking.values() for s in found)
        yield f"No finished run carries {' or '.join(sets)}, so not computed: {', '.join(effects)}."


def _missing_contrasts(study: StudyRecord, found: Set[str]) -> Iterator[str]:
    """Say which contrasts of planned conditions have no number; those of others are told by `missing`."""
    planned = {run.condition: run.needs for run in study.runs if run.condition is not None}
    for contrast in study.contrasts:
        if contrast.label in found or not planned.keys() >= set(contrast.named):
            continue
        early = contrast.of_phase_1
        without = [f"'{name}'" for name in contrast.conditions if early and planned[name] is None]
        reason = (
            f"{' and '.join(without)} carries nothing, so there is no phase 1 of it"
            if without
            else "no seed has finished runs of both sides"
        )
        yield f"Contrast '{contrast.label}' is left out: {reason}."


def _censored(study: StudyRecord) -> Iterator[str]:
    runs = [run for run in study.finetuning if "steps_saved" in run.metrics]
    never = {name: sum(run.censored for run in study.of(name)) for name in study.conditions}
    told = [f"{name} {count} of {len(study.of(name))}" for name, count in never.items() if count]
    if runs and told:
        yield (
            "Runs that never reached scratch's final return count as reaching it at their end, so their "
            f"steps saved are upper bounds: {', '.join(told)}."
        )
