"""Building with blocks: what graphs of objects, actions in relation to them, and search add.

Bapst, Sanchez-Gonzalez et al. 2019, arXiv 1904.03177, figures 3 to 5, with our agent in the place of theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from agents import AgentConfig
from agents.search import GumbelConfig, SearchConfig
from experiments.settings import agent_preset
from experiments.studies.conditions import Cell, Condition, Contrast, Question
from experiments.studies.named.forms import from_scratch
from experiments.studies.study import Study

GRAPH, RELATIVE = "graph", "relative"
LARGER = "size=1.5"
"""Scenes of half as many again, and as high, with the same spaces as those of training."""


def _name(objects: str, actions: str) -> str:
    return f"{objects}, {actions}"


BOTH, NEITHER = _name(GRAPH, RELATIVE), _name("plain", "absolute")


def _crossed() -> Iterator[tuple[Condition, Cell]]:
    """Each way to read a scene times each way to act in it, and its cell in the factorial."""
    for objects, actions in product(("plain", GRAPH), ("absolute", RELATIVE)):
        name = _name(objects, actions)
        parts = [part for part in (objects, actions) if part in (GRAPH, RELATIVE)]
        condition = Condition(name, "scratch", options=f"actions={actions}", objects=objects)  # type: ignore[arg-type]
        yield condition, Cell(name, "+".join(parts))


def _contrasts(tasks: tuple[str, ...]) -> Iterator[Contrast]:
    """What both are worth on each task, and what each is worth alone and beside the other.

    Every measure is told of each: `lost_at_size=1.5` by how much more one loses in larger scenes than the
    other.
    """
    for task in tasks:
        name = task.partition(",")[0].removeprefix("construction-")
        yield Contrast(f"{name}: graph and relative over plain and absolute", BOTH, NEITHER, task)
    for actions in ("absolute", RELATIVE):
        label = f"graph over plain, actions {actions}"
        yield Contrast(label, _name(GRAPH, actions), _name("plain", actions))
    for objects in ("plain", GRAPH):
        label = f"relative over absolute, scenes read {objects}"
        yield Contrast(label, _name(objects, RELATIVE), _name(objects, "absolute"))


def _tasks(budget: str) -> tuple[str, ...]:
    """On a laptop two tasks that random play is paid in; else all four, the paper's at their hardest."""
    if budget == "laptop":  # ten placed blocks at most: an update costs the square of a scene's rows
        return "construction-silhouette,difficulty=1", "construction-connecting,difficulty=1,steps=10"
    levels = {"silhouette": 2, "connecting": 3, "covering": 0, "covering-hard": 0}
    told = {name: "" if budget == "paper" else f",difficulty={level}" for name, level in levels.items()}
    return tuple(f"construction-{name}{difficulty}" for name, difficulty in told.items())


def _agent(size: str) -> AgentConfig:
    """The agent of a size.

    Tiny's graphs are half as wide, for an update of theirs costs the most by far; it imagines no further than
    an episode goes, and its actor takes larger steps. When judged, it considers as many actions as in the run
    that docs/results.md shows.
    """
    agent = agent_preset(size)
    if size != "tiny":
        return agent
    objects = dataclasses.replace(agent.model.objects, units=32)
    return dataclasses.replace(
        agent,
        model=dataclasses.replace(agent.model, objects=objects),
        behaviour=dataclasses.replace(agent.behaviour, imagination=5),
        optimizer=dataclasses.replace(agent.optimizer, actor_scale=0.3),
        search=SearchConfig(gumbel=GumbelConfig(considered=16)),
    )


def _bapst(budget: str) -> Study:
    """From scratch in random scenes, judged in those and in larger ones, with and without search."""
    size, steps, seeds = {
        "laptop": ("tiny", 6_000, 5),
        "gpu": ("1m", 200_000, 5),
        "paper": ("12m", 10_000_000, 10),
    }[budget]
    training: dict[str, Any] = {
        "evaluation_episodes": 16 if budget == "laptop" else 40,
        "unseen": LARGER,
        "searches": (4, 16) if budget == "laptop" else (4, 16, 50),
        "simulator": True,
    }
    conditions, cells = zip(*_crossed(), strict=True)
    tasks = _tasks(budget)
    return from_scratch(
        "bapst2019",
        "Build with blocks: graphs, relative actions, search.",
        tasks,
        size,
        agent=_agent(size),
        finetune_steps=steps,
        seeds=seeds,
        conditions=conditions,
        factorial=cells,
        contrasts=tuple(_contrasts(tasks)),
        question=Question(BOTH, NEITHER, "normalised_auc"),
        training=training | ({"length": 8, "train_ratio": 32} if budget == "laptop" else {}),
    )


BAPST2019: dict[str, Callable[[str], Study]] = {"bapst2019": _bapst}
"""By name, what makes a study at a budget: laptop, gpu or paper."""
