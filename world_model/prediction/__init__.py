"""What stands where a decoder stood: by what the latents of a world model learn to mean something."""

from importlib import metadata

import gymnasium

from expedition.errors import users_own
from world_model.encoder import Encoder
from world_model.prediction.barlow import Barlow
from world_model.prediction.base import Prediction, Seen, rows_ahead
from world_model.prediction.collapse import effective_rank
from world_model.prediction.contrastive import Contrastive
from world_model.prediction.none import NoPrediction
from world_model.prediction.reconstruction import Reconstruction
from world_model.prediction.spr import SPR
from world_model.sizes import WorldModelConfig

__all__ = ["Prediction", "Seen", "effective_rank", "make_prediction", "rows_ahead"]


def make_prediction(space: gymnasium.spaces.Dict, encoder: Encoder, config: WorldModelConfig) -> Prediction:
    """Build what `config.predicts` says, over a model's observation space and encoder."""
    match config.predicts:
        case "reconstruction":
            return Reconstruction(space, config)
        case "spr":
            return SPR(encoder, config)
        case "contrastive":
            return Contrastive(encoder, config)
        case "barlow":
            return Barlow(encoder, config)
        case "none":
            return NoPrediction()
        case own:
            return _make_own(own, space, encoder, config)


def _make_own(
    name: str, space: gymnasium.spaces.Dict, encoder: Encoder, config: WorldModelConfig
) -> Prediction:
    """Make a user's prediction, `module:Class`, of observation space, encoder and settings.

    Raises:
        UserError: it cannot be imported or made, or is no Prediction.
    """
    with users_own(f"The prediction '{name}'"):
        made = metadata.EntryPoint(name, name, "").load()(space, encoder, config)
        if not isinstance(made, Prediction):
            raise TypeError("it gives no Prediction")
    return made
