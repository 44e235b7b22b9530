"""Does the whole agent learn? `python -m benchmarks.learning.check [--json]`, or `make learn-check`.

1. With reward it solves Catch (Mnih et al. 2014; bsuite's `catch`) from pixels and from vectors.
2. So does its model-free twin, from vectors.
3. Without reward, by disagreement, it covers a maze of long corridors faster than random actions do.

Each part is a real run through `training.execute` in a process of its own. Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from agents import AgentConfig
from benchmarks.learning.runs import kept
from envs import make_vector
from experiments.settings import agent_preset, training_preset
from training import Logistics, RunConfig, TrainingConfig, execute, prepare_process

CATCH_RETURN = 0.8
"""Mean return over evaluation episodes that counts as solved; random play gets -0.6, perfect play 1."""
COVERAGE_RATIO = 1.2
"""Cells that disagreement must reach over those that random play reaches, with equal steps."""
QUIET = Logistics(device="cpu", threads=1, wandb="off", progress=False)


def agent(**changes: Any) -> AgentConfig:
    """The tiny preset with changed fields of the world model."""
    preset = agent_preset("tiny")
    return dataclasses.replace(preset, model=dataclasses.replace(preset.model, **changes))


def training(**changes: Any) -> TrainingConfig:
    """The tiny preset with changed fields."""
    return dataclasses.replace(training_preset("tiny"), heldout=8, **changes)


CATCH_STEPS, MAZE_STEPS = 8000, 7000
"""Environment steps: some 1,750 and 1,500 updates."""
CHECKPOINTS = (1000, 2000, 4000, MAZE_STEPS)
"""Steps at which cells are counted; learning starts at 1,000, so the first is random play."""
SEEDS = (0, 1, 2, 3)
"""Seeds of disagreement; random play has ten of its own."""


def catch(env: str) -> RunConfig:
    """Catch with reward; 32 pixels a side are enough for its 10 rows."""
    model = agent(units=256, free_nats=0.1, scale_dynamics=0.1, scale_representation=0.01)
    shaped = _shaped(model, 10, 0.01, actor_scale=0.2)
    schedule = training(
        batch=32, length=8, train_ratio=64, learning_starts=1000, image_size=32, evaluation_episodes=64
    )
    return RunConfig(env, "finetune", None, "tiny", CATCH_STEPS, 0, shaped, schedule)


def twin() -> RunConfig:
    """Catch from vectors for the model-free twin.

    Windows are as long as episodes: a policy that learned from shorter histories than it acts on acts badly,
    and no imagination lengthens them here.
    """
    config = catch("catch-vector")
    shaped = dataclasses.replace(
        config.agent,
        kind="model-free",
        behaviour=dataclasses.replace(config.agent.behaviour, entropy=0.02),
        optimizer=dataclasses.replace(config.agent.optimizer, lr=1e-3, actor_scale=0.3),
    )
    schedule = dataclasses.replace(config.training, batch=16, length=16)
    return dataclasses.replace(config, agent=shaped, training=schedule)


def maze(seed: int) -> RunConfig:
    """The maze without reward, from vectors."""
    model = agent(units=256, free_nats=0.1, scale_dynamics=0.1, scale_representation=0.01, horizon=100)
    shaped = _shaped(model, 12, 0.03, actor_scale=0.1)
    # Embeddings tell unseen cells apart by an order of magnitude, stochastic states hardly.
    ensemble = dataclasses.replace(shaped.intrinsic.disagreement, target="embedding", units=96)
    shaped = dataclasses.replace(
        shaped, intrinsic=dataclasses.replace(shaped.intrinsic, disagreement=ensemble)
    )
    schedule = training(batch=32, length=8, train_ratio=64, learning_starts=1000, evaluation_episodes=0)
    return RunConfig("maze-vector", "pretrain", "disagreement", "tiny", MAZE_STEPS, seed, shaped, schedule)


def _shaped(base: AgentConfig, imagination: int, entropy: float, actor_scale: float) -> AgentConfig:
    """Steps large enough for a thousand updates, and entropy enough that the actor outlasts a bad model."""
    behaviour = dataclasses.replace(
        base.behaviour, imagination=imagination, starts=2, entropy=entropy, center=True
    )
    optimizer = dataclasses.replace(base.optimizer, lr=3e-3, actor_scale=actor_scale)
    return dataclasses.replace(base, behaviour=behaviour, optimizer=optimizer)


def run_catch(config: RunConfig) -> float:
    """Mean return of the trained policy, sampled."""
    return _execute(config, lambda _, result: float(result["metrics"]["return"]))


def run_maze(seed: int) -> list[int]:
    """Distinct cells by each of CHECKPOINTS, read from the replay, which holds the whole run."""
    config = maze(seed)
    return _execute(config, lambda run_dir, _: _replayed_cells(config, run_dir))


def run_random(seed: int) -> list[int]:
    """The same count for uniformly random actions in as many environments."""
    envs = make_vector("maze-vector", training().num_envs)
    rng, rows = np.random.default_rng(seed), envs.reset(seed)
    cells, steps = [_cells(rows["vector"])], [0]
    while steps[-1] < MAZE_STEPS:
        rows = envs.step(rng.integers(4, size=envs.num_envs))
        cells.append(_cells(rows["vector"]))
        steps.append(steps[-1] + int((~rows["is_first"]).sum()))
    envs.close()
    return _distinct(np.stack(cells), np.array(steps))


def _execute(config: RunConfig, measure: Callable[[Path, dict[str, Any]], Any]) -> Any:
    prepare_process(1)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        outcome = execute(config, run_dir, QUIET)
        if outcome.result is None:
            raise SystemExit(f"The run on {config.env} was stopped before its end: start the check again.")
        return measure(run_dir, outcome.result)


def _replayed_cells(config: RunConfig, run_dir: Path) -> list[int]:
    _, rows = kept(config, run_dir)
    steps = np.cumsum((~rows["is_first"].T).sum(1))
    return _distinct(_cells(rows["vector"]).swapaxes(0, 1), steps)


def _cells(vectors: np.ndarray) -> np.ndarray:
    """Number of the cell, (..., 98) -> (...): the last entry says whether the goal waits."""
    return vectors[..., :-1].argmax(-1)


def _distinct(cells: np.ndarray, steps: np.ndarray) -> list[int]:
    """Distinct cells in rows (T, B) until each of CHECKPOINTS, by the steps made up to each row."""
    return [len(np.unique(cells[: np.searchsorted(steps, at) + 1])) for at in CHECKPOINTS]


def measure() -> dict[str, Any]:
    """Run every part, two at a time."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        cases = {env: catch(env) for env in ("catch-pixels", "catch-vector")} | {"catch, twin": twin()}
        returns = {name: pool.submit(run_catch, config) for name, config in cases.items()}
        mazes = [pool.submit(run_maze, seed) for seed in SEEDS]
        coverage = {
            "disagreement": [future.result() for future in mazes],
            "random": [run_random(seed) for seed in range(10)],
        }
        solved = {name: future.result() for name, future in returns.items()}
    means = {name: np.mean(curves, 0).tolist() for name, curves in coverage.items()}
    return {"return": solved, "coverage": coverage, "coverage_mean": means, "steps": list(CHECKPOINTS)}


def failures(found: dict[str, Any]) -> list[str]:
    """What missed its bound, in words."""
    missed = [
        f"{name} returned {value:.2f}, below {CATCH_RETURN}"
        for name, value in found["return"].items()
        if not value >= CATCH_RETURN
    ]
    explored, random = (found["coverage_mean"][name][-1] for name in ("disagreement", "random"))
    if explored < COVERAGE_RATIO * random:
        missed.append(
            f"disagreement saw {explored:.0f} cells, below {COVERAGE_RATIO} times random's {random:.0f}"
        )
    return missed


def main() -> int:
    """Measure, print, judge."""
    found = measure()
    missed = failures(found)
    if "--json" in sys.argv[1:]:
        print(json.dumps({**found, "passed": not missed}, indent=2))
    else:
        for name, value in found["return"].items():
            print(f"{name:<14} return {value:6.2f}   bound {CATCH_RETURN}")
        print(f"{'cells after':<14}" + "".join(f"{step:>8,}" for step in CHECKPOINTS))
        for name, curve in found["coverage_mean"].items():
            print(f"{name:<14}" + "".join(f"{cells:8.1f}" for cells in curve))
    if missed:
        print(f"The agent did not learn: {'; '.join(missed)}.", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
