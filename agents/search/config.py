"""Settings of planning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, cast, get_args

from expedition.errors import UserError, unknown_name
from expedition.ranges import within

Kind = Literal["gumbel", "mppi"]
Update = Literal["imagination", "one-step", "search"]
Variant = Literal["dreamer", "one-step", "learn", "data", "learn+data", "learn+data+eval", "eval"]


@dataclasses.dataclass(frozen=True)
class GumbelConfig:
    """Settings of the tree search: mctx's (Danihelka et al. 2022) but for `depth` and `considered`."""

    simulations: int = 16
    """Simulations S: steps of the model for each plan."""
    depth: int = 5
    """Most steps from the root to a leaf; 0 sets no limit."""
    considered: int = 8
    """Most actions that are tried at the root, before halving. With no more simulations than these, each is
    tried once and nothing lies deeper (mctx has 16)."""
    gumbel_scale: float = 1.0
    """Scale of the noise by which actions are drawn at the root; 0 tries the likeliest."""
    value_scale: float = 0.1
    """How much a value weighs beside a logit: values, brought to [0, 1], count `value_scale` times
    `visit_offset` and the visits of the action that was tried most."""
    visit_offset: float = 50.0
    """Visits that are added there, so that values count from the first."""
    sampled_actions: int = 16
    """Actions K that are sampled from the policy in each node, where they are continuous or have several
    factors."""

    def __post_init__(self) -> None:
        group = "agent.search.gumbel"
        within(self, group, "simulations", least=1)
        within(self, group, "considered sampled_actions", least=2)  # one is no choice
        within(self, group, "depth gumbel_scale value_scale visit_offset", least=0)


@dataclasses.dataclass(frozen=True)
class MPPIConfig:
    """Settings of the shooting planner; defaults are TD-MPC2's (Hansen et al. 2024, table of settings)."""

    horizon: int = 3
    """Steps H of a plan."""
    iterations: int = 6
    """How often the candidates are drawn anew."""
    samples: int = 512
    """Candidates that are drawn around the mean, in each iteration."""
    policy_samples: int = 24
    """Candidates beside them that follow the policy."""
    elites: int = 64
    """Best candidates, which decide the next mean and deviation."""
    temperature: float = 0.5
    """Elites weigh exp(temperature * return): high ones follow the best alone."""
    min_std: float = 0.05
    """Least deviation of the candidates."""
    max_std: float = 2.0
    """Largest deviation of the candidates, with which they begin; actions lie in [-1, 1]."""

    def __post_init__(self) -> None:
        group = "agent.search.mppi"
        within(self, group, "horizon iterations policy_samples", least=1)
        within(self, group, "samples elites", least=2)
        within(self, group, "temperature", least=0)
        within(self, group, "min_std max_std", above=0)
        if self.elites > self.samples + self.policy_samples:
            raise UserError(
                f"{group}.elites is {self.elites}: choose at most as many as there are candidates, "
                f"{self.samples + self.policy_samples}."
            )
        if self.min_std > self.max_std:
            raise UserError(f"{group}.min_std is {self.min_std}: choose at most max_std, {self.max_std}.")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How an agent plans, and where; only the settings of the chosen kind are read."""

    kind: Kind = "gumbel"
    """gumbel: tree search; mppi: shooting, for continuous actions alone."""
    update: Update = "imagination"
    """What teaches the actor: imagination (returns of imagined rows, DreamerV3), one-step (a tree of depth 1
    that tries every action, or each of `sampled_actions`), or search. By the latter two the critic learns on
    replayed rows alone, as MuZero's does."""
    entropy: float = 0.0
    """Weight of the actor's entropy, beside `behaviour.entropy`, where plans teach it: targets over sampled
    actions are narrower than the policy that drew them, however little they tell."""
    act: bool = False
    """Plan while acting to collect."""
    evaluate: bool = False
    """Plan while being judged."""
    gumbel: GumbelConfig = GumbelConfig()
    mppi: MPPIConfig = MPPIConfig()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown_name("kind of search", self.kind, get_args(Kind))
        if self.update not in get_args(Update):
            raise unknown_name("agent.search.update", self.update, get_args(Update))
        within(self, "agent.search", "entropy", least=0)

    @property
    def used(self) -> bool:
        """Whether anything plans."""
        return self.update != "imagination" or self.act or self.evaluate


VARIANTS: Mapping[Variant, tuple[Update, bool, bool]] = {
    "dreamer": ("imagination", False, False),
    "one-step": ("one-step", False, False),
    "learn": ("search", False, False),
    "data": ("one-step", True, False),
    "learn+data": ("search", True, False),
    "learn+data+eval": ("search", True, True),
    "eval": ("imagination", False, True),
}
"""By name, what teaches the actor, and whether acting and judging plan: the table of Hamrick et al. 2021
(arXiv 2011.04021), before it the agent that never plans, after it the one that plans only when judged."""


def as_variant(config: SearchConfig, name: str) -> SearchConfig:
    """The same planner, used as the named variant does.

    Raises:
        UserError: there is no such variant.
    """
    if name not in VARIANTS:
        raise unknown_name("use of search", name, VARIANTS)
    update, act, evaluate = VARIANTS[cast(Variant, name)]
    return dataclasses.replace(config, update=update, act=act, evaluate=evaluate)
