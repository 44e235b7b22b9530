"""What many levels in phase 1 are worth: an equal number of steps on 1, 3, 10, 30 and all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments.settings import agent_preset, finetune_preset, training_preset
from experiments.studies.conditions import Cell, Condition, Contrast, Question
from experiments.studies.study import Study
from experiments.studies.walker2023 import curious

LEVELS = (1, 3, 10, 30, 0)
"""Levels of phase 1; 0 for all."""
PLANS = ("model", "policy", "model+policy")
FEW, MANY = 1, 30
"""Levels whose gains are compared."""


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
    family, size, steps, seeds, training = {
        "laptop": (
            "mazes-collect,size=9,limit=100,observe=symbols",
            "tiny",
            (32_000, 16_000),
            5,
            {"train_ratio": 8, "evaluation_episodes": 40},
        ),
        "gpu": ("procgen-heist,mode=easy", "1m", (100_000, 30_000), 5, {}),
        "paper": ("procgen-heist", "50m", (50_000_000, 2_000_000), 10, {}),
    }[budget]
    return _study(family, size, steps, seeds, training)


def _study(family: str, size: str, steps: tuple[int, int], seeds: int, training: dict[str, Any]) -> Study:
    preset = dataclasses.replace(training_preset(size), **training)
    agent = agent_preset(size)
    cells = [cell for levels in LEVELS for cell in _cells(levels)]
    many = tuple(dataclasses.replace(cell, at=None) for cell in _cells(MANY))
    return Study(
        name="diversity",
        description="Model and policy, carried from one level, from some, from all.",
        env=f"{family},num_levels={MANY}",
        intrinsic="rnd",
        size=size,
        pretrain_steps=steps[0],
        finetune_steps=steps[1],
        conditions=_conditions(family),
        agent=curious(agent) if size == "tiny" else agent,
        finetune_agent=finetune_preset(size),
        pretrain=dataclasses.replace(preset, evaluation_episodes=min(16, preset.evaluation_episodes)),
        finetune=preset,
        seeds=seeds,
        tasks=(f"{family},num_levels=5,start_level=100000",),
        contrasts=(*MORE, *WORTH),
        factorial=(Cell("scratch"), *many),
        curve=(Cell("scratch"), *cells),
        over="levels explored",
        question=Question(at_levels("model+policy", MANY), at_levels("model+policy", FEW), "auc"),
    )


DIVERSITY: dict[str, Callable[[str], Study]] = {"diversity": _diversity}
"""By name, what makes a study at a budget: laptop, gpu or paper."""
