"""The world model: what arrives next, what it is worth, and whether the episode goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.decoder import Decoder
from world_model.distributions import TWOHOT_BINS, balanced_kl, twohot_loss, twohot_mean
from world_model.filter import Filter
from world_model.nets import MLP
from world_model.noise import Source
from world_model.onehot import Codes, by_pieces
from world_model.rssm import Latent
from world_model.settle import settle
from world_model.sizes import WorldModelConfig

Policy = Callable[[Tensor, Codes | None], Tensor]
"""Features to sampled actions (N, A): all of them (N, F), or dense ones (N, D) and codes of the others."""


class Imagined(NamedTuple):
    """What `WorldModel.imagine` returns; row 0 is where it began."""

    deter: Tensor
    """(N, H + 1, D)."""
    stochs: list[Tensor]
    """H + 1 times (N, S, C)."""
    actions: Tensor
    """(N, H + 1, A); row h holds the action that led to row h, zeros in row 0."""
    codes: Codes | None
    """Of the stochastic states, (N, H + 1, S), where they help."""

    @property
    def latents(self) -> Latent:
        """(N, H + 1, ...)."""
        return Latent(self.deter, torch.stack(self.stochs, 1))

    @property
    def features(self) -> Tensor:
        """What networks read beside the codes: dense ones (N, H + 1, D), or without codes all of them."""
        return self.latents.features if self.codes is None else self.deter


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
    def imagine(self, latent: Latent, policy: Policy, horizon: int, generator: Source) -> Imagined:
        """Roll the prior out under `policy`, without gradient (the actor's gradient is REINFORCE's).

        Args:
            latent: where to begin, (N, ...).
            policy: chooses the actions.
            horizon: steps H.
            generator: source of the samples.
        """
        actions = [latent.deter.new_zeros(len(latent.deter), self.dynamics.actions)]
        project = self._action_projection()
        latents, codes = [latent], [Codes.of(latent.stoch)]
        for _ in range(horizon):
            latent, numbers = latents[-1], codes[-1]
            actions.append(policy(latent.features if numbers is None else latent.deter, numbers))
            latents.append(self.dynamics.predict(latent, project(actions[-1]), generator, numbers))
            codes.append(Codes.of(latents[-1].stoch))
        deter = torch.stack([each.deter for each in latents], 1)
        stochs = [each.stoch for each in latents]
        return Imagined(deter, stochs, torch.stack(actions, 1), Codes.stack(codes, 1))

    def _action_projection(self) -> Callable[[Tensor], Tensor]:
        """`project_action` for chosen actions: of one-hot ones there are few, which are projected once."""
        project = self.dynamics.core.project_action
        if not isinstance(self.action_space, gymnasium.spaces.Discrete):
            return project
        table = project(torch.eye(self.dynamics.actions, device=self.initial(1).deter.device))
        return lambda actions: actions.to(table.dtype) @ table

    def predict_reward(self, features: Tensor, codes: Codes | None = None) -> Tensor:
        """Expected reward (...) of rows with `features` (..., F), or dense ones (..., D) and codes."""
        return by_pieces(lambda *rows: twohot_mean(self.reward(*rows)), features, codes)

    def predict_continue(self, features: Tensor, codes: Codes | None = None) -> Tensor:
        """Probability of going on times the discount, (...), from the same."""
        going = by_pieces(self.continuation, features, codes)
        return going.squeeze(-1).float().sigmoid()

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
            total, heads, _ = settle(self._head_losses, features, batch, list(parts.parameters()))
        else:
            heads, _ = self._head_losses(features, batch)
        metrics = {f"loss/{name}": loss.detach().mean() for name, loss in (losses | heads).items()}
        metrics["entropy/prior"] = -(prior.exp() * prior).sum((-2, -1)).detach().mean()
        metrics["entropy/posterior"] = -(posterior.exp() * posterior).sum((-2, -1)).detach().mean()
        losses |= {"heads": total} if settled else heads
        return losses, latents, embeddings, metrics

    def _head_losses(
        self, features: Tensor, batch: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses (B, T) of what `features` (B, T, F) predict, by name; and nothing else."""
        losses = {"continue": self._continue_loss(features, batch["is_terminal"])}
        for key, error in self.decoder.loss(features, batch).items():
            losses[f"reconstruction_{key}"] = error
        if "reward" in batch:
            losses["reward"] = self.reward_loss(features, batch["reward"])
        return losses, {}

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
        actions = self.dynamics.core.project_action(batch["action"])
        for t in range(context, actions.shape[1]):
            latent = self.dynamics.predict(latent, actions[:, t], generator)
            features.append(latent.features[:, None])
        return self.decoder(torch.cat(features, 1))
