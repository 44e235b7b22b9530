"""The figure's panel of a curve: what carried parts were worth over something that was varied."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import SubFigure

from experiments.reporting.drawing.marks import band, label_ends, log_ticks, note, title
from experiments.reporting.metrics import metric_of
from experiments.reporting.records import StudyRecord
from experiments.reporting.report import is_curved
from transfer.contributions import Effect, told_value
from transfer.statistics import Results, Value

_PARTS = ("#0072B2", "#D55E00", "#A8518A", "#B07D00")
_TOTAL = "#00805E"


def curve_measure(study: StudyRecord) -> str:
    """Return the measure of the panel: the question's, or else the study's score."""
    asked = study.question
    known = asked is not None and asked.metric is not None and not asked.contrast.of_phase_1
    return str(asked.metric) if asked is not None and known else study.score


def has_curve(study: StudyRecord) -> bool:
    """Say whether there is anything to draw."""
    return bool(curve_lines(study))


def curve_lines(study: StudyRecord) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return name of an effect -> places (n,) on the axis and gains (seeds, n), of the seeds with all."""
    if study.curve is None:
        return {}
    values, found = study.values(curve_measure(study)), {}
    for effect in study.curve.effects():
        points = _points(study, effect, values) if is_curved(effect.name) else {}
        seeds = sorted(set.intersection(*map(set, points.values()))) if points else []
        if seeds:
            gains = [[float(np.mean(by_seed[seed])) for by_seed in points.values()] for seed in seeds]
            found[effect.name] = np.array(list(points)), np.array(gains)
    return found


def _points(study: StudyRecord, effect: Effect, values: Results) -> dict[int, Mapping[int, Value]]:
    """Place on the axis -> seed -> gain, of the places where the effect has a value."""
    assert study.curve is not None
    places = study.curve.places()
    found = {places[at]: f.paired(effect, values) for at, f in study.curve.factorials.items()}
    return {place: found[place] for place in sorted(found) if found[place]}


def draw_curve(part: SubFigure, study: StudyRecord) -> None:
    """Draw the gain of each part alone and of all together, over what was varied."""
    assert study.curve is not None
    axes, ends = part.subplots(), {}
    metric = metric_of(curve_measure(study))
    drawn = curve_lines(study)
    parts = [name for name in drawn if name.endswith(" alone")]
    for name, (places, gains) in drawn.items():
        colour = _PARTS[parts.index(name) % len(_PARTS)] if name in parts else _TOTAL
        band(axes, places, gains * metric.scale, colour)
        axes.plot(places, gains.mean(axis=0) * metric.scale, "o", color=colour, ms=3)
        ends[name] = (float(gains[:, -1].mean()) * metric.scale, colour)
    axes.axhline(0, color="#888888", lw=0.7, zorder=0)
    log_ticks(axes, {place: told_value(at) for at, place in study.curve.places().items()})
    label_ends(axes, ends, gap=0.13)
    title(part, f"Gain over nothing carried: {metric.label} (bands: 95 %)")
    note(axes, study.curve.over)
