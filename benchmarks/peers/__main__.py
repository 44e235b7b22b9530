"""Our update beside sheeprl's, in turns: `python -m benchmarks.peers --python PEER_PYTHON [--json]`.

PEER_PYTHON is the interpreter where one ran `pip install sheeprl==0.8.4`. Each has one thread, fp32,
batch 16 x 64, horizon 15 and width M; the figure is the median over the turns of the ratio of CPU-seconds an
update. `--algorithm p2e_dv3` sets disagreement of 8 networks beside its Plan2Explore, which predicts the
stochastic state (as `--target stoch` does), and learns an actor for the task and two critics more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.table import show

INTRINSIC = {"dreamer_v3": "none", "p2e_dv3": "disagreement"}
WARMUP = 3
"""Turns in which each process is still taking memory."""
SCRIPT = Path(__file__).parent / "sheeprl_update.py"
OURS = """
import sys, time
from argparse import Namespace
from benchmarks.update import batch_of, build, peak_bytes
from training import prepare_process

prepare_process(1)
settings = dict(size="M", conv="strided", observe="pixels", device="cpu", precision="fp32", starts=0)
agent = build(Namespace(intrinsic=sys.argv[1], target=sys.argv[2], **settings))
rows = batch_of(agent, 16, 64, task=agent.intrinsic is None)
print(sum(p.numel() for p in agent.parameters() if p.requires_grad), flush=True)
for _ in sys.stdin:
    began = time.process_time()
    agent.update(rows)
    print(time.process_time() - began, peak_bytes(agent.device), flush=True)
"""


def start(command: list[str]) -> subprocess.Popen[str]:
    """A process that makes one update for each line it reads."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


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


def measure(python: str, algorithm: str, target: str, layers: int, turns: int) -> dict[str, Any]:
    """Update both in turns."""
    ours = start([sys.executable, "-c", OURS, INTRINSIC[algorithm], target])
    peer = start([python, str(SCRIPT), algorithm, str(layers)])
    parameters = [told(process)[0] for process in (ours, peer)]
    pairs = [(update(ours), update(peer)) for _ in range(turns + WARMUP)][WARMUP:]
    mine, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    for process in (ours, peer):
        process.communicate()
    return {
        "peer": f"sheeprl 0.8.4 {algorithm}",
        "target": target,
        "peer_mlp_layers": layers,
        "parameters": parameters[0],
        "peer_parameters": parameters[1],
        "cpu_seconds_per_update": mine,
        "peer_cpu_seconds_per_update": theirs,
        "ratio": statistics.median(one[0] / two[0] for one, two in pairs),
        "peak_bytes": pairs[-1][0][1],
        "peer_peak_bytes": pairs[-1][1][1],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, help="interpreter that has sheeprl 0.8.4")
    parser.add_argument("--algorithm", default="dreamer_v3", choices=list(INTRINSIC))
    parser.add_argument("--target", default="embedding", choices=["embedding", "stoch"])
    parser.add_argument("--layers", type=int, default=2, help="its algo.mlp_layers")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(
        arguments.python, arguments.algorithm, arguments.target, arguments.layers, arguments.turns
    )
    show(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
