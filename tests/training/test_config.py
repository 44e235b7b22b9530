"""Settings: checked when they are made, the same after a trip through JSON, and named by what they say."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import pytest

from agents import AgentConfig
from expedition import UserError
from training import RunConfig, TrainingConfig, fingerprint, from_dict, to_dict
from training.config import MAX_SEED, differences

RUN = RunConfig("catch-vector", "pretrain", "rnd", "12m", 100, 0, AgentConfig())


@dataclasses.dataclass(frozen=True)
class Odd:
    whole: int = 1
    real: float = 1.0
    flag: bool = False
    text: str | None = None
    path: Path | None = None
    names: tuple[str, ...] = ()
    choice: Literal["a", "b"] = "a"
    inner: TrainingConfig = TrainingConfig()


def test_a_config_survives_json():
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(RUN)))) == RUN
    odd = Odd(2, 0.5, True, "x", Path("a/b"), ("c", "d"), "b", TrainingConfig(batch=3))
    assert from_dict(Odd, json.loads(json.dumps(to_dict(odd)))) == odd


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"whole": 3.0}, Odd(whole=3)),
        ({"whole": "1e3"}, Odd(whole=1000)),  # as YAML reads 1e3
        ({"real": 2}, Odd(real=2.0)),
        ({"real": "1e-4"}, Odd(real=1e-4)),
        ({"path": "x"}, Odd(path=Path("x"))),
        ({"text": None}, Odd()),
        ({"names": ["a"]}, Odd(names=("a",))),
    ],
)
def test_values_take_the_kind_of_their_setting(values, expected):
    found = from_dict(Odd, values)
    assert found == expected
    for field in dataclasses.fields(Odd):
        assert type(getattr(found, field.name)) is type(getattr(expected, field.name))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"whole": 1.5}, "'whole' must be a whole number, not 1.5"),
        ({"whole": "many"}, "'whole' must be a whole number, not 'many'"),
        ({"whole": True}, "'whole' must be a whole number"),
        ({"whole": None}, "'whole' must be a whole number, not None"),
        ({"real": [1]}, "'real' must be a number"),
        ({"real": 10**400}, "'real' must be a number"),
        ({"flag": 1}, "'flag' must be true or false"),
        ({"text": 5}, "'text' must be a text, not 5"),
        ({"path": 5}, "'path' must be a path, not 5"),
        ({"names": "ab"}, "'names' must be a list"),
        ({"names": [1]}, "'names' must be a text"),
        ({"choice": "c"}, "'choice' must be a or b, not 'c'"),
        ({"inner": 3}, "'inner' must be a group of settings"),
        ({"inner": {"batch": "x"}}, "'batch' must be a whole number"),
        ({"inner": {"bach": 1}}, "Unknown settings in TrainingConfig: bach"),
    ],
)
def test_values_of_another_kind_are_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        from_dict(Odd, values)


def test_missing_settings_are_named():
    with pytest.raises(UserError, match=r"RunConfig cannot be read: .*'env'"):
        from_dict(RunConfig, {})


@pytest.mark.parametrize(
    "name", ["num_envs", "batch", "length", "log_every", "heldout", "context", "open_loop", "image_size"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_must_be_positive(name, value):
    with pytest.raises(UserError, match=f"{name} is {value}: it must be a number of at least"):
        TrainingConfig(**{name: value})


@pytest.mark.parametrize("name", ["train_ratio", "replay_gib", "checkpoint_seconds", "learning_starts"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_amounts_must_be_finite_and_not_negative(name, value):
    with pytest.raises(UserError, match=f"{name} is"):
        TrainingConfig(**{name: value})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": -5}, "steps is -5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": MAX_SEED + 1}, f"at most {MAX_SEED}"),
    ],
)
def test_budgets_and_seeds(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(RUN, **changes)


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RUN.steps = 3


def test_equal_settings_have_equal_names_and_others_other():
    name = fingerprint(to_dict(RUN))
    assert len(name) == 10
    assert int(name, 16) >= 0
    assert fingerprint(dict(reversed(to_dict(RUN).items()))) == name
    assert fingerprint(to_dict(dataclasses.replace(RUN, seed=1))) != name
    # 32 of a preset and 32.0 of a flag or a file are one setting.
    whole = dataclasses.replace(RUN, training=TrainingConfig(train_ratio=32))
    real = dataclasses.replace(RUN, training=TrainingConfig(train_ratio=32.0))
    assert fingerprint(to_dict(whole)) == fingerprint(to_dict(real))
    assert fingerprint(to_dict(from_dict(RunConfig, to_dict(whole)))) == fingerprint(to_dict(whole))
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_differences_are_named_with_both_values():
    one, two = {"a": 1, "b": {"c": 2, "d": 3}, "e": None}, {"a": 1, "b": {"c": 5, "d": 3}, "f": 4}
    assert differences(one, two) == ["b.c (2 there, 5 asked for)", "f (None there, 4 asked for)"]
    assert differences({"x": 32.0}, {"x": 32}) == []
