"""The figure's panels of where explorers went: over the levels, or by the names of what they reached."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle

from envs import Chart, charts
from expedition.errors import UserError
from experiments.reporting.drawing.marks import note, title
from experiments.reporting.drawing.spectrum import heat_table
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import RunRecord

LEVELS, EXPLORERS, THINGS = 5, 6, 40
"""Levels and explorers that are drawn at most, and names that fit a table."""
_COLOURS = "plasma"
_CELL = 0.72  # of a cell's width, so that the level is seen around it


def explorers(study: StudyRecord) -> dict[str, list[RunRecord]]:
    """Return the runs whose reach is shown: those of phase 1, or without one those of each condition."""
    groups = study.explorers() or {name: list(study.of(name)) for name in study.conditions}
    told = {name: [run for run in runs if run.reached] for name, runs in groups.items()}
    return dict(list({name: runs for name, runs in told.items() if runs}.items())[:EXPLORERS])


def counted(study: StudyRecord) -> bool:
    """Say whether all of these runs told how many of their episodes reached each thing."""
    return all(run.visits for runs in explorers(study).values() for run in runs)


def reach(study: StudyRecord) -> dict[str, dict[str, float]]:
    """Return explorer -> name -> percent of the training episodes that reached it, the mean over runs.

    Where a run did not count its episodes: percent of the runs in which any episode did.
    """
    share = _of_episodes if counted(study) else _of_runs
    return {name: share(runs) for name, runs in explorers(study).items()}


def _of_episodes(runs: Sequence[RunRecord]) -> dict[str, float]:
    episodes = np.array([max(1, len(run.episodes())) for run in runs])
    names = {name for run in runs for name in run.visits}
    return {name: 100 * float(np.mean([r.visits.get(name, 0) for r in runs] / episodes)) for name in names}


def _of_runs(runs: Sequence[RunRecord]) -> dict[str, float]:
    names = {name for run in runs for name in run.reached}
    return {name: 100 * float(np.mean([name in run.reached for run in runs])) for name in names}


def explored_charts(study: StudyRecord) -> list[Chart]:
    """Return the places that were explored, as far as anything that was reached lies on them."""
    groups = explorers(study)
    env = next((run.env for runs in groups.values() for run in runs), None)
    if env is None:
        return []
    reached = {name for runs in groups.values() for run in runs for name in run.reached}
    try:
        found = charts(env)
    except UserError:  # an environment of another version, or of a package that is not here
        return []
    return [chart for chart in found if reached & chart.cells.keys()][:LEVELS]


def measure(study: StudyRecord) -> str:
    """Say what the numbers of `reach` are."""
    if counted(study):
        return "% of training episodes that went there"
    return "% of runs that went there at all"


def draw_map(part: SubFigure, study: StudyRecord) -> None:
    """Draw where each explorer went, a row each, over the levels, from left to right."""
    places, groups = explored_charts(study), reach(study)
    grid = part.subplots(len(groups), len(places), squeeze=False)
    for number, (name, shares) in enumerate(groups.items()):
        for axes, chart in zip(grid[number], places, strict=True):
            _draw_chart(axes, chart, shares)
            axes.set_xlabel(chart.name, fontsize=6.8, color="#444444", labelpad=2)
        grid[number][0].set_title(name, fontsize=7.5)
    scale = ScalarMappable(cmap=_COLOURS)
    scale.set_clim(0, 100)
    bar = part.colorbar(scale, ax=grid, orientation="horizontal", aspect=60, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=6.5)
    bar.set_label(measure(study), fontsize=6.8, color="#444444", loc="left")


def _draw_chart(axes: Axes, chart: Chart, shares: Mapping[str, float]) -> None:
    axes.imshow(chart.picture, interpolation="none", extent=(0, chart.columns, chart.rows, 0))
    found = {place: shares[name] for name, place in chart.cells.items() if shares.get(name)}
    low = (1 - _CELL) / 2
    boxes = [Rectangle((column + low, row + low), _CELL, _CELL) for row, column in found]
    heat = PatchCollection(boxes, cmap=_COLOURS, lw=0)
    heat.set_array(np.array(list(found.values())))
    heat.set_clim(0, 100)
    axes.add_collection(heat)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def reached_table(study: StudyRecord) -> tuple[list[str], list[str], np.ndarray]:
    """Return names, most often reached first, explorers, and percent, (names, explorers)."""
    groups = reach(study)
    names = dict.fromkeys(name for shares in groups.values() for name in shares)
    rows = {name: [shares.get(name, 0.0) for shares in groups.values()] for name in names}
    ordered = sorted(rows, key=lambda name: (-sum(rows[name]), name))
    return ordered, list(groups), np.array([rows[name] for name in ordered])


def draw_reached(part: SubFigure, study: StudyRecord) -> None:
    """Draw how often each explorer reached each thing, as a table."""
    names, columns, rates = reached_table(study)
    axes = part.subplots()
    heat_table(axes, names, columns, rates)
    note(axes, measure(study))
    title(part, "What explorers reached without reward" if study.explorers() else "What was reached")
