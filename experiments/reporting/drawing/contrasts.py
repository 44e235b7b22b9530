"""The figure's panel of a study's contrasts in the measure that it asks for."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from experiments.reporting.drawing.marks import colour_of, name_rows
from experiments.reporting.page.findings import EFFECT, LOSS, Finding
from experiments.reporting.records import StudyRecord

_OPEN = "#888888"


def in_one_measure(found: Sequence[Finding]) -> list[Finding]:
    """Return the findings of the measure that most of them are in, so that they share an axis."""
    names = [finding.metric.name for finding in found]
    return [f for f in found if names.count(f.metric.name) == max(map(names.count, names))]


def draw_findings(part: SubFigure, study: StudyRecord, found: Sequence[Finding]) -> None:
    """Draw each difference with its interval, in the colour of the condition that should gain.

    What is not decided is grey and hollow.
    """
    better = {contrast.label: contrast.conditions[0] for contrast in study.contrasts}
    axes: Axes = part.subplots()
    scale = found[0].metric.scale
    for row, finding in enumerate(found):
        known = better[finding.label] in study.conditions and finding.verdict in (EFFECT, LOSS)
        colour = colour_of(better[finding.label], study) if known else _OPEN
        if finding.low is not None and finding.high is not None:
            axes.plot(np.array([finding.low, finding.high]) * scale, [row, row], color=colour, lw=1.4)
        axes.plot(finding.mean * scale, row, "o", color=colour, mfc=colour if known else "white", ms=4.5)
    axes.axvline(0, color="#888888", lw=0.7, zorder=0)
    name_rows(axes, [finding.label for finding in found])
    axes.spines["left"].set_visible(False)
    axes.set_title("Contrasts")
    axes.set_xlabel(f"difference in {found[0].metric.title}", loc="left", fontsize=6.8, color="#444444")
