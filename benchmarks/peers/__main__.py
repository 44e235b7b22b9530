"""Our update beside a peer's, in turns: `python -m benchmarks.peers --peer NAME --python PEER_PYTHON`.

PEER_PYTHON is the interpreter where the peer runs. Each has one thread, fp32, batch 16 x 64, horizon 15 and
width M; the figure is the median over the turns of the ratio of CPU-seconds an update. Our process keeps
freed memory (`training.prepare_process`) and the peer's, as it comes, does not: `--same-allocator` lets it.

`sheeprl`: after `pip install sheeprl==0.8.4`, beside our `strided` convolutions. `--algorithm p2e_dv3` sets
disagreement of 8 networks beside its Plan2Explore, which predicts the stochastic state (as `--target stoch`
does), and learns an actor for the task and two critics more.

`r2dreamer`: DreamerV3 with its decoder, beside our `pooled` convolutions. It is no package: name its clone by
`--checkout`. Measured at 546e4fa, with the torch that we run on:

    git clone https://github.com/NM512/r2dreamer && git -C r2dreamer checkout 546e4fa
    PEER_PYTHON -m pip install torch==2.13.0 tensordict==0.15.3 hydra-core==1.3.8 tensorboard==2.21.0
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import show

INTRINSIC = {"dreamer_v3": "none", "p2e_dv3": "disagreement"}
WARMUP = 3
"""Turns in which each process is still taking memory."""
HERE = Path(__file__).parent
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
"""What `prepare_process` asks of glibc, for a process that imports nothing of ours."""
OURS = """
import sys, time
from argparse import Namespace
from benchmarks.update import batch_of, build, peak_bytes
from training import prepare_process

prepare_process(1)
settings = dict(size="M", conv=sys.argv[3], observe="pixels", device="cpu", precision="fp32", starts=0)
settings["predicts"] = "reconstruction"
agent = build(Namespace(intrinsic=sys.argv[1], target=sys.argv[2], **settings))
agent.run_as(sys.argv[4])
rows = batch_of(agent, 16, 64, task=agent.intrinsic is None)
print(sum(p.numel() for p in agent.parameters() if p.requires_grad), flush=True)
for _ in sys.stdin:
    began = time.process_time()
    agent.update(rows)
    print(time.process_time() - began, peak_bytes(agent.device), flush=True)
"""


@dataclass(frozen=True)
class Peer:
    """What our update is set beside."""

    name: str
    """Project, version and algorithm."""
    command: list[str]
    """Its script, which makes one update for each line it reads, and the script's arguments."""
    conv: str
    """Our convolutions that are like its own."""
    intrinsic: str = "none"
    """Our intrinsic reward that is like its own."""


def sheeprl(arguments: argparse.Namespace) -> Peer:
    """The installed sheeprl."""
    algorithm, layers = arguments.algorithm, arguments.layers
    command = [str(HERE / "sheeprl_update.py"), algorithm, str(layers)]
    name = f"sheeprl 0.8.4 {algorithm}, {layers} mlp layers"
    return Peer(name, command, "strided", INTRINSIC[algorithm])


def r2dreamer(arguments: argparse.Namespace) -> Peer:
    """A clone of r2dreamer."""
    if arguments.checkout is None:
        raise SystemExit("--peer r2dreamer needs --checkout, the folder of its clone.")
    commit = subprocess.check_output(["git", "-C", arguments.checkout, "rev-parse", "HEAD"], text=True)
    command = [str(HERE / "r2dreamer_update.py"), arguments.checkout]
    return Peer(f"r2dreamer {commit[:7]} with decoder", command, "pooled")


PEERS = {"sheeprl": sheeprl, "r2dreamer": r2dreamer}


def start(command: list[str], settings: dict[str, str]) -> subprocess.Popen[str]:
    """A process that makes one update for each line it reads, with `settings` in its environment."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **settings})


def told(process: subprocess.Popen[str]) -> list[float]:
    """The numbers in the next line that holds numbers alone."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            return [float(word) for word in line.split()]
        except ValueError:
            continue
    raise SystemExit("A process ended before it told its time: look at what it wrote above.")


def update(process: subprocess.Popen[str]) -> list[float]:
    """CPU-seconds and peak bytes of one update."""
    assert process.stdin is not None
    print(file=process.stdin, flush=True)
    return told(process)


def measure(
    python: str, peer: Peer, target: str, turns: int, same_allocator: bool, mode: str
) -> dict[str, Any]:
    """Update both in turns."""
    ours = start([sys.executable, "-c", OURS, peer.intrinsic, target, peer.conv, mode], {})
    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # both compute on the CPU
    other = start([python, *peer.command], hidden | (KEEP_MEMORY if same_allocator else {}))
    parameters = [told(process)[0] for process in (ours, other)]
    pairs = [(update(ours), update(other)) for _ in range(turns + WARMUP)][WARMUP:]
    mine, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    for process in (ours, other):
        process.communicate()
    return {
        "peer": peer.name,
        "conv": peer.conv,
        "target": target,
        "mode": mode,
        "same_allocator": same_allocator,
        "parameters": parameters[0],
        "peer_parameters": parameters[1],
        "cpu_seconds_per_update": mine,
        "peer_cpu_seconds_per_update": theirs,
        "ratio": statistics.median(one[0] / two[0] for one, two in pairs),
        "ratios": [round(one[0] / two[0], 3) for one, two in pairs],
        "peak_bytes": pairs[-1][0][1],
        "peer_peak_bytes": pairs[-1][1][1],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", default="sheeprl", choices=list(PEERS))
    parser.add_argument("--python", required=True, help="interpreter where the peer runs")
    parser.add_argument("--algorithm", default="dreamer_v3", choices=list(INTRINSIC), help="sheeprl's")
    parser.add_argument("--target", default="embedding", choices=["embedding", "stoch"])
    parser.add_argument("--mode", default="compiled", choices=["eager", "compiled"], help="ours")
    parser.add_argument("--layers", type=int, default=2, help="sheeprl's algo.mlp_layers")
    parser.add_argument("--checkout", help="folder of r2dreamer's clone")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--same-allocator", action="store_true", help="the peer keeps freed memory as we do")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    peer = PEERS[arguments.peer](arguments)
    found = measure(
        arguments.python,
        peer,
        arguments.target,
        arguments.turns,
        arguments.same_allocator,
        arguments.mode,
    )
    show(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
