"""What planning was worth when a finished policy was judged: differences within a run, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting.metrics import SEARCHED, Metric, place_unit, searches
from experiments.reporting.records import StudyRecord
from transfer.statistics import Results, estimate

ALL = "all of them"
"""The row of the mean over conditions."""


class Comparison(NamedTuple):
    """Two measures of the same policy, of which the second is taken off the first."""

    label: str
    better: str
    baseline: str
    place: str
    """The end of the measures' names that says where it was judged."""

    @property
    def metric(self) -> Metric:
        """How it is shown."""
        return Metric(self.key, self.label, place_unit(self.place))

    @property
    def key(self) -> str:
        """Its name in a summary."""
        return f"{self.better} - {self.baseline}"


def comparisons(measures: list[str]) -> Iterator[Comparison]:
    """Yield search over usual, more over fewer simulations, and simulator over model, by place."""
    found = [m for m in map(SEARCHED.fullmatch, searches(measures)) if m is not None and not m[4]]
    for place in dict.fromkeys(match[1] or "" for match in found):
        counts: dict[str, list[str]] = {}
        for match in found:
            if (match[1] or "") == place:
                counts.setdefault(match[2], []).append(match[3])
        for kind, simulations in counts.items():
            least, most = simulations[0], simulations[-1]
            name = f"return{place}_{kind}"
            for count in simulations if kind == "search" else (most,):
                yield Comparison(f"{kind} {count} over usual", name + count, f"return{place}", place)
            if least != most:
                yield Comparison(f"{kind} {most} over {least}", name + most, name + least, place)
        if counts.keys() >= {"search", "simulator"}:
            most = counts["search"][-1]
            pair = f"return{place}_simulator{most}", f"return{place}_search{most}"
            yield Comparison(f"simulator over model, {most}", *pair, place)


def planning_worth(study: StudyRecord, tables: Mapping[str, Results]) -> dict[str, dict[str, Any]]:
    """Return an estimate of each comparison by condition, and of the mean over conditions."""
    worth: dict[str, dict[str, Any]] = {}
    for pair in comparisons([name for name, table in tables.items() if table]):
        better, baseline = tables[pair.better], tables.get(pair.baseline, {})
        gains = {
            condition: {
                seed: value - baseline[condition][seed]
                for seed, value in better[condition].items()
                if seed in baseline.get(condition, {})
            }
            for condition in study.conditions
            if condition in better
        }
        gains = {condition: by_seed for condition, by_seed in gains.items() if by_seed}
        for condition, by_seed in gains.items():
            worth.setdefault(condition, {})[pair.key] = estimate(by_seed.values()).as_dict()
        if gains:
            shared = set.intersection(*(set(by_seed) for by_seed in gains.values()))
            means = [np.mean(np.array([g[seed] for g in gains.values()]), axis=0) for seed in sorted(shared)]
            if means:
                worth.setdefault(ALL, {})[pair.key] = estimate(means).as_dict()
    if ALL in worth:
        worth[ALL] = worth.pop(ALL)  # last
    return worth
