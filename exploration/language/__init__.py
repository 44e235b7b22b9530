"""A prior from language: reward for what a suggested goal says, the first time in an episode (ELLM)."""

from exploration.language.config import LanguageConfig, Suggest
from exploration.language.goals import GoalReward, Vocabulary, goal_reward
from exploration.language.making import make_goal_reward
from exploration.language.reward import EARNED, Language

__all__ = [
    "EARNED",
    "GoalReward",
    "Language",
    "LanguageConfig",
    "Suggest",
    "Vocabulary",
    "goal_reward",
    "make_goal_reward",
]
