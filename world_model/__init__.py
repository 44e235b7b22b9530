"""What will happen: encoders, recurrent state-space model, decoders, heads."""

from world_model.filter import Filter
from world_model.model import WorldModel
from world_model.rssm import RSSM, Latent
from world_model.sizes import (
    SIZES,
    ObjectsKind,
    PredictionConfig,
    Predicts,
    WorldModelConfig,
    check_predicts,
    for_size,
)
from world_model.spaces import (
    action_factors,
    action_width,
    split_observations,
    to_env_actions,
    to_learner_actions,
)

__all__ = [
    "RSSM",
    "SIZES",
    "Filter",
    "Latent",
    "ObjectsKind",
    "PredictionConfig",
    "Predicts",
    "WorldModel",
    "WorldModelConfig",
    "action_factors",
    "action_width",
    "check_predicts",
    "for_size",
    "split_observations",
    "to_env_actions",
    "to_learner_actions",
]
