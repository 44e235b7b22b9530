"""Does an intrinsic reward see what is new? `python -m benchmarks.learning.novelty`.

    python -m benchmarks.learning.novelty --intrinsic random-data disagreement rnd --jobs 2

Each reward explores for as many steps; then every row that was replayed is rewarded once more, by what the
agent knows at the end, and the rows are grouped by how often their observation occurred in the run. A reward
that sees novelty falls from left to right. Beside it, what counts in the end: what was reached in the whole
run, and how much of an episode's cells in its first and last quarter, where the suite tells it.
`random-data` is what every reward should beat. Mazes and settings are those of the study `walker2023-mazes`
on a laptop; the flags of a study's groups change them (`--agent.behaviour.entropy 0.01`). For observations
that are exactly alike now and then: symbols.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import Agent
from agents.base import rows_on
from benchmarks.learning.runs import QUIET, kept
from expedition import UserError
from experiments.command_line.flags import grouped_flags
from experiments.studies.presets import find_study
from training import RunConfig, execute, prepare_process

STUDY = "walker2023-mazes"
REWARDS = ("random-data", "disagreement", "rnd")
BOUNDS = (1, 2, 5, 20, 50, 100)
"""Occurrences of an observation at which its group begins."""


def explored(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Explore, in the process that calls, and measure."""
    prepare_process(1)
    result = execute(config, folder, QUIET).result
    assert result is not None
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    quarter = max(1, len(lines) // 4)
    ends = {"first": lines[:quarter], "last": lines[-quarter:]}
    coverage = {
        name: float(np.mean([one.get("coverage", np.nan) for one in some])) for name, some in ends.items()
    }
    rewards, counts = rewarded(config, folder)
    reached = result["metrics"].get("reached", np.nan)
    return {"by_count": by_count(rewards, counts), "reached": float(reached), "coverage": coverage}


def rewarded(config: RunConfig, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reward of every replayed row that an action led to, and occurrences of its observation, (n,) each."""
    agent, rows = kept(config, folder)
    earned = ~rows["is_first"]
    earned[:, 0] = False  # the row before is not known
    seen = np.concatenate([rows[key].reshape(earned.size, -1) for key in agent.observation_space], 1)
    return _reward(agent, rows)[earned], occurrences(seen).reshape(earned.shape)[earned]


@torch.no_grad()
def _reward(agent: Agent, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Unscaled reward of rows, (B, T)."""
    batch = rows_on(torch.device("cpu"), {key: torch.as_tensor(value) for key, value in rows.items()})
    same = torch.Generator().manual_seed(0)
    noise = torch.rand(*batch["is_first"].shape, agent.config.model.stoch, generator=same)
    model = agent.world_model
    latents, _, embeddings = model.observe(batch, model.initial(len(noise)), noise)
    assert agent.intrinsic is not None
    return agent.intrinsic.reward(latents, batch["action"], batch, embeddings).numpy()


def occurrences(seen: np.ndarray) -> np.ndarray:
    """How often each row of `seen` (n, width) occurs in it, (n,)."""
    _, which, counts = np.unique(seen, axis=0, return_inverse=True, return_counts=True)
    return counts[which.reshape(-1)]


def by_count(rewards: np.ndarray, counts: np.ndarray) -> list[float]:
    """Mean reward of each group over the mean of all, NaN for an empty group, by `BOUNDS`."""
    group, mean = np.searchsorted(BOUNDS, counts, side="right") - 1, rewards.mean()
    inside = [rewards[group == index] for index in range(len(BOUNDS))]
    return [float(some.mean() / mean) if len(some) and mean > 0 else np.nan for some in inside]


def table(found: Mapping[str, Any]) -> str:
    """One line a reward."""
    ends = [f"{bound}" if after == bound + 1 else f"{bound}-{after - 1}" for bound, after in _pairs()]
    heads = [*ends, f"{BOUNDS[-1]}+", "reached", "first", "last"]
    lines = [f"{'seen so often:':>16}" + "".join(f"{head:>9}" for head in heads)]
    for name, one in found.items():
        cells = [*(f"{value:.2f}" for value in one["by_count"]), f"{one['reached']:.0f}"]
        cells += [f"{one['coverage'][end]:.2f}" for end in ("first", "last")]
        lines.append(f"{name:>16}" + "".join(f"{'-' if cell == 'nan' else cell:>9}" for cell in cells))
    return "\n".join(lines)


def _pairs() -> Sequence[tuple[int, int]]:
    return list(zip(BOUNDS, BOUNDS[1:], strict=False))


def measure(arguments: argparse.Namespace, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Explore by each reward, some at a time."""
    study = find_study(STUDY, None, groups)
    env, steps = arguments.env or study.env, arguments.steps or study.pretrain_steps
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {}
        for name in arguments.intrinsic:
            config = RunConfig(
                env, "pretrain", name, study.size, steps, arguments.seed, study.agent, study.pretrain
            )
            waiting[name] = pool.submit(explored, config, arguments.out / f"{name}-s{arguments.seed}")
        return {name: future.result() for name, future in waiting.items()}


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env")
    parser.add_argument("--intrinsic", nargs="+", default=list(REWARDS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, of one thread each")
    parser.add_argument("--out", type=Path, default=Path("build/novelty"))
    parser.add_argument("--json", action="store_true")
    try:
        groups, left = grouped_flags(sys.argv[1:])
        arguments = parser.parse_args(left)
        found = measure(arguments, groups)
    except UserError as error:
        parser.error(str(error))
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
