"""The figure's panel of learning curves: evaluations on fixed episodes, or else training episodes."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from experiments.reporting.curves import smooth
from experiments.reporting.drawing.marks import band, colour_of, label_ends, note
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import RunRecord
from experiments.studies.conditions import RANDOM_POLICY
from transfer.statistics import MIN_SEEDS

GRID = 120
"""Points of a drawn curve."""
Curve = tuple[np.ndarray, np.ndarray]
"""Environment steps and returns, (n,) each."""


def has_curves(study: StudyRecord) -> bool:
    """Say whether any run has a curve to draw."""
    return any(len(curve[0]) > 1 for name in study.conditions for _, curve in _curves(study, name))


def draw_curves(part: SubFigure, study: StudyRecord) -> None:
    """Draw the return of the `drawn` conditions over fine-tuning, and the random policy's as a level."""
    axes, ends, most = part.subplots(), {}, 0
    drawn_lines: list[np.ndarray] = []
    evaluated = is_evaluated(study)
    for condition in study.drawn:
        found = _drawn(study, condition)
        if not found:
            continue
        colour, drawn = colour_of(condition, study), [curve for _, curve in found]
        grid, lines = _on_grid(found, evaluated)
        for steps, values in drawn if evaluated else ():  # single episodes would hide the lines
            axes.plot(steps, values, ".", color=colour, alpha=0.28 / len(drawn) ** 0.5, ms=3, mew=0)
        # Many bands over each other would be a grey cloud.
        band(axes, grid, lines, colour, alpha=min(0.14, 0.7 / len(study.drawn)))
        drawn_lines.append(lines)
        ends[condition], most = (lines.mean(axis=0)[-1], colour), max(most, len(lines))
    level = study.values("normalised_return" if len(study.tasks) > 1 else "return").get(RANDOM_POLICY)
    if level:
        mean, colour = float(np.mean(list(level.values()))), colour_of(RANDOM_POLICY, study)
        axes.axhline(mean, color=colour, lw=0.9, ls=":", zorder=1)
        ends[RANDOM_POLICY] = (mean, colour)
    _look_at(axes, drawn_lines)
    label_ends(axes, ends)
    axes.set_title("Return, normalised by task" if len(study.tasks) > 1 else "Return during fine-tuning")
    told = "dots: evaluations" if evaluated else "training episodes, smoothed"
    told += "; the factorial's conditions alone" if len(study.drawn) < len(study.conditions) else ""
    note(axes, f"environment steps ({told}" + ("; bands: 95 %)" if most >= MIN_SEEDS else ")"))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step else "0")


def mean_lines(study: StudyRecord) -> dict[str, Curve]:
    """Return what is drawn of each condition: steps (grid,), and a line for each seed, (seeds, grid)."""
    found = {name: _drawn(study, name) for name in study.conditions}
    return {name: _on_grid(curves, is_evaluated(study)) for name, curves in found.items() if curves}


def _drawn(study: StudyRecord, condition: str) -> list[tuple[RunRecord, Curve]]:
    return [(run, curve) for run, curve in _curves(study, condition) if len(curve[0]) > 1]


def _on_grid(found: Sequence[tuple[RunRecord, Curve]], evaluated: bool) -> Curve:
    drawn = [steps for _, (steps, _) in found]
    grid = np.linspace(max(steps[0] for steps in drawn), min(steps[-1] for steps in drawn), GRID)
    return grid, seed_lines(found, grid, evaluated)


def _look_at(axes: Axes, lines: Sequence[np.ndarray]) -> None:
    """Let the seeds' lines fill the panel: single episodes lie far outside, and their dots may be cut off."""
    if not lines:
        return
    low, high = min(line.min() for line in lines), max(line.max() for line in lines)
    room = 0.25 * max(high - low, 1e-9)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, low - room), min(top, high + room))


def is_evaluated(study: StudyRecord) -> bool:
    """Say whether every learning run was evaluated during training, and not at its ends alone."""
    runs = [run for run in study.finetuning if run.learns]
    return bool(runs) and all(len(run.evaluations()[0]) > 2 for run in runs)


def seed_lines(found: Iterable[tuple[RunRecord, Curve]], grid: np.ndarray, evaluated: bool) -> np.ndarray:
    """Return a line for each seed, the mean over its tasks, (seeds, grid); straight between evaluations."""
    by_seed: dict[int, list[np.ndarray]] = {}
    for run, (steps, values) in found:
        line = np.interp(grid, steps, values) if evaluated else smooth(steps, values, grid)
        by_seed.setdefault(run.seed, []).append(line)
    tasks = max(map(len, by_seed.values()))
    return np.array([np.mean(lines, axis=0) for lines in by_seed.values() if len(lines) == tasks])


def _curves(study: StudyRecord, condition: str) -> list[tuple[RunRecord, Curve]]:
    """The curves of a condition's runs; over several tasks on the scale of each, where it has one."""
    evaluated, found = is_evaluated(study), []
    for run in study.of(condition):
        if not run.learns or (len(study.tasks) > 1 and run.env not in study.scales):
            continue
        steps, values = run.evaluations() if evaluated else run.curve()
        zero, one = study.scales.get(run.env, (0.0, 1.0))
        shown = steps <= study.steps  # of a control that had more, those that all had
        found.append((run, (steps[shown], (values[shown] - zero) / (one - zero))))
    return found
