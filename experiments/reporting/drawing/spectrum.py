"""The figure's panel of what was reached by name: achievements of the final policies."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from experiments.reporting.drawing.marks import colour_of, note, title
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import RunRecord


def has_achievements(study: StudyRecord) -> bool:
    """Say whether any final policy achieved anything that has a name."""
    return any(any(run.success.values()) for run in study.finetuning)


def draw_achievements(part: SubFigure, study: StudyRecord) -> None:
    """Draw the share of final episodes that achieved each thing, for each condition."""
    conditions = [name for name in study.conditions if any(run.success for run in study.of(name))]
    names, rates = success_table(study, conditions)
    axes = part.subplots()
    heat_table(axes, names, conditions, rates)
    for label, condition in zip(axes.get_xticklabels(), conditions, strict=True):
        label.set_color(colour_of(condition, study))
    never = len({name for run in study.finetuning for name in run.success}) - len(names)
    note(axes, f"and {never} that nobody did" if never else "")
    achieved = any("crafter_score" in run.metrics for run in study.finetuning)
    title(part, f"{'Achievements' if achieved else 'Solved'}, % of episodes")


def success_table(study: StudyRecord, conditions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return what somebody unlocked, most often first, and (achievements, conditions) rates in percent."""
    names = dict.fromkeys(name for run in study.finetuning for name in run.success)
    means = {name: [_mean_rate(study.of(condition), name) for condition in conditions] for name in names}
    ordered = sorted((name for name in means if any(means[name])), key=lambda name: (-sum(means[name]), name))
    return ordered, np.array([means[name] for name in ordered])


def _mean_rate(runs: Iterable[RunRecord], name: str) -> float:
    return float(np.mean([run.success.get(name, 0.0) for run in runs if run.success]))


def heat_table(axes: Axes, names: Sequence[str], columns: Sequence[str], rates: np.ndarray) -> None:
    """Draw percentages (names, columns) as a table of coloured cells."""
    # The Crafter score averages log(1 + rate), so the colour follows it too.
    axes.imshow(
        np.log1p(rates), cmap="Greens", vmin=0, vmax=np.log1p(400.0), aspect="auto", interpolation="none"
    )
    for (row, column), rate in np.ndenumerate(rates):
        text = "·" if rate == 0 else f"{rate:.0f}" if rate >= 1 else "<1"
        shade = "#aaaaaa" if rate == 0 else "white" if rate > 40 else "#1a1a1a"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=shade)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=6.8)
    axes.set_xticks(range(len(columns)), columns, fontsize=7, weight="bold", rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
