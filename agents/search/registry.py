"""Planners by kind."""

from __future__ import annotations

import dataclasses

import gymnasium

from agents.search.config import SearchConfig
from agents.search.gumbel import GumbelPlanner
from agents.search.model import SearchModel
from agents.search.plan import Planner
from agents.search.shooting import ShootingPlanner
from world_model import action_factors, action_width


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


def one_step(config: SearchConfig, action_space: gymnasium.Space) -> SearchConfig:
    """A tree of depth 1 in which every action is tried once, or each of those sampled."""
    gumbel = config.gumbel
    every = len(action_factors(action_space)) == 1
    actions = action_width(action_space) if every else gumbel.sampled_actions
    shallow = dataclasses.replace(gumbel, simulations=actions, considered=max(2, actions), depth=1)
    return dataclasses.replace(config, kind="gumbel", gumbel=shallow)
