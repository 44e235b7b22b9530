"""How fast: updates of named sizes, many seeds as one, the whole loop, a peer beside."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from agents.programs.compiler import missing
from agents.programs.fused import FusedAgents
from agents.programs.program import WARM_UP, Mode
from benchmarks.gpu.lines import NotRun, Options
from benchmarks.loop import measure as measure_loop
from benchmarks.update import batch_of, build, peak_bytes, synchronise, throughput
from training import prepare_process

SECONDS = 3.0
"""That a rate is taken over, about."""
TORCHRL_MS = 17.83
"""TorchRL 0.14.1's DreamerV3 by its own account: 1m, vectors, 16 x 64, bf16, captured, on one GB200."""
SEEDS = 8


def device(options: Options) -> Iterator[dict[str, Any]]:
    """What runs here."""
    yield {
        "torch": torch.__version__,
        "triton": _version("triton"),
        "python": platform.python_version(),
        "cpu cores": os.cpu_count(),
    }
    if not options.rehearsal:
        yield _gpu()
    yield {"compiler": missing(options.device) or "works"}


def _gpu() -> dict[str, Any]:
    product = torch.ones(256, 256, device="cuda") @ torch.ones(256, 256, device="cuda")
    assert float(product[0, 0]) == 256
    about = torch.cuda.get_device_properties(0)
    return {
        "device": about.name,
        "memory GiB": about.total_memory / 2**30,
        "capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def case(options: Options, size: str, observe: str, precision: str) -> tuple[Namespace, tuple[int, int]]:
    """Settings of `benchmarks.update`, and the batch's sequences and rows; a rehearsal's are toys."""
    arguments = Namespace(
        predicts="reconstruction",
        size="tiny" if options.rehearsal else size,
        conv="pooled",
        intrinsic="none",
        target="embedding",
        observe=observe,
        device=options.device,
        precision=precision,
        starts=2 if options.rehearsal else 0,
    )
    return arguments, (2, 4) if options.rehearsal else (16, 64)


def updates(
    options: Options, size: str, observe: str, precision: str, modes: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Milliseconds an update, updates/s and peak memory in each mode."""
    prepare_process(1)
    arguments, batch = case(options, size, observe, precision)
    for mode in modes:
        if options.rehearsal and mode == "captured":
            yield {"captured": "not run"}
            continue
        agent: Any = build(arguments)
        rows = pinned(batch_of(agent, *batch, task=True), agent.device)
        if mode != "eager":
            agent.run_as(mode)
        yield {f"{mode} {key}": value for key, value in timed(agent, rows).items()}
        del agent
        if not options.rehearsal:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    compared = (size, precision, observe) == ("1m", "bf16", "vector") and "captured" in modes
    if compared and not options.rehearsal:
        yield {"TorchRL 0.14.1 captured on a GB200, ms": TORCHRL_MS}


def timed(agent: Any, rows: dict[str, torch.Tensor]) -> dict[str, float]:
    """An agent's first update, and its rate after some more."""
    began = time.perf_counter()
    metrics = agent.update(rows)
    finite = all(bool(value.isfinite()) for value in metrics.values())
    first = time.perf_counter() - began
    assert finite, "a metric of the first update is not finite"
    throughput(agent, rows, WARM_UP)
    rate = throughput(agent, rows, count_for(throughput(agent, rows, 2)))
    return {
        "ms": 1000 / rate,
        "updates/s": rate,
        "first update s": first,
        "peak MB": peak_bytes(agent.device) / 1e6,
    }


def count_for(rate: float) -> int:
    """Updates that take some SECONDS at a rate."""
    return int(min(max(rate * SECONDS, 3), 500))


def pinned(rows: dict[str, Any], where: torch.device) -> dict[str, torch.Tensor]:
    """Rows as the trainer hands them out: in memory from which a copy need not be waited for."""
    tensors = {key: torch.as_tensor(value) for key, value in rows.items()}
    return {key: value.pin_memory() for key, value in tensors.items()} if where.type == "cuda" else tensors


def fused(options: Options) -> Iterator[dict[str, Any]]:
    """Milliseconds of one update of 8 agents as one program, over those of one agent."""
    prepare_process(1)
    arguments, batch = case(options, "1m", "vector", "fp32")
    seeds = 2 if options.rehearsal else SEEDS
    one = build(arguments)
    rows = pinned(batch_of(one, *batch, task=True), one.device)
    alone = timed(one, rows)["ms"]
    yield {"one, eager, ms": alone}
    modes: tuple[Mode, ...] = ("eager", "captured")
    for mode in modes:
        if options.rehearsal and mode == "captured":
            yield {"captured": "not run"}
            continue
        group = FusedAgents([build(arguments, seed) for seed in range(seeds)], mode)
        several = [rows] * seeds
        for _ in range(WARM_UP + 1):
            group.update(several)
        found = _milliseconds(group, several, one.device)
        yield {f"{seeds} fused, {mode}, ms": found, f"{seeds} fused, {mode}, over one": found / alone}


def _milliseconds(group: FusedAgents, several: list[dict[str, torch.Tensor]], where: torch.device) -> float:
    count = 3
    while True:
        synchronise(where)
        began = time.perf_counter()
        for _ in range(count):
            group.update(several)
        synchronise(where)
        spent = time.perf_counter() - began
        if spent > SECONDS / 3:
            return 1000 * spent / count
        count *= 3


def loop(options: Options, size: str, env: str) -> Iterator[dict[str, Any]]:
    """Updates/s and steps/s of whole runs at the preset's train ratio, with and without overlap."""
    steps = {"1m": 4000, "12m": 3000, "100m": 2000}[size]
    for overlap in (False, True):
        arguments = Namespace(
            env=env,
            size="tiny" if options.rehearsal else size,
            steps=600 if options.rehearsal else steps,
            updates=True,
            train_ratio=None,
            overlap=overlap,
            device=options.device,
            threads=1,
            workers=0,
            compile="auto",
        )
        found = measure_loop(arguments)
        name = "overlap" if overlap else "in turn"
        yield {
            f"{name} updates": found["updates"],
            f"{name} updates/s": found["updates"] / found["loop_wall_seconds"],
            f"{name} steps/s": found["steps_per_second"],
            f"{name} peak MB": peak_bytes(torch.device(options.device)) / 1e6,
        }
        if not options.rehearsal:
            torch.cuda.reset_peak_memory_stats()


def r2dreamer(options: Options) -> Iterator[dict[str, Any]]:
    """Its compiled update in fp16 with its decoder beside ours in bf16, at width M."""
    if options.r2dreamer is None or not Path(options.r2dreamer).is_dir():
        raise NotRun("name its clone by --r2dreamer")
    if options.rehearsal:
        raise NotRun("it is compared on a GPU")
    script = Path(__file__).parents[1] / "peers" / "r2dreamer_update.py"
    command = [sys.executable, str(script), options.r2dreamer, "cuda"]
    made = subprocess.run(command, input="\n" * 30, capture_output=True, text=True, check=False)
    assert made.returncode == 0, (made.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    walls = [float(line.split()[2]) for line in made.stdout.splitlines() if len(line.split()) == 3]
    yield {"r2dreamer ms": 1000 * sorted(walls[10:])[len(walls[10:]) // 2]}
    yield from updates(options, "M", "pixels", "bf16", ("eager", "captured"))
