"""Planners by kind."""

from __future__ import annotations

import gymnasium

from agents.search.config import SearchConfig
from agents.search.gumbel import GumbelPlanner
from agents.search.model import SearchModel
from agents.search.plan import Planner
from agents.search.shooting import ShootingPlanner


def make_planner(config: SearchConfig, model: SearchModel, action_space: gymnasium.Space) -> Planner:
    """Build the planner of `config.kind`.

    Args:
        config: settings.
        model: where to search; `ImaginedModel` of an agent's, or a simulator that can be restored.
        action_space: Discrete or Box.

    Raises:
        UserError: this kind cannot plan such actions.
    """
    if config.kind == "mppi":
        return ShootingPlanner(config.mppi, model, action_space)
    return GumbelPlanner(config.gumbel, model, action_space)
