"""Whole runs on the device: one that is stopped and resumed, and one that must learn."""

from __future__ import annotations

import dataclasses
import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig
from benchmarks.gpu.lines import Options
from benchmarks.learning.check import catch
from training import (
    Checkpoint,
    Logistics,
    RunConfig,
    TrainingConfig,
    execute,
    open_checkpoint,
    prepare_process,
)
from training.collecting.collector import Collector
from world_model import for_size

AGENT = AgentConfig(
    model=for_size(
        "tiny", deter=64, hidden=32, units=32, stoch=4, classes=8, depth=4, blocks=4, vector_layers=1
    ),
    behaviour=ActorCriticConfig(imagination=5, layers=1, starts=4),
    optimizer=OptimizerConfig(lr=1e-3, warmup=4),
)
STEPS, STOP = 400, 60
"""Environment steps of a run, and the call of the collector amid which it is stopped."""
LEARNING_STEPS, LEARNING_RETURN = 5000, 0.0
"""Random play gets -0.6 and perfect play 1; `benchmarks.learning.check` asks 0.8 of 8,000 steps."""


def resumable() -> RunConfig:
    """A small run whose every setting that could hide a difference is on."""
    training = TrainingConfig(
        num_envs=4,
        batch=4,
        length=8,
        train_ratio=8.0,
        learning_starts=64,
        replay_gib=0.05,
        log_every=50,
        evaluation_episodes=4,
        heldout=2,
        context=2,
        open_loop=3,
        image_size=32,
    )
    return RunConfig("catch-pixels", "pretrain", "disagreement", "tiny", STEPS, 3, AGENT, training)


def resume(options: Options) -> Iterator[dict[str, Any]]:
    """A run stopped amid learning and resumed equals one that never stopped, bit by bit."""
    prepare_process(1)
    config, logistics = resumable(), quiet(options)
    with tempfile.TemporaryDirectory() as folder:
        whole, again, parts = (Path(folder) / name for name in ("whole", "again", "parts"))
        outcome = execute(config, whole, logistics)
        assert outcome.result is not None
        yield {"updates": outcome.result["updates"]}
        execute(config, again, logistics)
        twice = unlike(whole, again)
        yield {"two whole runs are equal": not twice}
        with stopped_at(STOP):
            assert execute(config, parts, logistics).result is None
        assert execute(config, parts, logistics).result is not None
        found = unlike(whole, parts)
        yield {"resumed is equal": not found, "differ": len(found)}
        assert not found, f"differ: {', '.join(found[:4])}" + ("; so do two whole runs" if twice else "")


def quiet(options: Options) -> Logistics:
    """One process, nothing told."""
    return Logistics(device=options.device, threads=1, workers=0, wandb="off", progress=False)


class stopped_at:  # noqa: N801 - reads as a statement
    """Within it, Ctrl-C is pressed in the given call of a collector."""

    def __init__(self, call: int) -> None:
        self._call, self._plain = call, Collector.send

    def __enter__(self) -> None:
        calls, plain = 0, self._plain

        def send(collector: Collector, env_step: int) -> Any:
            nonlocal calls
            calls += 1
            if calls == self._call:
                signal.raise_signal(signal.SIGINT)
            return plain(collector, env_step)

        Collector.send = send  # type: ignore[assignment, method-assign]

    def __exit__(self, *_: object) -> None:
        Collector.send = self._plain  # type: ignore[method-assign]


def unlike(one: Path, two: Path) -> list[str]:
    """What differs between two finished runs: logs, results, and everything in their checkpoints."""
    found = [
        name
        for name in ("metrics.jsonl", "episodes.jsonl")
        if (one / name).read_text() != (two / name).read_text()
    ]
    results = [json.loads((run / "result.json").read_text()) for run in (one, two)]
    for result in results:
        del result["wall_seconds"]
    if results[0] != results[1]:
        found.append("result.json")
    left, right = (held(open_checkpoint(run)) for run in (one, two))
    return found + sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def held(checkpoint: Checkpoint) -> dict[str, Any]:
    """Every leaf of a checkpoint by its path, tensors and arrays as their bytes."""
    state = dict(leaves({name: checkpoint.load(name) for name in checkpoint.sections}))
    return {name: value for name, value in state.items() if name != "/loop/seconds"}


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings and sequences."""
    if hasattr(tree, "items"):
        for key, value in tree.items():
            yield from leaves(value, f"{path}/{key}")
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{path}/{number}")
    elif isinstance(tree, torch.Tensor):
        yield path, (str(tree.dtype), tree.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(tree, np.ndarray):
        yield path, (str(tree.dtype), tree.tobytes())
    else:
        yield path, tree


def learning(options: Options) -> Iterator[dict[str, Any]]:
    """Catch from vectors, shorter than `benchmarks.learning.check` asks for."""
    prepare_process(1)
    config = dataclasses.replace(catch("catch-vector"), steps=1100 if options.rehearsal else LEARNING_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        outcome = execute(config, Path(folder) / "run", quiet(options))
        assert outcome.result is not None
        status = json.loads((Path(folder) / "run" / "status.json").read_text())
    reached = float(outcome.result["metrics"]["return"])
    yield {"return": reached, "updates": outcome.result["updates"], "wall s": status["wall_seconds"]}
    bound = -1.0 if options.rehearsal else LEARNING_RETURN
    assert reached >= bound, f"returned {reached:.2f} after {config.steps} steps, below {bound}"
