"""The figure of a study: what was carried, what it brought, and what the models dream."""

import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from experiments.reporting.answer import answer, in_lines
from experiments.reporting.drawing.foresight import draw_dreams, draw_horizon, films, has_horizon
from experiments.reporting.drawing.learning import draw_curves, has_curves
from experiments.reporting.drawing.marks import STYLE
from experiments.reporting.drawing.over import draw_curve, has_curve
from experiments.reporting.drawing.planning import draw_searches, has_searches
from experiments.reporting.drawing.spectrum import draw_achievements, has_achievements
from experiments.reporting.drawing.worth import (
    draw_contributions,
    draw_odds,
    draw_profile,
    has_odds,
    shown_measures,
)
from experiments.reporting.records import StudyRecord
from training.storage.state_tree import publish_bytes

TITLE_COLUMNS, FACTS_COLUMNS = 88, 120
"""Characters of a line of the headline that surely fit the width."""
TITLE_LINE, FACTS_LINE = 0.18, 0.14
"""Height of such a line in inches."""

Panel = Callable[[SubFigure, StudyRecord], None]


def draw_report(study: StudyRecord, path: Path | str) -> Path:
    """Draw the study's figure as a PNG 1600 pixels wide; panels without data are left out.

    Args:
        study: the study to show, with its finished runs.
        path: where to write the picture.

    Raises:
        UserError: the picture can't be written.
    """
    dreams = films(study)
    rows: list[tuple[list[Panel], float]] = [  # each with its height in inches
        ([p for p, data in ((draw_curves, has_curves), (draw_horizon, has_horizon)) if data(study)], 1.75),
        ([draw_contributions] if shown_measures(study) else [], 1.75),
        ([draw_curve] if has_curve(study) else [], 1.75),
        ([draw_profile, draw_odds] if has_odds(study) else [], max(1.4, 0.55 + 0.12 * _lines(study))),
        ([draw_searches] if has_searches(study) else [], 1.75),
        ([draw_dreams] if dreams else [], 0.52 + 0.31 * (1 + len(dreams))),
    ]
    rows = [row for row in rows if row[0]]
    picture = io.BytesIO()
    with rc_context(STYLE):
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
    return max(len(study.drawn), len(study.contrasts))


def _with_achievements(figure: Figure, study: StudyRecord) -> Any:
    """Draw the achievements on the right, where there are any, and return what is left of the figure."""
    if not has_achievements(study):
        return figure.subfigures(1, 1)
    left, right = figure.subfigures(1, 2, width_ratios=(2.5, 1), squeeze=False)[0]
    draw_achievements(right, study)
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
