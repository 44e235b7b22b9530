"""Where planning helps (Hamrick et al. 2021), and what a model should predict (Anand et al. 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import get_args

from agents.search import VARIANTS, SearchConfig
from experiments.settings import agent_preset
from experiments.studies.conditions import Condition, Contrast, Question
from experiments.studies.named.forms import from_scratch
from experiments.studies.study import Study
from world_model import Predicts, for_size

SEARCHING = tuple(
    Condition(name, "scratch", search=name) for name, (_, _, evaluate) in VARIANTS.items() if not evaluate
)
"""Variants that learn differently. Those that also plan when judged (`learn+data+eval`, `eval`) are the same
runs: `training.searches` judges every policy so too, which compares within a run."""
WHERE_PLANNING_HELPS = (
    Contrast("planning to learn: learn over one-step", "learn", "one-step"),
    Contrast("planning to collect: data over one-step", "data", "one-step"),
    Contrast("planning to learn and to collect: learn+data over one-step", "learn+data", "one-step"),
    Contrast("planning to learn, given that it collects: learn+data over data", "learn+data", "data"),
    Contrast("plans or imagination: learn over dreamer", "learn", "dreamer"),
)
"""Hamrick et al. 2021 (arXiv 2011.04021), figures 3 and 4, and our own agent beside them."""


def _hamrick(budget: str) -> Study:
    """Mazes that are new in the end: learned against true model there, and more search."""
    family, size, steps, seeds = {
        "laptop": ("mazes-collect,size=7,limit=50,num_levels=20,observe=symbols", "tiny", 16_000, 5),
        "gpu": ("minipacman,num_levels=100,limit=600", "1m", 200_000, 5),
        "paper": ("minipacman,limit=600", "50m", 10_000_000, 10),
    }[budget]
    return from_scratch(
        "hamrick2021",
        "Planning while learning, or in the moment? In mazes.",
        (family,),
        size,
        finetune_steps=steps,
        seeds=seeds,
        # With the reference's horizon: it was run before `tiny` had a shorter one.
        agent=dataclasses.replace(agent_preset(size), model=for_size(size)),
        conditions=SEARCHING,
        contrasts=WHERE_PLANNING_HELPS,
        question=Question("learn", "one-step", "auc"),
        training={
            "evaluation_episodes": 40,
            "unseen": f"{family},start_level=500",
            "searches": (4, 16, 50),
            "simulator": True,
            "depths": () if budget == "laptop" else (1, 2, 10),
        },
    )


CONTROL = ("acrobot-swingup_sparse", "cheetah-run", "humanoid-stand")
"""Of the paper's tasks those of control."""


def _hamrick_control(budget: str) -> Study:
    """The same on control, whose actions are sampled."""
    tasks, size, steps, seeds = {
        "laptop": (("dmc-cartpole-swingup,observe=state,action_repeat=8",), "tiny", 10_000, 5),
        "gpu": (tuple(f"dmc-{task},observe=state" for task in CONTROL[1:]), "1m", 200_000, 5),
        "paper": (tuple(f"dmc-{task}" for task in CONTROL), "50m", 10_000_000, 10),
    }[budget]
    agent, training = agent_preset(size), {"evaluation_episodes": 16, "searches": (4, 16, 50)}
    if budget == "laptop":  # half the rows in as many updates, and actors that stay wide (docs/plans)
        training |= {"length": 8, "train_ratio": 16}
        agent = dataclasses.replace(agent, search=SearchConfig(entropy=1.0))
    return from_scratch(
        "hamrick2021-control",
        "Planning while learning, or in the moment? On control.",
        tasks,
        size,
        finetune_steps=steps,
        seeds=seeds,
        conditions=SEARCHING,
        contrasts=WHERE_PLANNING_HELPS,
        question=Question("learn", "one-step", "auc"),
        agent=agent,
        training=training,
    )


def _hamrick_games(budget: str) -> Study:
    """The same on the paper's other games, whose levels nobody holds out."""
    tasks, size, steps, seeds = {
        "laptop": (("minipacman,limit=200,observe=symbols",), "tiny", 10_000, 5),
        "gpu": (("sokoban", "atari-ms_pacman", "atari-hero", "go-9x9"), "1m", 200_000, 5),
        "paper": (("sokoban", "atari-ms_pacman", "atari-hero", "go-9x9"), "50m", 10_000_000, 10),
    }[budget]
    return from_scratch(
        "hamrick2021-games",
        "Planning while learning, or in the moment? In games.",
        tasks,
        size,
        finetune_steps=steps,
        seeds=seeds,
        conditions=SEARCHING,
        contrasts=WHERE_PLANNING_HELPS,
        question=Question("learn", "one-step", "auc"),
        training={"evaluation_episodes": 16, "searches": (4, 16, 50)},
    )


def _anand(budget: str) -> Study:
    """How many levels are trained on, times what is predicted; judged on those and on unseen ones.

    Levels are those of Anand et al. 2022, figure 3, on a laptop their fewest and most; 0 stands for all.
    """
    laptop = budget == "laptop"
    family, size, steps, seeds = {
        "laptop": ("mazes-collect,size=7,limit=50,observe=symbols,view=local", "tiny", 48_000, 5),
        "gpu": ("procgen-heist", "1m", 200_000, 5),
        "paper": ("procgen-heist", "50m", 30_000_000, 5),
    }[budget]
    levels = (10, 0) if laptop else (10, 100, 500, 0)
    kinds = ("reconstruction", "spr", "contrastive", "none") if laptop else get_args(Predicts)
    tasks = tuple(f"{family},num_levels={count}" for count in levels)
    few, most = tasks[0], tasks[-1]
    helped = [kind for kind in kinds if kind != "none"]
    overall = [Contrast(f"{kind} over none", kind, "none") for kind in helped]
    with_most = [Contrast(f"{kind} over none, all levels", kind, "none", most) for kind in helped]
    gains = [Contrast(f"{kind} over none, all levels less ten", kind, "none", most, few) for kind in helped]
    training = {"evaluation_episodes": 40, "unseen": f"{family},num_levels=1000,start_level=100000"}
    return from_scratch(
        "anand2022",
        "What should a model predict, and from how many levels?",
        tasks,
        size,
        finetune_steps=steps,
        seeds=seeds,
        conditions=tuple(Condition(kind, "scratch", predicts=kind) for kind in kinds),
        contrasts=(*overall, *with_most, *gains),
        question=Question("reconstruction" if laptop else "spr", "none", "return_unseen", most),
        training=training | ({"train_ratio": 8, "evaluation_episodes": 64} if laptop else {}),
    )


PLANNING: dict[str, Callable[[str], Study]] = {
    "hamrick2021": _hamrick,
    "hamrick2021-control": _hamrick_control,
    "hamrick2021-games": _hamrick_games,
    "anand2022": _anand,
}
"""By name, what makes a study at a budget: laptop, gpu or paper."""
