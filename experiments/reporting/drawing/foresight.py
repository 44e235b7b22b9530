"""The figure's panels of what models foresee: open-loop error by horizon, and film strips."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import SubFigure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from experiments.reporting.drawing.marks import band, colour_of, label_ends, note, title
from experiments.reporting.metrics import METRICS, error_unit
from experiments.reporting.records import StudyRecord
from experiments.reporting.runs import DECODER, PROBE, RunRecord

CARRIED = ("model", "model+policy", "model+prior", "all")
TILES = 12
MOMENTS = ("start", "end")
CROWDED = 300
"""Ratio of an axis' ends from which only powers of ten are written on it."""


def has_horizon(study: StudyRecord) -> bool:
    """Say whether any run told errors by predicted row."""
    return any(run.foreseen(moment, decoded_by(study)) for run in study.finetuning for moment in MOMENTS)


def decoded_by(study: StudyRecord) -> str:
    """Return who decodes what is shown: the models' own decoders, or probes where a compared one has none."""
    runs = [run for name in compared(study) for run in study.of(name)]
    without = [run for run in runs if run.probe_end and not run.open_loop_end]
    return PROBE if without else DECODER


def draw_horizon(part: SubFigure, study: StudyRecord) -> None:
    """Draw the open-loop error of the compared conditions by steps ahead, before and after fine-tuning."""
    axes, reader = part.subplots(), decoded_by(study)
    scale = METRICS["open_loop_error_start"].scale
    moments = {"start": "-", "end": (0, (3, 1.5))}
    if len(compared(study)) > 2 and not has_phase_1(study):
        moments = {"end": "-"}  # many fresh models begin alike
    ends = {}
    for condition in compared(study):
        colour = colour_of(condition, study)
        for moment, dashes in moments.items():
            lines = errors_ahead(study.of(condition), moment, reader) * scale
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


def compared(study: StudyRecord) -> list[str]:
    """Return scratch and the first condition that carries the model, or those of a curve's two ends.

    Where nothing is carried: the first condition of each kind of model, by what it predicts.
    """
    carried = [name for name in CARRIED if name in study.conditions][:1] or _ends(study) or _carrying(study)
    chosen = [name for name in ("scratch", *carried) if name in study.conditions]
    return chosen or _predicting(study)


def _ends(study: StudyRecord) -> list[str]:
    """Conditions that carry the model and little else at the first and the last value of a curve."""
    points = () if study.curve is None else list(study.curve.factorials.values())
    cells = [[(len(c), name) for c, name in point.cells.items() if "model" in c] for point in points]
    return [min(found)[1] for found in (cells[0], cells[-1]) if found] if cells else []


def _carrying(study: StudyRecord) -> list[str]:
    """The first condition whose plan is one that carries the model, whatever the condition is called."""
    plans = {run.condition: (run.plan or "").partition(",")[0] for run in study.finetuning}
    return [name for name in study.conditions if plans.get(name) in CARRIED][:1]


def _predicting(study: StudyRecord) -> list[str]:
    """The first condition of each thing that models predict, or the first of all."""
    first: dict[str | None, str] = {}
    for name in study.conditions:
        for run in study.of(name):
            if run.kind == "model-based":
                first.setdefault(run.predicts, name)
    return list(first.values()) or list(study.conditions[:1])


def errors_ahead(runs: Iterable[RunRecord], moment: str, reader: str) -> np.ndarray:
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
    means = [errors_ahead(study.of(name), "start", decoded_by(study)) for name in compared(study)]
    if len(means) != 2 or not all(lines.size for lines in means) or means[1].mean() <= 0:
        return ""
    ratio = means[0].mean() / means[1].mean()
    return f", {ratio:.3g}x less" if ratio > 1 else ""


def films(study: StudyRecord) -> dict[str, np.ndarray]:
    """Return the strips of the compared conditions, one seed each; without a phase 1 those of the end."""
    strips, reader, moment = {}, decoded_by(study), "start" if has_phase_1(study) else "end"
    for condition in sorted(compared(study), key=lambda name: name == "scratch"):
        path = next((path for run in study.of(condition) if (path := run.film(moment, reader))), None)
        if path is not None:
            with Image.open(path) as image:
                strips[condition] = np.asarray(image.convert("RGB"))
    return strips


def has_phase_1(study: StudyRecord) -> bool:
    """Say whether anything was explored beforehand."""
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


def draw_dreams(part: SubFigure, study: StudyRecord) -> None:
    """Draw the truth, and below it what each compared model foresaw from actions alone."""
    rows = film_rows(films(study))
    by_probe = ", drawn by a probe of its latents" if decoded_by(study) == PROBE else ""
    moment = "before any fine-tuning" if has_phase_1(study) else "in the end"
    title(part, f"What each model foresees, open loop, {moment} (time →){by_probe}")
    grid = part.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, strip) in zip(grid, rows.items(), strict=True):
        axes.imshow(strip, interpolation="none", aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        colour = colour_of(name, study) if name in study.conditions else "#1a1a1a"
        axes.set_ylabel(name, rotation=0, ha="right", va="center", color=colour, weight="bold")
