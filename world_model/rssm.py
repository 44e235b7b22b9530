"""Recurrent state-space model with a block-diagonal core (DreamerV3, 2024 revision)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from world_model.distributions import (
    flatten_stoch,
    sample_one_hot,
    straight_through,
    unimix_log_probs,
    unimix_probs,
)
from world_model.nets import MLP, BlockLinear, Linear, NormSiLU, tanh
from world_model.noise import Source, uniform
from world_model.onehot import Codes
from world_model.sizes import WorldModelConfig
from world_model.unrolled import unrolled


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

    def __init__(self, config: WorldModelConfig, actions: int) -> None:
        super().__init__()
        self.blocks = config.blocks
        self.deter_in = nn.Sequential(Linear(config.deter, config.hidden), NormSiLU(config.hidden))
        self.stoch_in = MLP(config.stoch * config.classes, config.hidden, layers=1)
        self.action_in = nn.Sequential(Linear(actions, config.hidden), NormSiLU(config.hidden))
        # Every block reads its own state and the same projections: block-diagonal plus dense.
        fan_in = config.deter // config.blocks + 3 * config.hidden
        self.hidden_deter = BlockLinear(config.deter, config.deter, config.blocks, fan_in=fan_in)
        self.hidden_shared = Linear(2 * config.hidden, config.deter, bias=False, fan_in=fan_in)
        self.hidden_action = Linear(
            config.hidden, config.deter, bias=False, fan_in=fan_in
        )  # outside the loop
        self.hidden_norm = NormSiLU(config.deter)
        self.gates = BlockLinear(config.deter, 3 * config.deter, config.blocks, parts=3)

    def project_action(self, action: Tensor) -> Tensor:
        """What actions (..., A), scaled into [-1, 1], add to the hidden layer (..., D)."""
        return self.hidden_action(self.action_in(action / action.abs().clamp_min(1.0).detach()))

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor, codes: Codes | None = None) -> Tensor:
        """Next deterministic state.

        Args:
            deter: (B, D).
            stoch: (B, S * C).
            action: projected action (B, D), from `project_action`.
            codes: of `stoch` where it is one-hot and needs no gradient.
        """
        stoch = stoch if codes is None else stoch[..., :0]
        shared = torch.cat([self.deter_in(deter), self.stoch_in(stoch, codes)], -1)
        hidden = self.hidden_norm(self.hidden_deter(deter) + self.hidden_shared(shared) + action)
        reset, candidate, update = self.gates(hidden).chunk(3, -1)
        candidate = tanh(reset.sigmoid() * candidate)
        update = torch.sigmoid(update - 1)  # bias towards remembering
        return update * candidate + (1 - update) * deter


class RSSM(nn.Module):
    """Core, prior and posterior: the component `dynamics`."""

    def __init__(self, config: WorldModelConfig, embedding: int, actions: int) -> None:
        super().__init__()
        self.config = config
        self.actions = actions
        logits = config.stoch * config.classes
        self.core = Core(config, actions)
        self.prior_net = MLP(config.deter, config.hidden, layers=2, outputs=logits)
        # One layer on [deter, embedding], written as two so that the embeddings are projected at once.
        both = config.deter + embedding
        self.posterior_deter = Linear(config.deter, config.hidden, bias=False, fan_in=both)
        self.posterior_embedding = Linear(embedding, config.hidden, fan_in=both)
        self.posterior_norm = NormSiLU(config.hidden)
        self.posterior_out = Linear(config.hidden, logits)

    def initial(self, batch: int) -> Latent:
        """Zero latent of `batch` rows."""
        weight = self.posterior_out.weight
        config = self.config
        return Latent(
            weight.new_zeros(batch, config.deter), weight.new_zeros(batch, config.stoch, config.classes)
        )

    def _by_variable(self, logits: Tensor) -> Tensor:
        """(..., S * C) -> (..., S, C)."""
        return rearrange(logits, "... (s c) -> ... s c", c=self.config.classes).float()

    def prior(self, deter: Tensor) -> Tensor:
        """Log-probabilities (..., S, C) of the stochastic state from `deter` (..., D) alone."""
        return unimix_log_probs(self._by_variable(self.prior_net(deter)), self.config.unimix)

    def posterior(self, deter: Tensor, projected: Tensor) -> Tensor:
        """Log-probabilities (..., S, C) given `deter` and embeddings projected by `posterior_embedding`."""
        hidden = self.posterior_norm(self.posterior_deter(deter) + projected)
        return unimix_log_probs(self._by_variable(self.posterior_out(hidden)), self.config.unimix)

    def observe(
        self,
        embeddings: Tensor,
        actions: Tensor,
        is_first: Tensor,
        latent: Latent,
        generator: Source,
    ) -> tuple[Latent, Tensor]:
        """Filter a sequence.

        Args:
            embeddings: (B, T, E).
            actions: (B, T, A); row t holds the action that led to row t.
            is_first: (B, T) bool; there the state before is forgotten and the action ignored.
            latent: state before row 0, (B, ...).
            generator: source of the samples.

        Returns:
            Posterior latents (B, T, ...) with straight-through gradients and the posterior's
            log-probabilities (B, T, S, C).
        """
        keep = (~is_first).to(embeddings.dtype)[..., None]  # (B, T, 1)
        projected = self.posterior_embedding(embeddings)  # (B, T, hidden)
        actions = self.core.project_action(actions * keep)
        noise = uniform((*is_first.shape, self.config.stoch, 1), embeddings.device, generator)
        deter, stoch = latent.deter, flatten_stoch(latent.stoch)
        deters, stochs, posteriors = [], [], []
        # Taken apart at once: the gradient of a slice would be as large as the whole, for every row.
        rows = zip(*(each.unbind(1) for each in (keep, actions, projected, noise)), strict=True)
        with unrolled((self.core, self.posterior_deter, self.posterior_out), projected):
            for kept, action, embedded, chance in rows:
                deter = self.core(deter * kept, stoch * kept, action)
                log_probs = self.posterior(deter, embedded)
                sample = straight_through(log_probs, chance)
                stoch = flatten_stoch(sample)
                deters.append(deter)
                stochs.append(sample)
                posteriors.append(log_probs)
        return Latent(torch.stack(deters, 1), torch.stack(stochs, 1)), torch.stack(posteriors, 1)

    def predict(
        self, latent: Latent, action: Tensor, generator: Source, codes: Codes | None = None
    ) -> Latent:
        """One step without an observation: `latent` (B, ...) -> the next.

        Args:
            latent: (B, ...).
            action: projected action (B, D), from `core.project_action`.
            generator: source of the samples.
            codes: of the stochastic state make it faster, without gradient for that state.
        """
        deter = self.core(latent.deter, flatten_stoch(latent.stoch), action, codes)
        probs = unimix_probs(self._by_variable(self.prior_net(deter)), self.config.unimix)
        noise = uniform((*probs.shape[:-1], 1), probs.device, generator)
        return Latent(deter, sample_one_hot(probs, noise))
