"""What an agent remembers of what it saw: encoder and recurrent state, with nothing that predicts."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
from torch import Tensor, nn

from world_model.encoder import Encoder
from world_model.objects import pointed_actions
from world_model.rssm import RSSM, Latent
from world_model.sizes import WorldModelConfig
from world_model.spaces import action_width


class Filter(nn.Module):
    """Encoder and dynamics, which turn a history of rows into a latent.

    Args:
        observation_space: images, vectors, symbols and sets of objects by key.
        action_space: Discrete, MultiDiscrete or Box.
        config: widths.
    """

    def __init__(
        self,
        observation_space: gymnasium.spaces.Dict,
        action_space: gymnasium.Space,
        config: WorldModelConfig,
    ) -> None:
        super().__init__()
        self.config: WorldModelConfig = config
        self.action_space = action_space
        self.encoder = Encoder(observation_space, config)
        pointed = pointed_actions(action_space, config)
        self.dynamics = RSSM(config, self.encoder.width, action_width(action_space), pointed)

    def components(self) -> dict[str, nn.Module]:
        """The parts that can be transferred, by their names on disk."""
        return {"encoder": self.encoder, "dynamics": self.dynamics}

    def initial(self, batch: int) -> Latent:
        """Latent before any observation, (batch, ...)."""
        return self.dynamics.initial(batch)

    def observe(
        self, batch: Mapping[str, Tensor], latent: Latent, noise: Tensor
    ) -> tuple[Latent, Tensor, Tensor]:
        """Filter rows (B, T, ...) that follow `latent` (B, ...), with uniform `noise` (B, T, S).

        Returns:
            Posterior latents (B, T, ...), the posterior's log-probabilities (B, T, S, C), and the
            embeddings (B, T, E).
        """
        embeddings = self.encoder(batch)
        latents, posterior = self.dynamics.observe(
            embeddings, batch["action"], batch["is_first"], latent, noise
        )
        return latents, posterior, embeddings
