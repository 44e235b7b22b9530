"""What is worth seeing: intrinsic rewards, the rule by which they are scaled, and what they reached."""

from exploration.base import IntrinsicReward, NetworkConfig, RewardScale, Sequences, Sizes
from exploration.coverage import Coverage, CoverageConfig, particle_entropy
from exploration.registry import INTRINSIC, IntrinsicConfig, check_intrinsic, make_intrinsic
from exploration.rewards.apt import APT, APTConfig
from exploration.rewards.byol_explore import BYOLExplore, BYOLExploreConfig
from exploration.rewards.disagreement import Disagreement, DisagreementConfig
from exploration.rewards.e3b import E3B, E3BConfig
from exploration.rewards.icm import ICM, ICMConfig
from exploration.rewards.lbs import LBS, LBSConfig
from exploration.rewards.none import NoReward, RandomData
from exploration.rewards.rnd import RND, RNDConfig

__all__ = [
    "APT",
    "E3B",
    "ICM",
    "INTRINSIC",
    "LBS",
    "RND",
    "APTConfig",
    "BYOLExplore",
    "BYOLExploreConfig",
    "Coverage",
    "CoverageConfig",
    "Disagreement",
    "DisagreementConfig",
    "E3BConfig",
    "ICMConfig",
    "IntrinsicConfig",
    "IntrinsicReward",
    "LBSConfig",
    "NetworkConfig",
    "NoReward",
    "RNDConfig",
    "RandomData",
    "RewardScale",
    "Sequences",
    "Sizes",
    "check_intrinsic",
    "make_intrinsic",
    "particle_entropy",
]
