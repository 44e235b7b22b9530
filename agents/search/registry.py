"""Planners by kind."""

from __future__ import annotations

import dataclasses

import gymnasium

from agents.search.config import SearchConfig
from agents.search.gumbel import GumbelPlanner, candidates
from agents.search.model import SearchModel
from agents.search.plan import Planner
from agents.search.shooting import ShootingPlanner
from expedition.errors import UserError


def make_planner(config: SearchConfig, model: SearchModel, action_space: gymnasium.Space) -> Planner:
    """Build the planner of `config.kind`.

    Args:
        config: settings.
        model: where to search; `ImaginedModel` of an agent's, or a simulator that can be restored.
        action_space: Discrete, MultiDiscrete or Box.

    Raises:
        UserError: this kind cannot plan such actions.
    """
    if config.kind == "mppi":
        return ShootingPlanner(config.mppi, model, action_space)
    return GumbelPlanner(config.gumbel, model, action_space)


def teaching(config: SearchConfig, action_space: gymnasium.Space) -> SearchConfig:
    """The planner's settings where it teaches the actor.

    Raises:
        UserError: the search would be the one-step target under another name.
    """
    if config.update == "one-step":
        return one_step(config, action_space)
    gumbel = config.gumbel
    count, tried = gumbel.simulations, min(gumbel.considered, candidates(gumbel, action_space))
    if config.kind == "gumbel" and count <= tried:
        raise UserError(
            f"agent.search.gumbel.simulations is {count}, by which each of {tried} considered actions is "
            "tried at most once: that is agent.search.update one-step. Choose it, more simulations, or fewer "
            "agent.search.gumbel.considered."
        )
    return config


def one_step(config: SearchConfig, action_space: gymnasium.Space) -> SearchConfig:
    """A tree of depth 1 in which every action is tried once, or each of those sampled."""
    gumbel = config.gumbel
    actions = candidates(gumbel, action_space)
    shallow = dataclasses.replace(gumbel, simulations=actions, considered=max(2, actions), depth=1)
    return dataclasses.replace(config, kind="gumbel", gumbel=shallow)
