"""What to do: the agents, their actor-critic and optimiser, and policy priors."""

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.base import ActState, Agent, Mode
from agents.config import AgentConfig, OptimizerConfig
from agents.dreamer import DreamerAgent
from agents.optimizer import LaProp
from agents.prior import PolicyPrior, PriorConfig
from agents.returns import PercentileScale, lambda_returns

__all__ = [
    "ActState",
    "ActorCritic",
    "ActorCriticConfig",
    "Agent",
    "AgentConfig",
    "DreamerAgent",
    "LaProp",
    "Mode",
    "OptimizerConfig",
    "PercentileScale",
    "PolicyPrior",
    "PriorConfig",
    "lambda_returns",
]
