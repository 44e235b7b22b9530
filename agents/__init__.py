"""What to do: the agents, their actor-critic and optimiser, and policy priors."""

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.base import ActState, Agent, Mode
from agents.config import AgentConfig, Kind, ModelFreeConfig, OptimizerConfig, PPOConfig
from agents.dreamer import DreamerAgent
from agents.learning.optimizer import LaProp
from agents.learning.returns import PercentileScale, lambda_returns, vtrace
from agents.model_free import ModelFreeAgent
from agents.prior import Guidance, GuidanceConfig, PolicyPrior, PriorConfig
from agents.programs.program import FINITE
from agents.registry import AGENTS, make_agent

__all__ = [
    "AGENTS",
    "ActState",
    "ActorCritic",
    "ActorCriticConfig",
    "FINITE",
    "Agent",
    "AgentConfig",
    "Guidance",
    "GuidanceConfig",
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
