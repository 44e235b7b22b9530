"""The measures that a report shows: their names, units, and which way is better."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: `scale` turns the stored value into the shown `unit`.

    Attributes:
        name: its key in a run's result.
        label: the head of its column.
        unit: what stands below the head.
        scale: shown value over stored one.
        higher_is_better: whether a larger value is a gain.
        words: what a difference is counted in, in a sentence; the label and the unit where it is empty.
    """

    name: str
    label: str
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True
    words: str = ""

    @property
    def title(self) -> str:
        """The label with an arrow in the direction that is better."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"


RAW = ("return", "auc", "return_start", "return_offline")
"""Measures in a task's own unit of reward, of which no mean over tasks is shown."""
NORMALISED = "normalised_"
"""Before the name of one of them: 0 is the task's random policy, 1 its best condition."""

# Errors are stored as mean squared errors: shown times 1000, because 12.3 reads better than 0.0123. Of which
# unit they are says what was observed: `error_unit`.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("return", "return", "per episode", words="return an episode"),
        Metric("success_rate", "success", "% of episodes", words="% of episodes solved"),
        Metric("normalised_return", "return", "0 to 1 by task", words="return normalised by task"),
        Metric("auc", "area", "mean return", words="return in the mean of all training steps"),
        Metric("normalised_auc", "area", "0 to 1 by task", words="area normalised by task"),
        Metric("steps_saved", "steps saved", "to scratch's", words="environment steps saved"),
        Metric("return_start", "zero-shot", "per episode", words="return an episode, zero-shot"),
        Metric("normalised_return_start", "zero-shot", "0 to 1 by task"),
        Metric("return_offline", "offline", "per episode"),
        Metric("normalised_return_offline", "offline", "0 to 1 by task"),
        Metric("return_unseen", "unseen", "per episode", words="return an episode on unseen levels"),
        Metric("success_unseen", "unseen solved", "% of episodes", 100, words="% of unseen episodes solved"),
        Metric("crafter_score", "score", "Crafter, %", words="% of Crafter score"),
        Metric("achievements", "achievements", "unlocked", words="achievements"),
        Metric("open_loop_error_start", "error, start", "MSE x 1000", 1000, higher_is_better=False),
        Metric("open_loop_error_end", "error, end", "MSE x 1000", 1000, higher_is_better=False),
        Metric("open_loop_accuracy_start", "foreseen, start", "% of symbols", 100),
        Metric("open_loop_accuracy_end", "foreseen, end", "% of symbols", 100),
        Metric("open_loop_nats_start", "surprise, start", "nats a symbol", higher_is_better=False),
        Metric("open_loop_nats_end", "surprise, end", "nats a symbol", higher_is_better=False),
        Metric("probe_error_start", "probe, start", "MSE x 1000", 1000, higher_is_better=False),
        Metric("probe_error_end", "probe, end", "MSE x 1000", 1000, higher_is_better=False),
        Metric("probe_accuracy_start", "probe foresees, start", "% of symbols", 100),
        Metric("probe_accuracy_end", "probe foresees, end", "% of symbols", 100),
        Metric("probe_nats_start", "probe's surprise, start", "nats a symbol", higher_is_better=False),
        Metric("probe_nats_end", "probe's surprise, end", "nats a symbol", higher_is_better=False),
    )
}
PRETRAINING: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("reached", "reached", "in the run", words="things reached in the run"),
        Metric("reached_per_episode", "reached", "in an episode", words="things reached in an episode"),
        Metric("coverage", "coverage", "an episode"),
        Metric("particle_entropy", "entropy", "of particles"),
        *(METRICS[name] for name in ("return", "success_rate", "crafter_score", "achievements")),
        *(METRICS[f"open_loop_{kind}_end"] for kind in ("error", "accuracy", "nats")),
        *(METRICS[f"probe_{kind}_end"] for kind in ("error", "accuracy", "nats")),
        Metric("embeddings_effective_rank_end", "rank", "of embeddings"),
    )
}
"""What is shown of phase 1; the task's return there is what the agent didn't see."""


SEARCHED = re.compile(r"return(_unseen|_at_.+?)?_(search|simulator)(\d+)(?:_depth(\d+))?")
"""Returns of a policy that planned when judged: where, in what, with how many simulations, how deep."""


ELSEWHERE = re.compile(r"(return|lost|success)_at_((?!.*_(?:search|simulator)\d).+)")
"""Measures of the final policy in the run's environment with other options, such as size=1.5."""
LOST = "lost_at_"
"""Before those options: by how much less is returned there."""


def place_of(end: str) -> str:
    """Return where a policy was judged, in words, by the end of its measures' names."""
    return "levels of training" if not end else "unseen levels" if end == "_unseen" else end[len("_at_") :]


def place_unit(end: str | None) -> str:
    """Return what stands below a return's label, by the end of its name."""
    return {"": "per episode", "_unseen": "unseen"}.get(end or "", place_of(end or ""))


def elsewhere(names: Iterable[str]) -> list[str]:
    """Return the names among them that tell of other options, without search."""
    return sorted(filter(ELSEWHERE.fullmatch, names), key=lambda name: (name.partition("_at_")[2], name))


def _elsewhere(name: str, kind: str, options: str) -> Metric:
    """How a measure with other options is shown."""
    if kind == "success":
        return Metric(name, "success", f"%, {options}", 100, words=f"% of episodes solved with {options}")
    if kind == "lost":
        words = f"return an episode lost with {options}"
        return Metric(name, "lost", f"to {options}", higher_is_better=False, words=words)
    return Metric(name, "return", options, words=f"return an episode with {options}")


def metric_of(name: str) -> Metric:
    """Return how a metric is shown; one that only a suite knows is shown by its name."""
    searched = SEARCHED.fullmatch(name)
    if searched is not None:
        end, where, simulations, depth = searched.groups()
        deep = f", depth {depth}" if depth else ""
        return Metric(name, f"{where} {simulations}{deep}", place_unit(end))
    moved = ELSEWHERE.fullmatch(name)
    if moved is not None:
        return _elsewhere(name, moved[1], moved[2])
    return METRICS.get(name) or PRETRAINING.get(name) or Metric(name, name.replace("_", " "))


def searches(names: Iterable[str]) -> list[str]:
    """Return the names among them that tell of a search, each once, by place, kind, simulations and depth."""
    found = [match for match in map(SEARCHED.fullmatch, dict.fromkeys(names)) if match is not None]
    return [m[0] for m in sorted(found, key=lambda m: (m[1] or "", m[2], int(m[3]), int(m[4] or 0)))]


def unsearched(judged: Iterable[str]) -> list[str]:
    """Return the measures of the same policies without search in the places where they were judged so."""
    ends = dict.fromkeys(match[1] or "" for match in map(SEARCHED.fullmatch, judged) if match is not None)
    return [f"return{end}" for end in ends if end]


def error_unit(observed: Iterable[str]) -> str:
    """Return of what an open-loop error is the mean square, by the kinds of observations that runs had."""
    units = {"image": "per pixel on [0, 1]", "vector": "per value, symlog", "symbols": "per probability"}
    told = [unit for kind, unit in units.items() if kind in set(observed)]
    return " or ".join(told) or "per value"
