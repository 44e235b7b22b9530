"""What a prior from language is worth to an explorer: goals in words beside rewards that read none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from agents import AgentConfig
from experiments.settings import agent_preset
from experiments.studies.conditions import EXPLORED, Condition, Contrast, Question
from experiments.studies.named.forms import RANDOM_MODEL, two_phases
from experiments.studies.study import Study
from world_model import for_size

LANGUAGE, DISAGREEMENT, ORACLE = "language", "disagreement", "oracle"
"""Who explored; the oracle's goals are the achievements themselves."""
EXPLORERS = (
    Condition(LANGUAGE, "model+policy", intrinsic="language", suggest="ranked"),
    Condition(ORACLE, "model+policy", intrinsic="language", suggest="oracle"),
    Condition(DISAGREEMENT, "model+policy", intrinsic="disagreement"),
)
ALIKE = Condition("all pairs alike", "model+policy", intrinsic="language", suggest="all")
"""A control of what is suggested, where there is time for it."""


def _explored(better: str, baseline: str) -> Contrast:
    return Contrast(f"exploring: {better} over {baseline}", EXPLORED + better, EXPLORED + baseline)


CONTRASTS = (
    _explored(LANGUAGE, DISAGREEMENT),
    _explored(LANGUAGE, RANDOM_MODEL.name),
    _explored(ORACLE, LANGUAGE),
    *(Contrast(f"fine-tuning: {c.name} over scratch", c.name, "scratch") for c in (*EXPLORERS, RANDOM_MODEL)),
    Contrast("fine-tuning: language over disagreement", LANGUAGE, DISAGREEMENT),
)


def _agent(size: str) -> AgentConfig:
    """The agent: Crafter's horizon and a model that weighs the reward of goals, which it learns."""
    agent = agent_preset(size)
    if size != "tiny":
        return agent
    return dataclasses.replace(
        agent,
        model=dataclasses.replace(for_size(size), scale_reward=100.0),
        optimizer=dataclasses.replace(agent.optimizer, actor_scale=0.3),
    )


def _du(budget: str) -> Study:
    """Crafter explored for goals in words, by disagreement, at random (docs/plans/du2023.md)."""
    env, size, steps, seeds = {
        "laptop": ("crafter,observe=symbols", "tiny", (10_000, 5_000), 5),
        "gpu": ("crafter", "1m", (150_000, 50_000), 3),
        "paper": ("crafter", "50m", (5_000_000, 1_000_000), 5),
    }[budget]
    more = () if budget == "laptop" else (ALIKE,)
    return two_phases(
        "du2023",
        "Crafter explored for goals in words, by disagreement, at random.",
        env,
        size,
        intrinsic="language",
        steps=steps,
        seeds=seeds,
        conditions=(Condition("scratch", "scratch"), *EXPLORERS, *more, RANDOM_MODEL),
        agent=_agent(size),
        contrasts=CONTRASTS,
        question=Question(EXPLORED + LANGUAGE, EXPLORED + DISAGREEMENT, "reached_per_episode"),
    )


DU2023: dict[str, Callable[[str], Study]] = {"du2023": _du}
"""By name, what makes a study at a budget: laptop, gpu or paper."""
