"""What to do: the actor-critic in imagination, its optimiser, and policy priors."""

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.dreamer import ActState, AgentConfig, DreamerAgent, Mode, OptimizerConfig
from agents.optimizer import LaProp
from agents.prior import PolicyPrior, PriorConfig
from agents.returns import PercentileScale, lambda_returns

__all__ = [
    "ActState",
    "ActorCritic",
    "ActorCriticConfig",
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
