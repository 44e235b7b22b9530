"""What these benchmarks share: our run from scratch, settings by name, and the rows that a run kept."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from agents import Agent
from envs import make_vector
from expedition import UserError
from experiments.command_line.flags import read_value
from experiments.settings import (
    Setting,
    agent_preset,
    as_settings,
    finetune_preset,
    nested,
    training_preset,
    with_settings,
)
from training import Checkpoint, Logistics, Replay, RunConfig, open_checkpoint, prepare_process
from training.budget import most_rows
from training.collecting.collector import row_spec
from training.session import build_agent

QUIET = Logistics(device="cpu", threads=1, workers=0, wandb="off", progress=False)


def from_scratch(env: str, steps: int, seed: int) -> RunConfig:
    """The run of `expedition train --size tiny`."""
    agent = with_settings(agent_preset("tiny"), finetune_preset("tiny"))
    return RunConfig(env, "finetune", None, "tiny", steps, seed, agent, training_preset("tiny"))


def read_setting(text: str) -> tuple[Setting, ...]:
    """`agent.behaviour.entropy=0.01` as settings of a run.

    Raises:
        UserError: no value, or one that cannot be read.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"The setting '{text}' has no value: write NAME=VALUE.")
    return as_settings(nested(name, read_value(name, value)))


def load(agent: Agent, folder: Path) -> Checkpoint:
    """Give an agent what a run had learned at its newest checkpoint, which is returned.

    Raises:
        UserError: no run or no whole checkpoint there.
    """
    checkpoint = open_checkpoint(folder)
    for name, module in agent.components().items():
        module.load_state_dict(checkpoint.load(name))
    return checkpoint


def kept(config: RunConfig, folder: Path) -> tuple[Agent, dict[str, np.ndarray]]:
    """The agent at the end of a run of phase 1, and all rows that it replayed, (B, T, ...)."""
    count = config.training.num_envs
    envs = make_vector(config.env, count)
    agent = build_agent(config, envs, torch.device("cpu"))
    spec = row_spec(envs, agent, task_reward=False)
    envs.close()
    checkpoint = load(agent, folder)
    replay = Replay(count, spec, 2**30, most_rows(config.steps, count))
    replay.load_state_dict(checkpoint.load("replay"), checkpoint.whole_files())
    held = list(replay.sequences())
    return agent, {key: np.stack([one[key] for one in held]) for key in spec}


Measures = dict[str, dict[str, float]]
"""By run and by name."""


def tell_of_runs(
    description: str,
    steps: int,
    measure: Callable[[Path, int, int, int], dict[str, float]],
    table: Callable[[Measures], str],
) -> int:
    """The command of a benchmark that plays the policies of runs: measure each, print.

    Args:
        description: of the command, in a line.
        steps: rows in each environment, unless a flag says otherwise.
        measure: from the run's folder, environments, steps and seed.
        table: all of it in Markdown.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=steps, help="rows in each environment")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare_process(1)
    try:
        found = {
            str(run): measure(run, arguments.envs, arguments.steps, arguments.seed) for run in arguments.runs
        }
    except UserError as error:
        parser.error(str(error))
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    return 0
