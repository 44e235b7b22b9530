"""Recurrent state-space model with a block-diagonal core (DreamerV3, 2024 revision)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from world_model.distributions import (
    flatten_stoch,
    straight_through,
    unimix_log_probs,
)
from world_model.nets import MLP, BlockLinear, Linear, RMSNorm
from world_model.objects import PointedActions
from world_model.sizes import WorldModelConfig


class Latent(NamedTuple):
    """State of the model: `deter` (..., D) and `stoch` (..., S, C), one-hot."""

    deter: Tensor
    stoch: Tensor

    @property
    def features(self) -> Tensor:
        """Flattened concatenation (..., F)."""
        return torch.cat([self.deter, flatten_stoch(self.stoch)], -1)

    def map(self, function: Callable[[Tensor], Tensor]) -> Latent:
        """Apply `function` to both tensors."""
        return Latent(function(self.deter), function(self.stoch))

    def detach(self) -> Latent:
        """Cut the gradient."""
        return self.map(Tensor.detach)


class Core(nn.Module):
    """Deterministic transition: a GRU whose gates come from block-diagonal layers.

    Each block reads its own part of the state, and the projected state, stochastic state and action.
    """

    def __init__(self, config: WorldModelConfig, actions: int, pointed: PointedActions | None) -> None:
        super().__init__()
        self.blocks = config.blocks
        self.pointed = pointed
        self.deter_in = MLP(config.deter, config.hidden, layers=1)
        self.stoch_in = MLP(config.stoch * config.classes, config.hidden, layers=1)
        self.action_in = MLP(pointed.width if pointed else actions, config.hidden, layers=1)
        # Every block reads its own state and the same projections: block-diagonal plus dense.
        fan_in = config.deter // config.blocks + 3 * config.hidden
        self.hidden_own = BlockLinear(config.deter, config.deter, config.blocks, fan_in=fan_in)
        self.hidden_shared = Linear(2 * config.hidden, config.deter, bias=False, fan_in=fan_in)
        # A matrix of its own: the optimiser clips each tensor to its own norm.
        self.hidden_action = Linear(config.hidden, config.deter, bias=False, fan_in=fan_in)
        self.hidden_norm = RMSNorm(config.deter)
        self.gates = BlockLinear(config.deter, 3 * config.deter, config.blocks)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """Next deterministic state (N, D), from `deter` (N, D), `stoch` (N, S * C) and `action` (N, A)."""
        action = action / action.abs().clamp_min(1.0).detach()  # into [-1, 1]
        action = self.pointed(action) if self.pointed else action
        shared = self.hidden_shared(torch.cat([self.deter_in(deter), self.stoch_in(stoch)], -1))
        shared = shared + self.hidden_action(self.action_in(action))
        hidden = F.silu(self.hidden_norm(self.hidden_own(deter) + shared))  # (N, D)
        gates = rearrange(self.gates(hidden), "n (g p d) -> p n (g d)", p=3, g=self.blocks)
        reset, candidate, update = gates.unbind()
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)  # bias towards remembering
        return update * candidate + (1 - update) * deter


class RSSM(nn.Module):
    """Core, prior and posterior: the component `dynamics`."""

    def __init__(
        self, config: WorldModelConfig, embedding: int, actions: int, pointed: PointedActions | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.actions = actions
        logits = config.stoch * config.classes
        self.core = Core(config, actions, pointed)
        self.prior_net = MLP(config.deter, config.hidden, layers=2, outputs=logits)
        # One layer on [deter, embedding], written as two so that the embeddings are projected at once.
        both = config.deter + embedding
        self.posterior_deter = Linear(config.deter, config.hidden, bias=False, fan_in=both)
        self.posterior_embedding = Linear(embedding, config.hidden, fan_in=both)
        self.posterior_norm = RMSNorm(config.hidden)
        self.posterior_out = Linear(config.hidden, logits)

    def initial(self, batch: int) -> Latent:
        """Zero latent of `batch` rows."""
        zeros = self.posterior_out.weight.new_zeros
        return Latent(zeros(batch, self.config.deter), zeros(batch, self.config.stoch, self.config.classes))

    def _log_probs(self, logits: Tensor) -> Tensor:
        """(..., S * C) -> (..., S, C)."""
        logits = rearrange(logits, "... (s c) -> ... s c", c=self.config.classes)
        return unimix_log_probs(logits.float(), self.config.unimix)

    def prior(self, deter: Tensor) -> Tensor:
        """Log-probabilities (..., S, C) of the stochastic state from `deter` (..., D) alone."""
        return self._log_probs(self.prior_net(deter))

    def posterior(self, deter: Tensor, projected: Tensor) -> Tensor:
        """Log-probabilities (..., S, C) given `deter` and embeddings projected by `posterior_embedding`."""
        hidden = F.silu(self.posterior_norm(self.posterior_deter(deter) + projected))
        return self._log_probs(self.posterior_out(hidden))

    def observe(
        self, embeddings: Tensor, actions: Tensor, is_first: Tensor, latent: Latent, noise: Tensor
    ) -> tuple[Latent, Tensor]:
        """Filter a sequence.

        Args:
            embeddings: (B, T, E).
            actions: (B, T, A); row t holds the action that led to row t.
            is_first: (B, T) bool; there the state before is forgotten and the action ignored.
            latent: state before row 0, (B, ...).
            noise: uniform, (B, T, S).

        Returns:
            Posterior latents (B, T, ...) with straight-through gradients and the posterior's
            log-probabilities (B, T, S, C).
        """
        projected = self.posterior_embedding(embeddings)  # (B, T, hidden)
        deters, stochs, posteriors = [], [], []
        for row in zip(*(x.unbind(1) for x in (actions, is_first, projected, noise)), strict=True):
            latent, posterior = self.filter_step(latent, *row)
            deters.append(latent.deter)
            stochs.append(latent.stoch)
            posteriors.append(posterior)
        return Latent(torch.stack(deters, 1), torch.stack(stochs, 1)), torch.stack(posteriors, 1)

    def filter_step(
        self, latent: Latent, action: Tensor, is_first: Tensor, projected: Tensor, noise: Tensor
    ) -> tuple[Latent, Tensor]:
        """One row of `observe`, (B, ...): the next latent, and the posterior's log-probabilities."""
        keep = (~is_first)[:, None].to(latent.deter.dtype)  # (B, 1)
        stoch = flatten_stoch(latent.stoch) * keep
        deter = self.core(latent.deter * keep, stoch, action * keep)
        posterior = self.posterior(deter, projected)
        return Latent(deter, straight_through(posterior, noise)), posterior

    def predict(self, latent: Latent, action: Tensor, noise: Tensor) -> Latent:
        """One step without an observation: `latent` (N, ...), `action` (N, A), uniform `noise` (N, S).

        The sample has a straight-through gradient, as the filter's: losses along an unroll teach the prior.
        """
        deter = self.core(latent.deter, flatten_stoch(latent.stoch), action)
        return Latent(deter, straight_through(self.prior(deter), noise))
