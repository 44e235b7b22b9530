"""Settings out of range: every number of every config is bounded, and refused in one sentence."""

import dataclasses

import pytest

from agents import ActorCriticConfig, AgentConfig, ModelFreeConfig, OptimizerConfig, PPOConfig, PriorConfig
from agents.search import GumbelConfig, MPPIConfig
from expedition.errors import UserError
from expedition.ranges import within
from exploration import CoverageConfig, IntrinsicConfig
from training import TrainingConfig
from world_model import PredictionConfig, WorldModelConfig

REWARDS = {
    field.name: type(getattr(IntrinsicConfig(), field.name))
    for field in dataclasses.fields(IntrinsicConfig)
    if dataclasses.is_dataclass(getattr(IntrinsicConfig(), field.name))
}
GROUPS = {
    "agent.optimizer": OptimizerConfig,
    "agent.model_free": ModelFreeConfig,
    "agent.ppo": PPOConfig,
    "agent.behaviour": ActorCriticConfig,
    "agent.prior": PriorConfig,
    "agent.model": WorldModelConfig,
    "agent.model.prediction": PredictionConfig,
    "agent.search.gumbel": GumbelConfig,
    "agent.search.mppi": MPPIConfig,
    "training": TrainingConfig,
    "training.coverage": CoverageConfig,
    **{f"agent.intrinsic.{name}": kind for name, kind in REWARDS.items()},
}
NUMBERS = [
    (group, field.name)
    for group, kind in GROUPS.items()
    for field in dataclasses.fields(kind)
    if isinstance(getattr(kind(), field.name), int | float)
    and not isinstance(getattr(kind(), field.name), bool)
]


@dataclasses.dataclass(frozen=True)
class Odd:
    rate: float = 0.5
    widths: tuple[int, ...] = (2, 3)


@pytest.mark.parametrize(("group", "name"), NUMBERS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_no_number_may_be_negative_or_endless(group, name, value):
    with pytest.raises(UserError, match=f"^{group}.{name} is {value}: it must be a number .*[0-9]\\.$"):
        GROUPS[group](**{name: value})


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("agent.optimizer", "beta2", 1.0),
        ("agent.behaviour", "lam", 1.5),
        ("agent.behaviour", "imagination", 0),
        ("agent.prior", "share", 2),
        ("agent.prior", "stretch", 0),
        ("agent.model", "units", 0),
        ("agent.model", "blocks", 0),
        ("agent.model", "unimix", 1),
        ("agent.model", "horizon", 0),
        ("agent.model.prediction", "steps", 0),
        ("agent.model.prediction", "stride", 0),
        ("agent.model.prediction", "decay", 1.1),
        ("agent.model.prediction", "temperature", 0),
        ("agent.ppo", "discount", 1.01),
        ("agent.ppo", "batch", 1),
        ("agent.ppo", "units", (64, 0)),
        ("agent.intrinsic.disagreement", "networks", 1),
        ("agent.intrinsic.icm", "beta", 1.1),
        ("agent.intrinsic.e3b", "ridge", 0),
        ("training", "heldout_repeat", 1),
    ],
)
def test_what_is_too_small_or_too_large_is_named_with_its_group(group, name, value):
    with pytest.raises(UserError, match=f"^{group}.{name} is "):
        GROUPS[group](**{name: value})


def test_a_target_that_is_unknown_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean embedding"):
        REWARDS["disagreement"](target="embeding")


def test_defaults_are_in_range():
    assert AgentConfig() == AgentConfig()
    assert len(NUMBERS) > 60


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [
        ({"least": 1}, "g.rate is 0.5: it must be a number of at least 1."),
        ({"above": 0.5}, "g.rate is 0.5: it must be a number above 0.5."),
        ({"least": 0, "most": 0.4}, "g.rate is 0.5: it must be a number of at least 0 and at most 0.4."),
        ({"below": 0.5}, "g.rate is 0.5: it must be a number below 0.5."),
    ],
)
def test_the_sentence_tells_the_range(bounds, sentence):
    with pytest.raises(UserError) as error:
        within(Odd(), "g", "rate", **bounds)
    assert str(error.value) == sentence


@pytest.mark.parametrize("value", [2**31, 10**400])
def test_no_whole_number_is_beyond_what_can_be_counted(value):
    sentence = "it must be a number of at least 1 and at most 2147483647.$"
    with pytest.raises(UserError, match=sentence):
        within(Odd(widths=(1, value)), "", "widths", least=1)
    within(Odd(widths=(1, 2**31 - 1), rate=1e30), "", "widths rate", least=1)


def test_every_number_of_a_sequence_counts():
    within(Odd(), "", "widths rate", above=0)
    with pytest.raises(UserError, match="^widths is 2: it must be a number above 2."):
        within(Odd(), "", "widths", above=2)
    with pytest.raises(UserError, match="^rate is nan: it must be a finite number."):
        within(Odd(rate=float("nan")), "", "rate")
