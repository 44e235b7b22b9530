"""Intrinsic rewards by name: ours, and those of users' packages."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from importlib import metadata

import gymnasium

from expedition.errors import UserError, unknown_name, users_own
from expedition.ranges import later
from exploration.base import IntrinsicReward, Sizes
from exploration.language import Language, LanguageConfig
from exploration.rewards.apt import APT, APTConfig
from exploration.rewards.byol_explore import BYOLExplore, BYOLExploreConfig
from exploration.rewards.disagreement import Disagreement, DisagreementConfig
from exploration.rewards.e3b import E3B, E3BConfig
from exploration.rewards.icm import ICM, ICMConfig
from exploration.rewards.lbs import LBS, LBSConfig
from exploration.rewards.none import NoReward, RandomData
from exploration.rewards.rnd import RND, RNDConfig
from world_model import Filter
from world_model.decoder import Decoder

logger = logging.getLogger(__name__)

ENTRY_POINTS = "expedition.intrinsic"
"""Group of Python entry points by which a user's package adds a reward under its name: a class or a function
that takes observation space, world model and, by keyword, the run's `options`, and gives the reward."""


@dataclasses.dataclass(frozen=True)
class IntrinsicConfig:
    """Settings of every intrinsic reward; only those of the chosen one are read."""

    disagreement: DisagreementConfig = DisagreementConfig()
    rnd: RNDConfig = RNDConfig()
    byol_explore: BYOLExploreConfig = BYOLExploreConfig()
    icm: ICMConfig = ICMConfig()
    apt: APTConfig = APTConfig()
    lbs: LBSConfig = LBSConfig()
    e3b: E3BConfig = E3BConfig()
    clip: bool = False
    """Set rewards below their running mean to zero (`RewardScale`), whichever is chosen."""
    options: tuple[str, ...] = ()
    """Settings of a reward from a user's package, each as name=value; it gets the values as texts."""
    language: LanguageConfig = later(LanguageConfig())


Maker = Callable[[gymnasium.spaces.Dict, Filter, IntrinsicConfig], IntrinsicReward]


_OWN: dict[str, tuple[str, Maker]] = {
    "disagreement": (
        "variance of an ensemble's one-step predictions (Plan2Explore)",
        lambda space, model, config: Disagreement(Sizes.of(model), config.disagreement),
    ),
    "rnd": (
        "error in predicting a fixed random network of the observation (RND)",
        lambda space, model, config: RND(space, model.config, config.rnd),
    ),
    "byol-explore": (
        "error in predicting a slow copy of a projection several rows ahead",
        lambda space, model, config: BYOLExplore(Sizes.of(model), config.byol_explore),
    ),
    "icm": (
        "error of a forward model in the features of an inverse model (curiosity module)",
        lambda space, model, config: ICM(Sizes.of(model), config.icm),
    ),
    "apt": (
        "distance of the latent to its nearest neighbours: particle entropy (APT)",
        lambda space, model, config: APT(config.apt),
    ),
    "lbs": (
        "what the observation changes in the belief about a latent variable (Bayesian surprise)",
        lambda space, model, config: LBS(Sizes.of(model), config.lbs),
    ),
    "e3b": (
        "novelty of an inverse model's features within the episode (elliptical bonus)",
        lambda space, model, config: E3B(Sizes.of(model), config.e3b),
    ),
    "language": (
        "a step reached a goal that language suggests, once an episode (ELLM)",
        lambda *_: Language(),
    ),
    "none": ("no reward: the policy follows its entropy bonus alone", lambda *_: NoReward()),
    "random-data": (
        "no reward, and every action is random: the control of pre-training",
        lambda *_: RandomData(),
    ),
}
"""Name to one line of description and the maker. A new one needs a line here and a file in rewards/."""


def packaged() -> dict[str, tuple[str, Maker]]:
    """The rewards that installed packages add through entry points; none is imported before it is made."""
    found: dict[str, tuple[str, Maker]] = {}
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        if point.name in _OWN or point.name in found:
            logger.warning("The entry point '%s' is left out: the name is taken.", point.value)
        else:
            found[point.name] = (f"From a package: {point.value}.", functools.partial(_make_packaged, point))
    return found


def _make_packaged(
    point: metadata.EntryPoint, space: gymnasium.spaces.Dict, model: Filter, config: IntrinsicConfig
) -> IntrinsicReward:
    """Make the reward that a package adds."""
    options = dict(_split_option(option) for option in config.options)
    with users_own(f"Intrinsic reward '{point.name}' of '{point.value}'"):
        made = point.load()(space, model, **options)
        if not isinstance(made, IntrinsicReward) or not hasattr(made, "in_imagination"):
            raise TypeError("it gives no IntrinsicReward that says whether it is in_imagination")
    return made


def _split_option(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"The option '{option}' of an intrinsic reward must be written as name=value.")
    return name, value


INTRINSIC: dict[str, tuple[str, Maker]] = _OWN | packaged()
"""Every reward: name to one line of description and the maker."""


def check_intrinsic(name: str) -> None:
    """Refuse a reward that nobody knows; `module:Class` is one of the user's, imported when it is made.

    Raises:
        UserError: with the nearest known names.
    """
    if ":" not in name and name not in INTRINSIC:
        raise unknown_name("intrinsic reward", name, INTRINSIC)


def _maker(name: str) -> Maker:
    check_intrinsic(name)
    if name in INTRINSIC:
        return INTRINSIC[name][1]
    return functools.partial(_make_packaged, metadata.EntryPoint(name, name, ENTRY_POINTS))


def make_intrinsic(
    name: str, space: gymnasium.spaces.Dict, model: Filter, config: IntrinsicConfig
) -> IntrinsicReward:
    """Build the intrinsic reward `name`, or `module:Class`, for a world model over `space`.

    Raises:
        UserError: the name is not known, a package's reward is broken or reads a decoder that is not there,
            or one of ours is given options.
    """
    maker = _maker(name)
    if config.options and name in _OWN:
        raise UserError(
            f"Intrinsic reward '{name}' takes no options: its settings stand in their own group beside them."
        )
    made = maker(space, model, config)
    if made.reads_decoder and not isinstance(getattr(model, "decoder", None), Decoder):
        raise UserError(
            f"Intrinsic reward '{name}' reads the model's decoder, and this agent has none: choose another "
            "reward, or a model-based agent with agent.model.predicts reconstruction."
        )
    made.scale.clip = config.clip
    return made
