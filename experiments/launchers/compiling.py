"""Which runs of a study are compiled: what one of them has compiled, the others find in the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.programs.program import PAYS_FROM, Wish
from experiments.studies.runs import PlannedRun
from training import RunConfig, fingerprint, to_dict
from training.budget import planned_updates

PAYS_WARM = 500
"""Updates from which a run saves more than reading what another has compiled takes (docs/performance.md)."""


def compile_wishes(runs: Sequence[PlannedRun], wish: Wish) -> dict[str, Wish]:
    """By run, whether its updates are to be compiled.

    `auto` becomes `on` where it pays for all runs of a kind together, though for none of them by itself.
    """
    if wish != "auto":
        return {run.id: wish for run in runs}
    updates: Counter[str] = Counter()
    for run in runs:
        updates[_program(run.config)] += planned_updates(run.config)
    return {run.id: _together(run.config, updates[_program(run.config)]) for run in runs}


def _together(config: RunConfig, updates: int) -> Wish:
    return "on" if updates >= PAYS_FROM and planned_updates(config) >= PAYS_WARM else "auto"


def _program(config: RunConfig) -> str:
    """What decides which program an update compiles to, but for the parts that a plan freezes."""
    alike = {name: to_dict(config)[name] for name in ("phase", "intrinsic", "agent", "env")}
    return fingerprint(alike | {"batch": config.training.batch, "length": config.training.length})
