"""The studies of Walker et al. 2023 (arXiv 2302.04009), each at three budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from experiments.settings import agent_preset, as_settings, finetune_preset
from experiments.studies.conditions import Condition, Contrast, Question
from experiments.studies.named.forms import RANDOM_MODEL, carried, curious, two_phases
from experiments.studies.study import Study
from world_model import for_size

CROSSED = (
    Condition("MF scratch", "scratch", learner="model-free"),
    Condition("MF -> MF", "model+policy", explorer="model-free", learner="model-free"),
    Condition("MB -> MF", "model+policy", learner="model-free"),
    Condition("MF -> MB", "model+policy", explorer="model-free"),
)
"""Beside `model+policy`, which is MB -> MB."""
PPO = Condition("PPO", "scratch", learner="ppo")


def _longer_ppo(steps: int) -> Condition:
    """PPO with more steps than the study's, at which it learns something."""
    return Condition(f"PPO, {steps:,} steps", "scratch", learner="ppo", steps=steps)


FINDINGS = (
    Contrast("all that was learned: MB -> MB over scratch", "model+policy", "scratch"),
    Contrast(
        "finding 1: MB explores better than MF (coverage)", "pretrain:model+policy", "pretrain:MF -> MF"
    ),
    Contrast("finding 2: MB -> MB over MF -> MF", "model+policy", "MF -> MF"),
    Contrast("finding 2: MB -> MB over MB -> MF", "model+policy", "MB -> MF"),
    Contrast("finding 2: MB -> MB over MF -> MB", "model+policy", "MF -> MB"),
    Contrast("finding 3: the dynamics, over the encoder alone", "model", "encoder"),
    Contrast("finding 3: the policy, given the model", "model+policy", "model"),
    Contrast("random data: its model over scratch", "model from random data", "scratch"),
    Contrast("random data: exploring over it", "model+policy", "model from random data"),
)


def _contrasts(conditions: Iterable[Condition], task: str | None = None) -> tuple[Contrast, ...]:
    """Those that the conditions allow, of phase 2 on one task where it is named."""
    conditions = list(conditions)
    names = {condition.name for condition in conditions}
    found = [contrast for contrast in FINDINGS if names.issuperset(contrast.conditions)]
    for ppo in conditions:
        if ppo.learner == "ppo":
            found.append(Contrast(f"no strawman: scratch over {ppo.name}", "scratch", ppo.name))
    return tuple(c if c.of_phase_1 else dataclasses.replace(c, task=task) for c in found)


def _shifted(conditions: Iterable[Condition], near: str, far: str) -> tuple[Contrast, ...]:
    """Findings on the task near to what was explored; all that was learned on the far one; finding 4."""
    outside = Contrast("far from what was explored: MB -> MB over scratch", "model+policy", "scratch", far)
    label = "finding 4: the gain near to what was explored less that far from it"
    fades = Contrast(label, "model+policy", "scratch", near, far)
    return (*_contrasts(conditions, near), outside, fades)


CONTROLS = (RANDOM_MODEL, *CROSSED, PPO)
FACTORIAL = carried("scratch", "policy", "model", "model+policy", "model+prior")
WHOLE = (*FACTORIAL, *carried("encoder", "all", "replay", "model+policy+relabel"), *CONTROLS)
PARTS = (*carried("scratch", "policy", "model", "model+policy", "encoder"), RANDOM_MODEL)


FAMILY = "mazes-collect,size=9,limit=100,num_levels=5,observe=symbols"
"""Five mazes, which phase 1 explores."""
OTHERS = FAMILY + ",start_level=1000,loops=0.4,slip=0.2"
"""Five of another family: unseen, less walled, and slippery."""


def _laptop_mazes(told: str) -> Study:
    """Phase 2 in the explored mazes and in others (docs/plans/walker2023-mazes.md)."""
    conditions = (*PARTS, *CROSSED, _longer_ppo(60_000))
    return two_phases(
        "walker2023-mazes",
        told,
        FAMILY,
        "tiny",
        intrinsic="rnd",
        steps=(8_000, 6_000),
        seeds=6,
        tasks=(FAMILY, OTHERS),
        conditions=conditions,
        contrasts=_shifted(conditions, FAMILY, OTHERS),
        agent=curious(agent_preset("tiny")),
        training={"evaluation_episodes": 40},
        question=Question("model+policy", "scratch", "auc", FAMILY),
    )


def _mazes(budget: str) -> Study:
    """Explore mazes without reward, then play for their gold. Sizes grow with the budget."""
    told = "Mazes, explored without reward, then played for gold and silver."
    if budget == "laptop":
        return _laptop_mazes(told)
    size, steps = ("1m", (200_000, 50_000)) if budget == "gpu" else ("12m", (10_000_000, 1_000_000))
    levels = "size=9,limit=100,num_levels=20" if budget == "gpu" else "size=15,limit=200"
    return two_phases(
        "walker2023-mazes",
        told,
        f"mazes-collect,{levels}",
        size,
        intrinsic="rnd",
        steps=steps,
        seeds=5 if budget == "gpu" else 10,
        conditions=WHOLE,
        contrasts=_contrasts(WHOLE),
    )


def _crafter(budget: str) -> Study:
    """Exploration and task share the distribution of worlds: symbols on a laptop, pictures elsewhere."""
    told = "Crafter, explored without reward, then played for achievements."
    env, size, steps, seeds, conditions = {
        "laptop": ("crafter,observe=symbols", "tiny", (100_000, 45_000), 5, (*PARTS, _longer_ppo(150_000))),
        "gpu": ("crafter", "1m", (150_000, 50_000), 3, PARTS),
        "paper": ("crafter", "50m", (150_000_000, 1_000_000), 5, WHOLE),
    }[budget]
    return two_phases(
        "walker2023-crafter",
        told,
        env,
        size,
        intrinsic="disagreement" if budget != "paper" else "rnd",
        steps=steps,
        seeds=seeds,
        # The horizon of `tiny` gained nothing here (docs/plans/walker2023-crafter.md).
        agent=dataclasses.replace(agent_preset(size), model=for_size(size)),
        conditions=conditions,
        contrasts=_contrasts(conditions),
        training={"train_ratio": 8, "evaluation_episodes": 32} if budget == "laptop" else {},
        question=Question("model+policy", "scratch", "auc"),
    )


ROBODESK = tuple(
    f"robodesk-{task}"
    for task in (
        "open_slide",
        "open_drawer",
        "push_green",
        "stack",
        "upright_block_off_table",
        "flat_block_in_bin",
        "flat_block_in_shelf",
        "lift_upright_block",
        "lift_ball",
    )
)
"""The paper's core set: the first nine of the package's."""
LAPTOP_ROBOTS = ",observe=state,action_repeat=5"


def _laptop_robodesk(told: str) -> Study:
    """One button of the desk, with what is meant in its states (docs/plans/walker2023-robodesk.md)."""
    task = "robodesk-push_blue,defects=mended" + LAPTOP_ROBOTS
    conditions = (*PARTS, _longer_ppo(40_000))
    return two_phases(
        "walker2023-robodesk",
        told,
        task,
        "tiny",
        intrinsic="rnd",
        steps=(10_000, 8_000),
        seeds=5,
        conditions=conditions,
        contrasts=_contrasts(conditions),
        agent=curious(agent_preset("tiny")),
        question=Question("model+policy", "scratch", "auc"),
    )


def _robodesk(budget: str) -> Study:
    """The same desk in both phases, with another reward: states on a laptop, pictures elsewhere."""
    told = "RoboDesk, explored without reward, then its tasks."
    if budget == "laptop":
        return _laptop_robodesk(told)
    size, steps, seeds, tasks, conditions, options = {
        "gpu": ("1m", (150_000, 30_000), 3, ROBODESK[1:3], PARTS, ",render=fast"),
        "paper": ("50m", (50_000_000, 2_000_000), 3, ROBODESK, WHOLE, ""),
    }[budget]
    return two_phases(
        "walker2023-robodesk",
        told,
        ROBODESK[0] + options,
        size,
        intrinsic="disagreement" if budget == "gpu" else "rnd",
        steps=steps,
        seeds=seeds,
        conditions=conditions,
        contrasts=_contrasts(conditions),
        tasks=tuple(task + options for task in tasks),
    )


SCENES = tuple(
    f"metaworld-{task}-v3"
    for task in ("drawer-open", "door-close", "shelf-place", "sweep-into", "lever-pull")
)
"""The test tasks of ML10."""
TRAINED, TESTED = (f"metaworld-{task}-v3{LAPTOP_ROBOTS}" for task in ("drawer-close", "door-close"))
"""Of a laptop: a training scene of ML10 with its reward, and a test task."""


def _curious_in_phase_1() -> dict[str, Any]:
    """Settings of an agent that is curious while it explores alone.

    Phase 2 has the reference's horizon: it was run before `tiny` had a shorter one.
    """
    tiny = agent_preset("tiny")
    as_ever = {
        "model": {"horizon": for_size("tiny").horizon},
        "optimizer": {"actor_scale": tiny.optimizer.actor_scale},
    }
    alone = (*finetune_preset("tiny"), *as_settings(as_ever))
    return {"agent": curious(tiny), "finetune_agent": alone}


def _laptop_metaworld(told: str) -> Study:
    """Phase 2 on a test task, and on a training scene (docs/plans/walker2023-metaworld.md)."""
    conditions = (*PARTS, _longer_ppo(40_000))
    return two_phases(
        "walker2023-metaworld",
        told,
        "metaworld-ml10-train" + LAPTOP_ROBOTS,
        "tiny",
        intrinsic="rnd",
        steps=(20_000, 8_000),
        seeds=5,
        tasks=(TRAINED, TESTED),
        conditions=conditions,
        contrasts=_shifted(conditions, TRAINED, TESTED),
        question=Question("model+policy", "scratch", "normalised_auc"),
        **_curious_in_phase_1(),
    )


def _metaworld(budget: str) -> Study:
    """Explored in the training scenes of ML10, used in its test tasks: out of distribution."""
    told = "Meta-World: ML10's training scenes, then its test tasks."
    if budget == "laptop":
        return _laptop_metaworld(told)
    size, steps, tasks, conditions, options = {
        "gpu": ("1m", (150_000, 30_000), SCENES[:2], PARTS, ",render=fast"),
        "paper": ("50m", (50_000_000, 2_000_000), SCENES, WHOLE, ""),
    }[budget]
    return two_phases(
        "walker2023-metaworld",
        told,
        "metaworld-ml10-train" + options,
        size,
        intrinsic="disagreement" if budget != "paper" else "rnd",
        steps=steps,
        seeds=3,
        conditions=conditions,
        contrasts=_contrasts(conditions),
        tasks=tuple(task + options for task in tasks),
    )


WALKER2023: dict[str, Callable[[str], Study]] = {
    "walker2023-mazes": _mazes,
    "walker2023-crafter": _crafter,
    "walker2023-robodesk": _robodesk,
    "walker2023-metaworld": _metaworld,
}
"""By name, what makes a study at a budget: laptop, gpu or paper."""
