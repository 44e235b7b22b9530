"""The two forms of a study, and what several studies have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

from agents import AgentConfig
from experiments.settings import agent_preset, finetune_preset, training_preset
from experiments.studies.conditions import Condition
from experiments.studies.study import Study

RANDOM_MODEL: Condition = Condition("model from random data", "model", intrinsic="random-data")


def carried(*plans: str) -> tuple[Condition, ...]:
    """One condition for each plan, named after it."""
    return tuple(Condition(plan, plan) for plan in plans)


def curious(agent: AgentConfig) -> AgentConfig:
    """The tiny agent for four hundred updates of a small maze: larger steps of the actor, and more curiosity.

    With less entropy its policy grows certain of the reward's noise once the maze holds nothing new. Phase 2
    has an entropy of its own.
    """
    return dataclasses.replace(
        agent,
        behaviour=dataclasses.replace(agent.behaviour, entropy=0.05),
        optimizer=dataclasses.replace(agent.optimizer, actor_scale=0.3),
    )


def two_phases(name: str, description: str, env: str, size: str, **settings: Any) -> Study:
    """A study of exploring and fine-tuning at one budget."""
    steps: tuple[int, int] = settings.pop("steps")
    training: dict[str, Any] = settings.pop("training", {})
    agent: AgentConfig = settings.pop("agent", agent_preset(size))
    preset = dataclasses.replace(training_preset(size), **training)
    return Study(
        name=name,
        description=description,
        env=env,
        size=size,
        pretrain_steps=steps[0],
        finetune_steps=steps[1],
        agent=agent,
        finetune_agent=settings.pop("finetune_agent", finetune_preset(size)),
        pretrain=dataclasses.replace(preset, evaluation_episodes=min(16, preset.evaluation_episodes)),
        finetune=preset,
        **settings,
    )


def from_scratch(name: str, told: str, tasks: tuple[str, ...], size: str, **settings: Any) -> Study:
    """A study without a first phase: what differs is how the agent learns."""
    training: dict[str, Any] = settings.pop("training")
    agent: AgentConfig = settings.pop("agent", agent_preset(size))
    preset = training_preset(size)
    return Study(
        name=name,
        description=told,
        env=tasks[0],
        intrinsic="disagreement",  # nothing is explored
        size=size,
        pretrain_steps=1,
        tasks=tasks,
        agent=agent,
        finetune_agent=finetune_preset(size),
        pretrain=preset,
        finetune=dataclasses.replace(preset, **training),
        **settings,
    )
