"""Agents by kind."""

import typing

import gymnasium
import numpy as np
import pytest
import torch

from agents import AGENTS, AgentConfig, DreamerAgent, ModelFreeAgent, make_agent
from agents.config import Kind
from expedition import UserError
from world_model import for_size

SPACE = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-1, 1, (4,), np.float32)})
MODEL = for_size("tiny", deter=16, hidden=8, units=8, stoch=2, classes=4, blocks=2, vector_layers=1)


def test_every_kind_that_settings_can_name_can_be_made():
    assert {*AGENTS, "ppo", "random"} == set(typing.get_args(Kind))


@pytest.mark.parametrize(
    ("kind", "expected"), [("model-based", DreamerAgent), ("model-free", ModelFreeAgent)]
)
def test_the_settings_say_which(kind, expected):
    config = AgentConfig(kind=kind, model=MODEL)
    agent = make_agent(SPACE, gymnasium.spaces.Discrete(2), config, None, 0, torch.device("cpu"))
    assert type(agent) is expected


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="did you mean model-free"):
        AgentConfig(kind="modelfree")
