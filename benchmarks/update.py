"""Time of one full update of world model, actor and critic: `python -m benchmarks.update --size M --json`.

`--against REV --case NAME` sets this tree, in each of `--modes`, beside another revision of it that works
operation by operation, in turns; `--compile-time` there tells how long this tree's first compiled update
takes, with an empty and with a warm cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any, get_args

import gymnasium
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from agents import ActorCriticConfig, AgentConfig, DreamerAgent
from agents.programs.program import MODES, WARM_UP
from benchmarks.against import turns
from benchmarks.table import show
from expedition import UserError
from exploration import DisagreementConfig, IntrinsicConfig
from training import prepare_process
from training.process.runtime import choose_device
from world_model import SIZES, Predicts, WorldModelConfig

M = WorldModelConfig(deter=512, hidden=256, stoch=32, classes=16, units=256, depth=16)
"""The width at which the peers were measured."""
ACTIONS = 17
NETWORKS = 8


def build(arguments: argparse.Namespace, seed: int = 0) -> DreamerAgent:
    """Make the agent that is timed."""
    model = M if arguments.size == "M" else SIZES[arguments.size]
    model = dataclasses.replace(model, conv=arguments.conv, predicts=arguments.predicts)
    intrinsic = IntrinsicConfig(disagreement=DisagreementConfig(networks=NETWORKS, target=arguments.target))
    behaviour = ActorCriticConfig(starts=arguments.starts)
    config = AgentConfig(model=model, behaviour=behaviour, intrinsic=intrinsic, precision=arguments.precision)
    name = None if arguments.intrinsic == "none" else arguments.intrinsic
    device = choose_device(arguments.device)
    return DreamerAgent(
        spaces(arguments.observe), gymnasium.spaces.Discrete(ACTIONS), config, name, seed, device
    )


def spaces(observe: str) -> gymnasium.spaces.Dict:
    """Observations of 64 x 64 x 3 pixels, or of 32 numbers."""
    if observe == "pixels":
        return gymnasium.spaces.Dict({"image": gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)})
    return gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-10, 10, (32,), np.float32)})


def batch_of(agent: DreamerAgent, batch: int, length: int, task: bool) -> dict[str, np.ndarray]:
    """Random rows (B, T, ...), the same in every call."""
    rng = np.random.default_rng(0)
    rows: dict[str, np.ndarray] = {}
    for key, box in agent.observation_space.items():
        shape = (batch, length, *box.shape)  # type: ignore[misc]
        image = box.dtype == np.uint8
        rows[key] = rng.integers(0, 256, shape, np.uint8) if image else rng.normal(size=shape).astype("f4")
    rows["action"] = np.eye(ACTIONS, dtype=np.float32)[rng.integers(ACTIONS, size=(batch, length))]
    rows["is_first"] = rng.random((batch, length)) < 0.01
    rows["is_last"] = np.zeros((batch, length), bool)
    rows["is_terminal"] = np.zeros((batch, length), bool)
    if task:
        rows["reward"] = rng.normal(size=(batch, length)).astype(np.float32)
    return rows


def timed(agent: DreamerAgent, rows: Mapping[str, Any], updates: int) -> tuple[float, float]:
    """Median CPU-seconds and wall seconds of an update."""
    cpu, wall = [], []
    for _ in range(updates):
        synchronise(agent.device)
        began = time.process_time(), time.perf_counter()
        agent.update(rows)
        synchronise(agent.device)
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    return statistics.median(cpu), statistics.median(wall)


def throughput(agent: DreamerAgent, rows: Mapping[str, Any], updates: int) -> float:
    """Updates a second when nobody waits for each."""
    synchronise(agent.device)
    began = time.perf_counter()
    for _ in range(updates):
        agent.update(rows)
    synchronise(agent.device)
    return updates / (time.perf_counter() - began)


def synchronise(device: torch.device) -> None:
    """Wait for the GPU, if it is one."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product."""
    width = 8192 if device.type == "cuda" else 1024
    a = torch.randn(width, width, device=device, dtype=dtype)
    a @ a
    synchronise(device)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return 2 * width**3 / best


def peak_bytes(device: torch.device) -> int:
    """Most memory of the process so far, or of the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class FlopCounter(TorchDispatchMode):
    """Counts the FLOPs of matrix products and convolutions.

    torch's own counter leaves out products in place, and its hooks cannot be where a part of an update is
    differentiated early.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        made = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        plain = getattr(torch.ops.aten, packet.__name__.removesuffix("_"), None)  # without "in place"
        count = flop_registry.get(packet) or flop_registry.get(plain)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=made)
        return made


def count_flops(agent: DreamerAgent, batch: dict[str, np.ndarray]) -> int:
    """FLOPs of an eager update: the optimiser's part has no products to count."""
    with FlopCounter() as counter:
        agent.update(batch)
    return counter.total


def warmup(arguments: argparse.Namespace) -> int:
    """Updates that are not timed; a graph is captured in the last of them."""
    return max(arguments.warmup, WARM_UP + 1) if arguments.mode == "captured" else arguments.warmup


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, warm up, time, count."""
    prepare_process(arguments.threads)
    agent: Any = build(arguments)
    rows = batch_of(agent, arguments.batch, arguments.length, task=agent.intrinsic is None)
    if arguments.mode != "eager":
        agent.run_as(arguments.mode)
    synchronise(agent.device)
    first = time.perf_counter()
    agent.update(rows)
    synchronise(agent.device)
    first = time.perf_counter() - first
    for _ in range(warmup(arguments)):
        agent.update(rows)
    cpu, wall = timed(agent, rows, arguments.updates)
    speed, peak = throughput(agent, rows, arguments.updates), peak_bytes(agent.device)
    # Last, for it takes memory of its own; and by another agent, for a counter sees no compiled product.
    flops = count_flops(build(arguments), rows)
    rate = matmul_rate(agent.device, torch.float32)
    return {
        "size": arguments.size,
        "conv": arguments.conv,
        "intrinsic": arguments.intrinsic,
        "target": arguments.target,
        "observe": arguments.observe,
        "predicts": arguments.predicts,
        "precision": arguments.precision,
        "mode": arguments.mode,
        "first_update_seconds": first,
        "batch": [arguments.batch, arguments.length],
        "device": torch.cuda.get_device_name() if agent.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in agent.parameters() if p.requires_grad),
        "cpu_seconds_per_update": cpu,
        "wall_seconds_per_update": wall,
        "updates_per_second": speed,
        "peak_bytes": peak,
        "flops_per_update": flops,
        "matmul_flops_per_second": rate,
        "fraction_of_matmul_rate": flops / wall / rate,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What both benchmarks of an update can be told."""
    parser.add_argument("--size", default="M", choices=["M", *SIZES])
    parser.add_argument("--conv", default="pooled", choices=["pooled", "strided"])
    parser.add_argument("--intrinsic", default="none", choices=["none", "disagreement"])
    parser.add_argument("--target", default="embedding", choices=["embedding", "stoch"])
    parser.add_argument("--observe", default="pixels", choices=["pixels", "vector"])
    parser.add_argument("--predicts", default="reconstruction", choices=get_args(Predicts))
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--starts", type=int, default=0)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--mode", default="eager", choices=MODES, help="captured: on a GPU alone")
    parser.add_argument("--json", action="store_true")


def add_against(parser: argparse.ArgumentParser) -> None:
    """What a comparison with another revision can be told."""
    group = parser.add_argument_group("against a revision (a case has settings of its own)")
    group.add_argument("--against", metavar="REV", help="commit of this repository")
    group.add_argument("--case", default="tiny-pixels", choices=turns.CASES)
    group.add_argument("--modes", nargs="+", default=turns.MODES, choices=turns.MODES, help="of this tree")
    group.add_argument("--turns", type=int, default=8)
    group.add_argument("--compile-time", action="store_true", help="time the first compiled update instead")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    add_against(parser)
    arguments = parser.parse_args()
    try:
        found = turns.compare(arguments) if arguments.against else measure(arguments)
    except UserError as error:
        parser.error(str(error))
    show(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
