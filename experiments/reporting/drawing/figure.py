"""The figure of a study: what was carried, what it brought, and what the models dream."""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from experiments.reporting.answer import answer, in_lines
from experiments.reporting.drawing.learning import draw_curves, has_curves
from experiments.reporting.drawing.marks import band, colour_of, label_ends, note, title
from experiments.reporting.drawing.planning import draw_searches, has_searches
from experiments.reporting.drawing.worth import (
    draw_contributions,
    draw_odds,
    draw_profile,
    has_odds,
    shown_measures,
)
from experiments.reporting.metrics import METRICS, error_unit
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import DECODER, PROBE, RunRecord
from training.storage.state_tree import publish_bytes

CARRIED = ("model", "model+policy", "model+prior", "all")
TILES = 12
MOMENTS = ("start", "end")
CROWDED = 300
"""Ratio of an axis' ends from which only powers of ten are written on it."""
TITLE_COLUMNS, FACTS_COLUMNS = 88, 120
"""Characters of a line of the headline that surely fit the width."""
TITLE_LINE, FACTS_LINE = 0.18, 0.14
"""Height of such a line in inches."""

_STYLE: Any = {
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}

Panel = Callable[[SubFigure, StudyRecord], None]


def draw_report(study: StudyRecord, path: Path | str) -> Path:
    """Draw the study's figure as a PNG 1600 pixels wide; panels without data are left out.

    Args:
        study: the study to show, with its finished runs.
        path: where to write the picture.

    Raises:
        UserError: the picture can't be written.
    """
    rows: list[tuple[list[Panel], float]] = [  # each with its height in inches
        ([p for p, data in ((draw_curves, has_curves), (_horizon, _has_horizon)) if data(study)], 1.75),
        ([draw_contributions] if shown_measures(study) else [], 1.75),
        ([draw_profile, draw_odds] if has_odds(study) else [], max(1.4, 0.55 + 0.12 * _lines(study))),
        ([draw_searches] if has_searches(study) else [], 1.75),
        ([_dreams] if films(study) else [], 1.45),
    ]
    rows = [row for row in rows if row[0]]
    picture = io.BytesIO()
    with rc_context(_STYLE):
        head = _head(study)
        height = head[2] + max(2.0, sum(height for _, height in rows) + 0.2)
        figure = Figure(figsize=(8.0, height), dpi=200, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        _headline(figure, head, height)
        left = _with_achievements(figure, study)
        if rows:
            _fill(left, study, rows)
        figure.savefig(picture, format="png")
    publish_bytes(Path(path), picture.getvalue())
    return Path(path)


def _lines(study: StudyRecord) -> int:
    """Return how many names stand below each other in the longer list, of profiles or probabilities."""
    return max(len(study.conditions), len(study.contrasts))


def _with_achievements(figure: Figure, study: StudyRecord) -> Any:
    """Draw the achievements on the right, where there are any, and return what is left of the figure."""
    if not any(any(run.success.values()) for run in study.finetuning):
        return figure.subfigures(1, 1)
    left, right = figure.subfigures(1, 2, width_ratios=(2.5, 1), squeeze=False)[0]
    _achievements(right, study)
    return left


def _fill(left: Any, study: StudyRecord, rows: Sequence[tuple[list[Panel], float]]) -> None:
    bands = left.subfigures(len(rows), 1, height_ratios=[height for _, height in rows], squeeze=False)
    for strip, (panels, _) in zip(bands[:, 0], rows, strict=True):
        parts = strip.subfigures(1, len(panels), squeeze=False)
        for part, panel in zip(parts[0], panels, strict=True):
            panel(part, study)


def _head(study: StudyRecord) -> tuple[str, str, float]:
    """The answer and the facts of the study, as lines that fit the width, and their height in inches."""
    steps: dict[str, list[int]] = {
        phase: [run.env_step for run in study.runs if run.phase == phase and run.finished]
        for phase in ("pretrain", "finetune")
    }
    facts = [study.environment]
    if steps["pretrain"]:
        facts.append(f"{max(steps['pretrain']):,} reward-free steps")
    if steps["finetune"]:
        facts.append(f"{study.steps:,} steps of fine-tuning")
    seeds = len({run.seed for run in study.finetuning})
    facts += [
        "1 seed: no intervals" if seeds == 1 else f"{seeds} paired seeds",
        f"Expedition {study.version}",
    ]
    answered = in_lines(answer(study)["sentence"], TITLE_COLUMNS)
    told = textwrap.wrap("  ·  ".join(facts), FACTS_COLUMNS, break_on_hyphens=False)
    return "\n".join(answered), "\n".join(told), TITLE_LINE * len(answered) + FACTS_LINE * len(told) + 0.16


def _headline(figure: Figure, head: tuple[str, str, float], height: float) -> None:
    answered, told, reach = head
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0.006, 0.006, 0.988, 0.994 - reach / height))
    top: dict[str, Any] = {"x": 0.012, "va": "top", "ha": "left"}
    figure.text(y=1 - 0.09 / height, s=answered, fontsize=10, weight="bold", **top)
    below = 0.11 + TITLE_LINE * len(answered.splitlines())
    figure.text(y=1 - below / height, s=told, fontsize=8, color="#444444", **top)


# ---- Open-loop error by horizon ----


def _has_horizon(study: StudyRecord) -> bool:
    return any(run.foreseen(moment, decoded_by(study)) for run in study.finetuning for moment in MOMENTS)


def decoded_by(study: StudyRecord) -> str:
    """Return who decodes what is shown: the models' own decoders, or probes where a compared one has none."""
    runs = [run for name in _compared(study) for run in study.of(name)]
    without = [run for run in runs if run.probe_end and not run.open_loop_end]
    return PROBE if without else DECODER


def _horizon(part: SubFigure, study: StudyRecord) -> None:
    axes, reader = part.subplots(), decoded_by(study)
    scale = METRICS["open_loop_error_start"].scale
    ends = {}
    for condition in _compared(study):
        colour = colour_of(condition, study)
        for moment, dashes in zip(MOMENTS, ("-", (0, (3, 1.5))), strict=True):
            lines = _errors(study.of(condition), moment, reader) * scale
            if lines.size:
                band(axes, np.arange(1, lines.shape[1] + 1), lines, colour, dashes)
                ends[f"{condition}, {moment}"] = (lines.mean(axis=0)[-1], colour)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < CROWDED * low else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(axes, ends)
    axes.set_title(("Open-loop error" if reader == DECODER else "Probes' open-loop error") + _ratio(study))
    note(axes, f"steps ahead, held-out episodes (x 1000, {error_unit(study.observed)})")


def _compared(study: StudyRecord) -> list[str]:
    """Return scratch and the first condition that carries the model, where they exist."""
    carried = [name for name in CARRIED if name in study.conditions][:1]
    chosen = [name for name in ("scratch", *carried) if name in study.conditions]
    return chosen or list(study.conditions[:1])


def _errors(runs: Iterable[RunRecord], moment: str, reader: str) -> np.ndarray:
    """Errors by predicted row, a line for each seed, the mean over its tasks: (seeds, rows)."""
    by_seed: dict[int, list[tuple[float, ...]]] = {}
    for run in runs:
        line = run.foreseen(moment, reader)
        if line and np.isfinite(line).all():
            by_seed.setdefault(run.seed, []).append(line)
    shortest = min((len(line) for lines in by_seed.values() for line in lines), default=0)
    tables = [np.array([line[:shortest] for line in lines]) for lines in by_seed.values()]
    return np.array([table.mean(axis=0) for table in tables])


def _ratio(study: StudyRecord) -> str:
    means = [_errors(study.of(name), "start", decoded_by(study)) for name in _compared(study)]
    if len(means) < 2 or not all(lines.size for lines in means) or means[1].mean() <= 0:
        return ""
    ratio = means[0].mean() / means[1].mean()
    return f", {ratio:.3g}x less" if ratio > 1 else ""


# ---- Achievements ----


def _achievements(part: SubFigure, study: StudyRecord) -> None:
    conditions = [name for name in study.conditions if any(run.success for run in study.of(name))]
    names, rates = success_table(study, conditions)
    axes = part.subplots()
    # The Crafter score averages log(1 + rate), so the colour follows it too.
    axes.imshow(np.log1p(rates), cmap="Greens", vmin=0, vmax=np.log1p(400.0), aspect="auto")
    for (row, column), rate in np.ndenumerate(rates):
        text = "·" if rate == 0 else f"{rate:.0f}" if rate >= 1 else "<1"
        shade = "#aaaaaa" if rate == 0 else "white" if rate > 40 else "#1a1a1a"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=shade)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=6.8)
    axes.set_xticks(range(len(conditions)), conditions, fontsize=7, weight="bold", rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=1)
    for label, condition in zip(axes.get_xticklabels(), conditions, strict=True):
        label.set_color(colour_of(condition, study))
    axes.spines[:].set_visible(False)
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


# ---- Film strips ----


def films(study: StudyRecord) -> dict[str, np.ndarray]:
    """Return the strips of the compared conditions, one seed each; without a phase 1 those of the end."""
    strips, reader, moment = {}, decoded_by(study), "start" if _has_phase_1(study) else "end"
    for condition in _compared(study)[::-1]:
        path = next((path for run in study.of(condition) if (path := run.film(moment, reader))), None)
        if path is not None:
            with Image.open(path) as image:
                strips[condition] = np.asarray(image.convert("RGB"))
    return strips


def _has_phase_1(study: StudyRecord) -> bool:
    return any(run.phase == "pretrain" for run in study.runs)


def film_rows(strips: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is shown, top down: the truth once where the strips share it, then each model's dream.

    Args:
        strips: condition -> (3 * h, w, 3), top down: truth, open-loop prediction, their difference.
    """
    rows: dict[str, np.ndarray] = {}
    shared: np.ndarray | None = None
    for condition, strip in strips.items():
        height = strip.shape[0] // 3
        truth, dream = strip[:height], strip[height : 2 * height]
        if shared is None or not np.array_equal(shared, truth):
            rows["truth" if shared is None else f"truth ({condition})"] = thin(truth)
            shared = truth
        rows[condition] = thin(dream)
    return rows


def thin(strip: np.ndarray) -> np.ndarray:
    """Return at most `TILES` evenly spaced square tiles of a strip, first and last among them."""
    height, width = strip.shape[:2]
    count = width // height
    if count * height != width or count <= TILES:
        return strip
    chosen = np.linspace(0, count - 1, TILES).round().astype(int)
    return np.concatenate([strip[:, i * height : (i + 1) * height] for i in chosen], axis=1)


def _dreams(part: SubFigure, study: StudyRecord) -> None:
    rows = film_rows(films(study))
    by_probe = ", drawn by a probe of its latents" if decoded_by(study) == PROBE else ""
    moment = "before any fine-tuning" if _has_phase_1(study) else "in the end"
    title(part, f"What each model foresees, open loop, {moment} (time →){by_probe}")
    grid = part.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, strip) in zip(grid, rows.items(), strict=True):
        axes.imshow(strip, interpolation="nearest", aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        colour = colour_of(name, study) if name in study.conditions else "#1a1a1a"
        axes.set_ylabel(name, rotation=0, ha="right", va="center", color=colour, weight="bold")
