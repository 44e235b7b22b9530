"""The figure's panel of planning when judged: returns over simulations and over depth."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from experiments.reporting.drawing.marks import band, label_ends, log_ticks, note, title
from experiments.reporting.metrics import SEARCHED, metric_of, place_of, searches
from experiments.reporting.records import StudyRecord

_KINDS = {"search": ("in its model", "#0072B2"), "simulator": ("in the true one", "#00805E")}
_NONE = ("as usual", "#666666")


def has_searches(study: StudyRecord) -> bool:
    """Say whether any policy was judged with search."""
    return bool(judged_with_search(study))


def judged_with_search(study: StudyRecord) -> list[str]:
    """Return the measures of policies that were judged with search."""
    return searches(sorted({name for run in study.finetuning for name in run.metrics}))


def lines(study: StudyRecord, names: Sequence[str]) -> np.ndarray:
    """Measures (seeds, names): means over the conditions that were judged with search, of seeds with all.

    A condition that never searches, as the random policy, stays out: lines are of the same policies.
    """
    tables = [study.values(name) for name in names]
    searched = {c for name in judged_with_search(study) for c in study.values(name)}
    every = [c for c in study.conditions if c in searched and all(c in table for table in tables)]
    shared = [set(table[c]) for table in tables for c in every]
    seeds = sorted(set.intersection(*shared)) if shared else []
    return np.array([[np.mean([np.mean(t[c][seed]) for c in every]) for t in tables] for seed in seeds])


def draw_searches(part: SubFigure, study: StudyRecord) -> None:
    """Draw the mean over conditions: over simulations by place, and over depth where that was judged."""
    judged = judged_with_search(study)
    panels: list[tuple[str, str]] = []
    for place in dict.fromkeys(match[1] or "" for match in map(SEARCHED.fullmatch, judged) if match):
        for axis in ("simulations", "depth"):
            if any(_counts(judged, place, kind, axis) for kind in _KINDS):
                panels.append((place, axis))
    grid = part.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    ends = {}
    for axes, (place, axis) in zip(grid, panels, strict=True):
        counts = {kind: _counts(judged, place, kind, axis) for kind in _KINDS}
        ends[axes] = _draw(axes, study, counts, place, axis)
    for axes, found in ends.items():  # after all, for they share their height
        label_ends(axes, found, gap=0.13)
    title(part, f"Planning when judged: {metric_of('return').label}, mean over conditions (bands: 95 %)")


def _counts(judged: Sequence[str], place: str, kind: str, axis: str) -> dict[int, str]:
    """Measures of a place and kind, by what is varied."""
    varied = r"(\d+)" if axis == "simulations" else r"\d+_depth(\d+)"
    found = [re.fullmatch(f"return{re.escape(place)}_{kind}{varied}", name) for name in judged]
    return {int(match[1]): match[0] for match in found if match is not None}


def _draw(
    axes: Axes, study: StudyRecord, kinds: Mapping[str, Mapping[int, str]], place: str, axis: str
) -> dict[str, tuple[float, str]]:
    """Draw the lines of one panel; return their names with where they end, and in which colour."""
    ends = {}
    for kind, counts in kinds.items():
        values = lines(study, list(counts.values()))
        if values.size:
            name, colour = _KINDS[kind]
            band(axes, np.array(list(counts)), values, colour)
            axes.plot(list(counts), values.mean(axis=0), "o", color=colour, ms=3)
            ends[name] = (float(values.mean(axis=0)[-1]), colour)
    ticks = sorted({count for counts in kinds.values() for count in counts})
    none = lines(study, [f"return{place}"])
    if none.size:
        name, colour = _NONE
        band(axes, np.array([ticks[0], ticks[-1]]), np.repeat(none, 2, axis=1), colour, (0, (3, 1.5)))
        ends[name] = (float(none.mean()), colour)
    log_ticks(axes, {tick: str(tick) for tick in ticks})
    axes.set_title(place_of(place), fontsize=7.8)
    note(axes, axis)
    return ends
