"""The model-based agent: world model, actor-critic in imagination, and what it explores or works for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from agents.base import Agent
from agents.distributions import ActionDistribution, stack
from world_model import Imagined, Latent, WorldModel
from world_model.noise import Source
from world_model.onehot import Codes
from world_model.plain import plain_cpu


def early(source: Source) -> bool:
    """Whether parts of the loss may be differentiated early: not where it is batched or compiled."""
    return isinstance(source, torch.Generator)


class DreamerAgent(Agent):
    """DreamerV3 (2024) that works for the task's reward, or for an intrinsic one."""

    world_model: WorldModel

    def _make_world_model(self) -> WorldModel:
        return WorldModel(self.observation_space, self.action_space, self.config.model)

    def _losses(
        self, rows: dict[str, Tensor], env_step: int, source: Source
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every loss (B, T) or (N,) by name, and metrics."""
        metrics: dict[str, Tensor] = {}
        losses, latents, embeddings, model_metrics = self.world_model.loss(rows, source, early(source))
        metrics |= model_metrics
        detached = latents.detach()
        if self.intrinsic is not None:
            reward = self._explored_reward(detached, rows, embeddings.detach(), metrics)
            rows = {**rows, "reward": reward}
            learned = self.intrinsic.loss(detached, rows, embeddings.detach())
            if not self.intrinsic.in_imagination:
                learned["reward"] = self.world_model.reward_loss(latents.features, reward)
            losses |= learned
            metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in learned.items()}
        behaviour, behaviour_metrics = self._behaviour_losses(rows, latents, source)
        losses |= behaviour
        metrics |= behaviour_metrics
        losses |= self._prior_losses(detached, rows, env_step, metrics)
        return losses, metrics

    def _behaviour_losses(
        self, rows: Mapping[str, Tensor], latents: Latent, source: Source
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of actor and critic in imagination, and of the critic on the replayed rows."""
        config = self.config.behaviour
        length = rows["action"].shape[1]
        starts = min(config.starts or length, length)
        tail = latents.map(lambda x: x[:, -starts:])
        first = tail.detach().map(lambda x: x.flatten(0, 1))  # (B * K, ...)
        imagined, policy = self._imagine(first, source)
        features, codes = imagined.features, imagined.codes
        with torch.no_grad():
            rewards = self._imagined_reward(imagined, features)
            continues = self.world_model.predict_continue(features, codes)
        losses, returns, metrics = self.behaviour.imagination_loss(
            features, policy, imagined.actions, rewards, continues, codes, early(source)
        )
        if config.replay_critic > 0 and starts > 1:
            losses["replay_critic"] = self.behaviour.replay_loss(
                tail.features,
                self._completed(rows["reward"][:, -starts:], tail),
                rows["is_last"][:, -starts:],
                rows["is_terminal"][:, -starts:],
                returns[:, 0].unflatten(0, (-1, starts)),
                self.config.model.discount,
            )
        metrics |= {f"loss/{name}": loss.detach().mean() for name, loss in losses.items()}
        return losses, metrics

    def _imagine(self, first: Latent, source: Source) -> tuple[Imagined, ActionDistribution]:
        """Imagine from `first` (N, ...): rows (N, H + 1, ...), and the policy (N, H, A)."""
        policies: list[ActionDistribution] = []

        def act(features: Tensor, codes: Codes | None) -> Tensor:
            with torch.enable_grad():  # the one gradient that imagination needs, kept for the actor's loss
                policies.append(self.behaviour.policy(features, codes))
            return policies[-1].sample(source)

        horizon = self.config.behaviour.imagination
        return self.world_model.imagine(first, act, horizon, source), stack(policies)

    @torch.no_grad()
    def _completed(self, reward: Tensor, latents: Latent) -> Tensor:
        """Replayed reward (B, K), and where it is unknown the model's guess."""
        unknown = reward.isnan()
        if plain_cpu(reward) and not unknown.any():  # a GPU would be waited for here
            return reward
        return torch.where(unknown, self.world_model.predict_reward(latents.features), reward)

    def _imagined_reward(self, imagined: Imagined, features: Tensor) -> Tensor:
        """Reward of imagined rows (N, H + 1): the intrinsic one where it can be computed, or the head's."""
        if self.intrinsic is not None and self.intrinsic.in_imagination:
            return self.intrinsic.scale(self.intrinsic.reward(imagined.latents, imagined.actions))
        return self.world_model.predict_reward(features, imagined.codes)
