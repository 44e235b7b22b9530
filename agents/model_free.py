"""The model-free twin: the same encoder, recurrent core and heads, taught by replayed returns alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from agents.base import LOG_PROB, Agent
from agents.learning.returns import vtrace
from agents.noise import Noise
from world_model import Filter, Latent
from world_model.distributions import twohot_mean


class ModelFreeAgent(Agent):
    """Off-policy actor-critic on replayed sequences (V-trace, Espeholt et al. 2018, arXiv 1802.01561).

    Its modules have the shapes of the model-based agent's, so that encoder, dynamics, actor and critic fit
    both ways; the prior net inside `dynamics` is never used or trained here. No decoder, no reward and no
    continuation head, no imagination: critic and actor shape encoder and core through the posterior's
    straight-through samples, as one loss on one torso (Espeholt et al. 2018, section 4.2).

    Rows whose reward or whose action's probability is unknown (NaN) teach actor and critic nothing, and no
    return looks past them.
    """

    def _make_world_model(self) -> Filter:
        made = Filter(self.observation_space, self.action_space, self.config.model)
        made.dynamics.prior_net.requires_grad_(False)
        return made

    def _losses(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        metrics: dict[str, Tensor] = {}
        start = self.world_model.initial(len(rows["action"]))
        latents, posterior, embeddings = self.world_model.observe(rows, start, noise.posterior)
        metrics["entropy/posterior"] = -(posterior.exp() * posterior).sum((-2, -1)).detach().mean()
        detached = latents.detach()
        losses: dict[str, Tensor] = {}
        if self.intrinsic is not None:
            rows = {**rows, "reward": self._explored_reward(detached, rows, embeddings.detach(), metrics)}
            losses |= self.intrinsic.loss(detached, rows, embeddings.detach())
        losses |= self._behaviour_losses(rows, latents, metrics)
        losses |= self._prior_losses(detached, rows, env_step)
        return losses, metrics

    def _behaviour_losses(
        self, rows: Mapping[str, Tensor], latents: Latent, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses of actor and critic on every replayed row but the last, (B, T - 1)."""
        config, features = self.config.behaviour, latents.features
        # An actor that rests must not be taught through what it reads either.
        shapes = self.config.model_free.actor_gradient and not self.freezer.rests("actor")
        shared = features if shapes else features.detach()
        policy = self.behaviour.policy(shared[:, :-1])  # (B, T - 1, A)
        log_probs = policy.log_prob_clipped(rows["action"][:, 1:])
        logits = self.behaviour.critic(features)
        acted = ~rows["is_last"][:, :-1]  # an action led from this row to the next
        known = acted & ~rows["reward"][:, 1:].isnan() & ~rows[LOG_PROB][:, :-1].isnan()
        targets, advantages = self._vtrace(rows, log_probs.detach(), logits.detach(), known, metrics)
        if config.center:
            advantages = advantages - advantages.sum() / known.sum().clamp_min(1)
        entropy = policy.entropy()
        metrics["replay/entropy"] = entropy.detach().mean()
        gain = log_probs * advantages * known + config.entropy * entropy * acted
        critic = self.behaviour.critic_loss(logits[:, :-1], targets, features[:, :-1]) * known
        return {"actor": -gain, "critic": critic}

    def _vtrace(
        self,
        rows: Mapping[str, Tensor],
        log_probs: Tensor,
        logits: Tensor,
        known: Tensor,
        metrics: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Targets and scaled advantages (B, T - 1), zero in rows that are not `known`."""
        config = self.config.model_free
        values = twohot_mean(logits)  # (B, T)
        ratios = torch.where(known, (log_probs - rows[LOG_PROB][:, :-1]).exp(), 0.0)
        targets, advantages = vtrace(
            rows["reward"].nan_to_num(),
            values,
            (~rows["is_terminal"]).to(values.dtype) * self.config.model.discount,
            ratios,
            self.config.behaviour.lam,
            config.rho_bar,
            config.c_bar,
        )
        scale = self.behaviour.return_scale
        scale.update(targets)
        metrics |= {
            "replay/return": targets.mean(),
            "replay/value": values.mean(),
            "replay/return_scale": scale.scale(),
            "replay/advantage": (advantages / scale.scale()).abs().mean(),
            "replay/ratio": ratios.clamp_max(config.rho_bar).mean(),
        }
        return targets, advantages / scale.scale()
