"""What is worth seeing: intrinsic rewards, the rule by which they are scaled, and what they reached."""

from exploration.base import IntrinsicReward, NetworkConfig, RewardScale, Sequences, Sizes
from exploration.coverage import Coverage, CoverageConfig, particle_entropy
from exploration.language import (
    EARNED,
    GoalReward,
    Language,
    LanguageConfig,
    Suggest,
    Vocabulary,
    make_goal_reward,
)
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
    "EARNED",
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
    "GoalReward",
    "ICMConfig",
    "IntrinsicConfig",
    "IntrinsicReward",
    "LBSConfig",
    "Language",
    "LanguageConfig",
    "NetworkConfig",
    "NoReward",
    "RNDConfig",
    "RandomData",
    "RewardScale",
    "Sequences",
    "Sizes",
    "Suggest",
    "Vocabulary",
    "check_intrinsic",
    "make_goal_reward",
    "make_intrinsic",
    "particle_entropy",
]
