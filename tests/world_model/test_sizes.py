"""Sizes by DreamerV3's rule, and what they come to in parameters."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents import ActorCritic, ActorCriticConfig
from expedition import UserError
from world_model import SIZES, WorldModel, WorldModelConfig, for_size

CRAFTER = spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8)})
NOMINAL = {"1m": 1e6, "12m": 12e6, "25m": 25e6, "50m": 50e6, "100m": 100e6, "200m": 200e6}


def count(name, **overrides):
    config = for_size(name, **overrides)
    actions = spaces.Discrete(17)
    with torch.device("meta"):
        model = WorldModel(CRAFTER, actions, config)
        behaviour = ActorCritic(config.features, config.units, actions, ActorCriticConfig())
    # DreamerV3 counts its slow critic too
    return sum(p.numel() for m in (model, behaviour) for p in m.parameters())


@pytest.mark.parametrize("name", NOMINAL)
@pytest.mark.parametrize("style", ["pooled", "strided"])
def test_counts_are_near_the_nominal_size(name, style, record_property):
    found = count(name, conv=style)
    record_property("parameters", found)
    assert 0.72 < found / NOMINAL[name] < 1.2, f"{name}: {found:,}"


def test_tiny_is_smaller_than_twice_1m():
    assert count("tiny") < 2e6


@pytest.mark.parametrize("name", ["12m", "25m", "50m", "100m", "200m"])
def test_rule(name):
    config = SIZES[name]
    assert config.deter == 8 * config.hidden
    assert config.units == config.hidden == 16 * config.depth == 16 * config.classes
    assert (config.stoch, config.blocks, config.conv) == (32, 8, "pooled")


def test_overrides():
    assert for_size("tiny", deter=64) == dataclasses.replace(SIZES["tiny"], deter=64)


def test_unknown_size_gets_the_nearest():
    with pytest.raises(UserError, match="200m"):
        for_size("20m")


def test_blocks_must_divide_the_state():
    with pytest.raises(UserError, match="not a multiple of its 7 blocks"):
        WorldModelConfig(blocks=7)


def test_unknown_convolution_gets_the_nearest():
    with pytest.raises(UserError, match="pooled"):
        WorldModelConfig(conv="poled")  # type: ignore[arg-type]


def test_discount():
    assert WorldModelConfig().discount == pytest.approx(0.996997, abs=1e-6)
