"""What the panels of the figure share: colours, bands, labels."""

import textwrap
from collections.abc import Mapping, Sequence
from colorsys import hls_to_rgb
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import SubFigure
from matplotlib.ticker import NullLocator

from experiments.reporting.records import StudyRecord
from experiments.studies.conditions import RANDOM_POLICY
from transfer.statistics import MIN_SEEDS, estimate

# Okabe and Ito's palette, darkened where it is also the colour of text.
_COLOURS = {"scratch": "#666666", "policy": "#D55E00", "model": "#0072B2", "model+policy": "#00805E"}
_COLOURS[RANDOM_POLICY] = "#3A3A3A"
# At least 20 apart in CIELAB, from these and from each other, and dark enough for text on white.
_SPARE = (
    *("#A8518A", "#B07D00", "#8877EE", "#8C564B", "#000000", "#559900"),
    *("#CC0044", "#1B1B8C", "#009EA8", "#882299", "#E85AA8", "#5A5A00"),
)
_GOLDEN = 0.618034  # of a turn: hues that follow each other in such steps stay apart, however many they are

STYLE: Any = {
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
"""Matplotlib's settings for every figure."""

NOTE_COLUMNS = 46
"""Characters of a line of a note."""


def title(part: SubFigure, text: str) -> None:
    """Write the title of a panel that isn't one pair of axes."""
    part.suptitle(text, x=0.012, ha="left", fontsize=8.5, weight="bold")


def note(axes: Axes, text: str) -> None:
    """Write what the horizontal axis is, and what is drawn, in lines no wider than a narrow panel."""
    lines = textwrap.fill(text.replace(" %", "\u00a0%"), NOTE_COLUMNS, break_on_hyphens=False)
    axes.set_xlabel(lines, loc="left", fontsize=6.8, color="#444444")


def colour_of(condition: str, study: StudyRecord) -> str:
    """Return a condition's colour, the same in every panel."""
    if condition in _COLOURS:
        return _COLOURS[condition]
    place = [name for name in study.conditions if name not in _COLOURS].index(condition)
    if place < len(_SPARE):
        return _SPARE[place]
    return to_hex(hls_to_rgb(place * _GOLDEN % 1, 0.35, 0.55))


def band(
    axes: Axes, x: np.ndarray, lines: np.ndarray, colour: str, dashes: Any = "-", alpha: float = 0.14
) -> None:
    """Draw the mean of lines (seeds, x) and, at each x, its 95 % interval where there are enough seeds."""
    axes.plot(x, lines.mean(axis=0), color=colour, lw=1.6, ls=dashes, zorder=3)
    if len(lines) >= MIN_SEEDS:
        found = [estimate(column) for column in lines.T]
        low, high = (np.array([getattr(e, end) for e in found], dtype=float) for end in ("low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=alpha, lw=0)


def log_ticks(axes: Axes, ticks: Mapping[int, str]) -> None:
    """Make the horizontal axis logarithmic, with these places named and no others."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(ticks), list(ticks.values()))


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write the names of rows 0, 1, ... above them, where at the left they would take the panel's width."""
    for row, name in enumerate(names):
        place: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(name, (0, row - 0.34), (2, 0), fontsize=7, va="center", **place)
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.6, -0.75)


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, str]], gap: float = 0.085) -> None:
    """Write each line's name at its right end, pushed apart where they would overlap."""
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    x = axes.get_xlim()[0]
    heights = {name: float(np.clip(to_axes((x, value))[1], 0, 1)) for name, (value, _) in ends.items()}
    for name, height in spread(heights, gap).items():
        text = axes.text(1.02, height, name, color=ends[name][1], transform=axes.transAxes, va="center")
        text.set(size=7, weight="normal" if "published" in name else "bold")


def spread(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Return heights in rising order, at least `gap` apart, moved as little as a few sweeps allow.

    They stay between 0 and 1 where there is room, and fill it where there is not.
    """
    gap = min(gap, 1 / max(1, len(heights) - 1))
    names = sorted(heights, key=lambda name: heights[name])
    y = np.array([heights[name] for name in names])
    for _ in range(1000):
        short = np.maximum(gap - np.diff(y), 0) / 2
        if not short.size or short.max() < 1e-4:
            break
        y[:-1] -= short
        y[1:] += short
        y = np.clip(y, 0, 1)
    return dict(zip(names, y.tolist(), strict=True))
