"""What many levels in phase 1 are worth, and many explorers, at an equal number of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments.settings import agent_preset
from experiments.studies.conditions import Cell, Condition, Contrast, Gathered, Question
from experiments.studies.named.forms import curious, two_phases
from experiments.studies.runs import told_replays
from experiments.studies.study import Study

LEVELS = (1, 3, 10, 30, 0)
"""Levels of phase 1; 0 for all."""
PLANS = ("model", "policy", "model+policy")
FEW, MANY = 1, 30
"""Levels whose gains are compared."""
SEVERAL = 3
"""Explorers that share the steps of one."""
FAMILIES = {
    "laptop": "mazes-collect,size=9,limit=100,observe=symbols",
    "gpu": "procgen-heist,mode=easy",
    "paper": "procgen-heist",
}
"""Environments by budget."""


def at_levels(plan: str, levels: int) -> str:
    """Name of the condition that carries a plan's components from so many levels."""
    return f"{plan}, {levels or 'all'} level{'s' * (levels != 1)}"


def _conditions(family: str) -> tuple[Condition, ...]:
    carried = (
        Condition(at_levels(plan, levels), plan, explores=f"{family},num_levels={levels}")
        for levels in LEVELS
        for plan in PLANS
    )
    return (Condition("scratch", "scratch"), *carried)


def _cells(levels: int) -> tuple[Cell, ...]:
    """The cells of model and policy that were carried from so many levels."""
    return tuple(Cell(at_levels(plan, levels), plan, at=levels) for plan in PLANS)


def _more(part: str, plan: str, given: str | None = None) -> Contrast:
    """By how much more a part is worth from many levels than from few, alone or given another plan's."""
    bases = [at_levels(given, levels) if given else "scratch" for levels in (MANY, FEW)]
    label = f"{part}: what it is worth from {MANY} levels less from {FEW}"
    return Contrast(label, at_levels(plan, MANY), bases[0], less=(at_levels(plan, FEW), bases[1]))


MORE = (
    _more("the model alone", "model"),
    _more("the policy alone", "policy"),
    _more("both", "model+policy"),
    _more("the policy, given the model", "model+policy", "model"),
    _more("the model, given the policy", "model+policy", "policy"),
)
WORTH = tuple(
    Contrast(f"both, from {levels or 'all'}: over scratch", at_levels("model+policy", levels), "scratch")
    for levels in (FEW, MANY, 0)
)


def _diversity(budget: str) -> Study:
    """Levels of one family, transferred to five that no run has explored (docs/plans/diversity.md)."""
    cells = [cell for levels in LEVELS for cell in _cells(levels)]
    many = tuple(dataclasses.replace(cell, at=None) for cell in _cells(MANY))
    return _study(
        budget,
        name="diversity",
        description="Model and policy, carried from one level, from some, from all.",
        conditions=_conditions(FAMILIES[budget]),
        contrasts=(*MORE, *WORTH),
        factorial=(Cell("scratch"), *many),
        curve=(Cell("scratch"), *cells),
        over="levels explored",
        question=Question(at_levels("model+policy", MANY), at_levels("model+policy", FEW), "auc"),
    )


def of_replays(plan: str, explorers: int) -> str:
    """Name of the condition that carries a plan's components, learned from so many explorers' replays."""
    return f"{plan}, {told_replays(explorers)}"


def _of_replays(plan: str, explorers: int) -> Condition:
    """Phase 1 learns from explorers that differ by seed alone and share the steps of one."""
    data = tuple(Gathered(seed=1000 * number) for number in range(explorers))
    return Condition(of_replays(plan, explorers), plan, data=data)


def _more_explorers(plan: str) -> Contrast:
    return Contrast(f"{plan}: {SEVERAL} explorers over one", of_replays(plan, SEVERAL), of_replays(plan, 1))


def _diversity_explorers(budget: str) -> Study:
    """Equal steps on equal levels, by one explorer or by several (docs/plans/diversity-explorers.md)."""
    both, levels = "model+policy", f"{FAMILIES[budget]},num_levels={MANY}"
    while_exploring = Condition(at_levels(both, MANY), both, explores=levels)  # `diversity` has the same runs
    several = tuple(Cell(of_replays(plan, SEVERAL), plan) for plan in PLANS)
    return _study(
        budget,
        name="diversity-explorers",
        description="Model and policy, learned from one explorer or from three.",
        conditions=(
            Condition("scratch", "scratch"),
            while_exploring,
            *(_of_replays(plan, explorers) for explorers in (1, SEVERAL) for plan in PLANS),
        ),
        contrasts=(
            *(_more_explorers(plan) for plan in PLANS),
            Contrast("both: learned after exploring over while", of_replays(both, 1), while_exploring.name),
        ),
        factorial=(Cell("scratch"), *several),
        curve=(
            Cell("scratch"),
            *(Cell(of_replays(plan, n), plan, at=n) for n in (1, SEVERAL) for plan in PLANS),
        ),
        over="explorers",
        question=Question(of_replays(both, SEVERAL), of_replays(both, 1), "auc"),
    )


def _study(budget: str, name: str, description: str, **settings: Any) -> Study:
    """What both have in common: levels of phase 2, budgets, settings of both phases."""
    budgets: dict[str, tuple[str, tuple[int, int], int, dict[str, Any]]] = {
        "laptop": ("tiny", (32_000, 16_000), 5, {"train_ratio": 8, "evaluation_episodes": 40}),
        "gpu": ("1m", (100_000, 30_000), 5, {}),
        "paper": ("50m", (50_000_000, 2_000_000), 10, {}),
    }
    size, steps, seeds, training = budgets[budget]
    agent, family = agent_preset(size), FAMILIES[budget]
    return two_phases(
        name,
        description,
        f"{family},num_levels={MANY}",
        size,
        intrinsic="rnd",
        steps=steps,
        seeds=seeds,
        agent=curious(agent) if size == "tiny" else agent,
        training=training,
        tasks=(f"{family},num_levels=5,start_level=100000",),
        **settings,
    )


DIVERSITY: dict[str, Callable[[str], Study]] = {
    "diversity": _diversity,
    "diversity-explorers": _diversity_explorers,
}
"""By name, what makes a study at a budget: laptop, gpu or paper."""
