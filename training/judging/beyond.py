"""Judging the final policy beyond its own episodes: on levels that it never met, and with search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeVar

from agents import DreamerAgent
from agents.search import SearchConfig
from envs import Simulator, with_options
from expedition import UserError
from training.config import RunConfig
from training.judging.evaluation import Check, MakeEnvs, Policy, evaluate_policy, summarise_episodes
from training.judging.simulated import simulating
from training.process.logistics import Logistics, env_factory
from training.spaces import describe_spaces

T = TypeVar("T")
Summaries = dict[str, dict[str, float]]
"""By the end of the measures' names."""


def check_beyond(config: RunConfig, logistics: Logistics) -> None:
    """Refuse what could not be judged in the end, before anything runs.

    Raises:
        UserError: another environment has other spaces, searches need a model, or a simulator cannot be had.
    """
    training = config.training
    if training.searches and config.agent.kind != "model-based":
        raise UserError(
            f"Search needs a model, which the agent '{config.agent.kind}' has not: leave training.searches "
            "out."
        )
    if training.simulator:
        for env in _judged(config).values():
            Simulator(env, training.image_size).close()
    if training.unseen is None:
        return
    found = []
    for env in _judged(config).values():
        envs = env_factory(dataclasses.replace(config, env=env), logistics)(1)
        found.append(describe_spaces(envs.observation_space, envs.action_space))
        envs.close()
    if found[0] != found[1]:
        raise UserError(
            f"The policy of '{config.env}' cannot be judged on '{training.unseen}', which is observed or "
            "acted in otherwise: choose training.unseen with the same spaces."
        )


def judge_beyond(
    policy: Policy, config: RunConfig, logistics: Logistics, seed: int, check: Check
) -> Summaries:
    """Judge a policy as `training.unseen` says, with a model also as `searches`, `depths`, `simulator`.

    Every judgement has the same seeds of episodes.
    """
    episodes = config.training.evaluation_episodes

    def judge(env: str, make_envs: MakeEnvs) -> dict[str, float]:
        return summarise_episodes(env, evaluate_policy(policy, make_envs, episodes, seed, check))

    return each_beyond(policy, config, logistics, judge)


def each_beyond(
    policy: Policy, config: RunConfig, logistics: Logistics, judge: Callable[[str, MakeEnvs], T]
) -> dict[str, T]:
    """What `judge` returns of each judgement, by the end of its measures' names.

    Args:
        policy: the one that is judged; it searches, or does not, while `judge` is called.
        config: of its run.
        logistics: how environments are made.
        judge: given the environment's id and what makes it.
    """
    found: dict[str, T] = {}
    for place, env in _judged(config).items():
        make_envs = env_factory(dataclasses.replace(config, env=env), logistics)
        if place:
            found[place] = judge(env, make_envs)
        if not isinstance(policy, DreamerAgent):
            continue
        for name, search in _searches(config):
            with policy.judged_with(policy.planner(search)):
                found[f"{place}_search{name}"] = judge(env, make_envs)
            if config.training.simulator:
                with simulating(policy, search, env, config.training.image_size) as planner:
                    found[f"{place}_simulator{name}"] = judge(env, planner.followed(make_envs))
    return found


def _judged(config: RunConfig) -> dict[str, str]:
    """The environments in which the policy is judged, by the end of the measures' names."""
    unseen = config.training.unseen
    if unseen is None:
        return {"": config.env}
    if "=" in unseen.partition(",")[0]:  # options, which no id begins with
        return {"": config.env, f"_at_{unseen}": with_options(config.env, unseen)}
    return {"": config.env, "_unseen": unseen}


def _searches(config: RunConfig) -> Iterator[tuple[str, SearchConfig]]:
    """The run's search with each number of simulations, and with the most of them at each depth, by name."""
    search, training = config.agent.search, config.training
    varied: dict[str, dict[str, int]] = {str(count): {"simulations": count} for count in training.searches}
    for depth in training.depths:
        most = max(training.searches)
        varied[f"{most}_depth{depth}"] = {"simulations": most, "depth": depth}
    for name, changes in varied.items():
        gumbel = dataclasses.replace(search.gumbel, **changes)
        yield name, dataclasses.replace(search, kind="gumbel", gumbel=gumbel)
