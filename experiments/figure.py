"""The figure of a study: what was carried, what it brought, and what the models dream."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from experiments.anchors import RANDOM_POLICY, anchors_for
from experiments.records import RunRecord, StudyRecord
from experiments.report import METRICS
from training.state_tree import publish_bytes
from transfer.contributions import CONTRASTS, contributions, paired_contributions

QUESTION = "What was exploring without reward worth, and which part of it mattered?"
CARRIED = ("model", "model+policy", "model+prior", "all")
TILES = 12

# Okabe and Ito's palette, darkened where it is also the colour of text.
_COLOURS = {"scratch": "#666666", "policy": "#D55E00", "model": "#0072B2", "model+policy": "#00805E"}
_SPARE = ("#A8518A", "#B07D00", "#3A8FC4", "#8C564B", "#000000")
_PART = {"model": "#0072B2", "policy": "#D55E00", "both": "#00805E", "interaction": "#666666"}
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
    """Draw the study's figure as a PNG of about 1600 x 1100 pixels; panels without data are left out.

    Args:
        study: the study to show, with its finished runs.
        path: where to write the picture.

    Raises:
        UserError: the picture can't be written.
    """
    rows: list[tuple[list[Panel], float]] = [  # each with its height in inches
        ([p for p, data in ((_curves, _has_curves), (_horizon, _has_horizon)) if data(study)], 1.75),
        ([_contributions] if _shown_contributions(study) else [], 1.55),
        ([_dreams] if _films(study) else [], 1.45),
    ]
    rows = [row for row in rows if row[0]]
    picture = io.BytesIO()
    with rc_context(_STYLE):
        height = 0.55 + max(2.0, sum(height for _, height in rows) + 0.2)
        figure = Figure(figsize=(8.0, height), dpi=200, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        _headline(figure, study, height)
        left = _with_achievements(figure, study)
        if rows:
            _fill(left, study, rows)
        figure.savefig(picture, format="png")
    publish_bytes(Path(path), picture.getvalue())
    return Path(path)


def _with_achievements(figure: Figure, study: StudyRecord) -> Any:
    """Draw the achievements on the right, where there are any, and return what is left of the figure."""
    if not any(run.success for run in study.finetuning):
        return figure.subfigures(1, 1)
    left, right = figure.subfigures(1, 2, width_ratios=(2.5, 1), squeeze=False)[0]
    _achievements(right, study)
    return left


def _fill(left: Any, study: StudyRecord, rows: Sequence[tuple[list[Panel], float]]) -> None:
    bands = left.subfigures(len(rows), 1, height_ratios=[height for _, height in rows], squeeze=False)
    for band, (panels, _) in zip(bands[:, 0], rows, strict=True):
        parts = band.subfigures(1, len(panels), squeeze=False)
        for part, panel in zip(parts[0], panels, strict=True):
            panel(part, study)


def _headline(figure: Figure, study: StudyRecord, height: float) -> None:
    steps: dict[str, list[int]] = {
        phase: [run.env_step for run in study.runs if run.phase == phase and run.finished]
        for phase in ("pretrain", "finetune")
    }
    facts = [study.environment]
    if steps["pretrain"]:
        facts.append(f"{max(steps['pretrain']):,} reward-free steps")
    if steps["finetune"]:
        facts.append(f"{max(steps['finetune']):,} steps of fine-tuning")
    seeds = len({run.seed for run in study.finetuning})
    facts += [
        "1 seed: no intervals" if seeds == 1 else f"{seeds} paired seeds",
        f"Expedition {study.version}",
    ]
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0.006, 0.006, 0.988, 0.994 - 0.52 / height))
    top: dict[str, Any] = {"x": 0.012, "va": "top", "ha": "left"}
    figure.text(y=1 - 0.09 / height, s=QUESTION, fontsize=12.5, weight="bold", **top)
    figure.text(y=1 - 0.32 / height, s="  ·  ".join(facts), fontsize=8, color="#444444", **top)


# ---- Return during fine-tuning ----


def _has_curves(study: StudyRecord) -> bool:
    return any(len(_returns(run)[0]) > 1 for run in study.finetuning)


def _curves(part: SubFigure, study: StudyRecord) -> None:
    axes = part.subplots()
    seeds = len({run.seed for run in study.finetuning})
    ends = {}
    for condition in study.conditions:
        points = [_returns(run) for run in study.of(condition)]
        points = [(steps, values) for steps, values in points if len(steps) > 1]
        if not points:
            continue
        colour = colour_of(condition, study)
        grid = np.linspace(max(s[0] for s, _ in points), min(s[-1] for s, _ in points), 120)
        lines = np.stack([smooth(steps, values, grid) for steps, values in points])
        for steps, values in points:
            axes.plot(steps, values, ".", color=colour, alpha=0.28 / len(points) ** 0.5, ms=3, mew=0)
        _band(axes, grid, lines, colour)
        ends[condition] = (lines.mean(axis=0)[-1], colour)
    if anchors_for(study.environment) and RANDOM_POLICY.episode_return is not None:
        axes.axhline(RANDOM_POLICY.episode_return, color="#222222", lw=0.9, ls=":", zorder=1)
        ends["random (published)"] = (RANDOM_POLICY.episode_return, "#222222")
    _label_ends(axes, ends)
    axes.set_title("Return during fine-tuning")
    _note(axes, "environment steps (dots: episodes" + (")" if seeds == 1 else ", bands: range of seeds)"))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step else "0")


def _returns(run: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    pairs = sorted((e["env_step"], e["return"]) for e in run.episodes() if "return" in e)
    steps, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def smooth(steps: np.ndarray, values: np.ndarray, grid: np.ndarray, width: float = 0.1) -> np.ndarray:
    """Return the kernel-weighted mean of episodes around each step of a grid.

    Args:
        steps: when each episode ended, (n,).
        values: the episodes' returns, (n,).
        grid: where to evaluate, (g,).
        width: the Gaussian's standard deviation, as a share of the range of steps.
    """
    scale = max(width * float(np.ptp(steps)), 1e-9)
    # (g, n); the largest exponent is brought to 0, so that no row of weights vanishes.
    power = -0.5 * ((grid[:, None] - steps) / scale) ** 2
    weights = np.exp(power - power.max(axis=1, keepdims=True))
    return (weights @ values) / weights.sum(axis=1)


# ---- Open-loop error by horizon ----


def _has_horizon(study: StudyRecord) -> bool:
    return any(run.open_loop_start or run.open_loop_end for run in study.finetuning)


def _horizon(part: SubFigure, study: StudyRecord) -> None:
    axes = part.subplots()
    scale = METRICS["open_loop_error_start"].scale
    ends = {}
    for condition in _compared(study):
        colour = colour_of(condition, study)
        for moment, dashes in (("start", "-"), ("end", (0, (3, 1.5)))):
            lines = _errors(study.of(condition), moment) * scale
            if lines.size:
                _band(axes, np.arange(1, lines.shape[1] + 1), lines, colour, dashes)
                ends[f"{condition}, {moment}"] = (lines.mean(axis=0)[-1], colour)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _label_ends(axes, ends)
    axes.set_title("Open-loop error" + _ratio(study))
    _note(axes, "steps ahead (MSE x 1000, held-out episodes)")


def _compared(study: StudyRecord) -> list[str]:
    """Return scratch and the first condition that carries the model, where they exist."""
    carried = [name for name in CARRIED if name in study.conditions][:1]
    chosen = [name for name in ("scratch", *carried) if name in study.conditions]
    return chosen or list(study.conditions[:1])


def _errors(runs: Iterable[RunRecord], moment: str) -> np.ndarray:
    lines = [run.open_loop_start if moment == "start" else run.open_loop_end for run in runs]
    lines = [line for line in lines if line and np.isfinite(line).all()]
    shortest = min(map(len, lines), default=0)
    return np.array([line[:shortest] for line in lines], dtype=np.float64)


def _ratio(study: StudyRecord) -> str:
    means = [_errors(study.of(name), "start") for name in _compared(study)]
    if len(means) < 2 or not all(lines.size for lines in means) or means[1].mean() <= 0:
        return ""
    ratio = means[0].mean() / means[1].mean()
    return f": {ratio:.1f}x less at start" if ratio > 1 else ""


# ---- Contributions ----


def _shown_contributions(study: StudyRecord) -> list[str]:
    wanted = ("return", "crafter_score", "open_loop_error_start", "open_loop_error_end")
    return [name for name in wanted if contributions(study.values(name))][:2]


def _contributions(part: SubFigure, study: StudyRecord) -> None:
    names = _shown_contributions(study)
    found = {row for name in names for row in contributions(study.values(name))}
    rows = [row for row in CONTRASTS if row in found]
    panels = part.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _worth(axes, study, name, rows, labelled=axes is panels[0])


def _worth(axes: Axes, study: StudyRecord, name: str, rows: Sequence[str], labelled: bool) -> None:
    scale, values = METRICS[name].scale, study.values(name)
    by_seed = paired_contributions(values)
    worths = contributions(values)
    for contribution, worth in worths.items():
        row, colour = rows.index(contribution), _PART[contribution.split()[0]]
        mean = worth.mean * scale
        axes.plot([0, mean], [row, row], color=colour, lw=4.5, alpha=0.3, solid_capstyle="butt")
        if worth.low is not None and worth.high is not None:
            axes.plot([worth.low * scale, worth.high * scale], [row, row], color=colour, lw=1.1)
            seeds = [value * scale for value in by_seed[contribution].values()]
            axes.plot(seeds, [row + 0.27] * len(seeds), ".", color=colour, alpha=0.55, ms=3.2, mew=0)
        axes.plot(mean, row, "o", color=colour, ms=4.5)
    axes.axvline(0, color="#888888", lw=0.7, zorder=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), rows if labelled else [""] * len(rows))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(_WORTH_TITLES[name])
    counts = sorted({worth.n for worth in worths.values()})
    many = "dots: seeds" if labelled else "line: 95 % interval"
    _note(axes, f"paired difference ({many if counts[-1] > 1 else 'one seed'})")


_WORTH_TITLES = {
    "return": "Worth: return gained",
    "crafter_score": "Crafter score gained, points of %",
    "open_loop_error_start": "Error change at start, MSE x 1000 (↓)",
    "open_loop_error_end": "Error change at end, MSE x 1000 (↓)",
}


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
    _title(part, "Achievements, % of episodes")


def success_table(study: StudyRecord, conditions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return achievements, most often unlocked first, and (achievements, conditions) rates in percent."""
    names = dict.fromkeys(name for run in study.finetuning for name in run.success)
    means = {name: [_mean_rate(study.of(condition), name) for condition in conditions] for name in names}
    ordered = sorted(means, key=lambda name: (-sum(means[name]), name))
    return ordered, np.array([means[name] for name in ordered])


def _mean_rate(runs: Iterable[RunRecord], name: str) -> float:
    return float(np.mean([run.success.get(name, 0.0) for run in runs if run.success]))


# ---- Film strips ----


def _films(study: StudyRecord) -> dict[str, np.ndarray]:
    """Return the strips at the start of fine-tuning of the compared conditions, one seed each."""
    strips = {}
    for condition in _compared(study)[::-1]:
        path = next((path for run in study.of(condition) if (path := run.film("start"))), None)
        if path is not None:
            with Image.open(path) as image:
                strips[condition] = np.asarray(image.convert("RGB"))
    return strips


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
    rows = film_rows(_films(study))
    _title(part, "What each model foresees, open loop, before any fine-tuning (time →)")
    grid = part.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, strip) in zip(grid, rows.items(), strict=True):
        axes.imshow(strip, interpolation="nearest", aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        colour = colour_of(name, study) if name in study.conditions else "#1a1a1a"
        axes.set_ylabel(name, rotation=0, ha="right", va="center", color=colour, weight="bold")


def _title(part: SubFigure, text: str) -> None:
    part.suptitle(text, x=0.012, ha="left", fontsize=8.5, weight="bold")


def _note(axes: Axes, text: str) -> None:
    axes.set_xlabel(text, loc="left", fontsize=6.8, color="#444444")


def colour_of(condition: str, study: StudyRecord) -> str:
    """Return a condition's colour, the same in every panel."""
    others = [name for name in study.conditions if name not in _COLOURS]
    return _COLOURS.get(condition) or _SPARE[others.index(condition) % len(_SPARE)]


def _band(axes: Axes, x: np.ndarray, lines: np.ndarray, colour: str, dashes: Any = "-") -> None:
    """Draw the mean of lines (seeds, x) and, where there are several, the range over them."""
    axes.plot(x, lines.mean(axis=0), color=colour, lw=1.6, ls=dashes, zorder=3)
    if len(lines) > 1:
        axes.fill_between(x, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.14, lw=0)


def _label_ends(axes: Axes, ends: Mapping[str, tuple[float, str]], gap: float = 0.085) -> None:
    """Write each line's name at its right end, pushed apart where they would overlap."""
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    x = axes.get_xlim()[0]
    heights = {name: float(np.clip(to_axes((x, value))[1], 0, 1)) for name, (value, _) in ends.items()}
    for name, height in spread(heights, gap).items():
        text = axes.text(1.02, height, name, color=ends[name][1], transform=axes.transAxes, va="center")
        text.set(size=7, weight="normal" if "published" in name else "bold")


def spread(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Return heights in rising order, at least `gap` apart, moved as little as a few sweeps allow."""
    names = sorted(heights, key=lambda name: heights[name])
    y = np.array([heights[name] for name in names])
    for _ in range(100):
        short = np.maximum(gap - np.diff(y), 0) / 2
        if not short.size or short.max() < 1e-4:
            break
        y[:-1] -= short
        y[1:] += short
    return dict(zip(names, y.tolist(), strict=True))
