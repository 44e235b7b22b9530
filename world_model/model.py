"""The world model: what arrives next, what it is worth, and whether the episode goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.distributions import TWOHOT_BINS, balanced_kl, twohot_loss, twohot_mean
from world_model.filter import Filter
from world_model.nets import MLP
from world_model.prediction import Prediction, Seen, make_prediction, rows_ahead
from world_model.rssm import Latent
from world_model.sizes import WorldModelConfig

Policy = Callable[[Tensor, Tensor], Tensor]
"""Features (N, F) and noise (N, ...) to sampled actions (N, A)."""


class WorldModel(Filter):
    """Encoder, recurrent dynamics, decoder, reward and continuation heads (DreamerV3, 2024 revision).

    What stands in the decoder's place is said by `config.predicts`; the KL losses stay in every kind, for
    imagination needs a prior.

    Args:
        observation_space: images, vectors, symbols and sets of objects by key.
        action_space: Discrete, MultiDiscrete or Box.
        config: widths and loss weights.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.Space,
        config: WorldModelConfig,
    ) -> None:
        super().__init__(observation_space, action_space, config)
        self.decoder: Prediction = make_prediction(observation_space, self.encoder, config)
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
        self, latent: Latent, policy: Policy, choices: Tensor, noise: Tensor
    ) -> tuple[Latent, Tensor]:
        """Roll the prior out under `policy`, without gradient (the actor's gradient is REINFORCE's).

        Args:
            latent: where to begin, (N, ...).
            policy: chooses the actions.
            choices: noise of the policy, (H, N, ...).
            noise: uniform, (H, N, S).

        Returns:
            Latents (N, H + 1, ...), row 0 where it began, and actions (N, H + 1, A), of which row h led to
            row h; zeros in row 0.
        """
        latents, actions = [latent], [latent.deter.new_zeros(len(latent.deter), self.dynamics.actions)]
        for choice, chance in zip(choices, noise, strict=True):
            actions.append(policy(latents[-1].features, choice))
            latents.append(self.dynamics.predict(latents[-1], actions[-1], chance))
        deters, stochs = zip(*latents, strict=True)
        return Latent(torch.stack(deters, 1), torch.stack(stochs, 1)), torch.stack(actions, 1)

    def predict_reward(self, features: Tensor) -> Tensor:
        """Expected reward (...) of rows with `features` (..., F)."""
        return twohot_mean(self.reward(features))

    def predict_continue(self, features: Tensor) -> Tensor:
        """Probability of going on times the discount, (...), from `features` (..., F)."""
        return self.continuation(features).squeeze(-1).float().sigmoid()

    def loss(
        self, batch: Mapping[str, Tensor], noise: Tensor, ahead: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Latent, Tensor, dict[str, Tensor]]:
        """Losses of a replayed batch (B, T, ...); the reward head learns only if `reward` is in it.

        Args:
            batch: rows (B, T, ...).
            noise: uniform, (B, T, S).
            ahead: of the unroll: uniform, (K, B, n, S) as `decoder.unrolled` says; None where K is 0.

        Returns:
            Weighted losses (B, T), along the unroll (B, n), by name, posterior latents (B, T, ...) with
            gradient, embeddings (B, T, E), and metrics (scalars).
        """
        latents, posterior, embeddings = self.observe(batch, self.initial(len(batch["action"])), noise)
        losses, metrics = self.divergence(latents.deter, posterior)
        foreseen = () if ahead is None else self.unroll(latents, batch["action"], ahead)
        losses |= self.prediction_losses(Seen(latents.features, foreseen, embeddings, batch))
        return losses, latents, embeddings, metrics

    def unroll(self, latents: Latent, actions: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Predict K rows ahead of some rows from the replayed actions alone, with gradient.

        What is predicted is read from samples, as in imagination: the policy meets no other features.

        Args:
            latents: posterior, (B, T, ...).
            actions: (B, T, A).
            noise: uniform, (K, B, n, S).

        Returns:
            Features (B, n, F) of the rows k = 1 to K after each start.
        """
        horizon, begun, stride = len(noise), noise.shape[1:3], self.config.prediction.stride

        def at(x: Tensor, k: int) -> Tensor:
            return rows_ahead(x, k, horizon, stride).flatten(0, 1)

        latent, features = latents.map(lambda x: at(x, 0)), []
        for k, chance in enumerate(noise, 1):
            latent = self.dynamics.predict(latent, at(actions, k), chance.flatten(0, 1))
            features.append(latent.features.unflatten(0, begun))
        return tuple(features)

    def divergence(self, deter: Tensor, posterior: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weighted KL losses (B, T) of the prior at `deter` (B, T, D), and entropies.

        Args:
            deter: (B, T, D).
            posterior: log-probabilities (B, T, S, C).
        """
        prior = self.dynamics.prior(deter)
        dynamics, representation = balanced_kl(posterior, prior, self.config.free_nats)
        losses = {
            "dynamics_kl": self.config.scale_dynamics * dynamics,
            "representation_kl": self.config.scale_representation * representation,
        }
        metrics = {
            f"entropy/{name}": -(x.exp() * x).sum((-2, -1)).mean().detach()
            for name, x in (("prior", prior), ("posterior", posterior))
        }
        return losses, metrics

    def prediction_losses(self, seen: Seen) -> dict[str, Tensor]:
        """Losses (B, T), or (B, n) along the unroll, of what features predict, by name."""
        losses = {"continue": self._continue_loss(seen.features, seen.rows["is_terminal"])}
        losses |= self.decoder.losses(seen)
        if "reward" in seen.rows:
            losses["reward"] = self.reward_loss(seen.features, seen.rows["reward"])
        return losses

    def reward_loss(self, features: Tensor, reward: Tensor) -> Tensor:
        """Weighted two-hot loss (B, T) of the reward head; `reward` (B, T) is NaN where it is not known.

        Rows carried from phase 1 have no reward.
        """
        loss = twohot_loss(self.reward(features), reward.nan_to_num())
        return self.config.scale_reward * ~reward.isnan() * loss

    def _continue_loss(self, features: Tensor, is_terminal: Tensor) -> Tensor:
        """Cross-entropy of the continuation head; the target holds the discount (DreamerV3's contdisc)."""
        target = (~is_terminal).float() * self.config.discount
        logits = self.continuation(features).squeeze(-1).float()
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")

    @torch.no_grad()
    def open_loop(self, batch: Mapping[str, Tensor], context: int, generator: torch.Generator) -> Tensor:
        """Watch `context` rows, then predict the rest from the actions alone.

        Args:
            batch: rows (B, T, ...) with T > context.
            context: rows that are seen.
            generator: source of the samples.

        Returns:
            Features (B, T, F): posterior in rows before `context`, open-loop predictions from it on.
        """
        actions = batch["action"]
        shape = (*actions.shape[:2], self.config.stoch)
        noise = torch.rand(shape, device=actions.device, generator=generator)  # (B, T, S)
        seen = {key: value[:, :context] for key, value in batch.items()}
        latents, _, _ = self.observe(seen, self.initial(len(actions)), noise[:, :context])
        features = [latents.features]
        latent = latents.map(lambda x: x[:, -1])
        for t in range(context, actions.shape[1]):
            latent = self.dynamics.predict(latent, actions[:, t], noise[:, t])
            features.append(latent.features[:, None])
        return torch.cat(features, 1)
