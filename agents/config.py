"""Everything that shapes an agent."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from agents.actor_critic import ActorCriticConfig
from agents.prior import GuidanceConfig, PriorConfig
from agents.search.config import SearchConfig
from expedition.errors import UserError, unknown_name
from expedition.ranges import later, within
from exploration import IntrinsicConfig
from world_model import WorldModelConfig, for_size

Kind = Literal["model-based", "model-free", "ppo", "random"]
Precision = Literal["fp32", "bf16"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Settings of LaProp; defaults are DreamerV3's."""

    lr: float = 4e-5
    """Learning rate after warm-up."""
    actor_scale: float = 1.0
    """Learning rate of the actor over `lr`. The optimiser's steps do not shrink with the gradient, so at a
    high `lr` an actor follows noise to certainty before the model means anything."""
    warmup: int = 1000
    """Updates over which the learning rate rises."""
    beta2: float = 0.999
    """Decay of the squared gradient, whose root divides each step. The first gradients, of the mean picture,
    are by far the largest: 0.999 remembers them for a thousand updates, whose steps are then too small."""
    clip: float = 0.3
    """Adaptive gradient clipping: largest gradient norm over parameter norm, by tensor."""
    eps: float = 1e-20
    """Added to the root of the squared gradient."""

    def __post_init__(self) -> None:
        within(self, "agent.optimizer", "lr actor_scale warmup clip eps", least=0)
        within(self, "agent.optimizer", "beta2", least=0, below=1)


@dataclasses.dataclass(frozen=True)
class ModelFreeConfig:
    """What only the model-free twin reads.

    It shares the settings of behaviour learning, but for `imagination`, `starts` and `replay_critic`.
    """

    rho_bar: float = 1.0
    """Largest importance weight of one step, which decides whose value is learned."""
    c_bar: float = 1.0
    """Largest importance weight that a trace carries on, which decides how fast."""
    actor_gradient: bool = True
    """Let the actor's loss shape encoder and core too; otherwise the critic's alone does."""

    def __post_init__(self) -> None:
        within(self, "agent.model_free", "rho_bar c_bar", above=0)


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Settings of the baseline PPO (Schulman et al. 2017, arXiv 1707.06347), which nothing else reads.

    Defaults are those of rl-baselines3-zoo for MiniGrid, but for the entropy bonus (there 0) and the encoder.
    """

    rollout: int = 1024
    """Environment steps between two updates, of all environments together."""
    batch: int = 64
    """Steps in a minibatch."""
    epochs: int = 10
    """Passes over a rollout."""
    lr: float = 2.5e-4
    """Learning rate of Adam at the start."""
    anneal: bool = False
    """Let the learning rate and the clip range fall linearly to zero at the end of the run."""
    clip: float = 0.2
    """Clip range of the probability ratio at the start."""
    discount: float = 0.99
    """Discount of a step."""
    gae_lambda: float = 0.95
    """Decay of generalised advantage estimates (Schulman et al. 2015, arXiv 1506.02438)."""
    entropy: float = 0.01
    """Weight of the policy's entropy."""
    value: float = 0.5
    """Weight of the value's squared error."""
    max_grad_norm: float = 0.5
    """Largest norm of the whole gradient."""
    normalise_advantage: bool = True
    """Bring the advantages of each minibatch to mean 0 and deviation 1. Where rewards are rare, that makes
    noise as loud as a reward, and the policy certain of something before it has found any."""
    normalise_vectors: bool = True
    """Bring vectors to mean 0 and deviation 1 by running moments."""
    normalise_reward: bool = True
    """Divide rewards by the running deviation of the discounted return."""
    channels: tuple[int, ...] = (16, 32, 32)
    """Channels of the residual sections that read images (Espeholt et al. 2018, arXiv 1802.01561)."""
    image_features: int = 256
    """Width of an image's features."""
    units: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of actor and critic, each its own."""

    def __post_init__(self) -> None:
        within(self, "agent.ppo", "rollout batch", least=2)
        within(self, "agent.ppo", "epochs channels image_features units", least=1)
        within(self, "agent.ppo", "lr clip max_grad_norm", above=0)
        within(self, "agent.ppo", "entropy value", least=0)
        within(self, "agent.ppo", "discount gae_lambda", least=0, most=1)


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """Everything that shapes an agent."""

    kind: Kind = "model-based"
    """model-based: DreamerV3; model-free: its twin without a model; ppo, random: baselines that run by
    themselves."""
    model: WorldModelConfig = for_size("12m")
    behaviour: ActorCriticConfig = ActorCriticConfig()
    intrinsic: IntrinsicConfig = IntrinsicConfig()
    model_free: ModelFreeConfig = ModelFreeConfig()
    ppo: PPOConfig = PPOConfig()
    prior: PriorConfig = PriorConfig()
    guidance: GuidanceConfig = later(GuidanceConfig())
    search: SearchConfig = SearchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Precision = "fp32"
    """Of matrix products and convolutions in an update: fp32, or bf16 where the processor or GPU has it.
    States, distributions and losses stay fp32."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown_name("kind of agent", self.kind, get_args(Kind))
        self._check_search()
        if self.precision not in get_args(Precision):
            raise unknown_name("precision", self.precision, get_args(Precision))

    def _check_search(self) -> None:
        """Refuse plans without a model, and plans that teach where nothing teaches the critic."""
        if self.search.used and self.kind != "model-based":
            raise UserError(
                f"Search needs a model, which the agent '{self.kind}' has not: leave agent.search out, or "
                "choose the kind model-based."
            )
        if self.search.update != "imagination" and self.behaviour.replay_critic == 0:
            raise UserError(
                f"With agent.search.update '{self.search.update}' the critic learns on replayed rows alone: "
                "set agent.behaviour.replay_critic above 0."
            )
