"""What are a policy's targets worth? `python -m benchmarks.learning.targets RUN ...`, for runs with a model.

The policy of each run's newest checkpoint acts, sampled. In every row three values are asked for: the
critic's, that of a search and that of a tree of depth 1, with the run's settings; and beside them what
followed, discounted rewards to the episode's end (where it was cut off, the critic's value there). Printed
are the correlations of each with what followed, how far the plans lie from the policy, and the policy's own
entropy among the actions that were looked at, in nats. Where a variant of search does not learn, look here
before its budget is blamed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents import Agent, DreamerAgent
from agents.learning.returns import lambda_returns
from agents.search import Plan, one_step
from benchmarks.learning.runs import QUIET, Measures, load, tell_of_runs
from envs import Rows, VectorEnv
from expedition import UserError
from training import read_config
from training.process.logistics import env_factory
from training.session import build_agent
from world_model import to_env_actions

VALUES = ("critic", "search", "one-step")


def measure(folder: Path, envs: int, steps: int, seed: int) -> dict[str, float]:
    """What a run's targets are worth over `steps` rows in each of `envs` environments.

    Raises:
        UserError: there is no run, or it has no model.
    """
    config = read_config(folder)
    environments = env_factory(config, QUIET)(envs)
    try:
        agent = build_agent(config, environments, torch.device("cpu"))
        load(agent, folder)
        if not isinstance(agent, DreamerAgent):
            raise UserError(f"{folder} has no model to plan in: name a run of the agent model-based.")
        return told(*_played(agent, environments, steps, seed), agent)
    finally:
        environments.close()


def _played(
    agent: DreamerAgent, envs: VectorEnv, steps: int, seed: int
) -> tuple[dict[str, Tensor], list[Rows], dict[str, list[float]]]:
    """Values by name (B, T), the rows, and by name what each row's plans are like."""
    search = agent.config.search
    planners = {
        "search": agent.planner(search),
        "one-step": agent.planner(one_step(search, agent.action_space)),
    }
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, list[Tensor]] = {name: [] for name in VALUES}
    likes: dict[str, list[float]] = {"search": [], "one-step": [], "entropy": []}
    rows, state = envs.reset(seed), agent.initial_state(envs.num_envs, seed)
    seen = []
    for _ in range(steps):
        actions, state, _ = agent.act(rows, state, "evaluate")
        seen.append(rows)
        values["critic"].append(agent.behaviour.value(state.latent.features))
        for name, planner in planners.items():
            plan = planner.plan(state.latent, planner.draw_noise(envs.num_envs, generator))
            values[name].append(plan.value)
            likes[name].append(distance(plan))
        likes["entropy"].append(torch.special.entr(plan.prior).sum(-1).mean().item())
        rows = envs.step(to_env_actions(actions, envs.action_space))
    return {name: torch.stack(column, 1) for name, column in values.items()}, seen, likes


def distance(plan: Plan) -> float:
    """Mean KL divergence of plans from the policy, in nats."""
    nats = torch.special.xlogy(plan.weights, plan.weights) - torch.special.xlogy(plan.weights, plan.prior)
    return nats.sum(-1).mean().item()


def told(
    values: dict[str, Tensor], rows: list[Rows], likes: dict[str, list[float]], agent: Agent
) -> dict[str, float]:
    """Correlations with what followed, and the means of the rest."""
    reward, last, terminal = (
        torch.as_tensor(np.stack([row[name] for row in rows], 1))
        for name in ("reward", "is_last", "is_terminal")
    )
    goes_on = (~terminal).float() * agent.config.model.discount
    followed = lambda_returns(reward.float(), values["critic"], goes_on, last, 1.0)  # (B, T - 1)
    acted = ~last[:, :-1]
    found = {
        f"{name}, correlation": float(np.corrcoef(column[:, :-1][acted], followed[acted])[0, 1])
        for name, column in values.items()
    }
    return found | {name: float(np.mean(column)) for name, column in likes.items()}


def table(found: Measures) -> str:
    """The measures as a table in Markdown, a line a run."""
    heads = {f"{name}, correlation": f"{name}: correlation" for name in VALUES}
    heads |= {"search": "search from policy, nats", "one-step": "one-step, nats", "entropy": "policy, nats"}
    lines = ["| run | " + " | ".join(heads.values()) + " |", "|" + "---|" * (len(heads) + 1)]
    lines += [
        f"| {run} | " + " | ".join(f"{row[key]:.2f}" for key in heads) + " |" for run, row in found.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(tell_of_runs((__doc__ or "").partition("\n")[0], 51, measure, table))
