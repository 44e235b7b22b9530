"""Judging the final policy beyond its own episodes: on levels that it never met, and with search."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from agents import Agent, DreamerAgent
from agents.search import SearchConfig
from envs import Simulator
from expedition import UserError
from training.config import RunConfig
from training.evaluation import Check, MakeEnvs, evaluate_policy, summarise_episodes
from training.logistics import Logistics, env_factory
from training.simulated import SimulatorPlanner
from training.spaces import describe_spaces

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
        for env in _judged(config):
            Simulator(env, training.image_size).close()
    if training.unseen is None:
        return
    found = []
    for env in (config.env, training.unseen):
        envs = env_factory(dataclasses.replace(config, env=env), logistics)(1)
        found.append(describe_spaces(envs.observation_space, envs.action_space))
        envs.close()
    if found[0] != found[1]:
        raise UserError(
            f"The policy of '{config.env}' cannot be judged on '{training.unseen}', which is observed or "
            "acted in otherwise: choose training.unseen with the same spaces."
        )


def judge_beyond(agent: Agent, config: RunConfig, logistics: Logistics, seed: int, check: Check) -> Summaries:
    """Judge the policy as `training.unseen`, `searches` and `simulator` say.

    Every judgement has the same seeds of episodes.
    """
    found: Summaries = {}
    for env in _judged(config):
        place = "" if env == config.env else "_unseen"
        make_envs = env_factory(dataclasses.replace(config, env=env), logistics)

        def judge(make: MakeEnvs, env: str = env) -> dict[str, float]:
            episodes = config.training.evaluation_episodes
            return summarise_episodes(env, evaluate_policy(agent, make, episodes, seed, check))

        if place:
            found[place] = judge(make_envs)
        if isinstance(agent, DreamerAgent):
            for search in _searches(config):
                name = f"search{search.gumbel.simulations}"
                with agent.judged_with(agent.planner(search)):
                    found[f"{place}_{name}"] = judge(make_envs)
                if config.training.simulator:
                    planner = SimulatorPlanner(agent, search, env, config.training.image_size)
                    with agent.judged_with(planner):
                        result = judge(lambda n, make=make_envs, p=planner: p.follow(make(n)))
                    planner.close()
                    found[f"{place}_{name.replace('search', 'simulator')}"] = result
    return found


def _judged(config: RunConfig) -> tuple[str, ...]:
    unseen = config.training.unseen
    return (config.env,) if unseen is None else (config.env, unseen)


def _searches(config: RunConfig) -> Iterator[SearchConfig]:
    """The run's search with each number of simulations."""
    search = config.agent.search
    for simulations in config.training.searches:
        gumbel = dataclasses.replace(search.gumbel, simulations=simulations)
        yield dataclasses.replace(search, kind="gumbel", gumbel=gumbel)
