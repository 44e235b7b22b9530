"""What is said of a study before it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents import AgentConfig
from experiments.settings import flattened
from experiments.studies.runs import PlannedRun
from training import to_dict


def told_phase_2(explorer: AgentConfig, learner: AgentConfig) -> str:
    """Settings of the agent in phase 2 that are not those of phase 1, in a line; empty where all are."""
    there, here = (flattened(to_dict(agent)) for agent in (explorer, learner))
    own = [f"{name} {here[name]} ({there.get(name)})" for name in here if here[name] != there.get(name)]
    return f"Phase 2 sets for itself (phase 1 had): {', '.join(own)}" if own else ""


def told_runs(runs: Sequence[PlannedRun]) -> list[str]:
    """Say what will be run, a line for all seeds of a condition on a task."""
    by_id = {run.id: run for run in runs}
    several = len({run.config.env for run in runs if run.plan is None}) > 1
    groups: dict[str, list[int]] = {}
    for run in runs:
        sources = Counter(
            by_id[source].kind + (f" on {by_id[source].config.env}" if several else "")
            for source in run.waits_for
        )
        told = [f"{count} x {kind}" if count > 1 else kind for kind, count in sources.items()]
        after = f", after {' and '.join(told)}" if told else ""
        groups.setdefault(f"{run.kind}: {run.config.env}, {_told_length(run)}{after}", []).append(
            run.config.seed
        )
    return [f"{told}; seed{'s' * (len(seeds) > 1)} {_spans(seeds)}" for told, seeds in groups.items()]


def _told_length(run: PlannedRun) -> str:
    if run.data:
        return f"{run.config.training.offline_updates:,} updates"
    return f"{run.config.steps:,} steps" if run.config.steps else "only evaluated"


def _spans(seeds: Sequence[int]) -> str:
    """Seeds as stretches of numbers that follow one another: `0 to 4, 1000 to 1004`."""
    held = sorted(set(seeds))
    firsts = [seed for seed in held if seed - 1 not in held]
    lasts = [seed for seed in held if seed + 1 not in held]
    spans = [str(a) if a == b else f"{a} to {b}" for a, b in zip(firsts, lasts, strict=True)]
    return ", ".join(spans)
