"""Several studies side by side: their findings by contrast and domain."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expedition.errors import UserError
from experiments.reporting.answer import in_lines
from experiments.reporting.page.files import as_csv
from experiments.reporting.page.findings import EFFECT, LOSS, Finding, findings
from experiments.reporting.page.page import render
from experiments.reporting.records import read_study
from experiments.reporting.report import WIDTH, aligned, grouped
from experiments.reporting.summary import summarise
from training.storage.state_tree import publish_bytes

PAGE, TABLE = "compare.html", "compare.csv"
"""What is written."""
LABEL = 38
"""Characters of a contrast that plain text shows."""


@dataclass(frozen=True)
class Comparison:
    """Studies and what each found.

    Attributes:
        answers: study -> its answer, in order.
        rows: contrast -> what each study found of it, in that order; None where a study does not ask it.
    """

    answers: Mapping[str, str]
    rows: Mapping[str, Sequence[Finding | None]]

    @property
    def sentence(self) -> str:
        """How many contrasts are decided, and where."""
        asked = {label: [f for f in row if f is not None] for label, row in self.rows.items()}
        decided = {label: [f.verdict in (EFFECT, LOSS) for f in row] for label, row in asked.items()}
        shared = [label for label, row in asked.items() if len(row) > 1]
        alike = [n for n in shared if all(decided[n]) and len({f.verdict for f in asked[n]}) == 1]
        told = f"{len(self.answers)} studies ask {len(self.rows)} contrasts: "
        told += f"decided in at least one study: {sum(map(any, decided.values()))}"
        if not shared:
            return f"{told}; no two studies ask the same."
        return f"{told}; asked by several: {len(shared)}, of which all decide alike: {len(alike)}."


def compare(folders: Sequence[Path]) -> Comparison:
    """Return what studies found, contrast by contrast. Studies need not ask the same.

    Args:
        folders: the studies'.

    Raises:
        UserError: fewer than two, one that is there twice, or no study or no finished run in one.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("A comparison needs two studies or more: give the folder of each once.")
    studies = [read_study(folder) for folder in folders]
    names = [study.name for study in studies]
    heads = [
        study.name if names.count(study.name) == 1 else f"{study.name} ({folder.name})"
        for study, folder in zip(studies, folders, strict=True)
    ]
    heads = [str(f) if heads.count(h) > 1 else h for h, f in zip(heads, folders, strict=True)]
    summaries = [summarise(study, study.wall_seconds) for study in studies]
    found = [
        {finding.label: finding for finding in findings(study, summary)}
        for study, summary in zip(studies, summaries, strict=True)
    ]
    labels = dict.fromkeys(label for each in found for label in each)
    answers = [summary["answer"]["sentence"] for summary in summaries]
    rows = {label: [each.get(label) for each in found] for label in labels}
    return Comparison(dict(zip(heads, answers, strict=True)), rows)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `compare.html` and `compare.csv`.

    Raises:
        UserError: they can't be written.
    """
    page = render("compare.html", comparison=comparison)
    publish_bytes(folder / PAGE, page.encode())
    publish_bytes(folder / TABLE, as_csv(list(_rows(comparison))).encode())


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"contrast": label, "study": study, "measure": finding.metric.name, "mean": finding.mean}
        | {"low": finding.low, "high": finding.high, "seeds": finding.n, "verdict": finding.verdict}
        for label, row in comparison.rows.items()
        for study, finding in zip(comparison.answers, row, strict=True)
        if finding is not None
    ]


def told_comparison(comparison: Comparison) -> str:
    """Return the comparison as plain text of at most 100 columns: the answers, then findings x studies."""
    parts = ["\n".join(in_lines(comparison.sentence, WIDTH))]
    parts += ["\n".join(in_lines(f"{name}: {told}", WIDTH)) for name, told in comparison.answers.items()]
    if comparison.rows:
        names = ["contrast", "", *(textwrap.shorten(n, LABEL, placeholder="...") for n in comparison.rows)]
        columns = [
            [study, "", *(_cell(row[place]) for row in comparison.rows.values())]
            for place, study in enumerate(comparison.answers)
        ]
        parts += [aligned([names, *group]) for group in grouped(names, columns)]
        parts.append(
            "* decided: the 95 % interval excludes zero, with its sign. Each in its own study's measure "
            "and unit\n(compare.csv names them): signs and verdicts compare, sizes do not."
        )
    return "\n\n".join(parts)


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    return f"{finding.difference} {'*' if finding.verdict in (EFFECT, LOSS) else ' '}"
