"""Steps a second of the whole loop: `python -m benchmarks.loop --env crafter --size M [--updates] [--json]`.

Without `--updates` the agent acts, rows are written and nothing is learned; else the preset trains.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agents import AgentConfig
from benchmarks.table import show
from benchmarks.update import M
from experiments.settings import agent_preset, training_preset
from training import Logistics, RunConfig, execute, prepare_process
from world_model import SIZES


def configure(arguments: argparse.Namespace) -> RunConfig:
    """Return the run that is timed."""
    size = "12m" if arguments.size == "M" else arguments.size
    agent = AgentConfig(model=M) if arguments.size == "M" else agent_preset(size)
    training = dataclasses.replace(
        training_preset(size),
        num_envs=4,
        evaluation_episodes=0,
        heldout=1,
        overlap=arguments.overlap,
    )
    if arguments.train_ratio is not None:
        training = dataclasses.replace(training, train_ratio=arguments.train_ratio)
    if not arguments.updates:
        training = dataclasses.replace(training, learning_starts=10**9)
    return RunConfig(arguments.env, "finetune", None, size, arguments.steps, 0, agent, training)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Carry the run out in a folder that is thrown away."""
    prepare_process(arguments.threads)
    logistics = Logistics(
        device=arguments.device,
        threads=arguments.threads,
        workers=arguments.workers,
        wandb="off",
        progress=False,
        compile=arguments.compile,
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter(), time.process_time()
        outcome = execute(configure(arguments), Path(folder) / "run", logistics)
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        status = json.loads((Path(folder) / "run" / "status.json").read_text())
    assert outcome.result is not None, "stopped before its end"
    return {
        "env": arguments.env,
        "size": arguments.size,
        "workers": arguments.workers,
        "overlap": arguments.overlap,
        "updates": outcome.result["updates"],
        "environment_steps": outcome.result["environment_steps"],
        "loop_wall_seconds": status["wall_seconds"],
        "steps_per_second": outcome.result["environment_steps"] / status["wall_seconds"],
        "run_wall_seconds": wall,
        "run_cpu_seconds": cpu,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="crafter")
    parser.add_argument("--size", default="M", choices=["M", *SIZES])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--updates", action="store_true", help="learn too, at the preset's train ratio")
    parser.add_argument("--train-ratio", type=float, help="replayed rows a step, other than the preset's")
    parser.add_argument("--overlap", action="store_true", help="collect and learn at the same time")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that step the environments")
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show(measure(arguments), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
