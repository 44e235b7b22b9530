"""Named studies, each at the budgets it is meant for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents import AgentConfig
from expedition import unknown_name
from experiments.conditions import Condition, Contrast, Question
from experiments.settings import agent_preset, finetune_preset, merged, training_preset
from experiments.study import Study, overlaid, study_file

BUDGETS = ("laptop", "gpu", "paper")
"""2 cores and at most two hours; 30 minutes of one H100; the paper's steps."""


def carried(*plans: str) -> tuple[Condition, ...]:
    """One condition for each plan, named after it."""
    return tuple(Condition(plan, plan) for plan in plans)


RANDOM_MODEL = Condition("model from random data", "model", intrinsic="random-data")
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


CONTRASTS = (
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
    Contrast("no strawman: scratch over PPO", "scratch", "PPO"),
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A study by name."""

    description: str
    """One line for `expedition list`."""
    budgets: Mapping[str, Study]
    """By name of the budget; the first is the default."""


def _curious(agent: AgentConfig) -> AgentConfig:
    """The tiny agent for four hundred updates of a small maze: it looks 33 steps ahead and stays curious.

    With less entropy its policy grows certain of the reward's noise once the maze holds nothing new. Phase 2
    has an entropy of its own.
    """
    return dataclasses.replace(
        agent,
        model=dataclasses.replace(agent.model, horizon=33),
        behaviour=dataclasses.replace(agent.behaviour, entropy=0.05),
        optimizer=dataclasses.replace(agent.optimizer, actor_scale=0.3),
    )


def _in_minutes(name: str, description: str, env: str, steps: tuple[int, int], **settings: Any) -> Study:
    """The four cells of model and policy on two cores, at size tiny."""
    tiny = training_preset("tiny")
    study = Study(
        name=name,
        description=description,
        env=env,
        intrinsic="disagreement",
        size="tiny",
        pretrain_steps=steps[0],
        finetune_steps=steps[1],
        conditions=carried("scratch", "policy", "model", "model+policy"),
        agent=agent_preset("tiny"),
        finetune_agent=finetune_preset("tiny"),
        pretrain=dataclasses.replace(tiny, evaluation_episodes=8),
        finetune=dataclasses.replace(tiny, evaluation_episodes=16),
    )
    return dataclasses.replace(study, **settings)


def _quickstart() -> Study:
    """A question that minutes can decide (docs/plans/quickstart.md)."""
    study = _in_minutes(
        "quickstart",
        "A maze in minutes on two cores: explore, carry, fine-tune, compare.",
        # Of the first twelve mazes the one whose goal random actions find most often, in a fifth of the
        # episodes: where nobody finds it, nothing can be compared.
        "mazes-goal,size=7,limit=100,num_levels=1,start_level=3,observe=symbols",
        (4_000, 3_000),
        seeds=5,
        agent=_curious(agent_preset("tiny")),
        question=Question("model", "scratch", "auc"),
    )
    return dataclasses.replace(study, finetune=dataclasses.replace(study.finetune, evaluate_every=500))


def _minutes_of_crafter() -> Study:
    return _in_minutes(
        "quickstart-crafter",
        "Crafter in symbols, in minutes on two cores: too short to decide.",
        "crafter,observe=symbols",
        (12_000, 6_000),
    )


def _walker(name: str, description: str, env: str, size: str, **settings: Any) -> Study:
    """A study of Walker et al. 2023 (arXiv 2302.04009) at one budget."""
    steps: tuple[int, int] = settings.pop("steps")
    training: dict[str, Any] = settings.pop("training", {})
    agent: AgentConfig = settings.pop("agent", agent_preset(size))
    conditions: tuple[Condition, ...] = settings.pop("conditions")
    names = {condition.name for condition in conditions}
    preset = dataclasses.replace(training_preset(size), **training)
    return Study(
        name=name,
        description=description,
        env=env,
        size=size,
        pretrain_steps=steps[0],
        finetune_steps=steps[1],
        conditions=conditions,
        agent=agent,
        finetune_agent=settings.pop("finetune_agent", finetune_preset(size)),
        pretrain=dataclasses.replace(preset, evaluation_episodes=min(16, preset.evaluation_episodes)),
        finetune=preset,
        contrasts=tuple(c for c in CONTRASTS if names.issuperset(c.conditions)),
        **settings,
    )


CONTROLS = (RANDOM_MODEL, *CROSSED, PPO)
FACTORIAL = carried("scratch", "policy", "model", "model+policy", "model+prior")
WHOLE = (*FACTORIAL, *carried("encoder", "all", "replay", "model+policy+relabel"), *CONTROLS)
FEW = (*carried("scratch", "policy", "model", "model+policy"), RANDOM_MODEL)


FAMILY = "mazes-collect,size=9,limit=100,num_levels=5,observe=symbols"
"""Five mazes, which phase 1 explores."""
OTHERS = FAMILY + ",start_level=1000,loops=0.4,slip=0.2"
"""Five of another family: unseen, less walled, and slippery."""


def _laptop_mazes(told: str) -> Study:
    """Phase 2 in the explored mazes and in others: finding 4 as the difference between the gains."""
    ppo = _longer_ppo(60_000)
    findings = tuple(c if c.of_phase_1 else dataclasses.replace(c, task=FAMILY) for c in CONTRASTS[:-1])
    strawman = Contrast("no strawman: scratch over PPO of ten times its steps", "scratch", ppo.name, FAMILY)
    fades = Contrast(
        "finding 4: the gain in these mazes less that in others", "model+policy", "scratch", FAMILY, OTHERS
    )
    outside = Contrast("in other mazes: MB -> MB over scratch", "model+policy", "scratch", OTHERS)
    study = _walker(
        "walker2023-mazes",
        told,
        FAMILY,
        "tiny",
        intrinsic="rnd",
        steps=(8_000, 6_000),
        seeds=6,
        tasks=(FAMILY, OTHERS),
        conditions=(
            *carried("scratch", "policy", "model", "model+policy", "encoder"),
            RANDOM_MODEL,
            *CROSSED,
            ppo,
        ),
        agent=_curious(agent_preset("tiny")),
        training={"evaluation_episodes": 40},
        question=Question("model+policy", "scratch", "auc", FAMILY),
    )
    return dataclasses.replace(study, contrasts=(*findings, strawman, outside, fades))


def _mazes(budget: str) -> Study:
    """Explore mazes without reward, then play for their gold. Sizes grow with the budget."""
    told = "Mazes, explored without reward, then played for gold and silver."
    if budget == "laptop":
        return _laptop_mazes(told)
    size, steps = ("1m", (200_000, 50_000)) if budget == "gpu" else ("12m", (10_000_000, 1_000_000))
    levels = "size=9,limit=100,num_levels=20" if budget == "gpu" else "size=15,limit=200"
    return _walker(
        "walker2023-mazes",
        told,
        f"mazes-collect,{levels}",
        size,
        intrinsic="rnd",
        steps=steps,
        seeds=5 if budget == "gpu" else 10,
        conditions=WHOLE,
    )


def _crafter(budget: str) -> Study:
    """Findings 1 to 3 where exploration and task share the distribution of worlds."""
    told = "Crafter, explored without reward, then played for achievements."
    size, steps, seeds, conditions = {
        "laptop": ("tiny", (20_000, 6_000), 3, FEW),
        "gpu": ("1m", (150_000, 50_000), 3, FEW),
        "paper": ("50m", (150_000_000, 1_000_000), 5, WHOLE),
    }[budget]
    return _walker(
        "walker2023-crafter",
        told,
        "crafter",
        size,
        intrinsic="disagreement" if budget != "paper" else "rnd",
        steps=steps,
        seeds=seeds,
        conditions=conditions,
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


def _robodesk(budget: str) -> Study:
    """The same desk in both phases, with another reward: states on a laptop, pictures elsewhere."""
    told = "RoboDesk, explored without reward, then its tasks."
    size, steps, seeds, tasks, conditions, options = {
        "laptop": ("tiny", (20_000, 6_000), 2, ROBODESK[1:3], FEW, ",observe=state"),
        "gpu": ("1m", (150_000, 30_000), 3, ROBODESK[1:3], FEW, ",render=fast"),
        "paper": ("50m", (50_000_000, 2_000_000), 3, ROBODESK, WHOLE, ""),
    }[budget]
    return _walker(
        "walker2023-robodesk",
        told,
        ROBODESK[0] + options,
        size,
        intrinsic="disagreement" if budget != "paper" else "rnd",
        steps=steps,
        seeds=seeds,
        conditions=conditions,
        tasks=tuple(task + options for task in tasks),
    )


SCENES = tuple(
    f"metaworld-{task}-v3"
    for task in ("drawer-open", "door-close", "shelf-place", "sweep-into", "lever-pull")
)
"""The test tasks of ML10."""


def _metaworld(budget: str) -> Study:
    """Explored in the training scenes of ML10, used in its test tasks: out of distribution."""
    told = "Meta-World: ML10's training scenes, then its test tasks."
    size, steps, seeds, tasks, conditions, options = {
        "laptop": ("tiny", (20_000, 6_000), 2, SCENES[:2], FEW, ",observe=state"),
        "gpu": ("1m", (150_000, 30_000), 3, SCENES[:2], FEW, ",render=fast"),
        "paper": ("50m", (50_000_000, 2_000_000), 3, SCENES, WHOLE, ""),
    }[budget]
    return _walker(
        "walker2023-metaworld",
        told,
        "metaworld-ml10-train" + options,
        size,
        intrinsic="disagreement" if budget != "paper" else "rnd",
        steps=steps,
        seeds=seeds,
        conditions=conditions,
        tasks=tuple(task + options for task in tasks),
    )


def _preset(make: Callable[[str], Study]) -> Preset:
    budgets = {budget: make(budget) for budget in BUDGETS}
    return Preset(budgets[BUDGETS[0]].description, budgets)


@functools.cache
def presets() -> Mapping[str, Preset]:
    """Named studies by name."""
    small = {study.name: study for study in (_quickstart(), _minutes_of_crafter())}
    return {
        **{name: Preset(study.description, {"laptop": study}) for name, study in small.items()},
        "walker2023-mazes": _preset(_mazes),
        "walker2023-crafter": _preset(_crafter),
        "walker2023-robodesk": _preset(_robodesk),
        "walker2023-metaworld": _preset(_metaworld),
    }


def find_study(name: str, budget: str | None, overrides: Mapping[str, Any]) -> Study:
    """Return a named study, or one from a YAML file that says which study it is based on.

    Args:
        name: a known name, or the path of a .yaml or .json file with an optional line `base: quickstart`.
        budget: one of `BUDGETS`; None for what the file says, or the laptop's.
        overrides: settings that flags change, nested; those that are None are left alone.

    Raises:
        UserError: an unknown name, a missing file, a bad setting.
    """
    values: dict[str, Any] = {}
    if Path(name).suffix in (".yaml", ".yml", ".json"):
        values = study_file(Path(name))
        name = str(values.pop("base", "quickstart"))
    said = values.pop("budget", None)
    budget = str(budget or said or BUDGETS[0])
    known = presets()
    if name not in known:
        raise unknown_name("study", name, known)
    if budget not in known[name].budgets:
        raise unknown_name(f"budget of {name}", budget, known[name].budgets)
    values = merged(values, {key: value for key, value in overrides.items() if value is not None})
    base = known[name].budgets[budget]
    return _described(overlaid(base, values), base, values)


def _described(study: Study, base: Study, values: Mapping[str, Any]) -> Study:
    """The study with a line that says in what it differs from its base; its file may have one of its own."""
    changed = [
        key
        for key in values
        if key not in ("name", "description") and getattr(study, key) != getattr(base, key)
    ]
    if "description" in values or not changed:
        return study
    plain = {key: getattr(study, key) for key in changed if isinstance(getattr(study, key), str | int)}
    told = [
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in plain.items()
    ]
    groups = [key for key in changed if key not in plain]
    told += [f"other {' and '.join(groups)}"] if groups else []
    return dataclasses.replace(study, description=f"Like {base.name}, but with {', '.join(told)}.")
