"""The study's question, answered in one sentence with its interval."""

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any

from experiments.reporting.metrics import Metric, metric_of
from experiments.reporting.records import StudyRecord
from experiments.studies.conditions import EXPLORED, Question
from transfer.statistics import MIN_SEEDS, Estimate, Value, estimate, paired_contrast, seeds_to_decide

MANY_SEEDS = 1000
"""More seeds than this are told as 'more than'."""


def answer(study: StudyRecord) -> dict[str, Any]:
    """Return the answer to the study's question.

    Returns:
        `sentence`; `contrast` and `metric`, what was asked; `mean`, `low`, `high`, the paired difference in
        the measure's stored unit and its 95 % interval; `n`, seeds. What is not known is None, and n then 0.
    """
    question = study.question
    if question is None:
        sentence = "The study compares no two conditions, so nothing can be said of what anything was worth."
        return _answer(sentence, None, None, None)
    metric = metric_of(question.metric or study.score)
    table = _values(study, question, metric.name)
    better, baseline = question.contrast.conditions
    names = {better: 1.0, baseline: -1.0}
    rows = {name.removeprefix(EXPLORED): by_seed for name, by_seed in table.items()}
    pairs = paired_contrast(rows, names)
    label = _label(study, question)
    if not pairs:
        both = f"both {better} and {baseline}"
        sentence = f"No answer yet: no seed has finished runs of {both} with {metric.label}."
        if all(run.finished for run in study.runs):
            sentence = f"No answer: no seed tells {metric.label} of {both}, and all runs have finished."
        return _answer(sentence, label, metric, None)
    found = estimate(pairs.values())
    return _answer(_sentence(study, question, metric, found, pairs), label, metric, found)


def _values(study: StudyRecord, question: Question, metric: str) -> dict[str, dict[int, Value]]:
    """What the two conditions reached, by name and seed: in phase 1, on one task, or on all."""
    if question.contrast.of_phase_1:
        return study.explored(metric)
    return study.values(metric) if question.task is None else study.values_on(question.task, metric)


def _answer(
    sentence: str, contrast: str | None, metric: Metric | None, found: Estimate | None
) -> dict[str, Any]:
    return {
        "sentence": sentence,
        "contrast": contrast,
        "metric": None if metric is None else metric.name,
        "mean": None if found is None else found.mean,
        "low": None if found is None else found.low,
        "high": None if found is None else found.high,
        "n": 0 if found is None else found.n,
    }


def _label(study: StudyRecord, question: Question) -> str:
    """What the study calls the comparison, where it is one of its contrasts."""
    same = dataclasses.replace(question.contrast, label="")
    named = (c.label for c in study.contrasts if dataclasses.replace(c, label="") == same)
    return next(named, question.contrast.label)


def _sentence(
    study: StudyRecord, question: Question, metric: Metric, found: Estimate, pairs: Mapping[int, Value]
) -> str:
    ends = [end for end in (found.mean, found.low, found.high) if end is not None]
    form = f"{{:.{_places([end * metric.scale for end in ends])}f}}"
    mean, *interval = (form.format(end * metric.scale + 0.0) for end in ends)
    mean = mean if mean.startswith("-") else f"+{mean}"
    told = _worth(study, question, metric, mean)
    seeds = "one seed" if found.n == 1 else f"{found.n} seeds"
    if found.low is None or found.high is None:
        return f"{told} ({seeds}: no interval can be given from fewer than {MIN_SEEDS})."
    told += f" (95 % interval {' to '.join(interval)}, {seeds})"
    if math.isclose(found.low, found.high, rel_tol=1e-9, abs_tol=1e-12):  # too coarse a measure to spread
        return f"{told}: every seed gave the same, so not decided; more evaluation episodes would tell."
    if found.low > 0 or found.high < 0:
        gain = (found.mean > 0) == metric.higher_is_better
        return f"{told}: {'an effect' if gain else 'a loss'}."
    return f"{told}: the interval holds zero, not decided{_needed(pairs)}."


def _worth(study: StudyRecord, question: Question, metric: Metric, mean: str) -> str:
    better, baseline = question.contrast.conditions
    needs = {run.condition: run.needs is not None for run in study.runs if run.condition is not None}
    who = f"Carrying {better}" if needs.get(better) and not needs.get(baseline) else better
    if question.better.startswith(EXPLORED):
        who, baseline = f"Phase 1 of {better}", f"phase 1 of {baseline}"
    where = "" if question.task is None or len(study.tasks) < 2 else f" on {question.task}"
    if metric.higher_is_better:
        return f"{who} was worth {mean} {metric.words or f'of {metric.label}'} over {baseline}{where}"
    by = f"'{metric.label}' by {mean} {metric.unit}"
    return f"{who} changed {by} against {baseline}{where}, lower being better,"


def _needed(pairs: Mapping[int, Value]) -> str:
    needed = seeds_to_decide(pairs.values())
    if needed is None:
        return ""
    told = f"some {needed:,}" if needed <= MANY_SEEDS else f"more than {MANY_SEEDS:,}"
    return f"; at the mean and variance seen {told} seeds would decide it"


def _places(values: list[float]) -> int:
    """Decimals that show the largest value well: 123, 12.3, 1.23, 0.12, 0.012."""
    largest = max(map(abs, values))
    return 3 if largest < 0.1 else min(2, max(0, 2 - math.floor(math.log10(largest))))


def in_lines(sentence: str, columns: int) -> list[str]:
    """Wrap a sentence; a number stays with its percent sign."""
    lines = textwrap.wrap(sentence.replace(" %", "\N{NO-BREAK SPACE}%"), columns)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
