"""Named studies, each at the budgets it is meant for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from expedition.errors import unknown_name
from experiments.settings import agent_preset, finetune_preset, merged, training_preset
from experiments.studies.conditions import Question
from experiments.studies.named.bapst2019 import BAPST2019
from experiments.studies.named.diversity import DIVERSITY
from experiments.studies.named.du2023 import DU2023
from experiments.studies.named.forms import carried, curious
from experiments.studies.named.planning import PLANNING
from experiments.studies.named.walker2023 import WALKER2023
from experiments.studies.overlaying import overlaid, study_file
from experiments.studies.study import Study

BUDGETS = ("laptop", "gpu", "paper")
"""2 cores and at most two hours; 30 minutes of one H100; the paper's steps."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A study by name."""

    description: str
    """One line for `expedition list`."""
    budgets: Mapping[str, Study]
    """By name of the budget; the first is the default."""


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
    agent = curious(agent_preset("tiny"))
    # Sequences and dreams half as long, twice as many of them: an update takes two thirds of the time.
    rows = dataclasses.replace(training_preset("tiny"), batch=32, length=8)
    return _in_minutes(
        "quickstart",
        "A maze in minutes on two cores: explore, carry, fine-tune, compare.",
        # Of the first twelve mazes the one whose goal random actions find most often, in a fifth of the
        # episodes: where nobody finds it, nothing can be compared.
        "mazes-goal,size=7,limit=100,num_levels=1,start_level=3,observe=symbols",
        (4_000, 3_000),
        seeds=4,
        agent=dataclasses.replace(agent, behaviour=dataclasses.replace(agent.behaviour, imagination=8)),
        pretrain=dataclasses.replace(rows, evaluation_episodes=8),
        finetune=dataclasses.replace(rows, evaluation_episodes=16, evaluate_every=1000, learning_starts=256),
        question=Question("model", "scratch", "auc"),
    )


def _minutes_of_crafter() -> Study:
    return _in_minutes(
        "quickstart-crafter",
        "Crafter in symbols, in minutes on two cores: too short to decide.",
        "crafter,observe=symbols",
        (12_000, 6_000),
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
        **{
            name: _preset(make)
            for name, make in (WALKER2023 | DIVERSITY | PLANNING | BAPST2019 | DU2023).items()
        },
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
