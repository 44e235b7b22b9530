"""What a study found, contrast by contrast: a difference, its interval, and whether it decides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.reporting.metrics import METRICS, PRETRAINING, Metric, metric_of
from experiments.reporting.records import StudyRecord
from experiments.reporting.report import decimals

EFFECT, LOSS, OPEN = "an effect", "a loss", "not decided"
FEW, SAME = "too few seeds", "every seed gave the same, so not decided"
"""What a finding can be; the last two where there is no interval, or one without width."""


@dataclass(frozen=True)
class Finding:
    """One contrast in one measure.

    Attributes:
        label: what the study calls it.
        metric: the measure.
        mean: the paired difference, in the measure's stored unit.
        low: lower end of its 95 % interval; None where there are too few seeds.
        high: upper end.
        n: seeds.
        places: decimals that show it well.
    """

    label: str
    metric: Metric
    mean: float
    low: float | None
    high: float | None
    n: int
    places: int

    @property
    def verdict(self) -> str:
        """Whether the interval excludes zero, and on which side."""
        if self.low is None or self.high is None:
            return FEW
        if math.isclose(self.low, self.high, rel_tol=1e-9, abs_tol=1e-12):  # too coarse a measure to spread
            return SAME
        if self.low <= 0 <= self.high:
            return OPEN
        return EFFECT if (self.mean > 0) == self.metric.higher_is_better else LOSS

    @property
    def difference(self) -> str:
        """The mean with its sign and its interval: `+0.21 [+0.12, +0.31]`."""
        ends = [end for end in (self.mean, self.low, self.high) if end is not None]
        mean, *interval = (signed(end * self.metric.scale, self.places) for end in ends)
        return f"{mean} [{', '.join(interval)}]" if interval else mean

    @property
    def words(self) -> str:
        """What the difference is counted in."""
        return self.metric.words or f"{self.metric.label} {self.metric.unit}".strip()

    @property
    def seeds(self) -> str:
        """On how much it rests."""
        return "one seed" if self.n == 1 else f"{self.n} seeds"

    @property
    def sentence(self) -> str:
        """All of it: `label: +0.21 [+0.12, +0.31] return an episode, 5 seeds: an effect`."""
        return f"{self.label}: {self.difference} {self.words}, {self.seeds}: {self.verdict}."


def signed(value: float, places: int) -> str:
    """Return a number with its sign and a number of decimals; what rounds to zero has a plus."""
    return f"{round(value, places) + 0.0:+.{places}f}"


def findings(study: StudyRecord, summary: Mapping[str, Any]) -> list[Finding]:
    """Return the study's contrasts that have a value, each in the measure that counts for it.

    That is the question's, where there is one of this phase and the contrast has it; else the study's score
    and, for contrasts of phase 1, the first of `PRETRAINING` that there is.

    Args:
        study: what was read from its folder.
        summary: what `summarise` returned for it.
    """
    asked = study.question
    found = []
    for contrast in study.contrasts:
        early = contrast.of_phase_1
        table = summary["pretraining_contrasts" if early else "contrasts"]
        row = table.get(contrast.label, {})
        wanted = [] if asked is None or asked.contrast.of_phase_1 != early else [asked.metric]
        wanted += list(PRETRAINING) if early else [study.score, *METRICS]
        name = next((name for name in wanted if name in row), None)
        if name is not None:
            found.append(_finding(contrast.label, metric_of(name), row, table))
    return found


def _finding(
    label: str, metric: Metric, row: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]
) -> Finding:
    cell = row[metric.name]
    shown = (cell["mean"], cell["low"], cell["high"], cell["n"])
    return Finding(label, metric, *shown, decimals(table, metric))
