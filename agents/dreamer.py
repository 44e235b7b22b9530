"""The model-based agent: world model, actor-critic in imagination, and what it explores or works for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from agents.base import Agent
from agents.noise import Noise
from world_model import Latent, WorldModel


class DreamerAgent(Agent):
    """DreamerV3 (2024) that works for the task's reward, or for an intrinsic one.

    Returns of an intrinsic reward teach the critic and, where one is needed, the reward head, but do not
    shape the model: in phase 1 both read its features without gradient. A model that predicts nothing else
    has nothing else to learn from: there they do.
    """

    world_model: WorldModel

    def _make_world_model(self) -> WorldModel:
        return WorldModel(self.observation_space, self.action_space, self.config.model)

    def _imagined(self, rows: Mapping[str, Tensor]) -> tuple[int, int]:
        """Horizon H, and N starts of imagination."""
        batch, length = rows["is_first"].shape[-2:]
        config = self.config.behaviour
        return config.imagination, batch * min(config.starts or length, length)

    def _unrolled(self, length: int) -> tuple[int, int]:
        """Rows K that are predicted ahead, and from how many of each sequence."""
        return self.world_model.decoder.unrolled(length)

    def follow(self) -> None:
        """Move the slow critic, and the target of the model's predictions."""
        super().follow()
        self.world_model.decoder.follow(self.world_model.encoder)

    def start_targets(self) -> None:
        """Let the target of the model's predictions see as the encoder does."""
        self.world_model.decoder.follow(self.world_model.encoder, share=1.0)

    def _losses(
        self, rows: dict[str, Tensor], noise: Noise, env_step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, latents, embeddings, metrics = self.world_model.loss(rows, noise.posterior, noise.ahead)
        detached = latents.detach()
        shapes = self.intrinsic is None or self.config.model.predicts == "none"
        shaping = latents if shapes else detached
        if self.intrinsic is not None:
            reward = self._explored_reward(detached, rows, embeddings.detach(), metrics)
            rows = {**rows, "reward": reward}
            losses |= self.intrinsic.loss(detached, rows, embeddings.detach())
            if not self.intrinsic.in_imagination:
                losses["reward"] = self.world_model.reward_loss(shaping.features, reward)
        losses |= self._behaviour_losses(rows, shaping, noise, metrics)
        losses |= self._prior_losses(detached, rows, env_step)
        return losses, metrics

    def _behaviour_losses(
        self, rows: Mapping[str, Tensor], latents: Latent, noise: Noise, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses of actor and critic in imagination, and of the critic on the replayed rows."""
        config, model = self.config.behaviour, self.world_model
        starts = min(config.starts or rows["action"].shape[1], rows["action"].shape[1])  # K
        tail = latents.map(lambda x: x[:, -starts:])
        first = tail.detach().map(lambda x: x.flatten(0, 1))  # (B * K, ...)
        imagined, actions = model.imagine(first, self.behaviour.choose, noise.policy, noise.prior)
        features = imagined.features  # (B * K, H + 1, F)
        rewards, continues = self._imagined_reward(imagined, actions), self._imagined_continue(features)
        losses, returns, found = self.behaviour.imagination_loss(features, actions, rewards, continues)
        metrics |= found
        if config.replay_critic > 0 and starts > 1:
            losses["replay_critic"] = self.behaviour.replay_loss(
                tail.features,
                self._completed(rows["reward"][:, -starts:], tail),
                rows["is_last"][:, -starts:],
                rows["is_terminal"][:, -starts:],
                returns[:, 0].unflatten(0, (-1, starts)),
                self.config.model.discount,
            )
        return losses

    @torch.no_grad()
    def _completed(self, reward: Tensor, latents: Latent) -> Tensor:
        """Replayed reward (B, K), and where it is unknown the model's guess."""
        return torch.where(reward.isnan(), self.world_model.predict_reward(latents.features), reward)

    @torch.no_grad()
    def _imagined_reward(self, imagined: Latent, actions: Tensor) -> Tensor:
        """Reward of imagined rows (N, H + 1): the intrinsic one where it can be computed, or the head's."""
        if self.intrinsic is not None and self.intrinsic.in_imagination:
            return self.intrinsic.scale(self.intrinsic.reward(imagined, actions))
        return self.world_model.predict_reward(imagined.features)

    @torch.no_grad()
    def _imagined_continue(self, features: Tensor) -> Tensor:
        """Probability of going on times the discount, (N, H + 1)."""
        return self.world_model.predict_continue(features)
