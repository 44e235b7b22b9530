"""One run from its config to its result, whatever its kind of agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from training.baselines.ppo import execute_ppo, load_policy
from training.baselines.random_policy import RandomPolicy, execute_random
from training.config import RunConfig, to_dict
from training.judging.evaluation import (
    Policy,
    evaluate_policy,
    summarise_episodes,
)
from training.process.logistics import Logistics, env_factory
from training.process.runtime import StopSignal, choose_device
from training.session import Initialiser, Outcome, Session, build_agent, choose_program
from training.spaces import check_unchanged, describe_spaces
from training.storage.checkpoint import Checkpoint, open_checkpoint
from training.storage.folder import (
    claim_folder,
    grows,
    lengthen,
    only_process,
    read_config,
    read_result,
    undone_on_failure,
)


def execute(
    config: RunConfig,
    run_dir: Path,
    logistics: Logistics,
    record: Mapping[str, Any] | None = None,
    initialiser: Initialiser | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Carry a run out in `run_dir`, or go on with it there.

    Args:
        config: the run.
        run_dir: its folder; a run that it holds already must have the same settings, and at most as many
            steps: one of fewer goes on from its end.
        logistics: device, threads, logging.
        record: settings to write beside the config (the transfer's); part of what must be the same.
        initialiser: what phase 2 does to the fresh agent.
        say: told one line at a time what a person wants to know.

    Raises:
        UserError: the folder holds another run, the disk refuses, the budget cannot work.
    """
    if config.agent.kind == "ppo":
        return execute_ppo(config, run_dir, logistics, record, say)
    if config.agent.kind == "random":
        return execute_random(config, run_dir, logistics, record, say)
    recorded, program = choose_program(config, run_dir, logistics, say)
    settings = {**to_dict(config), **(record or {}), "program": recorded}
    new = claim_folder(run_dir, settings, growing=True)
    longer, finished = grows(run_dir, settings), read_result(run_dir)
    if finished is not None and not longer:
        say(f"{run_dir} is finished already: nothing to do.")
        return Outcome(finished, 0)
    with only_process(run_dir), StopSignal() as stop:
        if longer:
            say(f"It had {lengthen(run_dir, settings):,} steps and goes on to {config.steps:,}.")
        with undone_on_failure(run_dir, new):
            session = Session(config, run_dir, logistics, initialiser, stop, say, program)
            session.begin()
        with session.sitting():
            return session.end(session.learn_offline() and session.trainer.learn())


def evaluate_run(run_dir: Path, episodes: int, seed: int, device: str) -> dict[str, float]:
    """Evaluate the policy in a run's newest checkpoint; returns the summary of `episodes` episodes.

    The random policy has nothing to load.

    Raises:
        UserError: no run or no whole checkpoint there.
    """
    at_random = (run_dir / "config.json").is_file() and read_config(run_dir).agent.kind == "random"
    checkpoint = None if at_random else open_checkpoint(run_dir)
    config = read_config(run_dir)
    make_envs = env_factory(config, Logistics(workers=0))
    envs = make_envs(1)
    try:
        agent = _policy(config, envs, checkpoint, choose_device(device))
    finally:
        envs.close()
    found = evaluate_policy(agent, make_envs, episodes, seed)
    summary = summarise_episodes(config.env, found)
    return summary | {"episodes": float(len(found))}


def _policy(config: RunConfig, envs: Any, checkpoint: Checkpoint | None, device: torch.device) -> Policy:
    if checkpoint is None:
        return RandomPolicy(envs.action_space)
    now = describe_spaces(envs.observation_space, envs.action_space)
    check_unchanged(checkpoint.metadata, config.env, now)
    if config.agent.kind == "ppo":
        return load_policy(config, envs, checkpoint, device)
    agent = build_agent(config, envs, device)
    for name, module in agent.components().items():
        module.load_state_dict(checkpoint.load(name))
    return agent
