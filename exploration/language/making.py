"""From settings to the reward's parts."""

from __future__ import annotations

from expedition.errors import UserError
from exploration.language.cache import Answers, cache_folder
from exploration.language.config import LanguageConfig
from exploration.language.embedder import Embedder, make_embedder
from exploration.language.endpoint import Endpoint
from exploration.language.goals import GoalReward, Suggestions, Vocabulary, describe
from exploration.language.suggestions import Asked, all_pairs, always, ranked_pairs


def make_goal_reward(config: LanguageConfig, words: Vocabulary, num_envs: int) -> GoalReward:
    """Build what rewards rows as they are collected.

    Raises:
        UserError: a package is missing, or the endpoint does not answer as it should.
    """
    embed = make_embedder(config.embedder)
    return GoalReward(words, _suggestions(config, words, embed), embed, config.threshold, num_envs)


def _suggestions(config: LanguageConfig, words: Vocabulary, embed: Embedder) -> Suggestions:
    if config.suggest == "ranked":
        return always(ranked_pairs(words, embed, config.share))
    if config.suggest == "all":
        return always(all_pairs(words))
    if config.suggest == "oracle":
        if not words.achievements:
            raise UserError(
                "The environment counts no achievement that its captions tell, so there is no oracle: choose "
                "another agent.intrinsic.language.suggest."
            )
        return always(words.achievements)
    endpoint = Endpoint(config.endpoint, config.model, config.timeout)
    asked = Asked(words, endpoint, Answers(cache_folder()), config.goals)
    asked.check(describe(words.scene[:3]))
    return asked
