"""A frozen teacher beside the agent: how a policy is carried without its world model, or cloned from data.

Encoder and recurrent core are those of the pre-trained agent. With its actor the teacher is a `PolicyPrior`:
it acts for a decaying share of the time, and the new actor is pulled towards its action distribution on real
states, as in kickstarting (Schmitt et al. 2018, arXiv 1803.03835) and the mixed acting of jump-start RL
(Uchendu et al. 2022, arXiv 2204.02372). With an actor that was cloned from data it is a `Guidance`: it begins
episodes, and the agent ends them, as in jump-start RL and in Zhao et al. 2025 (arXiv 2502.19544).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agents.actor_critic import ActorCritic
from agents.distributions import ActionDistribution, from_network, from_parameters, kl
from expedition.ranges import within
from world_model import Filter, Latent

PREFIX = "prior/"
"""Replayed rows hold the teacher's distribution under this prefix."""


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """How strongly a policy prior leads."""

    share: float = 0.5
    """Share of the time for which the teacher acts, at the start."""
    scale: float = 0.3
    """Weight of the divergence from the teacher's actions, at the start."""
    decay: float = 0.5
    """Part of the run after which both have fallen to zero, linearly."""
    stretch: int = 20
    """Mean steps before it is drawn anew who acts."""

    def __post_init__(self) -> None:
        within(self, "agent.prior", "share decay", least=0, most=1)
        within(self, "agent.prior", "scale", least=0)
        within(self, "agent.prior", "stretch", least=1)


@dataclasses.dataclass(frozen=True)
class GuidanceConfig:
    """How a policy is cloned from data, and how long it acts where it begins an episode."""

    share: float = 0.5
    """Share of the episodes that it begins, at the start of the run."""
    decay: float = 0.5
    """Part of the run after which that share has fallen to zero, linearly."""
    longest: int = 50
    """Most steps that it acts in an episode; how many is drawn in each, uniformly from 1 on."""
    updates: int = 1000
    """Updates of the clone, before the first step."""
    batch: int = 16
    """Sequences in a batch that the clone learns from."""
    length: int = 16
    """Rows in such a sequence."""
    lr: float = 1e-3
    """Learning rate of the clone's Adam."""

    def __post_init__(self) -> None:
        within(self, "agent.guidance", "share decay", least=0, most=1)
        within(self, "agent.guidance", "longest updates batch", least=1)
        within(self, "agent.guidance", "length", least=2)
        within(self, "agent.guidance", "lr", above=0)


class PriorState(NamedTuple):
    """The teacher's latent (N, ...), and where it acts (N,): bool, or how many steps more it will."""

    latent: Latent
    acting: Tensor


class Teacher(nn.Module, abc.ABC):
    """A frozen actor with the encoder and dynamics that it reads, and its schedule.

    Args:
        world_model: the teacher's; its encoder and dynamics are kept, frozen.
        behaviour: the teacher's; its actor is kept, frozen.
        config: strength.
        steps: environment steps of the whole run.

    Attributes:
        pulls: whether the new actor is pulled towards it, for which rows keep its distribution.
    """

    pulls = False

    def __init__(
        self,
        world_model: Filter,
        behaviour: ActorCritic,
        config: PriorConfig | GuidanceConfig,
        steps: int,
    ) -> None:
        super().__init__()
        self.encoder = world_model.encoder
        self.dynamics = world_model.dynamics
        self.actor = behaviour.actor
        self.factors, self.pair = behaviour.factors, behaviour.pair
        self.share, self.decay = config.share, config.decay
        self.steps = steps
        self.requires_grad_(False)

    def strength(self, env_step: Tensor) -> Tensor:
        """Part of the initial share and scale that is left at `env_step` (scalar), from 1 to 0."""
        return (1.0 - env_step / max(1.0, self.decay * self.steps)).clamp_min(0.0)

    def initial(self, batch: int) -> PriorState:
        """State before the first row."""
        latent = self.dynamics.initial(batch)
        return PriorState(latent, torch.zeros(batch, dtype=torch.bool, device=latent.deter.device))

    def policy(self, latent: Latent) -> ActionDistribution:
        """What the teacher does in latents (..., A)."""
        return from_network(self.actor(latent.features), self.factors, self.pair)

    @torch.no_grad()
    def follow(
        self, batch: Mapping[str, Tensor], state: PriorState, generator: torch.Generator, env_step: Tensor
    ) -> tuple[ActionDistribution, PriorState]:
        """Watch one row (N, 1, ...) and say what the teacher would do next.

        Returns:
            The teacher's distribution (N, A), and the state with who acts in the next step.
        """
        shape, device = state.acting.shape, state.acting.device
        noise = torch.rand((*shape, 1, self.dynamics.config.stoch), device=device, generator=generator)
        latents, _ = self.dynamics.observe(
            self.encoder(batch), batch["action"], batch["is_first"], state.latent, noise
        )
        latent = latents.map(lambda x: x[:, 0])
        share = self.share * self.strength(env_step)
        acting = self._acting(batch["is_first"][:, 0], state.acting, share, generator)
        return self.policy(latent), PriorState(latent, acting)

    @abc.abstractmethod
    def _acting(self, is_first: Tensor, acting: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
        """Draw who acts in the next step (N,), given who did (N,) and the share that is left (scalar)."""

    def loss(
        self, policy: ActionDistribution, batch: Mapping[str, Tensor], env_step: Tensor
    ) -> dict[str, Tensor]:
        """What pulls the new actor towards the teacher, (B, T) by name; nothing where it does not pull."""
        return {}


class Guidance(Teacher):
    """A clone that begins episodes: for a number of steps, in a share of the episodes that falls to zero."""

    def __init__(
        self, world_model: Filter, behaviour: ActorCritic, config: GuidanceConfig, steps: int
    ) -> None:
        super().__init__(world_model, behaviour, config, steps)
        self.longest = config.longest

    def initial(self, batch: int) -> PriorState:
        """State before the first row."""
        state = super().initial(batch)
        return state._replace(acting=state.acting.long())

    def _acting(self, is_first: Tensor, acting: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
        """Steps that the clone acts from here on (N,): drawn where an episode begins, else one less."""
        shape, device = acting.shape, acting.device
        begun = torch.rand(shape, device=device, generator=generator) < share
        drawn = torch.randint(1, self.longest + 1, shape, device=device, generator=generator)
        return torch.where(is_first, begun * drawn, (acting - 1).clamp_min(0))


class PolicyPrior(Teacher):
    """A pre-trained policy that acts a share of the time, and towards which the new actor is pulled."""

    pulls = True

    def __init__(self, world_model: Filter, behaviour: ActorCritic, config: PriorConfig, steps: int) -> None:
        super().__init__(world_model, behaviour, config, steps)
        self.config = config

    def _acting(self, is_first: Tensor, acting: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
        """Whether the teacher acts (N,): drawn where an episode begins, and after a stretch of steps."""
        shape, device = acting.shape, acting.device
        redraw = torch.rand(shape, device=device, generator=generator) < 1 / self.config.stretch
        drawn = torch.rand(shape, device=device, generator=generator) < share
        return torch.where(redraw | is_first, drawn, acting)

    def loss(
        self, policy: ActionDistribution, batch: Mapping[str, Tensor], env_step: Tensor
    ) -> dict[str, Tensor]:
        """Weighted KL(teacher || policy) on replayed rows, (B, T); its weight decays to zero.

        Rows that end an episode are left out, for no action follows them, and so are rows carried from
        phase 1, which have no record of the teacher.
        """
        weight = self.config.scale * self.strength(env_step)
        recorded = {key[len(PREFIX) :]: value for key, value in batch.items() if key.startswith(PREFIX)}
        known = ~torch.stack([value.isnan().any(-1) for value in recorded.values()]).any(0)
        # Where the teacher did not watch, anything finite stands in and costs nothing.
        finite = {name: value.nan_to_num(nan=1.0) for name, value in recorded.items()}
        teacher = from_parameters(finite, self.factors, self.pair)
        return {"prior": weight * kl(teacher, policy) * (known & ~batch["is_last"])}
