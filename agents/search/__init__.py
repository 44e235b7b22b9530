"""Planning in a model's states, for a batch at once: tree search and shooting."""

from agents.search.config import VARIANTS, GumbelConfig, MPPIConfig, SearchConfig, Variant, as_variant
from agents.search.gumbel import GumbelPlanner
from agents.search.model import Evaluation, ImaginedModel, SearchModel, Step, reward_of_rows
from agents.search.plan import Plan, Planner
from agents.search.registry import make_planner, one_step, teaching
from agents.search.shooting import ShootingPlanner

__all__ = [
    "Evaluation",
    "GumbelConfig",
    "GumbelPlanner",
    "ImaginedModel",
    "MPPIConfig",
    "Plan",
    "Planner",
    "SearchConfig",
    "SearchModel",
    "ShootingPlanner",
    "Step",
    "VARIANTS",
    "Variant",
    "as_variant",
    "make_planner",
    "one_step",
    "reward_of_rows",
    "teaching",
]
