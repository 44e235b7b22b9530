"""What is said of a study before it runs."""

from __future__ import annotations

from collections.abc import Sequence

from agents import AgentConfig
from experiments.settings import flattened
from experiments.studies.study import PlannedRun
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
        steps = f"{run.config.steps:,} steps" if run.config.steps else "only evaluated"
        source = by_id[run.needs] if run.needs else None
        after = f", after {source.kind}" if source else ""
        after += f" on {source.config.env}" if source and several else ""
        groups.setdefault(f"{run.kind}: {run.config.env}, {steps}{after}", []).append(run.seed)
    return [f"{told}; seed{'s' * (len(seeds) > 1)} {_span(seeds)}" for told, seeds in groups.items()]


def _span(seeds: Sequence[int]) -> str:
    first, last = min(seeds), max(seeds)
    return str(first) if first == last else f"{first} to {last}"
