"""The figure's panels of what was worth what: effects, performance profiles, probabilities of improvement."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from experiments.reporting.drawing.marks import colour_of, label_ends, name_rows, note, title
from experiments.reporting.metrics import METRICS, RAW, metric_of
from experiments.reporting.records import StudyRecord
from experiments.reporting.summary import contrasted, profile
from experiments.studies.conditions import RANDOM_POLICY
from transfer.contributions import Effect, contributions
from transfer.statistics import MIN_SEEDS, MIN_SEEDS_PROBABILITY

ROWS = 8
"""Effects that are shown at most, the most telling ones first."""

_KINDS = ("total", "shapley", "interaction", "alone", "last", "main")
_PART = ("#0072B2", "#D55E00", "#A8518A", "#B07D00", "#3A8FC4")
_TOTAL, _INTERACTION = "#00805E", "#666666"
_TITLES = {
    "success_rate": "Worth: success, %",
    "return": "Worth: return",
    "normalised_return": "Worth: return, by task",
    "auc": "Worth: area",
    "normalised_auc": "Worth: area, by task",
    "crafter_score": "Worth: Crafter score",
    "open_loop_error_start": "Error at start, x 1000 (↓)",
    "open_loop_error_end": "Error at end, x 1000 (↓)",
    "probe_error_start": "Probe's error at start, x 1000 (↓)",
    "probe_error_end": "Probe's error at end, x 1000 (↓)",
}


def shown_measures(study: StudyRecord) -> list[str]:
    """Return the measures whose contributions are drawn: at most three that have any."""
    names = [name for name in _TITLES if contributions(study.values(name), study.factorial)]
    hidden: set[str] = set(RAW) if len(study.tasks) > 1 else set()
    solved = [float(np.max(v)) for by_seed in study.values("success_rate").values() for v in by_seed.values()]
    if (len(study.tasks) > 1 and study.score != "success_rate") or not any(solved):
        hidden.add("success_rate")  # hardly anybody succeeded, or nobody
    return [name for name in names if name not in hidden][:3]


def draw_contributions(part: SubFigure, study: StudyRecord) -> None:
    """Draw the effects of the factorial, one panel a measure."""
    names = shown_measures(study)
    found = {row for name in names for row in contributions(study.values(name), study.factorial)}
    effects = [effect for effect in study.factorial.effects() if effect.name in found]
    rows = sorted(effects, key=lambda effect: _KINDS.index(effect.kind))[:ROWS]
    panels = part.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _worth(axes, study, name, rows, labelled=axes is panels[0])


def draw_worth(part: SubFigure, study: StudyRecord, measure: str) -> None:
    """Draw the effects of the factorial in one measure, all of them."""
    _worth(part.subplots(), study, measure, shown_effects(study, measure), labelled=True)


def shown_effects(study: StudyRecord, measure: str) -> list[Effect]:
    """Return the effects that have a value in a measure, the most telling first; no two that are one number.

    Of two components main effects equal Shapley values.
    """
    found = contributions(study.values(measure), study.factorial)
    effects = [effect for effect in study.factorial.effects() if effect.name in found]
    if len(study.factorial.components) == 2:
        effects = [effect for effect in effects if effect.kind != "main"]
    return sorted(effects, key=lambda effect: _KINDS.index(effect.kind))


def _worth(axes: Axes, study: StudyRecord, name: str, effects: Sequence[Effect], labelled: bool) -> None:
    scale, values = METRICS[name].scale, study.values(name)
    worths, most = contributions(values, study.factorial), 1
    for row, effect in enumerate(effects):
        worth, colour = worths.get(effect.name), _colour(effect, study)
        if worth is None:
            continue
        mean, most = worth.mean * scale, max(most, worth.n)
        axes.plot([0, mean], [row, row], color=colour, lw=4.0, alpha=0.3, solid_capstyle="butt")
        if worth.low is not None and worth.high is not None:
            axes.plot([worth.low * scale, worth.high * scale], [row, row], color=colour, lw=1.1)
        if worth.n > 1:
            seeds = [
                float(np.mean(value)) * scale for value in study.factorial.paired(effect, values).values()
            ]
            axes.plot(seeds, [row + 0.3] * len(seeds), ".", color=colour, alpha=0.55, ms=2.8, mew=0)
        axes.plot(mean, row, "o", color=colour, ms=4)
    axes.axvline(0, color="#888888", lw=0.7, zorder=0)
    axes.set_ylim(len(effects) - 0.4, -0.6)
    axes.set_yticks(
        range(len(effects)), [effect.name for effect in effects] if labelled else [""] * len(effects)
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(_TITLES[name], fontsize=7.8)
    if labelled:
        line = ", line: 95 % interval" if most >= MIN_SEEDS else ""
        note(axes, "paired difference (" + (f"dots: seeds{line})" if most > 1 else "one seed)"))


def _colour(effect: Effect, study: StudyRecord) -> str:
    if effect.kind == "total":
        return _TOTAL
    if effect.kind == "interaction":
        return _INTERACTION
    return _PART[study.factorial.components.index(effect.components[0]) % len(_PART)]


def has_odds(study: StudyRecord) -> bool:
    """Say whether there are seeds enough for profiles and probabilities to tell anything."""
    seeds = [len(by_seed) for by_seed in study.values(study.score).values()]
    return len(seeds) > 1 and min(seeds) >= MIN_SEEDS_PROBABILITY


def draw_profile(part: SubFigure, study: StudyRecord) -> None:
    """Draw, for each of the `drawn` conditions, the share of runs whose return is above a threshold."""
    axes, ends = part.subplots(), {}
    values_of = study.values(study.score)
    shown = profile({n: by_seed for n, by_seed in values_of.items() if n in (*study.drawn, RANDOM_POLICY)})
    for condition, shares in shown["conditions"].items():
        colour = colour_of(condition, study)
        values = np.array([[share["value"], share["low"], share["high"]] for share in shares], dtype=float)
        axes.step(shown["thresholds"], values[:, 0], where="post", color=colour, lw=1.4)
        alpha = min(0.07, 0.4 / len(shown["conditions"]))
        ends_of = values[:, 1], values[:, 2]
        axes.fill_between(shown["thresholds"], *ends_of, step="post", color=colour, alpha=alpha, lw=0)
        ends[condition] = (float(values[:, 0].mean()), colour)
    axes.set_yticks((0, 0.5, 1))  # chosen by room, they would outgrow the margin that was made for others
    label_ends(axes, ends, gap=0.13)
    axes.set_title("Performance profile")
    note(axes, f"final {metric_of(study.score).label}: share of runs above it (bands: 95 %)")


def draw_odds(part: SubFigure, study: StudyRecord, above: bool = False) -> None:
    """Draw, for each contrast, the probability that a run of the first has the higher final return.

    Its name stands at the left, or with `above` above it.
    """
    found = contrasted(study, study.contrasts, study.score, study.values(study.score))
    pairs = {c.label: c.better for c in study.contrasts if "probability" in found.get(c.label, {})}
    axes = part.subplots()
    for row, (label, better) in enumerate(pairs.items()):
        cell, colour = found[label], colour_of(better, study)
        if cell["probability_low"] is not None:
            axes.plot([cell["probability_low"], cell["probability_high"]], [row, row], color=colour, lw=1.1)
        axes.plot(cell["probability"], row, "o", color=colour, ms=4)
    axes.axvline(0.5, color="#888888", lw=0.7, zorder=0)
    axes.set(xlim=(-0.04, 1.04), ylim=(len(pairs) - 0.5, -0.6))
    if above:
        name_rows(axes, list(pairs))
    else:
        axes.set_yticks(range(len(pairs)), list(pairs), fontsize=6.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    title(part, f"Probability of improvement, final {metric_of(study.score).label}")
    intervals = any(found[label]["probability_low"] is not None for label in pairs)
    note(axes, "line: 95 %" if intervals else "")
