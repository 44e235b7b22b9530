"""Intrinsic rewards by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import gymnasium

from expedition import unknown_name
from exploration.base import IntrinsicReward
from exploration.disagreement import Disagreement, DisagreementConfig
from exploration.none import NoReward
from exploration.rnd import RND, RNDConfig
from world_model import Filter


@dataclasses.dataclass(frozen=True)
class IntrinsicConfig:
    """Settings of every intrinsic reward; only those of the chosen one are read."""

    disagreement: DisagreementConfig = DisagreementConfig()
    rnd: RNDConfig = RNDConfig()


Maker = Callable[[gymnasium.spaces.Dict, Filter, IntrinsicConfig], IntrinsicReward]


def _disagreement(space: gymnasium.spaces.Dict, model: Filter, config: IntrinsicConfig) -> IntrinsicReward:
    sizes = model.config
    return Disagreement(
        sizes.features,
        sizes.stoch * sizes.classes,
        model.encoder.width,
        model.dynamics.actions,
        sizes.units,
        config.disagreement,
    )


INTRINSIC: dict[str, tuple[str, Maker]] = {
    "disagreement": ("variance of an ensemble's one-step predictions (Plan2Explore)", _disagreement),
    "rnd": (
        "error in predicting a fixed random network of the observation (RND)",
        lambda space, model, config: RND(space, model.config, config.rnd),
    ),
    "none": ("no reward: the policy follows its entropy bonus alone", lambda *_: NoReward()),
}
"""Name to one line of description and the maker. A new one needs a line here and a file beside this."""


def make_intrinsic(
    name: str, space: gymnasium.spaces.Dict, model: Filter, config: IntrinsicConfig
) -> IntrinsicReward:
    """Build the intrinsic reward `name` for a world model over `space`.

    Raises:
        UserError: the name is not known.
    """
    if name not in INTRINSIC:
        raise unknown_name("intrinsic reward", name, INTRINSIC)
    return INTRINSIC[name][1](space, model, config)
