"""What to do: the agents, their actor-critic and optimiser, and policy priors."""

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.base import ActState, Agent, Mode
from agents.config import AgentConfig, Kind, ModelFreeConfig, OptimizerConfig, PPOConfig
from agents.dreamer import DreamerAgent
from agents.model_free import ModelFreeAgent
from agents.optimizer import LaProp
from agents.prior import PolicyPrior, PriorConfig
from agents.program import FINITE
from agents.registry import AGENTS, make_agent
from agents.returns import PercentileScale, lambda_returns, vtrace

__all__ = [
    "AGENTS",
    "ActState",
    "ActorCritic",
    "ActorCriticConfig",
    "FINITE",
    "Agent",
    "AgentConfig",
    "Kind",
    "DreamerAgent",
    "LaProp",
    "Mode",
    "ModelFreeAgent",
    "ModelFreeConfig",
    "OptimizerConfig",
    "PPOConfig",
    "PercentileScale",
    "PolicyPrior",
    "PriorConfig",
    "lambda_returns",
    "make_agent",
    "vtrace",
]
