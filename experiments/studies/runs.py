"""The runs of a study: what each needs, and the id that follows from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from agents import AgentConfig, PPOConfig
from expedition.errors import UserError
from experiments.settings import possible, ppo_preset
from experiments.studies.conditions import Condition, Gathered
from experiments.studies.study import Study
from training import RunConfig, TrainingConfig, fingerprint, to_dict
from training.budget import planned_updates


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a study: its settings, and the runs that must be finished before it."""

    id: str
    config: RunConfig
    seed: int
    """The study's, by which runs are paired; an explorer that gathers data may have another of its own."""
    condition: str | None = None
    """Name of the condition; None in phase 1."""
    plan: str | None = None
    """None in phase 1."""
    needs: str | None = None
    """Id of the pre-training run that it carries from."""
    task: str | None = None
    """Environment of the study that a condition's own options are laid over; None in phase 1."""
    data: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Ids of the runs from whose replays it learns in place of steps, and their weights."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Ids of the runs that must be finished before it."""
        return (*self.data, *(() if self.needs is None else (self.needs,)))

    @property
    def kind(self) -> str:
        """What it has in common with the runs of other seeds."""
        agent = self.config.agent
        told: list[str] = [agent.kind] if agent.kind != "model-based" else []
        told += [agent.model.predicts] if agent.model.predicts != "reconstruction" else []
        told += [f"from {told_replays(len(self.data))}"] if self.data else []
        return self.condition or ", ".join([f"pretrain {self.reward}", *told])

    @property
    def reward(self) -> str | None:
        """Intrinsic reward of phase 1, with who suggests goals where those are rewarded; None in phase 2."""
        intrinsic = self.config.intrinsic
        goals = self.config.agent.intrinsic.language.suggest
        return f"{intrinsic} ({goals})" if intrinsic == "language" else intrinsic

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return f"{self.kind} s{self.config.seed}"


def told_replays(count: int) -> str:
    """So many replays, in words."""
    return f"{count} replay{'s' * (count != 1)}"


def planned_runs(study: Study) -> list[PlannedRun]:
    """Every run of a study over its seeds, those first that others wait for.

    A run's id ends with a hash of its settings, so that changed settings never meet old results. A
    pre-training run is shared by every condition that explores in the same way, or learns from its replay.
    """
    pretraining: dict[str, PlannedRun] = {}
    finetuning = []
    for seed in study.seed_numbers:
        for condition in study.measured:
            first = _phase_1(study, condition, seed) if condition.transfer.carries else []
            for run in first:
                pretraining.setdefault(run.id, run)
            source = first[-1] if first else None
            finetuning += [_finetuned(study, condition, env, seed, source) for env in study.finetune_envs]
    return [*pretraining.values(), *finetuning]


def _phase_1(study: Study, condition: Condition, seed: int) -> list[PlannedRun]:
    """Runs of phase 1 of a condition: it carries from the last, which learns from those before it."""
    intrinsic = condition.intrinsic or study.intrinsic
    agent, training = study.explorer_of(condition), study.probing(study.pretrain)
    env, steps = study.explored_by(condition), study.pretrain_steps
    config = RunConfig(env, "pretrain", intrinsic, study.size, steps, seed, agent, training)
    label = _label(study, condition, intrinsic)
    if not condition.data:
        return [PlannedRun(f"{label}-s{seed}-{fingerprint(to_dict(config))}", config, seed)]
    gathered = [_gathering(study, condition, each, config) for each in condition.data]
    weights = {run.id: each.weight for run, each in zip(gathered, condition.data, strict=True)}
    updates = planned_updates(config)
    if not updates:
        raise UserError(
            f"Condition '{condition.name}' learns from replays by as many updates as {steps:,} steps are "
            "worth to one explorer, which is none: raise pretrain_steps or pretrain.train_ratio."
        )
    learning = dataclasses.replace(training, offline_updates=updates)
    config = dataclasses.replace(config, steps=0, training=learning)
    identity = fingerprint({"run": to_dict(config), "data": weights})
    return [*gathered, PlannedRun(f"{label}-data-s{seed}-{identity}", config, seed, data=weights)]


def _gathering(study: Study, condition: Condition, told: Gathered, whole: RunConfig) -> PlannedRun:
    """An explorer that has its part of the steps, and of the replay's room, of one that has the `whole`."""
    parts = len(condition.data)
    config = dataclasses.replace(
        whole,
        env=condition.in_env(told.explores or condition.explores or study.env),
        intrinsic=told.intrinsic or whole.intrinsic,
        steps=whole.steps // parts,
        seed=whole.seed + told.seed,
        training=dataclasses.replace(whole.training, replay_gib=whole.training.replay_gib / parts),
    )
    label = _label(study, condition, str(config.intrinsic))
    return PlannedRun(f"{label}-s{config.seed}-{fingerprint(to_dict(config))}", config, whole.seed)


def _label(study: Study, condition: Condition, intrinsic: str) -> str:
    """What the id of a run of phase 1 begins with."""
    predicts = study.explorer_of(condition).model.predicts
    told = [] if intrinsic == study.intrinsic else [intrinsic]
    told += [condition.suggest] if condition.suggest else []
    told += [] if condition.explorer == "model-based" else [condition.explorer]
    told += [] if predicts == "reconstruction" else [predicts]
    told += [] if condition.objects is None else [condition.objects]
    return "-".join(["pretrain", *told])


def _finetuned(
    study: Study, condition: Condition, task: str, seed: int, source: PlannedRun | None
) -> PlannedRun:
    """The run of phase 2 of a condition on one task."""
    if condition.learner == "random":
        return _measured_at_random(study, condition, task, seed)
    env = condition.in_env(task)
    steps = condition.steps or study.finetune_steps
    agent = study.learner_of(condition)
    if condition.learner == "ppo" and agent.ppo == PPOConfig():  # nobody set it otherwise
        agent = dataclasses.replace(agent, ppo=ppo_preset(env, steps))
    training = possible(study.probing(study.finetune), condition.transfer, agent)
    config = RunConfig(env, "finetune", None, study.size, steps, seed, agent, training)
    needs = None if source is None else source.id
    identity = {"run": to_dict(config), "plan": condition.transfer.as_dict(), "source": needs}
    label = re.sub(r"[^\w.+]+", "-", condition.name) if "=" not in condition.name else "custom"
    run = f"{label}-s{seed}-{fingerprint(identity)}"
    return PlannedRun(run, config, seed, condition.name, condition.plan, needs, task)


def _measured_at_random(study: Study, condition: Condition, env: str, seed: int) -> PlannedRun:
    """The run of the random policy: none of its settings are those of learning."""
    training = TrainingConfig(
        evaluation_episodes=study.finetune.evaluation_episodes,
        image_size=study.finetune.image_size,
        unseen=study.finetune.unseen,
    )
    config = RunConfig(env, "finetune", None, study.size, 0, seed, AgentConfig(kind="random"), training)
    run = f"random-policy-s{seed}-{fingerprint(to_dict(config))}"
    return PlannedRun(run, config, seed, condition.name, condition.plan, task=env)
