"""Everything that shapes an agent."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from agents.actor_critic import ActorCriticConfig
from agents.prior import PriorConfig
from expedition import unknown_name
from exploration import IntrinsicConfig
from world_model import WorldModelConfig, for_size

Kind = Literal["model-based", "model-free", "ppo"]
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


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """Everything that shapes an agent."""

    kind: Kind = "model-based"
    """model-based: DreamerV3; model-free: its twin without a model; ppo: a baseline, which runs by itself."""
    model: WorldModelConfig = for_size("12m")
    behaviour: ActorCriticConfig = ActorCriticConfig()
    intrinsic: IntrinsicConfig = IntrinsicConfig()
    model_free: ModelFreeConfig = ModelFreeConfig()
    prior: PriorConfig = PriorConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Precision = "fp32"
    """Of matrix products and convolutions in an update: fp32, or bf16 where the processor or GPU has it.
    States, distributions and losses stay fp32."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown_name("kind of agent", self.kind, get_args(Kind))
        if self.precision not in get_args(Precision):
            raise unknown_name("precision", self.precision, get_args(Precision))
