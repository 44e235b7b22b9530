"""The world model: what arrives next, what it is worth, and whether the episode goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.decoder import Decoder
from world_model.distributions import TWOHOT_BINS, balanced_kl, twohot_loss, twohot_mean
from world_model.filter import Filter
from world_model.nets import MLP
from world_model.noise import Source
from world_model.onehot import Codes
from world_model.rssm import Latent
from world_model.settle import settle
from world_model.sizes import WorldModelConfig

Policy = Callable[[Tensor], Tensor]
"""Features (N, F) to sampled actions (N, A)."""


class WorldModel(Filter):
    """Encoder, recurrent dynamics, decoder, reward and continuation heads (DreamerV3, 2024 revision).

    Args:
        observation_space: images and vectors by key.
        action_space: Discrete or Box.
        config: widths and loss weights.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.Space,
        config: WorldModelConfig,
    ) -> None:
        super().__init__(observation_space, action_space, config)
        self.decoder = Decoder(observation_space, config)
        self.reward = MLP(config.features, config.units, 1, outputs=TWOHOT_BINS, outscale=0.0)
        self.continuation = MLP(config.features, config.units, 1, outputs=1)

    def components(self) -> dict[str, nn.Module]:
        """The parts that can be transferred, by their names on disk."""
        return {
            **super().components(),
            "decoder": self.decoder,
            "reward": self.reward,
            "continue": self.continuation,
        }

    @torch.no_grad()
    def imagine(
        self, latent: Latent, policy: Policy, horizon: int, generator: Source
    ) -> tuple[Latent, Tensor]:
        """Roll the prior out under `policy`, without gradient (the actor's gradient is REINFORCE's).

        Returns:
            Latents (N, H + 1, ...), of which the first is `latent`, and actions (N, H + 1, A), where row h
            holds the action that led to row h (zeros in row 0).
        """
        latents, actions = [latent], [latent.deter.new_zeros(len(latent.deter), self.dynamics.actions)]
        for _ in range(horizon):
            action = policy(latent.features)
            latent = self.dynamics.predict(latent, action, generator)
            latents.append(latent)
            actions.append(action)
        stacked = Latent(
            torch.stack([x.deter for x in latents], 1), torch.stack([x.stoch for x in latents], 1)
        )
        return stacked, torch.stack(actions, 1)

    def predict_reward(self, features: Tensor, codes: Codes | None = None) -> Tensor:
        """Expected reward of rows with `features` (..., F) -> (...)."""
        return twohot_mean(self.reward(features, codes))

    def predict_continue(self, features: Tensor, codes: Codes | None = None) -> Tensor:
        """Probability of going on times the discount, for `features` (..., F) -> (...)."""
        return self.continuation(features, codes).squeeze(-1).float().sigmoid()

    def loss(
        self, batch: Mapping[str, Tensor], generator: Source, settled: bool = False
    ) -> tuple[dict[str, Tensor], Latent, Tensor, dict[str, Tensor]]:
        """Losses of a replayed batch (B, T, ...); the reward head learns only if `reward` is in it.

        Args:
            batch: rows (B, T, ...).
            generator: source of the samples.
            settled: differentiate the losses of decoder and heads at once (`settle`): their graph does not
                stay; the sum of their means, `heads`, then stands in their place.

        Returns:
            Weighted losses (B, T) by name, posterior latents (B, T, ...) with gradient, embeddings
            (B, T, E), and metrics (scalars).
        """
        latents, posterior, embeddings = self.observe(batch, self.initial(len(batch["action"])), generator)
        prior = self.dynamics.prior(latents.deter)
        dynamics, representation = balanced_kl(posterior, prior, self.config.free_nats)
        losses = {
            "dynamics_kl": self.config.scale_dynamics * dynamics,
            "representation_kl": self.config.scale_representation * representation,
        }
        features = latents.features
        if settled:
            parts = nn.ModuleList([self.decoder, self.reward, self.continuation])
            total, heads = settle(self._head_losses, features, batch, list(parts.parameters()))
        else:
            heads = self._head_losses(features, batch)
        metrics = {f"loss/{name}": loss.detach().mean() for name, loss in (losses | heads).items()}
        metrics["entropy/prior"] = -(prior.exp() * prior).sum((-2, -1)).detach().mean()
        metrics["entropy/posterior"] = -(posterior.exp() * posterior).sum((-2, -1)).detach().mean()
        losses |= {"heads": total} if settled else heads
        return losses, latents, embeddings, metrics

    def _head_losses(self, features: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses (B, T) of what `features` (B, T, F) predict, by name."""
        losses = {"continue": self._continue_loss(features, batch["is_terminal"])}
        for key, error in self.decoder.loss(features, batch).items():
            losses[f"reconstruction_{key}"] = error
        if "reward" in batch:
            losses["reward"] = self.reward_loss(features, batch["reward"])
        return losses

    def reward_loss(self, features: Tensor, reward: Tensor) -> Tensor:
        """Two-hot loss (B, T) of the reward head; `reward` (B, T) is NaN where it is not known.

        Rows carried from phase 1 have no reward.
        """
        return ~reward.isnan() * twohot_loss(self.reward(features), reward.nan_to_num())

    def _continue_loss(self, features: Tensor, is_terminal: Tensor) -> Tensor:
        """Cross-entropy of the continuation head; the target holds the discount (DreamerV3's contdisc)."""
        target = (~is_terminal).float() * self.config.discount
        logits = self.continuation(features).squeeze(-1).float()
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")

    @torch.no_grad()
    def open_loop(self, batch: Mapping[str, Tensor], context: int, generator: Source) -> dict[str, Tensor]:
        """Watch `context` rows, then predict the rest from the actions alone.

        Args:
            batch: rows (B, T, ...) with T > context.
            context: rows that are seen.
            generator: source of the samples.

        Returns:
            Predictions by key: reconstructions in rows before `context`, open-loop predictions from it
            on; images (B, T, h, w, c) in [0, 1], vectors (B, T, d) in symlog units.
        """
        seen = {key: value[:, :context] for key, value in batch.items()}
        latents, _, _ = self.observe(seen, self.initial(len(batch["action"])), generator)
        features = [latents.features]
        latent = latents.map(lambda x: x[:, -1])
        for t in range(context, batch["action"].shape[1]):
            latent = self.dynamics.predict(latent, batch["action"][:, t], generator)
            features.append(latent.features[:, None])
        return self.decoder(torch.cat(features, 1))
