"""Does the model see what is paid? `python -m benchmarks.learning.seen RUN ...`, for runs with a decoder.

The policy of each run's newest checkpoint acts, sampled. From the posterior latent of every row its symbols
are decoded and its reward is predicted, both of the same row: nothing is foreseen. Printed is, for each value
of a symbol, in how many of its places it is decoded (what is rare and pays, gold in a maze, is learned last),
and the mean error of the predicted reward where a reward arrived and where none did. A policy cannot learn to
seek what its model does not see.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents import DreamerAgent
from benchmarks.learning.runs import QUIET, Measures, load, tell_of_runs
from expedition import UserError
from training import read_config
from training.process.logistics import env_factory
from training.session import build_agent
from world_model import to_env_actions
from world_model.decoder import Decoder

CONTEXT = 4
"""Rows of an environment before which a latent may know too little to be judged."""


@torch.no_grad()
def measure(folder: Path, envs: int, steps: int, seed: int) -> dict[str, float]:
    """How much a run's model sees in `steps` rows of each of `envs` environments.

    Raises:
        UserError: there is no run, or it has no decoder.
    """
    config = read_config(folder)
    environments = env_factory(config, QUIET)(envs)
    try:
        agent = build_agent(config, environments, torch.device("cpu"))
        load(agent, folder)
        if not isinstance(agent, DreamerAgent) or not isinstance(agent.world_model.decoder, Decoder):
            raise UserError(f"{folder} has no decoder: name a model-based run that predicts reconstruction.")
        rows, state = environments.reset(seed), agent.initial_state(envs, seed)
        seen, features = [], []
        for _ in range(steps):
            actions, state, _ = agent.act(rows, state, "evaluate")
            seen.append(rows)
            features.append(state.latent.features)
            rows = environments.step(to_env_actions(actions, environments.action_space))
    finally:
        environments.close()
    latents = torch.stack(features, 1)[:, CONTEXT:]  # (B, T, F)
    observed = {name: np.stack([row[name] for row in seen], 1)[:, CONTEXT:] for name in seen[0]}
    decoder = agent.world_model.decoder
    decoded = decoder(latents)
    found: dict[str, float] = {}
    for name in decoder.symbols:
        found |= decoded_shares(name, decoded[name], torch.as_tensor(observed[name]).long())
    predicted = agent.world_model.predict_reward(latents)
    return found | reward_errors(predicted, torch.as_tensor(observed["reward"]))


def decoded_shares(name: str, log_probs: Tensor, symbols: Tensor) -> dict[str, float]:
    """For each value that occurs, the share of its places (B, T, n) where it is the likeliest of (..., C)."""
    guess = log_probs.argmax(-1)
    return {
        f"{name}={value}": (guess[symbols == value] == value).float().mean().item()
        for value in symbols.unique().tolist()
    }


def reward_errors(predicted: Tensor, reward: Tensor) -> dict[str, float]:
    """Mean absolute error where a reward arrived and where none did; NaN where that never was."""
    error, paid = (predicted - reward).abs(), reward != 0
    return {
        "rows paid": paid.float().mean().item(),
        "reward error, paid": error[paid].mean().item(),
        "reward error, unpaid": error[~paid].mean().item(),
    }


def table(found: Measures) -> str:
    """The measures as a table in Markdown, a column a run."""
    names = dict.fromkeys(name for row in found.values() for name in row)
    lines = ["| | " + " | ".join(found) + " |", "|" + "---|" * (len(found) + 1)]
    lines += [
        f"| {name} | " + " | ".join(f"{row.get(name, np.nan):.3f}" for row in found.values()) + " |"
        for name in names
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(tell_of_runs((__doc__ or "").partition("\n")[0], 100, measure, table))
