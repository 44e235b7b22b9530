"""Agents by kind."""

from __future__ import annotations

import gymnasium
import torch

from agents.base import Agent
from agents.config import AgentConfig, Kind
from agents.dreamer import DreamerAgent
from agents.model_free import ModelFreeAgent

AGENTS: dict[Kind, type[Agent]] = {"model-based": DreamerAgent, "model-free": ModelFreeAgent}
"""The baselines PPO and the random policy are no agents of ours: see training/baselines/."""


def make_agent(
    observation_space: gymnasium.spaces.Dict,
    action_space: gymnasium.Space,
    config: AgentConfig,
    intrinsic: str | None,
    seed: int,
    device: torch.device,
) -> Agent:
    """Build the agent of `config.kind`; arguments as those of `Agent`."""
    return AGENTS[config.kind](observation_space, action_space, config, intrinsic, seed, device)
