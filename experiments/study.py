"""Studies: which runs they consist of, and what each run needs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from agents import AgentConfig
from envs import environment_info
from expedition import UserError, unknown_name
from experiments.settings import agent_preset, overlay, read_settings, training_preset
from exploration import INTRINSIC
from training import RunConfig, TrainingConfig, fingerprint, to_dict
from transfer.plan import TransferPlan, parse_plan


@dataclasses.dataclass(frozen=True)
class Study:
    """One pre-training run for each seed, and one fine-tuning run for each plan and seed."""

    name: str
    """Name of the study and of its folder."""
    description: str
    """One line for `expedition list`."""
    env: str
    """Environment that is explored."""
    intrinsic: str
    """Intrinsic reward of phase 1."""
    size: str
    """Size of the world model."""
    pretrain_steps: int
    """Environment steps of phase 1, without reward."""
    finetune_steps: int
    """Environment steps of phase 2, equal for every plan."""
    plans: tuple[str, ...]
    """What is carried: names of plans, or plans spelled out."""
    agent: AgentConfig
    pretrain: TrainingConfig
    finetune: TrainingConfig
    finetune_env: str | None = None
    """Environment of phase 2, where it is another one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", tuple(self.plans))
        if not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise UserError(
                f"The name of a study is letters, digits, '_', '.', '+' and '-', not '{self.name}'."
            )
        for plan in self.plans:
            parse_plan(plan)
        if len(set(self.plans)) < len(self.plans) or not self.plans:
            raise UserError(f"Study '{self.name}' must name at least one plan, and each only once.")
        if self.intrinsic not in INTRINSIC:
            raise unknown_name("intrinsic reward", self.intrinsic, INTRINSIC)
        for env in (self.env, self.finetune_env or self.env):
            environment_info(env)


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a study: its settings, and the run that must be finished before it."""

    id: str
    config: RunConfig
    seed: int
    plan: str | None = None
    """None in phase 1."""
    needs: str | None = None
    """Id of the pre-training run that it carries from."""


def planned_runs(study: Study, seeds: int) -> list[PlannedRun]:
    """Every run of a study over seeds 0 to `seeds - 1`, those first that others wait for.

    A run's id ends with a hash of its settings, so that changed settings never meet old results.
    """
    if seeds < 1:
        raise UserError(f"A study needs at least one seed, not {seeds}.")
    pretraining, finetuning = [], []
    for seed in range(seeds):
        first = RunConfig(
            study.env,
            "pretrain",
            study.intrinsic,
            study.size,
            study.pretrain_steps,
            seed,
            study.agent,
            study.pretrain,
        )
        source = f"pretrain-s{seed}-{fingerprint(to_dict(first))}"
        pretraining.append(PlannedRun(source, first, seed))
        for plan in study.plans:
            parsed = parse_plan(plan)
            second = dataclasses.replace(
                first,
                env=study.finetune_env or study.env,
                phase="finetune",
                intrinsic=None,
                steps=study.finetune_steps,
                training=_learnable(study.finetune, parsed),
            )
            needs = source if parsed.carries else None
            identity = {"run": to_dict(second), "plan": parsed.as_dict(), "source": needs}
            label = plan if "=" not in plan else "custom"
            run_id = f"{label}-s{seed}-{fingerprint(identity)}"
            finetuning.append(PlannedRun(run_id, second, seed, plan, needs))
    return pretraining + sorted(finetuning, key=lambda run: run.seed)


def _learnable(training: TrainingConfig, plan: TransferPlan) -> TrainingConfig:
    """Settings of phase 2 for one plan: without rows that have rewards nothing is learned offline."""
    return training if plan["replay"] == "relabel" else dataclasses.replace(training, offline_updates=0)


def _quickstart() -> Study:
    return Study(
        name="quickstart",
        description="Crafter in minutes on two cores: explore, carry, fine-tune, compare.",
        env="crafter",
        intrinsic="disagreement",
        size="tiny",
        pretrain_steps=5_000,
        finetune_steps=2_000,
        plans=("scratch", "policy", "model", "model+policy"),
        agent=agent_preset("tiny"),
        pretrain=dataclasses.replace(training_preset("tiny"), evaluation_episodes=8),
        finetune=dataclasses.replace(training_preset("tiny"), evaluation_episodes=16),
    )


STUDIES = {study.name: study for study in (_quickstart(),)}


def find_study(name: str, overrides: dict[str, Any]) -> Study:
    """Return a named study, or one from a YAML file that says which study it is based on.

    Args:
        name: a known name, or the path of a .yaml or .json file with an optional line `base: quickstart`.
        overrides: settings that flags change.

    Raises:
        UserError: an unknown name, a missing file, a bad setting.
    """
    values: dict[str, Any] = {}
    if Path(name).suffix in (".yaml", ".yml", ".json"):
        values = {str(key).replace("-", "_"): value for key, value in read_settings(Path(name)).items()}
        values.setdefault("name", Path(name).stem)
        name = str(values.pop("base", "quickstart"))
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    values |= {key: value for key, value in overrides.items() if value is not None}
    base = STUDIES[name]
    if "size" in values and values["size"] != base.size:  # a size brings its own settings
        size = str(values["size"])
        base = dataclasses.replace(
            base, agent=agent_preset(size), pretrain=training_preset(size), finetune=training_preset(size)
        )
    return overlay(base, values)
