"""What is worth seeing: intrinsic rewards and the rule by which they are scaled."""

from exploration.base import IntrinsicReward, RewardScale
from exploration.disagreement import Disagreement, DisagreementConfig
from exploration.none import NoReward
from exploration.registry import INTRINSIC, IntrinsicConfig, make_intrinsic
from exploration.rnd import RND, RNDConfig

__all__ = [
    "INTRINSIC",
    "RND",
    "Disagreement",
    "DisagreementConfig",
    "IntrinsicConfig",
    "IntrinsicReward",
    "NoReward",
    "RNDConfig",
    "RewardScale",
    "make_intrinsic",
]
