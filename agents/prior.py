"""A frozen teacher beside the agent: how a policy is carried without its world model.

The pre-trained agent keeps its own encoder, recurrent core and actor. It acts for a decaying share of the
time, and the new actor is pulled towards its action distribution on real states, as in kickstarting
(Schmitt et al. 2018, arXiv 1803.03835) and the mixed acting of jump-start RL (Uchendu et al. 2022,
arXiv 2204.02372).
"""

from __future__ import annotations

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


class PriorState(NamedTuple):
    """The teacher's latent (N, ...) and where it acts (N,) bool."""

    latent: Latent
    acting: Tensor


class PolicyPrior(nn.Module):
    """The teacher and its schedule.

    Args:
        world_model: the teacher's; its encoder and dynamics are kept, frozen.
        behaviour: the teacher's; its actor is kept, frozen.
        config: strength.
        steps: environment steps of the whole run.
    """

    def __init__(self, world_model: Filter, behaviour: ActorCritic, config: PriorConfig, steps: int) -> None:
        super().__init__()
        self.encoder = world_model.encoder
        self.dynamics = world_model.dynamics
        self.actor = behaviour.actor
        self.factors, self.pair = behaviour.factors, behaviour.pair
        self.config = config
        self.steps = steps
        self.requires_grad_(False)

    def strength(self, env_step: Tensor) -> Tensor:
        """Part of the initial share and scale that is left at `env_step` (scalar), from 1 to 0."""
        return (1.0 - env_step / max(1.0, self.config.decay * self.steps)).clamp_min(0.0)

    def initial(self, batch: int) -> PriorState:
        """State before the first row."""
        latent = self.dynamics.initial(batch)
        return PriorState(latent, torch.zeros(batch, dtype=torch.bool, device=latent.deter.device))

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
        redraw = torch.rand(shape, device=device, generator=generator) < 1 / self.config.stretch
        share = self.config.share * self.strength(env_step)
        drawn = torch.rand(shape, device=device, generator=generator) < share
        acting = torch.where(redraw | batch["is_first"][:, 0], drawn, state.acting)
        return from_network(self.actor(latent.features), self.factors, self.pair), PriorState(latent, acting)

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
