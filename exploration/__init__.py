"""What is worth seeing: intrinsic rewards, the rule by which they are scaled, and what they reached."""

from exploration.base import IntrinsicReward, RewardScale
from exploration.coverage import Coverage, CoverageConfig, particle_entropy
from exploration.disagreement import Disagreement, DisagreementConfig
from exploration.none import NoReward
from exploration.registry import INTRINSIC, IntrinsicConfig, make_intrinsic
from exploration.rnd import RND, RNDConfig

__all__ = [
    "INTRINSIC",
    "RND",
    "Coverage",
    "CoverageConfig",
    "Disagreement",
    "DisagreementConfig",
    "IntrinsicConfig",
    "IntrinsicReward",
    "NoReward",
    "RNDConfig",
    "RewardScale",
    "make_intrinsic",
    "particle_entropy",
]
